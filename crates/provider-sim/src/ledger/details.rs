//! Headers and bodies, one buffer a request, within a bound: the oldest go first.

use std::collections::{BTreeMap, VecDeque};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

/// Of one request more than this is not kept, whatever a client sends.
const MOST_OF_ONE: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Details {
    bound: usize,
    held: usize,
    first: u64,
    dropped: u64,
    kept: VecDeque<Box<[u8]>>,
}

impl Details {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, held: 0, first: 1, dropped: 0, kept: VecDeque::new() }
    }

    /// Four bytes of length, `name:value` lines, the body.
    pub(super) fn encode(headers: &HeaderMap, fingerprint: &str, body: &[u8]) -> Box<[u8]> {
        let mut buffer = Vec::with_capacity(4 + headers.len() * 48 + body.len());
        buffer.extend_from_slice(&[0; 4]);
        for (name, value) in headers {
            let value = if name == AUTHORIZATION { fingerprint.as_bytes() } else { value.as_bytes() };
            buffer.extend_from_slice(name.as_str().as_bytes());
            buffer.push(b':');
            buffer.extend_from_slice(value);
            buffer.push(b'\n');
        }
        buffer.truncate(MOST_OF_ONE);
        let length = (buffer.len() - 4) as u32;
        buffer[..4].copy_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(body.get(..MOST_OF_ONE).unwrap_or(body));
        buffer.into_boxed_slice()
    }

    pub(super) fn push(&mut self, seq: u64, detail: Box<[u8]>) {
        if self.kept.is_empty() {
            self.first = seq;
        }
        self.held += detail.len();
        self.kept.push_back(detail);
        while self.held > self.bound {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.held -= oldest.len();
            self.first += 1;
            self.dropped += 1;
        }
    }

    pub(super) fn decode(&self, seq: u64) -> (BTreeMap<String, String>, Value) {
        let detail = seq.checked_sub(self.first).and_then(|index| self.kept.get(usize::try_from(index).ok()?));
        let Some((length, rest)) = detail.and_then(|detail| detail.split_first_chunk::<4>()) else {
            return (BTreeMap::new(), Value::Null);
        };
        let (headers, body) = rest.split_at(rest.len().min(u32::from_be_bytes(*length) as usize));
        let mut named = BTreeMap::<String, String>::new();
        for line in String::from_utf8_lossy(headers).lines() {
            if let Some((name, value)) = line.split_once(':') {
                let seen = named.entry(name.to_owned()).or_default();
                let separator = if seen.is_empty() { "" } else { ", " };
                *seen = format!("{seen}{separator}{value}");
            }
        }
        (named, readable(body))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.held = 0;
        self.dropped = 0;
    }
}

fn readable(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_comes_out_again_with_the_credential_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer secret"));
        headers.append("x", HeaderValue::from_static("a:b"));
        headers.append("x", HeaderValue::from_static("c"));
        let mut details = Details::new(10_000);
        details.push(7, Details::encode(&headers, "sha256:0", b"{\"a\":1}"));
        let (named, body) = details.decode(7);
        assert_eq!((named["authorization"].as_str(), named["x"].as_str()), ("sha256:0", "a:b, c"));
        assert_eq!(body, json!({"a": 1}));
        assert_eq!(details.decode(6).1, Value::Null);
        assert_eq!(details.decode(8).1, Value::Null);
    }

    #[test]
    fn the_oldest_go_first() {
        let mut details = Details::new(30);
        for seq in 1..=5 {
            details.push(seq, Details::encode(&HeaderMap::new(), "", b"\"12345678\""));
        }
        assert_eq!(details.dropped(), 3);
        assert_eq!(details.decode(3).1, Value::Null);
        assert_eq!(details.decode(4).1, json!("12345678"));
    }
}
