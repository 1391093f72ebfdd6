//! The SMS gateway and its delivery reports.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

mod client;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query as Parameters, State};
use client::plain::Ask;
use client::{DEADLINE, NOTIFICATION};
use provider_sim::{Config, Fate, Outcome, Provider, Query, Reply, Report, Sim, SmsAccount};
use serde_json::json;
use tokio::sync::watch;

const PHONE: &str = "+48501502503";

async fn start() -> Sim {
    let sim = Sim::start(Config { report_retry_ms: 5, report_attempts: 4, ..Config::default() }).await.unwrap();
    sim.register_sms_account(SmsAccount::new("secret")).unwrap();
    sim
}

fn ask(sim: &Sim) -> Ask {
    Ask::post(format!("{}/sms.do", sim.urls().sms)).header("authorization", "Bearer secret")
}

fn fields<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = [("to", PHONE), ("message", "Hello"), ("format", "json"), ("encoding", "utf-8")]
        .into_iter()
        .filter(|(name, _)| !more.iter().any(|(other, _)| other == name))
        .collect();
    fields.extend_from_slice(more);
    fields
}

async fn send(sim: &Sim, more: &[(&str, &str)]) -> client::Reply {
    ask(sim).form(&fields(more)).send("").await.unwrap()
}

#[tokio::test]
async fn a_message_is_queued_and_written_down() {
    let sim = start().await;
    let index = format!("{NOTIFICATION}.1");
    let reply = send(&sim, &[("from", "SHOP"), ("idx", &index), ("check_idx", "1")]).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["count"]), (200, &json!(1)));
    assert_eq!(body["list"][0]["status"], "QUEUE");
    assert_eq!(body["list"][0]["number"], "48501502503");
    assert_eq!(body["list"][0]["submitted_number"], PHONE);
    assert_eq!(body["list"][0]["idx"], index);
    assert_eq!(body["list"][0]["points"], 0.16);

    let record = &sim.ledger().records(&Query::token(Provider::Sms, "48501502503"))[0];
    assert_eq!((record.token.as_str(), record.accepted), (PHONE, true));
    assert_eq!(record.notification_id.as_deref(), Some(NOTIFICATION));
    assert_eq!(record.body["message"], "Hello");
    assert!(record.headers["authorization"].starts_with("sha256:"));
}

#[tokio::test]
async fn json_bodies_and_several_recipients_are_taken() {
    let sim = start().await;
    let body = json!({"to": ["48501502503", "48501502504"], "message": "Hello", "format": "json", "idx": "a|b"});
    let reply = ask(&sim).json(&body).send("").await.unwrap();
    assert_eq!(reply.json()["count"], 2);
    assert_eq!(reply.json()["list"][1]["idx"], "b");
    assert_eq!(sim.ledger().summary().of(Provider::Sms).accepted_tokens, 2);
    let text = ask(&sim).form(&[("to", PHONE), ("message", "Hello")]).send("").await.unwrap().text();
    assert!(text.starts_with("OK:") && text.ends_with(":0.1600:+48501502503"), "{text}");
}

#[tokio::test]
async fn every_fault_has_its_number() {
    let sim = start().await;
    sim.register_sms_account(SmsAccount { senders: vec!["SHOP".to_owned()], ..SmsAccount::new("named") }).unwrap();
    let long = "x".repeat(1531);
    let national = "ż".repeat(71);
    for (more, error) in [
        (vec![("message", "")], 11),
        (vec![("message", long.as_str())], 12),
        (vec![("message", national.as_str()), ("single", "1")], 11),
        (vec![("message", "ż"), ("nounicode", "1")], 11),
        (vec![("to", "")], 13),
        (vec![("to", "12")], 13),
        (vec![("to", "phone")], 13),
        (vec![("from", "WAY TOO LONG A NAME")], 14),
        (vec![("check_idx", "1")], 52),
        (vec![("idx", "a|b")], 52),
        (vec![("expiration_date", "1000000000")], 54),
        (vec![("expiration_date", "soon")], 54),
        (vec![("notify_url", "ftp://a.example")], 8),
        (vec![("check_idx", "yes")], 8),
        (vec![("encoding", "latin-1")], 8),
        (vec![("colour", "red")], 8),
    ] {
        let reply = send(&sim, &more).await;
        assert_eq!((reply.status, &reply.json()["error"]), (200, &json!(error)), "{more:?}");
        assert!(reply.json()["message"].is_string());
    }
    let other = ask(&sim).header("authorization", "Bearer guess").form(&fields(&[])).send("").await.unwrap();
    assert_eq!((other.status, &other.json()["error"]), (401, &json!(101)));
    let named = ask(&sim).header("authorization", "Bearer named");
    let other = named.clone().form(&fields(&[("from", "BANK")])).send("").await.unwrap();
    assert_eq!(other.json()["error"], 14);
    assert_eq!(named.form(&fields(&[("from", "SHOP")])).send("").await.unwrap().json()["count"], 1);
    let later = (client::now() + 3600).to_string();
    assert_eq!(send(&sim, &[("expiration_date", &later)]).await.json()["count"], 1);
    let mut nowhere = ask(&sim).form(&fields(&[]));
    nowhere.url = format!("{}/mms.do", sim.urls().sms);
    assert_eq!(nowhere.send("").await.unwrap().status, 404);
}

#[tokio::test]
async fn an_index_is_used_once() {
    let sim = start().await;
    assert_eq!(send(&sim, &[("idx", "one"), ("check_idx", "1")]).await.json()["count"], 1);
    assert_eq!(send(&sim, &[("idx", "one"), ("check_idx", "1")]).await.json()["error"], 53);
    // Without the check the gateway sends again, and the ledger says so.
    assert_eq!(send(&sim, &[("idx", "one")]).await.json()["count"], 1);
    assert_eq!(sim.ledger().summary().duplicates, 1);
}

#[tokio::test]
async fn of_many_requests_with_one_index_at_the_same_time_one_is_sent() {
    let sim = start().await;
    let index = [("idx", "one"), ("check_idx", "1")];
    let replies = futures::future::join_all((0..20).map(|_| send(&sim, &index))).await;
    assert_eq!(replies.iter().filter(|reply| reply.json()["count"] == 1).count(), 1);
}

#[tokio::test]
async fn an_index_that_was_refused_can_be_used_again_but_one_whose_answer_was_lost_cannot() {
    let sim = start().await;
    let index = [("idx", "one"), ("check_idx", "1")];
    sim.script(Provider::Sms, PHONE, [Reply::refuse("201"), Reply::accept().fate(Fate::Drop)]).unwrap();
    assert_eq!(send(&sim, &index).await.json()["error"], 201);
    assert!(ask(&sim).form(&fields(&index)).send("").await.is_err());
    assert_eq!(send(&sim, &index).await.json()["error"], 53);
    let summary = sim.ledger().summary().of(Provider::Sms);
    assert_eq!((summary.requests, summary.accepted, summary.duplicates), (3, 1, 0));
}

#[tokio::test]
async fn a_test_message_sends_nothing() {
    let sim = start().await;
    let test = [("test", "1"), ("idx", "one"), ("check_idx", "1")];
    assert_eq!(send(&sim, &test).await.json()["count"], 1);
    assert_eq!(send(&sim, &test).await.json()["count"], 1);
    assert_eq!(sim.ledger().summary().of(Provider::Sms).accepted, 0);
}

#[tokio::test]
async fn scripts_speak_smsapi() {
    let sim = start().await;
    for (reply, status, error) in [
        (Reply::refuse("13"), 200, 13),
        (Reply::status(503), 503, 203),
        (Reply::status(429).retry_after(4), 429, 429),
        (Reply::status(401), 401, 101),
        (Reply::status(500), 500, 201),
    ] {
        sim.script(Provider::Sms, PHONE, [reply]).unwrap();
        let answer = send(&sim, &[]).await;
        assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(error)));
    }
    assert!(sim.script(Provider::Sms, PHONE, [Reply::refuse("blocked")]).is_err());
}

/// A receiver of callbacks that says no a few times first.
struct Receiver {
    url: String,
    seen: watch::Receiver<Vec<HashMap<String, String>>>,
}

#[derive(Clone)]
struct Mailbox {
    refusals: Arc<Mutex<u32>>,
    seen: Arc<watch::Sender<Vec<HashMap<String, String>>>>,
}

impl Receiver {
    #[allow(clippy::disallowed_methods, reason = "the receiver runs beside the test")]
    async fn start(refusals: u32) -> Self {
        let (sender, seen) = watch::channel(Vec::new());
        let mailbox = Mailbox { refusals: Arc::new(Mutex::new(refusals)), seen: Arc::new(sender) };
        let take = async |State(mailbox): State<Mailbox>, Parameters(report): Parameters<HashMap<String, String>>| {
            mailbox.seen.send_modify(|seen| seen.push(report));
            let mut refusals = mailbox.refusals.lock().unwrap();
            if *refusals == 0 {
                return "OK";
            }
            *refusals -= 1;
            "later"
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/dlr/s3cret?k=1", listener.local_addr().unwrap());
        let router = Router::new().route("/dlr/s3cret", axum::routing::get(take)).with_state(mailbox);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    async fn wait(&mut self, count: usize) -> Vec<HashMap<String, String>> {
        let seen = self.seen.wait_for(|seen| seen.len() >= count);
        tokio::time::timeout(DEADLINE, seen).await.expect("callbacks in time").unwrap().clone()
    }
}

#[tokio::test]
async fn a_delivery_report_is_repeated_until_it_is_acknowledged() {
    let sim = start().await;
    let mut receiver = Receiver::start(2).await;
    let url = receiver.url.clone();
    let reply = send(&sim, &[("notify_url", &url), ("idx", "i 1"), ("from", "SHOP")]).await;
    let id = reply.json()["list"][0]["id"].as_str().unwrap().to_owned();
    let seen = receiver.wait(3).await;
    let wanted = [
        ("k", "1"),
        ("MsgId", id.as_str()),
        ("status", "404"),
        ("status_name", "DELIVERED"),
        ("idx", "i 1"),
        ("username", "sim"),
        ("points", "0.1600"),
        ("from", "SHOP"),
        ("to", "48501502503"),
    ];
    for report in &seen {
        for (name, value) in wanted {
            assert_eq!(report.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(report["donedate"].parse::<i64>().is_ok());
    }
    let done = wait_for_reports(&sim, 1).await;
    assert_eq!((done[0].attempts, done[0].acknowledged, done[0].outcome), (3, true, Outcome::Delivered));
}

/// The last answer is on its way back when the receiver has seen the call.
async fn wait_for_reports(sim: &Sim, count: usize) -> Vec<provider_sim::ReportRecord> {
    let enough = async {
        while sim.sms_reports().len() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, enough).await.expect("reports in time");
    sim.sms_reports()
}

#[tokio::test]
async fn a_report_that_nobody_acknowledges_is_given_up() {
    let sim = start().await;
    let mut receiver = Receiver::start(u32::MAX).await;
    let url = receiver.url.clone();
    send(&sim, &[("notify_url", &url)]).await;
    let done = wait_for_reports(&sim, 1).await;
    assert_eq!((done[0].attempts, done[0].acknowledged), (4, false));
    assert_eq!(receiver.wait(4).await.len(), 4);
}

#[tokio::test]
async fn the_outcome_is_scripted_per_number() {
    let sim = start().await;
    let mut receiver = Receiver::start(0).await;
    let url = receiver.url.clone();
    let report = |outcome, after_ms| Report { outcome, after_ms };
    let replies = [
        Reply::reports([report(Outcome::Sent, 0), report(Outcome::Undelivered, 1)]),
        Reply::reports([report(Outcome::Expired, 0)]),
        Reply::reports([]),
        Reply::reports([report(Outcome::Unknown, 0)]),
    ];
    sim.script(Provider::Sms, "48501502503", replies).unwrap();
    let mut seen = 0;
    for (count, codes) in [(2, vec!["403", "405"]), (1, vec!["402"]), (0, vec![]), (1, vec!["408"]), (1, vec!["404"])] {
        assert_eq!(send(&sim, &[("notify_url", &url)]).await.json()["count"], 1);
        let reports = receiver.wait(seen + count).await;
        let new: Vec<_> = reports[seen..].iter().map(|report| report["status"].as_str()).collect();
        assert_eq!(new, codes);
        seen += count;
    }
}
