//! Content as JSON has it.

use super::{ANY, MANY, entry, fault, one_of};
use crate::json::{Fields, Object, escape};
use carillon_domain::content::{Button, Content, InterruptionLevel, JsonText, Localized, Open, OpenAs, Overrides};

pub(super) fn content(mut c: Object<'_>) -> Content {
    Content {
        title: c.opt_text("title", ANY),
        subtitle: c.opt_text("subtitle", ANY),
        body: c.opt_text("body", ANY),
        image: c.opt_text("image", ANY),
        sound: c.opt_text("sound", ANY),
        badge: c.integer("badge", 0..=i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()),
        thread: c.opt_text("thread", ANY),
        android_channel: c.opt_text("android_channel", ANY),
        interruption_level: c.parsed(
            "interruption_level",
            || one_of(&InterruptionLevel::texts()),
            InterruptionLevel::from_text,
        ),
        open: open(&mut c),
        buttons: buttons(&mut c),
        data: data(&mut c),
        silent: c.boolean("silent").unwrap_or(false),
        localized: localized(&mut c),
        overrides: c.object("overrides").map(overrides).unwrap_or_default(),
    }
}

fn open(parent: &mut Object<'_>) -> Option<Open> {
    let at = parent.object("open")?;
    read_open(at)
}

fn read_open(mut open: Object<'_>) -> Option<Open> {
    let url = open.opt_text("url", ANY);
    let target = open.parsed("as", || one_of(&OpenAs::texts()), OpenAs::from_text);
    let screen = open.opt_text("screen", ANY);
    match (url, screen) {
        (Some(url), None) => Some(Open::Url { url, target }),
        (None, Some(screen)) => {
            if open.value("as").is_some() {
                open.fault("as", "belongs to a url, not to a screen");
            }
            Some(Open::Screen(screen))
        }
        (Some(_), Some(_)) => {
            open.fault("screen", "stands beside a url; give one of the two");
            None
        }
        (None, None) => {
            open.fault("url", "or a screen is needed");
            None
        }
    }
}

fn buttons(c: &mut Object<'_>) -> Vec<Button> {
    let items = c.list("buttons", MANY).unwrap_or_default();
    let read = items.iter().filter_map(|item| {
        let mut button = item.object()?;
        Some(Button {
            id: button.text("id", ANY).unwrap_or_default(),
            title: button.text("title", ANY).unwrap_or_default(),
            open: open(&mut button),
        })
    });
    read.collect()
}

fn data(c: &mut Object<'_>) -> Vec<(String, JsonText)> {
    let entries = c.map("data").into_iter().flat_map(Fields::iter);
    entries.map(|(key, value)| (key.to_owned(), JsonText(value.to_text()))).collect()
}

fn localized(c: &mut Object<'_>) -> Vec<Localized> {
    let Some(map) = c.map("localized") else { return Vec::new() };
    let mut all = Vec::with_capacity(map.len());
    for (locale, value) in map.iter() {
        let at = format!("{}/{}", c.at("localized"), escape(locale));
        all.extend(entry(c, &at, value, |l| Localized {
            locale: locale.to_owned(),
            title: l.opt_text("title", ANY),
            subtitle: l.opt_text("subtitle", ANY),
            body: l.opt_text("body", ANY),
            image: l.opt_text("image", ANY),
            buttons: captions(l),
        }));
    }
    all
}

fn captions(l: &mut Object<'_>) -> Vec<(String, String)> {
    let Some(map) = l.map("buttons") else { return Vec::new() };
    let mut captions = Vec::with_capacity(map.len());
    for (id, value) in map.iter() {
        match value.as_str() {
            Some(text) => captions.push((id.to_owned(), text.to_owned())),
            None => l.faults(fault(format!("{}/{}", l.at("buttons"), escape(id)), "must be a text")),
        }
    }
    captions
}

fn overrides(mut o: Object<'_>) -> Overrides {
    let mut of = |name| o.map(name).map(|map| JsonText(map.to_text()));
    Overrides { apns: of("apns"), fcm: of("fcm"), webpush: of("webpush") }
}
