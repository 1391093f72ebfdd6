//! Handles for the metrics in [`crate::names`]: bound to their labels once, one atomic operation per use.
//!
//! Label values are `&'static str`: they come from closed enums, so that no token, id or error text can become a series.
//! A handle is made where the code that uses it is set up, not where it is used.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::names::{CounterName, GaugeName, HistogramName, MetricName};

/// Counts what happened.
#[derive(Clone, Debug)]
pub struct Counter(IntCounter);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// The count so far, since the process began.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Shows what is now.
#[derive(Clone, Debug)]
pub struct Gauge(IntGauge);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Changes the value by so many, up or down.
    pub fn add(&self, difference: i64) {
        self.0.add(difference);
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.get()
    }

    /// Counts one in until the guard is dropped, however that comes about.
    pub fn hold(&self) -> Held {
        self.0.inc();
        Held(self.0.clone())
    }
}

/// One counted into a [`Gauge`].
#[derive(Debug)]
#[must_use = "it is counted out as soon as this is dropped"]
pub struct Held(IntGauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Collects durations or sizes.
#[derive(Clone, Debug)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// Records a duration in seconds.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    /// Records the time since `start`.
    pub fn since(&self, start: Instant) {
        self.observe(start.elapsed());
    }

    /// Records a value in the metric's unit.
    pub fn record(&self, value: f64) {
        self.0.observe(value);
    }

    /// How many values were recorded, since the process began.
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}

/// The counter of this name with these labels.
pub fn counter(name: &CounterName, labels: &[(&'static str, &'static str)]) -> Counter {
    let mut families = FAMILIES.lock();
    let Families { counters, registry, .. } = &mut *families;
    let family = family(counters, registry, &name.0, IntCounterVec::new);
    Counter(family.with_label_values(&in_order(&name.0, labels)))
}

/// The gauge of this name with these labels.
pub fn gauge(name: &GaugeName, labels: &[(&'static str, &'static str)]) -> Gauge {
    let mut families = FAMILIES.lock();
    let Families { gauges, registry, .. } = &mut *families;
    let family = family(gauges, registry, &name.0, IntGaugeVec::new);
    Gauge(family.with_label_values(&in_order(&name.0, labels)))
}

/// The histogram of this name with these labels.
pub fn histogram(name: &HistogramName, labels: &[(&'static str, &'static str)]) -> Histogram {
    let mut families = FAMILIES.lock();
    let Families { histograms, registry, .. } = &mut *families;
    let family = family(histograms, registry, &name.0, |opts, labels| {
        HistogramVec::new(HistogramOpts::from(opts).buckets(name.buckets().to_vec()), labels)
    });
    Histogram(family.with_label_values(&in_order(&name.0, labels)))
}

/// Everything measured so far, in Prometheus' text format 0.0.4.
pub fn exposition() -> String {
    let gathered = FAMILIES.lock().registry.gather();
    TextEncoder::new().encode_to_string(&gathered).unwrap_or_else(|error| {
        tracing::error!(%error, "metrics could not be encoded");
        String::new()
    })
}

#[derive(Default)]
struct Families {
    registry: Registry,
    counters: HashMap<&'static str, IntCounterVec>,
    gauges: HashMap<&'static str, IntGaugeVec>,
    histograms: HashMap<&'static str, HistogramVec>,
}

struct Guarded(Mutex<Families>);

impl Guarded {
    fn lock(&self) -> MutexGuard<'_, Families> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static FAMILIES: LazyLock<Guarded> = LazyLock::new(|| Guarded(Mutex::new(Families::default())));

/// The family of a name, registered at its first use.
fn family<'a, V: Collector + Clone + 'static>(
    known: &'a mut HashMap<&'static str, V>,
    registry: &Registry,
    name: &MetricName,
    make: impl FnOnce(Opts, &[&str]) -> prometheus::Result<V>,
) -> &'a V {
    known.entry(name.name).or_insert_with(|| {
        let made = make(Opts::new(name.name, name.help), name.labels);
        // The names are constants, and a test of names.rs makes and registers every one of them.
        let family = made.unwrap_or_else(|error| unreachable!("{} is no metric: {error}", name.name));
        if let Err(error) = registry.register(Box::new(family.clone())) {
            tracing::error!(metric = name.name, %error, "a metric is not exported");
        }
        family
    })
}

/// Values in the order in which the name lists its labels. A label that is left out is empty; one that the name does not
/// have is dropped. Both are mistakes that a debug build stops at.
fn in_order(name: &MetricName, labels: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let value = |label: &&str| labels.iter().find(|(given, _)| given == label).map(|(_, value)| *value);
    debug_assert!(
        labels.len() == name.labels.len() && name.labels.iter().all(|label| value(label).is_some()),
        "{} has the labels {:?}, not {labels:?}",
        name.name,
        name.labels,
    );
    name.labels.iter().map(|label| value(label).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;

    #[test]
    fn what_is_measured_is_exported_under_exactly_its_name() {
        let attempts = counter(&names::ATTEMPTS, &[("platform", "apns"), ("outcome", "sent")]);
        attempts.inc();
        counter(&names::ATTEMPTS, &[("outcome", "sent"), ("platform", "apns")]).add(2);
        assert_eq!(attempts.get(), 3, "the order in which labels are given does not matter");
        let seconds = histogram(&names::E2E_LATENCY_SECONDS, &[("platform", "apns"), ("lane", "bulk")]);
        seconds.observe(Duration::from_millis(120));
        gauge(&names::INFLIGHT, &[("stage", "dispatch")]).set(-2);
        let text = exposition();
        for line in [
            "# TYPE carillon_attempts_total counter",
            "carillon_attempts_total{outcome=\"sent\",platform=\"apns\"} 3",
            "carillon_e2e_latency_seconds_count{lane=\"bulk\",platform=\"apns\"} 1",
            "carillon_e2e_latency_seconds_sum{lane=\"bulk\",platform=\"apns\"} 0.12",
            "carillon_inflight{stage=\"dispatch\"} -2",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_held_is_counted_out_when_dropped() {
        let gauge = gauge(&names::INFLIGHT, &[("stage", "test")]);
        let held = gauge.hold();
        assert_eq!(gauge.get(), 1);
        drop(held);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    #[should_panic(expected = "has the labels")]
    fn a_wrong_label_stops_a_debug_build() {
        counter(&names::PROVIDER_THROTTLED, &[("platfrom", "apns")]);
    }
}
