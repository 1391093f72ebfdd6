//! What a dispatcher says about hosts that are away, refuse a credential, or are back.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber as _;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::world::{Scripted, World, chunk};
use crate::provider::Verdict;

/// What was said.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl Lines {
    fn about(&self, words: &str) -> Vec<Option<String>> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.words.contains(words)).map(|line| line.host.clone()).collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("carillon_dispatch")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    words: String,
    host: Option<String>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.words = format!("{value:?}"),
            "provider.host" => self.host = Some(format!("{value:?}").trim_matches('"').to_owned()),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_refuses_fails_or_is_back_is_named() {
    let lines = Lines::default();
    let scripted = Scripted::new(|token, before| match (token, before) {
        ("t0", 0) => Verdict::Misconfigured { detail: "Unauthorized".into() },
        ("t0", 1..11) => Verdict::Unavailable { retry_after: Some(Duration::from_millis(1)) },
        _ => Verdict::Sent { provider_id: None },
    });
    let world = World::new(scripted.two_hosts());
    let all = async {
        for number in 1..30 {
            world.send(vec![chunk(number, 1)]).await.unwrap();
            world.pass(Duration::from_secs(61)).await;
        }
    };
    all.with_subscriber(lines.clone()).await;
    for words in ["refuses a credential", "the provider fails", "answers again"] {
        assert_eq!(lines.about(words), [Some("even.example".to_owned())], "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preparation_that_works_again_is_told_of_and_names_no_host() {
    let lines = Lines::default();
    let world = World::new(Scripted::sends().unprepared_at_first(12, Verdict::Unavailable { retry_after: None }));
    let all = async {
        for number in 1..30 {
            world.send(vec![chunk(number, 1)]).await.unwrap();
            world.pass(Duration::from_secs(61)).await;
        }
    };
    all.with_subscriber(lines.clone()).await;
    for words in ["the provider fails", "answers again"] {
        assert_eq!(lines.about(words), [None], "{words}");
    }
}
