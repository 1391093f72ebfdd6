//! Sets up logs and traces once per process, and flushes them at its end.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Subscriber;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::lines::{JsonLines, SafeFields};
use crate::traces::{Endpoint, Traces};
use crate::{Config, Error, LogFormat, filter, metrics, names};

/// Keeps telemetry alive; [`Guard::flush`] it as the last step of the process.
#[derive(Debug)]
pub struct Guard {
    traces: Option<Traces>,
}

impl Guard {
    /// Exports what is still buffered and stops the exporter; gives up after `limit`. Blocks: call it off the event loop.
    pub fn flush(mut self, limit: Duration) {
        if let Some(traces) = self.traces.take() {
            traces.shut_down(limit);
        }
    }
}

/// Sets up the logs of the process on standard output, its traces if `OTEL_EXPORTER_OTLP_ENDPOINT` (or the one for
/// traces) is set, and a panic hook that logs. Called once; where a subscriber is installed already (several services in
/// one test process), that one stays.
///
/// # Errors
/// [`Error`], each a mistake in the configuration.
pub fn init(service: &'static str, config: &Config) -> Result<Guard, Error> {
    config.judge_ratio()?;
    let filter = filter::from_directives(&config.log)?;
    let traces = Endpoint::from_environment()
        .map(|endpoint| Traces::export(service, &endpoint, config.sample_ratio))
        .transpose()?;
    let tracer = traces.as_ref().map(|traces| traces.provider().tracer("carillon"));
    let lines = match config.log_format {
        LogFormat::Json => {
            fmt::layer().fmt_fields(SafeFields::Json).event_format(JsonLines::new(service)).with_ansi(false).boxed()
        }
        LogFormat::Text => fmt::layer().fmt_fields(SafeFields::Text).with_ansi(false).boxed(),
    };
    if subscriber(filter, lines, tracer).try_init().is_ok() {
        log_panics();
    }
    metrics::gauge(&names::BUILD_INFO, &[("service", service), ("version", env!("CARGO_PKG_VERSION"))]).set(1);
    Ok(Guard { traces })
}

/// What the operator asked for is about log lines alone: a quiet log is no reason to lose traces. The caps stand in front of both, so that what
/// they stop is found out once for each place in the code, not at each passing: `h2` passes many for every request.
pub(crate) fn subscriber(
    filter: EnvFilter,
    lines: Box<dyn Layer<Registry> + Send + Sync>,
    tracer: Option<SdkTracer>,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync {
    let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter::TRACED));
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).with(filter::caps())
}

/// A panic becomes a log line like any other, so that it is scrubbed and found where the other lines are.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("?");
        tracing::error!(panic.message = message, panic.location = place, "panic");
    }));
}
