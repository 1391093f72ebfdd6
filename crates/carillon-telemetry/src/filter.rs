//! Which log lines pass: what the operator asked for, below caps that only the code can change.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::Error;

/// Crates that print secrets at their lower levels, and the most they may say. `h2` and `hyper` print header blocks and
/// provider URLs with device tokens in them, `yup_oauth2` prints access tokens, `lapin` prints connection URLs,
/// `tokio_postgres` prints statements with their parameters, `rustls` prints handshakes.
const CAPS: &[&str] = &[
    "h2=warn",
    "hyper=info",
    "hyper_util=info",
    "a2=info",
    "yup_oauth2=info",
    "web_push=info",
    "lapin=info",
    "amq_protocol=info",
    "tokio_postgres=info",
    "deadpool_postgres=info",
    "rustls=warn",
    "tokio_rustls=warn",
    "tonic=info",
    "tower=info",
    "opentelemetry=warn",
    "opentelemetry_sdk=warn",
    "opentelemetry_otlp=warn",
];

/// The filter for `directives` with the caps on top.
pub(crate) fn from_directives(directives: &str) -> Result<EnvFilter, Error> {
    let asked = EnvFilter::builder().parse(directives).map_err(|e| Error::LogFilter(e.to_string()))?;
    CAPS.iter().try_fold(asked, |filter, cap| {
        let cap: Directive = cap.parse().map_err(|_| Error::LogFilter((*cap).to_owned()))?;
        Ok(filter.add_directive(cap))
    })
}
