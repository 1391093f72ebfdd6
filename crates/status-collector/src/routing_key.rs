//! Under which keys status events go out.

use carillon_domain::delivery_status::Status;
use carillon_domain::platform::Platform;
use carillon_store::StatusChange;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Public ids of a run's tenant and app.
pub(crate) type Owners = HashMap<Uuid, (String, String)>;

/// What changes of one key have in common.
type Shape = (Uuid, i16, i16, Option<i16>);

/// Keys of changes, each made once.
pub(crate) struct RoutingKeys {
    owners: Owners,
    made: HashMap<Shape, Option<Arc<str>>>,
}

impl RoutingKeys {
    pub(crate) fn new(owners: Owners) -> Self {
        Self { owners, made: HashMap::new() }
    }

    /// The key of a change: `<tenant>.<app>.<push|sms>.<platform|none>.<status>`. Nothing if its run or its status is not known.
    pub(crate) fn of(&mut self, change: &StatusChange) -> Option<Arc<str>> {
        let shape = (change.run, change.link, change.status, change.platform);
        self.made.entry(shape).or_insert_with(|| key(change, &self.owners)).clone()
    }
}

fn key(change: &StatusChange, owners: &Owners) -> Option<Arc<str>> {
    let (tenant, app) = owners.get(&change.run)?;
    let status = Status::from_number(change.status)?.as_str();
    let platform = change.platform.and_then(Platform::from_number).map_or("none", Platform::as_str);
    Some(format!("{tenant}.{app}.{}.{platform}.{status}", channel(change.link)).into())
}

/// The channel of a link, as `GET .../deliveries` says it: of somebody without a device it is the push that went nowhere.
pub(crate) fn channel(link: i16) -> &'static str {
    if link == 0 { "push" } else { "sms" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_contracts() {
        let owner = ("acme".to_owned(), "shop".to_owned());
        let mut keys = RoutingKeys::new([(Uuid::nil(), owner)].into());
        let platform = Some(Platform::Apns.number());
        let push = StatusChange {
            run: Uuid::nil(),
            subject: 1,
            link: 0,
            status: Status::Opened.number(),
            reason: None,
            platform,
            at_ms: 0,
        };
        let nobody = StatusChange { subject: -1, status: Status::Suppressed.number(), platform: None, ..push.clone() };
        let text =
            StatusChange { subject: -3, link: 1, status: Status::Delivered.number(), platform: None, ..push.clone() };
        let mut of = |change: &StatusChange| keys.of(change).map(|key| key.to_string());
        assert_eq!(of(&push).as_deref(), Some("acme.shop.push.apns.opened"));
        assert_eq!(of(&nobody).as_deref(), Some("acme.shop.push.none.suppressed"));
        assert_eq!(of(&text).as_deref(), Some("acme.shop.sms.none.delivered"));
        assert_eq!(of(&StatusChange { run: Uuid::from_u128(1), ..push.clone() }), None, "a run that is gone");
        assert_eq!(of(&StatusChange { status: 99, ..push }), None);
    }
}
