//! F14: messages that nobody can read or that break whoever handles them.

use super::killer;
use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::look;
use crate::options::{Options, Size};
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use anyhow::{Context as _, Result};
use carillon_broker::{Outgoing, Queue, Raw};
use carillon_domain::platform::{Lane, Platform as Platforms};
use carillon_tests::binary;
use carillon_wire::events::{AcceptedNotification, DispatchChunk, DispatchChunks, NotificationsAccepted};
use carillon_wire::topology::{self, RUNS_BULK, RUNS_TRANSACTIONAL};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The promise.
const PARKED_WITHIN: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(90);
/// Most messages that other rows may have had parked.
const LEFT_BY_OTHERS: usize = 100_000;
/// Queues that the poison goes into, as strangers see them.
const QUEUES: [&str; 8] = [
    "segmenter.runs.transactional",
    "segmenter.runs.bulk",
    "dispatcher-apns.transactional",
    "dispatcher-apns.bulk",
    "dispatcher-fcm.transactional",
    "dispatcher-fcm.bulk",
    "dispatcher-webpush.transactional",
    "dispatcher-webpush.bulk",
];

/// F14.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F14", "poison: events and chunks that cannot be read or break the handler", options.seed);
    let (poisons, recipients) = options.pick((100, 4_000), (100, 20_000), (1_000, 1_000_000));
    let mut dice = Dice::new(options.seed, "poison");
    // What other rows left there is not this one's.
    platform.broker.inspector().discard(&carillon_broker::ParkedFilter::default(), LEFT_BY_OTHERS).await?;
    let per_call = recipients.min(20_000);
    let tenant = Tenant::new(platform, "f14", per_call, &mut dice).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    let everybody: Arc<Vec<String>> = Arc::new(tenant.devices.iter().map(|device| device.id.clone()).collect());
    let calls = recipients / per_call;
    for call in 0..calls {
        let body =
            json!({"app": tenant.app, "to": {"all": true}, "content": {"title": "Neighbour", "data": {"call": call}}});
        caller.send(&body, &format!("neighbour-{call}"), Arc::clone(&everybody)).await?;
    }
    let sight = look(platform, None).await;
    let began = Instant::now();
    for number in 0..poisons {
        publish(platform, number, &mut dice).await?;
    }
    row.fault(&format!("{poisons} poisonous messages into {} queues", QUEUES.len()), &sight);
    row.say(format!("{poisons} poisonous messages are published"));
    let parked = wait_parked(platform, poisons).await;
    row.figure("parked", parked);
    row.figure("seconds_until_parked", (began.elapsed().as_secs_f64() * 10.0).round() / 10.0);
    row.expect(parked == poisons, || format!("{parked} of {poisons} are parked within {} s", PARKED_WITHIN.as_secs()));
    command(platform, &mut row, poisons).await?;
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.expect(stuck.is_empty(), || format!("{} neighbours are stuck", stuck.len()));
    join(platform, &tenant, &caller, &mut row).await?;
    let found = row.duplicates;
    row.expect(found == 0, || format!("{found} duplicates among the neighbours"));
    for replica in &platform.replicas {
        let alive = replica.alive();
        row.expect(alive.is_ok(), || format!("{alive:?}"));
    }
    let left = platform.broker.inspector().discard(&carillon_broker::ParkedFilter::default(), poisons * 2).await?;
    row.figure("discarded", left.moved);
    if options.size != Size::Ci {
        killer::run(platform, &tenant, &mut row, &mut dice).await?;
    }
    Ok(row)
}

/// Half are no protobuf at all; the others are well-formed, and an id or half of a chunk is missing.
async fn publish(platform: &Platform, number: usize, dice: &mut Dice) -> Result<()> {
    let outgoing = if number % 4 == 1 {
        let lane = if number % 8 == 1 { Lane::Transactional } else { Lane::Bulk };
        let queue = topology::chunks([Platforms::Apns, Platforms::Fcm, Platforms::Webpush][number % 3], lane);
        let run_id = uuid::Uuid::now_v7().as_bytes().to_vec();
        let half = DispatchChunk { notification_id: run_id.clone(), run_id, ..Default::default() };
        Outgoing::to(queue, &DispatchChunks { chunks: vec![half], published_at_ms: 0 })
    } else if number % 4 == 3 {
        let queue = if number % 8 == 3 { &RUNS_TRANSACTIONAL } else { &RUNS_BULK };
        Outgoing::to(queue, &NotificationsAccepted { notifications: vec![nonsense(dice)] })
    } else {
        let bytes: Vec<u8> = (0..40 + dice.below(200)).map(|_| 0xff ^ (dice.next() & 0x0f) as u8).collect();
        Outgoing::to(&Queue::<Raw>::new(QUEUES[number % QUEUES.len()], &[]), &Raw(bytes.into()))
    };
    platform.broker.publisher().publish(outgoing.with_id(format!("poison-{number}"))).await.context("poison")?;
    Ok(())
}

/// An id that is none.
fn nonsense(dice: &mut Dice) -> AcceptedNotification {
    AcceptedNotification { id: vec![7; 1 + dice.below(9)], tenant_key: -1, app_key: -1, ..Default::default() }
}

/// As many as are parked when all are, or when the time is over.
async fn wait_parked(platform: &Platform, wanted: usize) -> usize {
    let began = Instant::now();
    let mut parked = 0;
    while parked < wanted && began.elapsed() < PARKED_WITHIN {
        let listed = platform.broker.inspector().parked(wanted * 2).await;
        parked = listed.map_or(parked, |all| all.iter().filter(|one| !one.reason.is_empty()).count());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    parked
}

/// The operator's command lists them, and sends them back; being what they are, they come again.
async fn command(platform: &Platform, row: &mut Row, poisons: usize) -> Result<()> {
    let listed = carillon(platform, &["parked", "list", "--limit", &(poisons * 2).to_string()]).await?;
    let lines = listed.lines().filter(|line| line.contains("poison-")).count();
    row.expect(lines == poisons, || format!("`carillon parked list` shows {lines} of {poisons}"));
    let replayed = carillon(platform, &["parked", "replay", "--limit", &poisons.to_string()]).await?;
    row.say(format!("carillon parked replay: {}", replayed.trim()));
    row.expect(replayed.starts_with(&format!("{poisons} sent back")), || {
        format!("`carillon parked replay`: {replayed}")
    });
    let again = wait_parked(platform, poisons).await;
    row.expect(again == poisons, || format!("{again} of {poisons} are parked again after the replay"));
    Ok(())
}

pub(super) async fn carillon(platform: &Platform, arguments: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new(binary("carillon"));
    command.args(arguments).env("CARILLON_AMQP__URL", &platform.amqp_url);
    command.env("CARILLON_DATABASE__URL", &platform.database_url);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(60), run).await.context("the command hangs")???;
    anyhow::ensure!(output.status.success(), "carillon {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
