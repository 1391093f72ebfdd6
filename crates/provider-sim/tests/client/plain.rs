//! An HTTP client for everything else, over HTTP/1.1 or HTTP/2, with or without TLS.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{DEADLINE, Reply, authority, tls};

/// One request.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        let mut ask = self.header("content-type", "application/json");
        ask.body = body.to_string().into_bytes();
        ask
    }

    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let mut ask = self.header("content-type", "application/x-www-form-urlencoded");
        ask.body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        ask
    }

    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Over HTTP/1.1; TLS if the URL says so.
    pub async fn send(self, ca_pem: &str) -> Result<Reply, hyper::Error> {
        tokio::time::timeout(DEADLINE, self.send_in_time(ca_pem)).await.expect("an answer in time")
    }

    async fn send_in_time(self, ca_pem: &str) -> Result<Reply, hyper::Error> {
        let request = self.request(false);
        if self.url.starts_with("https://") {
            let stream = tls(&self.url, ca_pem, &["http/1.1"]).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return read(sender.send_request(request).await?).await;
        }
        let stream = TcpStream::connect(authority(&self.url)).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        read(sender.send_request(request).await?).await
    }

    /// Over HTTP/2 and TLS.
    pub async fn send_h2(self, ca_pem: &str) -> Result<Reply, hyper::Error> {
        let stream = tls(&self.url, ca_pem, &["h2"]).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let exchange = async { read(sender.send_request(self.request(true)).await?).await };
        tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
    }

    fn request(&self, h2: bool) -> Request<Full<Bytes>> {
        let host = authority(&self.url);
        let target = self.url.split_once(&host).unwrap().1;
        let target = if target.is_empty() { "/" } else { target };
        let mut request = Request::builder().method(self.method.clone());
        request = if h2 { request.uri(&self.url) } else { request.uri(target).header("host", host) };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(self.body.clone()))).unwrap()
    }
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Result<Reply, hyper::Error> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
}
