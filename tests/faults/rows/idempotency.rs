//! F11: the same key several times at once, while the API's processes are killed.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::look;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Keys under way at once.
const AT_ONCE: usize = 24;
const DRAIN: Duration = Duration::from_secs(90);

/// F11.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F11", "idempotency: the same key 2 to 5 times at once, with kills", options.seed);
    let (keys, kills) = options.pick((1_000, 2), (10_000, 6), (100_000, 40));
    let mut dice = Dice::new(options.seed, "keys");
    let tenant = Tenant::new(platform, "f11", 1_000, &mut dice).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    let done = Arc::new(AtomicU64::new(0));
    let sending = send_all(&tenant, &caller, keys, dice.clone(), Arc::clone(&done));
    let killing = kill(platform, &mut row, keys as u64, kills, &done, &mut dice);
    let (torn, killed) = tokio::join!(sending, killing);
    let (calls, torn) = torn?;
    killed?;
    row.figure("calls", calls);
    row.expect(torn.is_empty(), || format!("{} keys with several effects: {:?}", torn.len(), torn.first()));
    let sql = "SELECT count(*) FROM notifications WHERE tenant_key = $1";
    let rows = platform.rows(sql, &[&tenant.tenant_key]).await?;
    let kept: i64 = rows.first().context("a count")?.get(0);
    row.expect(usize::try_from(kept) == Ok(keys), || format!("{kept} notifications of {keys} keys"));
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.expect(stuck.is_empty(), || format!("{} notifications are stuck", stuck.len()));
    row.figure("answers", json!(caller.book().answers));
    let joined = join(platform, &tenant, &caller, &mut row).await?;
    row.expect(joined.duplicates.is_empty(), || format!("pushes twice: {:?}", joined.duplicates));
    Ok(row)
}

async fn send_all(
    tenant: &Tenant,
    caller: &Caller,
    keys: usize,
    mut dice: Dice,
    done: Arc<AtomicU64>,
) -> Result<(u64, Vec<String>)> {
    let mut under_way: JoinSet<Result<Option<String>>> = JoinSet::new();
    let (mut calls, mut torn) = (0, Vec::new());
    for number in 0..keys {
        let times = 2 + dice.below(4);
        calls += times as u64;
        let device = tenant.devices[dice.below(tenant.devices.len())].id.clone();
        under_way.spawn(one(caller.clone(), tenant.app.clone(), number, times, device));
        while under_way.len() >= AT_ONCE {
            torn.extend(under_way.join_next().await.context("one is under way")???);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    while let Some(found) = under_way.join_next().await {
        torn.extend(found??);
    }
    Ok((calls, torn))
}

/// All calls of one key at once; what is wrong with their answers.
async fn one(caller: Caller, app: String, number: usize, times: usize, device: String) -> Result<Option<String>> {
    let body = json!({"app": app, "reference": format!("key-{number}"), "to": {"devices": [device]},
                      "content": {"title": "Once", "body": "and only once", "data": {"number": number}}});
    let key = format!("key-{number}");
    let mut calls = JoinSet::new();
    let device = Arc::new(vec![device]);
    for _ in 0..times {
        let (caller, body, key, device) = (caller.clone(), body.clone(), key.clone(), Arc::clone(&device));
        calls.spawn(async move { caller.send(&body, &key, device).await });
    }
    let mut ids = BTreeSet::new();
    while let Some(id) = calls.join_next().await {
        ids.insert(id??.unwrap_or_else(|| "refused".to_owned()));
    }
    let torn = ids.len() != 1 || ids.contains("refused");
    Ok(torn.then(|| format!("{key}: {ids:?}")))
}

/// One replica after the other, evenly over the keys.
async fn kill(
    platform: &Platform,
    row: &mut Row,
    keys: u64,
    kills: u64,
    done: &AtomicU64,
    dice: &mut Dice,
) -> Result<()> {
    for number in 0..kills {
        let at = keys * (number + 1) / (kills + 2);
        while done.load(Ordering::Relaxed) < at {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let replicas: Vec<_> = platform.of("ingest-api").collect();
        let victim = replicas[usize::try_from(number).unwrap_or(0) % replicas.len()];
        let sight = look(platform, None).await;
        victim.kill().await?;
        row.kills += 1;
        row.fault(&format!("SIGKILL {} after {at} keys", victim.name()), &sight);
        row.say(format!("{} is killed after {at} keys", victim.name()));
        tokio::time::sleep(dice.between(100, 600)).await;
        victim.respawn(&[])?;
        victim.ready().await?;
    }
    Ok(())
}
