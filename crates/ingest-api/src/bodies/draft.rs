//! A notification as JSON has it.

mod cascade;
mod content;

use crate::json::{Findings, Json, Object, Unknown};
use crate::refusal::Refusal;
use carillon_domain::audience::{Audience, Deliver};
use carillon_domain::condition::Condition;
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::notification::{Draft, Notification, Options, Priority};
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Kind, Os, Platform};
use jiff::Timestamp;

/// The reader takes any length: the domain's checks know the bounds, and say them once.
const ANY: usize = usize::MAX;
/// Most items of a list: what makes a body of 1 MiB anyway.
const MANY: usize = 1_000_000;

/// A request body: the notification, and whether it is only a trial.
#[derive(Debug)]
pub(crate) struct SendBody {
    pub(crate) notification: Valid,
    /// Say what would happen and do nothing.
    pub(crate) dry_run: bool,
}

/// A notification without a fault that time does not explain.
#[derive(Debug)]
pub(crate) struct Valid {
    pub(crate) notification: Notification,
    /// Its time is past. A repetition of a call that came in time is answered as that one was, any other call with this.
    pub(crate) late: Option<Refusal>,
}

/// Reads the body of `POST /v1/notifications`.
///
/// # Errors
/// Every fault at once: of form, and of what the domain knows.
pub(crate) fn read(body: &[u8], now: Timestamp) -> Result<SendBody, Refusal> {
    read_value(&crate::json::parse(body)?, now)
}

/// As [`read`], for a body that was parsed.
pub(crate) fn read_value(body: &Json<'_>, now: Timestamp) -> Result<SendBody, Refusal> {
    let findings = Findings::new(Unknown::Refuse);
    let read = Object::root(body, &findings).map(|mut object| {
        let dry_run = object.boolean("dry_run").unwrap_or(false);
        (draft(&mut object), dry_run)
    });
    let (faults, _) = findings.into_parts();
    let Some((draft, dry_run)) = read else { return Err(faults.into()) };
    Ok(SendBody { notification: validate(draft, faults, now)?, dry_run })
}

/// Validates a draft whose reading found `faults`. What the domain says about a place where the form is wrong already only
/// follows from that.
pub(crate) fn validate(draft: Draft, faults: Faults, now: Timestamp) -> Result<Valid, Refusal> {
    let in_time = draft.send_at.map(|at| (draft.clone(), at));
    let more = match draft.validate(now) {
        Ok(notification) if faults.is_empty() => return Ok(Valid { notification, late: None }),
        Ok(_) => return Err(faults.into()),
        Err(more) => more,
    };
    if let Some((draft, at)) = in_time
        && faults.is_empty()
        && more.code() == ErrorCode::ScheduleInPast
        && let Ok(notification) = draft.validate(at)
    {
        return Ok(Valid { notification, late: Some(more.into()) });
    }
    let mut all = faults.clone();
    for fault in more.as_slice() {
        if !faults.as_slice().iter().any(|known| touches(&known.pointer, &fault.pointer)) {
            all.add_code(fault.code, fault.pointer.clone(), fault.detail.clone());
        }
    }
    Err(all.into())
}

/// Whether one place lies in the other.
fn touches(one: &str, other: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(one, other) || inside(other, one)
}

/// Reads an object into a draft; fields that cannot be read are left at their defaults, with a fault.
fn draft(object: &mut Object<'_>) -> Draft {
    Draft {
        app: object.text("app", ANY).unwrap_or_default(),
        reference: object.opt_text("reference", ANY),
        metadata: metadata(object),
        to: object.need("to", Object::object).map(audience).unwrap_or_default(),
        deliver: object.parsed("deliver", || one_of(&Deliver::texts()), Deliver::from_text),
        kind: object.parsed("kind", || one_of(&Kind::texts()), Kind::from_text),
        content: object.need("content", Object::object).map(content::content).unwrap_or_default(),
        options: object.object("options").map(options).unwrap_or_default(),
        send_at: object.object("schedule").and_then(|mut schedule| schedule.need("at", Object::time)),
        cascade: cascade::cascade(object),
    }
}

/// `must be one of a, b, c`.
pub(crate) fn one_of(texts: &str) -> String {
    format!("must be one of {texts}")
}

fn metadata(object: &mut Object<'_>) -> Vec<(String, String)> {
    let Some(map) = object.map("metadata") else { return Vec::new() };
    let mut pairs = Vec::with_capacity(map.len());
    for (key, value) in map.iter() {
        match value.as_str() {
            Some(text) => pairs.push((key.to_owned(), text.to_owned())),
            None => object
                .faults(fault(format!("{}/{}", object.at("metadata"), crate::json::escape(key)), "must be a text")),
        }
    }
    pairs
}

/// One fault, as [`Object::faults`] takes them.
fn fault(pointer: String, detail: &str) -> Faults {
    let mut faults = Faults::new();
    faults.add(pointer, detail);
    faults
}

fn audience(mut to: Object<'_>) -> Audience {
    Audience {
        devices: to.names("devices", MANY, ANY).unwrap_or_default(),
        users: to.names("users", MANY, ANY).unwrap_or_default(),
        phones: phones(&mut to),
        all: to.boolean("all").unwrap_or(false),
        platforms: several(&mut to, "platforms", Platform::from_text, Platform::texts),
        os: several(&mut to, "os", Os::from_text, Os::texts),
        condition: condition(&mut to),
    }
}

fn condition(to: &mut Object<'_>) -> Option<Condition> {
    let text = to.opt_text("where", ANY)?;
    let mut faults = Faults::new();
    let condition = Condition::read(&text, &mut faults, &to.at("where"));
    to.faults(faults);
    condition
}

fn phones(to: &mut Object<'_>) -> Vec<Phone> {
    let must = "must be a phone number in E.164, such as +48501502503";
    let items = to.list("phones", MANY).unwrap_or_default();
    let read = items.iter().filter_map(|item| {
        let phone = item.value().as_str().and_then(Phone::parse);
        if phone.is_none() {
            item.fault(must);
        }
        phone
    });
    read.collect()
}

fn several<T>(
    object: &mut Object<'_>,
    name: &'static str,
    read: fn(&str) -> Option<T>,
    texts: fn() -> String,
) -> Vec<T> {
    let items = object.list(name, MANY).unwrap_or_default();
    let read = items.iter().filter_map(|item| {
        let value = item.value().as_str().and_then(read);
        if value.is_none() {
            item.fault(one_of(&texts()));
        }
        value
    });
    read.collect()
}

fn options(mut options: Object<'_>) -> Options {
    Options {
        ttl: options.duration("ttl"),
        priority: options.parsed("priority", || one_of(&Priority::texts()), Priority::from_text),
        collapse_key: options.opt_text("collapse_key", ANY),
    }
}

/// Reads an object that stands under one of the caller's own keys: its faults get the pointer `at`.
fn entry<T>(object: &Object<'_>, at: &str, value: &Json<'_>, read: impl FnOnce(&mut Object<'_>) -> T) -> Option<T> {
    let findings = Findings::new(Unknown::Refuse);
    let read = Object::root(value, &findings).map(|mut inner| read(&mut inner));
    let (inner, _) = findings.into_parts();
    let mut faults = Faults::new();
    for fault in inner.as_slice() {
        faults.add_code(fault.code, format!("{at}{}", fault.pointer), fault.detail.clone());
    }
    object.faults(faults);
    read
}

#[cfg(test)]
mod tests;
