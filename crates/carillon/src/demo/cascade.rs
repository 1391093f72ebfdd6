//! Step 7: unless read within 5 s, then SMS.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::checks::Checks;
use super::people::{self, Device, SHOP};
use super::receipts::{receipt, with_event};
use super::world::{CAMPAIGN, World};
use crate::api::Delivery;
use crate::dev::onboard::SENDER;
use crate::random;
use crate::sim::Record;
use crate::waiting::until;

/// Persons who read, and who do not.
const READERS: usize = 12;
const OTHERS: usize = 18;
/// Persons with a device that cannot be reached, and persons of whom only the phone is known.
const INACTIVE: usize = 3;
const BARE: usize = 2;
/// The wait of the cascade.
const WITHIN: i64 = 5_000;
const TEXT: &str = "Your table is ready";

/// Who is in it, by what becomes of them; each by phone number.
struct Cast {
    readers: Vec<(String, String)>,
    others: Vec<(String, String)>,
    inactive: Vec<(String, String)>,
    bare: Vec<String>,
}

/// Sends, lets some read, counts text messages.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let cast = cast(world).await?;
    let users: Vec<&String> =
        cast.readers.iter().chain(&cast.others).chain(&cast.inactive).map(|(user, _)| user).collect();
    let sms = json!({"sms": {"from": SENDER, "text": TEXT}});
    let body = json!({
        "app": SHOP, "reference": "cascade", "to": {"users": users, "phones": cast.bare},
        "content": {"title": TEXT, "body": "Please come in"},
        "cascade": [{"unless": "read", "within": "5s", "then": sms}],
    });
    let sent_at = Timestamp::now();
    let id = world.send(&body).await?.id;
    let stopped = read(world, &cast, &id).await?;
    checks.equal("readers whose cascade was stopped", stopped, READERS);
    world.say(format!("{READERS} persons have read it, {OTHERS} have not"));
    let ended = world.finished(&id, CAMPAIGN).await?;
    check_messages(world, checks, &cast, sent_at).await?;
    check_statuses(world, checks, &id, &ended).await
}

/// Persons with a phone and live devices; more persons without.
async fn cast(world: &mut World) -> Result<Cast> {
    let mut seen = HashSet::new();
    let dead: HashSet<&str> = world.dead.iter().filter_map(|id| Some(world.people.get(id)?.user.as_str())).collect();
    let fit = |device: &&Device| device.phone.is_some() && !dead.contains(device.user.as_str());
    let mut persons: Vec<(String, String)> = Vec::new();
    for device in world.people.of_app(SHOP).filter(fit) {
        if seen.insert(device.user.clone()) {
            persons.push((device.user.clone(), device.phone.clone().unwrap_or_default()));
        }
    }
    persons.truncate(READERS + OTHERS);
    let others = persons.split_off(READERS.min(persons.len()));
    let mut inactive = Vec::new();
    for number in 0..INACTIVE {
        inactive.push(register_inactive(world, number).await?);
    }
    let bare = (0..BARE).map(|number| people::phone(people::USERS + INACTIVE + number)).collect();
    Ok(Cast { readers: persons, others, inactive, bare })
}

async fn register_inactive(world: &mut World, number: usize) -> Result<(String, String)> {
    let (id, user, phone) =
        (format!("d-off-{number}"), format!("u-off-{number}"), people::phone(people::USERS + number));
    let token = random::hex()?;
    let body = json!({"platform": "apns", "os": "ios", "token": token, "environment": "production", "user_id": user,
                      "phone": phone, "active": false});
    world.api()?.put(&format!("/v1/apps/{SHOP}/devices/{id}"), &body).await?;
    world.people.add(Device {
        id,
        app: SHOP,
        user: user.clone(),
        phone: Some(phone.clone()),
        platform: "apns",
        token,
        body,
    });
    Ok((user, phone))
}

/// As soon as a reader's push is there, the reader opens it; how many were told that their cascade is stopped.
async fn read(world: &World, cast: &Cast, id: &str) -> Result<usize> {
    let (api, sim) = (world.api()?, world.sim()?);
    let mut waiting: HashSet<&str> = cast.readers.iter().map(|(user, _)| user.as_str()).collect();
    let mut stopped = 0;
    until("the readers' pushes", Duration::from_secs(30), async || {
        let records = sim.of_notification(id).await?;
        let by_token: HashMap<&str, &Record> =
            records.iter().filter(|record| record.accepted).map(|record| (record.token.as_str(), record)).collect();
        let mut opened = Vec::new();
        waiting.retain(|user| {
            let arrived = world.people.of_user(user).find_map(|device| by_token.get(device.token.as_str()));
            let found = arrived.and_then(|record| receipt(record, id));
            let still = found.is_none();
            opened.extend(found.map(|receipt| with_event(&receipt, "opened")));
            still
        });
        let results = if opened.is_empty() { Vec::new() } else { api.receipts(&opened).await? };
        stopped += results.iter().filter(|result| result["cascade"] == "stopped").count();
        Ok(waiting.is_empty().then_some(()))
    })
    .await?;
    Ok(stopped)
}

async fn check_messages(world: &World, checks: &mut Checks, cast: &Cast, sent_at: Timestamp) -> Result<()> {
    let records = world.sim()?.requests("provider=sms&accepted=true").await?;
    let after = |record: &Record| record.at.as_millisecond() - sent_at.as_millisecond();
    let mut times: HashMap<&str, Vec<i64>> = HashMap::new();
    for record in &records {
        times.entry(&record.token).or_default().push(after(record));
    }
    let count = |phone: &str| times.get(phone).map_or(0, Vec::len);
    let read_and_texted = cast.readers.iter().filter(|(_, phone)| count(phone) > 0).count();
    checks.equal("readers who got an SMS", read_and_texted, 0);
    let once = cast.others.iter().filter(|(_, phone)| count(phone) == 1).count();
    checks.equal("others who got exactly one SMS", once, cast.others.len());
    let early =
        cast.others.iter().filter(|(_, phone)| times.get(phone.as_str()).is_some_and(|at| at[0] < WITHIN)).count();
    checks.equal("others who got it before their 5 s were over", early, 0);
    let unreachable = cast.inactive.iter().map(|(_, phone)| phone).chain(&cast.bare);
    let at_once: Vec<i64> =
        unreachable.filter_map(|phone| times.get(phone.as_str()).filter(|at| at.len() == 1).map(|at| at[0])).collect();
    checks.equal("persons without a reachable device who got one SMS", at_once.len(), INACTIVE + BARE);
    let slowest = at_once.iter().copied().max().unwrap_or(0);
    checks.expect(slowest < WITHIN, || format!("who has no reachable device waited {slowest} ms"));
    checks.equal("SMS altogether", records.len(), OTHERS + INACTIVE + BARE);
    checks.fact(format!(
        "{READERS} readers got no SMS, {once} others got one each, {} without a reachable device got it within {slowest} ms",
        at_once.len()
    ));
    Ok(())
}

/// The operator's reports come back into the statuses.
async fn check_statuses(world: &World, checks: &mut Checks, id: &str, ended: &Value) -> Result<()> {
    let api = world.api()?;
    let expected = OTHERS + INACTIVE + BARE;
    let reported = until("the delivery reports of the SMS", Duration::from_secs(30), async || {
        let rows: Vec<Delivery> = api.deliveries(id, "&channel=sms").await?;
        let delivered = rows.iter().filter(|row| row.status == "delivered").count();
        Ok((delivered >= expected).then_some(rows.len()))
    });
    checks.equal("SMS in /deliveries", reported.await?, expected);
    let acknowledged = world.sim()?.sms_reports().await?;
    let acknowledged = acknowledged.iter().filter(|report| report["acknowledged"] == true).count();
    checks.expect(acknowledged >= expected, || format!("the gateway's reports were acknowledged {acknowledged} times"));
    let counts = api.notification(id).await?["counts"].clone();
    let sms = |name: &str| counts["sms"][name].as_u64();
    checks.equal("counts.sms.sent", sms("sent"), Some(expected as u64));
    checks.equal("counts.sms.delivered", sms("delivered"), Some(expected as u64));
    let persons = &counts["recipients"];
    let person = |name: &str| persons[name].as_u64();
    checks.equal("counts.recipients.read", person("read"), Some(READERS as u64));
    let sum: Option<u64> = ["pending", "read", "reached", "unreached"].iter().map(|name| person(name)).sum();
    checks.equal("the sum of the persons", sum, person("total"));
    checks.equal("persons", person("total"), Some((READERS + expected) as u64));
    checks.equal("state", ended["state"].as_str(), Some("finished"));
    checks.fact(format!("{expected} delivery reports came back"));
    Ok(())
}
