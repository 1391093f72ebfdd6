//! A caller over HTTP.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::world::World;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// The answer's error code.
    pub(crate) fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }

    /// The pointers of its faults.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().filter_map(|error| error["pointer"].as_str()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

/// Calls the service.
pub(crate) async fn call(key: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
    call_with(key, method, path, body, &[]).await
}

/// As [`call`], with more headers.
pub(crate) async fn call_with(
    key: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
    headers: &[(&str, &str)],
) -> Reply {
    call_at(World::get().http, key, method, path, body, headers).await
}

/// As [`call_with`], of another instance.
pub(crate) async fn call_at(
    address: std::net::SocketAddr,
    key: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
    headers: &[(&str, &str)],
) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("authorization", format!("Bearer {key}"));
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default());
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.body(body).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Reply { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn get(key: &str, path: &str) -> Reply {
    call(key, Method::GET, path, None).await
}

pub(crate) async fn put(key: &str, path: &str, body: Value) -> Reply {
    call(key, Method::PUT, path, Some(body)).await
}

pub(crate) async fn patch(key: &str, path: &str, body: Value) -> Reply {
    call(key, Method::PATCH, path, Some(body)).await
}

pub(crate) async fn post(key: &str, path: &str, body: Value) -> Reply {
    call(key, Method::POST, path, Some(body)).await
}

pub(crate) async fn delete(key: &str, path: &str) -> Reply {
    call(key, Method::DELETE, path, None).await
}
