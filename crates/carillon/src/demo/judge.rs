//! What the platform says against what the providers saw, per token.

use std::collections::{HashMap, HashSet};

use crate::api::Delivery;
use crate::sim::Record;

/// Where a device's pushes go: provider and token, as the ledger names them.
pub(crate) type Address = (String, String);

/// What became of one notification.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Devices whose provider accepted a request.
    pub(crate) reached: usize,
    /// Accepted requests beyond the first of a device.
    pub(crate) duplicates: usize,
    /// Devices that the platform says were sent to, or still owes, and no provider accepted anything for.
    pub(crate) lost: Vec<String>,
    /// Tokens for which a provider accepted a request although the platform says otherwise, or knows nothing of it.
    pub(crate) unreported: Vec<String>,
    /// What devices would not understand.
    pub(crate) violations: usize,
    /// Requests, whatever their answer.
    pub(crate) requests: usize,
}

/// Judges the pushes of one notification. `address_of` knows every device by its id.
pub(crate) fn judge(
    deliveries: &[Delivery],
    records: &[Record],
    address_of: impl Fn(&str) -> Option<Address>,
) -> Verdict {
    let pushes: Vec<&Record> = records.iter().filter(|record| record.provider != "sms").collect();
    let mut accepted: HashMap<(&str, &str), usize> = HashMap::new();
    for record in pushes.iter().filter(|record| record.accepted) {
        *accepted.entry((&record.provider, &record.token)).or_default() += 1;
    }
    let mut verdict = Verdict {
        reached: accepted.len(),
        duplicates: accepted.values().map(|count| count - 1).sum(),
        violations: pushes.iter().map(|record| record.violations.len()).sum(),
        requests: pushes.len(),
        ..Verdict::default()
    };
    let mut told: HashSet<Address> = HashSet::new();
    for delivery in deliveries.iter().filter(|delivery| delivery.channel == "push") {
        let Some(device) = &delivery.device else { continue };
        let Some(address) = address_of(device) else {
            verdict.lost.push(format!("{device}: nobody knows this device"));
            continue;
        };
        let seen = accepted.contains_key(&(address.0.as_str(), address.1.as_str()));
        if !seen && (delivery.is_accepted() || delivery.status == "queued") {
            verdict.lost.push(format!("{device} is {}", delivery.status));
        }
        if delivery.is_accepted() {
            told.insert(address);
        }
    }
    let silent =
        accepted.keys().filter(|(provider, token)| !told.contains(&((*provider).to_owned(), (*token).to_owned())));
    // Tokens are never printed whole.
    verdict.unreported = silent.map(|(provider, token)| format!("{provider} {}...", short(token))).collect();
    verdict
}

fn short(token: &str) -> String {
    let tail: Vec<char> = token.chars().rev().take(6).collect();
    tail.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(token: &str, accepted: bool) -> Record {
        let line = json!({"provider": "apns", "token": token, "notification_id": "n", "at": "2026-01-01T00:00:00Z",
                          "status": if accepted { 200 } else { 503 }, "accepted": accepted});
        serde_json::from_value(line).unwrap()
    }

    fn delivery(device: &str, status: &str) -> Delivery {
        serde_json::from_value(json!({"channel": "push", "device": device, "status": status})).unwrap()
    }

    fn address(device: &str) -> Option<Address> {
        Some(("apns".to_owned(), format!("token-of-{device}")))
    }

    #[test]
    fn what_both_sides_say_is_neither_lost_nor_doubled() {
        let records = [record("token-of-a", false), record("token-of-a", true)];
        let verdict = judge(&[delivery("a", "delivered"), delivery("b", "failed")], &records, address);
        assert_eq!((verdict.reached, verdict.duplicates, verdict.requests), (1, 0, 2));
        assert!(verdict.lost.is_empty() && verdict.unreported.is_empty());
    }

    #[test]
    fn a_push_that_no_provider_accepted_is_lost() {
        let verdict = judge(&[delivery("a", "sent"), delivery("b", "queued")], &[record("token-of-a", false)], address);
        assert_eq!(verdict.lost, ["a is sent", "b is queued"]);
    }

    #[test]
    fn a_second_acceptance_is_a_duplicate() {
        let records = [record("token-of-a", true), record("token-of-a", true), record("token-of-a", true)];
        assert_eq!(judge(&[delivery("a", "sent")], &records, address).duplicates, 2);
    }

    #[test]
    fn a_push_that_the_platform_does_not_own_up_to_is_unreported() {
        let verdict = judge(&[delivery("a", "failed")], &[record("token-of-a", true)], address);
        assert_eq!(verdict.unreported, ["apns n-of-a..."]);
    }
}
