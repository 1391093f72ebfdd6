//! The request line and headers of a push ("Sending notification requests to APNs").

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::identities::Key;
use super::reason::Reason;

/// Most bytes of `apns-collapse-id`.
const MOST_COLLAPSE_ID: usize = 64;
/// Longest device token in hexadecimal digits; Apple gives none, ActivityKit's are the longest seen (160).
const MOST_TOKEN: usize = 400;
const HEADERS: [&str; 6] =
    ["apns-id", "apns-topic", "apns-push-type", "apns-priority", "apns-expiration", "apns-collapse-id"];

/// `apns-push-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushType {
    Alert,
    Background,
    Voip,
    Complication,
    FileProvider,
    Mdm,
    Location,
    LiveActivity,
    PushToTalk,
    Controls,
    Widgets,
}

impl PushType {
    fn from_header(text: &str) -> Option<Self> {
        Some(match text {
            "alert" => Self::Alert,
            "background" => Self::Background,
            "voip" => Self::Voip,
            "complication" => Self::Complication,
            "fileprovider" => Self::FileProvider,
            "mdm" => Self::Mdm,
            "location" => Self::Location,
            "liveactivity" => Self::LiveActivity,
            "pushtotalk" => Self::PushToTalk,
            "controls" => Self::Controls,
            "widgets" => Self::Widgets,
            _ => return None,
        })
    }

    /// What follows the bundle id in `apns-topic`.
    pub(crate) fn topic_suffix(self) -> &'static str {
        match self {
            Self::Alert | Self::Background | Self::Mdm => "",
            Self::Voip => ".voip",
            Self::Complication => ".complication",
            Self::FileProvider => ".pushkit.fileprovider",
            Self::Location => ".location-query",
            Self::LiveActivity => ".push-type.liveactivity",
            Self::PushToTalk => ".voip-ptt",
            Self::Controls => ".push-type.controls",
            Self::Widgets => ".push-type.widgets",
        }
    }
}

/// What the headers ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) push_type: PushType,
    /// A Wallet pass: its payload may be an empty object.
    pub(crate) pass: bool,
}

/// The device token of a path `/3/device/<token>`, as it stands there.
pub(crate) fn device_token(path: &str) -> Option<&str> {
    path.strip_prefix("/3/device/").or_else(|| (path == "/3/device").then_some(""))
}

/// The request line, which comes before anything else.
pub(crate) fn check_line(method: &Method, path: &str) -> Result<(), Reason> {
    let token = device_token(path).ok_or(Reason::BadPath)?;
    if method != Method::POST {
        return Err(Reason::MethodNotAllowed);
    }
    if token.is_empty() {
        return Err(Reason::MissingDeviceToken);
    }
    if token.contains('/') {
        return Err(Reason::BadPath);
    }
    Ok(())
}

/// No header of APNs may come twice.
pub(crate) fn check_single(headers: &HeaderMap) -> Result<(), Reason> {
    let twice = |name: &str| headers.get_all(name).iter().nth(1).is_some();
    // A map with one entry a name cannot hold a duplicate, which saves the look at each.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    if HEADERS.into_iter().any(twice) || twice(AUTHORIZATION.as_str()) {
        return Err(Reason::DuplicateHeaders);
    }
    Ok(())
}

/// Everything that the headers can get wrong, the provider token apart.
pub(crate) fn check_headers(headers: &HeaderMap, key: &Key) -> Result<Ask, Reason> {
    if let Some(id) = headers.get("apns-id")
        && !is_canonical_uuid(id)
    {
        return Err(Reason::BadMessageId);
    }
    let topic = match headers.get("apns-topic") {
        Some(topic) => topic.to_str().map_err(|_| Reason::BadTopic)?,
        None => key.only_topic().ok_or(Reason::MissingTopic)?,
    };
    if topic.is_empty() {
        return Err(Reason::MissingTopic);
    }
    if topic.len() > 255 || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return Err(Reason::BadTopic);
    }
    let push_type = headers.get("apns-push-type").and_then(|value| value.to_str().ok());
    let push_type = push_type.and_then(PushType::from_header).ok_or(Reason::InvalidPushType)?;
    check_topic(topic, push_type, &key.bundle_ids)?;
    check_priority(headers.get("apns-priority"), push_type)?;
    if let Some(expiration) = headers.get("apns-expiration")
        && !is_decimal(expiration)
    {
        return Err(Reason::BadExpirationDate);
    }
    if let Some(collapse_id) = headers.get("apns-collapse-id")
        && !(1..=MOST_COLLAPSE_ID).contains(&collapse_id.len())
    {
        return Err(Reason::BadCollapseId);
    }
    Ok(Ask { push_type, pass: topic.starts_with("pass.") })
}

fn check_topic(topic: &str, push_type: PushType, bundle_ids: &[String]) -> Result<(), Reason> {
    let suffix = push_type.topic_suffix();
    let own = |topic: &str| bundle_ids.iter().any(|bundle_id| bundle_id == topic);
    if topic.strip_suffix(suffix).is_some_and(own) {
        return Ok(());
    }
    // One of our apps, but not in the form that this push type wants.
    let ours = bundle_ids.iter().any(|bundle_id| {
        topic.strip_prefix(bundle_id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    Err(if ours { Reason::BadTopic } else { Reason::TopicDisallowed })
}

fn check_priority(priority: Option<&HeaderValue>, push_type: PushType) -> Result<(), Reason> {
    let priority = match priority.map(HeaderValue::as_bytes) {
        None | Some(b"10") => 10,
        Some(b"5") => 5,
        Some(b"1") => 1,
        Some(_) => return Err(Reason::BadPriority),
    };
    if push_type == PushType::Background && priority != 5 {
        return Err(Reason::BadPriority);
    }
    Ok(())
}

/// Whether it is a device token at all.
pub(crate) fn is_hexadecimal(token: &str) -> bool {
    token.len().is_multiple_of(2)
        && (2..=MOST_TOKEN).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_decimal(value: &HeaderValue) -> bool {
    (1..=11).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_canonical_uuid(value: &HeaderValue) -> bool {
    value.len() == 36
        && value.as_bytes().iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
