//! Every bound of the platform that a caller can meet. One place, so that `GET /v1/account` and the checks agree.

/// Ids over all lists of one `to`; a larger audience is a group.
pub const AUDIENCE_IDS: usize = 2_000;
/// Bytes of a `where`.
pub const CONDITION_BYTES: usize = 4_096;
/// Terms of a `where`.
pub const CONDITION_TERMS: usize = 50;
/// Levels of parentheses and `not` in a `where`.
pub const CONDITION_DEPTH: usize = 32;
/// Ids up to which a listed audience travels in the transactional lane.
pub const TRANSACTIONAL_IDS: usize = 64;
/// Notifications in one `:batch` call.
pub const BATCH: usize = 1_000;
/// Bytes of a request body.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Bytes of a batch or import body.
pub const BATCH_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Nesting depth of a JSON body.
pub const JSON_DEPTH: usize = 32;
/// Keys of `metadata`.
pub const METADATA_KEYS: usize = 16;
/// Bytes of one key or value of `metadata`.
pub const METADATA_BYTES: usize = 512;
/// Default and most of `options.ttl`, in seconds: 28 days, FCM's own bound.
pub const TTL_SECONDS: u32 = 28 * 24 * 3600;
/// What a message with a time to live of nothing gets to reach the provider, in seconds.
pub const NOW_OR_NEVER_SECONDS: u32 = 30;
/// How far `schedule.at` may lie in the past, in seconds: clocks differ and requests travel.
pub const SCHEDULE_PAST_SECONDS: i64 = 300;
/// How far `schedule.at` may lie ahead, in seconds: one year.
pub const SCHEDULE_AHEAD_SECONDS: i64 = 366 * 24 * 3600;
/// Bytes of `reference`.
pub const REFERENCE_BYTES: usize = 128;
/// Bytes of `options.collapse_key`: the bound of `apns-collapse-id`.
pub const COLLAPSE_KEY_BYTES: usize = 64;
/// Bytes of a title, subtitle, sound, thread or channel name.
pub const SHORT_TEXT_BYTES: usize = 1_024;
/// Bytes of a body text, of an SMS text, and of one `data` value.
pub const LONG_TEXT_BYTES: usize = 4_096;
/// Buttons of a notification: what Android, iOS and browsers all show at most is fewer, but four is what iOS keeps.
pub const BUTTONS: usize = 4;
/// Bytes of a URL.
pub const URL_BYTES: usize = 2_048;
/// Locales of `content.localized`.
pub const LOCALES: usize = 50;
/// Entries of `content.data`.
pub const DATA_KEYS: usize = 64;
/// Tags of a device.
pub const TAGS: usize = 100;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 128;
/// Attributes of a device.
pub const ATTRIBUTES: usize = 64;
/// Bytes of a device's name, locale, time zone or version.
pub const DEVICE_TEXT_BYTES: usize = 128;
/// Devices of one person in one app, dead ones not counted. An audience is read and planned by whole persons, so this bounds what one transaction
/// holds however a tenant names its users; it fits the counter of a cascade's open devices (16 bits).
pub const PERSON_DEVICES: usize = 10_000;
/// Recipients of a chunk.
pub const CHUNK_RECIPIENTS: usize = 500;
/// Bytes of a chunk's targets and variants together.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Rendered variants (locales) of a chunk.
pub const CHUNK_VARIANTS: usize = 16;
/// Recipients up to which a chunk is inserted with its first claim granted in advance.
pub const PREGRANTED_RECIPIENTS: usize = 64;
/// Notifications of one wake-up message.
pub const WAKEUP_NOTIFICATIONS: usize = 64;
/// Bytes of one wake-up message.
pub const WAKEUP_BYTES: usize = 128 * 1024;
/// Chunks outstanding per platform and lane; the rest wait as rows.
pub const OUTSTANDING_CHUNKS: usize = 200;
/// Shortest and longest `cascade[].within`, in seconds: one second to 28 days.
pub const WITHIN_SECONDS: (u32, u32) = (1, TTL_SECONDS);
/// Receipts of one call.
pub const RECEIPTS: usize = 1_000;
/// A page of a listing: default and most.
pub const PAGE: (u32, u32) = (50, 500);
/// Bytes of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;
