//! Campaigns: walked page by page, in turns of about a second.

use crate::Segmenter;
use crate::audience::paged;
use crate::handler::{Run, ids_of, prepare, wake_up};
use crate::message::messages;
use crate::plan::plan;
use crate::trace::Trace;
use carillon_broker::Effects;
use carillon_domain::ids::NotificationId;
use carillon_domain::platform::{Lane, Platform};
use carillon_store::Error;
use carillon_wire::events::NotificationsAccepted;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tracing::{Instrument as _, Span};

/// How long one campaign is walked before the next has its turn.
const TURN: Duration = Duration::from_secs(1);

/// Walks the named campaigns for a turn each. What is not finished is woken again, behind everybody else in the queue.
pub(crate) async fn walk(segmenter: &Segmenter, event: &NotificationsAccepted) -> Result<Effects, Error> {
    let mut effects = Vec::new();
    let alone = event.notifications.len() == 1;
    for (id, accepted) in ids_of(event).into_iter().zip(&event.notifications) {
        let single = NotificationsAccepted { notifications: vec![accepted.clone()] };
        let span = Trace::of(accepted, alone).map_or_else(Span::none, Trace::into_span);
        turn(segmenter, id, single, &mut effects).instrument(span).await?;
    }
    Ok(effects)
}

async fn turn(
    segmenter: &Segmenter,
    id: NotificationId,
    single: NotificationsAccepted,
    effects: &mut Effects,
) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        match page(segmenter, id, &single, effects).await? {
            Walked::Done => return Ok(()),
            Walked::More if began.elapsed() < TURN => {}
            Walked::More => {
                effects.push(wake_up(Lane::Bulk, single.notifications));
                return Ok(());
            }
        }
    }
}

enum Walked {
    Done,
    More,
}

/// Commits the next page of a campaign.
async fn page(
    segmenter: &Segmenter,
    id: NotificationId,
    event: &NotificationsAccepted,
    effects: &mut Effects,
) -> Result<Walked, Error> {
    let credentials = segmenter.credentials_for(event).await?;
    let (expansion, rows) = segmenter.store.expand(&[id]).await?;
    let now = expansion.now();
    let Some(run) = rows.into_iter().next().and_then(|row| Run::read(row, now)) else {
        return Ok(Walked::Done);
    };
    let to = &run.notification.draft().to;
    let (plan, cursor, last) = if to.is_broad() {
        let limit = segmenter.config.page_recipients;
        let (devices, last) =
            expansion.page(run.row.app_key, run.row.cursor.as_deref(), &to.platforms, &to.os, limit).await?;
        let cursor = devices.last().map(|d| d.person.key().to_owned());
        let people = paged(to, run.notification.deliver(), devices);
        (plan(&segmenter.facts(&run), people), cursor, last)
    } else {
        let plans = segmenter.audiences(&expansion, std::slice::from_ref(&run)).await?;
        let Some(plan) = plans.into_iter().next() else { return Ok(Walked::Done) };
        (plan, None, true)
    };
    let mut used: HashMap<Platform, i64> = expansion.outstanding(Lane::Bulk).await?.into_iter().collect();
    let most = segmenter.config.outstanding_chunks;
    let credit = |platform| {
        let used = used.entry(platform).or_default();
        *used += 1;
        *used <= most
    };
    let credentials = credentials.get(&run.row.app_key).map_or(&[][..], Vec::as_slice);
    let prepared = prepare(&run, plan, last, false, cursor, credentials, now, credit);
    expansion.commit(vec![prepared.page], segmenter.slot).await?;
    effects.extend(messages(Lane::Bulk, prepared.messages, now));
    Ok(if last { Walked::Done } else { Walked::More })
}
