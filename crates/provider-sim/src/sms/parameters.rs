//! The parameters of `sms.do`, from a form or JSON, every one of them known.

use serde_json::Value;

use super::text;
use crate::reply::Provider;
use crate::script::canonical;

/// Most parts of one message.
const MOST_PARTS: usize = 10;
/// Most recipients of one request.
const MOST_RECIPIENTS: usize = 10_000;
/// Most characters of `idx`.
const MOST_INDEX: usize = 255;
/// Parameters that are understood but change nothing here.
const IGNORED: [&str; 16] = [
    "partner_id",
    "fast",
    "normalize",
    "param1",
    "param2",
    "param3",
    "param4",
    "time_restriction",
    "details",
    "flash",
    "max_parts",
    "skip_foreign",
    "allow_duplicates",
    "udh",
    "discount_group",
    "template",
];

/// SMSAPI's error number and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) u16, pub(crate) &'static str);

impl Fault {
    pub(crate) const REQUEST: Self = Self(8, "Error in request");
    pub(crate) const MESSAGE: Self =
        Self(11, "The message is too long, empty or holds special characters with nounicode");
    pub(crate) const PARAMETERS: Self = Self(12, "The message has more parts than it may have");
    pub(crate) const NUMBERS: Self = Self(13, "No correct phone numbers");
    pub(crate) const SENDER: Self = Self(14, "Wrong sender name");
    pub(crate) const INDEXES: Self = Self(52, "idx has not as many values as to");
    pub(crate) const INDEX_USED: Self = Self(53, "A message with this idx was sent already");
    pub(crate) const DATE: Self = Self(54, "Wrong date format");
    pub(crate) const AUTHORIZATION: Self = Self(101, "Authorization failed");
    pub(crate) const INTERNAL: Self = Self(201, "Internal system error");
    pub(crate) const UNAVAILABLE: Self = Self(203, "Service temporarily unavailable, try again later");
    pub(crate) const LIMIT: Self = Self(429, "Too many requests");

    /// The fault of this number, with a text of its own if it is not one of those above.
    pub(crate) fn of(number: u16) -> Self {
        let known = [
            Self::REQUEST,
            Self::MESSAGE,
            Self::PARAMETERS,
            Self::NUMBERS,
            Self::SENDER,
            Self::INDEXES,
            Self::INDEX_USED,
            Self::DATE,
            Self::AUTHORIZATION,
            Self::INTERNAL,
            Self::UNAVAILABLE,
            Self::LIMIT,
        ];
        known.into_iter().find(|fault| fault.0 == number).unwrap_or(Self(number, "Scripted refusal"))
    }
}

/// One request to send.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// As submitted.
    pub(crate) to: Vec<String>,
    pub(crate) message: String,
    pub(crate) from: String,
    /// One a recipient, or none.
    pub(crate) indexes: Vec<String>,
    pub(crate) check_index: bool,
    pub(crate) notify_url: Option<String>,
    pub(crate) json: bool,
    pub(crate) test: bool,
    pub(crate) parts: usize,
}

/// Every parameter as text, in the order of the body.
pub(crate) fn list(form: bool, body: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    if form {
        return Ok(form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect());
    }
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return Err(Fault::REQUEST) };
    object
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(number) => Ok((name, number.to_string())),
            Value::Bool(flag) => Ok((name, u8::from(flag).to_string())),
            Value::Array(list) => {
                let texts: Vec<_> = list
                    .iter()
                    .filter_map(|one| {
                        one.as_str().map(str::to_owned).or_else(|| one.as_i64().map(|number| number.to_string()))
                    })
                    .collect();
                if texts.len() == list.len() { Ok((name, texts.join(","))) } else { Err(Fault::REQUEST) }
            }
            _ => Err(Fault::REQUEST),
        })
        .collect()
}

/// The recipients, as far as they can be read from any request, for the ledger.
pub(crate) fn recipients(list: &[(String, String)]) -> Vec<String> {
    let to = list.iter().find(|(name, _)| name == "to").map(|(_, value)| value.as_str()).unwrap_or_default();
    to.split(',').map(str::trim).filter(|number| !number.is_empty()).take(MOST_RECIPIENTS).map(str::to_owned).collect()
}

/// Reads and checks; `now` in seconds since 1970.
pub(crate) fn read(list: &[(String, String)], senders: &[String], now: i64) -> Result<Parameters, Fault> {
    let mut read = Parameters { to: recipients(list), ..Parameters::default() };
    let (mut encoding, mut plain_only, mut single) = (None, false, false);
    for (name, value) in list {
        match name.as_str() {
            "to" => {}
            "message" => read.message.clone_from(value),
            "from" => read.from.clone_from(value),
            "idx" => read.indexes = value.split('|').map(str::to_owned).collect(),
            "check_idx" => read.check_index = flag(value)?,
            "notify_url" => read.notify_url = Some(value.clone()),
            "format" => read.json = value == "json",
            "test" => read.test = flag(value)?,
            "encoding" => encoding = Some(value.as_str()),
            "nounicode" => plain_only = flag(value)?,
            "single" => single = flag(value)?,
            "expiration_date" | "date" => check_date(value, now)?,
            known if IGNORED.contains(&known) => {}
            _ => return Err(Fault::REQUEST),
        }
    }
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
        return Err(Fault::REQUEST);
    }
    if read.to.is_empty() || !read.to.iter().all(|number| is_number(number)) {
        return Err(Fault::NUMBERS);
    }
    check_indexes(&read)?;
    check_sender(&read.from, senders)?;
    read.parts = text::parts(&read.message);
    if read.message.trim().is_empty() || (plain_only && !text::is_plain(&read.message)) {
        return Err(Fault::MESSAGE);
    }
    if read.parts > if single { 1 } else { MOST_PARTS } {
        return Err(if single { Fault::MESSAGE } else { Fault::PARAMETERS });
    }
    let reachable = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    if read.notify_url.as_deref().is_some_and(|url| !reachable(url) || url.parse::<http::Uri>().is_err()) {
        return Err(Fault::REQUEST);
    }
    Ok(read)
}

fn flag(value: &str) -> Result<bool, Fault> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Fault::REQUEST),
    }
}

/// Seconds since 1970 or RFC 3339, not in the past.
fn check_date(value: &str, now: i64) -> Result<(), Fault> {
    let at =
        value.parse::<i64>().ok().or_else(|| value.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second));
    if at.is_some_and(|at| at > now) { Ok(()) } else { Err(Fault::DATE) }
}

fn check_indexes(read: &Parameters) -> Result<(), Fault> {
    if read.indexes.is_empty() {
        return if read.check_index { Err(Fault::INDEXES) } else { Ok(()) };
    }
    let fits = |index: &String| (1..=MOST_INDEX).contains(&index.chars().count());
    if read.indexes.len() != read.to.len() || !read.indexes.iter().all(fits) {
        return Err(Fault::INDEXES);
    }
    Ok(())
}

/// Up to 11 letters, digits and a few marks, or a number; one of the account's own where it has a list.
fn check_sender(from: &str, senders: &[String]) -> Result<(), Fault> {
    let formed = from.len() <= 11 && from.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" .-_&+".contains(&byte));
    let own = from.is_empty() || senders.is_empty() || senders.iter().any(|sender| sender == from);
    if formed && own { Ok(()) } else { Err(Fault::SENDER) }
}

/// 9 digits of the home country or up to 15 in international form.
fn is_number(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or(number);
    (9..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The recipient in the one form of ledger and scripts.
pub(crate) fn token(number: &str) -> String {
    canonical(Provider::Sms, number).into_owned()
}
