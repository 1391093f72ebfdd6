//! What travels: a typed value and its bytes.

use bytes::Bytes;

/// Something that is published and consumed. The encoding is the implementor's business; this crate only carries bytes.
pub trait Event: Sized + Send + Sync + 'static {
    /// The event's name, carried in the AMQP property `type` (at most 255 bytes).
    const NAME: &'static str;

    /// The media type of [`Event::encode`]'s bytes, carried in the AMQP property `content_type`.
    const CONTENT_TYPE: &'static str = "application/x-protobuf";

    /// The event's bytes.
    fn encode(&self) -> Bytes;

    /// Reads an event.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not this event; the message is then parked, never retried.
    fn decode(body: &[u8]) -> Result<Self, DecodeError>;
}

/// Bytes that are not the event they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    /// An error with the decoder's words. They are kept with the parked message (the first 200 characters), so they must
    /// not quote the body.
    pub fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// A body that is taken as it is: for an intake where the property `content_type` decides the format.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl Event for Raw {
    const NAME: &'static str = "raw";
    const CONTENT_TYPE: &'static str = "application/octet-stream";

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(Bytes::copy_from_slice(body)))
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}
