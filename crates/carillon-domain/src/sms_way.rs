//! Through which gateways a text message goes. Asked when a cascade is accepted, so that the caller can mend it, and again when its message is due:
//! one rule, so that what was accepted is not refused later for what was known then.

/// A sender's name, as the tenant has set it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The name, in lower case.
    pub name: &'a str,
    /// The gateways that send for it, the first one first; they may be gone.
    pub gateways: &'a [String],
}

/// The way of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way<'a> {
    /// The sender that was meant; without one the tenant's only gateway sends, under whatever name it knows.
    pub sender: Option<&'a str>,
    /// The gateways to try, the first one first. Never empty.
    pub gateways: Vec<&'a str>,
}

/// Why a message has no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay<'a> {
    /// The tenant has no gateway.
    NoGateway,
    /// None of the gateways of this sender is there.
    SenderWithoutGateway(&'a str),
    /// There is no such sender (or none was named and several could be meant), and there are several gateways.
    Several,
}

/// Finds the way of a message from `from`, through one of the tenant's `gateways`.
///
/// # Errors
/// Why there is none.
pub fn way<'a>(from: Option<&str>, senders: &[Sender<'a>], gateways: &[&'a str]) -> Result<Way<'a>, NoWay<'a>> {
    // Senders' ids are in lower case, the names that phones show often are not.
    let sender = match (from, senders) {
        (Some(name), _) => senders.iter().find(|sender| sender.name.eq_ignore_ascii_case(name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    match (sender, gateways) {
        (_, []) => Err(NoWay::NoGateway),
        (Some(sender), _) => {
            let there = |name: &&'a String| gateways.contains(&name.as_str());
            let gateways: Vec<&str> = sender.gateways.iter().filter(there).map(String::as_str).collect();
            let none = gateways.is_empty();
            if none {
                Err(NoWay::SenderWithoutGateway(sender.name))
            } else {
                Ok(Way { sender: Some(sender.name), gateways })
            }
        }
        (None, [only]) => Ok(Way { sender: None, gateways: vec![only] }),
        (None, _) => Err(NoWay::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        from: Option<&str>,
        gateways: &[&str],
        senders: &[(&str, &[&str])],
    ) -> Result<(Option<String>, Vec<String>), String> {
        let names: Vec<Vec<String>> =
            senders.iter().map(|(_, names)| names.iter().map(|name| (*name).to_owned()).collect()).collect();
        let senders: Vec<Sender<'_>> =
            senders.iter().zip(&names).map(|((name, _), gateways)| Sender { name, gateways }).collect();
        let found = way(from, &senders, gateways).map_err(|no| format!("{no:?}"))?;
        Ok((found.sender.map(str::to_owned), found.gateways.into_iter().map(str::to_owned).collect()))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_sender_s_gateways_are_tried_in_its_order_and_those_that_are_gone_are_not() {
        let senders: &[(&str, &[&str])] = &[("shop", &["b", "gone", "a"])];
        let found = Ok((Some("shop".to_owned()), names(&["b", "a"])));
        assert_eq!(of(Some("SHOP"), &["a", "b"], senders), found);
        assert_eq!(of(None, &["a", "b"], senders), found);
        assert_eq!(of(Some("other"), &["a", "b"], senders), Err("Several".into()));
    }

    #[test]
    fn without_such_a_sender_the_only_gateway_sends() {
        assert_eq!(of(Some("SHOP"), &["a"], &[]), Ok((None, names(&["a"]))));
        assert_eq!(of(None, &["a"], &[]), Ok((None, names(&["a"]))));
        assert_eq!(of(None, &["a"], &[("x", &["a"]), ("y", &["a"])]), Ok((None, names(&["a"]))));
        assert_eq!(of(None, &["a", "b"], &[("x", &["a"]), ("y", &["a"])]), Err("Several".into()));
    }

    #[test]
    fn without_a_gateway_nobody_sends() {
        assert_eq!(of(Some("SHOP"), &[], &[]), Err("NoGateway".into()));
        assert_eq!(of(Some("shop"), &[], &[("shop", &["a"])]), Err("NoGateway".into()));
        assert_eq!(of(Some("SHOP"), &["a"], &[("shop", &["gone"])]), Err("SenderWithoutGateway(\"shop\")".into()));
    }
}
