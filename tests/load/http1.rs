//! The least HTTP client that reads an answer whole: for control interfaces, never for what is measured.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);

/// One call whose answer is JSON or nothing.
pub(crate) async fn call(
    base: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Result<Value> {
    let text = text(base, method, path, key, body).await?;
    // What is no JSON was not asked for: `ready`, metrics.
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// One call; an answer other than 2xx is an error with the beginning of its body.
pub(crate) async fn text(
    base: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Result<String> {
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
    if chunked { unchunked(body) } else { Ok(body.to_owned()) }
}

/// The body of an answer that came in pieces (RFC 9112, section 7.1).
fn unchunked(mut rest: &str) -> Result<String> {
    let mut body = String::with_capacity(rest.len());
    loop {
        let (size, after) = rest.split_once("\r\n").context("a piece without a size")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(after.get(..size).context("a piece that is cut off")?);
        rest = after.get(size + 2..).context("a piece that is cut off")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_and_a_cut_one_is_noticed() {
        assert_eq!(unchunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(), "abcde");
        assert!(unchunked("5\r\nabc").is_err());
    }
}
