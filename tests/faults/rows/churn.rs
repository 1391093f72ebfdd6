//! F10: segmenters are killed again and again over one big audience that changes meanwhile.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::catch;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::drained;
use crate::report::Row;
use crate::sampler::{judge, totals};
use crate::strike::busiest;
use ::http::Method;
use anyhow::{Context as _, Result};
use provider_sim::Query;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Out of so many devices one changes.
const CHANGE: usize = 100;
const DRAIN: Duration = Duration::from_secs(400);
/// What a segmenter may take, however large the audience.
const MOST_MIB: u64 = 128;

/// What happens to a device while the audience is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Deleted,
    Tagged,
    Registered,
}

/// F10.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F10", "segmenters killed over one big audience that changes", options.seed);
    let (devices, kills) = options.pick((20_000, 3), (200_000, 10), (10_000_000, 30));
    let mut dice = Dice::new(options.seed, "churn");
    let tenant = Tenant::new(platform, "f10", devices, &mut dice).await?;
    row.say(format!("{devices} devices are registered"));
    let caller = Caller::new(&platform.http, &tenant.key);
    let everybody: Arc<Vec<String>> = Arc::new(tenant.devices.iter().map(|device| device.id.clone()).collect());
    let body = json!({"app": tenant.app, "to": {"all": true}, "content": {"title": "To all of you"}});
    let id = caller.send(&body, "everybody", everybody).await?.context("the call was refused")?;
    let changing = change(&tenant, &caller, &mut dice);
    let mut hits = 0;
    let mut largest = 0;
    for number in 0..kills {
        tokio::time::sleep(dice.between(300, 1_500)).await;
        let victim = busiest(platform, "segmenter", &mut dice).await?;
        let sight = catch(platform, Some(victim)).await;
        let walking = !expanded(platform, &id).await?;
        hits += u64::from(walking);
        largest = platform.of("segmenter").map(|one| one.rss() >> 20).fold(largest, u64::max);
        victim.kill().await?;
        row.kills += 1;
        let what = format!("SIGKILL {}, {}", victim.name(), if walking { "walking" } else { "walked" });
        if walking {
            row.strike(&what, &sight)
        } else {
            row.fault(&what, &sight)
        }
        row.say(format!("{}/{kills} {} is killed, walking {walking}", number + 1, victim.name()));
        tokio::time::sleep(dice.between(100, 500)).await;
        victim.respawn(&[])?;
        if !walking && hits > 0 {
            break;
        }
    }
    row.figure("kills_during_the_walk", hits);
    row.figure("segmenter_mib", largest);
    row.expect(largest <= MOST_MIB, || format!("a segmenter took {largest} MiB"));
    row.expect(hits > 0, || "no kill struck the walk".to_owned());
    let changed = changing.await??;
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.expect(stuck.is_empty(), || "it does not end".to_owned());
    let view = caller.get(&format!("/v1/notifications/{id}")).await?;
    row.expect(judge(&view, None).is_none(), || format!("{:?}", judge(&view, None)));
    row.stuck = totals(&view).map_or(0, |(_, pending)| u64::try_from(pending).unwrap_or(0));
    row.figure("counts", view["counts"]["push"].clone());
    judge_tokens(platform, &tenant, &id, &changed, &mut row);
    Ok(row)
}

async fn expanded(platform: &Platform, id: &str) -> Result<bool> {
    let sql = "SELECT expanded FROM notifications WHERE notification_id = $1::text::uuid";
    Ok(platform.rows(sql, &[&id]).await?.first().context("the notification")?.get(0))
}

/// Deletes, tags and registers anew, a third each, over the public API.
fn change(tenant: &Tenant, caller: &Caller, dice: &mut Dice) -> JoinHandle<Result<HashMap<String, Change>>> {
    let mut plan: Vec<(String, Change, serde_json::Value)> = Vec::new();
    for _ in 0..tenant.devices.len() / CHANGE {
        let device = &tenant.devices[dice.below(tenant.devices.len())];
        // A browser's keys are not at hand here.
        if device.token.starts_with("https") || plan.iter().any(|(id, ..)| *id == device.id) {
            continue;
        }
        let kind = [Change::Deleted, Change::Tagged, Change::Registered][dice.below(3)];
        let body = match kind {
            Change::Registered => {
                json!({"platform": device.provider.name(), "token": device.token, "app_version": "2.0.0"})
            }
            _ => json!({"tags": ["changed"]}),
        };
        plan.push((device.id.clone(), kind, body));
    }
    let (caller, app) = (caller.clone(), tenant.app.clone());
    tokio::spawn(async move {
        let mut changed = HashMap::new();
        for (id, kind, body) in plan {
            let path = format!("/v1/apps/{app}/devices/{id}");
            let answer = match kind {
                Change::Deleted => caller.call(Method::DELETE, &path, None, None).await?,
                Change::Tagged => caller.call(Method::PATCH, &path, Some(&body), None).await?,
                Change::Registered => caller.call(Method::PUT, &path, Some(&body), None).await?,
            };
            anyhow::ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.words());
            changed.insert(id, kind);
        }
        Ok(changed)
    })
}

fn judge_tokens(platform: &Platform, tenant: &Tenant, id: &str, changed: &HashMap<String, Change>, row: &mut Row) {
    let query = Query { accepted: Some(true), notification_id: Some(id.to_owned()), ..Query::default() };
    let mut seen: HashMap<String, u64> = HashMap::new();
    for record in platform.sim.ledger().records(&query) {
        *seen.entry(record.token).or_default() += 1;
    }
    let mut lost = Vec::new();
    for device in &tenant.devices {
        row.accepted += 1;
        let times = seen.get(&device.token).copied().unwrap_or(0);
        row.duplicates += times.saturating_sub(1);
        if times == 0 && changed.get(&device.id) != Some(&Change::Deleted) {
            row.lost += 1;
            lost.push(device.id.clone());
        }
    }
    let (twice, changes) = (row.duplicates, changed.len());
    row.figure("devices_changed", changes);
    row.expect(lost.is_empty(), || format!("{} were not reached, {:?} among them", lost.len(), lost.first()));
    row.expect(twice == 0, || format!("{twice} pushes twice"));
}
