//! Which log lines pass: what the operator asked for, below caps that only the code can change. And which spans and events
//! are traced.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;

use crate::Error;

/// Crates that print secrets at their lower levels, and the most they may say. `h2` and `hyper` print header blocks and
/// provider URLs with device tokens in them, `yup_oauth2` prints access tokens, `tokio_postgres` prints statements with
/// their parameters, `rustls` prints handshakes. `lapin` may say nothing: it prints returned messages with their bodies as
/// warnings, connection URLs below, and calls every orderly close an error; that a connection or a consumer is lost, and
/// why, is said by carillon-broker.
const CAPS: &[(&str, LevelFilter)] = &[
    ("a2", LevelFilter::INFO),
    ("amq_protocol", LevelFilter::INFO),
    ("deadpool_postgres", LevelFilter::INFO),
    ("h2", LevelFilter::WARN),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("lapin", LevelFilter::OFF),
    ("opentelemetry", LevelFilter::WARN),
    ("rusmpp", LevelFilter::INFO),
    ("rustls", LevelFilter::WARN),
    ("tokio_postgres", LevelFilter::INFO),
    ("tokio_rustls", LevelFilter::WARN),
    ("tonic", LevelFilter::INFO),
    ("tower", LevelFilter::INFO),
    ("web_push", LevelFilter::INFO),
    ("yup_oauth2", LevelFilter::INFO),
];

/// What traces may hold, below the same caps. How many are recorded is the sampler's business.
pub(crate) const TRACED: LevelFilter = LevelFilter::INFO;

/// What the operator asked for.
pub(crate) fn from_directives(directives: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder().parse(directives).map_err(|error| Error::LogFilter(error.to_string()))
}

/// The caps as a filter of their own: inside the operator's, a directive for one module would win over its crate's cap.
pub(crate) fn caps() -> Targets {
    Targets::new().with_default(LevelFilter::TRACE).with_targets(CAPS.iter().copied())
}
