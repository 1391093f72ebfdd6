//! Why a request was refused, the same for every intake; each intake maps it once (HTTP: `http/problem.rs`).

use std::sync::LazyLock;

use carillon_domain::fault::{ErrorCode, Fault, Faults};
use carillon_telemetry::metrics::{Counter, counter};
use carillon_telemetry::names::SHED;
use serde_json::{Map, Value};

static SHED_BY_DATABASE: LazyLock<Counter> = LazyLock::new(|| counter(&SHED, &[("reason", "database")]));

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// One of the contract's codes; nothing for a fault of ours.
    pub(crate) code: Option<ErrorCode>,
    /// A sentence for a person.
    pub(crate) detail: String,
    /// Every fault of the input, if it is the input.
    pub(crate) faults: Vec<Fault>,
    /// Whether the input could not be read at all; HTTP has a status of its own for that.
    pub(crate) unreadable: bool,
    /// Seconds after which a repetition may succeed.
    pub(crate) retry_after: Option<u32>,
    /// Further members of the answer (`payload_too_large` names platform, bytes and limit).
    pub(crate) members: Map<String, Value>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let retry_after = matches!(code, ErrorCode::Unavailable | ErrorCode::RateLimited).then_some(1);
        Self {
            code: Some(code),
            detail: detail.into(),
            faults: Vec::new(),
            unreadable: false,
            retry_after,
            members: Map::new(),
        }
    }

    /// The one answer for what does not exist and for what is somebody else's: nothing in it may tell them apart.
    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "There is no such thing.")
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(ErrorCode::Unavailable, "The service cannot answer at the moment. Repeat the request.")
    }

    /// A fault of ours. What it is stands in the log, under the request's id.
    pub(crate) fn internal() -> Self {
        let detail = "The request failed for a reason that is not its own.".to_owned();
        Self { code: None, detail, faults: Vec::new(), unreadable: false, retry_after: None, members: Map::new() }
    }

    /// One fault.
    pub(crate) fn fault(code: ErrorCode, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut faults = Faults::new();
        faults.add_code(code, pointer, detail);
        faults.into()
    }

    /// The same refusal of something that stands at `pointer` in the request.
    pub(crate) fn below(mut self, pointer: &str) -> Self {
        for fault in &mut self.faults {
            fault.pointer.insert_str(0, pointer);
        }
        self
    }

    /// The stable text form of the code.
    pub(crate) fn code_text(&self) -> &'static str {
        self.code.map_or("internal", ErrorCode::as_str)
    }
}

impl From<Faults> for Refusal {
    fn from(faults: Faults) -> Self {
        let detail = match faults.as_slice() {
            [one] => one.detail.clone(),
            several => format!("The request has {} faults.", several.len()),
        };
        Self { faults: faults.as_slice().to_vec(), ..Self::new(faults.code(), detail) }
    }
}

impl From<carillon_failpoint::Failed> for Refusal {
    fn from(_: carillon_failpoint::Failed) -> Self {
        Self::unavailable()
    }
}

impl From<carillon_store::Error> for Refusal {
    fn from(error: carillon_store::Error) -> Self {
        match error {
            carillon_store::Error::Unavailable(reason) => {
                SHED_BY_DATABASE.inc();
                tracing::warn!(reason, "the database is not available");
                Self::unavailable()
            }
            // Whoever can explain a conflict does so before it gets here.
            carillon_store::Error::Duplicate(what) => {
                tracing::warn!(constraint = what, "a request lost against another one");
                Self::new(ErrorCode::InvalidState, "Another request was faster.")
            }
            carillon_store::Error::Refused(reason) => {
                tracing::error!(reason, "the database refused a statement");
                Self::internal()
            }
        }
    }
}

impl From<carillon_vault::Error> for Refusal {
    fn from(error: carillon_vault::Error) -> Self {
        tracing::error!(%error, "a secret could not be sealed or opened");
        Self::internal()
    }
}
