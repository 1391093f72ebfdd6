//! An open loop over raw connections: requests leave when their time has come, whatever became of those before.

use anyhow::{Context as _, Result, bail};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections to each address: so many that none waits for the answer to the request before, unless it takes unusually long.
const CONNECTIONS: u32 = 400;
/// After the last request, until all are answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of the request with this number.
    pub(crate) number: u32,
    pub(crate) status: u16,
    /// Milliseconds since the request's time had come.
    pub(crate) took: f64,
    pub(crate) retry_after: bool,
    /// The body, of 2xx only.
    pub(crate) body: Vec<u8>,
}

/// What came of all.
#[derive(Debug, Default)]
pub(crate) struct Flooded {
    pub(crate) answers: Vec<Answer>,
    /// Requests that were written.
    pub(crate) offered: u32,
    /// Connections that ended before every request on them was answered.
    pub(crate) torn: u32,
    pub(crate) lasted: Duration,
}

/// Sends `per_second` for so long, in turn to all addresses; `request` makes the bytes of a request by its number.
pub(crate) async fn flood(
    addresses: &[String],
    per_second: u32,
    lasting: Duration,
    request: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> Result<Flooded> {
    let request = Arc::new(request);
    let found = Arc::new(Mutex::new(Flooded::default()));
    let lines = CONNECTIONS * u32::try_from(addresses.len())?;
    let began = Instant::now();
    let mut all: JoinSet<Result<()>> = JoinSet::new();
    for line in 0..lines {
        let address = addresses[line as usize % addresses.len()].clone();
        let (request, found) = (Arc::clone(&request), Arc::clone(&found));
        all.spawn(async move {
            let stream = TcpStream::connect(&address).await.with_context(|| address.clone())?;
            stream.set_nodelay(true)?;
            one(stream, Plan { line, lines, per_second, began, lasting }, request.as_ref(), &found).await
        });
    }
    while let Some(done) = all.join_next().await {
        if done?.is_err() {
            found.lock().unwrap_or_else(PoisonError::into_inner).torn += 1;
        }
    }
    let mut found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    found.lasted = lasting;
    Ok(found)
}

#[derive(Clone, Copy)]
struct Plan {
    line: u32,
    lines: u32,
    per_second: u32,
    began: Instant,
    lasting: Duration,
}

impl Plan {
    /// When a request's time comes.
    fn due(&self, number: u32) -> Instant {
        self.began + Duration::from_secs(1) * number / self.per_second
    }
}

async fn one(
    stream: TcpStream,
    plan: Plan,
    request: &(impl Fn(u32) -> Vec<u8> + Send + Sync),
    found: &Mutex<Flooded>,
) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let waiting = Mutex::new(VecDeque::new());
    let writing = async {
        let mut number = plan.line;
        while plan.due(number) < plan.began + plan.lasting {
            tokio::time::sleep_until(plan.due(number)).await;
            waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
            writer.write_all(&request(number)).await?;
            found.lock().unwrap_or_else(PoisonError::into_inner).offered += 1;
            number += plan.lines;
        }
        Ok::<_, anyhow::Error>(())
    };
    let reading = async {
        let (mut buffer, mut answers) = (Vec::with_capacity(1 << 16), Vec::new());
        let end = plan.began + plan.lasting + PATIENCE;
        loop {
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let read = tokio::time::timeout_at(end, answer(&mut reader, &mut buffer)).await;
            let Ok(Ok(mut got)) = read else { break };
            let Some(number) = next() else { break };
            got.number = number;
            got.took = plan.due(number).elapsed().as_secs_f64() * 1_000.0;
            answers.push(got);
            let left = !waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if !left && plan.due(number + plan.lines) >= plan.began + plan.lasting {
                break;
            }
        }
        answers
    };
    let (written, answers) = tokio::join!(writing, reading);
    found.lock().unwrap_or_else(PoisonError::into_inner).answers.extend(answers);
    written?;
    if !waiting.into_inner().unwrap_or_else(PoisonError::into_inner).is_empty() {
        bail!("requests without an answer");
    }
    Ok(())
}

/// Reads one whole answer off the connection.
async fn answer(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<Answer> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
            let whole = end + 4 + length.trim().parse::<usize>()?;
            if buffer.len() >= whole {
                let status: u16 = head.split(' ').nth(1).context("no status")?.parse()?;
                let body = if status < 300 { buffer[end + 4..whole].to_vec() } else { Vec::new() };
                let retry_after = head.contains("\r\nretry-after:");
                buffer.drain(..whole);
                return Ok(Answer { number: 0, status, took: 0.0, retry_after, body });
            }
        }
        if reader.read_buf(buffer).await? == 0 {
            bail!("the server hung up");
        }
    }
}
