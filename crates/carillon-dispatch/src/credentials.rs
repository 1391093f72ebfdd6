//! Opened credentials, kept while their version is in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carillon_telemetry::metrics::{Gauge, Held};
use carillon_vault::{Context, KindVault};
use tokio::time::Instant;

use crate::chunk::Chunk;
use crate::gate::{Admission, Brakes, Change, Gate};
use crate::plan::Lesson;
use crate::provider::{Misconfigured, Provider};

/// Credentials that are kept; the one that was longest unused makes room.
const MOST: usize = 1024;

/// A credential and what was learned about it.
pub(crate) struct Opened<C> {
    pub(crate) credential: Arc<C>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    gate: Gate,
    /// Counts each host's breaker as open for as long as it is, or until the credential is forgotten.
    open: HashMap<Box<str>, Held>,
}

impl<C> Opened<C> {
    /// See [`Gate::admit`].
    pub(crate) fn admit(&self, host: &str, now: Instant) -> Admission {
        self.state().gate.admit(host, now)
    }

    /// See [`Gate::brakes`].
    pub(crate) fn brakes(&self, suspicious: bool, now: Instant) -> Brakes {
        self.state().gate.brakes(suspicious, now)
    }

    /// See [`Gate::closed`].
    pub(crate) fn closed<'h>(&self, hosts: impl Iterator<Item = &'h str>, now: Instant) -> Option<Duration> {
        self.state().gate.closed(hosts, now)
    }

    /// See [`Gate::learn`]; `breakers` counts the open ones.
    pub(crate) fn learn(&self, lesson: Lesson, host: &str, now: Instant, breakers: &Gauge) -> Change {
        let mut state = self.state();
        let change = state.gate.learn(lesson, host, now);
        match change {
            Change::Opened => drop(state.open.insert(host.into(), breakers.hold())),
            Change::Recovered => drop(state.open.remove(host)),
            Change::None | Change::Refused => {}
        }
        change
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
}

type Name = (String, String, u32);

impl<P: Provider> Credentials<P> {
    pub(crate) fn new(vault: KindVault) -> Self {
        Self { vault, known: Mutex::new(Known { by_name: HashMap::new(), uses: 0 }) }
    }

    /// The credential that a chunk carries, opened now if it is not known.
    pub(crate) fn of(&self, chunk: &Chunk, provider: &P) -> Result<Arc<Opened<P::Credential>>, Misconfigured> {
        let name = (chunk.facts.tenant.clone(), chunk.facts.app.clone(), chunk.credential_version);
        if let Some(known) = self.lock().get(&name) {
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
        let credential = Arc::new(provider.open(plaintext.expose())?);
        let opened = Arc::new(Opened { credential, state: Mutex::default() });
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
