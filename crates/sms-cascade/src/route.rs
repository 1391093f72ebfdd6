//! Which gateways send for a sender's name: the rule of the domain, for the rows of this service.

use carillon_domain::sms_way::{NoWay, Sender, way};
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
    let senders: Vec<Sender<'a>> =
        routes.senders.iter().map(|sender| Sender { name: &sender.sender, gateways: &sender.gateways }).collect();
    let gateways: Vec<&str> = routes.gateways.iter().map(|gateway| gateway.gateway.as_str()).collect();
    let way = way(from, &senders, &gateways).map_err(|no| match no {
        NoWay::NoGateway => "the tenant has no SMS gateway",
        NoWay::SenderWithoutGateway(_) => "the sender has no gateway",
        NoWay::Several => "the tenant has several SMS gateways and no such sender",
    })?;
    let known = |name: &str| routes.gateways.iter().find(|gateway| gateway.gateway == name);
    Ok(Route { from: from.or(way.sender), gateways: way.gateways.into_iter().filter_map(known).collect() })
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
