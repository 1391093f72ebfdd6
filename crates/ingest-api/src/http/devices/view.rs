//! A device as callers see it.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use carillon_domain::device::DeviceState;
use carillon_domain::push_token::PushToken;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What may be said about a device. Exactly one of `token`, `fid` and `subscription` when it is registered.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of the body for the OpenAPI document; bodies/device.rs reads it")]
pub(super) struct DeviceRequest {
    /// Whose token: apns, fcm, webpush.
    platform: Option<String>,
    /// ios, android, web, macos, other.
    os: Option<String>,
    /// APNs device token or FCM registration token; needs `platform`.
    token: Option<String>,
    /// Firebase installation id.
    fid: Option<String>,
    subscription: Option<Subscription>,
    /// Apple's: production, sandbox, unknown.
    environment: Option<String>,
    user_id: Option<String>,
    /// E.164.
    phone: Option<String>,
    name: Option<String>,
    /// BCP 47.
    locale: Option<String>,
    /// IANA.
    timezone: Option<String>,
    /// The person's main device in the app: setting it moves it.
    primary: Option<bool>,
    active: Option<bool>,
    /// granted, denied, unknown.
    permission: Option<String>,
    tags: Option<Vec<String>>,
    /// Texts, numbers, booleans; null removes one.
    #[schema(value_type = Option<Object>)]
    attributes: Option<()>,
    app_version: Option<String>,
    os_version: Option<String>,
}

/// A Web Push subscription, as the browser gives it.
#[derive(Serialize, ToSchema)]
pub(super) struct Subscription {
    /// https.
    endpoint: String,
    keys: SubscriptionKeys,
}

/// base64url.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionKeys {
    p256dh: String,
    auth: String,
}

/// A device.
#[derive(Serialize, ToSchema)]
pub(super) struct Device {
    app: String,
    device: String,
    /// apns, fcm, webpush.
    platform: &'static str,
    /// ios, android, web, macos, other.
    os: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Subscription>,
    /// production, sandbox, unknown.
    environment: &'static str,
    user_id: Option<String>,
    phone: Option<String>,
    name: Option<String>,
    locale: Option<String>,
    timezone: Option<String>,
    primary: bool,
    active: bool,
    /// granted, denied, unknown.
    permission: &'static str,
    tags: Vec<String>,
    #[schema(value_type = Object)]
    attributes: Box<RawValue>,
    app_version: Option<String>,
    os_version: Option<String>,
    /// active, inactive, invalid.
    state: &'static str,
    reason: Option<&'static str>,
    registered_at: Timestamp,
    last_seen_at: Timestamp,
    last_sent_at: Option<Timestamp>,
    /// The installation's own key (`cds_`), only when it registered itself just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_secret: Option<String>,
}

impl Device {
    pub(super) fn of(device: carillon_store::Device, app: &str) -> Self {
        let (token, fid, subscription) = split(device.token);
        Self {
            app: app.to_owned(),
            device: device.device,
            platform: device.platform.as_str(),
            os: device.os.as_str(),
            token,
            fid,
            subscription,
            environment: device.environment.as_str(),
            user_id: device.user_id,
            phone: device.phone.map(|phone| phone.as_str().to_owned()),
            name: device.name,
            locale: device.locale,
            timezone: device.timezone,
            primary: device.primary,
            active: device.state == DeviceState::Active,
            permission: device.permission.as_str(),
            tags: device.tags,
            attributes: RawValue::from_string(device.attributes).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            app_version: device.app_version,
            os_version: device.os_version,
            state: device.state.as_str(),
            reason: device.reason.map(|reason| reason.as_str()),
            registered_at: device.registered_at,
            last_seen_at: device.last_seen_at,
            last_sent_at: device.last_sent_at,
            device_secret: None,
        }
    }
}

fn split(token: Option<PushToken>) -> (Option<String>, Option<String>, Option<Subscription>) {
    match token {
        None => (None, None, None),
        Some(PushToken::Apns(text) | PushToken::Fcm(text)) => (Some(text), None, None),
        Some(PushToken::FcmInstallation(text)) => (None, Some(text), None),
        Some(PushToken::Webpush { endpoint, p256dh, auth }) => {
            let keys = SubscriptionKeys {
                p256dh: BASE64_URL_SAFE_NO_PAD.encode(p256dh),
                auth: BASE64_URL_SAFE_NO_PAD.encode(auth),
            };
            (None, None, Some(Subscription { endpoint, keys }))
        }
    }
}
