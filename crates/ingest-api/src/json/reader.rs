//! Takes a JSON object apart and notes every fault, each with its JSON pointer.
//!
//! ```text
//! let name = object.text("name", 128);            // required
//! let icon = object.opt_text("icon_url", 2048);   // absent and null are the same
//! let nick = object.merge("nick", |o, n| o.opt_text(n, 64)); // absent: None, null: Some(None)
//! let keys = object.need("keys", Object::object); // any optional reader made required
//! ```
//! Fields nobody asked for are noted when the object is finished, or dropped: it cannot be forgotten.

use std::ops::RangeInclusive;

use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::names::Names;
use carillon_domain::span::Seconds;
use jiff::Timestamp;

use super::findings::{Findings, Must};
use super::place::escape;
use super::tree::{Fields, Json};

/// An object being read.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    fields: &'a Fields<'a>,
    pointer: String,
    findings: &'a Findings,
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// The body itself.
    pub(crate) fn root(value: &'a Json<'a>, findings: &'a Findings) -> Option<Self> {
        Self::at_pointer(value, String::new(), findings)
    }

    fn at_pointer(value: &'a Json<'a>, pointer: String, findings: &'a Findings) -> Option<Self> {
        match value {
            Json::Object(fields) => Some(Self { fields, pointer, findings, known: Vec::with_capacity(8) }),
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
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Json<'a>> {
        self.known.push(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is given as null.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(Json::is_null)
    }

    /// A field of which some other form is asked than the readers below know.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        must: impl Must,
        read: impl FnOnce(&'a Json<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        if read.is_none() {
            self.fault(name, must.say());
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
        self.findings.text(|| self.at(name), value, max).map(str::to_owned)
    }

    /// A text that `parse` understands; `must` says what would be right.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        must: impl Must,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(name, must, |value| parse(value.as_str()?))
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.read(name, "must be true or false", Json::as_bool)
    }

    /// A whole number, however its fraction of nothing is written.
    pub(crate) fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let must = || format!("must be a whole number from {} to {}", range.start(), range.end());
        self.read(name, must, |value| whole(value).filter(|n| range.contains(n)))
    }

    /// An RFC 3339 time.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        self.parsed(name, "must be an RFC 3339 time with its offset, such as 2026-12-01T09:00:00Z", |t| t.parse().ok())
    }

    /// A duration: `30m`, or whole seconds.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Seconds> {
        self.read(name, "must be a duration such as 30s, 15m, 2h, 7d or 4w, or whole seconds", |value| match value {
            Json::Text(text) => Seconds::parse(text),
            other => whole(other).and_then(|n| u32::try_from(n).ok()).map(Seconds),
        })
    }

    /// An object inside this one. It is read before the outer one goes on.
    pub(crate) fn object(&mut self, name: &'static str) -> Option<Object<'a>> {
        let value = self.value(name)?;
        Self::at_pointer(value, self.at(name), self.findings)
    }

    /// An object whose keys are the caller's own.
    pub(crate) fn map(&mut self, name: &'static str) -> Option<&'a Fields<'a>> {
        self.read(name, "must be an object", Json::as_object)
    }

    /// A list of at most `max` items.
    pub(crate) fn list(&mut self, name: &'static str, max: usize) -> Option<Vec<Item<'a>>> {
        let values = self.items(name, max)?;
        let at = self.at(name);
        let item = |(i, value)| Item { value, pointer: format!("{at}/{i}"), findings: self.findings };
        Some(values.iter().enumerate().map(item).collect())
    }

    fn items(&mut self, name: &'static str, max: usize) -> Option<&'a [Json<'a>]> {
        let values = self.read(name, "must be a list", Json::as_list)?;
        if values.len() > max {
            self.fault(name, format!("has {} items, at most {max} are allowed", values.len()));
            return None;
        }
        Some(values)
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, name: &'static str, max: usize, max_bytes: usize) -> Option<Vec<String>> {
        let items = self.items(name, max)?;
        let texts: Vec<String> = self.each_text(name, items, max_bytes).map(str::to_owned).collect();
        (texts.len() == items.len()).then_some(texts)
    }

    /// A list of texts of which there may be thousands.
    pub(crate) fn names(&mut self, name: &'static str, max: usize, max_bytes: usize) -> Option<Names> {
        let items = self.items(name, max)?;
        // Mostly they are about as long as the first.
        let len = items.first().and_then(Json::as_str).map_or(0, str::len);
        let mut names = Names::with_capacity(items.len(), items.len() * len);
        names.extend(self.each_text(name, items, max_bytes));
        (names.len() == items.len()).then_some(names)
    }

    /// Those items of a list that are good. Every item is read, so that every fault is seen.
    fn each_text(&self, name: &str, items: &'a [Json<'a>], max_bytes: usize) -> impl Iterator<Item = &'a str> {
        let text = move |(i, value)| self.findings.text(|| format!("{}/{i}", self.at(name)), value, max_bytes);
        items.iter().enumerate().filter_map(text)
    }

    /// Ends reading: what nobody asked for is unknown.
    pub(crate) fn finish(self) {}
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        for (name, _) in self.fields.iter().filter(|(name, _)| !self.known.contains(name)) {
            self.findings.note_unknown(self.at(name));
        }
    }
}

/// A whole number: `3`, and `3.0` and `3e0` too, which JSON does not tell apart (RFC 8259, section 6) and which languages whose
/// numbers are floats may write. Beyond 2^53 a float is not the number that was meant.
fn whole(value: &Json<'_>) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value = value.as_number()?;
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        Some(float as i64)
    })
}

/// An item of a list.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    value: &'a Json<'a>,
    pointer: String,
    findings: &'a Findings,
}

impl<'a> Item<'a> {
    /// As it stands.
    pub(crate) fn value(&self) -> &'a Json<'a> {
        self.value
    }

    /// A text of at most `max` bytes.
    pub(crate) fn text(&self, max: usize) -> Option<String> {
        self.findings.text(|| self.pointer.clone(), self.value, max).map(str::to_owned)
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
