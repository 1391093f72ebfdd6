//! F10: segmenters are killed again and again over one big audience that changes meanwhile: everybody without a tag, which some get.

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
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Out of so many devices one changes, and out of ten times as many one has the tag from the beginning.
const CHANGE: usize = 100;
/// Who has it is not meant.
const TAG: &str = "changed";
const DRAIN: Duration = Duration::from_secs(400);
/// Of ten million devices.
const DRAIN_IN_FULL: Duration = Duration::from_secs(2_400);
/// What a segmenter may take, however large the audience.
const MOST_MIB: u64 = 128;

/// What happens to a device while the audience is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Deleted,
    Tagged,
    Registered,
    /// Its person says who they are: in their hands it is another device, with the same token.
    LoggedIn,
    /// Tagged before the notification was sent.
    LeftOut,
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
    let left_out = leave_out(&tenant, &caller, &mut dice).await?;
    let to = json!({"where": format!("not tags has '{TAG}'")});
    let body = json!({"app": tenant.app, "to": to, "content": {"title": "To all of you"}});
    let id = caller.send(&body, "everybody", everybody).await?.context("the call was refused")?;
    let changing = change(&tenant, &caller, &mut dice, left_out);
    let mut hits = 0;
    let mut largest = 0;
    for number in 0..kills {
        tokio::time::sleep(dice.between(100, 400)).await;
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
        tokio::time::sleep(dice.between(50, 200)).await;
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
    let stuck = drained(&caller, &row, options.pick(DRAIN, DRAIN, DRAIN_IN_FULL)).await?;
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

/// Tags some before anything is sent.
async fn leave_out(tenant: &Tenant, caller: &Caller, dice: &mut Dice) -> Result<HashMap<String, Change>> {
    let mut left_out = HashMap::new();
    for _ in 0..tenant.devices.len() / CHANGE / 10 {
        let device = &tenant.devices[dice.below(tenant.devices.len())];
        tag(caller, &tenant.app, &device.id).await?;
        left_out.insert(device.id.clone(), Change::LeftOut);
    }
    Ok(left_out)
}

async fn tag(caller: &Caller, app: &str, device: &str) -> Result<()> {
    let path = format!("/v1/apps/{app}/devices/{device}");
    let answer = caller.call(Method::PATCH, &path, Some(&json!({"tags": [TAG]})), None).await?;
    anyhow::ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.words());
    Ok(())
}

/// Deletes, tags, registers anew and logs in, a quarter each, over the public API. With them those that are `changed` already.
fn change(
    tenant: &Tenant,
    caller: &Caller,
    dice: &mut Dice,
    mut changed: HashMap<String, Change>,
) -> JoinHandle<Result<HashMap<String, Change>>> {
    let mut plan: Vec<(String, Change, serde_json::Value)> = Vec::new();
    let mut planned: HashSet<&str> = HashSet::new();
    for _ in 0..tenant.devices.len() / CHANGE {
        let device = &tenant.devices[dice.below(tenant.devices.len())];
        // A browser's keys are not at hand here.
        let known = changed.contains_key(&device.id) || !planned.insert(&device.id);
        if device.token.starts_with("https") || known {
            continue;
        }
        let kind = [Change::Deleted, Change::Tagged, Change::Registered, Change::LoggedIn][dice.below(4)];
        let body = match kind {
            Change::Registered => {
                json!({"platform": device.provider.name(), "token": device.token, "app_version": "2.0.0"})
            }
            Change::LoggedIn => {
                let user = format!("known-{}", device.id);
                json!({"platform": device.provider.name(), "token": device.token, "user_id": user})
            }
            _ => serde_json::Value::Null,
        };
        plan.push((device.id.clone(), kind, body));
    }
    let (caller, app) = (caller.clone(), tenant.app.clone());
    tokio::spawn(async move {
        for (id, kind, body) in plan {
            let path = format!("/v1/apps/{app}/devices/{id}");
            let answer = match kind {
                Change::Deleted => Some(caller.call(Method::DELETE, &path, None, None).await?),
                Change::Registered | Change::LoggedIn => {
                    Some(caller.call(Method::PUT, &path, Some(&body), None).await?)
                }
                Change::Tagged | Change::LeftOut => {
                    tag(&caller, &app, &id).await?;
                    None
                }
            };
            if let Some(answer) = answer.filter(|answer| !answer.status.is_success()) {
                anyhow::bail!("{path}: {} {}", answer.status, answer.words());
            }
            changed.insert(id, kind);
        }
        Ok(changed)
    })
}

fn judge_tokens(platform: &Platform, tenant: &Tenant, id: &str, changed: &HashMap<String, Change>, row: &mut Row) {
    let query = Query { accepted: Some(true), notification_id: Some(id.to_owned()), ..Query::default() };
    let mut seen: HashMap<String, u64> = HashMap::new();
    platform.sim.ledger().visit(&query, |record| *seen.entry(record.token).or_default() += 1);
    let (mut lost, mut uncalled) = (Vec::new(), 0);
    for device in &tenant.devices {
        let times = seen.get(&device.token).copied().unwrap_or(0);
        row.duplicates += times.saturating_sub(1);
        match changed.get(&device.id) {
            Some(Change::LeftOut) => uncalled += times,
            // Either way: it may have been passed before it changed.
            Some(Change::Deleted | Change::Tagged | Change::LoggedIn) => row.accepted += 1,
            Some(Change::Registered) | None => {
                row.accepted += 1;
                if times == 0 {
                    row.lost += 1;
                    lost.push(device.id.clone());
                }
            }
        }
    }
    let (twice, changes) = (row.duplicates, changed.len());
    row.figure("devices_changed", changes);
    row.expect(uncalled == 0, || format!("{uncalled} were reached that the condition leaves out"));
    row.expect(lost.is_empty(), || format!("{} were not reached, {:?} among them", lost.len(), lost.first()));
    row.expect(twice == 0, || format!("{twice} pushes twice"));
}
