use std::io;
use std::sync::{Arc, Mutex};

use expect_test::{Expect, expect};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use super::*;
use crate::{Redacted, Secret, filter};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is written while `act` runs, without the timestamps.
fn written(fields: SafeFields, directives: &str, act: impl FnOnce()) -> String {
    let page = Page::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(page.clone()).fmt_fields(fields).with_ansi(false);
    let layer = match fields {
        SafeFields::Json => layer.event_format(JsonLines::new("bell")).boxed(),
        SafeFields::Text => layer.without_time().boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(filter::from_directives(directives).unwrap())
        .with(filter::caps())
        .with(layer);
    tracing::subscriber::with_default(subscriber, act);
    String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
}

fn lines(act: impl FnOnce(), expected: Expect) {
    let text = written(SafeFields::Json, "info", act);
    let mut seen = String::new();
    for line in text.lines() {
        let mut object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        assert!(object.remove("timestamp").is_some_and(|value| value.as_str().is_some_and(|text| text.ends_with('Z'))));
        seen.push_str(&serde_json::to_string_pretty(&object).unwrap());
        seen.push('\n');
    }
    expected.assert_eq(&seen);
}

#[test]
fn a_line_is_one_json_object_with_its_spans() {
    lines(
        || {
            let run = tracing::info_span!("run", run.id = 7, cursor = tracing::field::Empty);
            let _run = run.enter();
            run.record("cursor", "a\"b");
            let _chunk = tracing::info_span!("chunk").entered();
            tracing::info!(message.id = "m1", ratio = 0.5, late = false, "handed {}", "over");
        },
        expect![[r#"
            {
              "late": false,
              "level": "INFO",
              "message": "handed over",
              "message.id": "m1",
              "ratio": 0.5,
              "service": "bell",
              "spans": [
                {
                  "cursor": "a\"b",
                  "name": "run",
                  "run.id": 7
                },
                {
                  "name": "chunk"
                }
              ],
              "target": "carillon_telemetry::lines::tests"
            }
        "#]],
    );
}

#[test]
fn a_line_outside_of_spans_has_none() {
    lines(
        || tracing::warn!("alone"),
        expect![[r#"
        {
          "level": "WARN",
          "message": "alone",
          "service": "bell",
          "target": "carillon_telemetry::lines::tests"
        }
    "#]],
    );
}

#[test]
fn a_line_that_leaves_its_span_stays_one_object() {
    let text = written(SafeFields::Json, "info", || {
        let span = tracing::info_span!("run", known = 1).entered();
        span.record("unknown", 1);
        tracing::info!(parent: None, "outside");
        tracing::info!("inside");
    });
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert_eq!(text.matches("\"spans\"").count(), 1, "{text}");
}

#[test]
fn a_line_names_the_trace_it_belongs_to() {
    use opentelemetry::trace::TracerProvider as _;

    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let page = Page::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(page.clone()).fmt_fields(SafeFields::Json);
    let subscriber = tracing_subscriber::registry()
        .with(lines.event_format(JsonLines::new("bell")))
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("x")));
    let carried = tracing::subscriber::with_default(subscriber, || {
        let _span = tracing::info_span!("run").entered();
        tracing::info!("inside");
        crate::inject()
    });
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let line: Value = serde_json::from_str(&text).unwrap();
    let (trace, span) = (line["trace_id"].as_str().unwrap(), line["span_id"].as_str().unwrap());
    assert_eq!(carried[0].1, format!("00-{trace}-{span}-01"));
}

#[derive(Debug)]
#[allow(dead_code, reason = "its Debug form is what is looked at")]
struct Careless {
    token: String,
    phone: String,
    url: String,
}

#[derive(Debug)]
#[allow(dead_code, reason = "its Debug form is what is looked at")]
struct Careful {
    token: Redacted<String>,
    key: Secret,
}

const TOKEN: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3b4a5968778695a4b3c2d1e0f";
const PHONE: &str = "+48501502503";

#[test]
fn neither_tokens_nor_phones_nor_passwords_reach_the_page() {
    let act = || {
        let careless = Careless {
            token: TOKEN.to_owned(),
            phone: PHONE.to_owned(),
            url: "amqp://guest:sesame@rabbit:5672".to_owned(),
        };
        let careful = Careful { token: Redacted::new(TOKEN.to_owned()), key: Secret::new("sesame") };
        let span = tracing::info_span!("send", device.token = "short", phone = PHONE, later = tracing::field::Empty);
        let _span = span.enter();
        span.record("later", TOKEN);
        tracing::info!(?careless, ?careful, "sent {careless:?} to {PHONE}");
        tracing::info!(token = "short", api_key = 17, nested.password = true, authorization = "Basic sesame", "x");
    };
    for fields in [SafeFields::Json, SafeFields::Text] {
        let text = written(fields, "trace", act);
        assert_eq!(text.lines().count(), 2, "{text}");
        for secret in [TOKEN, &TOKEN[..16], PHONE, "501502503", "sesame", "short", "17", "true"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        assert!(text.contains("***"), "{text}");
    }
}

#[test]
fn crates_that_leak_stay_capped_whatever_the_operator_asks_for() {
    let text = written(SafeFields::Json, "trace,h2=trace,yup_oauth2=trace,hyper::client=trace,lapin=trace", || {
        tracing::info!(target: "h2::codec", "headers");
        tracing::debug!(target: "yup_oauth2::authenticator", "found valid token in cache");
        tracing::debug!(target: "hyper::client", "request");
        tracing::info!(target: "hyper::client", "reconnected");
        tracing::error!(target: "lapin::channels", "Connection error");
        tracing::warn!(target: "lapin::returned_messages", "Server returned us a message");
        tracing::trace!(target: "segmenter", "ours");
    });
    assert!(!text.contains("headers") && !text.contains("found valid token") && !text.contains("request"), "{text}");
    assert!(!text.contains("Connection error") && !text.contains("returned"), "lapin says nothing: {text}");
    assert!(text.contains("reconnected") && text.contains("ours"), "{text}");
}

#[test]
fn what_a_span_says_to_the_exporter_alone_is_not_in_the_lines() {
    for format in [SafeFields::Json, SafeFields::Text] {
        let text = written(format, "info", || {
            let span = tracing::info_span!("send", otel.kind = "client", attempt = 1);
            span.in_scope(|| tracing::info!("sent"));
        });
        assert!(text.contains("attempt") && !text.contains("otel") && !text.contains("client"), "{text}");
    }
}

#[test]
fn a_value_without_end_is_cut() {
    let text = written(SafeFields::Json, "info", || tracing::info!(long = "ą ".repeat(10_000), "x"));
    assert!(text.len() < 2 * MAX_VALUE, "{}", text.len());
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}

#[test]
fn a_filter_that_is_none_is_refused() {
    assert!(filter::from_directives("a=b=c").is_err());
}
