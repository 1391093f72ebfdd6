//! Cascades: what follows for a person who did not react, decided here and nowhere else.

use crate::content::{Content, Localized, escape_pointer, is_locale, locale_ranges};
use crate::delivery_status::{Evidence, Reason, Status};
use crate::fault::{Faults, check_text};
use crate::ids::is_slug;
use crate::limits;
use crate::platform::closed_list;
use crate::span::Seconds;

closed_list! {
    /// What a person must have shown for the cascade to stay quiet.
    Unless {
        /// A provider accepted a push.
        Sent = 1, "sent";
        /// A device has it.
        Delivered = 2, "delivered";
        /// It was shown.
        Displayed = 3, "displayed";
        /// It was opened, or a button pressed (dismissed is not read).
        Read = 4, "read";
    }
}

impl Unless {
    /// Whether this evidence, from any of the person's devices, keeps the cascade quiet.
    pub fn is_met(self, evidence: Evidence) -> bool {
        match self {
            Unless::Sent => evidence.has(Status::Sent),
            Unless::Delivered => evidence.has(Status::Delivered),
            Unless::Displayed => evidence.has(Status::Displayed),
            Unless::Read => evidence.has(Status::Opened) || evidence.has(Status::Clicked),
        }
    }
}

/// The text message that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sms {
    /// The sender's name; the tenant's default sender when absent.
    pub from: Option<String>,
    /// The text; title and body when absent.
    pub text: Option<String>,
    /// Texts in other languages, by BCP 47 tag.
    pub localized: Vec<(String, String)>,
    /// How long the gateway may try; one day when absent.
    pub ttl: Option<Seconds>,
}

impl Sms {
    /// The text for a recipient, by the lookup that pushes have: the locale, its language, the app's default, the base. Where the link has no text of its own,
    /// title and body, each by the same lookup.
    pub fn text_for(&self, locale: Option<&str>, default_locale: Option<&str>, content: &Content) -> String {
        let tags: Vec<&str> = [locale, default_locale].into_iter().flatten().flat_map(locale_ranges).collect();
        let own = |tag: &&str| self.localized.iter().find(|(l, _)| l.eq_ignore_ascii_case(tag)).map(|(_, text)| text);
        if let Some(text) = tags.iter().find_map(own).or(self.text.as_ref()) {
            return text.clone();
        }
        let entries: Vec<&Localized> = tags.iter().filter_map(|tag| content.in_locale(tag)).collect();
        let title = entries.iter().find_map(|l| l.title.as_deref()).or(content.title.as_deref());
        let body = entries.iter().find_map(|l| l.body.as_deref()).or(content.body.as_deref());
        [title, body].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

/// One link: `{"unless": "read", "within": "30m", "then": {"sms": {..}}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CascadeLink {
    /// What keeps it quiet.
    pub unless: Unless,
    /// How long it waits.
    pub within: Seconds,
    /// What it does.
    pub sms: Sms,
}

/// Characters of a name that phones show: a number of 15 digits at most.
const SENDER_CHARACTERS: usize = 15;

/// What [`is_sms_sender`] asks for, in words.
pub const SMS_SENDER: &str =
    "must match [a-z0-9][a-z0-9_-]{0,62}, or be 1-15 letters, digits, spaces, '.', '-', '_' or '+'";

/// Whether it may name who sends a text message: an id like any other, or a name that phones show.
pub fn is_sms_sender(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'.' | b'-' | b'_' | b'+');
    is_slug(text) || ((1..=SENDER_CHARACTERS).contains(&text.len()) && text.bytes().all(fits))
}

/// Checks a whole cascade. One link is what this version knows; a longer chain is refused rather than cut short.
pub fn check(faults: &mut Faults, links: &[CascadeLink], content: &Content) {
    if links.len() > 1 {
        faults.add("/cascade", "has more than one link; this version follows one");
    }
    for (i, link) in links.iter().enumerate() {
        let at = format!("/cascade/{i}");
        let (least, most) = limits::WITHIN_SECONDS;
        if !(least..=most).contains(&link.within.0) {
            faults.add(format!("{at}/within"), "must be between 1s and 4w");
        }
        check_sms(faults, &format!("{at}/then/sms"), &link.sms, content);
    }
}

fn check_sms(faults: &mut Faults, at: &str, sms: &Sms, content: &Content) {
    if sms.from.as_deref().is_some_and(|from| !is_sms_sender(from)) {
        faults.add(format!("{at}/from"), SMS_SENDER);
    }
    match &sms.text {
        Some(text) if text.is_empty() => faults.add(format!("{at}/text"), "must not be empty"),
        Some(text) => check_text(faults, &format!("{at}/text"), text, limits::LONG_TEXT_BYTES),
        None if content.title.is_none() && content.body.is_none() => {
            faults.add(format!("{at}/text"), "is needed, since the content has neither title nor body");
        }
        None => {}
    }
    for (locale, text) in &sms.localized {
        let at = format!("{at}/localized/{}", escape_pointer(locale));
        if !is_locale(locale) {
            faults.add(&at, "is not a BCP 47 language tag");
        }
        check_text(faults, &at, text, limits::LONG_TEXT_BYTES);
    }
    if sms.ttl.is_some_and(|t| t.0 < 60 || t.0 > 7 * 86_400) {
        faults.add(format!("{at}/ttl"), "must be between 1m and 7d");
    }
}

/// Whether a delivery that ended like this lets its person's cascade go on at once (contract, section 6): a reason of ours or of
/// the provider's does, a wish of the person's or the caller's never does.
pub fn fires_at_once(status: Status, reason: Option<Reason>) -> bool {
    match status {
        Status::Failed | Status::Expired => true,
        Status::Suppressed => matches!(
            reason,
            Some(
                Reason::NoDevice
                    | Reason::Inactive
                    | Reason::TokenInvalid
                    | Reason::TokenMoved
                    | Reason::PermissionDenied
            )
        ),
        _ => false,
    }
}

closed_list! {
    /// Where a person's cascade stands.
    CascadeState {
        /// The time runs.
        Waiting = 1, "waiting";
        /// A worker is sending.
        Claimed = 2, "claimed";
        /// The gateway accepted.
        Sent = 3, "sent";
        /// The person reacted in time, or the caller cancelled.
        Cancelled = 4, "cancelled";
        /// The gateway did not say whether it accepted.
        Unknown = 5, "unknown";
        /// The gateway refused, or there is nobody to text.
        Failed = 6, "failed";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dismissed_push_was_not_read() {
        assert!(!Unless::Read.is_met(Status::Dismissed.implied()));
        assert!(Unless::Displayed.is_met(Status::Dismissed.implied()));
        assert!(Unless::Read.is_met(Status::Clicked.implied()));
    }

    #[test]
    fn a_sender_is_an_id_or_a_name_that_phones_show() {
        for good in ["shop", "SHOP", "Shop 24", "+48501502503", &"a".repeat(63)] {
            assert!(is_sms_sender(good), "{good}");
        }
        for bad in ["", "SHOP!", "Żabka", "A name of 16 chr", &"a".repeat(64), "a\n"] {
            assert!(!is_sms_sender(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_the_person_or_the_caller_wished_never_fires() {
        assert!(fires_at_once(Status::Suppressed, Some(Reason::NoDevice)));
        assert!(fires_at_once(Status::Failed, Some(Reason::ProviderRejected)));
        assert!(!fires_at_once(Status::Suppressed, Some(Reason::PushDisabled)));
        assert!(!fires_at_once(Status::Cancelled, Some(Reason::Cancelled)));
        assert!(!fires_at_once(Status::Sent, None));
    }

    #[test]
    fn the_text_follows_the_locale_then_the_text_then_the_content() {
        let content = Content { title: Some("T".into()), body: Some("B".into()), ..Default::default() };
        let mut sms = Sms { localized: vec![("pl".into(), "Cześć".into())], ..Default::default() };
        assert_eq!(sms.text_for(Some("pl-PL"), None, &content), "Cześć");
        assert_eq!(sms.text_for(Some("de"), None, &content), "T\nB");
        sms.text = Some("Hi".into());
        assert_eq!(sms.text_for(None, None, &content), "Hi");
    }

    #[test]
    fn a_text_message_speaks_the_language_that_the_push_spoke() {
        let entry = |locale: &str, title: Option<&str>, body: Option<&str>| Localized {
            locale: locale.into(),
            title: title.map(Into::into),
            body: body.map(Into::into),
            ..Default::default()
        };
        let localized = vec![
            entry("zh-Hant", Some("標題"), Some("內容")),
            entry("pl", Some("Tytuł"), None),
            entry("de", None, Some("Text")),
        ];
        let content = Content { title: Some("T".into()), body: Some("B".into()), localized, ..Default::default() };
        let mut sms = Sms::default();
        assert_eq!(sms.text_for(Some("zh-Hant-TW"), None, &content), "標題\n內容");
        assert_eq!(sms.text_for(Some("pl-PL"), Some("de"), &content), "Tytuł\nText", "field by field");
        assert_eq!(sms.text_for(None, Some("de"), &content), "T\nText", "the app's own language");
        sms.localized = vec![("de".into(), "Hallo".into())];
        sms.text = Some("Hi".into());
        assert_eq!(sms.text_for(Some("fr"), Some("de-AT"), &content), "Hallo");
        assert_eq!(sms.text_for(Some("fr"), None, &content), "Hi");
    }
}
