//! F8: the receipt and the deadline of a cascade at the same moment.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::Sight;
use crate::onboard;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::drained;
use crate::report::Row;
use crate::strike::busiest;
use ::http::Method;
use anyhow::{Context as _, Result};
use provider_sim::{Provider, Query};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// From the push to the text message.
const WITHIN_SECONDS: i64 = 45;
/// A receipt comes so many milliseconds around the deadline.
const SPREAD_MS: i64 = 50;
/// Receipts of one call; those of a few milliseconds travel together.
const TOGETHER: usize = 40;
/// Out of ten persons: so many race, and so many more read in time. The others never read.
const RACERS: usize = 7;
const READERS: usize = 8;
const DRAIN: Duration = Duration::from_secs(120);
/// Who is killed, again and again.
const VICTIMS: [&str; 4] = ["sms-cascade", "ingest-api", "sms-cascade", "status-collector"];

const DEADLINES: &str = "SELECT c.phone, extract(epoch FROM c.due_at - now())::float8 * 1000 FROM cascades c
    JOIN notifications n ON n.run_id = c.run_id WHERE n.notification_id = $1::text::uuid AND c.due_at IS NOT NULL";
const OPEN: &str = "SELECT count(*) FROM cascades c JOIN notifications n ON n.run_id = c.run_id
    WHERE n.notification_id = $1::text::uuid AND c.state IN (1, 2)";

/// What the answer to a receipt said.
type Answers = Arc<Mutex<HashMap<String, String>>>;

/// F8.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F8", "cascade race: the receipt arrives at the deadline, with kills", options.seed);
    let (persons, kills) = options.pick((2_000, 3), (20_000, 10), (200_000, 50));
    let mut dice = Dice::new(options.seed, "race");
    // The deadlines of one call must not begin before its last push is out.
    let per_call = persons.min(10_000);
    let tenant = Tenant::new(platform, "f8", per_call, &mut dice).await?;
    let http = platform.http.first().context("there is an ingest-api")?;
    onboard::sms(&crate::api::Api::new(http.with_key(&tenant.key)), &platform.sim_control).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    let calls = persons.div_ceil(per_call);
    for call in 0..calls {
        let kills = kills * (call + 1) / calls - kills * call / calls;
        round(platform, &tenant, &caller, &mut row, kills, &mut dice, call).await?;
    }
    Ok(row)
}

async fn round(
    platform: &Platform,
    tenant: &Tenant,
    caller: &Caller,
    row: &mut Row,
    kills: usize,
    dice: &mut Dice,
    call: usize,
) -> Result<()> {
    platform.sim.ledger().clear();
    let cascade = json!([{"unless": "read", "within": format!("{WITHIN_SECONDS}s"),
                          "then": {"sms": {"from": onboard::SENDER, "text": "Your table is ready"}}}]);
    let body = json!({"app": tenant.app, "to": {"all": true}, "content": {"title": "Your table is ready"}, "cascade": cascade});
    let everybody = Arc::new(tenant.devices.iter().map(|device| device.id.clone()).collect::<Vec<_>>());
    let sent = caller.send(&body, &format!("race-{call}"), everybody).await?;
    let id = sent.context("the call was refused")?;
    let accepted = Query { accepted: Some(true), notification_id: Some(id.clone()), ..Query::default() };
    let pushed = platform.sim.ledger().wait(&accepted, tenant.devices.len(), Duration::from_secs(40)).await;
    row.say(format!("{} of {} pushes are out", pushed.len(), tenant.devices.len()));
    let references = references(&pushed);
    // The last reports set the last deadlines.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let mut deadlines: HashMap<String, f64> = HashMap::new();
    for one in platform.rows(DEADLINES, &[&id]).await? {
        deadlines.insert(one.get(0), one.get(1));
    }
    let first = deadlines.values().copied().fold(f64::MAX, f64::min);
    row.expect(deadlines.len() == tenant.devices.len() && first > 2_000.0, || {
        format!("{} deadlines are known, the first in {first:.0} ms: too slow for this race", deadlines.len())
    });
    let answers: Answers = Arc::default();
    let plan = plan(tenant, &deadlines, &references, dice);
    let racing = race(caller, &id, plan, began, Arc::clone(&answers));
    let killing = kill(platform, row, &id, kills, first, began, dice);
    let (raced, killed) = tokio::join!(racing, killing);
    raced?;
    killed?;
    let stuck = drained(caller, row, DRAIN).await?;
    row.expect(stuck.is_empty(), || "a cascade is stuck".to_owned());
    row.stuck += stuck.len() as u64;
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    judge(platform, tenant, row, &answers);
    Ok(())
}

/// The reference that came with each push, by token.
fn references(pushed: &[provider_sim::Record]) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for record in pushed {
        let carillon = match record.provider {
            Provider::Fcm => {
                let text = record.body["message"]["data"]["carillon"].as_str().unwrap_or("null");
                serde_json::from_str(text).unwrap_or(Value::Null)
            }
            _ => record.body["carillon"].clone(),
        };
        if let Some(reference) = carillon["r"].as_str() {
            found.insert(record.token.clone(), reference.to_owned());
        }
    }
    found
}

/// One receipt to come: after so many milliseconds, of this person, with this body.
struct Planned {
    after_ms: f64,
    phone: String,
    receipt: Value,
}

fn plan(
    tenant: &Tenant,
    deadlines: &HashMap<String, f64>,
    references: &HashMap<String, String>,
    dice: &mut Dice,
) -> Vec<Planned> {
    let mut plan = Vec::new();
    for (number, device) in tenant.devices.iter().enumerate() {
        let phone = Tenant::phone_of(device);
        let (Some(deadline), Some(reference)) = (deadlines.get(&phone), references.get(&device.token)) else {
            continue;
        };
        let spread = i64::try_from(dice.below(2 * SPREAD_MS as usize + 1)).unwrap_or(0) - SPREAD_MS;
        let after_ms = match number % 10 {
            n if n < RACERS => deadline + spread as f64,
            n if n < READERS => deadline / 2.0,
            _ => continue,
        };
        plan.push(Planned { after_ms, phone, receipt: json!({"run": reference, "event": "opened"}) });
    }
    plan.sort_by(|a, b| a.after_ms.total_cmp(&b.after_ms));
    plan
}

async fn race(caller: &Caller, id: &str, plan: Vec<Planned>, began: Instant, answers: Answers) -> Result<()> {
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    let mut plan = plan.into_iter().peekable();
    while let Some(next) = plan.next() {
        let due = began + Duration::from_secs_f64((next.after_ms / 1_000.0).max(0.0));
        tokio::time::sleep_until(due.into()).await;
        let mut group = vec![next];
        // What is due by now goes along.
        while let Some(one) = plan.peek()
            && group.len() < TOGETHER
            && began.elapsed().as_secs_f64() * 1_000.0 >= one.after_ms
        {
            group.extend(plan.next());
        }
        let (caller, id, answers) = (caller.clone(), id.to_owned(), Arc::clone(&answers));
        calls.spawn(async move { report(&caller, &id, group, &answers).await });
        while let Some(done) = calls.try_join_next() {
            done??;
        }
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(())
}

async fn report(caller: &Caller, id: &str, group: Vec<Planned>, answers: &Answers) -> Result<()> {
    let receipts: Vec<Value> = group
        .iter()
        .map(|one| {
            let mut receipt = one.receipt.clone();
            receipt["notification_id"] = json!(id);
            receipt
        })
        .collect();
    let answer = caller.call(Method::POST, "/v1/receipts", Some(&json!({"receipts": receipts})), None).await?;
    let answer = answer.success("receipts")?;
    let mut known = answers.lock().unwrap_or_else(PoisonError::into_inner);
    for (one, result) in group.into_iter().zip(answer["results"].as_array().into_iter().flatten()) {
        known.insert(one.phone, format!("{} {}", text(result, "status"), text(result, "cascade")));
    }
    Ok(())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// From the first deadline on, evenly over the race.
async fn kill(
    platform: &Platform,
    row: &mut Row,
    id: &str,
    kills: usize,
    first_ms: f64,
    began: Instant,
    dice: &mut Dice,
) -> Result<()> {
    let start = began + Duration::from_secs_f64(first_ms.max(0.0) / 1_000.0);
    tokio::time::sleep_until(start.into()).await;
    for number in 0..kills {
        let victim = busiest(platform, VICTIMS[number % VICTIMS.len()], dice).await?;
        let waiting =
            platform.rows(OPEN, &[&id]).await.ok().and_then(|rows| rows.first().map(|row| row.get::<_, i64>(0)));
        let waiting = waiting.and_then(|count| u64::try_from(count).ok());
        let sight = Sight { unacked: waiting, ..Sight::default() };
        victim.kill().await?;
        row.kills += 1;
        row.fault(&format!("SIGKILL {}, unacked counts open cascades", victim.name()), &sight);
        row.say(format!("{} is killed, {waiting:?} cascades are open", victim.name()));
        tokio::time::sleep(dice.between(200, 800)).await;
        victim.respawn(&[])?;
        tokio::time::sleep(dice.between(400, 1_200)).await;
    }
    Ok(())
}

fn judge(platform: &Platform, tenant: &Tenant, row: &mut Row, answers: &HashMap<String, String>) {
    let mut texts: HashMap<String, u64> = HashMap::new();
    let accepted = Query { accepted: Some(true), ..Query::provider(Provider::Sms) };
    for record in platform.sim.ledger().records(&accepted) {
        *texts.entry(record.token).or_default() += 1;
    }
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    let (mut stopped_and_texted, mut double, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for device in &tenant.devices {
        row.accepted += 1;
        let phone = Tenant::phone_of(device);
        let count = texts.get(&phone).or_else(|| texts.get(phone.trim_start_matches('+'))).copied().unwrap_or(0);
        let said = answers.get(&phone).map_or("no receipt", String::as_str);
        *told.entry(said.to_owned()).or_default() += 1;
        let stopped = said.ends_with(" stopped");
        if count > 1 {
            row.duplicates += count - 1;
            double.push(format!("{phone} {count} times, {said}"));
        }
        if stopped && count > 0 {
            stopped_and_texted.push(phone);
        } else if !stopped && count == 0 {
            row.lost += 1;
            without.push(format!("{phone} ({said})"));
        }
    }
    let sent: u64 = texts.values().sum();
    row.figure("text_messages", sent);
    row.figure("answers_to_receipts", json!(told));
    row.expect(double.is_empty(), || format!("{} double SMS: {:?}", double.len(), &double[..double.len().min(3)]));
    let bad = stopped_and_texted.len();
    row.expect(bad == 0, || format!("{bad} persons got an SMS after `stopped`"));
    row.expect(without.is_empty(), || {
        format!("{} without an SMS: {:?}", without.len(), &without[..without.len().min(3)])
    });
    let raced = told.iter().any(|(said, _)| said.ends_with("stopped"))
        && told.iter().any(|(said, _)| said.ends_with("too_late"));
    row.expect(raced, || "one side won always: this was no race".to_owned());
}
