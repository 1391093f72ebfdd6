//! Which texts a device falls to.

use crate::render::Facts;
use carillon_domain::content::{Content, Localized, locale_ranges};
use carillon_domain::notification::Notification;

/// The texts of one variant: each field from the first entry of the lookup that has it.
#[derive(PartialEq, Eq)]
pub(crate) struct Texts<'a> {
    pub(crate) title: Option<&'a str>,
    pub(crate) subtitle: Option<&'a str>,
    pub(crate) body: Option<&'a str>,
    pub(crate) image: Option<&'a str>,
    /// Captions, one per button of the content.
    pub(crate) captions: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    /// The locale, its language, the app's default, the base.
    pub(crate) fn of(content: &'a Content, locale: Option<&str>, default_locale: Option<&str>) -> Self {
        let found: Vec<&Localized> = [locale, default_locale]
            .into_iter()
            .flatten()
            .flat_map(locale_ranges)
            .filter_map(|tag| content.in_locale(tag))
            .collect();
        let field = |of: fn(&Localized) -> &Option<String>, base: &'a Option<String>| {
            found.iter().find_map(|l| of(l).as_deref()).or(base.as_deref())
        };
        let caption = |id: &str| {
            found.iter().find_map(|l| l.buttons.iter().find(|(of, _)| of == id).map(|(_, caption)| caption.as_str()))
        };
        Texts {
            title: field(|l| &l.title, &content.title),
            subtitle: field(|l| &l.subtitle, &content.subtitle),
            body: field(|l| &l.body, &content.body),
            image: field(|l| &l.image, &content.image),
            captions: content.buttons.iter().map(|b| caption(&b.id).unwrap_or(&b.title)).collect(),
        }
    }

    /// Subtitle and body as one text, for platforms that know no subtitle.
    pub(crate) fn body_after_subtitle(&self) -> Option<String> {
        match (self.subtitle, self.body) {
            (Some(subtitle), Some(body)) => Some(format!("{subtitle}\n{body}")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    }
}

/// The variants of a notification: one per differing set of texts, so that devices are grouped in as few as there can be.
/// Made once per run; asking it costs a few comparisons per device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    /// The locale to render each variant with; the first is what a device without a matching locale falls to.
    locales: Vec<Option<String>>,
    /// Tags of the localized entries with the variant of each.
    entries: Vec<(String, usize)>,
}

impl Variants {
    /// The variants of this content for an app with this default locale.
    pub fn of(n: &Notification, facts: &Facts<'_>) -> Self {
        let content = &n.draft().content;
        let texts = |locale| Texts::of(content, locale, facts.default_locale);
        let mut distinct = vec![texts(None)];
        let mut locales = vec![None];
        let mut entries = Vec::with_capacity(content.localized.len());
        for localized in &content.localized {
            let these = texts(Some(localized.locale.as_str()));
            let variant = distinct.iter().position(|known| *known == these).unwrap_or_else(|| {
                distinct.push(these);
                locales.push(Some(localized.locale.clone()));
                distinct.len() - 1
            });
            entries.push((localized.locale.clone(), variant));
        }
        Self { locales, entries }
    }

    /// The variant of a device, as an index into [`Variants::locales`].
    pub fn index(&self, device_locale: Option<&str>) -> usize {
        let find =
            |tag: &str| self.entries.iter().find(|(l, _)| l.eq_ignore_ascii_case(tag)).map(|(_, variant)| *variant);
        device_locale
            .filter(|_| !self.entries.is_empty())
            .and_then(|tag| locale_ranges(tag).find_map(find))
            .unwrap_or(0)
    }

    /// What to pass to [`crate::render`] for each variant. Never empty.
    pub fn locales(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.locales.iter().map(Option::as_deref)
    }

    /// What to pass to [`crate::render`] for a device of this locale.
    pub fn locale(&self, device_locale: Option<&str>) -> Option<&str> {
        self.locales[self.index(device_locale)].as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_shortens_the_tag_and_never_ends_in_a_single_letter() {
        let all = |tag| locale_ranges(tag).collect::<Vec<_>>();
        assert_eq!(all("zh-Hant-CN-x-private1"), ["zh-Hant-CN-x-private1", "zh-Hant-CN", "zh-Hant", "zh"]);
        assert_eq!(all("pl"), ["pl"]);
    }
}
