//! A ledger that grants everything and counts what it is told: the other side of a dispatcher whose CPU is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carillon_domain::delivery_status::Status;
use carillon_wire::internal::ledger_server::{Ledger, LedgerServer};
use carillon_wire::internal::{
    ClaimAnswer, ClaimRequest, ClaimResponse, Grant, ReportAnswer, ReportRequest, ReportResponse,
};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response};

use crate::fixture::CHUNK;

const LEASE_MS: u32 = 5_000;

/// A ledger without a database.
pub(crate) struct Grants {
    state: Arc<State>,
    pub(crate) address: SocketAddr,
}

#[derive(Default)]
struct State {
    total: AtomicU64,
    goal: AtomicU64,
    sent: AtomicU64,
    otherwise: AtomicU64,
    reports: AtomicU64,
    reached: Notify,
}

impl Grants {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = LedgerServer::new(Door(Arc::clone(&state)));
        #[allow(clippy::disallowed_methods, reason = "it ends with the bench")]
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(Self { state, address })
    }

    /// Begins to count anew; `total` devices exist, `goal` of them are to be sent to.
    pub(crate) fn reset(&self, total: u64) {
        for counter in [&self.state.sent, &self.state.otherwise, &self.state.reports] {
            counter.store(0, Ordering::SeqCst);
        }
        self.state.total.store(total, Ordering::SeqCst);
        self.state.goal.store(total, Ordering::SeqCst);
    }

    /// Until everything was reported as sent; an error when it is not in time, or something ended otherwise.
    pub(crate) async fn all_sent(&self, limit: Duration) -> Result<()> {
        let waiting = async {
            loop {
                let reached = self.state.reached.notified();
                if self.sent() + self.otherwise() >= self.state.goal.load(Ordering::SeqCst) {
                    return;
                }
                reached.await;
            }
        };
        let in_time = tokio::time::timeout(limit, waiting).await;
        in_time.with_context(|| format!("{} sent, {} otherwise in {limit:?}", self.sent(), self.otherwise()))?;
        if self.otherwise() > 0 {
            bail!("{} were not sent", self.otherwise());
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    fn otherwise(&self) -> u64 {
        self.state.otherwise.load(Ordering::SeqCst)
    }

    /// Report calls so far.
    pub(crate) fn reports(&self) -> u64 {
        self.state.reports.load(Ordering::SeqCst)
    }
}

struct Door(Arc<State>);

#[tonic::async_trait]
impl Ledger for Door {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, tonic::Status> {
        let total = self.0.total.load(Ordering::SeqCst);
        let grant = |chunk: u32| {
            let first = u64::from(chunk) * CHUNK as u64;
            let members = total.saturating_sub(first).min(CHUNK as u64) as u32;
            Grant {
                lease: 1,
                lease_ms: LEASE_MS,
                positions: (0..members).collect(),
                attempts: vec![0; members as usize],
            }
        };
        let chunks = request.into_inner().chunks;
        let answers = chunks.iter().map(|chunk| ClaimAnswer { grant: Some(grant(chunk.chunk)) }).collect();
        Ok(Response::new(ClaimResponse { answers, now_ms: jiff::Timestamp::now().as_millisecond(), claimers: 1 }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, tonic::Status> {
        let chunks = request.into_inner().chunks;
        self.0.reports.fetch_add(1, Ordering::SeqCst);
        for outcome in chunks.iter().flat_map(|chunk| &chunk.outcomes) {
            let sent = outcome.status == Status::Sent as u32;
            let counter = if sent { &self.0.sent } else { &self.0.otherwise };
            counter.fetch_add(1, Ordering::SeqCst);
        }
        if self.0.sent.load(Ordering::SeqCst) + self.0.otherwise.load(Ordering::SeqCst)
            >= self.0.goal.load(Ordering::SeqCst)
        {
            self.0.reached.notify_one();
        }
        let answers = chunks.iter().map(|chunk| ReportAnswer { lease_ms: if chunk.release { 0 } else { LEASE_MS } });
        Ok(Response::new(ReportResponse {
            answers: answers.collect(),
            now_ms: jiff::Timestamp::now().as_millisecond(),
        }))
    }
}
