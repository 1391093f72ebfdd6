//! One connection: headers are judged in order as they come, bodies as they end. A request whose body is already there is
//! answered without a task of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason as H2Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};
use serde_json::Value;
use uuid::Uuid;

use super::identities::{Environment, Standing};
use super::payload::Payload;
use super::provider_token::Seen;
use super::reason::{Reason, encode};
use super::request::{self, Ask, PushType};
use crate::conditions::Disposition;
use crate::device;
use crate::exchange::{Answer, Decision, decide};
use crate::ledger::Entry;
use crate::listener::{Handle, Link, Serve, Wire, Wish};
use crate::reply::{Fate, Provider};
use crate::script::canonical;
use crate::state::State;

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_UNIQUE_ID: HeaderName = HeaderName::from_static("apns-unique-id");
/// A larger body is not read to its end.
const MOST_BODY: usize = 64 << 10;
/// Flow control windows wide enough that no sender of pushes has to wait for an update.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;
/// An HTTP/2 preface that takes longer is given up.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// One of Apple's hosts.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) state: Arc<State>,
    pub(crate) environment: Environment,
    pub(crate) max_streams: u32,
    pub(crate) one_stream_until_valid: bool,
}

/// What was made of a request's headers.
struct Head {
    uri: Uri,
    headers: HeaderMap,
    fingerprint: Arc<str>,
    judged: Result<Ask, Reason>,
}

/// A request on its way to its answer.
struct Push {
    door: Door,
    handle: Handle,
    valid: Arc<AtomicBool>,
    head: Head,
    respond: SendResponse<Bytes>,
}

impl Serve for Door {
    async fn serve<W: Wire>(self, wire: W, mut link: Link) {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(self.max_streams)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, builder.handshake::<_, Bytes>(wire));
        let Ok(Ok(mut connection)) = handshake.await else { return };
        let mut seen = Seen::default();
        let valid = Arc::new(AtomicBool::new(!self.one_stream_until_valid));
        loop {
            let (request, respond) = tokio::select! {
                // What is wished comes before a request that came after the wish.
                biased;
                wish = link.wished() => match wish {
                    Wish::Carry => continue,
                    Wish::GoAway => {
                        connection.graceful_shutdown();
                        continue;
                    }
                    Wish::Drop => return,
                },
                next = connection.accept() => match next {
                    Some(Ok(next)) => next,
                    Some(Err(_)) | None => return,
                },
            };
            let (parts, body) = request.into_parts();
            let head = self.look_at(parts, &mut seen);
            let push = Push { door: self.clone(), handle: link.handle(), valid: Arc::clone(&valid), head, respond };
            push.read(Body { stream: body, read: Read::Nothing }).await;
        }
    }
}

impl Door {
    fn look_at(&self, parts: Parts, seen: &mut Seen) -> Head {
        let identities = &self.state.apns;
        let authorization = parts.headers.get(http::header::AUTHORIZATION);
        let path = parts.uri.path();
        let good = request::check_line(&parts.method, path)
            .and_then(|()| request::check_single(&parts.headers))
            .and_then(|()| seen.check(authorization, identities, self.environment, self.state.clock.seconds()));
        let (fingerprint, judged) = match good {
            Ok(good) => {
                let judged = request::check_headers(&parts.headers, &good.key.bundle_ids);
                let judged = judged.and_then(|ask| self.check_token(path, &parts.headers, ask));
                (Arc::clone(&good.fingerprint), judged)
            }
            Err(reason) => {
                let hash = authorization.map(|value| crate::ledger::fingerprint(value.as_bytes()));
                (hash.unwrap_or_default().into(), Err(reason))
            }
        };
        Head { uri: parts.uri, headers: parts.headers, fingerprint, judged }
    }

    fn check_token(&self, path: &str, headers: &HeaderMap, ask: Ask) -> Result<Ask, Reason> {
        let token = request::device_token(path).unwrap_or_default();
        if !request::is_hexadecimal(token) {
            return Err(Reason::BadDeviceToken);
        }
        let topic = headers.get("apns-topic").and_then(|topic| topic.to_str().ok()).unwrap_or_default();
        let bundle_id = topic.strip_suffix(ask.push_type.topic_suffix()).unwrap_or(topic);
        match self.state.apns.standing(&canonical(Provider::Apns, token), bundle_id, self.environment) {
            Standing::Unknown if self.state.known_tokens_only() => Err(Reason::BadDeviceToken),
            Standing::OtherEnvironment => Err(Reason::BadDeviceToken),
            Standing::OtherApp => Err(Reason::DeviceTokenNotForTopic),
            Standing::Unknown | Standing::Fine => Ok(ask),
        }
    }
}

impl Push {
    /// Answers at once if the body is there, else as soon as it is.
    async fn read(mut self, mut body: Body) {
        match poll_fn(|cx| Poll::Ready(body.poll(cx))).await {
            Poll::Ready(Ok(bytes)) => self.conclude(&bytes),
            Poll::Ready(Err(BodyEnd::TooLarge)) => self.send(Reason::PayloadTooLarge.answer()),
            Poll::Ready(Err(BodyEnd::Broken)) => {}
            Poll::Pending => {
                let tasks = self.door.state.tasks.clone();
                tasks.spawn(async move {
                    match poll_fn(|cx| body.poll(cx)).await {
                        Ok(bytes) => self.conclude(&bytes),
                        Err(BodyEnd::TooLarge) => self.send(Reason::PayloadTooLarge.answer()),
                        Err(BodyEnd::Broken) => {}
                    }
                });
            }
        }
    }

    /// Decides, writes down, and answers or leaves the answer to a task.
    fn conclude(mut self, body: &[u8]) {
        let decision = self.decide(body);
        let Decision { answer, disposition, .. } = decision;
        if disposition.is_immediate() {
            return self.send(answer);
        }
        let tasks = self.door.state.tasks.clone();
        tasks.spawn(self.dispose(answer, disposition));
    }

    fn decide(&self, body: &[u8]) -> Decision {
        let state = &self.door.state;
        let head = &self.head;
        let payload = Payload::read(body);
        let path = head.uri.path();
        let token = canonical(Provider::Apns, request::device_token(path).unwrap_or(path));
        let judge = || match head.judged.and_then(|ask| payload.check(ask, body.len())) {
            Ok(()) => Answer::accepted(http::StatusCode::OK),
            Err(reason) => reason.answer(),
        };
        let now_ms = state.clock.millis();
        let encode = |reply: &_| encode(reply, now_ms);
        let decision = decide(state.weather(Provider::Apns), &state.scripts, Provider::Apns, &token, judge, encode);
        if head.judged.is_ok() {
            self.valid.store(true, Ordering::Relaxed);
        }
        let answer = &decision.answer;
        let mut violations = Vec::new();
        if state.check_devices && answer.accepted {
            let silent = head.judged.is_ok_and(|ask| ask.push_type == PushType::Background);
            violations = serde_json::from_slice::<Value>(body)
                .map(|payload| device::check_apns(&payload, silent))
                .unwrap_or_default();
        }
        state.ledger.append(&mut Entry {
            provider: Provider::Apns,
            token: &token,
            at_ms: now_ms,
            status: answer.status.as_u16(),
            reason: answer.reason.as_deref(),
            accepted: answer.accepted,
            answered: decision.disposition.fate.answers(),
            identity: payload.identity,
            headers: &head.headers,
            fingerprint: &head.fingerprint,
            body,
            violations,
        });
        decision
    }

    async fn dispose(mut self, answer: Answer, disposition: Disposition) {
        if !disposition.delay.is_zero() {
            tokio::time::sleep(disposition.delay).await;
        }
        if disposition.paused {
            self.door.state.weather(Provider::Apns).released().await;
        }
        match disposition.fate {
            Fate::Answer => self.send(answer),
            Fate::Goaway => {
                self.send(answer);
                self.handle.wish(Wish::GoAway);
            }
            Fate::Reset => self.respond.send_reset(H2Reason::INTERNAL_ERROR),
            Fate::Drop => self.handle.wish(Wish::Drop),
            Fate::Hang => {
                let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
            }
        }
    }

    fn send(&mut self, answer: Answer) {
        let mut response = Response::new(());
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(APNS_ID, self.head.headers.get("apns-id").cloned().unwrap_or_else(fresh_id));
        if answer.accepted && self.door.environment == Environment::Sandbox {
            headers.insert(APNS_UNIQUE_ID, fresh_id());
        }
        for (name, value) in answer.headers {
            headers.append(name, value);
        }
        // A stream that the client reset in the meantime is nobody's fault.
        if let Ok(mut stream) = self.respond.send_response(response, answer.body.is_empty())
            && !answer.body.is_empty()
        {
            let _ = stream.send_data(answer.body, true);
        }
    }
}

fn fresh_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A request body that is put together as it comes; in one frame it is not copied.
struct Body {
    stream: RecvStream,
    read: Read,
}

enum Read {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

enum BodyEnd {
    TooLarge,
    Broken,
}

impl Body {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, BodyEnd>> {
        loop {
            match self.stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(BodyEnd::Broken)),
                Poll::Ready(Some(Ok(data))) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if self.push(data) > MOST_BODY {
                        return Poll::Ready(Err(BodyEnd::TooLarge));
                    }
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Ok(match std::mem::replace(&mut self.read, Read::Nothing) {
                        Read::Nothing => Bytes::new(),
                        Read::One(bytes) => bytes,
                        Read::Many(bytes) => bytes.freeze(),
                    }));
                }
            }
        }
    }

    fn push(&mut self, data: Bytes) -> usize {
        self.read = match std::mem::replace(&mut self.read, Read::Nothing) {
            Read::Nothing => Read::One(data),
            Read::One(first) => {
                let mut bytes = BytesMut::with_capacity(first.len() + data.len());
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                Read::Many(bytes)
            }
            Read::Many(mut bytes) => {
                bytes.extend_from_slice(&data);
                Read::Many(bytes)
            }
        };
        match &self.read {
            Read::Nothing => 0,
            Read::One(bytes) => bytes.len(),
            Read::Many(bytes) => bytes.len(),
        }
    }
}
