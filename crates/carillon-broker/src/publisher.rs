//! Publishing with confirms, for any number of tasks at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::message::Outgoing;

/// Why a message was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It was never sent: no connection, or a broker that takes nothing, for as long as the caller was to wait.
    #[error("the broker is not reachable or takes no messages")]
    Unavailable,
    /// It was sent and nobody knows whether the broker has it: publish it again under the same id.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The broker answered that it did not take it (a full queue, a queue without a leader).
    #[error("the broker refused the message")]
    Refused,
    /// No queue is bound for it, and no alternate exchange either.
    #[error("no queue takes the message")]
    Unroutable,
    /// The body is larger than this process may publish.
    #[error("the body has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the body.
        bytes: usize,
        /// The limit, from the configuration.
        limit: usize,
    },
    /// This property is longer than the 255 bytes that AMQP gives it.
    #[error("{0} is longer than 255 bytes")]
    Invalid(&'static str),
    /// The broker client was drained.
    #[error("the publisher is closed")]
    Closed,
}

impl PublishError {
    /// Whether the same message may be taken later. What is not retryable is wrong with the message itself.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::TooLarge { .. } | Self::Invalid(_))
    }
}

/// A message on its way to the task that owns the channel.
pub(crate) struct Request {
    pub(crate) outgoing: Outgoing,
    pub(crate) properties: lapin::BasicProperties,
    pub(crate) address: (lapin::types::ShortString, lapin::types::ShortString),
    /// Until when it may wait for a connection.
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<Result<(), PublishError>>,
    /// One place in the window of unconfirmed messages, given back when the request is dropped.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// Publishes messages; cheap to clone. All clones of a process share one channel, one window and one order.
#[derive(Debug, Clone)]
pub struct Publisher {
    requests: mpsc::Sender<Request>,
    window: Arc<Semaphore>,
    patience: Duration,
    limit: usize,
}

impl Publisher {
    pub(crate) fn new(config: &Config) -> (Self, mpsc::Receiver<Request>) {
        // The semaphore is the bound; the channel never has to make anybody wait.
        let (requests, queue) = mpsc::channel(config.window);
        let window = Arc::new(Semaphore::new(config.window));
        let publisher = Self { requests, window, patience: config.confirm_timeout(), limit: config.max_message_bytes };
        (publisher, queue)
    }

    /// Publishes one message and awaits the broker's confirm: every replica that counts has it on disk.
    ///
    /// It takes at most twice the confirm timeout: once for a connection and a place in the window, once for the confirm.
    ///
    /// # Errors
    /// See [`PublishError`]; after [`PublishError::Unknown`] the message may be there.
    pub async fn publish(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        let answer = self.submit(outgoing).await?;
        answer.await.unwrap_or(Err(PublishError::Closed))
    }

    /// Publishes many messages in their order, without waiting for one confirm before the next message; the answers are in the
    /// order of the messages.
    pub async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let mut answers = Vec::with_capacity(messages.len());
        for outgoing in messages {
            answers.push(self.submit(outgoing).await);
        }
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.push(match answer {
                Ok(answer) => answer.await.unwrap_or(Err(PublishError::Closed)),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Hands the message over; the answer comes later.
    async fn submit(&self, outgoing: Outgoing) -> Result<oneshot::Receiver<Result<(), PublishError>>, PublishError> {
        let bytes = outgoing.body.len();
        if bytes > self.limit && !outgoing.oversize {
            return Err(PublishError::TooLarge { bytes, limit: self.limit });
        }
        let properties = outgoing.properties()?;
        let address = outgoing.address()?;
        let deadline = Instant::now() + self.patience;
        let place = match timeout_at(deadline, Arc::clone(&self.window).acquire_owned()).await {
            Ok(place) => place.map_err(|_| PublishError::Closed)?,
            Err(_) => return Err(PublishError::Unavailable),
        };
        let (answer, receiver) = oneshot::channel();
        let request = Request { outgoing, properties, address, deadline, answer, _place: place };
        self.requests.send(request).await.map_err(|_| PublishError::Closed)?;
        Ok(receiver)
    }
}
