//! Cascades: what follows for a person who did not react, decided here and nowhere else.

use crate::content::{Content, escape_pointer, is_locale};
use crate::delivery_status::{Evidence, Reason, Status};
use crate::fault::{Faults, check_text};
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
    /// The text for a recipient: by lookup of the locale and its language, then the text, then title and body.
    pub fn text_for(&self, locale: Option<&str>, content: &Content) -> String {
        let language = locale.and_then(|l| l.split('-').next());
        let localized = [locale, language]
            .into_iter()
            .flatten()
            .find_map(|want| self.localized.iter().find(|(l, _)| l.eq_ignore_ascii_case(want)).map(|(_, t)| t));
        if let Some(text) = localized.or(self.text.as_ref()) {
            return text.clone();
        }
        [content.title.as_deref(), content.body.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("\n")
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
    if let Some(from) = &sms.from {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_' | '+');
        if from.is_empty() || from.len() > 15 || !from.chars().all(fits) {
            faults.add(format!("{at}/from"), "must be a sender of 1-15 letters, digits, spaces, '.', '-', '_' or '+'");
        }
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
        assert_eq!(sms.text_for(Some("pl-PL"), &content), "Cześć");
        assert_eq!(sms.text_for(Some("de"), &content), "T\nB");
        sms.text = Some("Hi".into());
        assert_eq!(sms.text_for(None, &content), "Hi");
    }
}
