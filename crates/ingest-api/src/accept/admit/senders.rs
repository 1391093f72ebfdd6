//! Whether somebody would send a cascade's text messages: found out here, where the caller can mend it, and not when the first one is due.

use crate::permits::SmsWays;
use carillon_domain::cascade::CascadeLink;
use carillon_domain::fault::Faults;
use carillon_domain::sms_way::{NoWay, Sender, Way, way};

/// Senders that an error names.
const NAMED: usize = 10;

/// Refuses links whose sender is unknown or has no gateway. What sms-cascade makes of it later is never stricter: it asks the same rule, and sends
/// through the only gateway for a sender that is gone by then.
///
/// # Errors
/// Every such link, with the pointer of its sender.
pub(super) fn check(links: &[CascadeLink], ways: &SmsWays) -> Result<(), Faults> {
    let mut faults = Faults::new();
    for (i, link) in links.iter().enumerate() {
        let from = link.sms.from.as_deref();
        if let Err(problem) = judge(from, ways) {
            let place = if from.is_some() || !ways.gateways.is_empty() { "/from" } else { "" };
            faults.add(format!("/cascade/{i}/then/sms{place}"), problem);
        }
    }
    faults.into_result(())
}

fn judge(from: Option<&str>, ways: &SmsWays) -> Result<(), String> {
    let senders: Vec<Sender<'_>> = ways.senders.iter().map(|(name, gateways)| Sender { name, gateways }).collect();
    let gateways: Vec<&str> = ways.gateways.iter().map(String::as_str).collect();
    let unknown = || format!("is no sender of the tenant; {}", known(ways));
    match way(from, &senders, &gateways) {
        // An account without senders sends under any name that its only gateway knows; in one that has some it is a slip.
        Ok(Way { sender: None, .. }) if from.is_some() && !senders.is_empty() => Err(unknown()),
        Ok(_) => Ok(()),
        Err(NoWay::NoGateway) => {
            Err("cannot be sent: the tenant has no SMS gateway; PUT /v1/sms/gateways/{gateway} makes one".into())
        }
        Err(NoWay::SenderWithoutGateway(name)) => {
            Err(format!("the sender {name} has no gateway; PUT /v1/sms/senders/{name} names those that send for it"))
        }
        Err(NoWay::Several) if from.is_some() => Err(unknown()),
        Err(NoWay::Several) => Err(format!("is needed, since several could be meant; {}", known(ways))),
    }
}

fn known(ways: &SmsWays) -> String {
    let names: Vec<&str> = ways.senders.iter().take(NAMED).map(|(name, _)| name.as_str()).collect();
    match (names.is_empty(), ways.senders.len() > NAMED) {
        (true, _) => "PUT /v1/sms/senders/{sender} says which gateways send for a name".into(),
        (false, false) => format!("there are {}", names.join(", ")),
        (false, true) => format!("there are {} and more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::cascade::{Sms, Unless};
    use carillon_domain::span::Seconds;

    fn ways(gateways: &[&str], senders: &[(&str, &[&str])]) -> SmsWays {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let senders = senders.iter().map(|(sender, gateways)| ((*sender).to_owned(), all(gateways))).collect();
        SmsWays { gateways: all(gateways), senders }
    }

    fn faults(from: Option<&str>, ways: &SmsWays) -> Vec<String> {
        let sms = Sms { from: from.map(str::to_owned), ..Default::default() };
        let link = CascadeLink { unless: Unless::Read, within: Seconds(60), sms };
        let found = check(&[link], ways).err().unwrap_or_default();
        found.as_slice().iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn a_sender_with_a_gateway_is_found_whatever_the_case_of_its_letters() {
        let shop = ways(&["a", "b"], &[("shop", &["gone", "b"])]);
        assert!(faults(Some("SHOP"), &shop).is_empty() && faults(None, &shop).is_empty());
    }

    #[test]
    fn an_unknown_sender_is_told_which_ones_there_are() {
        let shop = ways(&["a"], &[("shop", &["a"]), ("news", &["a"])]);
        assert_eq!(
            faults(Some("SHPO"), &shop),
            ["/cascade/0/then/sms/from: is no sender of the tenant; there are shop, news"]
        );
        assert!(faults(Some("SHPO"), &ways(&["a", "b"], &[]))[0].contains("PUT /v1/sms/senders/"));
        assert!(faults(None, &shop).is_empty(), "the only gateway sends under its own name");
        let two = ways(&["a", "b"], &[("shop", &["a"]), ("news", &["b"])]);
        assert!(faults(None, &two)[0].starts_with("/cascade/0/then/sms/from: is needed"));
    }

    #[test]
    fn who_has_one_gateway_and_no_senders_sends_under_any_name() {
        assert!(faults(Some("SHOP"), &ways(&["a"], &[])).is_empty());
    }

    #[test]
    fn without_a_gateway_nothing_is_accepted_that_could_not_be_sent() {
        assert!(faults(None, &ways(&[], &[]))[0].starts_with("/cascade/0/then/sms: cannot be sent"));
        assert!(faults(Some("SHOP"), &ways(&[], &[]))[0].starts_with("/cascade/0/then/sms/from: cannot be sent"));
        assert!(faults(Some("shop"), &ways(&["a"], &[("shop", &["gone"])]))[0].contains("has no gateway"));
    }
}
