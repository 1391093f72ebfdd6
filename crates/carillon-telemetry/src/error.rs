//! Why telemetry could not be set up.

/// Why telemetry could not be set up. All of these are mistakes in the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `telemetry.log` is not a list of filter directives.
    #[error("is not a list of filter directives such as `info` or `info,segmenter=debug`: {0}")]
    LogFilter(String),
    /// `telemetry.sample_ratio` is out of bounds.
    #[error("must lie between 0.0 and 1.0")]
    SampleRatio,
    /// The exporter for traces could not be built from the `OTEL_*` variables.
    #[error("the OTEL_EXPORTER_OTLP_* variables do not describe an OTLP/gRPC endpoint: {0}")]
    Exporter(String),
    /// The thread of the exporter could not be started.
    #[error("the thread of the trace exporter could not be started")]
    Thread(#[source] std::io::Error),
}
