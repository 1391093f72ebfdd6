//! Strict reading of JSON by a protobuf message's shape, with the faults named as Google's front end names them.

use serde_json::{Map, Value};

use super::error::Violation;

/// Faults of one body that are listed.
const MOST_VIOLATIONS: usize = 50;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Bool,
    Int32,
    Float,
    Duration,
    Timestamp,
    Enum(&'static [&'static str]),
    /// A map of texts.
    TextMap,
    /// Any JSON object (`google.protobuf.Struct`).
    Struct,
    List(&'static Kind),
    Message(&'static [Field]),
}

/// One field under its protobuf name; JSON may use that or the camel case form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// Checks an object against the fields of a message and rewrites its names to their protobuf form.
pub(crate) fn read(
    object: Map<String, Value>,
    fields: &'static [Field],
    found: &mut Vec<Violation>,
) -> Map<String, Value> {
    read_message(object, fields, "", found)
}

fn read_message(
    object: Map<String, Value>,
    fields: &'static [Field],
    path: &str,
    found: &mut Vec<Violation>,
) -> Map<String, Value> {
    let mut read = Map::new();
    for (name, value) in object {
        if found.len() >= MOST_VIOLATIONS {
            break;
        }
        let Some(field) = fields.iter().find(|field| field.name == name || camel(field.name) == name) else {
            let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
            let text = format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.");
            found.push(Violation::new(path, text));
            continue;
        };
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        if read.contains_key(field.name) {
            let text = format!("Invalid JSON payload received. Field '{path}' is set twice.");
            found.push(Violation::new(path, text));
        } else if !value.is_null() {
            let value = read_value(value, field.kind, &path, found);
            read.insert(field.name.to_owned(), value);
        }
    }
    read
}

fn read_value(value: Value, kind: Kind, path: &str, found: &mut Vec<Violation>) -> Value {
    let fits = match (&value, kind) {
        (Value::String(_), Kind::Text)
        | (Value::Bool(_), Kind::Bool)
        | (Value::Number(_), Kind::Float)
        | (Value::Object(_), Kind::Struct | Kind::Message(_))
        | (Value::Array(_), Kind::List(_)) => true,
        (Value::Number(number), Kind::Int32) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        (Value::String(text), Kind::Int32) => text.parse::<i32>().is_ok(),
        (Value::String(text), Kind::Duration) => duration(text).is_some(),
        (Value::String(text), Kind::Timestamp) => text.parse::<jiff::Timestamp>().is_ok(),
        (Value::String(text), Kind::Enum(words)) => words.contains(&text.as_str()),
        (Value::Object(map), Kind::TextMap) => {
            for (place, (name, value)) in map.iter().enumerate().filter(|(_, (_, value))| !value.is_string()) {
                let field = format!("{path}[{place}].value");
                let text = format!("Invalid value at '{field}' (TYPE_STRING), {} (key \"{name}\")", clip(value));
                found.push(Violation::new(field, text));
            }
            true
        }
        _ => false,
    };
    if !fits {
        let text = format!("Invalid value at '{path}' ({}), {}", kind.name(), clip(&value));
        found.push(Violation::new(path, text));
        return Value::Null;
    }
    match (value, kind) {
        (Value::Object(object), Kind::Message(fields)) => Value::Object(read_message(object, fields, path, found)),
        (Value::Array(list), Kind::List(kind)) => {
            let each = |(place, value)| read_value(value, *kind, &format!("{path}[{place}]"), found);
            Value::Array(list.into_iter().enumerate().map(each).collect())
        }
        (value, _) => value,
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "TYPE_STRING",
            Self::Bool => "TYPE_BOOL",
            Self::Int32 => "TYPE_INT32",
            Self::Float => "TYPE_FLOAT",
            Self::Duration => "type.googleapis.com/google.protobuf.Duration",
            Self::Timestamp => "type.googleapis.com/google.protobuf.Timestamp",
            Self::Enum(_) => "TYPE_ENUM",
            Self::TextMap => "map<string, string>",
            Self::Struct => "type.googleapis.com/google.protobuf.Struct",
            Self::List(_) => "repeated",
            Self::Message(_) => "TYPE_MESSAGE",
        }
    }
}

/// Whole milliseconds of a protobuf duration: `<seconds>[.<up to nine digits>]s`.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let number = text.strip_suffix('s')?;
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds, 12) || !digits(fraction, 9) {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(seconds.parse::<u64>().ok()? * 1000 + millis)
}

/// `collapse_key` to `collapseKey`.
fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            letter if upper => {
                camel.extend(letter.to_uppercase());
                upper = false;
            }
            letter => camel.push(letter),
        }
    }
    camel
}

fn clip(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_with_an_s() {
        assert_eq!(duration("3600s"), Some(3_600_000));
        assert_eq!(duration("3.5s"), Some(3500));
        assert_eq!(duration("0s"), Some(0));
        for wrong in ["", "s", "3600", "-1s", "1h", ".5s", "1.s", "1.2345678901s", "1e3s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_written_duration_is_read_back(seconds in 0u64..10_000_000, millis in 0u64..1000) {
            proptest::prop_assert_eq!(duration(&format!("{seconds}.{millis:03}s")), Some(seconds * 1000 + millis));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,20}") {
            let _ = duration(&text);
        }
    }

    #[test]
    fn both_spellings_of_a_name_are_one_field() {
        assert_eq!(camel("android_v2"), "androidV2");
        assert_eq!(camel("fid"), "fid");
    }
}
