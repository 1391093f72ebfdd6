//! What `/readyz` says.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// State of the process as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Starting,
    Running,
    Draining,
}

#[derive(Clone, Debug, Serialize)]
struct Part {
    name: Cow<'static, str>,
    ready: bool,
    required: bool,
    detail: Cow<'static, str>,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) service: &'static str,
    pub(crate) ready: bool,
    pub(crate) phase: Phase,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    parts: Vec<Part>,
}

/// Everything that readiness depends on.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    service: &'static str,
    state: Arc<Mutex<State>>,
}

impl Readiness {
    pub(crate) fn new(service: &'static str) -> Self {
        let state = State { phase: Phase::Starting, parts: Vec::new() };
        Self { service, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    pub(crate) fn part(&self, name: Cow<'static, str>, required: bool) -> ReadyHandle {
        let mut state = self.lock();
        state.parts.push(Part { name, ready: false, required, detail: Cow::Borrowed("not started yet") });
        ReadyHandle { readiness: self.clone(), index: state.parts.len() - 1 }
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.lock();
        let ready = state.phase == Phase::Running && state.parts.iter().all(|part| part.ready || !part.required);
        Report { service: self.service, ready, phase: state.phase, parts: state.parts.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line of `/readyz`; starts as not ready.
#[derive(Clone, Debug)]
pub struct ReadyHandle {
    readiness: Readiness,
    index: usize,
}

impl ReadyHandle {
    /// Says whether this part is ready, and in a few words why. The detail is shown to whoever reaches the admin port:
    /// no secrets, no URLs with passwords in it.
    pub fn set(&self, ready: bool, detail: impl Into<Cow<'static, str>>) {
        let mut state = self.readiness.lock();
        if let Some(part) = state.parts.get_mut(self.index) {
            part.ready = ready;
            part.detail = detail.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_needs_the_start_and_every_required_part_and_no_drain() {
        let readiness = Readiness::new("x");
        let required = readiness.part("schema".into(), true);
        let shown = readiness.part("broker".into(), false);
        assert!(!readiness.report().ready, "still starting");
        readiness.enter(Phase::Running);
        assert!(!readiness.report().ready, "schema is missing");
        required.set(true, "version 7");
        assert!(readiness.report().ready, "the broker is only shown");
        shown.set(true, "connected");
        readiness.enter(Phase::Draining);
        assert!(!readiness.report().ready, "draining");
        required.set(false, "gone");
        readiness.enter(Phase::Running);
        assert!(!readiness.report().ready, "a required part went away");
    }
}
