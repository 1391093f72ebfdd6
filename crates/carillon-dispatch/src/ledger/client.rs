//! Claims, and single Report calls, over gRPC.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use carillon_domain::platform::Platform;
use carillon_telemetry::metrics::{Histogram, histogram};
use carillon_telemetry::{Secret, names};
use carillon_wire::internal::ledger_client::LedgerClient;
use carillon_wire::internal::{ChunkCopy, ChunkReport, ClaimRequest, ClaimResponse, ReportRequest, ReportResponse};
use tokio::time::{Instant, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::clock::LedgerClock;

/// For TCP and the HTTP/2 handshake.
const CONNECT: Duration = Duration::from_secs(1);
/// An idle connection is asked for a sign of life this often, and given up this long after.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Why the ledger cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No endpoint was given.
    #[error("ledger.url names no endpoint")]
    NoEndpoint,
    /// An endpoint is not a URL, or not one of plain HTTP/2: what encrypts between the services lies outside of them.
    #[error("ledger.url: an endpoint is not of the form http://host:port")]
    Endpoint,
    /// The token cannot stand in a header.
    #[error("internal.token holds characters that no header may hold")]
    Token,
}

/// The ledger did not answer a claim; nothing was claimed, or what was runs out by itself.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the ledger")]
pub(crate) struct Away(#[source] pub(crate) Status);

/// What a claim gave.
pub(crate) struct Claimed {
    /// Leases count from here.
    pub(crate) asked: Instant,
    pub(crate) response: ClaimResponse,
}

/// The ledger, at one or several addresses; whichever answered last is asked first.
pub(crate) struct Ledger {
    channels: Vec<Channel>,
    current: AtomicUsize,
    bearer: MetadataValue<Ascii>,
    claimer: String,
    platform: Platform,
    deadline: Duration,
    clock: LedgerClock,
    claimers: AtomicU32,
    claim_seconds: Histogram,
    report_seconds: Histogram,
}

impl Ledger {
    /// Connects when first used, and again whenever it must.
    pub(crate) fn new(
        urls: &[String],
        token: &Secret,
        platform: Platform,
        deadline: Duration,
    ) -> Result<Self, LedgerError> {
        let endpoint = |url: &String| match url.starts_with("http://") {
            true => Endpoint::from_shared(url.clone()).map_err(|_| LedgerError::Endpoint),
            false => Err(LedgerError::Endpoint),
        };
        let channels =
            urls.iter().map(|url| Ok(tuned(endpoint(url)?).connect_lazy())).collect::<Result<Vec<_>, _>>()?;
        Self::over(channels, token, platform, deadline)
    }

    /// Over channels that somebody else made.
    pub(crate) fn over(
        channels: Vec<Channel>,
        token: &Secret,
        platform: Platform,
        deadline: Duration,
    ) -> Result<Self, LedgerError> {
        if channels.is_empty() {
            return Err(LedgerError::NoEndpoint);
        }
        let mut bearer: MetadataValue<Ascii> =
            format!("Bearer {}", token.expose()).parse().map_err(|_| LedgerError::Token)?;
        bearer.set_sensitive(true);
        let claimer = Uuid::new_v4();
        Ok(Self {
            // Processes spread over the addresses.
            current: AtomicUsize::new(usize::from(claimer.as_bytes()[0])),
            channels,
            bearer,
            claimer: claimer.to_string(),
            platform,
            deadline,
            clock: LedgerClock::default(),
            claimers: AtomicU32::new(1),
            claim_seconds: histogram(&names::CLAIM_SECONDS, &[("platform", platform.as_str())]),
            report_seconds: histogram(&names::REPORT_SECONDS, &[("platform", platform.as_str())]),
        })
    }

    /// Asks to send chunks. One answer a chunk, in the order asked; a ledger that answers otherwise is taken for away.
    pub(crate) async fn claim(&self, chunks: Vec<ChunkCopy>) -> Result<Claimed, Away> {
        let asked_for = chunks.len();
        let message =
            ClaimRequest { claimer: self.claimer.clone(), platform: self.platform.as_str().to_owned(), chunks };
        let (asked, response) =
            self.ask(message, async |mut client, request| client.claim(request).await).await.map_err(Away)?;
        if response.answers.len() != asked_for {
            return Err(Away(Status::internal("the ledger answered for another number of chunks")));
        }
        self.claim_seconds.observe(asked.elapsed());
        self.clock.learn(asked, response.now_ms);
        self.claimers.store(response.claimers.max(1), Ordering::Relaxed);
        Ok(Claimed { asked, response })
    }

    /// Tells what became of positions; an answer means that it is committed.
    pub(crate) async fn report(&self, chunks: Vec<ChunkReport>) -> Result<(Instant, ReportResponse), Status> {
        let told = chunks.len();
        let message =
            ReportRequest { claimer: self.claimer.clone(), platform: self.platform.as_str().to_owned(), chunks };
        let (asked, response) = self.ask(message, async |mut client, request| client.report(request).await).await?;
        if response.answers.len() != told {
            return Err(Status::internal("the ledger answered for another number of chunks"));
        }
        self.report_seconds.observe(asked.elapsed());
        self.clock.learn(asked, response.now_ms);
        Ok((asked, response))
    }

    /// Whose claimer this is.
    pub(crate) fn platform(&self) -> Platform {
        self.platform
    }

    pub(crate) fn clock(&self) -> &LedgerClock {
        &self.clock
    }

    /// Live dispatchers of the platform, this one included, as last heard.
    pub(crate) fn claimers(&self) -> u32 {
        self.claimers.load(Ordering::Relaxed)
    }

    /// Asks one address after the other, each once, while they are away. The message is copied only where another address may follow.
    async fn ask<M: Clone, T>(
        &self,
        message: M,
        call: impl AsyncFn(LedgerClient<Channel>, Request<M>) -> Result<Response<T>, Status>,
    ) -> Result<(Instant, T), Status> {
        let mut last = Status::unavailable("not asked");
        let copies = std::iter::repeat_n(message, self.channels.len());
        for message in copies {
            let current = self.current.load(Ordering::Relaxed);
            let client = LedgerClient::new(self.channels[current % self.channels.len()].clone());
            let asked = Instant::now();
            match timeout(self.deadline, call(client, self.request(message))).await {
                Ok(Ok(response)) => return Ok((asked, response.into_inner())),
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::deadline_exceeded("no answer in time"),
            }
            if !is_passing(last.code()) {
                break;
            }
            let next = current.wrapping_add(1);
            let _ = self.current.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(last)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request.set_timeout(self.deadline);
        request
    }
}

/// Whether the same call may succeed later, or elsewhere, without anybody changing it.
pub(crate) fn is_passing(code: Code) -> bool {
    !matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented)
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
}
