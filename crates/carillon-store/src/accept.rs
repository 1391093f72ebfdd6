//! Accepting notifications: one transaction for a group, the committed rows are the outbox.

use crate::commit::ANSWER;
use crate::{Error, Result, Store};
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::notification::State;
use carillon_domain::platform::Lane;
use carillon_failpoint::Point;
use jiff::Timestamp;
use std::collections::HashSet;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A validated notification on its way into the table.
#[derive(Clone)]
pub struct NewNotification {
    /// Minted by the caller.
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// Which app's.
    pub app_key: AppKey,
    /// The caller's name for it.
    pub reference: Option<String>,
    /// What sending needs (`carillon_wire::encode_body`).
    pub body: Vec<u8>,
    /// Which lane it travels in.
    pub lane: Lane,
    /// When it is to be sent, if not at once.
    pub scheduled_at: Option<Timestamp>,
    /// Idempotency key and SHA-256 of what it must mean.
    pub idempotency: Option<(String, [u8; 32])>,
    /// The call's position in its trace (W3C Trace Context), recorded or not; empty if it has none.
    pub traceparent: String,
}

/// What became of one item of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Committed.
    New {
        /// `Scheduled` or `Sending`.
        state: State,
    },
    /// The key was used before with the same meaning: the earlier answer.
    Replayed {
        /// The earlier notification.
        notification_id: NotificationId,
        /// The state it was accepted in.
        state: State,
    },
    /// The key was used before with another meaning.
    Conflict,
}

/// A group without idempotency keys. Its ids are there only if an earlier try of this very group was committed after all.
const INSERT: &str = "
    INSERT INTO notifications (notification_id, tenant_key, app_key, reference, body, state, lane, scheduled_at, due_at, traceparent)
    SELECT id, tenant_key, app_key, reference, body, state, lane, scheduled_at, coalesce(scheduled_at, now() + interval '5 seconds'),
           traceparent
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::bytea[], $6::int2[], $7::int2[], $8::timestamptz[], $9::text[])
         AS item(id, tenant_key, app_key, reference, body, state, lane, scheduled_at, traceparent)";

macro_rules! insert_keyed {
    ($what_is_there:literal) => {
        concat!(
            "
    WITH keyed AS (
        INSERT INTO idempotency (tenant_key, key, fingerprint, notification_id, state)
        SELECT tenant_key, key, fingerprint, id, state
        FROM unnest($1::uuid[], $2::int[], $6::int2[], $10::text[], $11::bytea[]) AS item(id, tenant_key, state, key, fingerprint)
        WHERE key IS NOT NULL
        ON CONFLICT DO NOTHING
        RETURNING notification_id
    )
    INSERT INTO notifications (notification_id, tenant_key, app_key, reference, body, state, lane, scheduled_at, due_at, traceparent)
    SELECT id, tenant_key, app_key, reference, body, state, lane, scheduled_at, coalesce(scheduled_at, now() + interval '5 seconds'),
           traceparent
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::bytea[], $6::int2[], $7::int2[], $8::timestamptz[], $9::text[], $10::text[])
         AS item(id, tenant_key, app_key, reference, body, state, lane, scheduled_at, traceparent, key)
    WHERE key IS NULL OR id IN (SELECT notification_id FROM keyed)
    ",
            $what_is_there,
            "RETURNING notification_id"
        )
    };
}

/// A group of which some have keys.
const INSERT_KEYED: &str = insert_keyed!("");
/// Any group once more.
const INSERT_AGAIN: &str = insert_keyed!("ON CONFLICT (notification_id) DO NOTHING ");

const EARLIER: &str = "
    SELECT i.tenant_key, i.key, i.fingerprint, i.notification_id, i.state
    FROM unnest($1::int[], $2::text[]) AS k(tenant_key, key)
    JOIN idempotency i ON i.tenant_key = k.tenant_key AND i.key = k.key";

impl Store {
    /// Commits a group of notifications, and says of each what became of it, in the order given. Callers sort a group by tenant and key, so
    /// that two groups cannot wait for each other. When it returns, everything `New` is committed: the group is one statement, which commits by itself.
    ///
    /// # Errors
    /// Nothing of the group is committed, or, if the connection broke or nothing was answered in time, all or nothing is: repeat it with the same
    /// ids.
    pub async fn accept_group(&self, items: &[NewNotification]) -> Result<Vec<Accepted>> {
        let columns = Columns::of(items);
        let keyed = items.iter().any(|item| item.idempotency.is_some());
        let rows = match self.insert(if keyed { INSERT_KEYED } else { INSERT }, &columns).await {
            Err(Error::Duplicate(_)) => self.insert(INSERT_AGAIN, &columns).await?,
            rows => rows?,
        };
        let inserted: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        let mut answers = vec![Accepted::Conflict; items.len()];
        let mut repeated = Vec::new();
        for (i, item) in items.iter().enumerate() {
            // Without a key it is there, by this try or by an earlier one.
            if item.idempotency.is_none() || inserted.contains(&item.notification_id.0) {
                answers[i] = Accepted::New { state: columns.state(i) };
            } else {
                repeated.push(i);
            }
        }
        if !repeated.is_empty() {
            self.answer_repeated(items, &repeated, &mut answers).await?;
        }
        Ok(answers)
    }

    async fn insert(&self, sql: &str, columns: &Columns<'_>) -> Result<Vec<Row>> {
        let all: [&(dyn ToSql + Sync); 11] = [
            &columns.ids,
            &columns.tenants,
            &columns.apps,
            &columns.references,
            &columns.bodies,
            &columns.states,
            &columns.lanes,
            &columns.scheduled,
            &columns.traceparents,
            &columns.keys,
            &columns.fingerprints,
        ];
        let parameters = if sql == INSERT { &all[..9] } else { &all[..] };
        self.write_within(ANSWER, Point::AcceptCommit, sql, parameters).await
    }

    /// Says what became of items whose keys were there. They are committed, and stay for a month.
    async fn answer_repeated(
        &self,
        items: &[NewNotification],
        repeated: &[usize],
        answers: &mut [Accepted],
    ) -> Result<()> {
        let tenants: Vec<i32> = repeated.iter().map(|i| items[*i].tenant_key.0).collect();
        let keys: Vec<&str> =
            repeated.iter().map(|i| items[*i].idempotency.as_ref().map_or("", |k| k.0.as_str())).collect();
        let rows = self.rows(EARLIER, &[&tenants, &keys]).await?;
        for i in repeated {
            let Some((key, fingerprint)) = &items[*i].idempotency else { continue };
            let same = rows.iter().find(|row| {
                row.get::<_, i32>(0) == items[*i].tenant_key.0
                    && row.get::<_, &str>(1) == key
                    && row.get::<_, &[u8]>(2) == fingerprint
            });
            let Some(row) = same else { continue };
            let (notification_id, state) = (NotificationId(row.get(3)), State::from_number(row.get(4)));
            let state = state.unwrap_or(State::Sending);
            answers[*i] = match notification_id == items[*i].notification_id {
                // Our own earlier try was committed after all.
                true => Accepted::New { state },
                false => Accepted::Replayed { notification_id, state },
            };
        }
        Ok(())
    }
}

struct Columns<'a> {
    ids: Vec<Uuid>,
    tenants: Vec<i32>,
    apps: Vec<i32>,
    references: Vec<Option<&'a str>>,
    bodies: Vec<&'a [u8]>,
    states: Vec<i16>,
    lanes: Vec<i16>,
    scheduled: Vec<Option<Timestamp>>,
    keys: Vec<Option<&'a str>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    traceparents: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(items: &'a [NewNotification]) -> Self {
        let state =
            |item: &NewNotification| if item.scheduled_at.is_some() { State::Scheduled } else { State::Sending };
        Self {
            ids: items.iter().map(|i| i.notification_id.0).collect(),
            tenants: items.iter().map(|i| i.tenant_key.0).collect(),
            apps: items.iter().map(|i| i.app_key.0).collect(),
            references: items.iter().map(|i| i.reference.as_deref()).collect(),
            bodies: items.iter().map(|i| i.body.as_slice()).collect(),
            states: items.iter().map(|i| state(i).number()).collect(),
            lanes: items.iter().map(|i| i.lane.number()).collect(),
            scheduled: items.iter().map(|i| i.scheduled_at).collect(),
            keys: items.iter().map(|i| i.idempotency.as_ref().map(|k| k.0.as_str())).collect(),
            fingerprints: items.iter().map(|i| i.idempotency.as_ref().map(|k| k.1.as_slice())).collect(),
            traceparents: items.iter().map(|i| Some(i.traceparent.as_str()).filter(|t| !t.is_empty())).collect(),
        }
    }

    fn state(&self, i: usize) -> State {
        State::from_number(self.states[i]).unwrap_or(State::Sending)
    }
}
