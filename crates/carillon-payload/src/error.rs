//! Why content cannot be rendered.

/// What is wrong with a value of the caller's that only rendering looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text of a value is not JSON.
    #[error("is not valid JSON")]
    NotJson,
    /// Something else stands where an object is needed.
    #[error("must be a JSON object")]
    NotAnObject,
    /// FCM takes strings only as values of `data`.
    #[error("must be a string, as every value of FCM's data")]
    NotAString,
    /// The place is written by the platform: the reserved key, the target, or what would hide them.
    #[error("is written by the platform and cannot be overridden")]
    Reserved,
    /// Nested deeper than [`carillon_domain::limits::JSON_DEPTH`].
    #[error("is nested too deeply")]
    TooDeep,
}

/// A value of the caller's that cannot be rendered. Never repeats the value itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct PayloadError {
    /// JSON pointer (RFC 6901) into the request.
    pub pointer: String,
    /// What is wrong there.
    pub problem: Problem,
}

impl PayloadError {
    pub(crate) fn new(pointer: impl Into<String>, problem: Problem) -> Self {
        Self { pointer: pointer.into(), problem }
    }
}
