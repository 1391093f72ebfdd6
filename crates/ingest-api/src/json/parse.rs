//! Bytes to a value: at most 32 deep, no key twice.

use std::cell::RefCell;
use std::fmt;

use carillon_domain::fault::Faults;
use carillon_domain::limits;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::place::Place;
use crate::refusal::Refusal;

/// Duplicate keys that are named; the rest of a broken body says nothing new.
const NAMED: usize = 20;

/// Parses a body.
///
/// # Errors
/// `invalid_request`: no JSON, too deep, or a key twice in one object (of which parsers keep different ones).
pub(crate) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let faults = RefCell::new(Faults::new());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
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
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut values = Vec::new();
        loop {
            let place = Place::Index(self.place, values.len());
            match list.next_element_seed(Strict { place: &place, faults: self.faults })? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut fields = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let place = Place::Key(self.place, &key);
            let value = object.next_value_seed(Strict { place: &place, faults: self.faults })?;
            if fields.contains_key(&key) {
                let mut faults = self.faults.borrow_mut();
                if faults.as_slice().len() >= NAMED {
                    return Err(A::Error::custom("too many faults"));
                }
                faults.add(place.pointer(), "stands twice in one object");
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
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
    fn thirty_two_levels_are_read_and_thirty_three_are_not() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert_eq!(faults(&nested(33)), [("/0".repeat(32), "is nested deeper than 32 levels".to_owned())]);
        assert_eq!(faults(&nested(100_000)).len(), 1);
    }

    #[test]
    fn what_is_no_json_is_located_and_not_quoted() {
        for body in ["", "{", "{'secret': 1}", "[1,]", "{} {}", "nul", "1e999", "\"\\ud800\"", "\u{feff}{}"] {
            let found = faults(body);
            assert_eq!(found.len(), 1, "{body}");
            assert!(found[0].1.contains("line") && !found[0].1.contains("secret"), "{found:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    proptest! {
        #[test]
        fn whatever_serde_reads_is_read_the_same(text in "\\PC{0,40}", n in any::<i64>(), f in -1e300..1e300) {
            let value = serde_json::json!({"t": text, "n": n, "f": f, "l": [null, true, {}], "o": {"u": u64::MAX}});
            prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
