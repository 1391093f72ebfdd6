//! APNs' words for a refusal and the statuses that go with them ("Handling notification responses from APNs").

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use crate::exchange::Answer;
use crate::reply::Reply;

macro_rules! reasons {
    ($($name:ident $status:literal,)*) => {
        /// Why APNs refuses.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason { $($name,)* }

        impl Reason {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn status(self) -> StatusCode {
                let code: u16 = match self { $(Self::$name => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            fn body(self) -> &'static str {
                match self { $(Self::$name => concat!("{\"reason\":\"", stringify!($name), "\"}"),)* }
            }

            pub(crate) fn from_word(word: &str) -> Option<Self> {
                match word { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    BadCollapseId 400,
    BadDeviceToken 400,
    BadExpirationDate 400,
    BadMessageId 400,
    BadPriority 400,
    BadTopic 400,
    DeviceTokenNotForTopic 400,
    DuplicateHeaders 400,
    IdleTimeout 400,
    InvalidPushType 400,
    MissingDeviceToken 400,
    MissingTopic 400,
    PayloadEmpty 400,
    TopicDisallowed 400,
    BadCertificate 403,
    BadCertificateEnvironment 403,
    BadEnvironmentKeyIdInToken 403,
    ExpiredProviderToken 403,
    Forbidden 403,
    InvalidProviderToken 403,
    MissingProviderToken 403,
    UnrelatedKeyIdInToken 403,
    BadPath 404,
    MethodNotAllowed 405,
    ExpiredToken 410,
    Unregistered 410,
    PayloadTooLarge 413,
    TooManyProviderTokenUpdates 429,
    TooManyRequests 429,
    InternalServerError 500,
    ServiceUnavailable 503,
    Shutdown 503,
}

impl Reason {
    /// The refusal as APNs sends it.
    pub(crate) fn answer(self) -> Answer {
        Answer::refused(self.status(), self.word(), Bytes::from_static(self.body().as_bytes()))
    }
}

/// A scripted answer in APNs' form; a status alone gets the word that usually goes with it.
pub(crate) fn encode(reply: &Reply, now_ms: i64) -> Answer {
    let known = reply.reason.as_deref().and_then(Reason::from_word);
    let status = reply.status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.or_else(|| known.map(Reason::status)).unwrap_or(StatusCode::BAD_REQUEST);
    if status.is_success() {
        return Answer::accepted(status);
    }
    let word: Cow<'static, str> = match &reply.reason {
        Some(word) => Cow::Owned(word.clone()),
        None => Cow::Borrowed(usual(status)),
    };
    let body = match &reply.body {
        Some(body) => body.clone(),
        // Only a dead token is told since when.
        None if status == StatusCode::GONE => {
            format!("{{\"reason\":\"{word}\",\"timestamp\":{}}}", reply.timestamp.unwrap_or(now_ms))
        }
        None => format!("{{\"reason\":\"{word}\"}}"),
    };
    Answer::refused(status, word, body).retry_after(reply.retry_after)
}

fn usual(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "BadDeviceToken",
        403 => "InvalidProviderToken",
        404 => "BadPath",
        405 => "MethodNotAllowed",
        410 => "Unregistered",
        413 => "PayloadTooLarge",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalServerError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_again_and_has_its_body() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.word()), Some(*reason));
            assert_eq!(reason.body(), format!("{{\"reason\":\"{}\"}}", reason.word()));
        }
    }

    #[test]
    fn only_a_dead_token_has_a_timestamp() {
        let gone = encode(&Reply::refuse("Unregistered").since(17), 99);
        assert_eq!(
            (gone.status.as_u16(), gone.body.as_ref()),
            (410, &b"{\"reason\":\"Unregistered\",\"timestamp\":17}"[..])
        );
        let throttled = encode(&Reply::status(429).retry_after(3), 99);
        assert_eq!(throttled.body.as_ref(), b"{\"reason\":\"TooManyRequests\"}");
        assert_eq!(throttled.headers.len(), 1);
    }
}
