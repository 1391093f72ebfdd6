//! What a script makes a provider answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A provider, as named in scripts, conditions and the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// APNs, both environments.
    Apns,
    /// FCM HTTP v1.
    Fcm,
    /// The OAuth 2 endpoint that hands out FCM's bearer tokens.
    FcmToken,
    /// The Web Push service.
    Webpush,
    /// The SMS gateway.
    Sms,
}

impl Provider {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 5] = [Self::Apns, Self::Fcm, Self::FcmToken, Self::Webpush, Self::Sms];

    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::FcmToken => "fcm_token",
            Self::Webpush => "webpush",
            Self::Sms => "sms",
        }
    }

    /// The provider of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// What happens with the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is sent.
    #[default]
    Answer,
    /// It is sent, and the connection gets GOAWAY (over HTTP/1.1: it is closed afterwards).
    Goaway,
    /// It is not sent: the stream is reset (over HTTP/1.1: the connection is closed).
    Reset,
    /// It is not sent: the connection is cut with no word.
    Drop,
    /// It is never sent; the client has to give up.
    Hang,
}

impl Fate {
    /// Whether the client gets to see the answer.
    pub fn answers(self) -> bool {
        matches!(self, Self::Answer | Self::Goaway)
    }
}

/// How often a reply is used before the next one in the queue has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// So many times, at least 1.
    Count(u32),
    /// Until the script is cleared.
    Always,
}

impl Default for Times {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Always => serializer.serialize_str("always"),
        }
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Count(u32),
            Word(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Count(count) if count > 0 => Ok(Self::Count(count)),
            Form::Word(word) if word == "always" => Ok(Self::Always),
            _ => Err(serde::de::Error::custom("times is a number above 0 or \"always\"")),
        }
    }
}

/// What an operator reports of an SMS, in the words of SMSAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 401.
    NotFound,
    /// 402.
    Expired,
    /// 403: on its way, not a final status.
    Sent,
    /// 404.
    Delivered,
    /// 405.
    Undelivered,
    /// 406.
    Failed,
    /// 407.
    Rejected,
    /// 408.
    Unknown,
}

/// One delivery report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What is reported.
    pub outcome: Outcome,
    /// Milliseconds after the message was accepted, or after the report before.
    #[serde(default)]
    pub after_ms: u64,
}

/// One scripted answer. With neither `status` nor `reason` the provider's own judgement stands, so that a reply can be only
/// a delay or only a cut connection. Fields that a provider has no use for are refused when the script is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reply {
    /// HTTP status; where the reason is one the provider knows, it may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// APNs `reason`, FCM `errorCode`, a word for Web Push, SMSAPI's error number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds since 1970: APNs 410 tells since when the token is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// Seconds in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Milliseconds before the answer, on top of the provider's own delay.
    pub delay_ms: u64,
    /// What happens with the answer.
    pub fate: Fate,
    /// The whole body of the answer instead of the provider's own form (an HTML page, for instance).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// SMS only: the delivery reports that follow an accepted message; an empty list for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<Vec<Report>>,
    /// How often this reply is used.
    pub times: Times,
}

impl Reply {
    /// The provider's own judgement.
    pub fn accept() -> Self {
        Self::default()
    }

    /// A refusal in the provider's word, with the status that goes with it.
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }

    /// A bare HTTP status.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// The provider's word for a device that is gone.
    pub fn unregistered(provider: Provider) -> Self {
        match provider {
            Provider::Apns => Self::refuse("Unregistered"),
            Provider::Fcm | Provider::FcmToken => Self::refuse("UNREGISTERED"),
            Provider::Webpush => Self::status(410),
            Provider::Sms => Self::refuse("13"),
        }
    }

    /// A gateway's delivery reports, in this order.
    pub fn reports(reports: impl IntoIterator<Item = Report>) -> Self {
        Self { reports: Some(reports.into_iter().collect()), ..Self::default() }
    }

    /// The same, later.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The same, with `Retry-After` in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, dead since then (milliseconds since 1970).
    pub fn since(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same, so many times.
    pub fn times(mut self, count: u32) -> Self {
        self.times = Times::Count(count.max(1));
        self
    }

    /// The same until the script is cleared.
    pub fn always(mut self) -> Self {
        self.times = Times::Always;
        self
    }

    /// The same, but with this fate instead of being answered.
    pub fn fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }

    /// Whether the provider's own judgement stands.
    pub(crate) fn leaves_judgement(&self) -> bool {
        self.status.is_none() && self.reason.is_none()
    }
}
