//! Opened credentials, kept while their version is in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carillon_telemetry::metrics::Gauge;
use carillon_vault::{Context, KindVault};
use tokio::time::Instant;

use crate::chunk::Chunk;
use crate::gate::{Admission, Brakes, Change, Gate};
use crate::plan::Lesson;
use crate::provider::{Misconfigured, Provider};

/// Credentials that are kept; the one that was longest unused makes room.
const MOST: usize = 1024;
/// How often hosts are looked for that nobody sends to any more.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// A credential and what was learned about it.
pub(crate) struct Opened<C> {
    pub(crate) credential: Arc<C>,
    gate: Mutex<Gate>,
    /// What the gate said of itself when it was last changed: while all is well nobody needs to lock it.
    calm: AtomicBool,
}

impl<C> Opened<C> {
    fn new(credential: C) -> Self {
        Self { credential: Arc::new(credential), gate: Mutex::default(), calm: AtomicBool::new(true) }
    }

    /// See [`Gate::admit`].
    pub(crate) fn admit(&self, host: &str, now: Instant) -> Admission {
        if self.is_calm() { Admission::Go } else { self.change(|gate| gate.admit(host, now)) }
    }

    /// See [`Gate::brakes`].
    pub(crate) fn brakes(&self, now: Instant) -> Brakes {
        self.change(|gate| gate.brakes(now))
    }

    /// See [`Gate::answered`].
    pub(crate) fn answered(&self, host: &str, count: u32, now: Instant) {
        self.change(|gate| gate.answered(host, count, now));
    }

    /// See [`Gate::closed`].
    pub(crate) fn closed<'h>(&self, hosts: impl Iterator<Item = &'h str>, now: Instant) -> Option<Duration> {
        self.change(|gate| gate.closed(hosts, now))
    }

    /// See [`Gate::learn`]; `breakers` counts the open ones.
    pub(crate) fn learn(&self, lesson: Lesson, host: &str, now: Instant, breakers: &Gauge) -> Change {
        if lesson == Lesson::Works && self.is_calm() {
            return Change::None;
        }
        self.change(|gate| {
            let change = gate.learn(lesson, host, now);
            if change == Change::Opened {
                gate.count(host, breakers);
            }
            change
        })
    }

    /// See [`Gate::forget`].
    fn forget(&self, now: Instant) {
        self.change(|gate| gate.forget(now));
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Acquire)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut gate);
        self.calm.store(gate.is_calm(), Ordering::Release);
        changed
    }
}

/// Opens what chunks carry. A dispatcher holds the key of its own kind only.
pub(crate) struct Credentials<P: Provider> {
    vault: KindVault,
    known: Mutex<Known<P::Credential>>,
}

struct Known<C> {
    by_name: HashMap<Name, (Arc<Opened<C>>, u64)>,
    uses: u64,
    forgot_at: Option<Instant>,
}

/// Tenant, app, version, and the seal: one that was deleted with its app has the same version as the first of an app by the same name.
type Name = (String, String, u32, Seal);

/// The end of what is sealed, which no two have in common: the tag of AES-GCM under a nonce of its own.
type Seal = [u8; 16];

fn seal(sealed: &[u8]) -> Seal {
    sealed.last_chunk().copied().unwrap_or_default()
}

impl<P: Provider> Credentials<P> {
    pub(crate) fn new(vault: KindVault) -> Self {
        Self { vault, known: Mutex::new(Known { by_name: HashMap::new(), uses: 0, forgot_at: None }) }
    }

    /// The credential that a chunk carries, opened now if it is not known.
    pub(crate) fn of(&self, chunk: &Chunk, provider: &P) -> Result<Arc<Opened<P::Credential>>, Misconfigured> {
        let name = (chunk.facts.tenant.clone(), chunk.facts.app.clone(), chunk.credential_version, seal(&chunk.sealed));
        let known = {
            let mut known = self.lock();
            known.forget(Instant::now());
            known.get(&name)
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let context = Context {
            tenant: &chunk.facts.tenant,
            app: Some(&chunk.facts.app),
            kind: self.vault.kind(),
            version: chunk.credential_version.into(),
        };
        let plaintext =
            self.vault.open(&context, &chunk.sealed).map_err(|error| Misconfigured(error.to_string().into()))?;
        let opened = Arc::new(Opened::new(provider.open(plaintext.expose())?));
        Ok(self.lock().keep(name, opened))
    }

    fn lock(&self) -> MutexGuard<'_, Known<P::Credential>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Known<C> {
    fn get(&mut self, name: &Name) -> Option<Arc<Opened<C>>> {
        self.uses += 1;
        let (opened, used) = self.by_name.get_mut(name)?;
        *used = self.uses;
        Some(Arc::clone(opened))
    }

    /// Lets go of hosts that nobody sends to any more, whoever's they were, so that they are not shown as down for ever.
    fn forget(&mut self, now: Instant) {
        if now.saturating_duration_since(*self.forgot_at.get_or_insert(now)) < FORGET_EVERY {
            return;
        }
        self.forgot_at = Some(now);
        self.by_name.values().for_each(|(opened, _)| opened.forget(now));
    }

    /// Two chunks may open the same credential at once: the first one's state counts.
    fn keep(&mut self, name: Name, opened: Arc<Opened<C>>) -> Arc<Opened<C>> {
        if let Some(known) = self.get(&name) {
            return known;
        }
        if self.by_name.len() >= MOST {
            let oldest = self.by_name.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone());
            oldest.map(|name| self.by_name.remove(&name));
        }
        self.by_name.insert(name, (Arc::clone(&opened), self.uses));
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::OPENS_AFTER;
    use crate::gate::Reach;
    use crate::host::STALE;
    use carillon_telemetry::metrics::gauge;
    use carillon_telemetry::names;

    #[test]
    fn a_host_that_nobody_sends_to_any_more_is_not_shown_as_down_for_ever() {
        let (now, shown) = (Instant::now(), gauge(&names::INFLIGHT, &[("stage", "breakers of forgotten hosts")]));
        let opened = Arc::new(Opened::new(()));
        (0..OPENS_AFTER).for_each(|_| _ = opened.learn(Lesson::Fails, "gone.example", now, &shown));
        let mut known = Known { by_name: HashMap::new(), uses: 0, forgot_at: None };
        known.keep(("tenant".to_owned(), "app".to_owned(), 1, [0; 16]), opened);
        known.forget(now);
        assert_eq!(shown.get(), 1);
        known.forget(now + STALE * 2);
        assert_eq!(shown.get(), 0);
    }

    #[test]
    fn what_the_gate_learns_is_heeded_although_nobody_asks_it_while_all_is_well() {
        let (now, shown) = (Instant::now(), gauge(&names::INFLIGHT, &[("stage", "breakers of a calm gate")]));
        let opened = Opened::new(());
        assert_eq!(opened.learn(Lesson::Works, "a.example", now, &shown), Change::None);
        let pause = Duration::from_secs(5);
        opened.learn(Lesson::Away(pause), "a.example", now, &shown);
        assert_eq!(opened.admit("a.example", now), Admission::Hold(pause, Reach::Host));
        assert_eq!(opened.admit("b.example", now), Admission::Go);
        assert_eq!(opened.admit("a.example", now + pause), Admission::Go);
        opened.learn(Lesson::Works, "a.example", now + pause, &shown);
        assert!(opened.is_calm());
        opened.learn(Lesson::Pause(pause), "a.example", now + pause, &shown);
        assert_eq!(opened.admit("b.example", now + pause), Admission::Hold(pause, Reach::Credential));
        assert_eq!(opened.admit("b.example", now + pause * 2), Admission::Go);
        assert!(opened.is_calm());
    }
}
