//! A granted chunk: what needs no provider is closed, what is shared is made, the rest is sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::chunk::Chunk;
use crate::credentials::Opened;
use crate::engine::Engine;
use crate::flight::random;
use crate::gate::PREPARATION;
use crate::line::Open;
use crate::metrics::LetGo;
use crate::outbox::{NotCommitted, Outbox};
use crate::plan::{self, Situation, Step};
use crate::provider::{Provider, Scope, Verdict};
use crate::sending::Sending;

/// How long a provider may take to make what a chunk's messages share.
const PREPARE: Duration = Duration::from_secs(3);

/// What the ledger granted.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) lease: u64,
    pub(crate) until: Instant,
    /// Indices into the chunk's targets, with the attempts so far.
    pub(crate) open: Vec<(usize, u8)>,
}

/// Sends what was granted and reports it; `Ok` once everything is committed. Ends early on `stop` and `lost`: what is in
/// flight is finished and reported, the rest given back.
pub(crate) async fn send_chunk<P: Provider>(
    engine: &Engine<P>,
    chunk: &Chunk,
    granted: Granted,
    stop: &CancellationToken,
    lost: &CancellationToken,
) -> Result<(), NotCommitted> {
    let _held = engine.meters.inflight.hold();
    let now = Instant::now();
    let mut outbox = Outbox::new(engine.shared.reporter.clone(), chunk, granted.lease, now);
    let ready = close_unsendable(engine, chunk, &granted.open, &mut outbox, now);
    if ready.is_empty() {
        engine.meters.let_go(LetGo::Done);
        return outbox.release().await;
    }
    let (opened, prepared) = match prepare(engine, chunk, &ready).await {
        Ok(both) => both,
        Err(verdict) => {
            hold_all(engine, chunk, &verdict, ready, &mut outbox);
            engine.meters.let_go(LetGo::Deferred);
            return outbox.release().await;
        }
    };
    let mut sending = Sending::new(engine, chunk, opened, granted.until, ready, outbox);
    sending.run(&prepared, stop, lost).await?;
    sending.release().await
}

/// Closes what needs no provider: the suppressed, the expired, and what no variant was rendered for.
fn close_unsendable<'a, P: Provider>(
    engine: &Engine<P>,
    chunk: &'a Chunk,
    open: &[(usize, u8)],
    outbox: &mut Outbox,
    now: Instant,
) -> VecDeque<Open<'a>> {
    let expired = engine.time(now) >= chunk.facts.expires_at;
    let mut ready = VecDeque::with_capacity(open.len());
    for (index, attempts) in open {
        let target = &chunk.targets[*index];
        let progress = if let Some(reason) = target.suppressed {
            // What was found too large once it was rendered was to be sent, and could not be.
            let status = if reason == Reason::PayloadTooLarge { Status::Failed } else { Status::Suppressed };
            Progress::Closed { status, reason: Some(reason), provider_id: None }
        } else if expired {
            engine.meters.expired();
            plan::expired()
        } else if target.variant >= chunk.variants.len() {
            tracing::error!(run.id = %chunk.id.run.0, chunk.id = chunk.id.number, "a target names a variant that is not there");
            Progress::Closed { status: Status::Failed, reason: Some(Reason::Unknown), provider_id: None }
        } else {
            let host = engine.shared.provider.host(&target.token, target.environment);
            ready.push_back(Open { index: *index, host, attempts: *attempts, retries: 0 });
            continue;
        };
        let token = TokenVerdict::Keep;
        outbox.push(Outcome { position: target.position, progress, token, generation: target.generation }, now);
    }
    ready
}

/// Makes what the messages share, or says what all of them come to.
async fn prepare<P: Provider>(
    engine: &Engine<P>,
    chunk: &Chunk,
    ready: &VecDeque<Open<'_>>,
) -> Result<(Arc<Opened<P::Credential>>, P::Prepared), Verdict> {
    let provider = &engine.shared.provider;
    let opened = engine.shared.credentials.of(chunk, provider).map_err(|error| {
        tracing::warn!(tenant.id = %chunk.facts.tenant, app.id = %chunk.facts.app, %error, "a credential cannot be used");
        Verdict::Misconfigured { detail: error.0 }
    })?;
    if let Some(wait) = opened.closed(ready.iter().map(|open| open.host), Instant::now()) {
        let wait = plan::hold_for(wait, engine.lane, random());
        return Err(Verdict::Throttled { retry_after: Some(wait), scope: Scope::Credential });
    }
    let preparing = timeout(PREPARE, provider.prepare(&chunk.facts, &opened.credential)).await;
    match preparing.unwrap_or(Err(Verdict::Unavailable { retry_after: None })) {
        Ok(prepared) => {
            engine.prepared(chunk, &opened, Instant::now());
            Ok((opened, prepared))
        }
        Err(verdict) => {
            engine.learn(chunk, &opened, PREPARATION, &verdict, Instant::now());
            Err(verdict)
        }
    }
}

/// The verdict that none of the messages needs to be sent for. It is no attempt.
fn hold_all<P: Provider>(
    engine: &Engine<P>,
    chunk: &Chunk,
    verdict: &Verdict,
    ready: VecDeque<Open<'_>>,
    outbox: &mut Outbox,
) {
    let now = Instant::now();
    let time = engine.time(now);
    let expires_at = chunk.facts.expires_at;
    let random = random();
    for open in ready {
        let target = &chunk.targets[open.index];
        let situation = Situation { attempts: open.attempts, now: time, expires_at, random };
        let (progress, token) = match plan::plan(verdict.clone(), &situation) {
            Step::Report { progress, token } => (progress, token),
            Step::Again { after } => (plan::held(after, open.attempts, time, expires_at), TokenVerdict::Keep),
        };
        outbox.push(Outcome { position: target.position, progress, token, generation: target.generation }, now);
    }
}
