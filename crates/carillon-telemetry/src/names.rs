//! Every metric and every field name of the platform, in one place.
//!
//! Metrics are `carillon_<noun>_<unit>`, counters end in `_total`, durations are seconds. Labels are few and their values
//! come from closed enums: never an id, token, URL, error text or tenant (exact numbers per tenant come from the
//! database). A process should stay below 3 000 series.

mod cascades;
mod dispatch;
mod fields;
mod intake;
mod process;

pub use cascades::*;
pub use dispatch::*;
pub use fields::field;
pub use intake::*;
pub use process::*;

use std::fmt::Write as _;

/// What is common to all kinds of metrics.
#[derive(Debug, PartialEq)]
pub struct MetricName {
    /// The name as `/metrics` shows it.
    pub name: &'static str,
    /// What it says, with its unit and the values of its labels.
    pub help: &'static str,
    /// Names of its labels; every use gives a value for each.
    pub labels: &'static [&'static str],
}

/// Name of a counter.
#[derive(Debug, PartialEq)]
pub struct CounterName(pub(crate) MetricName);

/// Name of a gauge.
#[derive(Debug, PartialEq)]
pub struct GaugeName(pub(crate) MetricName);

/// Name of a histogram.
#[derive(Debug, PartialEq)]
pub struct HistogramName(pub(crate) MetricName, Buckets);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Buckets {
    /// Network and database calls: 1 ms to 30 s.
    Call,
    /// Waiting: 5 ms to 1 h.
    Wait,
    /// Sizes: 1 to 10 million.
    Size,
}

impl HistogramName {
    /// Upper bounds in the metric's unit. The bounds of the service level objectives (0.1 s, 5 s, 10 s, 30 s, 60 s) are
    /// among them, so that a share below such a bound is exact.
    pub(crate) const fn buckets(&self) -> &'static [f64] {
        match self.1 {
            Buckets::Call => &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            Buckets::Wait => &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0],
            Buckets::Size => &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7],
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> CounterName {
    CounterName(MetricName { name, help, labels })
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> GaugeName {
    GaugeName(MetricName { name, help, labels })
}

const fn calls(name: &'static str, labels: &'static [&'static str], help: &'static str) -> HistogramName {
    HistogramName(MetricName { name, help, labels }, Buckets::Call)
}

const fn waits(name: &'static str, labels: &'static [&'static str], help: &'static str) -> HistogramName {
    HistogramName(MetricName { name, help, labels }, Buckets::Wait)
}

const fn sizes(name: &'static str, labels: &'static [&'static str], help: &'static str) -> HistogramName {
    HistogramName(MetricName { name, help, labels }, Buckets::Size)
}

/// Declares names as constants with their help as documentation, and the lists that tests and the reference go through.
macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: metrics!(@type $kind) = crate::names::$kind($name, &[$($label),*], $help);
        )*
        /// Kind and name of everything in this module.
        pub(super) fn list() -> Vec<(&'static str, crate::names::MetricName)> {
            vec![$((metrics!(@word $kind), $constant.0)),*]
        }
        #[cfg(test)]
        pub(super) fn bind_all() {
            $(metrics!(@bind $kind $constant [$($label),*]);)*
        }
        #[cfg(test)]
        pub(super) const CONSTANTS: &[&str] = &[$(stringify!($constant)),*];
    };
    (@type counter) => { crate::names::CounterName };
    (@type gauge) => { crate::names::GaugeName };
    (@type $histogram:ident) => { crate::names::HistogramName };
    (@word counter) => { "counter" };
    (@word gauge) => { "gauge" };
    (@word $histogram:ident) => { "histogram" };
    (@bind counter $constant:ident [$($label:literal),*]) => { crate::metrics::counter(&$constant, &[$(($label, "x")),*]) };
    (@bind gauge $constant:ident [$($label:literal),*]) => { crate::metrics::gauge(&$constant, &[$(($label, "x")),*]) };
    (@bind $kind:ident $constant:ident [$($label:literal),*]) => {
        crate::metrics::histogram(&$constant, &[$(($label, "x")),*])
    };
}
use metrics;

/// What stands above the table.
const PREFACE: &str = "\
# Metrics

Every service serves these at `/metrics` on its admin port (`CARILLON_ADMIN__LISTEN`), in Prometheus' text format; a metric
appears with its first use. Durations are in seconds, counters end in `_total`. No label holds an id, a token, a URL or a
tenant: numbers per tenant come from the API.

This page is written by `UPDATE_EXPECT=1 cargo test -p carillon-telemetry`.

";

fn all() -> Vec<(&'static str, MetricName)> {
    [process::list(), intake::list(), dispatch::list(), cascades::list()].into_iter().flatten().collect()
}

/// docs/metrics.md: what `/metrics` shows. A test holds the page against this, and with `UPDATE_EXPECT=1` writes it.
pub fn reference() -> String {
    let mut text = String::from(PREFACE);
    text.push_str("| metric | kind | labels | says |\n|---|---|---|---|\n");
    for (kind, metric) in all() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_name_follows_the_rules_and_stands_alone() {
        let mut seen = HashSet::new();
        for (kind, metric) in all() {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            let standard = ["http_server_request_duration_seconds", "rpc_server_call_duration_seconds"];
            assert!(name.starts_with("carillon_") || standard.contains(&name), "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            assert!(metric.labels.len() <= 3, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}");
            for label in metric.labels {
                let unbounded = ["tenant", "app", "id", "token", "user", "url", "error"];
                assert!(!unbounded.contains(label), "{name} {label}");
                assert!(metric.help.contains(&format!("`{label}`")), "the help of {name} does not explain {label}");
            }
        }
    }

    #[test]
    fn every_name_can_be_registered_and_is_exported() {
        process::bind_all();
        intake::bind_all();
        dispatch::bind_all();
        cascades::bind_all();
        let text = crate::exposition();
        for (kind, metric) in all() {
            assert!(text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
        }
    }

    #[test]
    fn bounds_of_objectives_are_buckets() {
        for bound in [5.0, 10.0, 30.0, 60.0] {
            assert!(E2E_LATENCY_SECONDS.buckets().contains(&bound));
        }
        assert!(ACCEPT_SECONDS.buckets().contains(&0.1));
    }

    #[test]
    fn the_page_of_metrics_is_what_the_code_says() {
        let rows = reference().lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, all().len());
        expect_test::expect_file!["../../../docs/metrics.md"].assert_eq(&reference());
    }

    #[test]
    fn every_metric_is_measured_by_some_crate() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut sources = String::new();
        for of in std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path()) {
            if of != Path::new(env!("CARGO_MANIFEST_DIR")) {
                gather(&of.join("src"), &mut sources);
            }
        }
        // BUILD_INFO is measured by `init`.
        let constants = [process::CONSTANTS, intake::CONSTANTS, dispatch::CONSTANTS, cascades::CONSTANTS].concat();
        for constant in constants.into_iter().filter(|constant| *constant != "BUILD_INFO") {
            let uses = [format!("names::{constant},"), format!("(&{constant},")];
            assert!(uses.iter().any(|used| sources.contains(used)), "nobody measures {constant}");
        }
    }

    fn gather(directory: &Path, sources: &mut String) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                gather(&path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}
