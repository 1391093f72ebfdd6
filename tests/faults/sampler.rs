//! Looks at counters all the time: the sum must hold in every snapshot, and nothing that was counted may be taken back.

use crate::caller::Caller;
use crate::dice::Dice;
use ::http::Method;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until it is stopped.
pub(crate) struct Sampler {
    found: Arc<Mutex<Found>>,
    task: JoinHandle<()>,
}

/// What it saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) samples: u64,
    pub(crate) faults: Vec<String>,
}

impl Sampler {
    /// Looks at what the caller sent.
    pub(crate) fn start(caller: &Caller, dice: &Dice) -> Self {
        let found = Arc::new(Mutex::new(Found::default()));
        let task = tokio::spawn(look(caller.clone(), dice.clone(), Arc::clone(&found)));
        Self { found, task }
    }

    /// Ends it; what it saw.
    pub(crate) fn stop(self) -> Found {
        self.task.abort();
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn look(caller: Caller, mut dice: Dice, found: Arc<Mutex<Found>>) {
    let mut last: HashMap<String, (i64, i64)> = HashMap::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        let id = {
            let book = caller.book();
            let some = book.accepted.len();
            // The newest are the ones that move.
            let among = some.min(40);
            if among == 0 { None } else { book.accepted.get(some - 1 - dice.below(among)).map(|(id, _)| id.clone()) }
        };
        let Some(id) = id else { continue };
        let Some(answer) = caller.once(Method::GET, &format!("/v1/notifications/{id}"), None, None).await else {
            continue;
        };
        if answer.status != 200 {
            continue;
        }
        let Ok(view) = answer.success("sample") else { continue };
        let fault = judge(&view, last.get(&id).copied());
        if let Some(now) = totals(&view) {
            last.insert(id.clone(), now);
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.samples += 1;
        if let Some(fault) = fault
            && found.faults.len() < 10
        {
            found.faults.push(format!("{id}: {fault}"));
        }
    }
}

/// Total and what is still open, once the audience is known.
pub(crate) fn totals(view: &Value) -> Option<(i64, i64)> {
    let push = &view["counts"]["push"];
    Some((push["total"].as_i64()?, push["pending"].as_i64()?))
}

/// What is wrong with one snapshot.
pub(crate) fn judge(view: &Value, before: Option<(i64, i64)>) -> Option<String> {
    let (total, pending) = totals(view)?;
    for channel in ["push", "sms"] {
        let counts = &view["counts"][channel];
        let Some(all) = counts["total"].as_i64() else { continue };
        let names = ["pending", "sent", "failed", "expired", "suppressed", "cancelled", "unknown"];
        let sum: i64 = names.iter().filter_map(|name| counts[*name].as_i64()).sum();
        if sum != all {
            return Some(format!("{channel}: total {all}, the sum is {sum}: {counts}"));
        }
        if names.iter().any(|name| counts[*name].as_i64().is_some_and(|count| count < 0)) {
            return Some(format!("{channel}: below zero: {counts}"));
        }
    }
    match before {
        Some((was, _)) if was != total => Some(format!("the total went from {was} to {total}")),
        Some((_, was)) if was < pending => Some(format!("pending went from {was} to {pending}")),
        _ => None,
    }
}
