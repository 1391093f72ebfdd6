//! A deserializer over merged settings.

use std::borrow::Cow;

use config::{Value, ValueKind};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::error::Refusal;
use super::{Fault, Path, Reading, name};
use crate::config::faults::nearest;

/// One value on its way into a struct.
pub(super) struct Walk<'a> {
    value: Cow<'a, Value>,
    path: Path,
    reading: &'a Reading,
}

impl<'a> Walk<'a> {
    pub(super) fn root(value: &'a Value, reading: &'a Reading) -> Self {
        Self { value: Cow::Borrowed(value), path: Vec::new(), reading }
    }

    /// The value under `key`, or the stand-in that has taken its place.
    fn child(path: &Path, key: &str, value: Cow<'a, Value>, reading: &'a Reading) -> Self {
        let path: Path = path.iter().cloned().chain([key.to_owned()]).collect();
        let value = reading.stand_in(&path).map_or(value, Cow::Borrowed);
        Self { value, path, reading }
    }

    /// Tables as a list of children ordered by key, lists by position; a text is a comma list.
    fn entries(&self) -> Option<Vec<(String, Cow<'a, Value>)>> {
        let ValueKind::Table(table) = &self.value.kind else { return None };
        let mut entries: Vec<_> = table.iter().map(|(key, value)| (key.clone(), Cow::Owned(value.clone()))).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Some(entries)
    }

    fn elements(&self) -> Option<Vec<Value>> {
        match &self.value.kind {
            ValueKind::Array(list) => Some(list.clone()),
            ValueKind::String(text) => {
                let origin = self.value.origin().map(str::to_owned);
                let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
                Some(pieces.map(|piece| Value::new(origin.as_ref(), piece.to_owned())).collect())
            }
            _ => None,
        }
    }

    fn found(&self) -> Unexpected<'_> {
        match &self.value.kind {
            ValueKind::Nil => Unexpected::Unit,
            ValueKind::Boolean(value) => Unexpected::Bool(*value),
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => Unexpected::Signed(0),
            ValueKind::Float(value) => Unexpected::Float(*value),
            ValueKind::String(_) => Unexpected::Str(""),
            ValueKind::Table(_) => Unexpected::Map,
            ValueKind::Array(_) => Unexpected::Seq,
        }
    }

    fn refuse(&self, expected: &'static str) -> Refusal {
        Refusal::invalid_type(self.found(), &expected).at(&self.path)
    }

    fn integer(&self) -> Result<i128, Refusal> {
        match &self.value.kind {
            ValueKind::I64(value) => Ok(i128::from(*value)),
            ValueKind::I128(value) => Ok(*value),
            ValueKind::U64(value) => Ok(i128::from(*value)),
            ValueKind::U128(value) => i128::try_from(*value).map_err(|_| self.refuse("a whole number")),
            ValueKind::String(text) => text.trim().parse().map_err(|_| self.refuse("a whole number")),
            _ => Err(self.refuse("a whole number")),
        }
    }

    fn float(&self) -> Result<f64, Refusal> {
        match &self.value.kind {
            ValueKind::Float(value) => Ok(*value),
            ValueKind::I64(value) => Ok(*value as f64),
            ValueKind::String(text) => text.trim().parse().map_err(|_| self.refuse("a number")),
            _ => Err(self.refuse("a number")),
        }
    }

    fn boolean(&self) -> Result<bool, Refusal> {
        match &self.value.kind {
            ValueKind::Boolean(value) => Ok(*value),
            ValueKind::String(text) => match text.trim() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(self.refuse("true or false")),
            },
            _ => Err(self.refuse("true or false")),
        }
    }

    /// The entries that a struct knows; the others are noted as faults.
    fn known_entries(&self, fields: &'static [&'static str]) -> Result<Vec<(String, Cow<'a, Value>)>, Refusal> {
        let (mut known, unknown): (Vec<_>, Vec<_>) = self
            .entries()
            .ok_or_else(|| self.refuse("a table"))?
            .into_iter()
            .partition(|(key, _)| fields.contains(&key.as_str()));
        for (key, value) in unknown {
            let path: Path = self.path.iter().cloned().chain([key.clone()]).collect();
            let right = nearest(&key, fields.iter().copied()).unwrap_or_default();
            let message = format!("is no known key; the nearest is `{right}`");
            let fault = Fault { key: name(&path, &value), message };
            self.reading.unknown.borrow_mut().insert(path, fault);
        }
        for field in fields {
            let path: Path = self.path.iter().cloned().chain([(*field).to_owned()]).collect();
            if let Some(value) = self.reading.stand_in(&path)
                && known.iter().all(|(key, _)| key != field)
            {
                known.push(((*field).to_owned(), Cow::Borrowed(value)));
            }
        }
        Ok(known)
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            let value = self.integer()?;
            let fits = <$type>::try_from(value)
                .map_err(|_| Refusal::new(concat!("does not fit: must be a whole number of type ", stringify!($type))));
            fits.and_then(|value| visitor.$visit(value)).map_err(|refusal| refusal.at(&self.path))
        }
    )*};
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Refusal;

    integers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let path = self.path.clone();
        let result = match &self.value.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(*value),
            ValueKind::I64(value) => visitor.visit_i64(*value),
            ValueKind::I128(value) => visitor.visit_i128(*value),
            ValueKind::U64(value) => visitor.visit_u64(*value),
            ValueKind::U128(value) => visitor.visit_u128(*value),
            ValueKind::Float(value) => visitor.visit_f64(*value),
            ValueKind::String(value) => visitor.visit_str(value),
            ValueKind::Table(_) => return self.deserialize_map(visitor),
            ValueKind::Array(_) => return self.deserialize_seq(visitor),
        };
        result.map_err(|refusal: Refusal| refusal.at(&path))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.value.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let elements = self.elements().ok_or_else(|| self.refuse("a list"))?;
        let list = Elements { rest: elements.into_iter().enumerate(), path: &self.path, reading: self.reading };
        visitor.visit_seq(list).map_err(|refusal| refusal.at(&self.path))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let entries = self.entries().ok_or_else(|| self.refuse("a table"))?;
        visitor.visit_map(Entries::new(entries, &self)).map_err(|refusal| refusal.at(&self.path))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let entries = self.known_entries(fields)?;
        visitor.visit_map(Entries::new(entries, &self)).map_err(|refusal| refusal.at(&self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let result = match &self.value.kind {
            ValueKind::String(_) if self.reading.stand_in(&self.path).is_some() => {
                let variant: StrDeserializer<'_, Refusal> = variants.first().copied().unwrap_or("").into_deserializer();
                visitor.visit_enum(variant)
            }
            ValueKind::String(text) => {
                let variant: StrDeserializer<'_, Refusal> = text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            ValueKind::Table(_) => {
                let entries = self.entries().unwrap_or_default();
                visitor.visit_enum(MapAccessDeserializer::new(Entries::new(entries, &self)))
            }
            _ => Err(self.refuse("a text")),
        };
        result.map_err(|refusal| refusal.at(&self.path))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct identifier ignored_any
    }
}

struct Entries<'w, 'a> {
    rest: std::vec::IntoIter<(String, Cow<'a, Value>)>,
    next: Option<(String, Cow<'a, Value>)>,
    path: &'w Path,
    reading: &'a Reading,
}

impl<'w, 'a> Entries<'w, 'a> {
    fn new(entries: Vec<(String, Cow<'a, Value>)>, of: &'w Walk<'a>) -> Self {
        Self { rest: entries.into_iter(), next: None, path: &of.path, reading: of.reading }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        self.next = self.rest.next();
        let Some((key, _)) = &self.next else { return Ok(None) };
        let key: StrDeserializer<'_, Refusal> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let (key, value) = self.next.take().ok_or_else(|| Refusal::new("has no value"))?;
        let child = Walk::child(self.path, &key, value, self.reading);
        let path = child.path.clone();
        seed.deserialize(child).map_err(|refusal| refusal.at(&path))
    }
}

struct Elements<'w, 'a> {
    rest: std::iter::Enumerate<std::vec::IntoIter<Value>>,
    path: &'w Path,
    reading: &'a Reading,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some((index, value)) = self.rest.next() else { return Ok(None) };
        let child = Walk::child(self.path, &index.to_string(), Cow::Owned(value), self.reading);
        let path = child.path.clone();
        seed.deserialize(child).map(Some).map_err(|refusal| refusal.at(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
