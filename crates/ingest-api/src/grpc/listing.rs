//! Parameters of listings: empty texts and zeroes mean absent.

use std::str::FromStr;

use carillon_domain::fault::{Faults, check_text};
use carillon_domain::limits;
use carillon_store::PageRequest;

use crate::bodies::draft::one_of;
use crate::http::query::{VALUE_BYTES, decode};

pub(super) fn page<Id: FromStr>(faults: &mut Faults, limit: u32, cursor: &str) -> PageRequest<Id> {
    let (default, most) = limits::PAGE;
    if limit > most {
        faults.add("/limit", format!("must be a whole number from 1 to {most}"));
    }
    let after = (!cursor.is_empty()).then(|| decode(cursor)).flatten();
    if after.is_none() && !cursor.is_empty() {
        faults.add("/cursor", "is not one that a listing gave");
    }
    PageRequest { limit: if limit == 0 { default } else { limit.min(most) }, after }
}

/// A text that things are looked for by.
pub(super) fn filter(faults: &mut Faults, pointer: &str, value: String) -> Option<String> {
    check_text(faults, pointer, &value, VALUE_BYTES);
    (!value.is_empty()).then_some(value)
}

pub(super) fn choice<T>(
    faults: &mut Faults,
    pointer: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    texts: &str,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let read = parse(text);
    if read.is_none() {
        faults.add(pointer, one_of(texts));
    }
    read
}
