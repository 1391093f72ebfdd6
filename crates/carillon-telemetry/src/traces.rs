//! Export of traces by OTLP over gRPC.

mod scrubbed;

use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
#[cfg(test)]
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Builder, Runtime};

use self::scrubbed::Scrubbed;
use crate::Error;
use crate::sampler::FollowLinks;

/// Where traces go.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// As the standard variables say; the exporter reads them itself, with headers, time-out and compression.
    Environment,
    /// One given by a test.
    #[cfg(test)]
    Given(String),
}

impl Endpoint {
    /// What the standard variables say: nowhere unless one of the endpoints is set, and not if tracing is turned off.
    pub(crate) fn from_environment() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is = |name: &str, word: &str| set(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
        endpoint.filter(|_| !off).map(|_| Self::Environment)
    }
}

/// The tracer provider and the thread its exporter runs on.
///
/// The exporter has an event loop of its own: on the service's, a shutdown that waits for the last batch can wait for
/// the very thread it stands on (known with a single worker, the usual size of a pod).
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    thread: Option<Runtime>,
}

impl Traces {
    pub(crate) fn export(service: &'static str, endpoint: &Endpoint, ratio: f64) -> Result<Self, Error> {
        let thread = Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build();
        let thread = thread.map_err(Error::Thread)?;
        let exporter = {
            let _inside = thread.enter();
            let builder = SpanExporter::builder().with_tonic();
            let builder = match endpoint {
                Endpoint::Environment => builder,
                #[cfg(test)]
                Endpoint::Given(url) => builder.with_endpoint(url),
            };
            builder.build()
        };
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                thread.shutdown_background();
                return Err(Error::Exporter(error.to_string()));
            }
        };
        let mut builder = SdkTracerProvider::builder()
            .with_batch_exporter(Scrubbed(exporter))
            .with_resource(Resource::builder().with_service_name(service).build());
        // Where the operator names a sampler, the SDK reads it by itself.
        if std::env::var_os("OTEL_TRACES_SAMPLER").is_none() {
            builder = builder.with_sampler(FollowLinks::with_ratio(ratio));
        }
        Ok(Self { provider: builder.build(), thread: Some(thread) })
    }

    pub(crate) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Exports what is buffered and ends; blocks for at most `limit`.
    pub(crate) fn shut_down(self, limit: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Waiting is not allowed on an event loop, where tests may drop this.
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
