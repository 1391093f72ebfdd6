//! Step 4: everybody in an app, with all that a notification can hold; then a silent one.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::checks::Checks;
use super::people::SHOP;
use super::world::{CAMPAIGN, World};
use crate::dev::onboard::bundle_id;
use crate::sim::Record;

const TITLE: &str = "Summer sale";
const TEXT: &str = "Everything is half the price until Sunday";
const IMAGE: &str = "https://images.example/sale.jpg";
const LINK: &str = "https://shop.example/sale";

/// Sends both and judges every request.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let visible = json!({
        "title": TITLE, "body": TEXT, "image": IMAGE, "open": {"url": LINK, "as": "browser"},
        "buttons": [{"id": "buy", "title": "Buy", "open": {"screen": "cart"}}, {"id": "later", "title": "Later"}],
        "data": {"campaign": "summer", "percent": 50},
    });
    let id = everybody(world, checks, "visible", &visible, check_visible).await?;
    world.broadcast = Some(id);
    let silent = json!({"silent": true, "data": {"refresh": "catalogue"}});
    everybody(world, checks, "silent", &silent, check_silent).await?;
    Ok(())
}

async fn everybody(
    world: &mut World,
    checks: &mut Checks,
    what: &str,
    content: &Value,
    check: fn(&Record) -> Option<&'static str>,
) -> Result<String> {
    let body = json!({"app": SHOP, "reference": format!("everybody-{what}"), "to": {"all": true}, "kind": "marketing",
                      "content": content});
    let id = world.send(&body).await?.id;
    let ended = world.finished(&id, CAMPAIGN).await?;
    let devices = world.people.of_app(SHOP).count();
    checks.equal(&format!("{what}: total"), ended["counts"]["push"]["total"].as_u64(), Some(devices as u64));
    checks.equal(&format!("{what}: sent"), ended["counts"]["push"]["sent"].as_u64(), Some(devices as u64));
    let records = world.sim()?.of_notification(&id).await?;
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    for record in &records {
        *seen.entry((&record.provider, &record.token)).or_default() += 1;
    }
    let once =
        world.people.of_app(SHOP).filter(|device| seen.get(&(device.platform, device.token.as_str())) == Some(&1));
    checks.equal(&format!("{what}: devices with exactly one request"), once.count(), devices);
    checks.equal(&format!("{what}: requests"), records.len(), devices);
    judge(checks, what, &records, check);
    let of = |provider: &str| records.iter().filter(|record| record.provider == provider).count();
    checks.fact(format!("{what}: {} APNs, {} FCM, {} Web Push requests", of("apns"), of("fcm"), of("webpush")));
    Ok(id)
}

/// A provider accepts only what is authorized and valid by its own rules; what a device makes of it is checked here.
fn judge(checks: &mut Checks, what: &str, records: &[Record], check: fn(&Record) -> Option<&'static str>) {
    let refused = records.iter().filter(|record| !record.accepted).count();
    checks.equal(&format!("{what}: refused requests"), refused, 0);
    let bare = records.iter().filter(|record| !record.headers.contains_key("authorization")).count();
    checks.equal(&format!("{what}: requests without authorization"), bare, 0);
    if let Some(record) = records.iter().find(|record| !record.violations.is_empty()) {
        checks.fail(format!("{what}: {} would not understand: {}", record.provider, record.violations.join(", ")));
    }
    let mut wrong: HashMap<(&str, &str), usize> = HashMap::new();
    for record in records {
        if let Some(fault) = check(record) {
            *wrong.entry((&record.provider, fault)).or_default() += 1;
        }
    }
    for ((provider, fault), count) in wrong {
        checks.fail(format!("{what}: {count} {provider} requests: {fault}"));
    }
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    record.headers.get(name).map_or("", String::as_str)
}

fn check_visible(record: &Record) -> Option<&'static str> {
    let Some(carillon) = record.carillon() else { return Some("no reserved key") };
    if carillon["open"]["url"] != LINK {
        return Some("a tap does not open the link");
    }
    if carillon["buttons"].as_array().map_or(0, Vec::len) != 2 || carillon["buttons"][0]["open"]["screen"] != "cart" {
        return Some("the two buttons are not there");
    }
    let body = &record.body;
    let text = body.to_string();
    if [TITLE, TEXT, IMAGE].iter().any(|part| !text.contains(part)) {
        return Some("title, body or image is missing");
    }
    let faults = match record.provider.as_str() {
        "apns" => [
            (header(record, "apns-topic") != bundle_id(SHOP), "the topic is not the bundle id"),
            (header(record, "apns-push-type") != "alert", "the push type is not alert"),
            (body["aps"]["alert"]["title"] != TITLE, "the alert has no title"),
            (body["data"] != json!({"campaign": "summer", "percent": 50}), "data is not as it was sent"),
        ],
        "fcm" => [
            (body["message"]["data"]["campaign"] != "summer", "data is not as it was sent"),
            (body["message"]["data"]["percent"] != "50", "a number is not its JSON text"),
            (body["message"]["data"]["carillon"].as_str().is_none(), "the reserved key is not text"),
            (false, ""),
        ],
        _ => [
            (body["title"] != TITLE, "no title"),
            (body["actions"].as_array().map_or(0, Vec::len) != 2, "not two actions"),
            (body["data"] != json!({"campaign": "summer", "percent": 50}), "data is not as it was sent"),
            (header(record, "ttl").is_empty(), "no TTL"),
        ],
    };
    faults.into_iter().find_map(|(wrong, fault)| wrong.then_some(fault))
}

fn check_silent(record: &Record) -> Option<&'static str> {
    if record.carillon().is_none() {
        return Some("no reserved key");
    }
    let body = &record.body;
    let faults = match record.provider.as_str() {
        "apns" => [
            (header(record, "apns-push-type") != "background", "the push type is not background"),
            (header(record, "apns-priority") != "5", "the priority is not 5"),
            (body["aps"]["content-available"] != 1, "nothing wakes the app"),
            (body["data"]["refresh"] != "catalogue", "data is missing"),
        ],
        "fcm" => [
            (!body["message"]["notification"].is_null(), "something is shown"),
            (!body["message"]["android"]["notification"].is_null(), "something is shown"),
            (body["message"]["data"]["refresh"] != "catalogue", "data is missing"),
            (false, ""),
        ],
        _ => [
            (body["data"]["refresh"] != "catalogue", "data is missing"),
            (!body["title"].is_null(), "something is shown"),
            (false, ""),
            (false, ""),
        ],
    };
    faults.into_iter().find_map(|(wrong, fault)| wrong.then_some(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apns() -> Record {
        let carillon = json!({"open": {"url": LINK, "as": "browser"},
                              "buttons": [{"id": "buy", "title": "Buy", "open": {"screen": "cart"}}, {"id": "later"}]});
        let line = json!({
            "provider": "apns", "token": "t", "notification_id": "n", "at": "2026-01-01T00:00:00Z", "status": 200,
            "headers": {"apns-topic": bundle_id(SHOP), "apns-push-type": "alert"},
            "body": {"aps": {"alert": {"title": TITLE, "body": TEXT}}, "image": IMAGE, "carillon": carillon,
                     "data": {"campaign": "summer", "percent": 50}},
        });
        serde_json::from_value(line).unwrap()
    }

    #[test]
    fn a_request_with_everything_in_it_has_no_fault() {
        assert_eq!(check_visible(&apns()), None);
    }

    #[test]
    fn every_part_that_is_missing_is_noticed() {
        let broken = |break_it: fn(&mut Record)| {
            let mut record = apns();
            break_it(&mut record);
            check_visible(&record)
        };
        assert_eq!(broken(|r| r.body["carillon"]["open"] = Value::Null), Some("a tap does not open the link"));
        assert_eq!(broken(|r| r.body["carillon"]["buttons"] = json!([])), Some("the two buttons are not there"));
        assert_eq!(broken(|r| r.body["image"] = Value::Null), Some("title, body or image is missing"));
        assert_eq!(broken(|r| r.headers.clear()), Some("the topic is not the bundle id"));
        assert_eq!(broken(|r| r.body["data"] = Value::Null), Some("data is not as it was sent"));
    }
}
