//! The shape of `SendMessageRequest` by Google's discovery document `fcm.v1` (revision 20261023).

use super::schema::{Field, Kind};

macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($field:literal: $kind:expr,)* }) => {
        $(#[$doc])*
        pub(crate) static $name: &[Field] = &[$(Field { name: $field, kind: $kind },)*];
    };
}

use Kind::{Bool, Duration, Enum, Float, Int32, List, Message, Struct, Text, TextMap, Timestamp};

message! {
    /// The request's body.
    REQUEST {
        "validate_only": Bool,
        "message": Message(MESSAGE),
    }
}

message! { MESSAGE {
    "token": Text,
    "fid": Text,
    "topic": Text,
    "condition": Text,
    "data": TextMap,
    "notification": Message(NOTIFICATION),
    "android": Message(ANDROID),
    "android_v2": Message(ANDROID_V2),
    "webpush": Message(WEBPUSH),
    "apns": Message(APNS),
    "fcm_options": Message(LABELLED),
} }

message! { NOTIFICATION { "title": Text, "body": Text, "image": Text, } }

message! { LABELLED { "analytics_label": Text, } }

message! { ANDROID {
    "collapse_key": Text,
    // The documents show the words in small letters, the enumeration has capitals; both are taken.
    "priority": Enum(&["NORMAL", "HIGH", "normal", "high"]),
    "ttl": Duration,
    "restricted_package_name": Text,
    "data": TextMap,
    "notification": Message(ANDROID_NOTIFICATION),
    "fcm_options": Message(LABELLED),
    "direct_boot_ok": Bool,
    "bandwidth_constrained_ok": Bool,
    "restricted_satellite_ok": Bool,
} }

message! { ANDROID_V2 {
    "collapse_key": Text,
    "ttl": Duration,
    "restricted_package_name": Text,
    "data": TextMap,
    "remote_notification": Message(REMOTE_NOTIFICATION),
    "background_sync": Message(&[]),
    "fcm_options": Message(LABELLED),
    "direct_boot_ok": Bool,
    "bandwidth_constrained_ok": Bool,
    "restricted_satellite_ok": Bool,
} }

message! { REMOTE_NOTIFICATION {
    "notification": Message(ANDROID_NOTIFICATION_V2),
    "mutable_content": Bool,
    "use_as_v1_data_message": Bool,
} }

const PRIORITIES: &[&str] =
    &["PRIORITY_UNSPECIFIED", "PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_MAX"];
const VISIBILITIES: &[&str] = &["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"];
const PROXIES: &[&str] = &["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"];

message! { ANDROID_NOTIFICATION {
    "title": Text,
    "body": Text,
    "icon": Text,
    "color": Text,
    "sound": Text,
    "tag": Text,
    "click_action": Text,
    "body_loc_key": Text,
    "body_loc_args": List(&Text),
    "title_loc_key": Text,
    "title_loc_args": List(&Text),
    "channel_id": Text,
    "ticker": Text,
    "sticky": Bool,
    "event_time": Timestamp,
    "local_only": Bool,
    "notification_priority": Enum(PRIORITIES),
    "default_sound": Bool,
    "default_vibrate_timings": Bool,
    "default_light_settings": Bool,
    "vibrate_timings": List(&Duration),
    "visibility": Enum(VISIBILITIES),
    "notification_count": Int32,
    "light_settings": Message(LIGHTS),
    "image": Text,
    "bypass_proxy_notification": Bool,
    "proxy": Enum(PROXIES),
} }

message! { ANDROID_NOTIFICATION_V2 {
    "id": Int32,
    "title": Text,
    "body": Text,
    "icon": Text,
    "color": Text,
    "sound": Text,
    "tag": Text,
    "click_action": Text,
    "body_loc_key": Text,
    "body_loc_args": List(&Text),
    "title_loc_key": Text,
    "title_loc_args": List(&Text),
    "channel_id": Text,
    "ticker": Text,
    "sticky": Bool,
    "event_time": Timestamp,
    "local_only": Bool,
    "notification_priority": Enum(PRIORITIES),
    "default_sound": Bool,
    "default_vibrate_timings": Bool,
    "default_light_settings": Bool,
    "vibrate_timings": List(&Duration),
    "visibility": Enum(VISIBILITIES),
    "notification_count": Int32,
    "light_settings": Message(LIGHTS),
    "image": Text,
} }

message! { LIGHTS {
    "color": Message(COLOR),
    "light_on_duration": Duration,
    "light_off_duration": Duration,
} }

message! { COLOR { "red": Float, "green": Float, "blue": Float, "alpha": Float, } }

message! { WEBPUSH {
    "headers": TextMap,
    "data": TextMap,
    "notification": Struct,
    "fcm_options": Message(WEBPUSH_OPTIONS),
} }

message! { WEBPUSH_OPTIONS { "link": Text, "analytics_label": Text, } }

message! { APNS {
    "headers": TextMap,
    "payload": Struct,
    "fcm_options": Message(APNS_OPTIONS),
    "live_activity_token": Text,
} }

message! { APNS_OPTIONS { "analytics_label": Text, "image": Text, } }
