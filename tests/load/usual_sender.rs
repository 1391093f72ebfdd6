//! The shape of a usual sender, to compare the platform with: one connection to each provider, a hundred requests in flight on it, a task and a
//! JSON body for each token, headers made anew for each request, a counter and a line of log a push. It keeps no state, so that what it
//! was about to send is lost when it dies.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::fixture::{BUNDLE, PROJECT, apns_token};
use crate::floor_h2;
use crate::processes::{Talker, wait_for_a_line};
use crate::report::say;

/// Requests that may be under way at one provider.
const IN_FLIGHT: usize = 100;

/// What every request of a provider needs.
struct Road {
    base: String,
    authorization: String,
    sender: SendRequest<Bytes>,
    apns: bool,
    places: Arc<Semaphore>,
}

/// What is counted and written for every push.
struct Journal {
    sent: AtomicU64,
    log: Mutex<BufWriter<std::fs::File>>,
}

/// The process: `usual-sender COUNT CA APNS_URL APNS_BEARER FCM_URL FCM_BEARER`. Half of the devices are APNs', half FCM's.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let [count, ca, apns, apns_bearer, fcm, fcm_bearer] = arguments else { bail!("six words are needed") };
    let count: u64 = count.parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let roads = [road(apns, apns_bearer, ca, true).await?, road(fcm, fcm_bearer, ca, false).await?];
        let log = Mutex::new(BufWriter::new(std::fs::File::create("/dev/null")?));
        let journal = Arc::new(Journal { sent: AtomicU64::new(0), log });
        say("ready");
        wait_for_a_line()?;
        let began = Instant::now();
        let walks = roads.into_iter().map(|road| walk(Arc::new(road), Arc::clone(&journal), count));
        futures::future::try_join_all(walks).await?;
        let sent = journal.sent.load(Ordering::SeqCst);
        say(&json!({"taken": sent, "seconds": began.elapsed().as_secs_f64()}).to_string());
        wait_for_a_line()?;
        Ok(true)
    })
}

async fn road(url: &str, authorization: &str, ca: &str, apns: bool) -> Result<Road> {
    let authority = url.strip_prefix("https://").context("an https URL")?.trim_end_matches('/');
    let sender = floor_h2::connect(authority, Path::new(ca)).await?;
    let (base, authorization) = (format!("https://{authority}"), authorization.to_owned());
    Ok(Road { base, authorization, sender, apns, places: Arc::new(Semaphore::new(IN_FLIGHT)) })
}

/// A task for each token of a provider.
async fn walk(road: Arc<Road>, journal: Arc<Journal>, count: u64) -> Result<()> {
    for ordinal in (u64::from(!road.apns)..count).step_by(2) {
        let place = Arc::clone(&road.places).acquire_owned().await?;
        let (road, journal) = (Arc::clone(&road), Arc::clone(&journal));
        #[allow(clippy::disallowed_methods, reason = "a task for each token is what is compared")]
        tokio::spawn(async move {
            if let Err(error) = push(&road, &journal, ordinal).await {
                say(&format!("{error:#}"));
            }
            drop(place);
        });
    }
    let _all_done = road.places.acquire_many(IN_FLIGHT as u32).await?;
    Ok(())
}

async fn push(road: &Road, journal: &Journal, ordinal: u64) -> Result<()> {
    let token = apns_token(ordinal);
    let (title, text) = (
        "Everything for the winter",
        "From today until Sunday: coats, boots and sledges at half the price, in every shop.",
    );
    let request = Request::post(if road.apns {
        format!("{}/3/device/{token}", road.base)
    } else {
        format!("{}/v1/projects/{PROJECT}/messages:send", road.base)
    });
    let request =
        request.header("authorization", road.authorization.clone()).header("content-type", "application/json");
    let (request, body) = if road.apns {
        let headers = [("apns-topic", BUNDLE), ("apns-push-type", "alert"), ("apns-priority", "10")];
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let aps = json!({"alert": {"title": title, "body": text}, "sound": "default"});
        (request, json!({"aps": aps, "campaign": "winter-26"}))
    } else {
        let notification = json!({"title": title, "body": text});
        (request, json!({"message": {"token": token, "notification": notification, "data": {"campaign": "winter-26"}}}))
    };
    let body = Bytes::from(serde_json::to_vec(&body)?);
    let mut sender = road.sender.clone().ready().await?;
    #[allow(clippy::disallowed_methods, reason = "what is compared has no engine around it")]
    let (response, mut stream) = sender.send_request(request.body(())?, false)?;
    stream.send_data(body, true)?;
    let response = response.await?;
    let status = response.status();
    let mut answer = response.into_body();
    while let Some(piece) = answer.data().await {
        answer.flow_control().release_capacity(piece?.len())?;
    }
    ensure!(status.is_success(), "a push was answered {status}");
    journal.sent.fetch_add(1, Ordering::SeqCst);
    let mut log = journal.log.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(log, "{} sent ordinal={ordinal} status={status}", jiff::Timestamp::now())?;
    Ok(())
}

/// Runs the process: how long it took, and its CPU.
pub(crate) fn measure(count: u64, ca: &Path, apns: [&str; 2], fcm: [&str; 2]) -> Result<(Duration, Duration)> {
    let (count_word, ca) = (count.to_string(), ca.display().to_string());
    let words = ["usual-sender", &count_word, &ca, apns[0], apns[1], fcm[0], fcm[1]].map(str::to_owned);
    let mut talker = Talker::start(&words)?;
    ensure!(talker.hear()? == "ready", "the usual sender is not ready");
    let before = talker.cpu()?;
    talker.go()?;
    let said: Value = serde_json::from_str(&talker.hear()?)?;
    ensure!(said["taken"] == count, "the usual sender sent {} of {count}", said["taken"]);
    let cpu = talker.cpu()? - before;
    Ok((Duration::from_secs_f64(said["seconds"].as_f64().context("seconds")?), cpu))
}
