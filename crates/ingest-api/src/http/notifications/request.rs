//! The form of a send for the OpenAPI document; `bodies/draft.rs` reads it.
#![expect(dead_code, reason = "types that only describe")]

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use utoipa::ToSchema;

/// A notification to send.
#[derive(ToSchema)]
pub(super) struct NotificationRequest {
    app: String,
    /// The caller's own name for it, at most 128 bytes.
    reference: Option<String>,
    /// At most 16 keys of 512 bytes, echoed in statuses.
    metadata: Option<HashMap<String, String>>,
    to: AudienceRequest,
    /// every_device (default), primary_device, last_active_device.
    deliver: Option<String>,
    /// transactional (default), marketing, service.
    kind: Option<String>,
    content: ContentRequest,
    options: Option<OptionsRequest>,
    schedule: Option<ScheduleRequest>,
    /// At most one link.
    cascade: Option<Vec<CascadeRequest>>,
    /// Check everything, answer 200 and do nothing.
    dry_run: Option<bool>,
}

/// (devices, users, phones, all) AND platforms AND os AND where. At most 2,000 ids; a narrowing alone narrows `all`.
#[derive(ToSchema)]
pub(super) struct AudienceRequest {
    devices: Option<Vec<String>>,
    users: Option<Vec<String>>,
    /// E.164.
    phones: Option<Vec<String>>,
    all: Option<bool>,
    /// apns, fcm, webpush.
    platforms: Option<Vec<String>>,
    /// ios, android, web, macos, other.
    os: Option<Vec<String>>,
    /// What is asked of each device, such as `tags has 'vip' and attributes.age >= 18`. `or`, `and`, `not` and parentheses join terms:
    /// `tags has 'x'`; `field op value` with = != < <= > >= starts_with contains; `field in [..]`; `field exists`. Fields: platform, os, permission,
    /// locale, timezone, user_id, app_version, os_version, registered_at, last_seen_at, last_sent_at, attributes.NAME. Values: 'text' ('' is
    /// a quote in it), numbers, true, false, RFC 3339 times, `now() - 30d`. A comparison with what a device does not have is false. At most 4
    /// KiB and 50 terms.
    r#where: Option<String>,
}

/// What it says: a title or a body, or `silent: true`.
#[derive(ToSchema)]
pub(super) struct ContentRequest {
    title: Option<String>,
    subtitle: Option<String>,
    body: Option<String>,
    /// https.
    image: Option<String>,
    sound: Option<String>,
    badge: Option<u32>,
    thread: Option<String>,
    android_channel: Option<String>,
    /// passive, active, time-sensitive, critical.
    interruption_level: Option<String>,
    open: Option<OpenRequest>,
    buttons: Option<Vec<ButtonRequest>>,
    /// Any JSON values.
    data: Option<HashMap<String, Value>>,
    /// Wakes the app and shows nothing.
    silent: Option<bool>,
    /// By BCP 47 tag.
    localized: Option<HashMap<String, LocalizedRequest>>,
    overrides: Option<OverridesRequest>,
}

/// What a tap opens: exactly one of url and screen.
#[derive(ToSchema)]
pub(super) struct OpenRequest {
    url: Option<String>,
    /// browser (default), webview; only with url.
    r#as: Option<String>,
    screen: Option<String>,
}

/// A button; at most four.
#[derive(ToSchema)]
pub(super) struct ButtonRequest {
    id: String,
    title: String,
    open: Option<OpenRequest>,
}

/// Texts of one language, field by field.
#[derive(ToSchema)]
pub(super) struct LocalizedRequest {
    title: Option<String>,
    subtitle: Option<String>,
    body: Option<String>,
    image: Option<String>,
    /// Captions by button id.
    buttons: Option<HashMap<String, String>>,
}

/// Merged at the end (RFC 7396): apns into the payload's root, fcm into `message`, webpush into the body.
#[derive(ToSchema)]
pub(super) struct OverridesRequest {
    #[schema(value_type = Option<Object>)]
    apns: Option<Value>,
    #[schema(value_type = Option<Object>)]
    fcm: Option<Value>,
    #[schema(value_type = Option<Object>)]
    webpush: Option<Value>,
}

/// How it is delivered.
#[derive(ToSchema)]
pub(super) struct OptionsRequest {
    /// `30m`, `4w`, or whole seconds; at most and by default 28 days.
    ttl: Option<String>,
    /// high, normal.
    priority: Option<String>,
    /// 1-64 visible ASCII characters.
    collapse_key: Option<String>,
}

/// When it is sent.
#[derive(ToSchema)]
pub(super) struct ScheduleRequest {
    at: Timestamp,
}

/// What follows for who did not react.
#[derive(ToSchema)]
pub(super) struct CascadeRequest {
    /// sent, delivered, displayed, read.
    unless: String,
    /// `30m`, or whole seconds.
    within: String,
    then: CascadeStepRequest,
}

/// The next channel.
#[derive(ToSchema)]
pub(super) struct CascadeStepRequest {
    sms: SmsRequest,
}

/// A text message.
#[derive(ToSchema)]
pub(super) struct SmsRequest {
    from: Option<String>,
    /// Title and body without.
    text: Option<String>,
    /// Texts by BCP 47 tag.
    localized: Option<HashMap<String, String>>,
    /// 1m to 7d.
    ttl: Option<String>,
}

/// Up to 1,000 notifications.
#[derive(ToSchema)]
pub(super) struct BatchRequest {
    items: Vec<BatchItemRequest>,
}

/// One of a batch.
#[derive(ToSchema)]
pub(super) struct BatchItemRequest {
    notification: NotificationRequest,
    /// 1-255 printable ASCII characters.
    idempotency_key: Option<String>,
}
