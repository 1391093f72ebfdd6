//! What reading a body brought to light: every fault with its place, and fields that were ignored.

use std::borrow::Cow;
use std::cell::RefCell;

use carillon_domain::fault::{ErrorCode, Faults, check_text};

use super::tree::Json;

/// Faults that are reported of one body; who makes more has the wrong body.
pub(super) const MOST_FAULTS: usize = 100;

/// What to do with fields nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A fault: a typo of a backend must not pass for a default.
    Refuse,
    /// Named and left out: an installed app may be newer than the server.
    Ignore,
}

/// What would be right, said only when something is wrong.
pub(crate) trait Must {
    fn say(self) -> String;
}

impl Must for &str {
    fn say(self) -> String {
        self.to_owned()
    }
}

impl<F: FnOnce() -> String> Must for F {
    fn say(self) -> String {
        self()
    }
}

/// What reading a body brought to light.
#[derive(Debug)]
pub(crate) struct Findings {
    unknown: Unknown,
    faults: RefCell<Faults>,
    ignored: RefCell<Vec<String>>,
}

impl Findings {
    pub(crate) fn new(unknown: Unknown) -> Self {
        Self { unknown, faults: RefCell::default(), ignored: RefCell::default() }
    }

    pub(crate) fn add(&self, pointer: String, detail: impl Into<String>) {
        self.add_code(ErrorCode::InvalidRequest, pointer, detail);
    }

    pub(crate) fn add_code(&self, code: ErrorCode, pointer: String, detail: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.as_slice().len() < MOST_FAULTS {
            faults.add_code(code, pointer, detail);
        }
    }

    /// Takes over what a check of the domain found.
    pub(crate) fn extend(&self, other: Faults) {
        for fault in other.as_slice() {
            self.add_code(fault.code, fault.pointer.clone(), fault.detail.clone());
        }
    }

    pub(super) fn note_unknown(&self, pointer: String) {
        match self.unknown {
            Unknown::Refuse => self.add_code(ErrorCode::UnknownField, pointer, "is not a known field"),
            Unknown::Ignore => {
                let mut ignored = self.ignored.borrow_mut();
                if ignored.len() < MOST_FAULTS {
                    ignored.push(pointer);
                }
            }
        }
    }

    pub(crate) fn into_parts(self) -> (Faults, Vec<String>) {
        (self.faults.into_inner(), self.ignored.into_inner())
    }

    /// A text of at most `max` bytes; the pointer is only made for a fault.
    pub(super) fn text<'j>(
        &self,
        pointer: impl FnOnce() -> String,
        value: &'j Json<'_>,
        max: usize,
    ) -> Option<&'j str> {
        let Some(text) = value.as_str() else {
            self.add(pointer(), "must be a text");
            return None;
        };
        // What lies in the body as it is has no U+0000, which JSON wants escaped (RFC 8259, section 7).
        let as_it_is = matches!(value, Json::Text(Cow::Borrowed(_)));
        if text.len() <= max && (as_it_is || !text.contains('\0')) {
            return Some(text);
        }
        let mut faults = Faults::new();
        check_text(&mut faults, &pointer(), text, max);
        self.extend(faults);
        None
    }
}
