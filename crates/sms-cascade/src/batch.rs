//! A group of due cascades, from the claim to the commit of what became of them.

use crate::config::CascadeConfig;
use crate::deliver::{Lease, Message, Sender};
use crate::gateways::{self, OpenGateway};
use crate::plan;
use crate::route::{Route, route};
use carillon_domain::cascade::Sms;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{NotificationId, RunId, TenantKey};
use carillon_domain::notification::Notification;
use carillon_runtime::Scope;
use carillon_store::{CascadeId, CascadeOutcome, CascadeResult, DueCascade, DueCascades, Result, SmsRoutes, Store};
use futures::stream::{self, StreamExt};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tracing::Instrument;

/// Results of one commit.
const COMMIT: usize = 64;
/// Between two tries to commit.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a row rests that does not read as it was written.
const UNREADABLE: Duration = Duration::from_secs(600);

/// Works on groups.
pub(crate) struct Batches {
    store: Store,
    sender: Sender,
    lease: Duration,
    requests: usize,
    slot: i16,
    service: &'static str,
}

/// Gateways of the tenants of a group, opened.
type Opened<'a> = HashMap<(TenantKey, &'a str), OpenGateway>;

impl Batches {
    pub(crate) fn new(config: &CascadeConfig, store: Store, sender: Sender, scope: &Scope) -> Self {
        Self {
            store,
            sender,
            lease: config.lease.get(),
            requests: config.requests,
            slot: (uuid::Uuid::new_v4().as_fields().0 % 16) as i16,
            service: scope.service(),
        }
    }

    /// Which slot of the counters this process writes.
    pub(crate) fn slot(&self) -> i16 {
        self.slot
    }

    /// Works on a group that was asked for at `since`.
    pub(crate) async fn work(&self, batch: DueCascades, since: Instant) {
        let lease = self.sender.lease(since, self.lease);
        let meters = &self.sender.meters;
        meters.cancelled.add(batch.cancelled as u64);
        meters.without_phone.add(batch.without_phone as u64);
        for due in batch.cascades.iter().filter(|due| due.attempt == 1) {
            meters.lateness.observe(due.late);
        }
        self.finish_runs(&batch.ended_runs).await;
        if let Err(error) = self.send(&batch, &lease).await {
            // The rows are found again when their lease ends.
            tracing::warn!(%error, cascades = batch.cascades.len(), "due cascades wait for the database");
        }
    }

    async fn send(&self, batch: &DueCascades, lease: &Lease) -> Result<()> {
        self.close_overtaken(&batch.cascades).await;
        let notifications = decode(batch);
        let mut tenants: Vec<TenantKey> = batch.cascades.iter().map(|due| due.tenant_key).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let routes = if tenants.is_empty() { Vec::new() } else { self.store.sms_routes(&tenants).await? };
        let opened = self.open(&routes);
        let mut results = Vec::new();
        let mut messages = Vec::new();
        for due in &batch.cascades {
            match prepare(due, &notifications, &routes, &opened, batch.now) {
                Ok(message) => messages.push(message),
                Err(outcome) => results.push(result(due, outcome)),
            }
        }
        self.finish(results, lease).await;
        let first: Vec<(CascadeId, i16, &str)> =
            messages.iter().map(|m| (m.due.id, m.due.attempt, m.gateways[0].gateway.as_str())).collect();
        let held: HashSet<CascadeId> = self.store.assign_gateways(&first).await?.into_iter().collect();
        let deliveries: Vec<_> = messages
            .iter()
            .filter(|message| held.contains(&message.due.id))
            .map(|message| self.deliver(message, lease))
            .collect();
        // A commit does not keep the next messages waiting: what was answered meanwhile goes into the next one, together.
        let (answered, mut answers) = mpsc::channel(deliveries.len().max(1));
        let sending = async {
            let mut done = std::pin::pin!(stream::iter(deliveries).buffer_unordered(self.requests));
            while let Some(ended) = done.next().await {
                // Nothing where the lease was over; there is room for all the others.
                if let Some(result) = ended {
                    let _ = answered.try_send(result);
                }
            }
            drop(answered);
        };
        let committing = async {
            let mut group = Vec::with_capacity(COMMIT);
            while answers.recv_many(&mut group, COMMIT).await > 0 {
                self.finish(std::mem::take(&mut group), lease).await;
            }
        };
        tokio::join!(sending, committing);
        Ok(())
    }

    async fn deliver(&self, message: &Message<'_>, lease: &Lease) -> Option<CascadeResult> {
        let due = message.due;
        let span = tracing::info_span!(
            parent: None, "sms",
            notification.id = %due.notification_id.0, run.id = %due.id.run.0, cascade.link = due.id.link,
            cascade.person = due.id.person_number, attempt = due.attempt, outcome = tracing::field::Empty,
        );
        let outcome = self.sender.deliver(message, &self.store, lease).instrument(span.clone()).await;
        span.record("outcome", outcome.as_ref().map_or("lease_over", word));
        outcome.map(|outcome| result(due, outcome))
    }

    /// What is still queued of the pushes that were overtaken is not sent any more.
    async fn close_overtaken(&self, cascades: &[DueCascade]) {
        let fired: Vec<CascadeId> =
            cascades.iter().filter(|due| due.open_devices > 0 && !due.cancelled).map(|due| due.id).collect();
        self.close(&fired).await;
    }

    /// As above, for rows that were taken for it. What fails is looked at again by itself.
    pub(crate) async fn close(&self, fired: &[CascadeId]) {
        match self.store.in_time(self.store.close_cascaded(fired, self.slot)).await {
            Ok(closed) => self.finish_runs(&closed.closed_runs).await,
            Err(error) => tracing::warn!(%error, cascades = fired.len(), "overtaken pushes are closed later"),
        }
    }

    fn open<'a>(&self, routes: &'a [SmsRoutes]) -> Opened<'a> {
        let public_url = self.sender.public_url.as_deref();
        let mut opened = HashMap::new();
        for tenant in routes {
            for gateway in &tenant.gateways {
                if let Some(open) = gateways::open(gateway, tenant, &self.sender.vault, public_url) {
                    opened.insert((tenant.tenant_key, gateway.gateway.as_str()), open);
                }
            }
        }
        opened
    }

    /// Commits results, until it worked or the lease is over: then the messages are repeated, and their gateway says that it has them.
    async fn finish(&self, results: Vec<CascadeResult>, lease: &Lease) {
        if results.is_empty() {
            return;
        }
        loop {
            match self.store.in_time(self.store.finish_cascades(&results, self.slot)).await {
                Ok(finished) => {
                    results.iter().for_each(|result| self.sender.meters.ended(&result.outcome));
                    return self.finish_runs(&finished.ended_runs).await;
                }
                Err(error) if error.is_unavailable() && Instant::now() < lease.until => {
                    tracing::debug!(%error, "results wait for the database");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(%error, results = results.len(), service = self.service, "results were not kept");
                    return;
                }
            }
        }
    }

    async fn finish_runs(&self, runs: &[RunId]) {
        if runs.is_empty() {
            return;
        }
        if let Err(error) = self.store.finish_runs(runs).await {
            tracing::debug!(%error, "runs are found finished later");
        }
    }
}

fn result(due: &DueCascade, outcome: CascadeOutcome) -> CascadeResult {
    CascadeResult { id: due.id, attempt: due.attempt, outcome }
}

fn word(outcome: &CascadeOutcome) -> &'static str {
    match outcome {
        CascadeOutcome::Sent { .. } => "sent",
        CascadeOutcome::Unknown => "unknown",
        CascadeOutcome::Ended { status, .. } => status.as_str(),
        CascadeOutcome::Retry { .. } => "retry",
    }
}

/// Each notification once, however many of its cascades are due, with its app's default locale.
fn decode(batch: &DueCascades) -> HashMap<NotificationId, (Notification, Option<&str>)> {
    let mut all = HashMap::with_capacity(batch.notifications.len());
    for (id, said) in &batch.notifications {
        match carillon_wire::decode_body(&said.body) {
            Ok(notification) => drop(all.insert(*id, (notification, said.default_locale.as_deref()))),
            Err(error) => {
                tracing::error!(notification.id = %id.0, %error, "a notification does not read as it was written");
            }
        }
    }
    all
}

/// Everything about a message, or what becomes of it without one.
fn prepare<'a>(
    due: &'a DueCascade,
    notifications: &'a HashMap<NotificationId, (Notification, Option<&str>)>,
    routes: &'a [SmsRoutes],
    opened: &'a Opened<'a>,
    now: jiff::Timestamp,
) -> std::result::Result<Message<'a>, CascadeOutcome> {
    let said = notifications.get(&due.notification_id).map(|(said, default)| (said.draft(), *default));
    let link = usize::try_from(due.id.link).ok().and_then(|link| link.checked_sub(1));
    let sms = said.zip(link).and_then(|((draft, _), link)| Some(&draft.cascade.get(link)?.sms));
    let Some(((draft, default_locale), sms)) = said.zip(sms) else {
        return Err(CascadeOutcome::Retry { after: UNREADABLE, tried: due.tried.clone() });
    };
    if let Some(outcome) = plan::judge(due, sms, now) {
        return Err(outcome);
    }
    let (from, gateways) = way(due, sms, routes, opened)?;
    let text = sms.text_for(due.locale.as_deref(), default_locale, &draft.content);
    Ok(Message { due, text, from, gateways, expires: plan::expires(due, sms, now) })
}

/// Who sends it, and under which name. A message that a gateway may have goes to that one alone.
fn way<'a>(
    due: &DueCascade,
    sms: &'a Sms,
    routes: &'a [SmsRoutes],
    opened: &'a Opened<'a>,
) -> std::result::Result<(Option<&'a str>, Vec<&'a OpenGateway>), CascadeOutcome> {
    let failed = || CascadeOutcome::Ended { status: Status::Failed, reason: Reason::Credential };
    let tenant = routes.iter().find(|tenant| tenant.tenant_key == due.tenant_key);
    let found = tenant.ok_or("there is no such tenant any more").and_then(|t| route(sms.from.as_deref(), t));
    let open = |name: &str| opened.iter().find(|((t, g), _)| *t == due.tenant_key && *g == name).map(|(_, open)| open);
    if let Some(tried) = &due.tried {
        let gateway = open(tried).ok_or(CascadeOutcome::Unknown)?;
        let from = found.map_or(sms.from.as_deref(), |route| route.from);
        return Ok((from, vec![gateway]));
    }
    let Route { from, gateways } = found.map_err(|reason| {
        tracing::warn!(notification.id = %due.notification_id.0, reason, "a text message cannot be sent");
        failed()
    })?;
    let gateways: Vec<&OpenGateway> = gateways.iter().filter_map(|g| open(&g.gateway)).collect();
    if gateways.is_empty() { Err(failed()) } else { Ok((from, gateways)) }
}
