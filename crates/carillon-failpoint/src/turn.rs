//! Arming for a while: what is armed is the process's, and tests share one.

use crate::{Hit, Plan, arm};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Keeps a plan armed for as long as it lives. One at a time: whoever wants to arm meanwhile waits, and blocks its thread; so this is for tests.
#[derive(Debug)]
pub struct Armed {
    _turn: MutexGuard<'static, ()>,
}

impl Armed {
    /// Arms; see [`arm`] for `told`.
    pub fn with(plan: Plan, told: fn(&Hit)) -> Self {
        // Whoever failed with something armed has disarmed it on its way out.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        arm(plan, told);
        Self { _turn: turn }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        arm(Plan::default(), |_| {});
    }
}
