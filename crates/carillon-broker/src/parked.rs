//! Messages that could not be handled: what is written on them, and how it is read back.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::AMQPValue;

use crate::message::{Delivery, Outgoing, Unheard};

const REASON: &str = "carillon-parked-reason";
const DETAIL: &str = "carillon-parked-detail";
const ORIGIN: &str = "carillon-parked-origin";
const CRC32: &str = "carillon-parked-crc32";
const DETAIL_CHARACTERS: usize = 200;
/// The broker's own header on what it dead-lettered.
const DEATH_QUEUE: &str = "x-first-death-queue";
/// Never stored: a bearer token.
const AUTHORIZATION: &str = "authorization";

/// Why a message is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The body is not the event that the queue carries.
    Undecodable,
    /// The handler, or the decoder, panicked.
    Panicked,
    /// The handler wanted something published that can never be published (too large, a property too long).
    Effect,
    /// The broker gave it out [`crate::DELIVERY_LIMIT`] times and nobody acknowledged it.
    DeliveryLimit,
}

impl Reason {
    /// The word that stands in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Panicked => "panicked",
            Self::Effect => "effect",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A parked message as an operator sees it. The body stays where it is: it may hold personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMessage {
    /// The publisher's id, if it gave one.
    pub message_id: Option<String>,
    /// The queue it came from.
    pub origin: Option<String>,
    /// Why; a word of [`Reason`], or what a later release wrote.
    pub reason: String,
    /// The decoder's words, at most 200 characters.
    pub detail: Option<String>,
    /// CRC-32 of the body, in hex: equal bodies are equal here.
    pub crc32: String,
    /// Seconds since 1970, by the clock of the process that parked it.
    pub parked_at: Option<u64>,
    /// Size of the body.
    pub bytes: usize,
}

/// The message as it is published to the parked queue.
pub(crate) fn park(
    parked: &str,
    origin: &str,
    delivery: &Delivery,
    body: Bytes,
    reason: Reason,
    detail: &str,
    at: u64,
) -> Outgoing {
    let mut headers = kept(&delivery.headers);
    headers.push((REASON.to_owned(), reason.as_str().to_owned()));
    headers.push((ORIGIN.to_owned(), origin.to_owned()));
    headers.push((CRC32.to_owned(), crc32(&body)));
    if !detail.is_empty() {
        headers.push((DETAIL.to_owned(), detail.chars().take(DETAIL_CHARACTERS).collect()));
    }
    Outgoing { timestamp: Some(at), ..copy(parked, delivery, headers, body) }
}

/// The message as it goes back to where it came from. The sender's `user_id` cannot be carried over (RabbitMQ lets nobody
/// publish under another's name), so what is decided by it will be refused.
pub(crate) fn replayed(origin: &str, delivery: &Delivery, body: Bytes) -> Outgoing {
    copy(origin, delivery, kept(&delivery.headers), body)
}

fn copy(queue: &str, delivery: &Delivery, headers: Vec<(String, String)>, body: Bytes) -> Outgoing {
    Outgoing {
        exchange: String::new(),
        key: queue.to_owned(),
        if_unheard: Unheard::Fault,
        // It was in the broker before: there it must fit again.
        oversize: true,
        id: delivery.message_id.clone().unwrap_or_default(),
        kind: delivery.kind.clone().unwrap_or_default(),
        content_type: delivery.content_type.clone().unwrap_or_default(),
        correlation_id: delivery.correlation_id.clone(),
        reply_to: delivery.reply_to.clone(),
        timestamp: None,
        headers,
        body,
    }
}

/// The sender's headers, without secrets, what was written at an earlier parking, and the broker's own.
fn kept(headers: &[(String, String)]) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| {
            !name.eq_ignore_ascii_case(AUTHORIZATION)
                && !name.starts_with("carillon-parked-")
                && !name.starts_with("x-first-death-")
                && !name.starts_with("x-delivery-count")
        })
        .cloned()
        .collect()
}

/// Reads what is written on a parked message.
pub(crate) fn read(delivery: &Delivery, properties: &BasicProperties, body: &[u8]) -> ParkedMessage {
    let header = |name| delivery.header(name).map(str::to_owned);
    let died_in = header(DEATH_QUEUE);
    let by_broker = died_in.is_some() || died(properties);
    ParkedMessage {
        message_id: delivery.message_id.clone().filter(|id| !id.is_empty()),
        origin: header(ORIGIN).or(died_in),
        reason: header(REASON).unwrap_or_else(|| match by_broker {
            true => Reason::DeliveryLimit.as_str().to_owned(),
            false => "unknown".to_owned(),
        }),
        detail: header(DETAIL),
        crc32: header(CRC32).unwrap_or_else(|| crc32(body)),
        parked_at: *properties.timestamp(),
        bytes: body.len(),
    }
}

fn died(properties: &BasicProperties) -> bool {
    let headers = properties.headers().as_ref();
    headers.is_some_and(|table| matches!(table.inner().get("x-death"), Some(AMQPValue::FieldArray(_))))
}

fn crc32(body: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(headers: &[(&str, &str)]) -> Delivery {
        let properties = BasicProperties::default().with_message_id("m-1".into());
        let mut delivery = Delivery::read(&properties, &"".into(), &"q".into(), false, Default::default());
        delivery.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        delivery
    }

    fn parked(delivery: &Delivery) -> Outgoing {
        park(
            "parked",
            "worker.jobs",
            delivery,
            Bytes::from_static(b"body"),
            Reason::Undecodable,
            "no tag",
            1_700_000_000,
        )
    }

    #[test]
    fn a_bearer_token_is_never_parked() {
        let message = parked(&delivery(&[("Authorization", "Bearer csk_1"), ("traceparent", "00-1")]));
        assert!(message.headers.iter().all(|(_, value)| !value.contains("csk_1")));
        assert!(message.headers.contains(&("traceparent".to_owned(), "00-1".to_owned())));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let message = parked(&delivery(&[]));
        let properties = message.properties().unwrap();
        let back = Delivery::read(&properties, &"".into(), &"parked".into(), false, Default::default());
        let expected = ParkedMessage {
            message_id: Some("m-1".to_owned()),
            origin: Some("worker.jobs".to_owned()),
            reason: "undecodable".to_owned(),
            detail: Some("no tag".to_owned()),
            crc32: format!("{:08x}", crc32fast::hash(b"body")),
            parked_at: Some(1_700_000_000),
            bytes: 4,
        };
        assert_eq!(read(&back, &properties, b"body"), expected);
    }

    #[test]
    fn a_replayed_message_carries_its_own_headers_only() {
        let message =
            replayed("worker.jobs", &delivery(&[("a", "b"), (REASON, "panicked"), (DEATH_QUEUE, "q")]), Bytes::new());
        assert_eq!(message.headers, [("a".to_owned(), "b".to_owned())]);
        assert_eq!((message.id.as_str(), message.key.as_str()), ("m-1", "worker.jobs"));
    }

    #[test]
    fn what_the_broker_dead_lettered_tells_its_origin() {
        let dead = delivery(&[(DEATH_QUEUE, "worker.jobs")]);
        let message = read(&dead, &BasicProperties::default(), b"");
        assert_eq!((message.reason.as_str(), message.origin.as_deref()), ("delivery_limit", Some("worker.jobs")));
    }

    #[test]
    fn a_long_detail_is_cut() {
        let message = park("p", "q", &delivery(&[]), Bytes::new(), Reason::Undecodable, &"ü".repeat(500), 0);
        let detail = message.headers.iter().find(|(name, _)| name == DETAIL).map(|(_, value)| value.chars().count());
        assert_eq!(detail, Some(200));
    }
}
