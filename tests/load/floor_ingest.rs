//! The floor of intake: a bare axum route that parses the body, one grouped and committed insert of the same rows, one message a
//! group, and then the answers.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::database::connect;
use crate::queues::Bare;
use crate::report::say;

/// What the route makes of a body.
#[derive(Deserialize)]
pub(crate) struct Call {
    pub(crate) to: To,
    #[serde(rename = "content")]
    _content: Value,
}

#[derive(Deserialize)]
pub(crate) struct To {
    pub(crate) devices: Vec<String>,
}

type Job = oneshot::Sender<()>;

struct Door {
    /// Absent: nothing is kept, only parsed.
    queue: Option<mpsc::Sender<Job>>,
}

/// The process: `floor-ingest DATABASE AMQP`, or `floor-ingest parse` for a route that keeps nothing. Says where it listens.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let queue = match arguments {
            [word] if word == "parse" => None,
            [database, amqp] => {
                let (sender, receiver) = mpsc::channel(4096);
                let (database, amqp) = (database.clone(), amqp.clone());
                #[allow(clippy::disallowed_methods, reason = "it ends with the process")]
                tokio::spawn(async move {
                    if let Err(error) = write(receiver, &database, &amqp).await {
                        say(&format!("{error:#}"));
                    }
                });
                Some(sender)
            }
            _ => bail!("one or two words are needed"),
        };
        let router = axum::Router::new().route("/v1/notifications", post(accept)).with_state(Arc::new(Door { queue }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("http://{}", listener.local_addr()?));
        axum::serve(listener, router).await?;
        Ok(true)
    })
}

async fn accept(State(door): State<Arc<Door>>, body: Bytes) -> (StatusCode, String) {
    let Ok(call) = serde_json::from_slice::<Call>(&body) else { return (StatusCode::BAD_REQUEST, String::new()) };
    if call.to.devices.is_empty() {
        return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
    }
    if let Some(queue) = &door.queue {
        let (answer, committed) = oneshot::channel();
        if queue.send(answer).await.is_err() || committed.await.is_err() {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
    }
    (StatusCode::ACCEPTED, format!(r#"{{"id":"{}","state":"sending"}}"#, Uuid::nil()))
}

/// Bytes of a notification's row and of its chunk's: one device key and one state.
const BODY: [u8; 200] = [7; 200];

/// Rows of a notification and its chunk, one of each for every id.
const INSERT: &str = "
    WITH n AS (INSERT INTO floor_notifications (notification_id, tenant_key, app_key, body, state, lane, run_id)
               SELECT id, 1, 1, $2, 2, 1, id FROM unnest($1::uuid[]) AS i(id))
    INSERT INTO floor_chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                              run_started_at, expires_at)
    SELECT id, 0, id, 1, 1, 1, 1, $3, $4, now(), now() + interval '28 days' FROM unnest($1::uuid[]) AS i(id)";

/// Where the floors write: the same columns and indexes.
pub(crate) const TABLES: &str = "
    CREATE TABLE floor_notifications (LIKE notifications INCLUDING ALL);
    CREATE TABLE floor_chunks (LIKE chunks INCLUDING ALL)";

/// A connection that commits groups.
pub(crate) struct Rows {
    sql: Client,
    insert: Statement,
}

impl Rows {
    pub(crate) async fn open(database: &str) -> Result<Self> {
        let sql = connect(database).await?;
        let insert = sql.prepare(INSERT).await?;
        Ok(Self { sql, insert })
    }

    pub(crate) async fn commit(&self, ids: &[Uuid]) -> Result<()> {
        self.sql.execute(&self.insert, &[&ids, &&BODY[..], &&BODY[..8], &&BODY[..1]]).await?;
        Ok(())
    }
}

async fn write(mut queue: mpsc::Receiver<Job>, database: &str, amqp: &str) -> Result<()> {
    let rows = Rows::open(database).await?;
    let channel = Bare::open(amqp).await?;
    let mut jobs = Vec::new();
    while queue.recv_many(&mut jobs, 1000).await > 0 {
        let ids: Vec<Uuid> = jobs.iter().map(|_| Uuid::now_v7()).collect();
        rows.commit(&ids).await?;
        let message = ids.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>().into();
        for job in jobs.drain(..) {
            let _ = job.send(());
        }
        channel.publish("", "bench.chunks", &[message]).await.context("the group's message")?;
    }
    Ok(())
}
