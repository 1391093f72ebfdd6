//! The same net for traces as for log lines: what leaves the process is scrubbed.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::scrub::{is_secret_field, scrub};

/// Masks secrets in attributes, events and states of spans, then hands them on. Runs on the exporter's thread.
#[derive(Debug)]
pub(super) struct Scrubbed<E>(pub(super) E);

impl<E: SpanExporter> SpanExporter for Scrubbed<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(clean_span);
        self.0.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn clean_span(span: &mut SpanData) {
    clean(&mut span.name);
    span.attributes.iter_mut().for_each(clean_attribute);
    for event in &mut span.events.events {
        clean(&mut event.name);
        event.attributes.iter_mut().for_each(clean_attribute);
    }
    if let Status::Error { description } = &mut span.status {
        clean(description);
    }
}

fn clean_attribute(attribute: &mut KeyValue) {
    if is_secret_field(attribute.key.as_str()) {
        attribute.value = Value::from("***");
    } else if let Value::String(text) = &attribute.value
        && let Cow::Owned(clean) = scrub(text.as_str())
    {
        attribute.value = Value::from(clean);
    }
}

fn clean(text: &mut Cow<'static, str>) {
    let cleaned = match scrub(text) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) => return,
    };
    *text = Cow::Owned(cleaned);
}
