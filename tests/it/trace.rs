//! One trace from the caller through the broker to the provider's answer and the commit of its status.

use carillon_domain::audience::Audience;
use carillon_tests::{Seen, Service, Spans, World, eventually};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use uuid::Uuid;

/// A caller's own span: its trace goes on here.
struct Caller {
    trace: String,
    span: String,
}

impl Caller {
    fn new() -> Self {
        let trace = Uuid::new_v4().simple().to_string();
        let span = Uuid::new_v4().simple().to_string()[..16].to_owned();
        Self { trace, span }
    }

    fn traceparent(&self, flags: &str) -> String {
        format!("00-{}-{}-{flags}", self.trace, self.span)
    }

    /// The services and names of the spans from `seen` up to the caller. Parents end after their children, and come later.
    async fn way_up(&self, spans: &Spans, seen: &Seen) -> Vec<(String, String)> {
        let way = || {
            let all = spans.of_trace(&self.trace);
            let mut way = vec![seen.clone()];
            while way[way.len() - 1].parent() != self.span {
                let parent = way[way.len() - 1].parent();
                way.push(all.iter().find(|above| above.id() == parent)?.clone());
            }
            Some(way.into_iter().map(|seen| (seen.service, seen.span.name)).collect::<Vec<_>>())
        };
        let name = &seen.span.name;
        eventually(&format!("every span between the caller and {name}"), async || way().is_some()).await;
        way().unwrap()
    }

    /// The spans of this name, once the trace has `count` of them.
    async fn named(&self, spans: &Spans, name: &str, count: usize) -> Vec<Seen> {
        let found =
            || -> Vec<Seen> { spans.of_trace(&self.trace).into_iter().filter(|seen| seen.span.name == name).collect() };
        eventually(&format!("{count} spans {name}"), async || found().len() >= count).await;
        assert_eq!(found().len(), count, "{name}");
        found()
    }
}

fn user(name: &str) -> Audience {
    Audience { users: [name].into(), ..Default::default() }
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(service, name)| (service.to_owned(), name.to_owned())).collect()
}

/// One request; the answer's status and body.
fn post(world: &World, path: &str, key: &str, more: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(world.ingest).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    (status, answer)
}

/// A key of the tenant's backend, made as an operator makes it.
fn server_key(world: &World, tenant: &str) -> String {
    let body = r#"{"name": "backend", "scopes": ["send"]}"#;
    let (status, answer) = post(world, &format!("/v1/tenants/{tenant}/keys"), World::OPERATOR_KEY, "", body);
    assert_eq!(status, 201, "{answer}");
    let (_, key) = answer.split_once("\"csk_").unwrap();
    format!("csk_{}", key.split('"').next().unwrap())
}

#[test]
fn a_callers_trace_goes_through_the_broker_to_the_provider_and_to_the_commit() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 2).await;
        let key = server_key(world, tenant.name());
        let caller = Caller::new();
        let body = r#"{"app": "shop", "to": {"users": ["ola"]}, "content": {"title": "Hello"}}"#;
        let more = format!("traceparent: {}\r\n", caller.traceparent("01"));
        let (status, answer) = post(world, "/v1/notifications", &key, &more, body);
        assert_eq!(status, 202, "{answer}");

        let above = [("segmenter", "segment"), ("ingest-api", "http.request")];
        let [segment, request] = above;
        let sends = caller.named(&world.spans, "POST", 2).await;
        for send in &sends {
            let way = [("dispatcher-apns", "POST"), ("dispatcher-apns", "process chunks"), segment, request];
            assert_eq!(caller.way_up(&world.spans, send).await, pairs(way));
            for (key, value) in [
                ("http.request.method", "POST"),
                ("http.response.status_code", "200"),
                ("server.address", "localhost"),
                ("platform", "apns"),
                ("outcome", "sent"),
                ("attempt", "1"),
            ] {
                assert_eq!(send.attribute(key).as_deref(), Some(value), "{key}");
            }
            // 3 is CLIENT (OTLP's SpanKind).
            assert_eq!((send.span.kind, send.attribute("error.type")), (3, None));
        }
        for commit in caller.named(&world.spans, "commit statuses", 1).await {
            let way =
                [("status-collector", "commit statuses"), ("dispatcher-apns", "process chunks"), segment, request];
            assert_eq!(caller.way_up(&world.spans, &commit).await, pairs(way));
        }
        let everything = format!("{:?}", world.spans.of_trace(&caller.trace));
        assert!(phones.iter().all(|phone| !everything.contains(&phone.token)), "a device token left with a span");
        assert!(!everything.contains(&key) && !everything.contains("Hello"));
    });
}

#[test]
fn what_its_caller_does_not_record_leaves_no_span_anywhere() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        tenant.phones("ola", 1).await;
        let key = server_key(world, tenant.name());
        let (declined, recorded) = (Caller::new(), Caller::new());
        let body = r#"{"app": "shop", "to": {"users": ["ola"]}, "content": {"title": "Hello"}}"#;
        // The recorded one goes behind the other, so that its last span comes after all of the other's.
        for more in [declined.traceparent("00"), recorded.traceparent("01")] {
            let (status, answer) = post(world, "/v1/notifications", &key, &format!("traceparent: {more}\r\n"), body);
            assert_eq!(status, 202, "{answer}");
        }
        recorded.named(&world.spans, "commit statuses", 1).await;
        assert!(world.spans.of_trace(&declined.trace).is_empty());
    });
}

#[test]
fn a_scheduled_notification_goes_on_in_its_callers_trace_when_its_time_has_come() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        tenant.phones("ola", 1).await;
        let key = server_key(world, tenant.name());
        let (caller, declined) = (Caller::new(), Caller::new());
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
        let body = format!(
            r#"{{"app": "shop", "to": {{"users": ["ola"]}}, "content": {{"title": "Hello"}}, "schedule": {{"at": "{at}"}}}}"#
        );
        for more in [declined.traceparent("00"), caller.traceparent("01")] {
            let (status, answer) = post(world, "/v1/notifications", &key, &format!("traceparent: {more}\r\n"), &body);
            assert!(status == 202 && answer.contains("scheduled"), "{answer}");
        }
        // Whoever reads the row then knows nothing but the row.
        world.kill_one(Service::Segmenter).await;
        let above = [("segmenter", "segment"), ("ingest-api", "http.request")];
        for (name, service) in [("POST", "dispatcher-apns"), ("commit statuses", "status-collector")] {
            let seen = caller.named(&world.spans, name, 1).await.remove(0);
            let way = caller.way_up(&world.spans, &seen).await;
            assert_eq!((way[0].0.as_str(), way[0].1.as_str()), (service, name));
            assert_eq!(&way[way.len() - 2..], pairs(above));
        }
        assert!(
            world.spans.of_trace(&declined.trace).is_empty(),
            "what its caller does not record is not recorded later either"
        );
    });
}

#[test]
fn what_nobody_was_woken_for_goes_on_in_its_callers_trace_all_the_same() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        tenant.phones("ola", 2).await;
        let (one, campaign) = (Caller::new(), Caller::new());
        let ids = [
            tenant.accept_and_die(user("ola"), one.traceparent("01")).await,
            tenant.accept_and_die(Audience { all: true, ..Default::default() }, campaign.traceparent("01")).await,
        ];
        for id in ids {
            eventually("the run is finished", async || tenant.is_finished(id).await).await;
        }
        for caller in [&one, &campaign] {
            let segment = caller.named(&world.spans, "segment", 1).await.remove(0);
            assert_eq!(caller.way_up(&world.spans, &segment).await, pairs([("segmenter", "segment")]));
        }
        for name in ["POST", "commit statuses"] {
            let count = if name == "POST" { 2 } else { 1 };
            one.named(&world.spans, name, count).await;
        }
    });
}

#[test]
fn notifications_of_many_callers_in_one_message_keep_to_their_own_traces() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let callers = [Caller::new(), Caller::new(), Caller::new()];
        let mut sent = Vec::new();
        for (i, caller) in callers.iter().enumerate() {
            tenant.phones(&format!("u{i}"), 1).await;
            sent.push((user(&format!("u{i}")), caller.traceparent("01")));
        }
        tenant.phones("quiet", 1).await;
        sent.insert(1, (user("quiet"), String::new()));
        let ids = tenant.send_together(sent).await;
        for (caller, id) in callers.iter().zip([ids[0], ids[2], ids[3]]) {
            let send = caller.named(&world.spans, "POST", 1).await.remove(0);
            assert_eq!(send.attribute("notification.id"), Some(id.0.to_string()));
            let commit = caller.named(&world.spans, "commit statuses", 1).await.remove(0);
            for (seen, first) in [(&send, "POST"), (&commit, "commit statuses")] {
                let way = caller.way_up(&world.spans, seen).await;
                let names: Vec<String> = way.into_iter().map(|(_, name)| name).collect();
                assert!(
                    matches!(names.as_slice(), [own, chunk, segment]
                    if own == first && chunk.starts_with("process chunk") && segment == "segment"),
                    "{names:?}"
                );
            }
        }
        eventually("all are finished", async || {
            let mut finished = true;
            for id in &ids {
                finished &= tenant.is_finished(*id).await;
            }
            finished
        })
        .await;
        let quiet = ids[1].0.to_string();
        assert!(world.spans.all().iter().all(|seen| seen.attribute("notification.id").as_ref() != Some(&quiet)));
    });
}
