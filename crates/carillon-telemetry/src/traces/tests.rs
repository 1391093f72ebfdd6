use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tracing::{Instrument as _, Subscriber as _};
use tracing_subscriber::prelude::*;

use super::*;
use crate::{extract, inject};

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        for of_service in request.into_inner().resource_spans {
            let resource = format!("{:?}", of_service.resource);
            let spans = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (resource.clone(), span)));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    #[allow(clippy::disallowed_methods, reason = "the runtime crate is above this one")]
    async fn start(&self) -> Endpoint {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Endpoint::Given(format!("http://{address}"))
    }

    fn span(&self, name: &str) -> Span {
        let spans = self.0.lock().unwrap();
        spans.iter().find(|(_, span)| span.name == name).map(|(_, span)| span.clone()).unwrap()
    }
}

#[tokio::test]
async fn a_trace_goes_on_behind_the_broker_and_a_chunk_is_linked_to_it_and_no_secret_leaves() {
    let collector = Collector::default();
    let traces = Traces::export("ingest-api", &collector.start().await, 1.0).unwrap();
    let layer = tracing_opentelemetry::layer().with_tracer(traces.provider().tracer("carillon"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let guard = tracing::subscriber::set_default(subscriber);

    let carried = async { inject() }.instrument(tracing::info_span!("publish")).await;
    assert_eq!(carried.len(), 1, "an empty tracestate is not carried: {carried:?}");
    let remote = extract(&carried);

    let run = tracing::info_span!("run");
    remote.continue_in(&run);
    run.in_scope(|| {});
    let chunk = tracing::info_span!(parent: None, "chunk");
    remote.link_to(&chunk);
    chunk.in_scope(|| {});
    let phone = tracing::info_span!("sms", phone = "+48501502503", note = "to +48501502503");
    phone.in_scope(|| tracing::info!(token = "abc", "sent to +48501502503"));
    drop((run, chunk, phone, guard));
    tokio::task::spawn_blocking(move || traces.shut_down(Duration::from_secs(5))).await.unwrap();

    let (publish, run, chunk) = (collector.span("publish"), collector.span("run"), collector.span("chunk"));
    assert_eq!(run.trace_id, publish.trace_id);
    assert_eq!(run.parent_span_id, publish.span_id);
    assert_ne!(chunk.trace_id, publish.trace_id);
    assert_eq!(chunk.links.len(), 1);
    assert_eq!(chunk.links[0].span_id, publish.span_id);
    assert!(collector.0.lock().unwrap()[0].0.contains("ingest-api"), "the service names itself");
    let sms = format!("{:?}", collector.span("sms"));
    assert!(sms.contains("sent to ***"), "{sms}");
    assert!(!sms.contains("501502503") && !sms.contains("abc"), "what leaves the process is scrubbed: {sms}");
}

#[tokio::test]
async fn a_quiet_log_does_not_switch_traces_off() {
    let collector = Collector::default();
    let traces = Traces::export("x", &collector.start().await, 1.0).unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).boxed();
    let filter = crate::filter::from_directives("warn").unwrap();
    let subscriber = crate::setup::subscriber(filter, layer, Some(traces.provider().tracer("carillon")));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("quiet").in_scope(|| tracing::info!("said to nobody"));
        tracing::debug_span!("too fine").in_scope(|| tracing::warn!("said aloud"));
    });
    tokio::task::spawn_blocking(move || traces.shut_down(Duration::from_secs(5))).await.unwrap();
    assert_eq!(collector.span("quiet").events.len(), 1);
    assert!(!collector.0.lock().unwrap().iter().any(|(_, span)| span.name == "too fine"));
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(lines.contains("said aloud") && !lines.contains("said to nobody"), "{lines}");
}

#[tokio::test]
async fn what_libraries_may_not_say_costs_nothing_at_each_passing() {
    let quiet = || tracing_subscriber::fmt::layer().with_writer(std::io::sink).boxed();
    let traces = Traces::export("x", &Endpoint::Given("http://127.0.0.1:9".to_owned()), 1.0).unwrap();
    // Where everything is let through, a span tells of its place in the code.
    let place = tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        tracing::trace_span!(target: "h2::proto", "poll").metadata().unwrap()
    });
    for tracer in [None, Some(traces.provider().tracer("carillon"))] {
        let filter = crate::filter::from_directives("info").unwrap();
        let subscriber = crate::setup::subscriber(filter, quiet(), tracer);
        assert!(subscriber.register_callsite(place).is_never());
    }
    let end = tokio::task::spawn_blocking(move || traces.shut_down(Duration::from_millis(500)));
    tokio::time::timeout(Duration::from_secs(10), end).await.unwrap().unwrap();
}

/// Log lines, kept.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_collector_that_is_away_does_not_hold_up_the_end() {
    let traces = Traces::export("x", &Endpoint::Given("http://127.0.0.1:9".to_owned()), 1.0).unwrap();
    let layer = tracing_opentelemetry::layer().with_tracer(traces.provider().tracer("carillon"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info_span!("lost").in_scope(|| {});
    });
    let end = tokio::task::spawn_blocking(move || traces.shut_down(Duration::from_millis(500)));
    tokio::time::timeout(Duration::from_secs(10), end).await.unwrap().unwrap();
}
