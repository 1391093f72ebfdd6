//! Callers of the REST intake: keep-alive connections that write the next request when they have read the answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What callers saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Answers of 202.
    pub(crate) accepted: u64,
    /// Answers of 429 and 503: too much at once, and nothing was kept.
    pub(crate) busy: u64,
    /// Other answers.
    pub(crate) otherwise: u64,
    /// From the first request to the last answer.
    pub(crate) wall: Duration,
}

/// Closed loop: so many connections call for so long, with the body that `body` makes for each request's number. Each connection has `ready`
/// requests in memory before the clock starts, and repeats them: what it costs to write them is not what is measured.
pub(crate) async fn call(
    base: &str,
    key: &str,
    (connections, ready): (usize, usize),
    lasting: Duration,
    body: impl Fn(u64) -> String + Copy,
) -> Result<Seen> {
    let host = base.strip_prefix("http://").context("plain HTTP")?;
    let written = |caller: usize| -> Vec<String> {
        let numbers = (caller..).step_by(connections).take(ready);
        numbers.map(|number| request(host, key, &body(number as u64))).collect()
    };
    let requests: Vec<Vec<String>> = (0..connections).map(written).collect();
    let began = Instant::now();
    let callers = requests.iter().map(|requests| one(host, requests, began + lasting));
    let seen = futures::future::try_join_all(callers).await?;
    let sum = |field: fn(&Seen) -> u64| seen.iter().map(field).sum();
    Ok(Seen {
        accepted: sum(|one| one.accepted),
        busy: sum(|one| one.busy),
        otherwise: sum(|one| one.otherwise),
        wall: began.elapsed(),
    })
}

async fn one(host: &str, requests: &[String], until: Instant) -> Result<Seen> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (mut seen, mut buffer) = (Seen::default(), Vec::with_capacity(4096));
    let mut requests = requests.iter().cycle();
    while Instant::now() < until {
        let request = requests.next().context("no request is ready")?;
        stream.write_all(request.as_bytes()).await?;
        match answer(&mut stream, &mut buffer).await? {
            202 => seen.accepted += 1,
            429 | 503 => seen.busy += 1,
            _ => seen.otherwise += 1,
        }
    }
    Ok(seen)
}

/// One request for a send.
pub(crate) fn request(host: &str, key: &str, body: &str) -> String {
    format!(
        "POST /v1/notifications HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one whole answer; its status.
pub(crate) async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server hung up");
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
        if buffer.len() >= end + 4 + length.trim().parse::<usize>()? {
            return head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status");
        }
    }
}
