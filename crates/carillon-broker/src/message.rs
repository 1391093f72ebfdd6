//! A message on its way out, and what a delivery says of itself.

use std::fmt;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event::Event;
use crate::publisher::PublishError;
use crate::topology::Queue;

/// Says that an earlier copy may be on its way: its confirm never came.
const AGAIN: &str = "carillon-published-again";

/// AMQP's number for a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// What it means that no queue takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// A queue of ours is missing.
    Fault,
    /// The answer to a question.
    Answer,
    /// Nothing.
    Fine,
}

/// A message to publish: always persistent, always with an id, mandatory unless [`Outgoing::unheard`].
#[derive(Clone)]
pub struct Outgoing {
    pub(crate) exchange: String,
    pub(crate) key: String,
    pub(crate) if_unheard: Unheard,
    pub(crate) oversize: bool,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) content_type: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) timestamp: Option<u64>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Outgoing {
    /// `event` for the readers of `queue`, under a new id.
    pub fn to<E: Event>(queue: &Queue<E>, event: &E) -> Self {
        let route = queue.route();
        Self::routed(route.exchange, route.key, event)
    }

    /// `event` for whoever is bound to `exchange` under `key`, under a new id.
    pub fn routed<E: Event>(exchange: impl Into<String>, key: impl Into<String>, event: &E) -> Self {
        Self {
            exchange: exchange.into(),
            key: key.into(),
            if_unheard: Unheard::Fault,
            oversize: false,
            id: Uuid::new_v4().to_string(),
            kind: E::NAME.to_owned(),
            content_type: E::CONTENT_TYPE.to_owned(),
            correlation_id: None,
            reply_to: None,
            timestamp: None,
            headers: Vec::new(),
            body: event.encode(),
        }
    }

    /// Sets the message's id (at most 255 bytes). The same work published again carries the same id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Adds a header, for example `traceparent`. The name has at most 255 bytes.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the media type, where the event's own is not the right one.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Sets the id of the request that this answers.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets the routing key under which an answer is wanted.
    #[must_use]
    pub fn with_reply_to(mut self, key: impl Into<String>) -> Self {
        self.reply_to = Some(key.into());
        self
    }

    /// Says that it is published again after [`PublishError::Unknown`], so that its reader knows that there may be two copies.
    #[must_use]
    pub fn again(mut self) -> Self {
        if self.headers.iter().all(|(name, _)| name != AGAIN) {
            self.headers.push((AGAIN.to_owned(), "true".to_owned()));
        }
        self
    }

    /// Nobody listening is no fault: the message is not mandatory.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        self.if_unheard = Unheard::Fine;
        self
    }

    /// Whether somebody listens is what the caller wants to know: the message is mandatory, and [`PublishError::Unroutable`] is no
    /// sign that a queue went missing.
    #[must_use]
    pub fn asking_who_listens(mut self) -> Self {
        self.if_unheard = Unheard::Answer;
        self
    }

    /// The message's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes of the body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What AMQP calls short strings hold 255 bytes; lapin panics on more.
    pub(crate) fn properties(&self) -> Result<BasicProperties, PublishError> {
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            headers.insert(short("a header's name", name)?, AMQPValue::LongString(value.as_str().into()));
        }
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short("message_id", &self.id)?)
            .with_type(short("type", &self.kind)?)
            .with_content_type(short("content_type", &self.content_type)?)
            .with_headers(headers);
        if let Some(id) = &self.correlation_id {
            properties = properties.with_correlation_id(short("correlation_id", id)?);
        }
        if let Some(key) = &self.reply_to {
            properties = properties.with_reply_to(short("reply_to", key)?);
        }
        if let Some(seconds) = self.timestamp {
            properties = properties.with_timestamp(seconds);
        }
        Ok(properties)
    }

    pub(crate) fn address(&self) -> Result<(ShortString, ShortString), PublishError> {
        Ok((short("exchange", &self.exchange)?, short("routing key", &self.key)?))
    }
}

fn short(what: &'static str, value: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(value).map_err(|_| PublishError::Invalid(what))
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("exchange", &self.exchange)
            .field("key", &self.key)
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What came with an event.
#[derive(Clone)]
pub struct Delivery {
    /// The publisher's id of the message; ours always have one.
    pub message_id: Option<String>,
    /// True if the broker gave this copy out before. False proves nothing: a message published twice is two copies.
    pub redelivered: bool,
    /// True if the publisher does not know whether an earlier copy came through ([`Outgoing::again`]).
    pub published_again: bool,
    /// Headers whose value is text or a number, as text.
    pub headers: Vec<(String, String)>,
    /// The media type that the publisher named.
    pub content_type: Option<String>,
    /// The publisher's user, checked by RabbitMQ against its connection.
    pub user_id: Option<String>,
    /// The routing key under which the publisher wants the answer.
    pub reply_to: Option<String>,
    /// To be copied into the answer.
    pub correlation_id: Option<String>,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    pub(crate) kind: Option<String>,
    pub(crate) lost: CancellationToken,
}

impl Delivery {
    /// The value of a header; names are case-sensitive, as AMQP has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Cancelled when the broker will hand this message to somebody (again): its connection is gone. What the handler does
    /// from then on happens beside another handler's work.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    pub(crate) fn read(
        properties: &BasicProperties,
        exchange: &ShortString,
        key: &ShortString,
        redelivered: bool,
        lost: CancellationToken,
    ) -> Self {
        let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
        let headers = properties.headers().as_ref().map(text_headers).unwrap_or_default();
        Self {
            message_id: text(properties.message_id()),
            redelivered,
            published_again: headers.iter().any(|(name, _)| name == AGAIN),
            headers,
            content_type: text(properties.content_type()),
            user_id: text(properties.user_id()),
            reply_to: text(properties.reply_to()),
            correlation_id: text(properties.correlation_id()),
            exchange: exchange.as_str().to_owned(),
            routing_key: key.as_str().to_owned(),
            kind: text(properties.kind()),
            lost,
        }
    }
}

/// The headers that can be text. A header may hold a bearer token, so they never show in logs.
fn text_headers(table: &FieldTable) -> Vec<(String, String)> {
    table.into_iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), as_text(value)?))).collect()
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::ShortShortInt(value) => Some(value.to_string()),
        AMQPValue::ShortShortUInt(value) => Some(value.to_string()),
        AMQPValue::ShortInt(value) => Some(value.to_string()),
        AMQPValue::ShortUInt(value) => Some(value.to_string()),
        AMQPValue::LongInt(value) => Some(value.to_string()),
        AMQPValue::LongUInt(value) => Some(value.to_string()),
        AMQPValue::LongLongInt(value) => Some(value.to_string()),
        AMQPValue::Timestamp(value) => Some(value.to_string()),
        _ => None,
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message_id", &self.message_id)
            .field("redelivered", &self.redelivered)
            .field("routing_key", &self.routing_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Raw;

    fn outgoing() -> Outgoing {
        Outgoing::routed("", "q", &Raw(Bytes::from_static(b"secret body")))
    }

    #[test]
    fn what_does_not_fit_a_short_string_is_an_error_and_no_panic() {
        let long = "x".repeat(256);
        assert_eq!(outgoing().with_id(&long).properties().unwrap_err(), PublishError::Invalid("message_id"));
        assert_eq!(
            outgoing().with_header(&long, "v").properties().unwrap_err(),
            PublishError::Invalid("a header's name")
        );
        assert_eq!(outgoing().with_reply_to(&long).properties().unwrap_err(), PublishError::Invalid("reply_to"));
        assert_eq!(
            Outgoing::routed("", long, &Raw(Bytes::new())).address().unwrap_err(),
            PublishError::Invalid("routing key")
        );
    }

    #[test]
    fn bodies_and_headers_do_not_show_in_debug() {
        let text = format!("{:?}", outgoing().with_header("authorization", "Bearer csk_1"));
        assert!(!text.contains("secret") && !text.contains("csk_1"), "{text}");
    }

    #[test]
    fn every_message_is_persistent_and_has_an_id() {
        let properties = outgoing().properties().unwrap();
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert!(!properties.message_id().as_ref().unwrap().as_str().is_empty());
    }

    #[test]
    fn headers_come_back_as_text_and_tables_are_left_out() {
        let mut table = FieldTable::default();
        table.insert("a".into(), AMQPValue::LongString("text".into()));
        table.insert("b".into(), AMQPValue::LongLongInt(7));
        table.insert("c".into(), AMQPValue::FieldTable(FieldTable::default()));
        table.insert("d".into(), AMQPValue::LongString(vec![0xff].into()));
        assert_eq!(text_headers(&table), [("a".to_owned(), "text".to_owned()), ("b".to_owned(), "7".to_owned())]);
    }
}
