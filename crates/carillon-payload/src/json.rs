//! A JSON tree with splice points in it, and its writer.
//!
//! The tree holds callers' values as they were written, because a number read into a float and printed again may have
//! changed. The writer notes where splice points lie, so that nothing has to be looked for in the bytes.

use crate::template::{Splice, Template};
use carillon_domain::content::JsonText;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value of the tree.
pub(crate) enum Json {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Valid JSON, written as it is.
    Raw(String),
    /// An object, in the order of its members.
    Object(Object),
    /// An array.
    List(Vec<Json>),
    /// A string that is a splice point followed by a constant.
    Spliced(Splice, &'static str),
    /// A string that holds the text of this value: JSON inside JSON.
    Embedded(Box<Json>),
}

/// An object's members, in the order they were put. Few, so that they are searched from the front.
#[derive(Default)]
pub(crate) struct Object(pub(crate) Vec<(String, Json)>);

impl Json {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Json::Text(text.into())
    }

    /// A caller's value as it was written, or `None` when it is not JSON.
    pub(crate) fn raw(value: &JsonText) -> Option<Self> {
        serde_json::from_str::<&RawValue>(&value.0).ok().map(|raw| Json::Raw(raw.get().to_owned()))
    }
}

impl Object {
    pub(crate) fn put(&mut self, key: &str, value: Json) {
        *self.slot(key) = value;
    }

    pub(crate) fn put_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.put(key, Json::text(text));
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    /// The place of a member, made with `null` at the end when there is none.
    pub(crate) fn slot(&mut self, key: &str) -> &mut Json {
        let at = self.0.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
            self.0.push((key.to_owned(), Json::Raw("null".to_owned())));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// One level of an object's text; `None` when it is something else. Of a repeated name the last one counts.
    pub(crate) fn parse_level(text: &str) -> Option<Self> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        Some(Object(members.into_iter().map(|(k, v)| (k, Json::Raw(v.get().to_owned()))).collect()))
    }
}

/// Writes compact JSON and notes its splice points.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    splices: Vec<(u32, Splice)>,
}

impl Writer {
    pub(crate) fn finish(self) -> Template {
        Template::written(self.out, self.splices)
    }

    /// Constant bytes of the format's own.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn splice(&mut self, splice: Splice) {
        // A body comes from a request of at most 1 MiB and cannot grow past 4 GiB by escaping.
        self.splices.push((self.out.len() as u32, splice));
    }

    pub(crate) fn value(&mut self, value: &Json) {
        match value {
            Json::Text(text) => self.string(text),
            Json::Number(number) => self.bytes(number.to_string().as_bytes()),
            Json::Raw(raw) => self.bytes(raw.as_bytes()),
            Json::Object(object) => {
                self.bytes(b"{");
                self.members(object);
                self.bytes(b"}");
            }
            Json::List(items) => {
                self.bytes(b"[");
                for (i, item) in items.iter().enumerate() {
                    self.comma(i);
                    self.value(item);
                }
                self.bytes(b"]");
            }
            Json::Spliced(splice, end) => {
                self.bytes(b"\"");
                self.splice(*splice);
                self.escape(end);
                self.bytes(b"\"");
            }
            Json::Embedded(inner) => self.embedded(inner),
        }
    }

    /// An object's members without its braces.
    pub(crate) fn members(&mut self, object: &Object) {
        for (i, (key, value)) in object.0.iter().enumerate() {
            self.comma(i);
            self.string(key);
            self.bytes(b":");
            self.value(value);
        }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.bytes(b",");
        }
    }

    /// Values written at splice points need no escaping once, and so none twice.
    fn embedded(&mut self, inner: &Json) {
        let mut text = Writer::default();
        text.value(inner);
        self.bytes(b"\"");
        let mut from = 0;
        for (offset, splice) in &text.splices {
            let to = *offset as usize;
            self.escape_bytes(&text.out[from..to]);
            self.splice(*splice);
            from = to;
        }
        self.escape_bytes(&text.out[from..]);
        self.bytes(b"\"");
    }

    fn string(&mut self, text: &str) {
        self.bytes(b"\"");
        self.escape(text);
        self.bytes(b"\"");
    }

    fn escape(&mut self, text: &str) {
        self.escape_bytes(text.as_bytes());
    }

    /// RFC 8259, section 7: quotation mark, reverse solidus and the controls U+0000 to U+001F. All are single bytes of UTF-8.
    fn escape_bytes(&mut self, bytes: &[u8]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let short = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0c => b'f',
                0x00..=0x1f => b'u',
                _ => continue,
            };
            self.bytes(&bytes[from..at]);
            self.bytes(&[b'\\', short]);
            if short == b'u' {
                self.bytes(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            from = at + 1;
        }
        self.bytes(&bytes[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_are_escaped_as_any_json_reader_expects(text in any::<String>(), control in 0u8..0x20) {
            let text = format!("{text}{}", char::from(control));
            let mut writer = Writer::default();
            writer.string(&text);
            prop_assert_eq!(serde_json::from_slice::<String>(&writer.out).unwrap(), text);
        }
    }

    #[test]
    fn a_splice_point_inside_embedded_json_is_noted_where_it_lies_outside() {
        let mut object = Object::default();
        object.put("a\"", Json::text("\\"));
        object.put("d", Json::Spliced(Splice::Device, "s"));
        let mut writer = Writer::default();
        writer.value(&Json::Embedded(Box::new(Json::Object(object))));
        let (before, after) = (r#""{\"a\\\"\":\"\\\\\",\"d\":\""#, r#"s\"}""#);
        assert_eq!(String::from_utf8(writer.out).unwrap(), format!("{before}{after}"));
        assert_eq!(writer.splices, [(before.len() as u32, Splice::Device)]);
    }

    #[test]
    fn numbers_keep_every_digit() {
        let text = "12345678901234567890123.10";
        let mut writer = Writer::default();
        writer.value(&Json::raw(&JsonText(text.into())).unwrap());
        assert_eq!(writer.out, text.as_bytes());
        assert!(Json::raw(&JsonText("{\"a\":".into())).is_none());
    }
}
