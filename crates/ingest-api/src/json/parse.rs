//! Bytes to a value: at most 32 deep, no key twice.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use carillon_domain::fault::Faults;
use carillon_domain::limits;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::place::Place;
use super::tree::{Fields, Json};
use crate::refusal::Refusal;

/// Duplicate keys that are named; the rest of a broken body says nothing new.
const NAMED: usize = 20;

/// The room that a list has at first, and when it has outgrown that: what is longer than a few mostly is much longer, and each time it grows it is
/// moved. The last is what the allocator still keeps at hand; from there on it doubles.
const STEPS: [usize; 3] = [4, 64, 1024];

/// Parses a body.
///
/// # Errors
/// `invalid_request`: no JSON, too deep, or a key twice in one object (of which parsers keep different ones).
pub(crate) fn parse(body: &[u8]) -> Result<Json<'_>, Refusal> {
    let faults = RefCell::new(Faults::new());
    // Seen once to be UTF-8, its texts need not be looked at one by one.
    let body = std::str::from_utf8(body).map_err(|error| no_utf8(body, error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let seed = Strict { place: &Place::Root, faults: &faults };
    let parsed = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let mut faults = faults.into_inner();
    match parsed {
        Ok(value) if faults.is_empty() => Ok(value),
        Ok(_) => Err(unreadable(faults)),
        Err(error) => {
            if faults.is_empty() {
                let kind = if error.is_eof() { "ends too early" } else { "is not JSON (RFC 8259)" };
                faults.add("", format!("{kind}, at line {} column {}", error.line(), error.column()));
            }
            Err(unreadable(faults))
        }
    }
}

fn no_utf8(body: &[u8], at: usize) -> Refusal {
    let before = body.get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let mut faults = Faults::new();
    faults.add("", format!("is not UTF-8 (RFC 8259), at line {line} column {column}"));
    unreadable(faults)
}

fn unreadable(faults: Faults) -> Refusal {
    Refusal { unreadable: true, ..faults.into() }
}

struct Strict<'a> {
    place: &'a Place<'a>,
    faults: &'a RefCell<Faults>,
}

impl Strict<'_> {
    fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.place.depth() < limits::JSON_DEPTH {
            return Ok(());
        }
        let detail = format!("is nested deeper than {} levels", limits::JSON_DEPTH);
        self.faults.borrow_mut().add(self.place.pointer(), detail);
        Err(E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json<'de>, A::Error> {
        self.enter()?;
        let mut values = Vec::new();
        loop {
            let place = Place::Index(self.place, values.len());
            let Some(value) = list.next_element_seed(Strict { place: &place, faults: self.faults })? else {
                return Ok(Json::List(values));
            };
            if let Some(room) =
                STEPS.into_iter().find(|step| *step > values.len()).filter(|_| values.len() == values.capacity())
            {
                values.reserve_exact(room - values.len());
            }
            values.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json<'de>, A::Error> {
        self.enter()?;
        let mut fields = Vec::new();
        while let Some(Name(name)) = object.next_key()? {
            let place = Place::Key(self.place, &name);
            let value = object.next_value_seed(Strict { place: &place, faults: self.faults })?;
            fields.push((name, value));
        }
        let fields = Fields::new(fields, |name| {
            let mut faults = self.faults.borrow_mut();
            if faults.as_slice().len() < NAMED {
                faults.add(Place::Key(self.place, name).pointer(), "stands twice in one object");
            }
        });
        Ok(Json::Object(fields))
    }
}

/// A field's name, borrowed where it stands in the body as it is.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(body: &str) -> Vec<(String, String)> {
        let refusal = parse(body.as_bytes()).unwrap_err();
        refusal.faults.into_iter().map(|f| (f.pointer, f.detail)).collect()
    }

    #[test]
    fn a_key_that_stands_twice_is_named_with_its_place() {
        let twice = "stands twice in one object".to_owned();
        let found = faults(r#"{"a": [{"x/y": 1, "x/y": 2}], "b": 1, "b": 1}"#);
        assert_eq!(found, [("/a/0/x~1y".to_owned(), twice.clone()), ("/b".to_owned(), twice)]);
    }

    #[test]
    fn of_a_body_that_is_wrong_all_over_no_more_than_twenty_places_are_named() {
        let body: Vec<String> = (0..500).map(|n| format!(r#""k{n}": 1, "k{n}": 2"#)).collect();
        assert_eq!(faults(&format!("{{{}}}", body.join(","))).len(), NAMED);
    }

    #[test]
    fn texts_lie_in_the_body_unless_they_are_escaped() {
        let body = br#"{"a": "plain", "b\n": "esc\taped"}"#;
        let parsed = parse(body).unwrap();
        let fields = parsed.as_object().unwrap();
        assert!(matches!(fields.get("a"), Some(Json::Text(Cow::Borrowed("plain")))));
        assert!(matches!(fields.get("b\n"), Some(Json::Text(Cow::Owned(text))) if text == "esc\taped"));
    }

    #[test]
    fn thirty_two_levels_are_read_and_thirty_three_are_not() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert_eq!(faults(&nested(33)), [("/0".repeat(32), "is nested deeper than 32 levels".to_owned())]);
        assert_eq!(faults(&nested(100_000)).len(), 1);
    }

    #[test]
    fn what_is_no_json_is_located_and_not_quoted() {
        for body in ["", "{", "{'secret': 1}", "[1,]", "{} {}", "nul", "1e999", "\"\\ud800\"", "\u{feff}{}", "\"a\0b\""]
        {
            let found = faults(body);
            assert_eq!(found.len(), 1, "{body}");
            assert!(found[0].1.contains("line") && !found[0].1.contains("secret"), "{found:?}");
        }
        let refusal = parse(b"{\n\"a\": \"\xff\"}").unwrap_err();
        assert_eq!(refusal.faults[0].detail, "is not UTF-8 (RFC 8259), at line 2 column 7");
    }

    proptest! {
        #[test]
        fn whatever_serde_reads_is_read_the_same(text in "\\PC{0,40}", n in any::<i64>(), f in -1e300..1e300) {
            let value = serde_json::json!({"t": text, "n": n, "f": f, "l": [null, true, {}], "o": {"u": u64::MAX}});
            let body = value.to_string();
            prop_assert_eq!(parse(body.as_bytes()).unwrap().to_text(), body);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
