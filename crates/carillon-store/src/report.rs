//! Reports: what became of positions. Many reports share one transaction, and its number of statements does not grow with them.

mod write;

use crate::begun::Begun;
use crate::cascades::{CascadeTouch, touch_cascades};
use crate::claim::{ChunkRow, LEASE, lock_chunks};
use crate::first_word::{can_be_first, commit_first};
use crate::pausing::set_aside;
use crate::statuses::{DeliveryId, News, write_news};
use crate::{Error, Result, Store};
use carillon_domain::cascade::fires_at_once;
use carillon_domain::chunk::Position;
use carillon_domain::delivery_status::Status;
use carillon_domain::ids::{ChunkId, RunId};
use carillon_domain::notification::State;
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use carillon_failpoint::Point;
use deadpool_postgres::Object;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use write::{retire_tokens, writing};

/// `due_at` is moved on only when less than this is left: moving it costs an index entry.
const DUE_SLACK: SignedDuration = SignedDuration::from_secs(10);

/// A dispatcher's report about one chunk.
#[derive(Clone, Debug)]
pub struct ChunkReport {
    /// The chunk.
    pub chunk: ChunkId,
    /// The lease it sends under.
    pub lease: i64,
    /// What became of positions.
    pub outcomes: Vec<Outcome>,
    /// The dispatcher is done with the chunk.
    pub release: bool,
}

/// The ledger's word to the reporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continue {
    /// New sends may start for this long, counted from the ledger's clock in the answer.
    Go(Duration),
    /// Start nothing more.
    Stop,
}

/// What a group of reports did.
#[derive(Debug, Default)]
pub struct Reported {
    /// One word a report, in the order given.
    pub answers: Vec<Continue>,
    /// The database's clock.
    pub now: Option<Timestamp>,
    /// Runs of which a chunk was closed: they may be finished now.
    pub closed_runs: Vec<RunId>,
    /// Devices that were sent to, for [`Store::mark_sent`].
    pub sent: Vec<i64>,
}

impl Store {
    /// Takes a group of reports, whatever their leases say: what a provider took is a fact. Only the word about new sends depends on the
    /// lease and on the run's state. When it returns, everything reported is committed.
    ///
    /// # Errors
    /// Nothing of the group is committed, or, if the connection broke at the commit, all or nothing is: repeating it changes nothing twice.
    pub async fn report(&self, reports: &[ChunkReport], slot: i16) -> Result<Reported> {
        if self.first_word.may_be_tried() {
            match self.report_by(reports, slot, true).await {
                // Undone by now. A receipt came before the report of its message.
                Err(Error::Duplicate(_)) => self.first_word.was_not(),
                done => return done,
            }
        }
        self.report_by(reports, slot, false).await
    }

    /// With `first`, nothing may be known of any message that is reported on for the first time; [`Error::Duplicate`] if something is.
    async fn report_by(&self, reports: &[ChunkReport], slot: i16, first: bool) -> Result<Reported> {
        let mut ids: Vec<ChunkId> = reports.iter().map(|r| r.chunk).collect();
        ids.sort_unstable();
        ids.dedup();
        let lock = async |client: &Object| lock_chunks(client, &ids).await;
        let (transaction, mut rows) = Begun::with(self.connection().await?, lock).await?;
        let mut effects = Effects::default();
        let mut written = Vec::with_capacity(rows.len());
        // What nobody answers for, because the chunk's row is gone, is stopped.
        let mut out = Reported { answers: vec![Continue::Stop; reports.len()], ..Reported::default() };
        let mut by_chunk: BTreeMap<ChunkId, Vec<usize>> = BTreeMap::new();
        for (i, report) in reports.iter().enumerate() {
            by_chunk.entry(report.chunk).or_default().push(i);
        }
        for row in &mut rows {
            out.now = Some(row.now);
            let mine = by_chunk.remove(&row.id).unwrap_or_default();
            written.push(apply(row, reports, &mine, &mut effects, &mut out));
        }
        let client = transaction.client()?;
        if out.now.is_none() {
            out.now = Some(client.query_one("SELECT now()", &[]).await?.get(0));
        }
        let writing = writing(client, &rows, &written).await?;
        let paused = rows.iter().zip(&written).filter(|(row, w)| row.state == Some(State::Paused) && w.released);
        let paused: Vec<ChunkId> = paused.map(|(row, _)| row.id).collect();
        let alone = paused.is_empty() && effects.cascades.is_empty() && effects.retired.is_empty();
        if first && alone && !effects.repeated && can_be_first(&effects.news) {
            commit_first(transaction, Point::ReportCommit, writing, effects.news, slot).await?;
        } else {
            if let Some(writing) = writing {
                writing.send(client).await?;
            }
            set_aside(client, &paused).await?;
            touch_cascades(client, &effects.cascades).await?;
            retire_tokens(client, &effects.retired).await?;
            write_news(client, effects.news, slot).await?;
            transaction.commit(Point::ReportCommit).await?;
        }
        out.sent = effects.sent;
        Ok(out)
    }
}

#[derive(Default)]
struct Effects {
    news: Vec<News>,
    cascades: Vec<CascadeTouch>,
    retired: Vec<(i64, i32, Option<Timestamp>)>,
    sent: Vec<i64>,
    /// Something was reported of a position that was closed before.
    repeated: bool,
}

/// What a chunk's row becomes beside its positions.
struct Written {
    idle_claims: i16,
    outstanding: bool,
    hold: Hold,
    due_at: Option<Timestamp>,
    /// By who held it.
    released: bool,
}

#[derive(Clone, Copy)]
enum Hold {
    Leave = 0,
    Extend = 1,
    End = 2,
}

/// Applies the reports with the indices `mine`, all of this row.
fn apply(
    row: &mut ChunkRow,
    reports: &[ChunkReport],
    mine: &[usize],
    effects: &mut Effects,
    out: &mut Reported,
) -> Written {
    let own = || mine.iter().map(|i| &reports[*i]);
    let mut progress = false;
    for outcome in own().flat_map(|r| &r.outcomes) {
        progress |= apply_outcome(row, outcome, effects);
    }
    let holder = own().any(|r| r.lease == row.lease);
    let released = own().any(|r| r.release && r.lease == row.lease);
    let open = row.positions.next_due().is_some();
    let running = row.state == Some(State::Sending);
    // Who must start nothing more because of a pause still has requests under way: nobody else may send those meanwhile.
    let keep = holder && !released && open && (running || row.state == Some(State::Paused));
    let go = keep && running;
    for i in mine.iter().filter(|i| go && reports[**i].lease == row.lease) {
        out.answers[*i] = Continue::Go(LEASE);
    }
    if !open && row.due_at.is_some() {
        out.closed_runs.push(row.id.run);
    }
    let far = row.due_at.is_some_and(|due| due.duration_since(row.now) >= DUE_SLACK);
    let due_at = match () {
        () if !open => None,
        () if released => row.rest_due(),
        () if keep && !far => Some(row.now + SignedDuration::from_secs(crate::claim::CLAIMED_DUE.as_secs() as i64)),
        () => row.due_at.or(Some(row.now)),
    };
    Written {
        idle_claims: if progress { 0 } else { row.idle_claims },
        outstanding: open && !released && row.outstanding,
        hold: if keep {
            Hold::Extend
        } else if released || !open {
            Hold::End
        } else {
            Hold::Leave
        },
        due_at,
        released,
    }
}

/// Applies one outcome; `true` when the position moved. Evidence is written even for a position that was closed before: a late
/// `sent` of a cancelled position is a fact, and the greatest evidence wins.
fn apply_outcome(row: &mut ChunkRow, outcome: &Outcome, effects: &mut Effects) -> bool {
    let position = usize::from(outcome.position);
    let Some(device_key) = row.device_key(position) else { return false };
    if let TokenVerdict::Retire { since } = outcome.token {
        effects.retired.push((device_key, outcome.generation as i32, since));
    }
    match &outcome.progress {
        Progress::Deferred { not_before, attempts } => {
            let offset = row.offset(*not_before);
            row.positions.defer(position, *attempts, offset)
        }
        Progress::Closed { status, reason, provider_id } => {
            let was_open = matches!(row.positions.get(position), Some(Position::Open(_)));
            row.positions.close(position, *status);
            effects.repeated |= !was_open;
            if *status == Status::Sent {
                effects.sent.push(device_key);
            }
            effects.news.push(News {
                id: DeliveryId { run: row.id.run, subject: device_key, link: row.link },
                tenant: row.tenant,
                platform: Some(row.platform),
                status: *status,
                reason: *reason,
                person: None,
                provider_id: provider_id.clone(),
                at: row.now,
            });
            if let Some(person_number) = row.person_number(position) {
                effects.cascades.push(CascadeTouch {
                    run: row.id.run,
                    link: row.link + 1,
                    person_number,
                    closed: i16::from(was_open),
                    sent: *status == Status::Sent,
                    fires: fires_at_once(*status, *reason),
                });
            }
            was_open
        }
    }
}
