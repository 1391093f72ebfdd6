//! From due notifications to what is committed and published for them: small runs many at a time, in one transaction.

use crate::audience::{Addressee, Meant, by_run, cut, listed, selectors};
use crate::message::{Member, chunk, messages};
use crate::plan::{Plan, RunFacts, plan};
use crate::text::{Renderer, RunText};
use crate::trace::{self, Trace};
use crate::wakeup::one_by_one;
use crate::{Segmenter, campaign};
use carillon_broker::Effects;
use carillon_domain::ids::{AppKey, ChunkId, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::limits;
use carillon_domain::notification::Notification;
use carillon_domain::platform::{Lane, Platform};
use carillon_payload::Variants;
use carillon_store::{Error, Expansion, NewChunk, Page, Recipient, RunRow, fresh_lease};
use carillon_wire::events::{AdvanceGrant, NotificationsAccepted, SealedCredential};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use uuid::Uuid;

/// How long a lease granted in advance lasts, in milliseconds; the store writes the same.
const ADVANCE_LEASE_MS: u32 = 3_000;

/// A run under expansion, with what it says.
pub(crate) struct Run {
    pub row: RunRow,
    pub notification: Notification,
    pub id: RunId,
    /// When sending was due: accepted, or its time came. What it may live counts from here, whatever held it up since.
    pub released_at: Timestamp,
    pub started_at: Timestamp,
    pub expires_at: Timestamp,
    /// Where the trace of a transactional notification goes on; empty if it is not recorded.
    pub traceparent: String,
}

impl Run {
    /// Reads a locked row; starts the run when it was not started. `None`: the body does not read, which no retry mends.
    pub(crate) fn read(row: RunRow, now: Timestamp) -> Option<Self> {
        let notification = match carillon_wire::decode_body(&row.body) {
            Ok(notification) => notification,
            Err(error) => {
                tracing::error!(notification.id = %row.notification_id.0, %error, "a notification's body does not read; it is left alone");
                return None;
            }
        };
        let released_at = row.scheduled_at.unwrap_or(row.created_at);
        let (id, started_at, expires_at) = row.run.unwrap_or_else(|| {
            // A scheduled notification's run is minted when sending starts, so that its rows lie in this week's partition.
            let id = if row.scheduled_at.is_some() { RunId(Uuid::now_v7()) } else { row.notification_id.as_run() };
            (id, now, released_at + SignedDuration::from_secs(i64::from(notification.lives_for().0)))
        });
        Some(Self { row, notification, id, released_at, started_at, expires_at, traceparent: String::new() })
    }
}

impl Run {
    pub(crate) fn renderer<'a>(&'a self, credentials: &'a [(Platform, SealedCredential)]) -> Renderer<'a> {
        Renderer::new(RunText {
            notification: &self.notification,
            notification_id: self.row.notification_id,
            tenant: &self.row.tenant,
            icon_url: self.row.icon_url.as_deref(),
            default_locale: self.row.default_locale.as_deref(),
            push_enabled: self.row.push_enabled,
            released_at: self.released_at,
            expires_at: self.expires_at,
            credentials,
            link: 0,
            traceparent: &self.traceparent,
        })
    }
}

/// Everything one page leads to.
pub(crate) struct Prepared {
    pub page: Page,
    pub messages: Vec<(Platform, carillon_wire::events::DispatchChunk)>,
}

impl Segmenter {
    /// Expands a group of small runs in one transaction, if that is possible. `epoch` is the page that the wake-up of one that is walked is for.
    pub(crate) async fn expand_group(
        &self,
        event: &NotificationsAccepted,
        epoch: Option<i32>,
    ) -> Result<Effects, Error> {
        match self.expand_together(event).await? {
            Some(effects) => Ok(effects),
            None => self.expand_apart(event, epoch).await,
        }
    }

    /// Expands small runs in one transaction. Nothing where they mean more devices than one may hold, or one of them is walked page by page.
    pub(crate) async fn expand_together(&self, event: &NotificationsAccepted) -> Result<Option<Effects>, Error> {
        let traces = Trace::of_all(&event.notifications);
        let credentials = self.credentials_for(event).await?;
        let ids: Vec<NotificationId> = ids_of(event);
        let (expansion, rows) = self.store.expand(&ids).await?;
        let now = expansion.now();
        let mut runs: Vec<Run> = rows.into_iter().filter_map(|row| Run::read(row, now)).collect();
        for run in &mut runs {
            run.traceparent = trace::traceparent(&traces, run.row.notification_id);
        }
        if runs.is_empty() {
            expansion.abandon().await?;
            return Ok(Some(Vec::new()));
        }
        // One that was begun page by page goes on like that.
        let begun = runs.iter().any(|run| run.row.cursor.is_some());
        let per_run = if begun { None } else { self.audiences(&expansion, &runs).await? };
        let Some(per_run) = per_run else {
            expansion.abandon().await?;
            return Ok(None);
        };
        let mut prepared = Vec::with_capacity(runs.len());
        for (run, people) in runs.iter().zip(per_run) {
            let credentials = credentials.get(&run.row.app_key).map_or(&[][..], Vec::as_slice);
            let mut renderer = run.renderer(credentials);
            let plan = plan(&self.facts(run, renderer.variants()), people);
            let credit = |platform| self.credit.take(platform);
            prepared.push(prepare(run, &mut renderer, plan, true, true, None, now, credit));
        }
        let (pages, chunks): (Vec<Page>, Vec<_>) = prepared.into_iter().map(|p| (p.page, p.messages)).unzip();
        expansion.commit(pages, self.slot).await?;
        Ok(Some(messages(Lane::Transactional, chunks.into_iter().flatten().collect(), now)))
    }

    /// A group that means more devices than one transaction may hold: each notification by itself, and one alone page by page.
    async fn expand_apart(&self, event: &NotificationsAccepted, epoch: Option<i32>) -> Result<Effects, Error> {
        if event.notifications.len() > 1 {
            return Ok(one_by_one(event.clone()));
        }
        campaign::walk(self, event, epoch, Lane::Transactional).await
    }

    /// Reads the listed audiences of runs, each in the order of its persons. Nothing when they are more than one transaction may hold.
    async fn audiences(&self, expansion: &Expansion, runs: &[Run]) -> Result<Option<Vec<Vec<Addressee>>>, Error> {
        let mut all = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            all.extend(selectors(i as i32, run.row.app_key, &run.notification.draft().to));
        }
        let selection = expansion.select(&all, None, limits::PERSON_DEVICES).await?;
        if selection.cut || selection.found.len() > limits::PERSON_DEVICES {
            return Ok(None);
        }
        let per_run = by_run(runs.len(), &all, selection.found, &selection.absent);
        let mut audiences = Vec::with_capacity(runs.len());
        for (i, (run, (found, absent))) in runs.iter().zip(per_run).enumerate() {
            let own: Vec<_> = all.iter().filter(|s| s.run == i as i32).cloned().collect();
            let meant = meant(expansion, run, &found).await?;
            audiences.push(listed(&meant, run.notification.deliver(), &own, found, &absent));
        }
        Ok(Some(audiences))
    }

    /// The next persons of a listed audience after one, whole, with the last of them, and whether nobody follows.
    pub(crate) async fn listed_page(
        &self,
        expansion: &Expansion,
        run: &Run,
    ) -> Result<(Vec<Addressee>, Option<String>, bool), Error> {
        let own = selectors(0, run.row.app_key, &run.notification.draft().to);
        let after = run.row.cursor.as_deref().unwrap_or_default();
        let mut most = limits::PERSON_DEVICES;
        loop {
            let selection = expansion.select(&own, Some(after), most).await?;
            let found: Vec<_> = selection.found.into_iter().map(|one| (one.selector, one.device)).collect();
            let meant = meant(expansion, run, &found).await?;
            let mut people = listed(&meant, run.notification.deliver(), &own, found, &selection.absent);
            if let Some(horizon) = &selection.horizon {
                people.retain(|one| one.person < *horizon);
            }
            let (page, cursor, last) = cut(people, Some(after), self.config.page_recipients);
            if page.is_empty() && selection.cut {
                // Somebody has more than anybody may have: registered before there was a bound.
                most = most.saturating_mul(2);
                continue;
            }
            return Ok((page, cursor, last && !selection.cut));
        }
    }

    pub(crate) fn facts<'a>(&self, run: &'a Run, variants: &'a Variants) -> RunFacts<'a> {
        let draft = run.notification.draft();
        RunFacts {
            shown: draft.content.is_shown(),
            push_enabled: run.row.push_enabled,
            cascade: draft.cascade.first(),
            first_person: run.row.next_person,
            chunk_recipients: self.config.chunk_recipients,
            variants,
        }
    }

    pub(crate) async fn credentials_for(
        &self,
        event: &NotificationsAccepted,
    ) -> Result<HashMap<AppKey, Vec<(Platform, SealedCredential)>>, Error> {
        let mut all = HashMap::new();
        for n in &event.notifications {
            let app = AppKey(n.app_key);
            if let std::collections::hash_map::Entry::Vacant(slot) = all.entry(app) {
                slot.insert(self.credentials.of(TenantKey(n.tenant_key), app).await?);
            }
        }
        Ok(all)
    }
}

/// What narrows a listed audience: its condition is asked of the devices that were found.
async fn meant<'a>(expansion: &Expansion, run: &'a Run, found: &[(usize, Recipient)]) -> Result<Meant<'a>, Error> {
    let to = &run.notification.draft().to;
    let Some(condition) = &to.condition else { return Ok(Meant { to, meeting: None }) };
    let keys: Vec<DeviceKey> = found.iter().map(|(_, device)| device.key).collect();
    Ok(Meant { to, meeting: Some(expansion.meeting(&keys, condition, run.started_at).await?) })
}

pub(crate) fn ids_of(event: &NotificationsAccepted) -> Vec<NotificationId> {
    event.notifications.iter().filter_map(|n| Uuid::from_slice(&n.id).ok()).map(NotificationId).collect()
}

/// Turns a plan into the page to commit and the messages to publish after it. `credit` says whether one more chunk of a platform may
/// be published now; the others wait as rows.
#[allow(clippy::too_many_arguments, reason = "the facts of one page; a struct would only rename them")]
pub(crate) fn prepare(
    run: &Run,
    renderer: &mut Renderer<'_>,
    plan: Plan,
    last: bool,
    in_advance: bool,
    cursor: Option<String>,
    now: Timestamp,
    mut credit: impl FnMut(Platform) -> bool,
) -> Prepared {
    let (mut chunks, mut out) = (Vec::new(), Vec::new());
    for (i, planned) in plan.chunks.into_iter().enumerate() {
        let published = credit(planned.platform);
        let small = planned.members.len() <= limits::PREGRANTED_RECIPIENTS;
        let lease = (published && in_advance && small).then(fresh_lease);
        let devices = planned.members.iter().map(|device| device.key).collect();
        if published {
            let id = ChunkId { run: run.id, number: (run.row.next_chunk + i as i32) as u32 };
            let grant = lease.map(|lease| AdvanceGrant {
                lease: lease as u64,
                granted_at_ms: now.as_millisecond(),
                lease_ms: ADVANCE_LEASE_MS,
            });
            let members = planned.members.into_iter().enumerate();
            let members = members.map(|(i, device)| Member { position: i as u16, device: Some(device) });
            out.push((planned.platform, chunk(renderer, planned.platform, id, 0, grant, members)));
        }
        chunks.push(NewChunk {
            platform: planned.platform,
            devices,
            person_numbers: planned.person_numbers,
            published,
            lease,
        });
    }
    let page = Page {
        notification_id: run.row.notification_id,
        tenant_key: run.row.tenant_key,
        app_key: run.row.app_key,
        lane: run.row.lane,
        run: run.id,
        run_started_at: run.started_at,
        expires_at: run.expires_at,
        first_chunk: run.row.next_chunk,
        chunks,
        suppressed: plan.suppressed,
        cascades: plan.cascades,
        persons: plan.persons,
        cursor,
        last,
        rests: false,
    };
    Prepared { page, messages: out }
}
