//! A condition as the database is asked it: of devices, under the name `d`.
//!
//! Each term is true or false and never null, so that `not` of what a device does not have is true. None of them can fail, whatever devices brought
//! along.

use carillon_domain::condition::{Comparison, Condition, Expression, Field, KnownField, Term, Value};
use carillon_domain::device::Permission;
use carillon_domain::platform::{Os, Platform};
use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};

/// A parameter with its type, so that its statement needs no preparation.
pub(super) type Parameter = (Box<dyn ToSql + Sync + Send>, Type);

/// Writes conditions, and collects what they compare with behind the parameters that are there already.
pub(super) struct Asked {
    pub(super) parameters: Vec<Parameter>,
    now: Timestamp,
}

impl Asked {
    /// `now` is what `now()` means.
    pub(super) fn after(parameters: Vec<Parameter>, now: Timestamp) -> Self {
        Self { parameters, now }
    }

    /// What is true of the devices that are meant.
    pub(super) fn condition(&mut self, condition: &Condition) -> String {
        self.expression(condition.root())
    }

    fn expression(&mut self, expression: &Expression) -> String {
        match expression {
            Expression::Any(all) => self.joined(all, " OR "),
            Expression::All(all) => self.joined(all, " AND "),
            Expression::Not(one) => format!("NOT {}", self.expression(one)),
            Expression::Term(Term::HasTag(tag)) => self.has_tag(tag),
            Expression::Term(Term::Exists(Field::Known(known))) => format!("({} IS NOT NULL)", column(*known)),
            Expression::Term(Term::Exists(Field::Attribute(name))) => format!("(d.attributes ? {})", self.text(name)),
            Expression::Term(Term::Compare(field, comparison, value)) => self.compare(field, *comparison, value),
            Expression::Term(Term::In(field, values)) => self.one_of(field, values),
        }
    }

    /// The tag's hash is made once and not for each device. Another tag has the same 64 bits once in some 10^18 times.
    fn has_tag(&mut self, tag: &str) -> String {
        format!("(position((SELECT carillon_tag_hash({})) IN d.tag_hashes) > 0)", self.text(tag))
    }

    fn joined(&mut self, all: &[Expression], by: &str) -> String {
        let all: Vec<String> = all.iter().map(|one| self.expression(one)).collect();
        format!("({})", all.join(by))
    }

    fn compare(&mut self, field: &Field, comparison: Comparison, value: &Value) -> String {
        match field {
            Field::Known(known) if closed(*known).is_some() => {
                let within = self.one_of(field, std::slice::from_ref(value));
                if comparison == Comparison::NotEqual { format!("NOT {within}") } else { within }
            }
            Field::Known(known) if known.is_version() && is_order(comparison) => {
                self.compare_versions(*known, comparison, value)
            }
            Field::Known(known) => {
                let value = self.value(value);
                compared(column(*known), comparison, &value)
            }
            Field::Attribute(name) => self.compare_attribute(name, comparison, value),
        }
    }

    /// Both sides as what versions are ordered by; the value's once and not for each device.
    fn compare_versions(&mut self, known: KnownField, comparison: Comparison, value: &Value) -> String {
        let (column, value) = (column(known), self.value(value));
        let side = |of: &str| format!("carillon_version_numbers({of}), carillon_version_suffix({of})");
        format!("coalesce(({}) {} (SELECT {}), false)", side(column), comparison.as_str(), side(&value))
    }

    /// An attribute that is of the value's kind.
    fn compare_attribute(&mut self, name: &str, comparison: Comparison, value: &Value) -> String {
        let (name, compared_with) = (self.text(name), self.value(value));
        let (kind, attribute) = match value {
            Value::Text(_) => ("string", format!("(d.attributes ->> {name}) COLLATE \"C\"")),
            Value::Number(_) => ("number", format!("(d.attributes -> {name})::numeric")),
            Value::Boolean(_) => ("boolean", format!("(d.attributes -> {name})::boolean")),
            Value::Time(_) | Value::FromNow(_) => ("string", format!("carillon_time(d.attributes ->> {name})")),
        };
        // A case, since nothing else says that the kind is looked at before the value is read.
        let compared = compared(&attribute, comparison, &compared_with);
        format!("CASE WHEN jsonb_typeof(d.attributes -> {name}) = '{kind}' THEN {compared} ELSE false END")
    }

    /// Equal to one of them. Texts, of which there may be hundreds, are one list.
    fn one_of(&mut self, field: &Field, values: &[Value]) -> String {
        let is_version = matches!(field, Field::Known(known) if known.is_version());
        let (texts, others): (Vec<&Value>, Vec<&Value>) =
            values.iter().partition(|value| !is_version && matches!(value, Value::Text(_)));
        let mut all: Vec<String> =
            others.into_iter().map(|value| self.compare(field, Comparison::Equal, value)).collect();
        let texts: Vec<String> = texts
            .into_iter()
            .filter_map(|value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
            .collect();
        if !texts.is_empty() {
            all.push(self.one_of_texts(field, texts));
        }
        format!("({})", all.join(" OR "))
    }

    fn one_of_texts(&mut self, field: &Field, texts: Vec<String>) -> String {
        match field {
            Field::Known(known) => {
                let numbers =
                    closed(*known).map(|number| texts.iter().filter_map(|text| number(text)).collect::<Vec<i16>>());
                let list = match numbers {
                    Some(numbers) => self.parameter(numbers, Type::INT2_ARRAY),
                    None => self.parameter(texts, Type::TEXT_ARRAY),
                };
                format!("coalesce({} = ANY({list}), false)", column(*known))
            }
            Field::Attribute(name) => {
                let (name, list) = (self.text(name), self.parameter(texts, Type::TEXT_ARRAY));
                format!(
                    "(jsonb_typeof(d.attributes -> {name}) = 'string' AND d.attributes ->> {name} = ANY({list})) IS TRUE"
                )
            }
        }
    }

    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Text(text) => self.text(text),
            // As it was written, so that nothing of it is lost.
            Value::Number(digits) => format!("{}::numeric", self.text(digits)),
            Value::Boolean(truth) => self.parameter(*truth, Type::BOOL),
            Value::Time(time) => self.parameter(*time, Type::TIMESTAMPTZ),
            Value::FromNow(span) => {
                self.parameter(self.now.saturating_add(*span).unwrap_or(self.now), Type::TIMESTAMPTZ)
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        self.parameter(text.to_owned(), Type::TEXT)
    }

    fn parameter(&mut self, value: impl ToSql + Sync + Send + 'static, kind: Type) -> String {
        self.parameters.push((Box::new(value), kind));
        format!("${}", self.parameters.len())
    }
}

fn compared(one: &str, comparison: Comparison, other: &str) -> String {
    match comparison {
        Comparison::StartsWith => format!("coalesce(starts_with({one}, {other}), false)"),
        Comparison::Contains => format!("coalesce(strpos({one}, {other}) > 0, false)"),
        _ => format!("coalesce({one} {} {other}, false)", comparison.as_str()),
    }
}

/// Whether it asks which of two is the greater, or whether they are the same.
fn is_order(comparison: Comparison) -> bool {
    !matches!(comparison, Comparison::StartsWith | Comparison::Contains)
}

/// Texts are ordered by their bytes, which is by their code points.
fn column(known: KnownField) -> &'static str {
    match known {
        KnownField::Platform => "d.platform",
        KnownField::Os => "d.os",
        KnownField::Permission => "d.permission",
        KnownField::Locale => "d.locale COLLATE \"C\"",
        KnownField::Timezone => "d.timezone COLLATE \"C\"",
        KnownField::UserId => "d.user_id COLLATE \"C\"",
        KnownField::AppVersion => "d.app_version COLLATE \"C\"",
        KnownField::OsVersion => "d.os_version COLLATE \"C\"",
        KnownField::RegisteredAt => "d.registered_at",
        KnownField::LastSeenAt => "d.last_seen_at",
        KnownField::LastSentAt => "greatest(d.last_sent_at, carillon_last_sent(d.device_key))",
    }
}

/// The numbers that tables keep instead of texts.
fn closed(known: KnownField) -> Option<fn(&str) -> Option<i16>> {
    match known {
        KnownField::Platform => Some(|text| Platform::from_text(text).map(Platform::number)),
        KnownField::Os => Some(|text| Os::from_text(text).map(Os::number)),
        KnownField::Permission => Some(|text| Permission::from_text(text).map(Permission::number)),
        _ => None,
    }
}
