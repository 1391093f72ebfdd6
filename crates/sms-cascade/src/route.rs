//! Which gateways send for a sender's name.

use carillon_store::{SmsGateway, SmsRoutes};

/// The way of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    /// The sender's name as the gateway gets it; the account's own without.
    pub(crate) from: Option<&'a str>,
    /// The gateways, the first one first. Never empty.
    pub(crate) gateways: Vec<&'a SmsGateway>,
}

/// Finds the way.
///
/// # Errors
/// Why there is none, for the operator.
pub(crate) fn route<'a>(from: Option<&'a str>, routes: &'a SmsRoutes) -> Result<Route<'a>, &'static str> {
    let exact = |name: &str| routes.senders.iter().find(|s| s.sender == name);
    // Senders' ids are in lower case, the names that phones show often are not.
    let like = |name: &str| routes.senders.iter().find(|s| s.sender.eq_ignore_ascii_case(name));
    let sender = match (from, routes.senders.as_slice()) {
        (Some(name), _) => exact(name).or_else(|| like(name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    if let Some(sender) = sender {
        let known = |name: &String| routes.gateways.iter().find(|g| g.gateway == *name);
        let gateways: Vec<_> = sender.gateways.iter().filter_map(known).collect();
        let from = from.or(Some(&sender.sender));
        return if gateways.is_empty() { Err("the sender has no gateway") } else { Ok(Route { from, gateways }) };
    }
    match routes.gateways.as_slice() {
        [only] => Ok(Route { from, gateways: vec![only] }),
        [] => Err("the tenant has no SMS gateway"),
        _ => Err("the tenant has several SMS gateways and no such sender"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::TenantKey;
    use carillon_store::SmsSender;
    use jiff::Timestamp;

    fn routes(gateways: &[&str], senders: &[(&str, &[&str])]) -> SmsRoutes {
        let gateway = |name: &&str| SmsGateway {
            gateway: (*name).into(),
            kind: "smsapi".into(),
            sealed: Vec::new(),
            facts: serde_json::Value::Null,
            callback_secret: String::new(),
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let sender = |(name, gateways): &(&str, &[&str])| SmsSender {
            sender: (*name).into(),
            gateways: gateways.iter().map(|g| (*g).to_owned()).collect(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        SmsRoutes {
            tenant_key: TenantKey(1),
            tenant: "t".into(),
            gateways: gateways.iter().map(gateway).collect(),
            senders: senders.iter().map(sender).collect(),
        }
    }

    fn way(from: Option<&str>, routes: &SmsRoutes) -> Option<(Option<String>, Vec<String>)> {
        let route = route(from, routes).ok()?;
        Some((route.from.map(str::to_owned), route.gateways.iter().map(|g| g.gateway.clone()).collect()))
    }

    #[test]
    fn a_sender_s_gateways_are_tried_in_its_order() {
        let all = routes(&["a", "b"], &[("shop", &["b", "gone", "a"])]);
        assert_eq!(way(Some("SHOP"), &all), Some((Some("SHOP".into()), vec!["b".into(), "a".into()])));
        assert_eq!(way(None, &all), Some((Some("shop".into()), vec!["b".into(), "a".into()])));
        assert_eq!(way(Some("other"), &all), None);
    }

    #[test]
    fn without_such_a_sender_the_only_gateway_sends() {
        let all = routes(&["a"], &[]);
        assert_eq!(way(Some("SHOP"), &all), Some((Some("SHOP".into()), vec!["a".into()])));
        assert_eq!(way(None, &all), Some((None, vec!["a".into()])));
    }

    #[test]
    fn without_a_gateway_nobody_sends() {
        assert_eq!(way(Some("SHOP"), &routes(&[], &[])), None);
        assert_eq!(way(Some("SHOP"), &routes(&["a"], &[("shop", &[])])), None);
        assert_eq!(way(None, &routes(&["a"], &[("x", &["a"]), ("y", &["a"])])), Some((None, vec!["a".into()])));
    }
}
