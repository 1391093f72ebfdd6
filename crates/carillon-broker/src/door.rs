//! The only calls that move a message: publish it, acknowledge it, give it back. Each passes its failpoint.
#![allow(clippy::disallowed_methods, reason = "the one door to what is banned elsewhere")]

use std::future::Future;
use std::io;
use std::sync::Arc;

use carillon_failpoint::{Failed, Point};
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicPublishOptions};
use lapin::{Channel, Confirmation, ErrorKind};

use crate::link::{StepError, step};

/// What the channel needs of a message.
pub(crate) struct Sending {
    pub(crate) exchange: lapin::types::ShortString,
    pub(crate) key: lapin::types::ShortString,
    pub(crate) mandatory: bool,
    pub(crate) properties: lapin::BasicProperties,
    pub(crate) body: bytes::Bytes,
}

/// A message's whole way through the channel, to its confirm. Unless a failpoint stops it, the first poll numbers it and queues its frames in one
/// go. The caller has the deadline.
pub(crate) async fn publish(channel: Channel, outgoing: Sending) -> lapin::Result<Confirmation> {
    let Sending { exchange, key, mandatory, properties, body } = outgoing;
    let point = Point::of_publishing(exchange.as_str(), key.as_str());
    let options = BasicPublishOptions { mandatory, immediate: false };
    through(point, async { channel.basic_publish(exchange, key, options, &body, properties).await?.await }).await
}

/// Acknowledges a message, and with `multiple` all before it. There is no answer to wait for, only room to write.
///
/// # Errors
/// If the channel is gone or takes nothing for ten seconds; the message comes again.
pub(crate) async fn acknowledge(channel: Channel, tag: u64, multiple: bool) -> Result<(), StepError> {
    let acknowledging = channel.basic_ack(tag, BasicAckOptions { multiple });
    step("acknowledging", through(Point::Ack, acknowledging)).await
}

/// Gives a message back to its queue; with `multiple` all up to it, with tag 0 all there are.
///
/// # Errors
/// As [`acknowledge`]; the end of the channel gives it back too.
pub(crate) async fn give_back(channel: Channel, tag: u64, multiple: bool) -> Result<(), StepError> {
    let giving_back = channel.basic_nack(tag, BasicNackOptions { multiple, requeue: true });
    step("giving back", through(Point::Nack, giving_back)).await
}

async fn through<T>(point: Point, work: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
    point.around(async { work.await.map_err(Stopped::Amqp) }).await.map_err(Stopped::into_amqp)
}

/// A failpoint's error looks like a connection that broke.
enum Stopped {
    Amqp(lapin::Error),
    Failpoint(Failed),
}

impl From<Failed> for Stopped {
    fn from(failed: Failed) -> Self {
        Self::Failpoint(failed)
    }
}

impl Stopped {
    fn into_amqp(self) -> lapin::Error {
        match self {
            Self::Amqp(error) => error,
            Self::Failpoint(failed) => ErrorKind::IOError(Arc::new(io::Error::other(failed))).into(),
        }
    }
}
