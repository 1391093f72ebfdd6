//! The only crate that knows AMQP: queues of typed events, confirmed publishing, consuming, reconnecting. It knows no business.
//!
//! ```no_run
//! use carillon_broker::{Binding, Broker, Config, Delivery, Effects, Exchange, ExchangeKind, Fault, Handler, Outgoing, Queue,
//!                       Raw, Topology};
//! use tokio_util::sync::CancellationToken;
//!
//! const WORK: Exchange = Exchange { name: "work", kind: ExchangeKind::Direct, alternate: Some("unroutable") };
//! const JOBS: Queue<Raw> = Queue::new("worker.jobs", &[Binding { exchange: "work", key: "jobs" }]);
//! const DONE: Queue<Raw> = Queue::new("reader.done", &[Binding { exchange: "work", key: "done" }]);
//!
//! struct Worker;
//!
//! impl Handler<Raw> for Worker {
//!     async fn handle(&self, job: Raw, _: &Delivery) -> Result<Effects, Fault> {
//!         Ok(vec![Outgoing::to(&DONE, &job)])
//!     }
//! }
//!
//! # async fn start(stop: CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
//! let topology = Topology::new(&[WORK], &[JOBS.spec(), DONE.spec()]);
//! let broker = Broker::connect(&Config::new("amqp://localhost/%2f"), "worker", topology, stop)?;
//! broker.consume(&JOBS, 16, 8, Worker);
//! broker.publisher().publish(Outgoing::to(&JOBS, &Raw("a job".into())).with_id("job-17")).await?;
//! broker.drained().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What is promised:
//! - `publish` returns `Ok` only after the broker's confirm. A message whose confirm did not come is [`PublishError::Unknown`]:
//!   publish it again under the same id.
//! - A message is acknowledged only after its handler returned and everything it wanted published is confirmed. So a message is
//!   handled at least once; a handler works by the event's own id.
//! - What cannot be decoded, and what makes a handler panic, is parked with its reason; its neighbours are not touched.
//! - Connections, channels, consumers and the topology are rebuilt after every kind of loss, for ever.
//!
//! What it does not do: no delays (rows in the database), no request and reply, no transactions, no queues made up at run
//! time. The headers `traceparent` and `tracestate` are the caller's to set and to read.

mod acks;
mod backoff;
mod broker;
mod config;
mod consumer;
mod declare;
mod definitions;
mod door;
mod event;
mod gate;
mod handler;
mod inflight;
mod inspector;
mod link;
mod message;
mod parked;
mod publisher;
mod session;
mod status;
mod topology;
mod waiting;
mod work;
mod writer;

pub use broker::{Broker, Died};
pub use config::{Config, ConfigError, Url};
pub use event::{DecodeError, Event, Raw};
pub use handler::{Effects, Fault, Handler};
pub use inspector::{InspectError, Inspector, Moved, ParkedFilter, QueueCount};
pub use message::{Delivery, Outgoing};
pub use parked::{ParkedMessage, Reason};
pub use publisher::{PublishError, Publisher};
pub use status::Status;
pub use topology::{Binding, DELIVERY_LIMIT, Exchange, ExchangeKind, Queue, QueueSpec, Topology};
