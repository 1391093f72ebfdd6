//! F3: every point at which something becomes true for others, and the process dies, fails or hangs right there.

mod arranged;
mod cases;
mod intakes;
mod load;
mod victim;

use crate::audience::Tenant;
use crate::dice::Dice;
use crate::observe::look;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use crate::sampler::Sampler;
use anyhow::Result;
use carillon_failpoint::{Action, Point};
use load::{Crowd, Load};
use provider_sim::{Provider, Query};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use victim::Done;

/// A chunk that was committed and never published waits for its due time: 60 s, twice as long with each copy.
const DRAIN: Duration = Duration::from_secs(240);

/// F3.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F3", "crash points: killed, failed and hung where something becomes true", options.seed);
    // Once through each way out of what hangs, in turns: told to end at once, or left alone for longer than any deadline.
    let patient = options.pick(false, true, options.seed % 2 == 1);
    let dice = Dice::new(options.seed, "crash points");
    let cases = cases::all(options, &mut dice.clone());
    Box::pin(once(platform, &mut row, cases, patient, dice)).await?;
    Ok(row)
}

async fn once(
    platform: &Platform,
    row: &mut Row,
    cases: Vec<cases::Case>,
    patient: bool,
    mut dice: Dice,
) -> Result<()> {
    let crowd = Crowd::new(platform, &mut dice).await?;
    let sampler = Sampler::start(&crowd.caller, &dice);
    let enough = AtomicBool::new(false);
    let load = Load::new(platform, &crowd, &enough);
    let sight = look(platform, None).await;
    row.fault(&format!("{} armed points", cases.len()), &sight);
    let breaking = async {
        let done = strike(platform, &load, cases, patient).await;
        enough.store(true, Ordering::Relaxed);
        done
    };
    let (fed, done) = tokio::join!(load.feed(), breaking);
    fed?;
    let done = done?;
    judge_cases(row, &done);
    row.say("everything was armed; what is open drains");
    intakes::collect(&load).await?;
    for caller in [&crowd.caller, &crowd.texts, &crowd.control] {
        let stuck = drained(caller, row, DRAIN).await?;
        row.stuck += stuck.len() as u64;
        row.expect(stuck.is_empty(), || {
            format!("{} notifications are stuck, {:?} among them", stuck.len(), stuck.first())
        });
    }
    let samples = sampler.stop();
    row.expect(samples.samples > 0 && samples.faults.is_empty(), || format!("samples: {:?}", samples.faults));
    join(platform, &crowd.tenant, &crowd.caller, row).await?;
    judge_duplicates(platform, &crowd.tenant, row, &done);
    judge_texts(platform, &crowd.readers, load.persons.load(Ordering::Relaxed), row);
    let refused: Vec<String> =
        [&crowd.caller, &crowd.texts, &crowd.control].iter().flat_map(|caller| caller.book().faults.clone()).collect();
    row.expect(refused.is_empty(), || format!("refused: {:?}", refused.iter().take(3).collect::<Vec<_>>()));
    row.figure("answers", json!(crowd.caller.book().answers));
    Ok(())
}

/// All services at once, each one's cases one after the other; then those for which something has to be arranged.
async fn strike(platform: &Platform, load: &Load<'_>, cases: Vec<cases::Case>, patient: bool) -> Result<Vec<Done>> {
    let (arranged, plain): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| cases::is_arranged(case.arming.point));
    let mut by_service: BTreeMap<&'static str, Vec<cases::Case>> = BTreeMap::new();
    for case in plain {
        by_service.entry(case.service).or_default().push(case);
    }
    let services = by_service.into_iter().map(|(service, cases)| victim::run(platform, service, cases, patient));
    let mut done: Vec<Done> = futures::future::try_join_all(services).await?.into_iter().flatten().collect();
    for (number, case) in arranged.into_iter().enumerate() {
        done.push(arranged::run(load, case, number).await?);
    }
    Ok(done)
}

fn judge_cases(row: &mut Row, done: &[Done]) {
    for one in done {
        let broken = one.broken.clone();
        row.expect(broken.is_none(), || broken.unwrap_or_default());
        row.kills += u64::from(one.hits > 0 && one.case.arming.action == Action::Kill);
    }
    for point in Point::ALL {
        for action in Action::ALL {
            let hits: u64 = done
                .iter()
                .filter(|one| (one.case.arming.point, one.case.arming.action) == (point, action))
                .map(|one| one.hits)
                .sum();
            row.expect(hits > 0, || format!("{} was never hit by {}", point.name(), action.as_str()));
        }
    }
    let all: Vec<Value> = done.iter().map(Done::json).collect();
    row.figure("cases_count", all.len());
    row.quiet("cases", Value::Array(all));
}

/// A push comes twice only if the first one was sent by a process that was struck or whose ledger was, and no more of them than are excused.
fn judge_duplicates(platform: &Platform, tenant: &Tenant, row: &mut Row, done: &[Done]) {
    let mut by_case: BTreeMap<usize, u64> = BTreeMap::new();
    let mut by_nobody = Vec::new();
    for (provider, first, more) in repeated(platform, tenant) {
        let at_work = |one: &Done, service: &str| {
            let (from, until) = one.lived;
            one.case.service == service && from <= first && first <= until
        };
        let dispatcher = format!("dispatcher-{provider}");
        let sender = done.iter().position(|one| at_work(one, &dispatcher));
        let sender = sender.or_else(|| done.iter().position(|one| at_work(one, "status-collector")));
        match sender {
            Some(case) => *by_case.entry(case).or_default() += more,
            None => by_nobody.push(format!("{provider} at {first}")),
        }
    }
    for (case, found) in &by_case {
        let one = &done[*case];
        row.expect(*found <= one.excused, || {
            format!("{} cost {found} duplicates, {} are excused", one.case.arming, one.excused)
        });
    }
    let shown: BTreeMap<String, Value> = by_case
        .iter()
        .map(|(case, found)| (done[*case].case.arming.to_string(), json!([found, done[*case].excused])))
        .collect();
    row.figure("duplicates_found_and_excused", json!(shown));
    row.expect(by_nobody.is_empty(), || {
        format!(
            "{} duplicates of dispatchers that nobody struck: {:?}",
            by_nobody.len(),
            &by_nobody[..by_nobody.len().min(5)]
        )
    });
}

/// What came more than once and was answered: the provider, when it came first, and how often more.
fn repeated(platform: &Platform, tenant: &Tenant) -> Vec<(&'static str, jiff::Timestamp, u64)> {
    let mut seen: HashMap<(String, String), Vec<provider_sim::Record>> = HashMap::new();
    for record in platform.sim.ledger().records(&Query { accepted: Some(true), ..Query::default() }) {
        if let Some(id) = record.notification_id.clone() {
            seen.entry((id, record.token.clone())).or_default().push(record);
        }
    }
    let ours: HashMap<&str, Provider> = tenant.devices.iter().map(|one| (one.token.as_str(), one.provider)).collect();
    let mut all = Vec::new();
    for ((_, token), records) in seen {
        let unanswered = records.iter().filter(|record| !record.answered).count();
        let more = records.len().saturating_sub(1 + unanswered) as u64;
        let first = records.iter().map(|record| record.at).min();
        if let (Some(provider), Some(first), true) = (ours.get(token.as_str()), first, more > 0) {
            all.push((provider.name(), first, more));
        }
    }
    all
}

/// Every person who was sent a cascade got one text message.
fn judge_texts(platform: &Platform, readers: &Tenant, persons: usize, row: &mut Row) {
    let mut texts: HashMap<String, u64> = HashMap::new();
    let accepted = Query { accepted: Some(true), ..Query::provider(Provider::Sms) };
    for record in platform.sim.ledger().records(&accepted) {
        *texts.entry(record.token).or_default() += 1;
    }
    let (mut double, mut without) = (0_u64, 0_u64);
    for device in readers.devices.iter().take(persons) {
        let phone = Tenant::phone_of(device);
        let count = texts.get(&phone).or_else(|| texts.get(phone.trim_start_matches('+'))).copied().unwrap_or(0);
        row.accepted += 1;
        double += count.saturating_sub(1);
        without += u64::from(count == 0);
    }
    row.duplicates += double;
    row.lost += without;
    row.figure("text_messages", texts.values().sum::<u64>());
    row.expect(double == 0, || format!("{double} text messages twice"));
    row.expect(without == 0, || format!("{without} of {persons} persons got no text message"));
}
