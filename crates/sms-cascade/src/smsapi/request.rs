//! The form of one message.

use bytes::Bytes;
use carillon_domain::phone::Phone;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};

/// One message.
pub(crate) struct Text<'a> {
    /// Where to.
    pub(crate) to: &'a Phone,
    /// What it says.
    pub(crate) message: &'a str,
    /// The sender's name; the account's own when absent.
    pub(crate) from: Option<&'a str>,
    /// Our reference; the gateway refuses to take it twice.
    pub(crate) idx: &'a str,
    /// Where reports go; holds a secret.
    pub(crate) notify_url: Option<&'a str>,
    /// Until when the gateway may try, in seconds since 1970; as long as it likes when absent.
    pub(crate) expires: Option<i64>,
}

/// The request, with the account's token. Nothing if the token cannot stand in a header.
pub(crate) fn request(url: &http::Uri, token: &str, text: &Text<'_>) -> Option<Request<Bytes>> {
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(512));
    form.append_pair("to", text.to.as_str().trim_start_matches('+'))
        .append_pair("message", text.message)
        .append_pair("idx", text.idx)
        .append_pair("check_idx", "1")
        .append_pair("encoding", "utf-8")
        .append_pair("format", "json");
    if let Some(from) = text.from {
        form.append_pair("from", from);
    }
    if let Some(url) = text.notify_url {
        form.append_pair("notify_url", url);
    }
    if let Some(expires) = text.expires {
        form.append_pair("expiration_date", &expires.to_string());
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    bearer.set_sensitive(true);
    Request::post(url.clone())
        .header(AUTHORIZATION, bearer)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(form.finish()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &Text<'_>) -> Vec<(String, String)> {
        let request = request(&"http://sms.example/sms.do".parse().unwrap(), "secret", text).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer secret");
        assert!(!format!("{request:?}").contains("secret"));
        form_urlencoded::parse(request.body()).into_owned().collect()
    }

    #[test]
    fn a_message_is_a_form_whose_reference_is_to_be_checked() {
        let phone = Phone::from_e164("+48501502503");
        let mut text =
            Text { to: &phone, message: "Cześć & +1", from: None, idx: "r", notify_url: None, expires: None };
        let pairs = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Vec<_>>();
        let always = [
            ("to", "48501502503"),
            ("message", "Cześć & +1"),
            ("idx", "r"),
            ("check_idx", "1"),
            ("encoding", "utf-8"),
            ("format", "json"),
        ];
        assert_eq!(fields(&text), pairs(&always));
        (text.from, text.notify_url, text.expires) = (Some("SHOP"), Some("https://x/y"), Some(17));
        let more = [("from", "SHOP"), ("notify_url", "https://x/y"), ("expiration_date", "17")];
        assert_eq!(fields(&text), pairs(&[always.as_slice(), &more].concat()));
    }
}
