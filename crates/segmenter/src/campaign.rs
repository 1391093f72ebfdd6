//! Campaigns: walked page by page, in turns of about a second, and for a minute no further than their chunks are taken off them.

use crate::Segmenter;
use crate::audience::{Addressee, paged};
use crate::expand::{Run, ids_of, prepare};
use crate::message::messages;
use crate::plan::plan;
use crate::share::Share;
use crate::trace::Trace;
use crate::wakeup::{wake_campaign, wake_up};
use carillon_broker::Effects;
use carillon_domain::ids::NotificationId;
use carillon_domain::platform::Lane;
use carillon_store::{Error, Expansion, Narrowing};
use carillon_telemetry::RemoteContext;
use carillon_wire::events::{AcceptedNotification, NotificationsAccepted};
use std::time::{Duration, Instant};
use tracing::{Instrument as _, Span};

/// How long one campaign is walked before its messages leave and the next has its turn. Each turn is a wake-up, and may meet a replica that has
/// lost its database, which gives it back after a while: the fewer the better.
const TURN: Duration = Duration::from_secs(1);

/// Messages after which a turn is over before its time: until they leave they lie in memory together, of up to 128 KiB each.
const MESSAGES: usize = 32;

/// How long a campaign is walked no further than its chunks are taken off it. A chunk that waits as a row is read twice, but callers want to know how many
/// are meant, and only the walk tells.
const WALKED_WITHIN: Duration = Duration::from_secs(60);

/// Walks the named campaigns for a turn each. What is not finished is woken again, behind everybody else in the queue. `epoch` is the page
/// that the wake-up is for, `lane` where it came from.
pub(crate) async fn walk(
    segmenter: &Segmenter,
    event: &NotificationsAccepted,
    epoch: Option<i32>,
    lane: Lane,
) -> Result<Effects, Error> {
    let mut done = Done::default();
    let alone = event.notifications.len() == 1;
    let mut left = ids_of(event).into_iter().zip(&event.notifications);
    while let Some((id, accepted)) = left.next() {
        let span = Trace::of(accepted, alone).map_or_else(Span::none, Trace::into_span);
        match turn(segmenter, id, accepted, epoch, &mut done).instrument(span).await {
            Ok(()) => {}
            Err(error) if !done.tried => return Err(error),
            Err(error) => {
                // What is committed is published first, and the rest is woken again, for whichever page comes next: handled anew, the
                // messages would be forgotten, and the page that this wake-up is for may be committed by now.
                tracing::warn!(%error, "a campaign's walk is broken off");
                done.effects.push(wake_up(lane, vec![accepted.clone()]));
                done.effects.extend(left.by_ref().map(|(_, other)| wake_up(lane, vec![other.clone()])));
            }
        }
    }
    Ok(done.effects)
}

/// What a wake-up has led to so far.
#[derive(Default)]
struct Done {
    effects: Effects,
    /// A commit was tried, and may have happened.
    tried: bool,
}

/// One campaign's turn.
async fn turn(
    segmenter: &Segmenter,
    id: NotificationId,
    accepted: &AcceptedNotification,
    mut epoch: Option<i32>,
    done: &mut Done,
) -> Result<(), Error> {
    let single = NotificationsAccepted { notifications: vec![accepted.clone()] };
    let began = Instant::now();
    while let Walked::More(next, lane) = page(segmenter, id, &single, epoch, done).await? {
        if began.elapsed() >= TURN || done.effects.len() >= MESSAGES {
            done.effects.push(wake_campaign(&RemoteContext::current(), accepted.clone(), next, lane));
            break;
        }
        epoch = Some(next);
    }
    Ok(())
}

enum Walked {
    Done,
    /// Its tenant has as much in hand as it may: its row says when it is looked at again.
    Rests,
    /// The page that comes next, and the lane of its wake-up.
    More(i32, Lane),
}

/// Commits the next page of a campaign, unless it is not the one that was expected.
async fn page(
    segmenter: &Segmenter,
    id: NotificationId,
    event: &NotificationsAccepted,
    epoch: Option<i32>,
    done: &mut Done,
) -> Result<Walked, Error> {
    let credentials = segmenter.credentials_for(event).await?;
    let (expansion, rows) = segmenter.store.expand(&[id]).await?;
    let now = expansion.now();
    let row = rows.into_iter().find(|row| epoch.is_none_or(|expected| expected == row.epoch));
    let Some(run) = row.and_then(|row| Run::read(row, now)) else {
        expansion.abandon().await?;
        return Ok(Walked::Done);
    };
    let mut share = Share::read(&expansion, &run.row, segmenter.config.outstanding_chunks).await?;
    // What has expired is not sent, and is walked to its end so that everybody's message is said to have expired. What goes now or never would be
    // over before its turn.
    let hurries = run.notification.is_now_or_never()
        || run.expires_at <= now
        || now.duration_since(run.started_at).unsigned_abs() >= WALKED_WITHIN;
    if run.row.cursor.is_some() && !hurries && share.is_used_up(segmenter.config.page_chunks()) {
        expansion.rest(id).await?;
        return Ok(Walked::Rests);
    }
    let (people, cursor, last) = people(segmenter, &expansion, &run).await?;
    let mut renderer = run.renderer(credentials.get(&run.row.app_key).map_or(&[][..], Vec::as_slice));
    let plan = plan(&segmenter.facts(&run, renderer.variants()), people);
    let mut prepared = prepare(&run, &mut renderer, plan, last, false, cursor, now, |platform| share.take(platform));
    prepared.page.rests = !hurries && share.has_no_room_for(&prepared.page.chunks);
    let rests = prepared.page.rests;
    done.tried = true;
    expansion.commit(vec![prepared.page], segmenter.slot).await?;
    done.effects.extend(messages(run.row.lane, prepared.messages, now));
    if !last {
        return Ok(if rests { Walked::Rests } else { Walked::More(run.row.epoch + 1, run.row.lane) });
    }
    // Its chunks may all be closed by now, and then nobody else will look.
    if let Err(error) = segmenter.store.finish_runs(&[run.id]).await {
        tracing::debug!(%error, "a run is left to the housekeeping to be marked as finished");
    }
    Ok(Walked::Done)
}

/// The page's persons, with the last of them, and whether nobody follows.
async fn people(
    segmenter: &Segmenter,
    expansion: &Expansion,
    run: &Run,
) -> Result<(Vec<Addressee>, Option<String>, bool), Error> {
    let to = &run.notification.draft().to;
    if !to.is_broad() {
        return segmenter.listed_page(expansion, run).await;
    }
    let after = run.row.cursor.as_deref();
    let limit = segmenter.config.page_recipients;
    let condition = to.condition.as_ref();
    let narrowing = Narrowing { platforms: &to.platforms, os: &to.os, condition, began: run.started_at };
    let page = expansion.page(run.row.app_key, after, narrowing, limit).await?;
    Ok((paged(to, run.notification.deliver(), page.devices), page.cursor, page.last))
}
