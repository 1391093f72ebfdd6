//! What becomes of a message when its call is over.

use std::time::Duration;

use carillon_domain::outcome::{Progress, TokenVerdict};
use tokio::time::Instant;

use super::Sending;
use crate::flight::random;
use crate::flights::Landed;
use crate::gate::{Brakes, Gate};
use crate::line::Open;
use crate::metrics::LetGo;
use crate::plan::{self, Situation, Step};
use crate::provider::{Provider, TokenFate, Verdict};

/// Retries of one message without going through the ledger.
const RETRIES: u8 = 2;

impl<'a, P: Provider> Sending<'a, P> {
    /// Takes note of a verdict; plans what follows from it.
    pub(super) fn land(&mut self, landed: Landed<'a>, now: Instant) {
        let Landed { mut open, flown, left, span } = landed;
        let Some(verdict) = flown else { return self.panicked(open) };
        span.close(&verdict);
        open.attempts = open.attempts.saturating_add(1);
        let engine = self.engine;
        engine.meters.attempt(&verdict, now.saturating_duration_since(left));
        engine.learn(self.chunk, &self.opened, open.host, &verdict, now);
        self.line.landed(open);
        let time = engine.time(now);
        if let Verdict::Sent { .. } = verdict {
            let took = Duration::try_from(time.duration_since(self.chunk.released_at)).unwrap_or_default();
            engine.meters.end_to_end.observe(took);
        }
        if self.is_braked(open.host, &verdict, now) {
            let progress = plan::held(Gate::brake_hold(), open.attempts, time, self.chunk.facts.expires_at);
            return self.push(open, progress, TokenVerdict::Keep, now);
        }
        // Random bytes cost a system call, and what was sent needs none.
        let random = if matches!(verdict, Verdict::Sent { .. }) { 0 } else { random() };
        let situation =
            Situation { attempts: open.attempts, now: time, expires_at: self.chunk.facts.expires_at, random };
        let again = engine.meters.again(&verdict);
        match plan::plan(verdict, &situation) {
            Step::Again { after } if open.retries < RETRIES && !self.stopping => {
                again.inc();
                open.retries += 1;
                self.line.put_off(open, now + after);
            }
            Step::Again { after } => {
                let progress = plan::held(after, open.attempts, time, self.chunk.facts.expires_at);
                self.push(open, progress, TokenVerdict::Keep, now);
            }
            Step::Report { progress, token } => {
                if matches!(progress, Progress::Deferred { .. }) {
                    again.inc();
                }
                self.push(open, progress, token, now);
            }
        }
    }

    /// Nobody knows what the message does to whoever sends it, so nothing is said of it: its position stays open, and the ledger, which
    /// counts what makes no progress, grants it alone and at last no more.
    fn panicked(&mut self, open: Open<'a>) {
        self.let_go = LetGo::Panicked;
        let chunk = self.chunk.id;
        tracing::error!(run.id = %chunk.run.0, chunk.id = chunk.number, position = self.chunk.targets[open.index].position, "sending one message panicked; the others of its chunk go on");
        self.line.landed(open);
    }

    /// Whether the token must be spared because nearly all of the app's tokens get this answer.
    fn is_braked(&mut self, host: &'a str, verdict: &Verdict, now: Instant) -> bool {
        match verdict {
            Verdict::Rejected { token: TokenFate::RetireUnlessMany, .. } => {
                self.count_answers(now);
                let brakes = self.opened.brakes(now);
                if brakes == Brakes::Now {
                    let facts = &self.chunk.facts;
                    tracing::error!(tenant.id = %facts.tenant, app.id = %facts.app, "nearly all tokens are refused: is the credential one of another app or environment?");
                }
                brakes != Brakes::No
            }
            Verdict::Sent { .. } | Verdict::Rejected { .. } => {
                if self.answered.0 != host {
                    self.count_answers(now);
                    self.answered.0 = host;
                }
                self.answered.1 += 1;
                false
            }
            _ => false,
        }
    }

    /// Tells the gate of the answers that came together.
    pub(super) fn count_answers(&mut self, now: Instant) {
        let (host, count) = self.answered;
        if count > 0 {
            self.opened.answered(host, count, now);
            self.answered.1 = 0;
        }
    }
}
