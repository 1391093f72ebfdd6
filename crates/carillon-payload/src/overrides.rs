//! A platform's own fields, merged at the end (RFC 7396).

use crate::error::{PayloadError, Problem};
use crate::json::{Json, Object};
use carillon_domain::content::{JsonText, escape_pointer};
use carillon_domain::limits;
use std::borrow::Cow;
use std::mem;

/// What a platform says about overrides of its body.
pub(crate) struct Rules {
    /// JSON pointer of the overrides in the request.
    pub(crate) pointer: &'static str,
    /// Paths that must not be named at all.
    pub(crate) reserved: &'static [&'static [&'static str]],
    /// The name that a member has in our body, given the path of its object. Protobuf's JSON takes two spellings of a field,
    /// and one object with both is an error.
    pub(crate) name: fn(path: &[String], key: &str) -> String,
}

/// The names of plain JSON: as they are.
pub(crate) fn as_written(_: &[String], key: &str) -> String {
    key.to_owned()
}

/// Reads a caller's overrides and checks them. Absent ones are empty.
pub(crate) fn read(patch: Option<&JsonText>, rules: &Rules) -> Result<Object, PayloadError> {
    let Some(patch) = patch else { return Ok(Object::default()) };
    let object = read_object(&patch.0, rules, &mut Vec::new())?;
    for path in rules.reserved {
        if names(&object, path) {
            let pointer = format!("{}/{}", rules.pointer, path.join("/"));
            return Err(PayloadError::new(pointer, Problem::Reserved));
        }
    }
    Ok(object)
}

fn read_object(text: &str, rules: &Rules, path: &mut Vec<String>) -> Result<Object, PayloadError> {
    if path.len() >= limits::JSON_DEPTH {
        return Err(PayloadError::new(rules.pointer, Problem::TooDeep));
    }
    let Some(level) = Object::parse_level(text) else {
        let problem = if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
            Problem::NotAnObject
        } else {
            Problem::NotJson
        };
        return Err(PayloadError::new(pointer_to(rules, path), problem));
    };
    let mut object = Object::default();
    for (key, value) in level.0 {
        let name = (rules.name)(path, &key);
        let value = match value {
            Json::Raw(raw) if raw.starts_with('{') => {
                path.push(name.clone());
                let inner = read_object(&raw, rules, path)?;
                path.pop();
                Json::Object(inner)
            }
            other => other,
        };
        object.put(&name, value);
    }
    Ok(object)
}

pub(crate) fn pointer_to(rules: &Rules, path: &[String]) -> String {
    let tail: String = path.iter().map(|key| format!("/{}", escape_pointer(key))).collect();
    format!("{}{tail}", rules.pointer)
}

fn names(object: &Object, path: &[&str]) -> bool {
    match path {
        [last] => object.get(last).is_some(),
        [first, rest @ ..] => matches!(object.get(first), Some(Json::Object(inner)) if names(inner, rest)),
        [] => false,
    }
}

/// RFC 7396: null removes, objects merge, anything else replaces.
pub(crate) fn merge(target: &mut Object, patch: Object) {
    for (key, value) in patch.0 {
        match value {
            Json::Raw(raw) if raw == "null" => target.remove(&key),
            Json::Object(inner) => {
                let slot = target.slot(&key);
                let mut object = match mem::replace(slot, Json::Number(0)) {
                    Json::Object(object) => object,
                    Json::Raw(raw) => Object::parse_level(&raw).unwrap_or_default(),
                    _ => Object::default(),
                };
                merge(&mut object, inner);
                *slot = Json::Object(object);
            }
            other => target.put(&key, other),
        }
    }
}

/// `snake_case` to the `lowerCamelCase` of protobuf's JSON.
pub(crate) fn lower_camel(key: &str) -> Cow<'_, str> {
    if !key.contains('_') {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        if c == '_' {
            upper = true;
        } else {
            name.push(if mem::take(&mut upper) { c.to_ascii_uppercase() } else { c });
        }
    }
    Cow::Owned(name)
}
