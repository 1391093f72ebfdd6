//! What an idempotency key must mean: a hash of the validated notification.

use carillon_domain::content::{Localized, Open, OpenAs};
use carillon_domain::notification::Notification;
use ring::digest::{Context, SHA256};

/// SHA-256 over the notification's row bytes. Maps have no order in protobuf, so they are taken out and hashed in the order of
/// their keys; equal notifications have equal fingerprints whichever intake they came through.
pub(super) fn fingerprint(notification: &Notification) -> [u8; 32] {
    let mut draft = notification.draft().clone();
    // What stands for itself when absent means the same when said.
    draft.deliver = Some(notification.deliver());
    draft.kind = Some(notification.kind());
    draft.options.ttl = Some(notification.ttl());
    draft.options.priority = Some(notification.priority());
    let buttons = draft.content.buttons.iter_mut().filter_map(|button| button.open.as_mut());
    for open in buttons.chain(draft.content.open.as_mut()) {
        if let Open::Url { target, .. } = open {
            target.get_or_insert(OpenAs::Browser);
        }
    }
    let metadata = std::mem::take(&mut draft.metadata);
    let localized = std::mem::take(&mut draft.content.localized);
    let texts: Vec<_> = draft.cascade.iter_mut().map(|link| std::mem::take(&mut link.sms.localized)).collect();
    let mut hash = Hash(Context::new(&SHA256));
    hash.bytes(&carillon_wire::encode_body(&Notification::accepted(draft)));
    hash.pairs(&metadata);
    hash.count(localized.len());
    for one in &localized {
        hash.localized(one);
    }
    for link in texts {
        let mut link = link;
        link.sort_unstable();
        hash.pairs(&link);
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.0.finish().as_ref());
    out
}

/// Everything with its length, so that two different notifications cannot run together into the same bytes.
struct Hash(Context);

impl Hash {
    fn count(&mut self, n: usize) {
        self.0.update(&(n as u64).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        self.count(pairs.len());
        for (key, value) in pairs {
            self.bytes(key.as_bytes());
            self.bytes(value.as_bytes());
        }
    }

    fn localized(&mut self, one: &Localized) {
        self.bytes(one.locale.as_bytes());
        for text in [&one.title, &one.subtitle, &one.body, &one.image] {
            self.count(usize::from(text.is_some()));
            self.bytes(text.as_deref().unwrap_or_default().as_bytes());
        }
        let mut buttons = one.buttons.clone();
        buttons.sort_unstable();
        self.pairs(&buttons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::audience::{Audience, Deliver};
    use carillon_domain::cascade::{CascadeLink, Sms, Unless};
    use carillon_domain::content::{Button, Content};
    use carillon_domain::notification::{Draft, Priority};
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
        fingerprint(&draft.validate(jiff::Timestamp::UNIX_EPOCH).unwrap())
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
    fn every_part_that_was_taken_out_still_counts() {
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
