//! Why something was not sealed or opened.

/// Why something was not sealed or opened. Never says anything about keys or contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A master key is not 32 bytes in base64; the position counts from 1.
    #[error("key number {0} is not base64 of exactly 32 bytes; `openssl rand -base64 32` makes one")]
    MasterKey(usize),
    /// There is no key at all.
    #[error("there is no key; the first of the comma list encrypts, all of them open")]
    NoKey,
    /// A text is not what [`crate::KindKeys::to_text`] wrote.
    #[error("these are not the keys of a kind")]
    KindKeys,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// More than [`crate::MAX_PLAINTEXT`] bytes.
    #[error("more than 64 KiB cannot be sealed")]
    TooLong,
    /// The context names another kind than the keys are for.
    #[error("the keys of one kind cannot seal or open another kind")]
    WrongKind,
    /// Too short, or of a version this code does not know.
    #[error("not a sealed value, or sealed by a newer version")]
    Format,
    /// Sealed under a master key that is not in the list (any more).
    #[error("sealed under a master key that is not in the list")]
    UnknownKey,
    /// Damaged, or sealed for another tenant, app, kind or version.
    #[error("damaged, or sealed for another tenant, app, kind or version")]
    Refused,
}
