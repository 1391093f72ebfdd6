//! One granted chunk, from its first message to its last report.

mod landing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use carillon_payload::{Address, Values};
use futures::future::poll_fn;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, PollSemaphore};

use crate::chunk::Chunk;
use crate::credentials::Opened;
use crate::engine::Engine;
use crate::flight::{Ready, fly, random};
use crate::flights::Flights;
use crate::gate::{Admission, Reach};
use crate::ledger::Answer;
use crate::line::{Line, Open};
use crate::metrics::LetGo;
use crate::outbox::{NotCommitted, Outbox, UNCOMMITTED};
use crate::pace::Pace;
use crate::plan::{self, IN_PROCESS};
use crate::provider::Provider;

/// New sends stop this long before the lease ends: clocks run differently, and a send takes a moment to leave.
const MARGIN: Duration = Duration::from_millis(250);
/// A chunk is given back after this, so that the broker's patience and a slow provider's never meet.
const LONGEST: Duration = Duration::from_secs(40);

/// A chunk in work. `Ok` from [`Sending::run`] means that nothing is left in flight, [`Sending::release`] commits the rest.
pub(crate) struct Sending<'a, P: Provider> {
    pub(super) engine: &'a Engine<P>,
    pub(super) chunk: &'a Chunk,
    pub(super) opened: Arc<Opened<P::Credential>>,
    pace: Option<Arc<Pace>>,
    pub(super) outbox: Outbox,
    lease_until: Instant,
    began: Instant,
    pub(super) line: Line<'a>,
    pub(super) stopping: bool,
    pub(super) let_go: LetGo,
    /// Final answers of the burst at hand, but for those that may mean that the app is wrong, and the host that they are of.
    pub(super) answered: (&'a str, u32),
}

impl<'a, P: Provider> Sending<'a, P> {
    pub(crate) fn new(
        engine: &'a Engine<P>,
        chunk: &'a Chunk,
        opened: Arc<Opened<P::Credential>>,
        lease_until: Instant,
        ready: VecDeque<Open<'a>>,
        outbox: Outbox,
    ) -> Self {
        let quota = engine.shared.provider.quota(&opened.credential);
        let now = Instant::now();
        let pace = quota.map(|quota| engine.shared.paces.of(&quota, engine.shared.ledger.claimers(), now));
        Self {
            engine,
            chunk,
            opened,
            pace,
            outbox,
            lease_until,
            began: now,
            line: Line::new(ready),
            stopping: false,
            let_go: LetGo::Done,
            answered: ("", 0),
        }
    }

    /// Sends what is open. Ends early on `stop` and `lost`, and when the ledger says so: what is in flight is finished, the
    /// rest given back.
    pub(crate) async fn run(
        &mut self,
        prepared: &P::Prepared,
        stop: &CancellationToken,
        lost: &CancellationToken,
    ) -> Result<(), NotCommitted> {
        let mut flights = Flights::new(self.engine.shared.bounds.send_timeout);
        let mut permits = PollSemaphore::new(Arc::clone(&self.engine.permits));
        loop {
            let now = Instant::now();
            self.wake(now);
            self.heed(stop, lost, now);
            for cut in flights.overdue(now) {
                self.land(cut, now);
            }
            self.count_answers(now);
            if flights.is_empty() && self.line.is_empty() {
                return Ok(());
            }
            if self.outbox.due_at().is_some_and(|due| due <= now) {
                self.outbox.tell(now).await;
            }
            // Several before anything is polled: what is handed to HTTP/2 together leaves in one write. As many at once as could be
            // reported together; what is in flight already comes on top.
            let most = flights.len() + UNCOMMITTED.saturating_sub(self.outbox.uncommitted());
            while flights.len() < most
                && self.may_start(flights.len(), now)
                && let Ok(permit) = Arc::clone(&self.engine.permits).try_acquire_owned()
            {
                let Some(ready) = self.next() else { break };
                self.launch(&mut flights, prepared, ready, permit);
            }
            let may_start = self.may_start(flights.len(), now);
            let own = self.wake_at(now);
            let wake_at = flights.look_at().map_or(own, |at| at.min(own));
            tokio::select! {
                biased;
                answer = self.outbox.committed() => match answer? {
                    Answer::Go { until } => self.lease_until = until,
                    Answer::Stop => self.stop(LetGo::LostClaim, now),
                },
                landed = flights.next(), if !flights.is_empty() => {
                    let now = Instant::now();
                    self.land(landed, now);
                    // Answers come in bursts too. At most what may be reported together.
                    while self.outbox.uncommitted() < UNCOMMITTED
                        && let Some(landed) = flights.next_now()
                    {
                        self.land(landed, now);
                    }
                    self.count_answers(now);
                }
                () = stop.cancelled(), if !self.stopping => {}
                () = lost.cancelled(), if !self.stopping => {}
                permit = poll_fn(|cx| permits.poll_acquire(cx)), if may_start => {
                    if let Some(permit) = permit
                        && let Some(ready) = self.next()
                    {
                        self.launch(&mut flights, prepared, ready, permit);
                    }
                }
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Looked at before each burst: while answers keep coming, nothing else of the loop's waiting gets its turn.
    fn heed(&mut self, stop: &CancellationToken, lost: &CancellationToken, now: Instant) {
        if self.stopping {
            return;
        }
        if stop.is_cancelled() {
            self.stop(LetGo::Stopped, now);
        } else if lost.is_cancelled() {
            self.stop(LetGo::LostClaim, now);
        }
    }

    /// Reports the rest and gives the chunk back.
    pub(crate) async fn release(self) -> Result<(), NotCommitted> {
        self.engine.meters.let_go(self.let_go);
        self.outbox.release().await
    }

    /// Whether one more message may go, apart from what the credential's gate says.
    fn may_start(&self, flying: usize, now: Instant) -> bool {
        !self.stopping
            && flying < self.engine.shared.bounds.in_flight_per_chunk
            && self.outbox.uncommitted() < UNCOMMITTED
            && now + MARGIN < self.lease_until
            && self.line.may_start(now)
    }

    /// When there may be something to do although nothing has happened.
    fn wake_at(&self, now: Instant) -> Instant {
        let end = if self.stopping { None } else { Some(self.began + LONGEST) };
        let all = [self.line.wake_at(now), self.outbox.due_at(), end];
        all.into_iter().flatten().min().unwrap_or(now + IN_PROCESS)
    }

    /// Retries whose time has come are next; a chunk whose time is over is given back.
    fn wake(&mut self, now: Instant) {
        if now >= self.began + LONGEST && !self.stopping {
            self.stop(LetGo::Deferred, now);
        }
        self.line.wake(now);
    }

    /// The next message, if it may go now. What may not is closed, deferred or left.
    fn next(&mut self) -> Option<Ready<'a>> {
        let now = Instant::now();
        // Waiting for the permit took time.
        if now + MARGIN >= self.lease_until {
            return None;
        }
        let open = self.line.front()?;
        let time = self.engine.time(now);
        let Ok(time_left) = Duration::try_from(self.chunk.facts.expires_at.duration_since(time)) else {
            self.line.pop();
            self.expire(open, now);
            return None;
        };
        if time_left.is_zero() {
            self.line.pop();
            self.expire(open, now);
            return None;
        }
        let host = open.host;
        if self.line.put_behind_probe(host) {
            return None;
        }
        match self.admit(host, now) {
            Admission::Go => {}
            Admission::Probe => self.line.probe(open),
            Admission::Wait(wait, reach) => {
                self.line.wait(host, now + wait, reach);
                return None;
            }
            Admission::Hold(wait, reach) => {
                self.hold(host, wait, reach, now);
                return None;
            }
        }
        self.line.pop();
        Some(self.render(open, time_left, now))
    }

    fn admit(&self, host: &str, now: Instant) -> Admission {
        let admission = self.opened.admit(host, now);
        match (admission, &self.pace) {
            (Admission::Go | Admission::Probe, Some(pace)) => match pace.take(now) {
                None => admission,
                Some(wait) if wait <= IN_PROCESS => Admission::Wait(wait, Reach::Credential),
                Some(wait) => Admission::Hold(wait, Reach::Credential),
            },
            _ => admission,
        }
    }

    fn launch<'f>(
        &self,
        flights: &mut Flights<'f, 'a>,
        prepared: &'f P::Prepared,
        ready: Ready<'a>,
        permit: OwnedSemaphorePermit,
    ) where
        'a: 'f,
    {
        let (open, span, leaves) = (ready.open, ready.span.clone(), ready.leaves);
        flights.push(open, span, leaves, fly(self.engine, self.chunk, prepared, ready, permit));
    }

    fn render(&self, open: Open<'a>, time_left: Duration, leaves: Instant) -> Ready<'a> {
        let target = &self.chunk.targets[open.index];
        let reference = self.chunk.reference(target);
        let address =
            if target.is_installation { Address::Installation(&target.token) } else { Address::Token(&target.token) };
        let seconds = if self.chunk.facts.now_or_never { 0 } else { time_left.as_secs() };
        let values = Values::new(address, &target.device, reference, u32::try_from(seconds).unwrap_or(u32::MAX));
        // `close_unsendable` has seen that the variant is there.
        let body = self.chunk.variants[target.variant].render(&values).into();
        let span = self.chunk.trace.call(self.engine.shared.ledger.platform(), self.chunk, open);
        Ready { open, body, time_left, leaves, span }
    }

    /// The same deferral for everything that has not gone, or for all of it that is for one host.
    fn hold(&mut self, host: &str, wait: Duration, reach: Reach, now: Instant) {
        self.let_go = LetGo::Deferred;
        let (time, wait) = (self.engine.time(now), plan::hold_for(wait, self.engine.lane, random()));
        for open in self.line.take(host, reach) {
            let progress = plan::held(wait, open.attempts, time, self.chunk.facts.expires_at);
            self.push(open, progress, TokenVerdict::Keep, now);
        }
    }

    /// Starts nothing more. Messages that were tried keep their count; the others are simply given back.
    fn stop(&mut self, why: LetGo, now: Instant) {
        self.stopping = true;
        if self.line.is_left() {
            self.let_go = why;
        }
        let time = self.engine.time(now);
        for open in self.line.take_all().into_iter().filter(|open| open.retries > 0) {
            let progress = plan::held(IN_PROCESS, open.attempts, time, self.chunk.facts.expires_at);
            self.push(open, progress, TokenVerdict::Keep, now);
        }
    }

    fn expire(&mut self, open: Open<'a>, now: Instant) {
        self.engine.meters.expired();
        self.push(open, plan::expired(), TokenVerdict::Keep, now);
    }

    pub(super) fn push(&mut self, open: Open<'a>, progress: Progress, token: TokenVerdict, now: Instant) {
        let target = &self.chunk.targets[open.index];
        let outcome = Outcome { position: target.position, progress, token, generation: target.generation };
        self.outbox.push(outcome, now);
    }
}
