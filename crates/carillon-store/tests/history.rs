//! What became of notifications, read from a real PostgreSQL. Rows are written by hand, as the other parts of the ledger leave them.

#[path = "devices/database.rs"]
mod database;

use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State;
use carillon_domain::platform::Lane;
use carillon_store::{
    Accepted, Cursor, DeliveryFilter, DeliveryRow, NewNotification, NotificationFilter, NotificationRow, PageRequest,
    Steered,
};
use database::Database;
use uuid::Uuid;

/// A notification as it is accepted.
async fn accept(db: &Database, reference: &str, scheduled: bool) -> NotificationId {
    let id = NotificationId(Uuid::now_v7());
    let item = NewNotification {
        notification_id: id,
        tenant_key: db.tenant,
        app_key: db.app,
        reference: Some(reference.to_owned()),
        body: b"body".to_vec(),
        lane: Lane::Transactional,
        scheduled_at: scheduled.then(|| "2030-01-01T00:00:00Z".parse().expect("a time")),
        idempotency: None,
        traceparent: String::new(),
    };
    let accepted = db.store.accept_group(&[item]).await.expect("accepted");
    assert!(matches!(accepted[0], Accepted::New { .. }));
    id
}

/// `accept`, and its audience walked: two devices of `ola` and `jan` in one chunk, `ewa` has none.
async fn sent(db: &Database) -> (NotificationId, [i64; 2]) {
    let id = accept(db, "r", false).await;
    let mut keys = [0i64; 2];
    for (key, user) in keys.iter_mut().zip(["ola", "jan"]) {
        let row = db
            .sql
            .query_one(
                "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id, phone)
                 VALUES ($1, $2, 'phone-' || $3::text, 'u:' || $3::text, 1, 1, $3, sha256($3::text::bytea), $3, '+48501502503')
                 RETURNING device_key",
                &[&db.tenant.0, &db.app.0, &user],
            )
            .await;
        *key = row.expect("a device").get(0);
    }
    let device_keys: Vec<u8> = keys.iter().flat_map(|key| key.to_be_bytes()).collect();
    let chunk = "INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                     run_started_at, expires_at, due_at)
                 VALUES ($1, 0, $1, $2, $3, 1, 1, $4, '\\x0000', now(), now() + interval '1 day', now() + interval '1 hour')";
    db.sql.execute(chunk, &[&id.0, &db.tenant.0, &db.app.0, &device_keys]).await.expect("a chunk");
    run(
        db,
        id,
        "UPDATE notifications SET run_id = $1, run_started_at = now(), expires_at = now() + interval '1 day',
                     expanded = true, due_at = NULL, recipients = 3, pushes = 3 WHERE notification_id = $1",
    )
    .await;
    delivery(db, id, -3, 0, Status::Suppressed, "u:ewa").await;
    (id, keys)
}

/// SQL that names the notification as `$1`.
async fn run(db: &Database, id: NotificationId, sql: &str) {
    db.sql.execute(sql, &[&id.0]).await.expect("SQL");
}

/// A delivery with its counter, as one commit of the ledger leaves them.
async fn delivery(db: &Database, id: NotificationId, subject: i64, link: i16, status: Status, person: &str) {
    let bits = i16::from_ne_bytes(status.implied().0.to_ne_bytes());
    let sql = "INSERT INTO deliveries (run_id, subject, link, tenant_key, platform, bits, reason, person, closed_at, sent_at, opened_at)
               SELECT run, subject, link, tenant, CASE WHEN subject > 0 THEN 1 END, bits, CASE WHEN bits = 2 THEN 1 END,
                   CASE WHEN subject < 0 THEN person END, CASE WHEN bits < 64 THEN now() END, CASE WHEN bits >= 64 THEN now() END,
                   CASE WHEN bits >= 2048 THEN now() + interval '1 second' END
               FROM (SELECT $1::uuid run, $2::int8 subject, $3::int2 link, $4::int4 tenant, $5::int2 bits, $6::text person) x";
    db.sql.execute(sql, &[&id.0, &subject, &link, &db.tenant.0, &bits, &person]).await.expect("a delivery");
    let (channel, slot) = (if link == 0 { 1i16 } else { 2 }, (subject.rem_euclid(3)) as i16);
    let mut columns = vec![if status > Status::Sent { "sent" } else { status.as_str() }];
    if status > Status::Sent {
        columns.extend(["delivered", "displayed", "opened"]);
    }
    for column in columns {
        let sql = format!(
            "INSERT INTO run_counters AS c (run_id, channel, slot, {column}) VALUES ($1, $2, $3, 1)
             ON CONFLICT (run_id, channel, slot) DO UPDATE SET {column} = c.{column} + 1"
        );
        db.sql.execute(&sql, &[&id.0, &channel, &slot]).await.expect("a counter");
    }
}

/// Closes a position of the chunk.
async fn close(db: &Database, id: NotificationId, position: i32, key: i64, status: Status) {
    delivery(db, id, key, 0, status, "").await;
    let sql = "UPDATE chunks SET states = set_byte(states, $2, 134),
                   due_at = CASE WHEN get_byte(states, 1 - $2) >= 128 THEN NULL ELSE due_at END WHERE run_id = $1";
    db.sql.execute(sql, &[&id.0, &position]).await.expect("a chunk");
}

/// A cascade row.
async fn cascade(db: &Database, id: NotificationId, person: (i32, &str), state: i16, facts: [bool; 2], open: i16) {
    let sql = "INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, phone, unless,
                   within_seconds, state, any_sent, any_read, open_devices, released_at, segments)
               VALUES ($1, 1, $2, $1, $3, $4, $5, '+48601602603', 4, 60, $6::smallint, $7, $8, $9, now(), CASE WHEN $6::smallint = 3 THEN 2::smallint END)";
    let (number, name) = person;
    db.sql
        .execute(sql, &[&id.0, &number, &db.tenant.0, &db.app.0, &name, &state, &facts[0], &facts[1], &open])
        .await
        .expect("a cascade");
}

async fn get(db: &Database, id: NotificationId) -> NotificationRow {
    db.store.get_notification(db.tenant, id, None).await.expect("an answer").expect("a notification")
}

async fn deliveries(db: &Database, id: NotificationId, filter: DeliveryFilter) -> Vec<DeliveryRow> {
    let page = PageRequest { limit: 50, after: None };
    db.store.list_deliveries(db.tenant, id, None, &filter, &page).await.expect("an answer").items
}

#[tokio::test]
async fn totals_are_unknown_until_the_audience_is_and_then_fixed() {
    let db = Database::new().await;
    let id = accept(&db, "r", false).await;
    let before = get(&db, id).await;
    assert_eq!(
        (before.push.total, before.push.pending, before.sms.total, before.recipients.total),
        (None, None, None, None)
    );
    let (id, _) = sent(&db).await;
    let after = get(&db, id).await;
    assert_eq!((after.push.total, after.push.pending, after.recipients.total), (Some(3), Some(2), Some(3)));
    assert_eq!((after.recipients.read, after.sms.total), (None, Some(0)), "no cascade");
    db.drop_it().await;
}

#[tokio::test]
async fn counts_always_add_up_and_a_notification_is_finished_when_nothing_is_queued() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    for (position, status) in [(0, Status::Opened), (1, Status::Failed)] {
        assert_eq!(get(&db, id).await.state, State::Sending);
        close(&db, id, position, keys[position as usize], status).await;
        let push = get(&db, id).await.push;
        assert_eq!(push.total, push.pending.map(|pending| pending + push.tally.closed()));
    }
    let done = get(&db, id).await;
    assert_eq!((done.state, done.push.pending), (State::Finished, Some(0)), "though its row is not closed yet");
    let of = |status| done.push.tally.of(status);
    assert_eq!([of(Status::Sent), of(Status::Opened), of(Status::Failed), of(Status::Suppressed)], [1, 1, 1, 1]);
    db.drop_it().await;
}

#[tokio::test]
async fn with_a_cascade_persons_are_counted_by_how_far_they_were_reached() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    cascade(&db, id, (0, "u:ola"), 4, [true, true], 0).await;
    cascade(&db, id, (1, "u:jan"), 1, [false, false], 1).await;
    cascade(&db, id, (2, "u:ewa"), 3, [false, false], 0).await;
    delivery(&db, id, -3, 1, Status::Sent, "u:ewa").await;
    close(&db, id, 0, keys[0], Status::Opened).await;
    let row = get(&db, id).await;
    let r = row.recipients;
    assert_eq!([r.total, r.read, r.reached, r.pending, r.unreached], [3, 1, 1, 1, 0].map(Some));
    assert_eq!((row.sms.total, row.sms.pending, row.sms.segments), (Some(1), Some(0), 2));
    close(&db, id, 1, keys[1], Status::Sent).await;
    assert_eq!(get(&db, id).await.state, State::Sending, "a cascade waits");
    run(&db, id, "UPDATE cascades SET state = 6, open_devices = 0 WHERE run_id = $1 AND state = 1").await;
    let row = get(&db, id).await;
    assert_eq!((row.state, row.recipients.unreached, row.sms.total), (State::Finished, Some(1), Some(2)));
    db.drop_it().await;
}

#[tokio::test]
async fn deliveries_are_what_is_known_and_what_is_still_open() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    close(&db, id, 0, keys[0], Status::Opened).await;
    cascade(&db, id, (2, "u:ewa"), 2, [false, false], 0).await;
    let all = deliveries(&db, id, DeliveryFilter::default()).await;
    let facts: Vec<_> =
        all.iter().map(|row| (row.user_id.as_deref().unwrap_or(""), row.id.link, row.evidence.status())).collect();
    assert_eq!(
        facts,
        [
            ("ewa", 0, Status::Suppressed),
            ("ewa", 1, Status::Queued),
            ("ola", 0, Status::Opened),
            ("jan", 0, Status::Queued)
        ]
    );
    let ola = &all[2];
    assert_eq!((ola.device.as_deref(), ola.reason), (Some("phone-ola"), None));
    let steps: Vec<Status> = ola.steps.iter().map(|step| step.0).collect();
    assert_eq!(steps, [Status::Sent, Status::Opened]);
    assert_eq!((all[0].reason, all[0].device.as_deref()), (Some(Reason::NoDevice), None));
    assert_eq!(all[1].phone.as_ref().map(|phone| phone.as_str()), Some("+48601602603"));
    db.drop_it().await;
}

#[tokio::test]
async fn deliveries_are_narrowed_by_status_channel_and_user() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    close(&db, id, 0, keys[0], Status::Opened).await;
    cascade(&db, id, (2, "u:ewa"), 3, [false, false], 0).await;
    delivery(&db, id, -3, 1, Status::Sent, "u:ewa").await;
    let count = async |filter: DeliveryFilter| deliveries(&db, id, filter).await.len();
    let status = |status| DeliveryFilter { status: Some(status), ..Default::default() };
    assert_eq!(count(status(Status::Queued)).await, 1);
    assert_eq!(count(status(Status::Opened)).await, 1);
    assert_eq!(count(status(Status::Sent)).await, 1, "the text message, not the push that was opened");
    assert_eq!(count(DeliveryFilter { push: Some(false), ..Default::default() }).await, 1);
    assert_eq!(count(DeliveryFilter { push: Some(true), ..Default::default() }).await, 3);
    assert_eq!(count(DeliveryFilter { user_id: Some("ewa".into()), ..Default::default() }).await, 2);
    assert_eq!(count(DeliveryFilter { user_id: Some("jan".into()), ..Default::default() }).await, 1);
    db.drop_it().await;
}

#[tokio::test]
async fn a_receipt_that_was_faster_than_the_report_is_not_shown_as_queued_too() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    delivery(&db, id, keys[1], 0, Status::Opened, "").await;
    let jan = deliveries(&db, id, DeliveryFilter { user_id: Some("jan".into()), ..Default::default() }).await;
    assert_eq!(jan.iter().map(|row| row.evidence.status()).collect::<Vec<_>>(), [Status::Opened]);
    db.drop_it().await;
}

#[tokio::test]
async fn pages_of_deliveries_are_stable_while_they_change() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    let mut seen = Vec::new();
    let mut page = PageRequest { limit: 1, after: None };
    loop {
        let listed = db.store.list_deliveries(db.tenant, id, None, &DeliveryFilter::default(), &page).await.unwrap();
        seen.extend(listed.items.iter().map(|row| row.id.subject));
        if seen.len() == 1 {
            close(&db, id, 0, keys[0], Status::Sent).await;
        }
        match listed.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [-3, keys[0], keys[1]]);
    db.drop_it().await;
}

#[tokio::test]
async fn notifications_are_listed_newest_first_and_narrowed() {
    let db = Database::new().await;
    let scheduled = accept(&db, "later", true).await;
    let (done, keys) = sent(&db).await;
    let waiting = accept(&db, "r", false).await;
    close(&db, done, 0, keys[0], Status::Sent).await;
    close(&db, done, 1, keys[1], Status::Sent).await;
    let list = async |filter: NotificationFilter| -> Vec<NotificationId> {
        let page = PageRequest { limit: 50, after: None };
        let listed = db.store.list_notifications(db.tenant, &filter, &page).await.unwrap();
        listed.items.iter().map(|row| row.notification_id).collect()
    };
    let all = NotificationFilter::default;
    assert_eq!(list(all()).await, [waiting, done, scheduled]);
    assert_eq!(list(NotificationFilter { state: Some(State::Finished), ..all() }).await, [done]);
    assert_eq!(list(NotificationFilter { state: Some(State::Sending), ..all() }).await, [waiting]);
    assert_eq!(list(NotificationFilter { state: Some(State::Scheduled), ..all() }).await, [scheduled]);
    assert_eq!(list(NotificationFilter { reference: Some("r".into()), ..all() }).await, [waiting, done]);
    assert_eq!(list(NotificationFilter { apps: Some(vec!["shop".into()]), ..all() }).await.len(), 3);
    assert!(list(NotificationFilter { apps: Some(vec!["other".into()]), ..all() }).await.is_empty());
    let at = get(&db, done).await.created_at;
    assert_eq!(list(NotificationFilter { from: Some(at), ..all() }).await, [waiting, done]);
    assert_eq!(list(NotificationFilter { to: Some(at), ..all() }).await, [scheduled]);
    for user in ["ola", "ewa"] {
        assert_eq!(list(NotificationFilter { user_id: Some(user.into()), ..all() }).await, [done], "{user}");
    }
    let after = Some(Cursor { at, id: done.0 });
    let rest = db.store.list_notifications(db.tenant, &all(), &PageRequest { limit: 50, after }).await.unwrap();
    assert_eq!(rest.items.len(), 1);
    db.drop_it().await;
}

#[tokio::test]
async fn a_recipient_is_found_while_the_push_is_still_queued() {
    let db = Database::new().await;
    let (id, _) = sent(&db).await;
    let filter = NotificationFilter { user_id: Some("jan".into()), ..Default::default() };
    let listed = db.store.list_notifications(db.tenant, &filter, &PageRequest { limit: 9, after: None }).await.unwrap();
    assert_eq!(listed.items.iter().map(|row| row.notification_id).collect::<Vec<_>>(), [id]);
    let nobody = NotificationFilter { user_id: Some("nobody".into()), ..Default::default() };
    let listed = db.store.list_notifications(db.tenant, &nobody, &PageRequest { limit: 9, after: None }).await.unwrap();
    assert!(listed.items.is_empty());
    db.drop_it().await;
}

#[tokio::test]
async fn a_scheduled_notification_that_is_cancelled_is_closed_at_once() {
    let db = Database::new().await;
    let id = accept(&db, "r", true).await;
    assert_eq!(db.store.cancel_notification(db.tenant, id, None).await.unwrap(), Steered::Done);
    assert_eq!(db.store.cancel_notification(db.tenant, id, None).await.unwrap(), Steered::Done, "twice is fine");
    let row = get(&db, id).await;
    assert_eq!((row.state, row.finished_at.is_some(), row.push.total), (State::Cancelled, true, None));
    db.drop_it().await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_is_due_to_be_closed_and_its_pages_are_fenced_off() {
    let db = Database::new().await;
    let (id, _) = sent(&db).await;
    assert_eq!(db.store.cancel_notification(db.tenant, id, None).await.unwrap(), Steered::Done);
    let row = db
        .sql
        .query_one(
            "SELECT state, epoch, due_at <= now(), finished_at IS NULL FROM notifications WHERE notification_id = $1",
            &[&id.0],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i16>(0), row.get::<_, i32>(1), row.get::<_, bool>(2), row.get::<_, bool>(3)),
        (4, 1, true, true)
    );
    db.drop_it().await;
}

#[tokio::test]
async fn what_is_finished_or_not_there_cannot_be_cancelled() {
    let db = Database::new().await;
    let (id, keys) = sent(&db).await;
    close(&db, id, 0, keys[0], Status::Sent).await;
    close(&db, id, 1, keys[1], Status::Sent).await;
    let cancel = async |id, only: Option<&[String]>| db.store.cancel_notification(db.tenant, id, only).await.unwrap();
    assert_eq!(cancel(id, None).await, Steered::Over(State::Finished));
    assert_eq!(cancel(NotificationId(Uuid::now_v7()), None).await, Steered::Absent);
    let live = accept(&db, "r", false).await;
    assert_eq!(cancel(live, Some(&["other".to_owned()])).await, Steered::Absent, "the key is not for the app");
    assert_eq!(cancel(live, Some(&["shop".to_owned()])).await, Steered::Done);
    db.drop_it().await;
}

#[tokio::test]
async fn another_tenants_history_is_not_there() {
    let db = Database::new().await;
    let (id, _) = sent(&db).await;
    let stranger = carillon_domain::ids::TenantKey(db.tenant.0 + 1);
    assert!(db.store.get_notification(stranger, id, None).await.unwrap().is_none());
    assert!(!db.store.has_notification(stranger, id, None).await.unwrap());
    assert_eq!(db.store.cancel_notification(stranger, id, None).await.unwrap(), Steered::Absent);
    let page = PageRequest { limit: 9, after: None };
    let listed = db.store.list_deliveries(stranger, id, None, &DeliveryFilter::default(), &page).await.unwrap();
    assert!(listed.items.is_empty());
    db.drop_it().await;
}
