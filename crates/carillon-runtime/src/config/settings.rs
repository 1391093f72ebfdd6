//! Puts file and environment on top of each other, and judges the names of sections.

use std::ffi::OsString;
use std::path::Path;

use config::{Environment, File, FileFormat, Map, Value, ValueKind};

use super::faults::nearest;
use super::{Fault, Faults, KNOWN_SECTIONS, ServiceConfig, strict};

const PREFIX: &str = "CARILLON_";

/// File and environment, merged: every section of every service.
#[derive(Debug)]
pub struct Settings {
    sections: Map<String, Value>,
    ignored: Vec<String>,
}

impl Settings {
    /// Merges a file (optional) and variables; those without the prefix `CARILLON_` and empty ones count as absent.
    ///
    /// # Errors
    /// An unreadable file, an unknown section, a variable with one underscore where two belong.
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut ignored = Vec::new();
        let mut own = Map::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)).map(str::to_owned) else { continue };
            match (kind_of(&name), value.into_string()) {
                (Variable::Setting, Ok(value)) => drop(own.insert(name, value)),
                (Variable::Setting, Err(_)) => faults.push(Fault { key: name, message: "is not UTF-8".to_owned() }),
                (Variable::OneUnderscore(right), _) => faults
                    .push(Fault { key: name, message: format!("needs two underscores after the section: {right}") }),
                (Variable::ServiceLink, _) => {}
                (Variable::Foreign, _) => ignored.push(name),
            }
        }
        match merge(file, own) {
            Ok(sections) => {
                faults.extend(sections.iter().filter_map(|(name, value)| judge_section(name, value)));
                if faults.is_empty() { Ok(Self { sections, ignored }) } else { Err(Faults::new(faults)) }
            }
            Err(fault) => {
                faults.push(fault);
                Err(Faults::new(faults))
            }
        }
    }

    /// The part of the settings that `C` names.
    ///
    /// # Errors
    /// Unknown, missing and malformed keys in those sections, and what [`ServiceConfig::faults`] finds.
    pub fn extract<C: ServiceConfig>(&self) -> Result<C, Faults> {
        debug_assert!(C::SECTIONS.iter().all(|section| KNOWN_SECTIONS.contains(section)), "a section nobody knows");
        let own: Map<String, Value> = C::SECTIONS
            .iter()
            .filter_map(|section| Some(((*section).to_owned(), self.sections.get(*section)?.clone())))
            .collect();
        let config: C = strict::extract(&Value::new(None, ValueKind::Table(own)))?;
        let faults: Vec<Fault> =
            config.faults().into_iter().map(|(key, message)| Fault { key: strict::name_both(key), message }).collect();
        if faults.is_empty() { Ok(config) } else { Err(Faults::new(faults)) }
    }

    /// Variables with our prefix that name no section: another program's, or a typo beyond recognition.
    pub fn ignored(&self) -> impl Iterator<Item = &str> {
        self.ignored.iter().map(String::as_str)
    }
}

fn merge(file: Option<&Path>, variables: Map<String, String>) -> Result<Map<String, Value>, Fault> {
    let environment = Environment::with_prefix("CARILLON")
        .prefix_separator("_")
        .separator("__")
        .ignore_empty(true)
        .source(Some(variables));
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let merged = builder
        .add_source(environment)
        .build()
        .map_err(|error| unreadable(file.unwrap_or(Path::new("the environment")), &error))?;
    Ok(merged.cache.into_table().unwrap_or_default())
}

/// Without the lines of the file that the parser quotes: what stands there may be a password.
fn unreadable(path: &Path, error: &dyn std::error::Error) -> Fault {
    let text = error.to_string();
    let words: Vec<&str> = text.lines().filter(|line| !line.contains(" |")).collect();
    Fault { key: path.display().to_string(), message: format!("cannot be read: {}", words.join(": ")) }
}

fn judge_section(name: &str, value: &Value) -> Option<Fault> {
    // A section is a table, and tables do not know where they come from: their keys do.
    let witness = match &value.kind {
        ValueKind::Table(table) => table.values().next().unwrap_or(value),
        _ => value,
    };
    if !KNOWN_SECTIONS.contains(&name) {
        let key = strict::name(&[name.to_owned()], witness);
        let right = nearest(name, KNOWN_SECTIONS.iter().copied()).unwrap_or_default();
        return Some(Fault { key, message: format!("is no section; the nearest is `{right}`") });
    }
    match value.kind {
        ValueKind::Table(_) => None,
        _ => Some(Fault {
            key: strict::name(&[name.to_owned()], witness),
            message: "is a section, not a value".to_owned(),
        }),
    }
}

enum Variable {
    Setting,
    /// With the name as it should be.
    OneUnderscore(String),
    /// Kubernetes describes every Service of the namespace in variables; a release called `carillon` makes them ours.
    ServiceLink,
    Foreign,
}

fn kind_of(name: &str) -> Variable {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if rest.contains("__") {
        return Variable::Setting;
    }
    let last_words = rest.rsplit_once("PORT").map(|(_, after)| after);
    let is_port = last_words.is_some_and(|after| after.is_empty() || after.starts_with('_'));
    if rest.ends_with("_SERVICE_HOST") || is_port {
        return Variable::ServiceLink;
    }
    let lower = rest.to_ascii_lowercase();
    let section = KNOWN_SECTIONS.iter().find_map(|section| Some((section, lower.strip_prefix(section)?)));
    match section {
        Some((section, key)) if key.is_empty() || key.starts_with('_') => {
            let key = if key.is_empty() { "_<KEY>" } else { key };
            let right = format!("{PREFIX}{}_{}", section.to_ascii_uppercase(), key.to_ascii_uppercase());
            Variable::OneUnderscore(right)
        }
        _ => Variable::Foreign,
    }
}
