//! A switch-over of PostgreSQL: a standby is promoted, and the former primary comes back as one that can only be read. Whoever is still
//! connected to it must notice and leave.

use super::outage::{STEADY, rate, recovered};
use crate::caller::Caller;
use crate::observe::catch;
use crate::platform::{Platform, Way};
use crate::report::Row;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// How long everybody is led to a server that only reads.
const READ_ONLY: Duration = Duration::from_secs(3);
/// From the way's change to the moment when nobody may be connected to the former primary any more.
const LEFT_WITHIN: Duration = Duration::from_secs(30);
/// The services' connections; our own have another name.
const CONNECTED: &str = "SELECT application_name, count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = 'carillon' AND pid <> pg_backend_pid() GROUP BY 1";

/// Does it, judges the return, and puts everything back.
///
/// # Errors
/// If a server does not come up.
pub(super) async fn switch_over(platform: &Platform, caller: &Caller, row: &mut Row, recovery: Duration) -> Result<()> {
    let port = platform.stack.follow().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = rate(platform, STEADY).await;
    row.figure("pushes_per_second_before_the_switch", before.round());
    let sight = catch(platform, None).await;
    platform.stack.switch_over().await?;
    row.restarts += 1;
    row.strike("switch-over of postgres to its standby", &sight);
    tokio::time::sleep(READ_ONLY).await;
    lead(platform, SocketAddr::from(([127, 0, 0, 1], port)));
    let led = Instant::now();
    let recovered = recovered(platform, before, led).await;
    row.figure("seconds_to_nine_tenths_after_the_switch", recovered.as_secs_f64());
    row.expect(recovered <= recovery, || format!("nine tenths of the throughput took {recovered:?} after the switch"));
    let left = left(platform, led).await?;
    row.figure("seconds_until_nobody_is_read_only", left.as_secs_f64());
    row.expect(left <= LEFT_WITHIN, || "a connection is left to the server that can only be read".to_owned());
    let answer = caller.get("/v1/account").await?;
    row.expect(answer.is_object(), || "the API does not answer after the switch".to_owned());
    lead(platform, super::outage::address(&platform.database_url)?);
    platform.stack.adopt().await?;
    row.restarts += 1;
    Ok(())
}

/// Leads every new connection to this server.
fn lead(platform: &Platform, to: SocketAddr) {
    for replica in &platform.replicas {
        platform.ways(replica, Way::Database).iter().for_each(|proxy| proxy.lead_to(to));
    }
}

/// Until nobody is connected to the former primary.
async fn left(platform: &Platform, led: Instant) -> Result<Duration> {
    let url = &platform.database_url;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("the former primary")?;
    tokio::spawn(connection);
    let own = platform.own_connections();
    loop {
        let mut names = Vec::new();
        for line in client.query(CONNECTED, &[]).await? {
            let name: String = line.get(0);
            if !own.contains(&name.as_str()) {
                names.push(json!({"name": name, "connections": line.get::<_, i64>(1)}));
            }
        }
        if names.is_empty() || led.elapsed() > LEFT_WITHIN * 2 {
            if !names.is_empty() {
                eprintln!("still connected to the former primary: {names:?}");
            }
            return Ok(led.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
