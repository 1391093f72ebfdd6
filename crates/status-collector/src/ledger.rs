//! Claim and Report, as dispatchers call them.

use crate::claimers::Claimers;
use crate::group::{Bounds, Group, Waiting, work};
use crate::last_sent::LastSent;
use crate::trace;
use carillon_domain::ids::{ChunkId, RunId};
use carillon_failpoint::{Failed, Point};
use carillon_runtime::Scope;
use carillon_store::{Asked, ChunkReport, Continue, Error, Granted, Store, fresh_lease};
use carillon_wire::internal::ledger_server::Ledger as LedgerRpc;
use carillon_wire::internal::{
    ClaimAnswer, ClaimRequest, ClaimResponse, Grant, ReportAnswer, ReportRequest, ReportResponse,
};
use carillon_wire::outcome_from_wire;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Claims that share one transaction: calls, and chunks in them.
const CLAIMS: Bounds = Bounds { calls: 64, weight: 1_024, little: 0 };
/// Reports that share one transaction: calls, and chunks and outcomes in them; fewer than 256 wait a moment for others (ADR 29).
const REPORTS: Bounds = Bounds { calls: 64, weight: 16_384, little: 256 };
/// Chunks in one call.
const CHUNKS: usize = 256;
/// Outcomes in one call.
const OUTCOMES: usize = 8_192;
/// Runs that wait to be looked at for being finished; more are found by the segmenter's housekeeping.
const CLOSING: usize = 10_000;
/// How long they wait for others: each of a campaign's chunks names its run, and a transaction for each single message costs as much as its report.
const COMPANY: Duration = Duration::from_millis(50);

type Claims = (Vec<Option<Granted>>, Timestamp);
type Reports = (Vec<Continue>, Timestamp);

/// The ledger's door.
pub(crate) struct Ledger {
    claims: Group<Vec<Asked>, Claims>,
    reports: Group<Vec<ChunkReport>, Reports>,
    claimers: Claimers,
}

impl Ledger {
    /// Starts the two writers and returns the door to them.
    pub(crate) fn start(store: Store, slot: i16, last_sent: Arc<LastSent>, scope: &Scope) -> Self {
        let cut_off = Arc::new(CutOff::new());
        let (claims, claim_queue) = Group::new();
        let (reports, report_queue) = Group::new();
        let (closed, closed_queue) = mpsc::channel(CLOSING);

        let (s, c) = (store.clone(), Arc::clone(&cut_off));
        let stop = scope.stopping();
        scope.spawn("claims", async move {
            work(claim_queue, CLAIMS, Vec::len, stop, |group| commit_claims(&s, &c, group)).await;
            Ok::<_, Infallible>(())
        });
        let (s, stop) = (store.clone(), scope.stopping());
        scope.spawn("reports", async move {
            let commit = |group| commit_reports(&s, slot, &cut_off, &closed, &last_sent, group);
            work(report_queue, REPORTS, weight, stop, commit).await;
            Ok::<_, Infallible>(())
        });
        scope.spawn("finished runs", async move {
            finish(store, closed_queue).await;
            Ok::<_, Infallible>(())
        });
        Self { claims, reports, claimers: Claimers::default() }
    }
}

/// Every chunk is a row to write, every outcome another.
#[allow(clippy::ptr_arg, reason = "the group weighs what its callers put in, and they put in vectors")]
fn weight(reports: &Vec<ChunkReport>) -> usize {
    reports.iter().map(|r| 1 + r.outcomes.len()).sum()
}

/// Remembers since when the ledger can be reached. For one lease after it was cut off (its own start, its database's) it grants no chunk whose lease
/// ran out meanwhile: the holder may have sent, and must be heard first.
struct CutOff {
    started: Instant,
    until_ms: AtomicU64,
}

impl CutOff {
    fn new() -> Self {
        let lease = carillon_store::LEASE.as_millis() as u64;
        Self { started: Instant::now(), until_ms: AtomicU64::new(lease) }
    }

    fn holds(&self) -> bool {
        (self.started.elapsed().as_millis() as u64) < self.until_ms.load(Ordering::Relaxed)
    }

    fn failed(&self) {
        let now = self.started.elapsed() + carillon_store::LEASE;
        self.until_ms.store(now.as_millis() as u64, Ordering::Relaxed);
    }
}

/// What is granted to callers who have gone would be leased by nobody, and those who ask again would be told that there is nothing for them: who has
/// gone by now is left out, and what was granted to one who went meanwhile is taken back.
async fn commit_claims(store: &Store, cut_off: &CutOff, mut group: Vec<Waiting<Vec<Asked>, Claims>>) {
    group.retain(|waiting| !waiting.is_abandoned());
    if group.is_empty() {
        return;
    }
    // Two callers asking for one chunk in one group: the first is granted, the second finds it leased.
    let mut known = HashSet::new();
    let unique: Vec<Asked> =
        group.iter().flat_map(|w| &w.question).filter(|asked| known.insert(asked.chunk)).copied().collect();
    let leases: Vec<i64> = unique.iter().map(|_| fresh_lease()).collect();
    match store.in_time(store.claim(&unique, &leases, cut_off.holds())).await {
        Ok((answers, now)) => {
            let granted = unique.iter().map(|asked| asked.chunk).zip(answers).collect();
            let unheard = hand_out(group, granted, now);
            if let Err(error) = store.unclaim(&unheard).await {
                tracing::debug!(%error, chunks = unheard.len(), "grants that nobody heard of run out by themselves");
            }
        }
        Err(error) => {
            cut_off.failed();
            for waiting in group {
                let _ = waiting.answer.send(Err(status_of(&error)));
            }
        }
    }
}

/// Answers each caller, and returns what was granted to those who have gone.
fn hand_out(
    group: Vec<Waiting<Vec<Asked>, Claims>>,
    mut granted: HashMap<ChunkId, Option<Granted>>,
    now: Timestamp,
) -> Vec<(ChunkId, i64)> {
    let mut unheard = Vec::new();
    for waiting in group {
        let mut answer = |asked: &Asked| granted.get_mut(&asked.chunk).and_then(Option::take);
        let answers = waiting.question.iter().map(&mut answer).collect();
        if let Err(Ok((answers, _))) = waiting.answer.send(Ok((answers, now))) {
            let of_none = waiting.question.iter().zip(answers);
            unheard.extend(of_none.filter_map(|(asked, granted)| Some((asked.chunk, granted?.lease))));
        }
    }
    unheard
}

async fn commit_reports(
    store: &Store,
    slot: i16,
    cut_off: &CutOff,
    closed: &mpsc::Sender<RunId>,
    last_sent: &LastSent,
    mut group: Vec<Waiting<Vec<ChunkReport>, Reports>>,
) {
    let counts: Vec<usize> = group.iter().map(|waiting| waiting.question.len()).collect();
    let all: Vec<ChunkReport> = group.iter_mut().flat_map(|waiting| std::mem::take(&mut waiting.question)).collect();
    match store.in_time(store.report(&all, slot)).await {
        Ok(reported) => {
            for run in reported.closed_runs {
                // A full queue is no loss: the housekeeping finds what is not marked as finished here.
                let _ = closed.try_send(run);
            }
            let now = reported.now.unwrap_or(Timestamp::UNIX_EPOCH);
            // Each report's own word: who goes on with a chunk says nothing about who only tells of it.
            let mut words = reported.answers.into_iter();
            last_sent.note(&reported.sent);
            for (waiting, count) in group.into_iter().zip(counts) {
                let own = words.by_ref().take(count).collect();
                let _ = waiting.answer.send(Ok((own, now)));
            }
        }
        Err(error) => {
            cut_off.failed();
            for waiting in group {
                let _ = waiting.answer.send(Err(status_of(&error)));
            }
        }
    }
}

/// Marks runs as finished, soon after the commit that closed one of their chunks.
async fn finish(store: Store, mut closed: mpsc::Receiver<RunId>) {
    let mut runs = Vec::new();
    while closed.recv_many(&mut runs, 500).await > 0 {
        if !closed.is_closed() {
            tokio::time::sleep(COMPANY).await;
            while runs.len() < 500
                && let Ok(run) = closed.try_recv()
            {
                runs.push(run);
            }
        }
        runs.sort_unstable();
        runs.dedup();
        if let Err(error) = store.finish_runs(&runs).await {
            tracing::debug!(%error, runs = runs.len(), "runs are left to the housekeeping to be marked as finished");
        }
        runs.clear();
    }
}

fn status_of(error: &Error) -> Status {
    if error.is_unavailable() {
        Status::unavailable(error.to_string())
    } else {
        tracing::error!(%error, "the ledger's statement was refused");
        Status::internal(error.to_string())
    }
}

fn chunk_id(run: &[u8], number: u32) -> Result<ChunkId, Status> {
    let run = Uuid::from_slice(run).map_err(|_| Status::invalid_argument("run_id must be a UUID of 16 bytes"))?;
    Ok(ChunkId { run: RunId(run), number })
}

fn check_size(chunks: usize) -> Result<(), Status> {
    if chunks > CHUNKS { Err(Status::invalid_argument(format!("at most {CHUNKS} chunks a call"))) } else { Ok(()) }
}

/// The only function that answers a dispatcher.
async fn answer<T>(point: Point, work: impl Future<Output = Result<T, Status>>) -> Result<Response<T>, Status> {
    let answered = point.around(async { work.await.map_err(Unanswered) }).await;
    answered.map(Response::new).map_err(|Unanswered(status)| status)
}

struct Unanswered(Status);

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        Self(Status::unavailable(failed.to_string()))
    }
}

#[tonic::async_trait]
impl LedgerRpc for Ledger {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, Status> {
        answer(Point::ClaimAnswer, self.grant(request.into_inner())).await
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        answer(Point::ReportAnswer, self.take(request.into_inner())).await
    }
}

impl Ledger {
    async fn grant(&self, request: ClaimRequest) -> Result<ClaimResponse, Status> {
        check_size(request.chunks.len())?;
        let claimers = self.claimers.heard(&request.platform, &request.claimer, Instant::now());
        let asked = request.chunks.iter().map(|c| {
            let advance_lease = (c.advance_lease != 0).then_some(c.advance_lease as i64);
            chunk_id(&c.run_id, c.chunk).map(|chunk| Asked { chunk, advance_lease })
        });
        let (granted, now) = self.claims.ask(asked.collect::<Result<Vec<_>, _>>()?).await?;
        let grant = |g: Granted| Grant {
            lease: g.lease as u64,
            lease_ms: carillon_store::LEASE.as_millis() as u32,
            positions: g.positions.iter().map(|(p, _)| u32::from(*p)).collect(),
            attempts: g.positions.iter().map(|(_, a)| u32::from(*a)).collect(),
        };
        let answers = granted.into_iter().map(|g| ClaimAnswer { grant: g.map(grant) }).collect();
        Ok(ClaimResponse { answers, now_ms: now.as_millisecond(), claimers })
    }

    async fn take(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        check_size(request.chunks.len())?;
        if request.chunks.iter().map(|c| c.outcomes.len()).sum::<usize>() > OUTCOMES {
            return Err(Status::invalid_argument(format!("at most {OUTCOMES} outcomes a call")));
        }
        self.claimers.heard(&request.platform, &request.claimer, Instant::now());
        let _traced = trace::commits(&request.chunks);
        let mut reports = Vec::with_capacity(request.chunks.len());
        for chunk in &request.chunks {
            let outcomes = chunk.outcomes.iter().map(outcome_from_wire).collect::<Option<Vec<_>>>();
            reports.push(ChunkReport {
                chunk: chunk_id(&chunk.run_id, chunk.chunk)?,
                lease: chunk.lease as i64,
                outcomes: outcomes.ok_or_else(|| Status::invalid_argument("an outcome that is not known"))?,
                release: chunk.release,
            });
        }
        let (words, now) = self.reports.ask(reports).await?;
        let lease_ms = |word: Continue| match word {
            Continue::Go(lease) => lease.as_millis() as u32,
            Continue::Stop => 0,
        };
        let answers = words.into_iter().map(|w| ReportAnswer { lease_ms: lease_ms(w) }).collect();
        Ok(ReportResponse { answers, now_ms: now.as_millisecond() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn what_was_granted_to_callers_who_have_gone_is_told_apart() {
        let chunk = |number| ChunkId { run: RunId(Uuid::nil()), number };
        let grant = |lease| Some(Granted { lease, positions: vec![(0, 0)] });
        let (mut group, mut answers) = (Vec::new(), Vec::new());
        for chunks in [[1, 2], [3, 4], [4, 5]] {
            let (answer, told) = oneshot::channel();
            let question = chunks.iter().map(|n| Asked { chunk: chunk(*n), advance_lease: None }).collect();
            group.push(Waiting { question, answer });
            answers.push(told);
        }
        drop(answers.remove(1));
        assert_eq!(group.iter().map(Waiting::is_abandoned).collect::<Vec<_>>(), [false, true, false]);
        let granted = [(1, grant(10)), (2, None), (3, None), (4, grant(40)), (5, grant(50))];
        let granted = granted.into_iter().map(|(number, grant)| (chunk(number), grant)).collect();
        assert_eq!(hand_out(group, granted, Timestamp::UNIX_EPOCH), [(chunk(4), 40)]);
        let told: Vec<_> = answers.iter_mut().map(|told| told.try_recv().unwrap().unwrap().0).collect();
        assert_eq!(told, [[grant(10), None], [None, grant(50)]]);
    }
}
