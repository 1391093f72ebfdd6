//! Log lines: one JSON object each, scrubbed.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::scrub::{is_secret_field, scrub};

/// Longest value of one field, in bytes; the rest of a longer one is cut, so that no line is without bound.
const MAX_VALUE: usize = 4096;

/// Writes an event as `{"timestamp", "level", "service", "target", "trace_id", "span_id", "message", fields...,
/// "spans": [{"name", fields...}]}`, spans from the outermost in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonLines {
    service: &'static str,
}

impl JsonLines {
    pub(crate) const fn new(service: &'static str) -> Self {
        Self { service }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        write!(writer, "\",\"level\":\"{}\",\"service\":\"{}\"", metadata.level(), self.service)?;
        write!(writer, ",\"target\":{}", Value::from(metadata.target()))?;
        write_trace(&mut writer)?;
        let mut fields = String::new();
        SafeFields::Json.write(Writer::new(&mut fields), event)?;
        if !fields.is_empty() {
            write!(writer, ",{fields}")?;
        }
        let spans = cx.event_scope().into_iter().flat_map(|scope| scope.from_root());
        let mut any = false;
        for span in spans {
            writer.write_str(if any { "," } else { ",\"spans\":[" })?;
            any = true;
            write!(writer, "{{\"name\":{}", Value::from(span.name()))?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                write!(writer, ",{fields}")?;
            }
            writer.write_char('}')?;
        }
        if any {
            writer.write_char(']')?;
        }
        writer.write_str("}\n")
    }
}

fn write_trace(writer: &mut Writer<'_>) -> fmt::Result {
    Context::map_current(|context| {
        let span = context.span();
        let position = span.span_context();
        if position.is_valid() {
            write!(writer, ",\"trace_id\":\"{}\",\"span_id\":\"{}\"", position.trace_id(), position.span_id())?;
        }
        Ok(())
    })
}

/// Writes fields with their secrets masked: as members of a JSON object without its braces, or as `name=value`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SafeFields {
    Json,
    Text,
}

impl SafeFields {
    fn write(self, writer: Writer<'_>, fields: impl RecordFields) -> fmt::Result {
        let mut visitor = SafeVisitor { format: self, writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

impl<'writer> FormatFields<'writer> for SafeFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        self.write(writer, fields)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut more = String::new();
        self.write(Writer::new(&mut more), fields)?;
        if !current.fields.is_empty() && !more.is_empty() {
            current.fields.push(match self {
                Self::Json => ',',
                Self::Text => ' ',
            });
        }
        current.fields.push_str(&more);
        Ok(())
    }
}

struct SafeVisitor<'writer> {
    format: SafeFields,
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl SafeVisitor<'_> {
    fn write(&mut self, field: &Field, value: Value) {
        // Words to the exporter of traces: kind, name and status of a span.
        if self.result.is_ok() && !field.name().starts_with("otel.") {
            self.result = self.try_write(field.name(), value);
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        let clean = scrub(text);
        self.write(field, Value::from(&clean[..clean.floor_char_boundary(MAX_VALUE)]));
    }

    fn try_write(&mut self, name: &str, value: Value) -> fmt::Result {
        let value = if is_secret_field(name) { Value::from("***") } else { value };
        let first = std::mem::replace(&mut self.first, false);
        match self.format {
            SafeFields::Json => {
                let comma = if first { "" } else { "," };
                write!(self.writer, "{comma}{}:{value}", Value::from(name))
            }
            SafeFields::Text => {
                let space = if first { "" } else { " " };
                match (name, &value) {
                    ("message", Value::String(text)) => write!(self.writer, "{space}{text}"),
                    (_, value) => write!(self.writer, "{space}{name}={value}"),
                }
            }
        }
    }
}

impl Visit for SafeVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, Value::from(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.write(field, u64::try_from(value).map_or_else(|_| Value::from(value.to_string()), Value::from));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests;
