//! `/openapi.json`: OpenAPI 3.1, made from the handlers and the table of routes.

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::routes as table;
use crate::ingest::Shared;

/// A refusal (RFC 9457).
#[derive(ToSchema)]
#[allow(dead_code, reason = "the form of the document; problem.rs writes it")]
struct Problem {
    /// `urn:carillon:problem:` and the code.
    r#type: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What programs decide by; stable.
    code: String,
    /// What is wrong, for a person.
    detail: String,
    /// As in `X-Request-Id`.
    request_id: String,
    /// Every fault of the request, if it is the request.
    errors: Option<Vec<ProblemFault>>,
}

/// One fault of a request.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the form of the document; problem.rs writes it")]
struct ProblemFault {
    /// JSON pointer (RFC 6901) into the body; `/query/...`, `/path/...` and `/headers/...` for the rest of the request.
    pointer: String,
    /// What would be right.
    detail: String,
    /// The code of this fault.
    code: String,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Carillon", description = "Self-hosted push notifications.", license(name = "MIT OR Apache-2.0")),
    components(schemas(Problem, ProblemFault))
)]
struct Description;

pub(super) fn description() -> OpenApiDocument {
    Description::openapi()
}

pub(super) fn routes(text: &Document) -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(document)).layer(Extension(text.clone()))
}

/// The document as it is served, made when it is first asked for: what it is made of takes megabytes, and few processes are asked.
#[derive(Clone, Debug)]
pub(super) struct Document(Arc<Made>);

#[derive(Debug)]
struct Made {
    text: OnceLock<Bytes>,
    public_url: Option<String>,
}

impl Document {
    /// The document of an API that callers reach by this URL.
    pub(super) fn new(public_url: Option<String>) -> Self {
        Self(Arc::new(Made { text: OnceLock::new(), public_url }))
    }

    fn text(&self) -> Bytes {
        let made = || make(super::resources(self).into_openapi(), self.0.public_url.as_deref());
        self.0.text.get_or_init(made).clone()
    }
}

/// Adds to what the handlers say: who may call, and what every refusal looks like.
fn make(document: OpenApiDocument, public_url: Option<&str>) -> Bytes {
    let mut value = serde_json::to_value(document).unwrap_or_default();
    for route in table::ROUTES {
        let method = route.method.as_str().to_ascii_lowercase();
        let Some(operation) = value.pointer_mut("/paths").and_then(|p| p.get_mut(route.path)?.get_mut(&method)) else {
            continue;
        };
        if !route.access.is_public() {
            operation["security"] = json!([{"key": []}]);
            operation["x-carillon-needs"] = route.access.needs().into();
        }
        operation["responses"]["default"] = refusal();
        describe(&mut operation["responses"]);
        name(operation, route.path);
    }
    value["components"]["securitySchemes"] = json!({"key": {"type": "http", "scheme": "bearer"}});
    if let Some(url) = public_url {
        value["servers"] = json!([{"url": url}]);
    }
    value.to_string().into()
}

/// OpenAPI wants words for every answer; those that need none of their own get HTTP's.
fn describe(responses: &mut Value) {
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        let reason = status.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok()?.canonical_reason());
        if let Some(response) = response.as_object_mut() {
            response.entry("description").or_insert_with(|| reason.unwrap_or("an answer").into());
        }
    }
}

/// The handler's name says what is done, the path to what: `put_apps_devices`. Generators of clients make a function of each,
/// so no two may be equal.
fn name(operation: &mut Value, path: &str) {
    let done = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let things = path.split(['/', ':']).filter(|part| !part.is_empty() && !part.starts_with('{') && *part != "v1");
    let things = things.filter(|part| !done.ends_with(part)).map(|part| part.replace(['-', '.'], "_"));
    operation["operationId"] = [done.clone()].into_iter().chain(things).collect::<Vec<_>>().join("_").into();
}

fn refusal() -> Value {
    let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    json!({"description": "refused", "content": {"application/problem+json": schema}})
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "about", responses((status = 200, description = "OpenAPI 3.1")))]
async fn document(Extension(document): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.text()).into_response()
}
