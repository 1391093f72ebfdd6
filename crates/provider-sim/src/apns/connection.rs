//! One connection: headers are judged in order as they come, bodies as they end. A request whose body is already there is
//! answered without a task of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason as H2Reason;
use h2::server::SendResponse;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};
use serde_json::Value;
use uuid::Uuid;

use super::body::{Body, BodyEnd};
use super::gate::{Announcing, Gate, Pass};
use super::identities::{Environment, Key, Standing};
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
/// Flow control windows wide enough that no sender of pushes has to wait for an update.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;
/// A body that takes longer is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// Pause before new settings are tried again.
const ANNOUNCEMENT_RETRY: Duration = Duration::from_millis(2);
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
    /// The request's place while only one stream is allowed.
    pass: Option<Pass>,
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
        let gate = self.one_stream_until_valid.then(Gate::closed);
        let wire = Announcing::new(wire, gate.clone(), self.max_streams);
        let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, builder.handshake::<_, Bytes>(wire));
        let Ok(Ok(mut connection)) = handshake.await else { return };
        let mut seen = Seen::new(link.certificate().map(|der| self.state.apns.certificate(der)));
        let mut unannounced = gate.is_some();
        loop {
            // Any change of settings makes a SETTINGS frame, which is edited on its way out. It has to wait until the
            // client acknowledged the first one.
            if unannounced && gate.as_ref().is_some_and(|gate| gate.is_open()) {
                unannounced = connection.set_initial_window_size(STREAM_WINDOW).is_err();
            }
            let (request, mut respond) = tokio::select! {
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
                () = announcement_due(gate.as_deref()), if unannounced => continue,
                next = connection.accept() => match next {
                    Some(Ok(next)) => next,
                    Some(Err(_)) | None => return,
                },
            };
            let pass = gate.as_ref().map(Gate::enter);
            if matches!(pass, Some(None)) {
                respond.send_reset(H2Reason::REFUSED_STREAM);
                continue;
            }
            let (parts, body) = request.into_parts();
            let head = self.look_at(parts, &mut seen);
            let push = Push { door: self.clone(), handle: link.handle(), pass: pass.flatten(), head, respond };
            push.read(Body::new(body)).await;
        }
    }
}

/// When the gate opens, and from then on every few milliseconds.
async fn announcement_due(gate: Option<&Gate>) {
    match gate {
        Some(gate) if gate.is_open() => tokio::time::sleep(ANNOUNCEMENT_RETRY).await,
        Some(gate) => gate.opened().await,
        None => std::future::pending().await,
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
                let (key, fingerprint) = good.parts();
                let judged = request::check_headers(&parts.headers, key);
                let judged = judged.and_then(|ask| self.check_token(path, &parts.headers, key, ask));
                (fingerprint, judged)
            }
            Err(reason) => {
                let hash = authorization.map(|value| crate::ledger::fingerprint(value.as_bytes()));
                (hash.unwrap_or_default().into(), Err(reason))
            }
        };
        Head { uri: parts.uri, headers: parts.headers, fingerprint, judged }
    }

    fn check_token(&self, path: &str, headers: &HeaderMap, key: &Key, ask: Ask) -> Result<Ask, Reason> {
        let token = request::device_token(path).unwrap_or_default();
        if !request::is_hexadecimal(token) {
            return Err(Reason::BadDeviceToken);
        }
        let topic =
            headers.get("apns-topic").and_then(|topic| topic.to_str().ok()).or(key.only_topic()).unwrap_or_default();
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
                    match tokio::time::timeout(BODY_DEADLINE, poll_fn(|cx| body.poll(cx))).await {
                        Ok(Ok(bytes)) => self.conclude(&bytes),
                        Ok(Err(BodyEnd::TooLarge)) => self.send(Reason::PayloadTooLarge.answer()),
                        Ok(Err(BodyEnd::Broken)) => {}
                        Err(_) => self.send(Reason::IdleTimeout.answer()),
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
        if let (Ok(_), Some(pass)) = (head.judged, &self.pass) {
            pass.gate().open();
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
