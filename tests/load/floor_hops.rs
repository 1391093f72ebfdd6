//! The floor of a transactional push: one commit, two bare hops through the broker, one request to the provider.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use futures::StreamExt as _;
use http::uri::Authority;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::fixture::apns_token;
use crate::floor_h2::{self, Plan};
use crate::floor_ingest::{Call, Rows};
use crate::queues::Bare;
use crate::report::say;

/// Between the commit and the request.
pub(crate) const QUEUES: [&str; 2] = ["bench.hop1", "bench.hop2"];
/// Messages of a queue in work at once.
const PREFETCH: u16 = 200;

/// A device's ordinal, and how its caller hears of the commit.
type Job = (u64, oneshot::Sender<()>);

/// The process: `floor-hops DATABASE AMQP FILE URL CA`. Says where it listens. FILE holds the headers and one message, whose body everybody gets.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let [database, amqp, file, url, ca] = arguments else { bail!("five words are needed") };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let authority = url.strip_prefix("https://").context("an https URL")?.trim_end_matches('/');
        let provider = Provider {
            plan: Plan::read(Path::new(file))?,
            sender: floor_h2::connect(authority, Path::new(ca)).await?,
            authority: authority.parse()?,
        };
        let (rows, out) = (Rows::open(database).await?, Bare::open(amqp).await?);
        let (first, second) = (Bare::open(amqp).await?, Bare::open(amqp).await?);
        let (sender, receiver) = mpsc::channel(4096);
        let router = axum::Router::new().route("/v1/notifications", post(accept)).with_state(Arc::new(sender));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("http://{}", listener.local_addr()?));
        let serving = async { axum::serve(listener, router).await.map_err(anyhow::Error::from) };
        tokio::try_join!(serving, commit(receiver, rows, out), hop(first), send(second, provider))?;
        Ok(true)
    })
}

async fn accept(State(queue): State<Arc<mpsc::Sender<Job>>>, body: Bytes) -> (StatusCode, String) {
    let Ok(call) = serde_json::from_slice::<Call>(&body) else { return (StatusCode::BAD_REQUEST, String::new()) };
    let device = call.to.devices.first().and_then(|device| device.strip_prefix("device-")?.parse().ok());
    let Some(ordinal) = device else { return (StatusCode::UNPROCESSABLE_ENTITY, String::new()) };
    let (answer, committed) = oneshot::channel();
    if queue.send((ordinal, answer)).await.is_err() || committed.await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    (StatusCode::ACCEPTED, format!(r#"{{"id":"{}","state":"sending"}}"#, Uuid::nil()))
}

/// Commits what came together, answers, and publishes a message for each; the next commit does not wait for confirms.
async fn commit(mut queue: mpsc::Receiver<Job>, rows: Rows, out: Bare) -> Result<()> {
    let (mut jobs, out) = (Vec::new(), Arc::new(out));
    while queue.recv_many(&mut jobs, 1000).await > 0 {
        let ids: Vec<Uuid> = jobs.iter().map(|_| Uuid::now_v7()).collect();
        rows.commit(&ids).await?;
        for (ordinal, answer) in jobs.drain(..) {
            let _ = answer.send(());
            let out = Arc::clone(&out);
            go(async move { out.publish("", QUEUES[0], &[Bytes::from(ordinal.to_string())]).await });
        }
    }
    Ok(())
}

/// From the first queue to the second.
async fn hop(bare: Bare) -> Result<()> {
    let (mut messages, bare) = (bare.consume(QUEUES[0], PREFETCH).await?, Arc::new(bare));
    while let Some(message) = messages.next().await {
        let (message, bare) = (message?, Arc::clone(&bare));
        go(async move {
            bare.publish("", QUEUES[1], &[Bytes::from(message.data.clone())]).await?;
            done(&message).await
        });
    }
    bail!("the first queue's consumer was cancelled")
}

struct Provider {
    plan: Plan,
    sender: h2::client::SendRequest<Bytes>,
    authority: Authority,
}

/// From the second queue to the provider.
async fn send(bare: Bare, provider: Provider) -> Result<()> {
    let mut messages = bare.consume(QUEUES[1], PREFETCH).await?;
    let [_, _, body] = provider.plan.messages.first().context("no message")?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let ordinal: u64 = std::str::from_utf8(&message.data)?.parse()?;
        let path = Bytes::from(format!("/3/device/{}", apns_token(ordinal)));
        let taken =
            floor_h2::one(&provider.sender, &provider.plan.headers, &provider.authority, [&path, &Bytes::new(), body])?;
        go(async move {
            anyhow::ensure!(taken.await, "the provider refused a message");
            done(&message).await
        });
    }
    bail!("the second queue's consumer was cancelled")
}

async fn done(message: &Delivery) -> Result<()> {
    message.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}

/// Each message goes its own way.
#[allow(clippy::disallowed_methods, reason = "it ends with the process")]
fn go(way: impl Future<Output = Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = way.await {
            say(&format!("{error:#}"));
        }
    });
}
