//! What surrounds every request: id, span, metrics, the limit of requests in work, the deadline, panics, problem+json.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use carillon_failpoint::Point;
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::observe::{self, Durations};
use super::problem::Problem;
use super::request_id::RequestId;
use crate::config::Http;
use crate::refusal::Refusal;

const IGNORED_FIELDS: HeaderName = HeaderName::from_static("carillon-ignored-fields");
/// Bytes of the header that names ignored fields.
const IGNORED_BYTES: usize = 1_024;

/// What the frame needs to know.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    in_work: Arc<Semaphore>,
    durations: Arc<Durations>,
    deadline: Duration,
    pub(super) body_timeout: Duration,
}

impl Frame {
    pub(super) fn new(config: &Http) -> Self {
        Self {
            in_work: Arc::new(Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            durations: Arc::new(Durations::new()),
            deadline: config.deadline.get(),
            body_timeout: config.body_timeout.get(),
        }
    }
}

/// What is learned inside and said outside: the fields of a body that were ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(super) fn ignored(&self, pointers: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(pointers);
    }

    fn header(&self) -> Option<HeaderValue> {
        let mut text = String::new();
        for pointer in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let shown: String = form_urlencoded::byte_serialize(pointer.as_bytes()).collect();
            let shown = shown.replace("%2F", "/");
            if text.len() + shown.len() > IGNORED_BYTES {
                text.push_str(", ...");
                break;
            }
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&shown);
        }
        if text.is_empty() { None } else { HeaderValue::from_str(&text).ok() }
    }
}

pub(super) async fn frame(
    frame: Frame,
    mut request: Request,
    inner: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    // The pattern, never the path: paths carry ids of persons and devices.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(observe::UNMATCHED, MatchedPath::as_str);
    let method = request.method().clone();
    let span = observe::span(&method, route, &id, request.headers());
    let notes = Notes::default();
    let extensions = request.extensions_mut();
    extensions.insert(id.clone());
    extensions.insert(notes.clone());
    extensions.insert(frame.clone());
    // In a box: what follows moves it more than once.
    let inner = Box::pin(inner(request));
    let mut response = answer(&frame, inner).instrument(span.clone()).await;
    if let Some(problem) = problem_of(&response) {
        response = problem.render(&id.0);
    }
    let headers = response.headers_mut();
    id.mark(headers);
    if let Some(ignored) = notes.header() {
        headers.insert(IGNORED_FIELDS, ignored);
    }
    frame.durations.done(&span, &method, route, response.status(), began.elapsed());
    response
}

/// Answers within the deadline, whatever happens inside.
async fn answer(frame: &Frame, inner: impl Future<Output = Response>) -> Response {
    let Ok(_permit) = frame.in_work.try_acquire() else {
        frame.durations.turned_away();
        return Problem::from(Refusal::unavailable()).into_response();
    };
    let handled = Point::RestAnswer.around(async { Ok::<_, Refusal>(inner.await) });
    let work = AssertUnwindSafe(handled).catch_unwind();
    match tokio::time::timeout(frame.deadline, work).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(refusal))) => Problem::from(refusal).into_response(),
        Ok(Err(_)) => {
            // The panic's own message went to the log by the hook, and says more than may be told.
            tracing::error!("a handler panicked");
            Problem::from(Refusal::internal()).into_response()
        }
        Err(_) => {
            tracing::warn!("a request ran out of time");
            Problem::from(Refusal::unavailable()).into_response()
        }
    }
}

/// The problem an answer carries; errors that axum made by itself get one.
fn problem_of(response: &Response) -> Option<Problem> {
    let status = response.status();
    let problem = response.extensions().get::<Problem>().cloned();
    problem.or_else(|| (status.is_client_error() || status.is_server_error()).then(|| Problem::of_status(status)))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::State;
    use axum::middleware::{Next, from_fn_with_state};
    use axum::routing::get;
    use carillon_runtime::config::HumanDuration;
    use http::header;
    use tower::ServiceExt as _;

    use super::*;

    async fn answer_of(handler: axum::routing::MethodRouter, config: Http) -> (u16, serde_json::Value, Response) {
        let around = async |State(bounds): State<Frame>, request: Request, next: Next| {
            frame(bounds, request, async |request| next.run(request).await).await
        };
        let router = Router::new().route("/", handler).layer(from_fn_with_state(Frame::new(&config), around));
        let request = http::Request::builder().uri("/").header("x-request-id", "r1").body(Body::empty()).unwrap();
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, 10_000).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap();
        (parts.status.as_u16(), body, Response::from_parts(parts, Body::empty()))
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing() {
        async fn panics() {
            panic!("token abc123");
        }
        let (status, body, _) = answer_of(get(panics), Http::default()).await;
        assert_eq!((status, &body["code"], &body["request_id"]), (500, &"internal".into(), &"r1".into()));
        assert!(!body.to_string().contains("abc123"));
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_is_cut_off_with_503() {
        let config = Http { deadline: HumanDuration::from_millis(20), ..Http::default() };
        let (status, body, response) = answer_of(get(std::future::pending::<()>), config).await;
        assert_eq!((status, &body["code"]), (503, &"unavailable".into()));
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn what_axum_refuses_by_itself_is_a_problem_too() {
        let refuses = get(async || (http::StatusCode::BAD_REQUEST, "plain words of a library"));
        let (status, body, response) = answer_of(refuses, Http::default()).await;
        assert_eq!((status, &body["code"]), (400, &"invalid_request".into()));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn ignored_fields_fit_into_a_header_whatever_they_are_called() {
        let notes = Notes::default();
        assert_eq!(notes.header(), None);
        notes.ignored(vec!["/a".into(), "/b/ż\r\nx".into()]);
        assert_eq!(notes.header().unwrap(), "/a, /b/%C5%BC%0D%0Ax");
        notes.ignored(vec![format!("/{}", "x".repeat(60)); 100]);
        assert!(notes.header().unwrap().len() < IGNORED_BYTES + 10);
    }
}
