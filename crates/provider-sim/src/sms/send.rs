//! `POST /sms.do`.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::accounts::Account;
use super::parameters::{self, Fault, Parameters};
use super::reports::Reported;
use crate::exchange::{Answer, Decision, decide};
use crate::ledger::{Entry, Identity, fingerprint};
use crate::reply::{Outcome, Provider, Reply, Report};
use crate::serve::Application;
use crate::state::State;

/// Price of one part in points; SMSAPI answers with four digits.
const POINTS: f64 = 0.16;

/// The SMS gateway.
pub(crate) struct Sms {
    state: Arc<State>,
}

/// A request that was read, before anything was sent.
struct Order {
    account: Arc<Account>,
    parameters: Parameters,
}

impl Sms {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn read(&self, parts: &Parts, list: Result<&[(String, String)], Fault>) -> Result<Order, Fault> {
        let bearer = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            bearer.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let account = token.and_then(|(_, token)| self.state.sms.account(token)).ok_or(Fault::AUTHORIZATION)?;
        let parameters = parameters::read(list?, &account.senders, self.state.clock.seconds())?;
        let used = parameters.indexes.iter().any(|index| account.has_used(index));
        if parameters.check_index && used {
            return Err(Fault::INDEX_USED);
        }
        Ok(Order { account, parameters })
    }

    /// The list of what is sent, one id a recipient.
    fn answer(&self, order: &Order, ids: &[String]) -> Answer {
        let Parameters { to, indexes, test, json, parts, .. } = &order.parameters;
        let points = format!("{:.4}", POINTS * *parts as f64);
        let list: Vec<Value> = to
            .iter()
            .zip(ids)
            .enumerate()
            .map(|(place, (number, id))| {
                json!({
                    "id": id,
                    "points": points.parse::<f64>().unwrap_or(POINTS),
                    "number": parameters::token(number).trim_start_matches('+'),
                    "submitted_number": number,
                    "date_sent": self.state.clock.seconds(),
                    "status": "QUEUE",
                    "idx": indexes.get(place),
                    "error": null,
                    "parts": parts,
                })
            })
            .collect();
        let mut answer = Answer::accepted(StatusCode::OK);
        answer.accepted = !test;
        if *json {
            answer.body = json!({"count": list.len(), "list": list}).to_string().into();
            return answer.with(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let line = |(id, number): (&String, &String)| format!("OK:{id}:{points}:{number}");
        answer.body = ids.iter().zip(to).map(line).collect::<Vec<_>>().join(";").into();
        answer.with(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
    }

    fn report(&self, order: &Order, place: usize, id: &str, reports: Vec<Report>) {
        let parameters = &order.parameters;
        let (Some(number), Some(notify_url)) = (parameters.to.get(place), parameters.notify_url.clone()) else {
            return;
        };
        let message = Reported {
            msg_id: id.to_owned(),
            idx: parameters.indexes.get(place).cloned(),
            to: parameters::token(number).trim_start_matches('+').to_owned(),
            from: parameters.from.clone(),
            username: order.account.username.clone(),
            points: format!("{:.4}", POINTS * parameters.parts as f64),
            notify_url,
        };
        let now = self.state.clock.seconds();
        self.state.sms.reports.follow(&self.state.tasks, message, reports, now);
    }
}

fn fault(fault: Fault, json: bool) -> Answer {
    let status = match fault.0 {
        101 | 102 => StatusCode::UNAUTHORIZED,
        429 => StatusCode::TOO_MANY_REQUESTS,
        // Everything else comes with a 200: the body tells.
        _ => StatusCode::OK,
    };
    refuse(status, fault, json)
}

fn refuse(status: StatusCode, fault: Fault, json: bool) -> Answer {
    let Fault(number, message) = fault;
    if json {
        let body = json!({"error": number, "message": message, "invalid_numbers": []});
        return Answer::refused(status, number.to_string(), body.to_string())
            .with(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Answer::refused(status, number.to_string(), format!("ERROR:{number}"))
        .with(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
}

/// A scripted answer in the gateway's form; `reason` is an error number.
pub(crate) fn encode(reply: &Reply) -> Answer {
    let number = reply.reason.as_deref().and_then(|reason| reason.parse().ok());
    let status = reply.status.and_then(|status| StatusCode::from_u16(status).ok());
    if number.is_none() && status.is_some_and(|status| status.is_success()) {
        return Answer::accepted(StatusCode::OK);
    }
    let usual = match status.map_or(0, |status| status.as_u16()) {
        401 => Fault::AUTHORIZATION,
        429 => Fault::LIMIT,
        503 => Fault::UNAVAILABLE,
        400 => Fault::REQUEST,
        _ => Fault::INTERNAL,
    };
    let of_reply = number.map_or(usual, Fault::of);
    let mut answer = match status {
        Some(status) => refuse(status, of_reply, true),
        None => fault(of_reply, true),
    };
    if let Some(body) = &reply.body {
        answer.body = body.clone().into();
    }
    answer.retry_after(reply.retry_after)
}

/// The id that `idx` begins with.
fn notification_of(index: &str) -> Option<&str> {
    index.get(..36).filter(|id| Uuid::try_parse(id).is_ok())
}

impl Application for Sms {
    const PROVIDER: Provider = Provider::Sms;

    fn state(&self) -> &Arc<State> {
        &self.state
    }

    fn decide(&self, parts: &Parts, bytes: &Bytes) -> Decision {
        let state = &self.state;
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = kind.split(';').next().map(str::trim) != Some("application/json");
        let list = parameters::list(form, bytes);
        let wants_json =
            list.as_ref().is_ok_and(|list| list.iter().any(|(name, value)| name == "format" && value == "json"));
        let _turn = state.sms.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let order = if parts.method == Method::POST && parts.uri.path() == "/sms.do" {
            self.read(parts, list.as_deref().map_err(|fault| *fault))
        } else {
            Err(Fault::REQUEST)
        };
        let recipients = list.as_deref().map(parameters::recipients).unwrap_or_default();
        let ids: Vec<String> = recipients.iter().map(|_| state.sms.next_id()).collect();
        let first = recipients.first().map(|number| parameters::token(number)).unwrap_or_default();
        let judge = || match &order {
            Ok(order) => self.answer(order, &ids),
            Err(found) if *found == Fault::REQUEST && parts.uri.path() != "/sms.do" => {
                refuse(StatusCode::NOT_FOUND, Fault::REQUEST, wants_json)
            }
            Err(found) => fault(*found, wants_json),
        };
        let mut decision = decide(state.weather(Self::PROVIDER), &state.scripts, Self::PROVIDER, &first, judge, encode);
        if let (Ok(order), true) = (&order, decision.answer.accepted) {
            for index in &order.parameters.indexes {
                order.account.use_index(index);
            }
            for (place, id) in ids.iter().enumerate() {
                let number = recipients.get(place).map(|number| parameters::token(number)).unwrap_or_default();
                let scripted =
                    if place == 0 { decision.scripted.take() } else { state.scripts.next(Self::PROVIDER, &number) };
                let reports = scripted.and_then(|reply| reply.reports);
                let delivered = || vec![Report { outcome: Outcome::Delivered, after_ms: 0 }];
                self.report(order, place, id, reports.unwrap_or_else(delivered));
            }
        }
        self.write_down(parts, list.as_deref().unwrap_or_default(), &decision, &recipients);
        decision
    }
}

impl Sms {
    /// One line a recipient; one with no recipient when there is none to be read.
    fn write_down(&self, parts: &Parts, list: &[(String, String)], decision: &Decision, recipients: &[String]) {
        let state = &self.state;
        let authorization = parts.headers.get(AUTHORIZATION).map(|value| fingerprint(value.as_bytes()));
        let body: serde_json::Map<String, Value> =
            list.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        let body = Value::Object(body).to_string();
        let indexes: Vec<&str> = list
            .iter()
            .find(|(name, _)| name == "idx")
            .map(|(_, value)| value.split('|').collect())
            .unwrap_or_default();
        for place in 0..recipients.len().max(1) {
            let token = recipients.get(place).map(|number| parameters::token(number)).unwrap_or_default();
            let index = indexes.get(place).copied();
            state.ledger.append(&mut Entry {
                provider: Provider::Sms,
                token: &token,
                at_ms: state.clock.millis(),
                status: decision.answer.status.as_u16(),
                reason: decision.answer.reason.as_deref(),
                accepted: decision.answer.accepted,
                answered: decision.disposition.fate.answers(),
                identity: Identity {
                    notification: index.and_then(notification_of).map(Into::into),
                    link: 0,
                    index: index.map(Into::into),
                },
                headers: &parts.headers,
                fingerprint: authorization.as_deref().unwrap_or_default(),
                body: body.as_bytes(),
                violations: Vec::new(),
            });
        }
    }
}
