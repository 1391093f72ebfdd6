//! Takes a JSON object apart and notes every fault, each with its JSON pointer.
//!
//! ```text
//! let name = object.text("name", 128);            // required
//! let icon = object.opt_text("icon_url", 2048);   // absent and null are the same
//! let nick = object.merge("nick", |o, n| o.opt_text(n, 64)); // absent: None, null: Some(None)
//! let keys = object.need("keys", Object::object); // any optional reader made required
//! ```
//! Fields nobody asked for are noted when the object is finished, or dropped: it cannot be forgotten.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use carillon_domain::fault::{ErrorCode, Faults, check_text};
use carillon_domain::span::Seconds;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::place::escape;

/// Faults that are reported of one body; who makes more has the wrong body.
const MOST_FAULTS: usize = 100;

/// What to do with fields nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A fault: a typo of a backend must not pass for a default.
    Refuse,
    /// Named and left out: an installed app may be newer than the server.
    Ignore,
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

    fn note_unknown(&self, pointer: String) {
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

    fn text(&self, pointer: String, value: &Value, max: usize) -> Option<String> {
        let Some(text) = value.as_str() else {
            self.add(pointer, "must be a text");
            return None;
        };
        let mut faults = Faults::new();
        check_text(&mut faults, &pointer, text, max);
        let fine = faults.is_empty();
        self.extend(faults);
        fine.then(|| text.to_owned())
    }
}

/// An object being read.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    fields: &'a Map<String, Value>,
    pointer: String,
    findings: &'a Findings,
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// The body itself.
    pub(crate) fn root(value: &'a Value, findings: &'a Findings) -> Option<Self> {
        Self::at_pointer(value, String::new(), findings)
    }

    fn at_pointer(value: &'a Value, pointer: String, findings: &'a Findings) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self { fields, pointer, findings, known: Vec::with_capacity(8) }),
            _ => {
                findings.add(pointer, "must be an object");
                None
            }
        }
    }

    /// The pointer of a field.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escape(name))
    }

    /// Notes a fault of a field.
    pub(crate) fn fault(&self, name: &str, detail: impl Into<String>) {
        self.findings.add(self.at(name), detail);
    }

    /// Notes a fault of a field that has a code of its own.
    pub(crate) fn fault_code(&self, code: ErrorCode, name: &str, detail: impl Into<String>) {
        self.findings.add_code(code, self.at(name), detail);
    }

    /// Notes a fault inside a field that is somebody else's format.
    pub(crate) fn fault_inside(&self, code: ErrorCode, name: &str, inner: &str, detail: impl Into<String>) {
        self.findings.add_code(code, format!("{}/{}", self.at(name), escape(inner)), detail);
    }

    /// Notes what a check of the domain found.
    pub(crate) fn faults(&self, faults: Faults) {
        self.findings.extend(faults);
    }

    /// A field as it stands; absent and null are the same.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is given as null.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.fields.get(name) == Some(&Value::Null)
    }

    /// A field of which some other form is asked than the readers below know.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        must: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        if read.is_none() {
            self.fault(name, must);
        }
        read
    }

    /// Any optional reader made required.
    pub(crate) fn need<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.value(name).is_none() {
            self.fault(name, "is required");
            return None;
        }
        read(self, name)
    }

    /// Any optional reader for a merge (RFC 7396): `None` unchanged, `Some(None)` cleared. After a fault `None`.
    pub(crate) fn merge<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.is_null(name) {
            self.known.push(name);
            return Some(None);
        }
        read(self, name).map(Some)
    }

    /// A required text of at most `max` bytes.
    pub(crate) fn text(&mut self, name: &'static str, max: usize) -> Option<String> {
        self.need(name, |object, name| object.opt_text(name, max))
    }

    /// A text of at most `max` bytes.
    pub(crate) fn opt_text(&mut self, name: &'static str, max: usize) -> Option<String> {
        let value = self.value(name)?;
        self.findings.text(self.at(name), value, max)
    }

    /// A text that `parse` understands; `must` says what would be right.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        must: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(name, must, |value| parse(value.as_str()?))
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.read(name, "must be true or false", Value::as_bool)
    }

    /// A whole number, however its fraction of nothing is written.
    pub(crate) fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let must = format!("must be a whole number from {} to {}", range.start(), range.end());
        self.read(name, &must, |value| whole(value).filter(|n| range.contains(n)))
    }

    /// An RFC 3339 time.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        self.parsed(name, "must be an RFC 3339 time with its offset, such as 2026-12-01T09:00:00Z", |t| t.parse().ok())
    }

    /// A duration: `30m`, or whole seconds.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Seconds> {
        self.read(name, "must be a duration such as 30s, 15m, 2h, 7d or 4w, or whole seconds", |value| match value {
            Value::String(text) => Seconds::parse(text),
            other => whole(other).and_then(|n| u32::try_from(n).ok()).map(Seconds),
        })
    }

    /// An object inside this one. It is read before the outer one goes on.
    pub(crate) fn object(&mut self, name: &'static str) -> Option<Object<'a>> {
        let value = self.value(name)?;
        Self::at_pointer(value, self.at(name), self.findings)
    }

    /// An object whose keys are the caller's own.
    pub(crate) fn map(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        self.read(name, "must be an object", Value::as_object)
    }

    /// A list of at most `max` items.
    pub(crate) fn list(&mut self, name: &'static str, max: usize) -> Option<Vec<Item<'a>>> {
        let values = self.read(name, "must be a list", Value::as_array)?;
        if values.len() > max {
            self.fault(name, format!("has {} items, at most {max} are allowed", values.len()));
            return None;
        }
        let at = self.at(name);
        let item = |(i, value)| Item { value, pointer: format!("{at}/{i}"), findings: self.findings };
        Some(values.iter().enumerate().map(item).collect())
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, name: &'static str, max: usize, max_bytes: usize) -> Option<Vec<String>> {
        let items = self.list(name, max)?;
        // Every item is read, so that every fault is seen.
        let texts: Vec<_> = items.iter().map(|item| item.text(max_bytes)).collect();
        texts.into_iter().collect()
    }

    /// Ends reading: what nobody asked for is unknown.
    pub(crate) fn finish(self) {}
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        for name in self.fields.keys().filter(|name| !self.known.contains(&name.as_str())) {
            self.findings.note_unknown(self.at(name));
        }
    }
}

/// A whole number: `3`, and `3.0` and `3e0` too, which JSON does not tell apart (RFC 8259, section 6) and which languages whose
/// numbers are floats may write. Beyond 2^53 a float is not the number that was meant.
fn whole(value: &Value) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        Some(float as i64)
    })
}

/// An item of a list.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    value: &'a Value,
    pointer: String,
    findings: &'a Findings,
}

impl<'a> Item<'a> {
    /// As it stands.
    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// A text of at most `max` bytes.
    pub(crate) fn text(&self, max: usize) -> Option<String> {
        self.findings.text(self.pointer.clone(), self.value, max)
    }

    /// An object.
    pub(crate) fn object(&self) -> Option<Object<'a>> {
        Object::at_pointer(self.value, self.pointer.clone(), self.findings)
    }

    /// Notes a fault of the item.
    pub(crate) fn fault(&self, detail: impl Into<String>) {
        self.findings.add(self.pointer.clone(), detail);
    }
}

#[cfg(test)]
mod tests;
