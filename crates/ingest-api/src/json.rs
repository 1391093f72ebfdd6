//! Reading JSON strictly: bounded depth, no key twice, and every fault of a body at once, with JSON pointers (RFC 6901).
//!
//! Serde's derive stops at the first error, and a caller who mends one fault after the other needs as many calls. So a
//! body becomes a tree first (`parse`, `tree`), and a small reader takes it apart and collects faults (`reader`).

mod findings;
mod parse;
mod place;
mod reader;
mod tree;

use carillon_domain::fault::{ErrorCode, Faults};
pub(crate) use findings::{Findings, Unknown};
pub(crate) use parse::parse;
pub(crate) use place::escape;
pub(crate) use reader::{Item, Object};
pub(crate) use tree::{Fields, Json};

use crate::refusal::Refusal;

/// What a request body can be read into.
pub(crate) trait FromJson: Sized {
    /// Whether no body at all means `{}`.
    const MAY_BE_ABSENT: bool = false;

    /// Takes what it knows out of the object. `None` only after a fault was noted; a value does not mean there was none.
    fn from_json(object: &mut Object<'_>) -> Option<Self>;
}

/// What was read, and the pointers of unknown fields that were ignored.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) ignored: Vec<String>,
}

/// Reads a parsed body whole.
///
/// # Errors
/// The faults of all fields.
pub(crate) fn read<T: FromJson>(value: &Json<'_>, unknown: Unknown) -> Result<Read<T>, Refusal> {
    let findings = Findings::new(unknown);
    let read = Object::root(value, &findings).and_then(|mut object| {
        let read = T::from_json(&mut object);
        object.finish();
        read
    });
    let (faults, ignored) = findings.into_parts();
    match (read, faults.is_empty()) {
        (Some(value), true) => Ok(Read { value, ignored }),
        (None, true) => Err(incomplete()),
        (_, false) => Err(faults.into()),
    }
}

/// A reader that gave up without a word; the tests of every resource would show it.
fn incomplete() -> Refusal {
    let mut faults = Faults::new();
    faults.add_code(ErrorCode::InvalidRequest, "", "is not complete");
    faults.into()
}
