//! F14's second half: a message that kills whoever sends it. Nobody can catch that; the ledger counts claims that came to nothing, grants
//! the message alone, and at last no more. Then the dispatchers live, and an operator can send it again.

use super::poison::carillon;
use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::look;
use crate::platform::Platform;
use crate::report::Row;
use crate::trickle::{Sender, trickle};
use anyhow::{Context as _, Result};
use provider_sim::{Provider, Query};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the dispatchers of one platform do to themselves whenever they call their provider.
const DEADLY: &[(&str, &str)] = &[("FAILPOINTS__ARM", "egress.provider.call:before=kill@1")];
/// Six claims, each of which is looked at again after 15 s.
const SET_ASIDE_WITHIN: Duration = Duration::from_secs(200);
/// From the operator's word to the provider.
const SENT_WITHIN: Duration = Duration::from_secs(30);
/// How long the other platforms are watched meanwhile.
const WATCHED: Duration = Duration::from_secs(60);

/// Does it on a platform that has nothing else to do.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(super) async fn run(platform: &Platform, tenant: &Tenant, row: &mut Row, dice: &mut Dice) -> Result<()> {
    let of = |provider| tenant.devices.iter().find(|device| device.provider == provider).context("a device");
    let victim = of(Provider::Apns)?;
    let dispatchers: Vec<_> = platform.of("dispatcher-apns").collect();
    for replica in &dispatchers {
        replica.renew(DEADLY).await?;
    }
    let caller = Caller::new(&platform.http, &tenant.key);
    let body = json!({"app": tenant.app, "to": {"devices": [victim.id]}, "content": {"title": "Look at me"}});
    let sent = caller.send(&body, "deadly", Arc::new(vec![victim.id.clone()])).await?;
    let id = sent.context("the call was refused")?;
    row.fault("a message that kills each dispatcher that sends it", &look(platform, None).await);
    let neighbours = [Sender::new(platform, tenant, &[Provider::Fcm, Provider::Webpush])];
    let dying = async {
        let (began, mut deaths) = (Instant::now(), 0_u64);
        loop {
            for replica in &dispatchers {
                if replica.end().is_some() {
                    deaths += 1;
                    replica.respawn(DEADLY)?;
                }
            }
            let listed = carillon(platform, &["parked", "list"]).await?;
            if listed.lines().any(|line| line.contains(&id) && line.contains("no_progress")) {
                return Ok::<_, anyhow::Error>((deaths, Some(began.elapsed())));
            }
            if began.elapsed() > SET_ASIDE_WITHIN {
                return Ok((deaths, None));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (died, beside) = tokio::join!(dying, trickle(platform, &neighbours, 2, WATCHED, dice));
    let (deaths, aside) = died?;
    row.figure("dispatchers_killed_by_one_message", deaths);
    row.figure("seconds_until_it_was_set_aside", aside.map(|after| after.as_secs()));
    row.expect(aside.is_some(), || "the message that kills is never set aside".to_owned());
    row.expect((1..=7).contains(&deaths), || format!("it killed {deaths} dispatchers"));
    let harmed = beside.lost + beside.refused;
    row.lost += beside.lost;
    row.expect(harmed == 0, || format!("{harmed} messages to other platforms suffered"));
    for replica in &dispatchers {
        row.expect(replica.end().is_none(), || format!("{} has died again", replica.name()));
        replica.renew(&[]).await?;
    }
    let replayed = carillon(platform, &["parked", "replay"]).await?;
    row.say(format!("carillon parked replay: {}", replayed.trim()));
    let query =
        Query { accepted: Some(true), notification_id: Some(id), ..Query::token(Provider::Apns, victim.token.clone()) };
    let arrived = platform.sim.ledger().wait(&query, 1, SENT_WITHIN).await;
    row.accepted += 1;
    row.lost += u64::from(arrived.is_empty());
    row.expect(!arrived.is_empty(), || "what was sent back reached no provider".to_owned());
    Ok(())
}
