//! Turns merged settings into a service's struct: texts into numbers, booleans and lists, nothing unknown, nothing
//! echoed, and all faults of a configuration instead of the first.
//!
//! Serde stops at the first error. So that an operator sees all of them, the value at fault is replaced by a stand-in
//! that parses and the whole is read again; what comes out is thrown away, the faults are kept.

mod error;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;

use config::{Value, ValueKind};
use serde::de::DeserializeOwned;

use self::error::Refusal;
use self::walk::Walk;
use super::{Fault, Faults};

/// Where a value sits: section, key, keys below.
type Path = Vec<String>;

/// One stand-in after the other is tried until one parses. An empty table is the last: it stands for absent sections.
const STAND_IN_TEXTS: &[&str] = &[
    "1",
    "1s",
    "http://127.0.0.1:1",
    "https://localhost",
    "127.0.0.1:1",
    "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
];

/// What one reading of the settings knows and finds.
struct Reading {
    stand_ins: BTreeMap<Path, usize>,
    candidates: Vec<Value>,
    unknown: RefCell<BTreeMap<Path, Fault>>,
}

impl Reading {
    fn new() -> Self {
        let texts = STAND_IN_TEXTS.iter().map(|text| Value::new(None, ValueKind::String((*text).to_owned())));
        let candidates = texts.chain([Value::new(None, ValueKind::Table(config::Map::new()))]).collect();
        Self { stand_ins: BTreeMap::new(), candidates, unknown: RefCell::default() }
    }

    fn stand_in(&self, path: &Path) -> Option<&Value> {
        self.candidates.get(*self.stand_ins.get(path)?)
    }

    /// Puts another stand-in at `path`; false when none is left.
    fn replace(&mut self, path: &Path, first: usize) -> bool {
        let next = self.stand_ins.get(path).map_or(first, |index| index + 1);
        self.stand_ins.insert(path.clone(), next);
        next < self.candidates.len()
    }
}

/// Reads `T` from a table of sections.
pub(super) fn extract<T: DeserializeOwned>(root: &Value) -> Result<T, Faults> {
    let mut reading = Reading::new();
    let mut faults: Vec<Fault> = Vec::new();
    let last = reading.candidates.len() - 1;
    // Every round replaces one value by a stand-in not tried before, so this ends.
    loop {
        let refusal = match T::deserialize(Walk::root(root, &reading)) {
            Ok(config) => {
                faults.extend(reading.unknown.take().into_values());
                return if faults.is_empty() { Ok(config) } else { Err(Faults::new(faults)) };
            }
            Err(refusal) => refusal,
        };
        let path = refusal.path.clone().unwrap_or_default();
        // An absent section is an empty one: what is missing in it is named key by key.
        let absent_section = refusal.missing && path.len() == 1;
        let seen = reading.stand_ins.contains_key(&path);
        if !seen && !absent_section {
            faults.push(describe(root, &path, &refusal));
        }
        if path.is_empty() || !reading.replace(&path, if absent_section { last } else { 0 }) {
            if faults.is_empty() {
                faults.push(describe(root, &path, &refusal));
            }
            faults.extend(reading.unknown.take().into_values());
            return Err(Faults::new(faults));
        }
    }
}

fn describe(root: &Value, path: &Path, refusal: &Refusal) -> Fault {
    let key = find(root, path).map_or_else(|| name_both(&path.join(".")), |value| name(path, value));
    Fault { key, message: refusal.message.clone() }
}

fn find<'a>(root: &'a Value, path: &Path) -> Option<&'a Value> {
    let mut value = root;
    for key in path {
        value = match &value.kind {
            ValueKind::Table(table) => table.get(key)?,
            // One element of a list in the environment: the whole list is what can be pointed at.
            ValueKind::String(_) => return Some(value),
            ValueKind::Array(list) => list.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A key as the operator wrote it: values of the environment know that they are, all others come from the one file.
pub(super) fn name(path: &[String], value: &Value) -> String {
    match value.origin().is_some() {
        true => variable(path),
        false => format!("{} in the configuration file", path.join(".")),
    }
}

/// A key as the operator would write it, in either place.
pub(super) fn name_both(dotted: &str) -> String {
    let path: Path = dotted.split('.').map(str::to_owned).collect();
    format!("{dotted} ({})", variable(&path))
}

fn variable(path: &[String]) -> String {
    format!("CARILLON_{}", path.join("__").to_ascii_uppercase())
}
