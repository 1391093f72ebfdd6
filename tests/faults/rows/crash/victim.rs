//! One service's cases, one after the other, always in its first replica; the second one stays as it is.

use super::cases::{Case, is_asked};
use crate::fleet::Replica;
use crate::observe::streams;
use crate::platform::Platform;
use anyhow::{Context as _, Result};
use carillon_failpoint::{Action, Point};
use carillon_tests::End;
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Until the armed process passes the point.
const HIT: Duration = Duration::from_secs(30);
/// From SIGTERM to the exit: what hangs must have been given up by then.
pub(crate) const EXIT: Duration = Duration::from_secs(20);
/// Something is sent four times a second.
const AWAY: Duration = Duration::from_secs(1);
/// Above every deadline next to a point.
const HUNG: Duration = Duration::from_secs(13);
/// Results of one chunk that a dispatcher may not have reported, and requests beside what its gauges say.
const UNREPORTED: u64 = 64;

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) case: Case,
    pub(crate) hits: u64,
    pub(crate) seconds: f64,
    /// How many second pushes it excuses: what the process had in work, if it is a dispatcher; if it is the ledger, what those had who were cut
    /// off for longer than a lease.
    pub(crate) excused: u64,
    pub(crate) broken: Option<String>,
    /// From its start until it is gone: what it sent in between may come twice.
    pub(crate) lived: (Timestamp, Timestamp),
}

impl Done {
    /// For the report.
    pub(crate) fn json(&self) -> Value {
        json!({"arm": self.case.arming.to_string(), "service": self.case.service, "hits": self.hits,
               "seconds": (self.seconds * 10.0).round() / 10.0})
    }
}

/// Runs them; the replica runs unarmed afterwards.
///
/// # Errors
/// If a process cannot be started.
pub(crate) async fn run(
    platform: &Platform,
    service: &'static str,
    cases: Vec<Case>,
    patient: bool,
) -> Result<Vec<Done>> {
    let victim = platform.of(service).next().context("a first replica")?;
    let mut all = Vec::with_capacity(cases.len());
    leave(victim).await?;
    for case in cases {
        let mut done = once(platform, victim, case).await?;
        if case.arming.action == Action::Hang {
            tokio::time::sleep(linger(case, patient)).await;
        }
        done.gone(leave(victim).await?);
        println!("           {} in {}: {} hits, {:.1} s", case.arming, victim.name(), done.hits, done.seconds);
        all.push(done);
    }
    victim.respawn(&[])?;
    victim.ready().await?;
    Ok(all)
}

/// How long a process goes on in which something hangs, before it is told to end. Ending has deadlines of its own, so once they are seen to
/// help, and once those of the work: acknowledgements have the longest one.
fn linger(case: Case, patient: bool) -> Duration {
    if patient || case.arming.point == Point::Ack { HUNG } else { Duration::ZERO }
}

impl Done {
    /// Its process is gone, as it should or not.
    pub(crate) fn gone(&mut self, otherwise: Option<String>) {
        self.lived.1 = Timestamp::now();
        self.broken = self.broken.take().or(otherwise);
    }
}

async fn once(platform: &Platform, victim: &Replica, case: Case) -> Result<Done> {
    let began = Instant::now();
    arm(victim, case)?;
    // Its moment may come before it says that it is ready.
    let ready = if is_asked(case.arming.point) { Some(victim.ready().await) } else { None };
    if let Some(ready) = ready.filter(|_| victim.end().is_none()) {
        ready?;
        let other = platform.of(case.service).nth(1).context("a second replica")?;
        other.signal(Signal::TERM);
        other.ended(EXIT).await?;
        // Dispatchers stay with the ledger that answered last: the other one is away until they have asked this one.
        tokio::time::sleep(AWAY).await;
        other.respawn(&[])?;
        other.ready().await?;
    }
    watch(victim, case, began).await
}

/// A new process that has the point armed.
///
/// # Errors
/// If its log cannot be written.
pub(crate) fn arm(victim: &Replica, case: Case) -> Result<()> {
    victim.respawn(&[("FAILPOINTS__ARM", &case.arming.to_string())])
}

/// Until it is hit, with an eye on what is in work.
///
/// # Errors
/// Never by itself.
pub(crate) async fn watch(victim: &Replica, case: Case, began: Instant) -> Result<Done> {
    let from = Timestamp::now().checked_sub(SignedDuration::try_from(began.elapsed())?)?;
    let mut hits = 0;
    let (mut chunks, mut open) = in_work(victim).await;
    let waited = Instant::now();
    let mut broken = None;
    while waited.elapsed() < HIT && hits == 0 && broken.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        match (case.arming.action, victim.end()) {
            (Action::Kill, Some(End::Signal(9))) => hits = 1,
            (_, Some(end)) => broken = Some(format!("{} armed with {} ended with {end:?}", victim.name(), case.arming)),
            (Action::Kill, None) => {}
            (_, None) => hits = victim.metric(&case.metric()).await.map_or(0, |count| count as u64),
        }
        let now = in_work(victim).await;
        (chunks, open) = (chunks.max(now.0), open.max(now.1));
    }
    if hits == 0 && broken.is_none() {
        broken = Some(format!("{} was not hit in {}", case.arming, victim.name()));
    }
    let excused = excused(victim, (chunks, open));
    let lived = (from, Timestamp::now());
    Ok(Done { case, hits, seconds: began.elapsed().as_secs_f64(), excused, broken, lived })
}

/// A dispatcher's chunks, and its requests without an answer; nothing of other services, and of what has ended.
pub(crate) async fn in_work(victim: &Replica) -> (u64, u64) {
    if !victim.service.starts_with("dispatcher-") || victim.end().is_some() {
        return (0, 0);
    }
    let chunks = victim.metric("carillon_inflight{stage=\"chunk\"}").await;
    (chunks.map_or(0, |count| count as u64), streams(victim).await.unwrap_or(0))
}

/// How many second pushes a fault at this moment may cost.
pub(crate) fn excused(victim: &Replica, (chunks, open): (u64, u64)) -> u64 {
    match victim.service {
        "status-collector" => UNREPORTED * 2,
        service if service.starts_with("dispatcher-") => UNREPORTED * (chunks + 1) + open.max(UNREPORTED),
        _ => 0,
    }
}

/// Ends what runs in the replica's place, if something does. A process that hung somewhere has to come free by its own deadlines.
///
/// # Errors
/// If it does not end.
pub(crate) async fn leave(victim: &Replica) -> Result<Option<String>> {
    match victim.end() {
        Some(End::Signal(9) | End::Code(0)) => Ok(None),
        Some(end) => Ok(Some(format!("{} ended by itself with {end:?}", victim.name()))),
        None => {
            victim.signal(Signal::TERM);
            let (end, took) = victim.ended(EXIT + Duration::from_secs(10)).await?;
            let clean = end == End::Code(0) && took <= EXIT;
            Ok((!clean)
                .then(|| format!("{} ended with {end:?} {:.1} s after SIGTERM", victim.name(), took.as_secs_f64())))
        }
    }
}
