//! An APNs client on the h2 crate.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, Request, Uri};
use provider_sim::{ApnsKey, IssuedCertificate, Sim};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{DEADLINE, Reply, Signer, authority, carillon, jwt, now, tls, tls_as};

pub const TOKEN: &str = "00aa11bb22cc33dd44ee55ff66778899";
pub const TEAM: &str = "TEAM000001";
pub const KEY: &str = "KEY0000001";
pub const BUNDLE: &str = "com.example.shop";

/// An app's server with its key.
pub struct App {
    pub signer: Signer,
    tokens: Mutex<HashMap<i64, String>>,
}

impl App {
    pub fn register(sim: &Sim) -> Self {
        let app = Self::with(Signer::generate());
        sim.register_apns_key(app.key(None)).unwrap();
        app
    }

    pub fn with(signer: Signer) -> Self {
        Self { signer, tokens: Mutex::default() }
    }

    pub fn key(&self, environment: Option<provider_sim::Environment>) -> ApnsKey {
        ApnsKey {
            team_id: TEAM.to_owned(),
            key_id: KEY.to_owned(),
            public_key: Some(self.signer.public_pem()),
            bundle_ids: vec![BUNDLE.to_owned()],
            environment,
        }
    }

    /// The provider token issued so many seconds ago; the same one each time, as a server keeps it.
    pub fn token(&self, age: i64) -> String {
        let fresh = || self.token_of(json!({"alg": "ES256", "kid": KEY}), json!({"iss": TEAM, "iat": now() - age}));
        self.tokens.lock().unwrap().entry(age).or_insert_with(fresh).clone()
    }

    pub fn token_of(&self, header: Value, claims: Value) -> String {
        format!("bearer {}", jwt(&header, &claims, |message| self.signer.sign(message)))
    }
}

/// One request, right in everything until a test changes it.
#[derive(Clone)]
pub struct Push {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Push {
    pub fn alert(authorization: &str) -> Self {
        let payload = json!({"aps": {"alert": {"title": "Hi"}, "mutable-content": 1}, "carillon": carillon()});
        Self::new(authorization, "alert", "10", &payload)
    }

    pub fn background(authorization: &str) -> Self {
        Self::new(authorization, "background", "5", &json!({"aps": {"content-available": 1}, "carillon": carillon()}))
    }

    fn new(authorization: &str, push_type: &str, priority: &str, payload: &Value) -> Self {
        Self {
            method: Method::POST,
            path: format!("/3/device/{TOKEN}"),
            headers: Vec::new(),
            body: payload.to_string().into_bytes(),
        }
        .header("authorization", authorization)
        .header("apns-topic", BUNDLE)
        .header("apns-push-type", push_type)
        .header("apns-priority", priority)
    }

    pub fn to(mut self, token: &str) -> Self {
        self.path = format!("/3/device/{token}");
        self
    }

    /// Replaces a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header, even if it is there.
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn payload(mut self, payload: impl ToString) -> Self {
        self.body = payload.to_string().into_bytes();
        self
    }
}

/// One connection.
#[derive(Clone)]
pub struct Connection {
    sender: h2::client::SendRequest<Bytes>,
    authority: String,
    pub closed: std::sync::Arc<tokio::sync::Mutex<tokio::task::JoinHandle<Result<(), h2::Error>>>>,
}

impl Connection {
    pub async fn open(url: &str, ca_pem: &str) -> Self {
        Self::over(tls(url, ca_pem, &["h2"]).await.unwrap(), url).await
    }

    /// With a client certificate.
    pub async fn open_as(url: &str, ca_pem: &str, issued: &IssuedCertificate) -> Self {
        let own = Some((issued.certificate.as_str(), issued.private_key.as_str()));
        Self::over(tls_as(url, ca_pem, &["h2"], own).await.unwrap(), url).await
    }

    pub async fn open_plain(url: &str) -> Self {
        Self::over(tokio::net::TcpStream::connect(authority(url)).await.unwrap(), url).await
    }

    async fn over<W: AsyncRead + AsyncWrite + Unpin + Send + 'static>(wire: W, url: &str) -> Self {
        let (sender, connection) = h2::client::handshake(wire).await.unwrap();
        let closed = tokio::spawn(connection);
        let closed = std::sync::Arc::new(tokio::sync::Mutex::new(closed));
        Self { sender, authority: authority(url), closed }
    }

    /// Streams that the server allows at present.
    pub fn most_streams(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    pub async fn push(&self, push: Push) -> Result<Reply, h2::Error> {
        let answer = self.start(push).await?;
        tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time")
    }

    /// Sends the body in frames of so many bytes.
    pub async fn push_in_pieces(&self, mut push: Push, bytes: usize) -> Result<Reply, h2::Error> {
        let body = std::mem::take(&mut push.body);
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(&push), false)?;
        for piece in body.chunks(bytes) {
            stream.send_data(Bytes::copy_from_slice(piece), false)?;
            tokio::task::yield_now().await;
        }
        stream.send_data(Bytes::new(), true)?;
        tokio::time::timeout(DEADLINE, read(response)).await.expect("an answer in time")
    }

    fn request(&self, push: &Push) -> Request<()> {
        let uri = format!("https://{}{}", self.authority, push.path).parse::<Uri>().unwrap();
        let mut request = Request::builder().method(push.method.clone()).uri(uri);
        for (name, value) in &push.headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap()
    }

    /// Sends and hands back what the answer can be waited for with.
    pub async fn start(&self, push: Push) -> Result<impl Future<Output = Result<Reply, h2::Error>> + use<>, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(&push), push.body.is_empty())?;
        if !push.body.is_empty() {
            stream.send_data(Bytes::from(push.body), true)?;
        }
        Ok(read(response))
    }
}

async fn read(response: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        read.extend_from_slice(&data);
    }
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: read })
}
