//! Faults of a caller's input: what is wrong, and where.

use std::fmt;

/// The closed list of error codes a caller can meet (contract, section 1). Mapped once to problem+json and once to gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variant is the code; the contract says what each means")]
pub enum ErrorCode {
    InvalidRequest,
    UnknownField,
    Unauthenticated,
    Forbidden,
    IdentityRequired,
    NotFound,
    DeviceExists,
    IdempotencyConflict,
    IdempotencyInProgress,
    PayloadTooLarge,
    BodyTooLarge,
    TooManyRecipients,
    ScheduleInPast,
    InvalidState,
    PushDisabled,
    RateLimited,
    QuotaExceeded,
    CredentialInvalid,
    Unavailable,
}

impl ErrorCode {
    /// The stable text form that callers see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnknownField => "unknown_field",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::IdentityRequired => "identity_required",
            Self::NotFound => "not_found",
            Self::DeviceExists => "device_exists",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::IdempotencyInProgress => "idempotency_in_progress",
            Self::PayloadTooLarge => "payload_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyRecipients => "too_many_recipients",
            Self::ScheduleInPast => "schedule_in_past",
            Self::InvalidState => "invalid_state",
            Self::PushDisabled => "push_disabled",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::CredentialInvalid => "credential_invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One fault: the JSON pointer (RFC 6901) of the place and a sentence that says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of fault; most are [`ErrorCode::InvalidRequest`].
    pub code: ErrorCode,
    /// JSON pointer into the request, `""` for the whole.
    pub pointer: String,
    /// What is wrong, in words for a person. Never repeats secret values.
    pub detail: String,
}

/// Collects every fault of an input, so that a caller sees them all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No fault yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an `invalid_request` fault.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.add_code(ErrorCode::InvalidRequest, pointer, detail);
    }

    /// Adds a fault of a particular kind.
    pub fn add_code(&mut self, code: ErrorCode, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Fault { code, pointer: pointer.into(), detail: detail.into() });
    }

    /// Takes over another collection.
    pub fn extend(&mut self, other: Faults) {
        self.0.extend(other.0);
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults in the order they were found.
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }

    /// `Ok(value)` when there was no fault.
    pub fn into_result<T>(self, value: T) -> Result<T, Faults> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The code that speaks for the whole: a particular one when all faults share it, else `invalid_request`.
    pub fn code(&self) -> ErrorCode {
        let mut codes = self.0.iter().map(|f| f.code);
        let first = codes.next().unwrap_or(ErrorCode::InvalidRequest);
        if codes.all(|c| c == first) { first } else { ErrorCode::InvalidRequest }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", if fault.pointer.is_empty() { "/" } else { &fault.pointer }, fault.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Checks a text for the rules every text obeys: no U+0000 (PostgreSQL cannot keep it) and at most `max` bytes.
pub fn check_text(faults: &mut Faults, pointer: &str, text: &str, max: usize) {
    if text.len() > max {
        faults.add(pointer, format!("is {} bytes long, at most {max} are allowed", text.len()));
    }
    if text.contains('\0') {
        faults.add(pointer, "contains U+0000, which cannot be kept");
    }
}
