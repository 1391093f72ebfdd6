//! F4 and F5: how long it takes until all is well after the broker, or the database, is back.

use super::failover;
use super::load::Feeder;
use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::catch;
use crate::options::{Options, Size};
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use crate::stack::Server;
use anyhow::{Context as _, Result};
use carillon_broker::{Outgoing, Queue, Raw};
use provider_sim::{Conditions, Provider, Query};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const DRAIN: Duration = Duration::from_secs(120);
/// Steady load is measured so long.
pub(super) const STEADY: Duration = Duration::from_secs(8);
/// Windows in which throughput is counted after the return.
const WINDOW: Duration = Duration::from_secs(1);
/// A published chunk is looked at again after a minute.
const REPUBLISHED: Duration = Duration::from_secs(75);
/// How long a recovery is watched.
const WATCHED: Duration = Duration::from_secs(120);

/// What a server promises on its return.
struct Promise {
    id: &'static str,
    title: &'static str,
    server: Server,
    /// From the open port to nine tenths of the throughput before.
    recovery: Duration,
}

/// F4.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn broker(platform: &Platform, options: &Options) -> Result<Row> {
    let title = "broker back after a restart: first confirm and throughput";
    let promise = Promise { id: "F4", title, server: Server::Broker, recovery: Duration::from_secs(10) };
    run(platform, options, &promise).await
}

/// F5.
///
/// # Errors
/// As [`broker`].
pub(crate) async fn database(platform: &Platform, options: &Options) -> Result<Row> {
    let title = "PostgreSQL back after a restart: refusals meanwhile and throughput";
    let promise = Promise { id: "F5", title, server: Server::Postgres, recovery: Duration::from_secs(5) };
    run(platform, options, &promise).await
}

async fn run(platform: &Platform, options: &Options, promise: &Promise) -> Result<Row> {
    let mut row = Row::new(promise.id, promise.title, options.seed);
    let mut dice = Dice::new(options.seed, promise.id);
    let tenant = Tenant::new(platform, &promise.id.to_lowercase(), 10_000, &mut dice).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    // A rate that the platform holds without effort: what is measured is the return, not the limit.
    for provider in [Provider::Apns, Provider::Fcm, Provider::Webpush] {
        platform.sim.set_conditions(provider, Conditions { delay_ms: 800, ..Conditions::default() })?;
    }
    let feeder = Feeder::start(&tenant, &caller, 1, &dice);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..options.pick(1, 1, 20) {
        once(platform, &caller, promise, &mut row, Away::Briefly).await?;
    }
    match promise.server {
        Server::Broker => {
            if options.size == Size::Full {
                once(platform, &caller, promise, &mut row, Away::Long).await?;
            }
            if options.size != Size::Ci {
                once(platform, &caller, promise, &mut row, Away::WithoutDisk).await?;
            }
        }
        Server::Postgres if options.size != Size::Ci => {
            failover::switch_over(platform, &caller, &mut row, promise.recovery).await?;
        }
        Server::Postgres => {}
    }
    let promised = feeder.finish().await?;
    row.say(format!("{promised} recipients are promised"));
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.expect(stuck.is_empty(), || format!("{} notifications are stuck", stuck.len()));
    join(platform, &tenant, &caller, &mut row).await?;
    row.figure("answers", json!(caller.book().answers));
    Ok(row)
}

/// How a server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// As long as its start takes.
    Briefly,
    /// A quarter of an hour.
    Long,
    /// And all that it had on its disk.
    WithoutDisk,
}

impl Away {
    /// What figures are called.
    fn suffix(self) -> &'static str {
        match self {
            Self::Briefly => "",
            Self::Long => "_after_15_minutes",
            Self::WithoutDisk => "_without_its_disk",
        }
    }
}

async fn once(platform: &Platform, caller: &Caller, promise: &Promise, row: &mut Row, away: Away) -> Result<()> {
    let before = rate(platform, STEADY).await;
    let suffix = away.suffix();
    row.figure(&format!("pushes_per_second_before{suffix}"), before.round());
    let sight = catch(platform, None).await;
    platform.stack.kill(promise.server).await?;
    row.restarts += 1;
    row.strike(&format!("SIGKILL {}{}", promise.server.name(), suffix.replace('_', " ")), &sight);
    if away == Away::Long {
        tokio::time::sleep(Duration::from_secs(900)).await;
    }
    let url = match promise.server {
        Server::Broker => &platform.amqp_url,
        Server::Postgres => &platform.database_url,
    };
    let address = address(url)?;
    if promise.server == Server::Postgres {
        refusals(caller, row).await;
    }
    let revive = async {
        match away {
            Away::WithoutDisk => platform.stack.revive_broker_empty().await,
            Away::Briefly | Away::Long => platform.stack.revive(promise.server).await,
        }
    };
    let watch = async {
        let opened = open(address).await;
        let confirm = match promise.server {
            Server::Broker => Some(first_confirm(platform, opened).await),
            Server::Postgres => None,
        };
        (confirm, recovered(platform, before, opened).await)
    };
    let (revived, (confirm, recovered)) = tokio::join!(revive, watch);
    revived?;
    if let Some(confirm) = confirm {
        row.figure(&format!("seconds_to_first_confirm{suffix}"), confirm.as_secs_f64());
        row.expect(confirm <= Duration::from_secs(2), || format!("the first confirm took {confirm:?}"));
    }
    row.figure(&format!("seconds_to_nine_tenths{suffix}"), recovered.as_secs_f64());
    // What lay on a lost disk is published again when its rows are due.
    let most = if away == Away::WithoutDisk { REPUBLISHED } else { promise.recovery };
    row.expect(recovered <= most, || format!("nine tenths of the throughput took {recovered:?}"));
    Ok(())
}

/// Pushes that providers accept, per second.
pub(super) async fn rate(platform: &Platform, over: Duration) -> f64 {
    let first = accepted(platform);
    tokio::time::sleep(over).await;
    (accepted(platform) - first) as f64 / over.as_secs_f64()
}

fn accepted(platform: &Platform) -> u64 {
    let summary = platform.sim.ledger().summary();
    [Provider::Apns, Provider::Fcm, Provider::Webpush].map(|provider| summary.of(provider).accepted).iter().sum()
}

pub(super) fn address(url: &str) -> Result<SocketAddr> {
    let after = url.rsplit_once('@').context("the URL has a user")?.1;
    let authority = after.split('/').next().unwrap_or(after);
    Ok(authority.parse()?)
}

/// When the port opens.
async fn open(address: SocketAddr) -> Instant {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) && TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Instant::now()
}

/// A publisher of ours that lives through it, as the services' do.
async fn first_confirm(platform: &Platform, opened: Instant) -> Duration {
    let queue = Queue::<Raw>::new("ingest-api.refused", &[]);
    while opened.elapsed() < Duration::from_secs(60) {
        let message = Outgoing::to(&queue, &Raw("is anybody there".into()));
        if platform.broker.publisher().publish(message).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    opened.elapsed()
}

/// From the opening of the port to the first second with nine tenths of the pushes of before.
pub(super) async fn recovered(platform: &Platform, before: f64, opened: Instant) -> Duration {
    while opened.elapsed() < WATCHED {
        let began = opened.elapsed();
        if rate(platform, WINDOW).await >= before * 0.9 {
            return began;
        }
    }
    opened.elapsed()
}

/// While the database is away every call is answered, and soon.
async fn refusals(caller: &Caller, row: &mut Row) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let first = caller.book().took.len();
    let body = json!({"app": "any", "to": {"all": true}, "content": {"title": "Nobody is at home"}});
    for number in 0..40 {
        let key = format!("away-{number}");
        caller.once(::http::Method::POST, "/v1/notifications", Some(&body), Some(&key)).await;
    }
    let took: Vec<(u16, f64)> = caller.book().took[first..].to_vec();
    let slowest = took.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let others = took.iter().filter(|(status, _)| *status != 503).count();
    row.figure("refusals_while_away", took.len());
    row.figure("slowest_refusal_ms", slowest.round());
    row.expect(others == 0, || format!("{others} calls were not answered 503 while the database was away"));
    row.expect(slowest <= 300.0, || format!("a refusal took {slowest:.0} ms"));
}

/// How many pushes of a notification were accepted at a time after `since`; for rows that ask when sending ended.
pub(crate) fn accepted_after(platform: &Platform, id: &str, since: jiff::Timestamp) -> usize {
    let query = Query { accepted: Some(true), notification_id: Some(id.to_owned()), ..Query::default() };
    platform.sim.ledger().records(&query).iter().filter(|record| record.at > since).count()
}
