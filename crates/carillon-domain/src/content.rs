//! What a notification says: one neutral model, rendered per platform by the payload crate.

use crate::fault::{Faults, check_text};
use crate::limits;
use crate::platform::closed_list;

/// A JSON value as compact text. Domain words do not serialise; whoever reads JSON makes it, whoever renders parses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(pub String);

closed_list! {
    /// How much a notification may interrupt (Apple's four levels; mapped to Android's and the browser's nearest).
    InterruptionLevel {
        /// Into the list without light or sound.
        Passive = 1, "passive";
        /// As usual.
        Active = 2, "active";
        /// Breaks through focus modes.
        TimeSensitive = 3, "time-sensitive";
        /// Breaks through mute; needs Apple's entitlement.
        Critical = 4, "critical";
    }
}

closed_list! {
    /// Where a URL opens.
    OpenAs {
        /// In the browser.
        Browser = 1, "browser";
        /// In a web view of the app.
        Webview = 2, "webview";
    }
}

/// What a tap opens: a URL, or a screen of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// A web resource or deep link.
    Url {
        /// Any scheme the app handles; `https` for browsers.
        url: String,
        /// In the browser when absent.
        target: Option<OpenAs>,
    },
    /// A screen of the app, by the name the app gave it.
    Screen(String),
}

/// A button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// What receipts name it by; unique in the notification, 1-64 of `A-Za-z0-9._-`.
    pub id: String,
    /// Its caption.
    pub title: String,
    /// What it opens; the app when absent.
    pub open: Option<Open>,
}

/// Texts in another language, field by field; what is absent falls back (contract, section 6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Localized {
    /// BCP 47 tag.
    pub locale: String,
    /// Title.
    pub title: Option<String>,
    /// Subtitle.
    pub subtitle: Option<String>,
    /// Body.
    pub body: Option<String>,
    /// Image URL.
    pub image: Option<String>,
    /// Captions of buttons, by button id.
    pub buttons: Vec<(String, String)>,
}

/// A platform's own fields, merged at the end (RFC 7396): apns into the payload's root, fcm into `message`, webpush into the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// JSON object for APNs.
    pub apns: Option<JsonText>,
    /// JSON object for FCM.
    pub fcm: Option<JsonText>,
    /// JSON object for Web Push.
    pub webpush: Option<JsonText>,
}

/// What a notification says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Title.
    pub title: Option<String>,
    /// Subtitle (shown by Apple; elsewhere ahead of the body).
    pub subtitle: Option<String>,
    /// Body.
    pub body: Option<String>,
    /// URL of an image, https.
    pub image: Option<String>,
    /// Sound name, or `default`.
    pub sound: Option<String>,
    /// Number on the app's icon.
    pub badge: Option<u32>,
    /// Groups notifications in the list.
    pub thread: Option<String>,
    /// Android's notification channel.
    pub android_channel: Option<String>,
    /// How much it may interrupt.
    pub interruption_level: Option<InterruptionLevel>,
    /// What a tap opens; the app when absent.
    pub open: Option<Open>,
    /// Buttons.
    pub buttons: Vec<Button>,
    /// Data for the app, in the order of the keys.
    pub data: Vec<(String, JsonText)>,
    /// Wakes the app and shows nothing.
    pub silent: bool,
    /// Texts in other languages.
    pub localized: Vec<Localized>,
    /// Platforms' own fields.
    pub overrides: Overrides,
}

impl Content {
    /// Whether the person would see something.
    pub fn is_shown(&self) -> bool {
        !self.silent
    }

    /// What differs in a language, by its tag.
    pub fn in_locale(&self, tag: &str) -> Option<&Localized> {
        self.localized.iter().find(|l| l.locale.eq_ignore_ascii_case(tag))
    }

    /// Checks everything that does not depend on a platform. Pointers start with `at` (`/content`).
    pub fn check(&self, faults: &mut Faults, at: &str) {
        self.check_texts(faults, at);
        if self.silent {
            self.check_silent(faults, at);
        } else if self.title.is_none() && self.body.is_none() {
            faults.add(at, "needs a title or a body, or `silent: true`");
        }
        if let Some(open) = &self.open {
            check_open(faults, &format!("{at}/open"), open);
        }
        self.check_buttons(faults, at);
        self.check_data(faults, at);
        self.check_localized(faults, at);
    }

    fn check_texts(&self, faults: &mut Faults, at: &str) {
        let short = [
            ("title", &self.title),
            ("subtitle", &self.subtitle),
            ("sound", &self.sound),
            ("thread", &self.thread),
            ("android_channel", &self.android_channel),
        ];
        for (name, text) in short {
            if let Some(text) = text {
                check_text(faults, &format!("{at}/{name}"), text, limits::SHORT_TEXT_BYTES);
            }
        }
        if let Some(body) = &self.body {
            check_text(faults, &format!("{at}/body"), body, limits::LONG_TEXT_BYTES);
        }
        if let Some(image) = &self.image {
            check_https(faults, &format!("{at}/image"), image);
        }
    }

    fn check_silent(&self, faults: &mut Faults, at: &str) {
        let shown: [(&str, bool); 8] = [
            ("title", self.title.is_some()),
            ("subtitle", self.subtitle.is_some()),
            ("body", self.body.is_some()),
            ("image", self.image.is_some()),
            ("sound", self.sound.is_some()),
            ("interruption_level", self.interruption_level.is_some()),
            ("buttons", !self.buttons.is_empty()),
            ("localized", !self.localized.is_empty()),
        ];
        for (name, _) in shown.into_iter().filter(|(_, set)| *set) {
            faults.add(
                format!("{at}/{name}"),
                "a silent notification shows nothing; leave this out or set `silent` to false",
            );
        }
    }

    fn check_buttons(&self, faults: &mut Faults, at: &str) {
        if self.buttons.len() > limits::BUTTONS {
            faults.add(format!("{at}/buttons"), format!("at most {} buttons", limits::BUTTONS));
        }
        for (i, button) in self.buttons.iter().enumerate() {
            let at = format!("{at}/buttons/{i}");
            let id_ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            if button.id.is_empty() || button.id.len() > 64 || !button.id.bytes().all(id_ok) {
                faults.add(format!("{at}/id"), "must be 1-64 characters of A-Za-z0-9._-");
            }
            if self.buttons[..i].iter().any(|b| b.id == button.id) {
                faults.add(format!("{at}/id"), "another button has this id");
            }
            if button.title.is_empty() {
                faults.add(format!("{at}/title"), "must not be empty");
            }
            check_text(faults, &format!("{at}/title"), &button.title, 256);
            if let Some(open) = &button.open {
                check_open(faults, &format!("{at}/open"), open);
            }
        }
    }

    fn check_data(&self, faults: &mut Faults, at: &str) {
        if self.data.len() > limits::DATA_KEYS {
            faults.add(format!("{at}/data"), format!("at most {} entries", limits::DATA_KEYS));
        }
        for (key, value) in &self.data {
            let at = format!("{at}/data/{}", escape_pointer(key));
            // FCM refuses these names, and `carillon` is ours; one rule for all platforms keeps content portable.
            let reserved = ["from", "message_type", "collapse_key", "carillon", "image"].contains(&key.as_str())
                || key.starts_with("google.")
                || key.starts_with("gcm.");
            if key.is_empty() || key.len() > 256 || key.contains('\0') || reserved {
                faults.add(&at, "is a reserved or unusable name");
            }
            check_text(faults, &at, &value.0, limits::LONG_TEXT_BYTES);
            if value.0.contains("\\u0000") {
                faults.add(&at, "contains U+0000, which cannot be kept");
            }
        }
    }

    fn check_localized(&self, faults: &mut Faults, at: &str) {
        if self.localized.len() > limits::LOCALES {
            faults.add(format!("{at}/localized"), format!("at most {} locales", limits::LOCALES));
        }
        for l in &self.localized {
            let at = format!("{at}/localized/{}", escape_pointer(&l.locale));
            if !is_locale(&l.locale) {
                faults.add(&at, "is not a BCP 47 language tag");
            }
            for (name, text, max) in [
                ("title", &l.title, limits::SHORT_TEXT_BYTES),
                ("subtitle", &l.subtitle, limits::SHORT_TEXT_BYTES),
                ("body", &l.body, limits::LONG_TEXT_BYTES),
            ] {
                if let Some(text) = text {
                    check_text(faults, &format!("{at}/{name}"), text, max);
                }
            }
            if let Some(image) = &l.image {
                check_https(faults, &format!("{at}/image"), image);
            }
            for (id, title) in &l.buttons {
                let at = format!("{at}/buttons/{}", escape_pointer(id));
                if !self.buttons.iter().any(|b| b.id == *id) {
                    faults.add(&at, "no button has this id");
                }
                check_text(faults, &at, title, 256);
            }
        }
    }
}

/// The ranges of a BCP 47 lookup (RFC 4647, section 3.4): the tag, then shorter and shorter, never ending in a single letter.
pub fn locale_ranges(tag: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(tag), |tag| {
        let shorter = &tag[..tag.rfind('-')?];
        match shorter.as_bytes() {
            [head @ .., b'-', _] => Some(&shorter[..head.len()]),
            _ => Some(shorter),
        }
    })
}

/// Whether `text` has the form of a BCP 47 tag: subtags of 1-8 letters and digits, the first of letters, 35 characters at most.
pub fn is_locale(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    text.len() <= 35
        && (2..=8).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn check_open(faults: &mut Faults, at: &str, open: &Open) {
    match open {
        Open::Url { url, .. } => {
            let scheme = url.split_once(':').map_or("", |(s, _)| s);
            let scheme_ok = !scheme.is_empty()
                && scheme.as_bytes()[0].is_ascii_alphabetic()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
            let dangerous = ["javascript", "data", "file", "vbscript"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
            if !scheme_ok
                || dangerous
                || url.len() > limits::URL_BYTES
                || url.chars().any(|c| c.is_control() || c == ' ')
            {
                faults.add(format!("{at}/url"), "must be an absolute URL or deep link of at most 2048 characters");
            }
        }
        Open::Screen(screen) => {
            if screen.is_empty() {
                faults.add(format!("{at}/screen"), "must not be empty");
            }
            check_text(faults, &format!("{at}/screen"), screen, limits::SHORT_TEXT_BYTES);
        }
    }
}

fn check_https(faults: &mut Faults, at: &str, url: &str) {
    if !url.starts_with("https://") || url.len() > limits::URL_BYTES || url.chars().any(|c| c.is_control() || c == ' ')
    {
        faults.add(at, "must be an https URL of at most 2048 characters");
    }
}

/// Escapes a key for a JSON pointer (RFC 6901).
pub fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(content: &Content) -> Vec<String> {
        let mut faults = Faults::new();
        content.check(&mut faults, "/content");
        faults.as_slice().iter().map(|f| f.pointer.clone()).collect()
    }

    #[test]
    fn a_notification_says_something_or_is_silent() {
        assert_eq!(pointers(&Content::default()), ["/content"]);
        assert!(pointers(&Content { silent: true, ..Default::default() }).is_empty());
        let both = Content { silent: true, title: Some("x".into()), sound: Some("s".into()), ..Default::default() };
        assert_eq!(pointers(&both), ["/content/title", "/content/sound"]);
    }

    #[test]
    fn every_fault_is_named_at_its_place() {
        let button = |id: &str| Button { id: id.into(), title: "T".into(), open: Some(Open::Screen(String::new())) };
        let content = Content {
            body: Some("a\0b".into()),
            image: Some("http://x".into()),
            open: Some(Open::Url { url: "javascript:alert(1)".into(), target: None }),
            buttons: vec![button("a"), button("a")],
            data: vec![("from".into(), JsonText("1".into()))],
            localized: vec![Localized {
                locale: "polski_x".into(),
                buttons: vec![("nope".into(), "N".into())],
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(
            pointers(&content),
            [
                "/content/body",
                "/content/image",
                "/content/open/url",
                "/content/buttons/0/open/screen",
                "/content/buttons/1/id",
                "/content/buttons/1/open/screen",
                "/content/data/from",
                "/content/localized/polski_x",
                "/content/localized/polski_x/buttons/nope"
            ]
        );
    }

    #[test]
    fn locales_have_the_form_of_bcp_47() {
        assert!(["pl", "pl-PL", "zh-Hant-TW", "es-419"].iter().all(|l| is_locale(l)));
        assert!(["", "p", "pl_PL", "pl-", "12", "toolonglang"].iter().all(|l| !is_locale(l)));
    }
}
