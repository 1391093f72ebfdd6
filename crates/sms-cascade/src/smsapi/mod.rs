//! SMSAPI: `POST /sms.do`, and what its answers mean.

mod answer;
mod request;

pub(crate) use request::{Text, request};

use carillon_domain::delivery_status::Reason;
use carillon_egress::{NotSent, RequestError, Response};
use std::time::Duration;

/// The gateway's server where the settings name no other.
pub(crate) const SERVER: &str = "https://api.smsapi.com";

/// What a gateway made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It took it.
    Accepted {
        /// Its id of the message.
        provider_id: Option<String>,
        /// Parts it bills, where it says so.
        parts: Option<i16>,
    },
    /// It took it before, under the same reference.
    Repeated,
    /// It refused it for good.
    Refused {
        /// Why.
        reason: Reason,
        /// Because of our account there: another gateway may take it.
        elsewhere: bool,
    },
    /// It surely did not take it, and may later.
    Unavailable {
        /// When it asks to be asked again.
        after: Option<Duration>,
    },
    /// Nobody knows.
    Doubtful,
}

/// The verdict on an account whose token cannot even be sent.
pub(crate) fn unusable_account() -> Verdict {
    Verdict::Refused { reason: Reason::Credential, elsewhere: true }
}

/// Reads an exchange.
pub(crate) fn verdict(exchange: Result<Response, RequestError>) -> Verdict {
    match exchange {
        Ok(response) => answer::verdict(response.status, &response.headers, &response.body),
        Err(RequestError::NotSent(NotSent::Invalid)) => {
            Verdict::Refused { reason: Reason::ProviderRejected, elsewhere: true }
        }
        Err(error) if error.is_surely_unsent() => Verdict::Unavailable { after: None },
        Err(_) => Verdict::Doubtful,
    }
}
