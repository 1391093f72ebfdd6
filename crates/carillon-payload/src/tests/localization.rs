//! Which texts a device falls to.

use super::{body, facts, full, hello, with};
use crate::{Facts, Variants, render};
use carillon_domain::content::{Content, Localized};
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;

fn entry(locale: &str, title: Option<&str>, text: Option<&str>) -> Localized {
    Localized { locale: locale.into(), title: title.map(Into::into), body: text.map(Into::into), ..Default::default() }
}

fn many() -> Notification {
    with(Content {
        title: Some("base".into()),
        body: Some("base body".into()),
        localized: vec![
            entry("de", Some("de"), None),
            entry("en", Some("en"), Some("en body")),
            entry("pl", Some("pl"), Some("pl body")),
            entry("pl-PL", Some("pl-PL"), None),
            entry("zh-Hant", Some("zh-Hant"), None),
        ],
        ..Default::default()
    })
}

fn shown(n: &Notification, locale: Option<&str>, default: Option<&str>) -> String {
    let facts = Facts { default_locale: default, ..facts() };
    let variants = Variants::of(n, &facts);
    let template = render(n, Platform::Apns, variants.locale(locale), &facts).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&template.render(&super::values())).unwrap();
    let alert = &body["aps"]["alert"];
    format!("{} / {}", alert["title"].as_str().unwrap(), alert["body"].as_str().unwrap())
}

#[test]
fn texts_fall_from_the_locale_to_its_language_the_default_and_the_base_field_by_field() {
    let table = [
        (Some("pl-PL"), None, "pl-PL / pl body"),
        (Some("PL-pl"), None, "pl-PL / pl body"),
        (Some("pl-XX"), None, "pl / pl body"),
        (Some("zh-Hant-TW"), None, "zh-Hant / base body"),
        (Some("zh-Hans"), None, "base / base body"),
        (Some("de-AT"), Some("en"), "de / en body"),
        (Some("fr"), Some("en-GB"), "en / en body"),
        (Some("fr"), Some("fr"), "base / base body"),
        (None, Some("pl-PL"), "pl-PL / pl body"),
        (None, None, "base / base body"),
    ];
    for (locale, default, expected) in table {
        assert_eq!(shown(&many(), locale, default), expected, "{locale:?} {default:?}");
    }
}

#[test]
fn captions_fall_back_button_by_button() {
    let pl = body(&full(), Platform::Webpush, Some("pl"));
    assert_eq!(pl["actions"][0]["title"], "Śledź");
    assert_eq!(pl["actions"][1]["title"], "Later");
    assert_eq!(pl["carillon"]["buttons"][0]["title"], "Śledź");
}

#[test]
fn there_are_as_many_variants_as_differing_texts() {
    let of = |localized: Vec<Localized>, default| {
        let n = with(Content { localized, ..hello() });
        Variants::of(&n, &Facts { default_locale: default, ..facts() })
    };
    assert_eq!(of(vec![], None).locales().collect::<Vec<_>>(), [None]);
    let copies = of(vec![entry("es", Some("Hola"), None), entry("es-MX", Some("Hola"), None)], None);
    assert_eq!(copies.locales().collect::<Vec<_>>(), [None, Some("es")]);
    assert_eq!(copies.index(Some("es-MX")), copies.index(Some("es-AR")));
    let same_as_base = of(vec![entry("en", Some("Hello"), None)], None);
    assert_eq!((same_as_base.locales().len(), same_as_base.index(Some("en"))), (1, 0));
    let same_as_default = of(vec![entry("es", Some("Hola"), None)], Some("es"));
    assert_eq!(same_as_default.locales().len(), 1);
    assert_eq!(same_as_default.locale(Some("es")), None);
}

#[test]
fn a_variant_has_the_texts_of_every_device_that_falls_to_it() {
    let n = many();
    for default in [None, Some("en"), Some("pl-PL"), Some("xx")] {
        let facts = Facts { default_locale: default, ..facts() };
        let variants = Variants::of(&n, &facts);
        for device in ["pl-PL", "pl-PL-x-y", "pl", "de", "de-CH", "en", "zh-Hant-HK", "zh", "fr", "a"] {
            let own = render(&n, Platform::Fcm, Some(device), &facts).unwrap();
            let variant = render(&n, Platform::Fcm, variants.locale(Some(device)), &facts).unwrap();
            assert!(own == variant, "{device} {default:?}");
        }
    }
}
