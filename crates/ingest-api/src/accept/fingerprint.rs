//! What an idempotency key must mean: a hash of the validated notification.

use carillon_domain::content::{Content, Open, OpenAs};
use carillon_domain::notification::{Draft, Notification};
use ring::digest::{SHA256, digest};

/// The bytes of a notification's row, and SHA-256 over those it would have if it did not say what goes without saying. Validation puts lists in order, and the
/// bytes keep maps in the order of their keys: equal notifications have equal fingerprints whichever intake they came through.
pub(super) fn body_and_fingerprint(notification: Notification) -> (Vec<u8>, [u8; 32]) {
    let plain = without_defaults(&notification).map(carillon_wire::into_body);
    let body = carillon_wire::into_body(notification);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, plain.as_deref().unwrap_or(&body)).as_ref());
    (body, hash)
}

/// The same notification without what stands for itself when absent; nothing if it says nothing of the kind.
fn without_defaults(notification: &Notification) -> Option<Notification> {
    let said = notification.draft();
    let silent = Content { silent: said.content.silent, ..Content::default() };
    let default = Notification::accepted(Draft { content: silent, ..Draft::default() });
    let options = (said.options.ttl == Some(default.ttl()), said.options.priority == Some(default.priority()));
    let (deliver, kind) = (said.deliver == Some(default.deliver()), said.kind == Some(default.kind()));
    let opens = said.content.buttons.iter().filter_map(|button| button.open.as_ref()).chain(&said.content.open);
    let in_browser = opens.filter(|open| matches!(open, Open::Url { target: Some(OpenAs::Browser), .. })).count() > 0;
    if options == (false, false) && !deliver && !kind && !in_browser {
        return None;
    }
    let mut draft = said.clone();
    draft.deliver.take_if(|_| deliver);
    draft.kind.take_if(|_| kind);
    draft.options.ttl.take_if(|_| options.0);
    draft.options.priority.take_if(|_| options.1);
    let buttons = draft.content.buttons.iter_mut().filter_map(|button| button.open.as_mut());
    for open in buttons.chain(draft.content.open.as_mut()) {
        if let Open::Url { target, .. } = open {
            target.take_if(|target| *target == OpenAs::Browser);
        }
    }
    Some(Notification::accepted(draft))
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::audience::{Audience, Deliver};
    use carillon_domain::cascade::{CascadeLink, Sms, Unless};
    use carillon_domain::content::{Button, Localized};
    use carillon_domain::notification::Priority;
    use carillon_domain::platform::Kind;
    use carillon_domain::span::Seconds;

    fn draft() -> Draft {
        let localized = (0..20).map(|n| Localized {
            locale: format!("l{}", char::from(b'a' + n)),
            title: Some(n.to_string()),
            buttons: vec![("a".into(), "A".into()), ("b".into(), "B".into())],
            ..Default::default()
        });
        Draft {
            app: "shop".into(),
            metadata: (0..16).map(|n| (format!("k{n}"), n.to_string())).collect(),
            to: Audience { all: true, ..Default::default() },
            content: Content {
                title: Some("T".into()),
                buttons: ["a", "b"].map(|id| Button { id: id.into(), title: id.into(), open: None }).into(),
                localized: localized.collect(),
                ..Default::default()
            },
            cascade: vec![CascadeLink {
                unless: Unless::Read,
                within: Seconds(60),
                sms: Sms {
                    localized: vec![("pl".into(), "P".into()), ("de".into(), "D".into())],
                    ..Default::default()
                },
            }],
            ..Default::default()
        }
    }

    fn of(draft: Draft) -> [u8; 32] {
        body_and_fingerprint(draft.validate(jiff::Timestamp::UNIX_EPOCH).unwrap()).1
    }

    #[test]
    fn equal_notifications_have_one_fingerprint_in_whatever_order_they_were_written() {
        let mut other = draft();
        other.metadata.reverse();
        other.content.localized.reverse();
        other.content.localized.iter_mut().for_each(|l| l.buttons.reverse());
        other.cascade[0].sms.localized.reverse();
        for _ in 0..20 {
            assert_eq!(of(draft()), of(other.clone()));
        }
    }

    /// Keys are remembered for a month: a change of this is a change that older processes and rows must not meet (ADR 18).
    #[test]
    fn the_fingerprint_of_a_notification_is_the_same_in_every_version() {
        let hex: String = of(draft()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "98235270030f223c4bdcf038dcf175feb190b8385198662d6024c864aedf2435");
    }

    #[test]
    fn a_default_that_is_said_means_what_the_default_means() {
        let url = |target| Some(Open::Url { url: "https://a.example".into(), target });
        let mut silent = draft();
        silent.content.open = url(None);
        let mut said = silent.clone();
        said.deliver = Some(Deliver::EveryDevice);
        said.kind = Some(Kind::Transactional);
        said.options.ttl = Some(Seconds(28 * 86_400));
        said.options.priority = Some(Priority::High);
        said.content.open = url(Some(OpenAs::Browser));
        assert_eq!(of(silent.clone()), of(said.clone()));
        said.options.priority = Some(Priority::Normal);
        assert_ne!(of(silent), of(said));
    }

    #[test]
    fn the_row_keeps_what_was_said() {
        let mut said = draft();
        said.kind = Some(Kind::Transactional);
        said.content.open = Some(Open::Url { url: "https://a.example".into(), target: Some(OpenAs::Browser) });
        let notification = said.validate(jiff::Timestamp::UNIX_EPOCH).unwrap();
        let (body, _) = body_and_fingerprint(notification.clone());
        assert_eq!(carillon_wire::decode_body(&body).unwrap(), notification);
    }

    #[test]
    fn every_part_that_has_an_order_of_its_own_still_counts() {
        let base = of(draft());
        let changes: [fn(&mut Draft); 6] = [
            |d| d.metadata[0].1 = "x".into(),
            |d| drop(d.metadata.pop()),
            |d| d.content.localized[3].title = None,
            |d| d.content.localized[3].buttons[0].1 = "x".into(),
            |d| d.cascade[0].sms.localized[0].1 = "x".into(),
            |d| d.content.title = Some("U".into()),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut other = draft();
            change(&mut other);
            assert_ne!(of(other), base, "change {n}");
        }
    }
}
