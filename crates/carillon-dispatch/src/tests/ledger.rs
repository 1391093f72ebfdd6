//! A ledger for tests: real gRPC over a pipe in memory, so that paused time works, with a script instead of rows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use carillon_wire::internal::ledger_server::{Ledger, LedgerServer};
use carillon_wire::internal::{
    ChunkCopy, ChunkReport, ClaimAnswer, ClaimRequest, ClaimResponse, Grant, Outcome, ReportAnswer, ReportRequest,
    ReportResponse,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// The ledger's clock when a test begins, milliseconds since the epoch.
pub(super) const EPOCH_MS: i64 = 1_790_000_000_000;

pub(super) struct FakeLedger {
    began: Instant,
    /// Answers `unavailable` to everything.
    pub(super) away: AtomicBool,
    /// Has nothing for anybody.
    pub(super) nothing: AtomicBool,
    /// Wants nothing new to be started.
    pub(super) stop: AtomicBool,
    /// Does not understand reports about this chunk.
    pub(super) puzzled_by: Mutex<Option<u32>>,
    pub(super) lease_ms: AtomicU32,
    /// A report needs one of these to be committed.
    pub(super) commits: Semaphore,
    pub(super) claims: Mutex<Vec<ChunkCopy>>,
    /// When which report was committed.
    pub(super) reports: Mutex<Vec<(Duration, ChunkReport)>>,
    /// Moves with every report that is committed.
    pub(super) committed: watch::Sender<usize>,
    /// Attempts so far that a claim tells.
    pub(super) attempts: AtomicU32,
    /// How many positions a claim grants.
    pub(super) positions: AtomicU32,
}

impl FakeLedger {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            away: AtomicBool::new(false),
            nothing: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            puzzled_by: Mutex::default(),
            lease_ms: AtomicU32::new(5_000),
            commits: Semaphore::new(Semaphore::MAX_PERMITS),
            claims: Mutex::default(),
            reports: Mutex::default(),
            committed: watch::Sender::default(),
            attempts: AtomicU32::new(0),
            positions: AtomicU32::new(500),
        })
    }

    /// A channel to it; the server lives as long as `tasks`.
    pub(super) fn channel(self: &Arc<Self>, tasks: &mut JoinSet<()>) -> Channel {
        let (accept, mut accepted) = mpsc::channel(8);
        let incoming = futures::stream::poll_fn(move |cx| accepted.poll_recv(cx));
        let server = LedgerServer::from_arc(Arc::clone(self));
        tasks.spawn(async move {
            let _ = Server::builder().add_service(server).serve_with_incoming(incoming).await;
        });
        let connector = tower::service_fn(move |_| {
            let accept = accept.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                accept.send(Ok::<_, std::io::Error>(theirs)).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        Endpoint::from_static("http://ledger").connect_with_connector_lazy(connector)
    }

    /// The URL of it on the loopback address.
    pub(super) async fn listen(self: &Arc<Self>, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accept = move |cx: &mut Context<'_>| {
            listener.poll_accept(cx).map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        };
        let server = LedgerServer::from_arc(Arc::clone(self));
        tasks.spawn(async move {
            let _ = Server::builder().add_service(server).serve_with_incoming(futures::stream::poll_fn(accept)).await;
        });
        url
    }

    pub(super) fn now_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Everything that was committed, by position; a position that was reported twice must have been reported alike.
    pub(super) fn outcomes(&self, chunk: u32) -> BTreeMap<u32, Outcome> {
        let mut all = BTreeMap::new();
        for (_, report) in self.reports.lock().unwrap().iter().filter(|(_, report)| report.chunk == chunk) {
            for outcome in &report.outcomes {
                assert_eq!(all.insert(outcome.position, outcome.clone()), None, "position {} twice", outcome.position);
            }
        }
        all
    }

    /// Whether the last report gave the chunk back, and no earlier one did.
    pub(super) fn released(&self, chunk: u32) -> bool {
        let reports = self.reports.lock().unwrap();
        let releases: Vec<_> = reports.iter().filter(|(_, r)| r.chunk == chunk).map(|(_, r)| r.release).collect();
        releases.iter().filter(|release| **release).count() == 1 && releases.last() == Some(&true)
    }

    fn authorised<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        match request.metadata().get("authorization") {
            Some(value) if value == "Bearer internal" => Ok(()),
            _ => Err(Status::unauthenticated("who are you")),
        }
    }
}

#[tonic::async_trait]
impl Ledger for FakeLedger {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, Status> {
        self.authorised(&request)?;
        let chunks = request.into_inner().chunks;
        let count = self.positions.load(Ordering::SeqCst);
        let grant = |lease: u64| Grant {
            lease,
            lease_ms: self.lease_ms.load(Ordering::SeqCst),
            positions: (0..count).collect(),
            attempts: vec![self.attempts.load(Ordering::SeqCst); count as usize],
        };
        let nothing = self.nothing.load(Ordering::SeqCst);
        let answers =
            chunks.iter().map(|chunk| ClaimAnswer { grant: (!nothing).then(|| grant(u64::from(chunk.chunk) + 7)) });
        let answers = answers.collect();
        self.claims.lock().unwrap().extend(chunks);
        Ok(Response::new(ClaimResponse { answers, now_ms: self.now_ms(), claimers: 1 }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        self.authorised(&request)?;
        let chunks = request.into_inner().chunks;
        if chunks.iter().any(|report| Some(report.chunk) == *self.puzzled_by.lock().unwrap()) {
            return Err(Status::invalid_argument("what is this"));
        }
        self.commits.acquire().await.map_err(|_| Status::internal("closed"))?.forget();
        let lease_ms = if self.stop.load(Ordering::SeqCst) { 0 } else { self.lease_ms.load(Ordering::SeqCst) };
        let answers = chunks.iter().map(|_| ReportAnswer { lease_ms }).collect();
        let at = self.began.elapsed();
        self.reports.lock().unwrap().extend(chunks.into_iter().map(|report| (at, report)));
        self.committed.send_modify(|committed| *committed += 1);
        Ok(Response::new(ReportResponse { answers, now_ms: self.now_ms() }))
    }
}
