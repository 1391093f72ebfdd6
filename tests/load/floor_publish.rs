//! The floor of segmentation: the same rows copied out of the database, and the same messages published with confirms.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::database::connect;
use crate::processes::{Talker, wait_for_a_line};
use crate::queues::Bare;
use crate::report::say;

/// The process: `floor-segmentation DATABASE AMQP FILE QUERY EXCHANGE KEY`.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let [database, amqp, file, query, exchange, key] = arguments else { bail!("six words are needed") };
    let bodies = read(Path::new(file))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let sql = connect(database).await?;
        let queue = Bare::open(amqp).await?;
        say("ready");
        wait_for_a_line()?;
        let began = Instant::now();
        let (bytes, ()) =
            futures::future::try_join(copy_out(&sql, query), queue.publish(exchange, key, &bodies)).await?;
        say(&json!({"bytes": bytes, "seconds": began.elapsed().as_secs_f64()}).to_string());
        wait_for_a_line()?;
        Ok(true)
    })
}

/// The statement that copies what a query finds.
pub(crate) fn copy(query: &str) -> String {
    format!("COPY ({query}) TO STDOUT (FORMAT binary)")
}

/// Copies it out and throws it away; its bytes.
pub(crate) async fn copy_out(sql: &Client, query: &str) -> Result<u64> {
    let rows = sql.copy_out(&copy(query)).await?;
    let bytes = rows.map_ok(|piece| piece.len() as u64).try_fold(0, |sum, len| async move { Ok(sum + len) });
    bytes.await.map_err(Into::into)
}

/// Writes messages for the process to read.
pub(crate) fn write(path: &Path, bodies: &[Vec<u8>]) -> Result<()> {
    let mut bytes = Vec::new();
    for body in bodies {
        bytes.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
        bytes.extend_from_slice(body);
    }
    std::fs::write(path, bytes).map_err(Into::into)
}

/// Reads what [`write`] wrote.
pub(crate) fn read(path: &Path) -> Result<Vec<Bytes>> {
    let mut rest = Bytes::from(std::fs::read(path)?);
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let length = rest.split_to(4);
        bodies.push(rest.split_to(u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize));
    }
    Ok(bodies)
}

/// Runs the process: how long it took, and its CPU.
pub(crate) fn measure(words: [&str; 6]) -> Result<(Duration, Duration)> {
    let words: Vec<String> = std::iter::once("floor-segmentation").chain(words).map(str::to_owned).collect();
    let mut talker = Talker::start(&words)?;
    ensure!(talker.hear()? == "ready", "the floor is not ready");
    let before = talker.cpu()?;
    talker.go()?;
    let said: Value = serde_json::from_str(&talker.hear()?)?;
    let cpu = talker.cpu()? - before;
    Ok((Duration::from_secs_f64(said["seconds"].as_f64().context("seconds")?), cpu))
}
