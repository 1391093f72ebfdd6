//! One connection to the broker: opened with a deadline, its topology declared, watched, closed with a deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use lapin::{Connection, ConnectionProperties, Event};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::config::Config;
use crate::declare::declare;
use crate::topology::Topology;

/// For one request to the broker that is answered at once.
pub(crate) const STEP: Duration = Duration::from_secs(10);
const CLOSE: Duration = Duration::from_secs(2);
/// The connection's events are not promised for every way it can end, so its state is looked at as well.
const LOOK: Duration = Duration::from_millis(250);

/// Why something asked of the broker did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StepError {
    #[error("{0}: no answer in time")]
    Late(&'static str),
    #[error("{0}: {1}")]
    Amqp(&'static str, lapin::Error),
    #[error("the configuration is not usable: {0}")]
    Config(#[from] crate::config::ConfigError),
}

/// Awaits one answer of the broker, at most [`STEP`].
pub(crate) async fn step<T>(
    what: &'static str,
    asking: impl Future<Output = lapin::Result<T>>,
) -> Result<T, StepError> {
    match timeout(STEP, asking).await {
        Ok(answer) => answer.map_err(|error| StepError::Amqp(what, error)),
        Err(_) => Err(StepError::Late(what)),
    }
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    Blocked,
    Unblocked,
    Lost(String),
}

/// A live connection.
pub(crate) struct Link {
    pub(crate) connection: Arc<Connection>,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    look: Interval,
}

impl Link {
    /// Connects and declares. `name` is shown by the broker's own tools.
    pub(crate) async fn open(config: &Config, name: &str, topology: &Topology) -> Result<Self, StepError> {
        let uri = config.uri()?;
        // lapin's own recovery stays off: it gives up after 16 attempts, and does not see a closed channel.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = match timeout(config.connect_timeout(), Connection::connect_uri(uri, properties)).await {
            Ok(connected) => connected.map_err(|error| StepError::Amqp("connecting", error))?,
            Err(_) => return Err(StepError::Late("connecting")),
        };
        let events = Box::pin(connection.events_listener());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let link = Self { connection: Arc::new(connection), events, look };
        match declare(&link.connection, topology).await {
            Ok(()) => Ok(link),
            Err(error) => {
                link.close().await;
                Err(error)
            }
        }
    }

    /// The next thing that happens to the connection. Safe to drop and call again.
    pub(crate) async fn event(&mut self) -> LinkEvent {
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Some(Event::ConnectionBlocked(_)) => return LinkEvent::Blocked,
                    Some(Event::ConnectionUnblocked) => return LinkEvent::Unblocked,
                    // The end of a single channel is told here too.
                    Some(Event::Error(error)) if !self.connection.status().connected() => {
                        return LinkEvent::Lost(error.to_string());
                    }
                    Some(_) => {}
                    None => return LinkEvent::Lost("the connection is gone".to_owned()),
                },
                _ = self.look.tick() => {
                    if !self.connection.status().connected() {
                        return LinkEvent::Lost("the connection is closed".to_owned());
                    }
                }
            }
        }
    }

    /// Says goodbye, but does not wait long for the answer.
    pub(crate) async fn close(self) {
        if self.connection.status().connected() {
            let _ = timeout(CLOSE, self.connection.close(200, "".into())).await;
        }
    }
}
