//! The least HTTP client that reads an answer whole: for control interfaces, never for what is measured.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);

/// One call; an answer other than 2xx is an error with the beginning of its body.
pub(crate) async fn call(
    base: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Result<Value> {
    let host = base.strip_prefix("http://").context("plain HTTP only")?.trim_end_matches('/');
    let body = body.map(Value::to_string).unwrap_or_default();
    let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{authorization}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(DEADLINE, exchange).await.with_context(|| format!("{method} {path}: no answer"))??;
    let text = String::from_utf8(answer).context("an answer that is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without a head")?;
    if !head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        bail!(
            "{method} {path}: {} {}",
            head.lines().next().unwrap_or_default(),
            body.chars().take(300).collect::<String>()
        );
    }
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    if body.trim().is_empty() || chunked {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).with_context(|| format!("{method} {path}: the answer is not JSON"))
}
