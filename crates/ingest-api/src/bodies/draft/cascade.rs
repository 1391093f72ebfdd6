//! A cascade as JSON has it.

use super::{ANY, MANY, fault, one_of};
use crate::json::{Object, escape};
use carillon_domain::cascade::{CascadeLink, Sms, Unless};

pub(super) fn cascade(object: &mut Object<'_>) -> Vec<CascadeLink> {
    let items = object.list("cascade", MANY).unwrap_or_default();
    items.iter().filter_map(|item| link(item.object()?)).collect()
}

fn link(mut link: Object<'_>) -> Option<CascadeLink> {
    let unless =
        link.need("unless", |object, name| object.parsed(name, || one_of(&Unless::texts()), Unless::from_text));
    let within = link.need("within", Object::duration);
    let sms = link.need("then", Object::object).and_then(|mut then| then.need("sms", Object::object).map(sms));
    Some(CascadeLink { unless: unless?, within: within?, sms: sms? })
}

fn sms(mut sms: Object<'_>) -> Sms {
    Sms {
        from: sms.opt_text("from", ANY),
        text: sms.opt_text("text", ANY),
        localized: localized(&mut sms),
        ttl: sms.duration("ttl"),
    }
}

/// Texts by locale: `{"pl": "..."}`.
fn localized(sms: &mut Object<'_>) -> Vec<(String, String)> {
    let Some(map) = sms.map("localized") else { return Vec::new() };
    let mut texts = Vec::with_capacity(map.len());
    for (locale, value) in map.iter() {
        match value.as_str() {
            Some(text) => texts.push((locale.to_owned(), text.to_owned())),
            None => sms.faults(fault(format!("{}/{}", sms.at("localized"), escape(locale)), "must be a text")),
        }
    }
    texts.sort_unstable();
    texts
}
