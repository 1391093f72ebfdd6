//! Hearing what other processes changed.

use crate::{Error, Result, Store};
use futures::StreamExt as _;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::AsyncMessage;

/// The channel that `carillon_announce()` notifies.
const LISTEN: &str = "LISTEN carillon_changed";
/// How long connecting, and each question, may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How often a silent connection is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The wait before connecting again grows from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What may be old now in caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    /// Rows of this table.
    Table(&'a str),
    /// Anything: the connection was away, and what was said meanwhile is lost.
    Anything,
}

impl Store {
    /// Listens on a connection of its own, for ever: connects again whenever it breaks. Calls back with
    /// [`Changed::Anything`] each time it begins to listen, so that nothing is missed in between.
    pub async fn listen(&self, mut on_change: impl FnMut(Changed<'_>) + Send) -> Infallible {
        let mut wait = BACKOFF.0;
        loop {
            let mut heard = false;
            let ended = self
                .listen_once(&mut |changed| {
                    heard = true;
                    on_change(changed);
                })
                .await;
            if let Err(error) = ended {
                tracing::warn!(%error, "listening for changes broke off, connecting again");
            }
            wait = if heard { BACKOFF.0 } else { (wait * 2).min(BACKOFF.1) };
            sleep(wait).await;
        }
    }

    async fn listen_once(&self, on_change: &mut (dyn FnMut(Changed<'_>) + Send)) -> Result<()> {
        let (config, tls) = self.outside();
        let connecting = timeout(ANSWER, config.connect(tls)).await;
        let (client, mut connection) = connecting.map_err(|_| late())??;
        let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
        let mut question = pin!(Some(timeout(ANSWER, client.batch_execute(LISTEN))));
        let mut listening = false;
        let mut ask = interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ask.reset();
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(Ok(AsyncMessage::Notification(n))) => on_change(Changed::Table(n.payload())),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
                answer = async { question.as_mut().as_pin_mut()?.await.into() }, if question.is_some() => {
                    question.set(None);
                    if let Some(answer) = answer {
                        answer.map_err(|_| late())??;
                    }
                    if !listening {
                        listening = true;
                        on_change(Changed::Anything);
                    }
                }
                _ = ask.tick(), if question.is_none() => question.set(Some(timeout(ANSWER, client.batch_execute("")))),
            }
        }
    }
}

fn late() -> Error {
    Error::Unavailable("no answer in time".into())
}
