//! Reading, cancelling and receipts over REST. The rows of a run are written as the segmenter and the ledger leave them.

use carillon_domain::ids::{ChunkId, RunId};
use carillon_domain::reference::Reference;
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{call, get, post, put};
use crate::world::Tenant;

async fn accepted(t: &Tenant) -> Uuid {
    let body = json!({"app": "shop", "reference": "r", "metadata": {"team": "orders"}, "to": {"users": ["ola"]},
                      "content": {"title": "Hello"}});
    post(&t.key, "/v1/notifications", body).await.expect(202)["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id")
}

/// A notification whose one push waits for ola's phone, and the reference that travels with it.
async fn queued(t: &Tenant) -> (Uuid, String) {
    let device = json!({"platform": "apns", "token": "ab".repeat(32), "user_id": "ola", "phone": "+48501502503"});
    put(&t.key, "/v1/apps/shop/devices/d1", device).await;
    let id = accepted(t).await;
    let key: i64 = t
        .sql
        .query_one("SELECT device_key FROM devices WHERE app_key = $1 AND device = 'd1' AND state <> 5", &[&t.app_key])
        .await
        .expect("SQL")
        .get(0);
    let chunk = "INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                     run_started_at, expires_at, due_at)
                 VALUES ($1, 0, $1, $2, $3, 1, 1, int8send($4), '\\x00', now(), now() + interval '1 day', now() + interval '1 hour')";
    t.sql.execute(chunk, &[&id, &t.tenant_key, &t.app_key, &key]).await.expect("SQL");
    let run = "UPDATE notifications SET run_id = $1, run_started_at = now(), expires_at = now() + interval '1 day',
                   expanded = true, due_at = NULL, recipients = 1, pushes = 1 WHERE notification_id = $1";
    t.sql.execute(run, &[&id]).await.expect("SQL");
    let reference = Reference { chunk: ChunkId { run: RunId(id), number: 0 }, position: 0 };
    (id, String::from_utf8(reference.to_text().to_vec()).expect("SQL"))
}

fn apns_credential() -> Value {
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
    let key = p256::SecretKey::from_slice(&[7; 32]).expect("a key").to_pkcs8_pem(LineEnding::LF).expect("PEM");
    json!({"auth": "token", "key_id": "ABC123DEFG", "team_id": "TEAM123456", "bundle_id": "com.example.shop",
           "private_key": key.as_str()})
}

fn path(id: Uuid, rest: &str) -> String {
    format!("/v1/notifications/{id}{rest}")
}

#[tokio::test]
async fn a_notification_is_shown_with_its_counts_and_its_queued_delivery() {
    let t = Tenant::new().await;
    let (id, _) = queued(&t).await;
    let shown = get(&t.key, &path(id, "")).await.expect(200);
    assert_eq!(
        (&shown["reference"], &shown["metadata"]["team"], &shown["app"]),
        (&json!("r"), &json!("orders"), &json!("shop"))
    );
    assert_eq!(
        shown["counts"]["recipients"],
        json!({"total": 1, "pending": null, "read": null, "reached": null, "unreached": null})
    );
    assert_eq!((&shown["counts"]["push"]["total"], &shown["counts"]["push"]["pending"]), (&json!(1), &json!(1)));
    assert_eq!(shown["counts"]["sms"]["unknown"], 0);
    let deliveries = get(&t.key, &path(id, "/deliveries")).await.expect(200);
    let one = &deliveries["items"][0];
    assert_eq!((&one["status"], &one["channel"], &one["device"]), (&json!("queued"), &json!("push"), &json!("d1")));
    assert_eq!(
        (&one["user_id"], &one["phone"], &one["evidence"]),
        (&json!("ola"), &json!("+48***2503"), &json!("none"))
    );
    assert_eq!(get(&t.key, &path(id, "/deliveries?status=sent")).await.expect(200)["items"], json!([]));
    for (query, pointer) in [("status=lost", "/query/status"), ("channel=fax", "/query/channel")] {
        assert_eq!(get(&t.key, &path(id, &format!("/deliveries?{query}"))).await.pointers(), [pointer]);
    }
}

#[tokio::test]
async fn a_receipt_is_evidence_once_and_shows_at_once() {
    let t = Tenant::new().await;
    let (id, reference) = queued(&t).await;
    let receipts = json!({"receipts": [
        {"run": reference, "event": "opened"}, {"notification_id": id, "device": "d1", "event": "delivered"},
        {"run": "mangled", "event": "opened"}
    ]});
    let answer = post(&t.key, "/v1/receipts", receipts.clone()).await.expect(200);
    assert_eq!(answer["results"][0], json!({"status": "recorded", "cascade": "none"}));
    assert_eq!(answer["results"][2]["status"], "unknown");
    let again = post(&t.key, "/v1/receipts", receipts).await.expect(200);
    assert_eq!(
        (&again["results"][0]["status"], &again["results"][1]["status"]),
        (&json!("duplicate"), &json!("duplicate"))
    );
    let one = get(&t.key, &path(id, "/deliveries")).await.expect(200)["items"][0].clone();
    assert_eq!((&one["status"], &one["evidence"]), (&json!("opened"), &json!("device")));
    let counts = get(&t.key, &path(id, "")).await.expect(200)["counts"]["push"].clone();
    assert_eq!((&counts["opened"], &counts["delivered"], &counts["sent"]), (&json!(1), &json!(1), &json!(1)));
}

#[tokio::test]
async fn an_installation_reports_for_itself_only_and_a_key_for_its_apps() {
    let t = Tenant::new().await;
    let (_, reference) = queued(&t).await;
    let own =
        put(&t.public_key, "/v1/apps/shop/devices/d2", json!({"platform": "apns", "token": "cd".repeat(32)})).await;
    let secret = own.expect(201)["device_secret"].as_str().unwrap().to_owned();
    let opened = json!({"receipts": [{"run": reference, "event": "opened"}]});
    let status = |reply: Value| reply["results"][0]["status"].clone();
    assert_eq!(status(post(&secret, "/v1/receipts", opened.clone()).await.expect(200)), "unknown");
    let named = json!({"receipts": [{"run": reference, "device": "d1", "event": "opened"}]});
    assert_eq!(post(&secret, "/v1/receipts", named).await.pointers(), ["/receipts/0/device"]);
    assert_eq!(post(&t.public_key, "/v1/receipts", opened.clone()).await.code(), (403, "forbidden"));
    let elsewhere = t.server_key(&["devices"], Some(&["other"])).await;
    assert_eq!(status(post(&elsewhere, "/v1/receipts", opened.clone()).await.expect(200)), "unknown");
    let here = t.server_key(&["devices"], Some(&["other", "shop"])).await;
    assert_eq!(status(post(&here, "/v1/receipts", opened.clone()).await.expect(200)), "recorded");
    let stranger = Tenant::new().await;
    assert_eq!(status(post(&stranger.key, "/v1/receipts", opened).await.expect(200)), "unknown");
}

#[tokio::test]
async fn cancelling_stops_what_is_open_and_is_refused_when_nothing_is() {
    let t = Tenant::new().await;
    let (id, _) = queued(&t).await;
    let cancel = async |key: &str, id| call(key, Method::POST, &path(id, "/cancel"), None).await;
    assert_eq!(cancel(&t.key, id).await.expect(200)["state"], "cancelled");
    assert_eq!(cancel(&t.key, id).await.expect(200)["state"], "cancelled", "twice is fine");
    let done = accepted(&t).await;
    t.sql.execute("UPDATE notifications SET state = 5 WHERE notification_id = $1", &[&done]).await.unwrap();
    assert_eq!(cancel(&t.key, done).await.code(), (409, "invalid_state"));
    assert_eq!(cancel(&t.key, Uuid::now_v7()).await.code(), (404, "not_found"));
    let other = accepted(&t).await;
    let stranger = Tenant::new().await;
    assert_eq!(cancel(&stranger.key, other).await.code(), (404, "not_found"));
    assert_eq!(get(&stranger.key, &path(other, "/deliveries")).await.code(), (404, "not_found"));
    assert_eq!(get(&t.key, "/v1/notifications/17").await.code(), (404, "not_found"));
}

#[tokio::test]
async fn a_notification_is_paused_resumed_and_cancelled_from_either_state() {
    let t = Tenant::new().await;
    let (id, _) = queued(&t).await;
    let steer = async |key: &str, id, verb: &str| call(key, Method::POST, &path(id, verb), None).await;
    for (verb, state) in [("/resume", "sending"), ("/pause", "paused"), ("/pause", "paused")] {
        let shown = steer(&t.key, id, verb).await.expect(200);
        assert_eq!((&shown["state"], &shown["counts"]["push"]["pending"]), (&json!(state), &json!(1)), "{verb}");
    }
    let listed = get(&t.key, "/v1/notifications?state=paused").await.expect(200);
    assert_eq!(listed["items"][0]["id"], json!(id));
    assert_eq!(steer(&t.key, id, "/resume").await.expect(200)["state"], "sending");
    assert_eq!(steer(&t.key, id, "/pause").await.expect(200)["state"], "paused");
    assert_eq!(steer(&t.key, id, "/cancel").await.expect(200)["state"], "cancelled");
    let done = accepted(&t).await;
    t.sql.execute("UPDATE notifications SET state = 5 WHERE notification_id = $1", &[&done]).await.unwrap();
    let other = accepted(&t).await;
    let stranger = Tenant::new().await;
    let reader = t.server_key(&["read"], None).await;
    for verb in ["/pause", "/resume"] {
        assert_eq!(steer(&t.key, id, verb).await.code(), (409, "invalid_state"), "cancelled: {verb}");
        assert_eq!(steer(&t.key, done, verb).await.code(), (409, "invalid_state"), "finished: {verb}");
        assert_eq!(steer(&t.key, Uuid::now_v7(), verb).await.code(), (404, "not_found"), "{verb}");
        assert_eq!(steer(&stranger.key, other, verb).await.code(), (404, "not_found"), "{verb}");
        assert_eq!(steer(&reader, other, verb).await.code(), (403, "forbidden"), "{verb}");
    }
}

#[tokio::test]
async fn what_is_scheduled_keeps_its_time_when_it_is_paused() {
    let t = Tenant::new().await;
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let body = json!({"app": "shop", "to": {"users": ["ola"]}, "content": {"title": "Hello"}, "schedule": {"at": at}});
    let id: Uuid = post(&t.key, "/v1/notifications", body).await.expect(202)["id"].as_str().unwrap().parse().unwrap();
    let steer = async |verb: &str| call(&t.key, Method::POST, &path(id, verb), None).await.expect(200);
    assert_eq!(steer("/pause").await["state"], "paused");
    assert_eq!(steer("/resume").await["state"], "scheduled");
    steer("/pause").await;
    t.sql.execute("UPDATE notifications SET scheduled_at = now() WHERE notification_id = $1", &[&id]).await.unwrap();
    assert_eq!(steer("/resume").await["state"], "sending", "its time has come");
}

#[tokio::test]
async fn notifications_are_listed_newest_first_in_stable_pages() {
    let t = Tenant::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(accepted(&t).await.to_string());
    }
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = get(&t.key, "/v1/notifications?limit=2&app=shop").await.expect(200);
    accepted(&t).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&t.key, &format!("/v1/notifications?limit=2&app=shop&cursor={cursor}")).await.expect(200);
    let seen: Vec<String> = names(&first).into_iter().chain(names(&second)).collect();
    assert_eq!(seen, ids.iter().rev().cloned().collect::<Vec<_>>());
    assert!(names(&get(&t.key, "/v1/notifications?state=finished").await.expect(200)).is_empty());
    assert!(names(&get(&t.key, "/v1/notifications?user_id=nobody").await.expect(200)).is_empty());
    let limited = t.server_key(&["read"], Some(&["other"])).await;
    assert!(names(&get(&limited, "/v1/notifications").await.expect(200)).is_empty());
    assert_eq!(get(&limited, "/v1/notifications?app=shop").await.code(), (403, "forbidden"));
    for (query, pointer) in [("state=lost", "/query/state"), ("from=today", "/query/from"), ("x=1", "/query/x")] {
        assert_eq!(get(&t.key, &format!("/v1/notifications?{query}")).await.pointers(), [pointer]);
    }
}

#[tokio::test]
async fn a_receipt_counts_at_once_after_somebody_logged_in() {
    let t = Tenant::new().await;
    let token = json!({"platform": "apns", "token": "ab".repeat(32)});
    let made = put(&t.public_key, "/v1/apps/shop/devices/d1", token).await.expect(201);
    let secret = made["device_secret"].as_str().unwrap();
    // The key is known now, with the device as it was.
    get(secret, "/v1/apps/shop/devices/d1").await.expect(200);
    let (_, reference) = queued(&t).await;
    let opened = json!({"receipts": [{"run": reference, "event": "opened"}]});
    assert_eq!(post(secret, "/v1/receipts", opened).await.expect(200)["results"][0]["status"], "recorded");
}

#[tokio::test]
async fn a_run_that_is_none_of_ours_or_anothers_is_unknown_whatever_stands_beside_it() {
    let t = Tenant::new().await;
    let (id, reference) = queued(&t).await;
    let elsewhere = Reference { chunk: ChunkId { run: RunId(Uuid::now_v7()), number: 0 }, position: 0 };
    let elsewhere = String::from_utf8(elsewhere.to_text().to_vec()).expect("text");
    let beyond = Reference { chunk: ChunkId { run: RunId(id), number: 0 }, position: 1 };
    let beyond = String::from_utf8(beyond.to_text().to_vec()).expect("text");
    let receipt = |run: Option<&str>, device: &str, id: Uuid| json!({"run": run, "notification_id": id, "device": device, "event": "delivered"});
    let receipts = json!({"receipts": [
        receipt(Some("no run at all"), "d1", id),
        receipt(Some(&elsewhere), "d1", id),
        receipt(Some(&beyond), "d1", id),
        receipt(Some(&reference), "d2", id),
        receipt(Some(&reference), "d1", Uuid::now_v7()),
        receipt(None, "d1", Uuid::now_v7()),
    ]});
    let answer = post(&t.key, "/v1/receipts", receipts).await.expect(200);
    assert!(answer["results"].as_array().unwrap().iter().all(|r| r["status"] == "unknown"), "{answer}");
    let published = "UPDATE chunks SET copies = 1 WHERE run_id = $1";
    t.sql.execute(published, &[&id]).await.expect("SQL");
    // Without a run the names are enough, before the report of the push too; with one, what stands beside it fits.
    let fits = json!({"receipts": [receipt(None, "d1", id), receipt(Some(&reference), "d1", id)]});
    let answer = post(&t.key, "/v1/receipts", fits).await.expect(200);
    assert_eq!(
        (&answer["results"][0]["status"], &answer["results"][1]["status"]),
        (&json!("recorded"), &json!("duplicate"))
    );
}

#[tokio::test]
async fn the_button_of_the_first_click_is_shown_with_it() {
    let t = Tenant::new().await;
    let (id, reference) = queued(&t).await;
    let receipt = |event: &str, action: Value| json!({"run": reference, "event": event, "action": action});
    for receipts in [
        json!([receipt("opened", Value::Null), receipt("clicked", json!("buy"))]),
        json!([receipt("clicked", json!("later"))]),
    ] {
        post(&t.key, "/v1/receipts", json!({ "receipts": receipts })).await.expect(200);
    }
    let history = get(&t.key, &path(id, "/deliveries")).await.expect(200)["items"][0]["history"].clone();
    let of = |status: &str| history.as_array().unwrap().iter().find(|step| step["status"] == status).unwrap().clone();
    assert_eq!(of("clicked")["action"], "buy");
    assert_eq!(of("opened").get("action"), None);
}

#[tokio::test]
async fn what_waits_for_a_credential_says_so_and_is_woken_by_one() {
    let t = Tenant::new().await;
    let (id, _) = queued(&t).await;
    t.credential(2).await;
    let held = get(&t.key, &path(id, "")).await.expect(200)["held"].clone();
    assert_eq!(held, json!([{"platform": "apns", "reason": "credential"}]));
    let one = get(&t.key, &path(id, "/deliveries")).await.expect(200)["items"][0].clone();
    assert_eq!(
        (&one["status"], &one["reason"], &one["evidence"]),
        (&json!("queued"), &json!("credential"), &json!("none"))
    );
    // As a dispatcher leaves what it puts off for a minute.
    let put_off = "UPDATE chunks SET not_before = decode('3c000000', 'hex'), due_at = now() + interval '60 seconds' WHERE run_id = $1";
    t.sql.execute(put_off, &[&id]).await.expect("SQL");
    put(&t.key, "/v1/apps/shop/credentials/apns", apns_credential()).await.expect(201);
    let woken = "SELECT due_at < now() + interval '10 seconds' AND not_before = decode('00000000', 'hex') FROM chunks WHERE run_id = $1";
    assert!(t.sql.query_one(woken, &[&id]).await.expect("SQL").get::<_, bool>(0));
    assert_eq!(get(&t.key, &path(id, "")).await.expect(200)["held"], json!([]));
    let one = get(&t.key, &path(id, "/deliveries")).await.expect(200)["items"][0].clone();
    assert_eq!((&one["status"], &one["reason"]), (&json!("queued"), &Value::Null));
}

#[tokio::test]
async fn a_device_that_was_named_and_is_not_there_is_named_in_its_row() {
    let t = Tenant::new().await;
    let (id, _) = queued(&t).await;
    let row = "INSERT INTO deliveries (run_id, subject, link, tenant_key, bits, reason, person) VALUES ($1, $2, 0, $3, 2, 1, $4)";
    for (subject, person) in [(-2i64, "d:gone"), (-3, "u:nobody")] {
        t.sql.execute(row, &[&id, &subject, &t.tenant_key, &person]).await.expect("SQL");
    }
    let rows = get(&t.key, &path(id, "/deliveries?status=suppressed")).await.expect(200)["items"].clone();
    assert_eq!(
        (&rows[0]["device"], &rows[0]["user_id"], &rows[0]["channel"]),
        (&Value::Null, &json!("nobody"), &json!("push"))
    );
    assert_eq!(
        (&rows[1]["device"], &rows[1]["user_id"], &rows[1]["channel"]),
        (&json!("gone"), &Value::Null, &json!("push"))
    );
}
