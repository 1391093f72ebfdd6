//! What a request must look like, and what is written down of it.

use crate::client::apns::{BUNDLE, Connection, Push, TOKEN};
use crate::client::{NOTIFICATION, carillon};
use crate::{refusal, start};
use http::Method;
use provider_sim::{ApnsToken, Environment, Provider, Query};
use serde_json::json;

#[tokio::test]
async fn a_good_push_is_accepted_and_written_down() {
    let (sim, app, connection) = start().await;
    let id = "0c5f47d8-2f4b-4d5a-9d0b-0f5a0f3f1b11";
    let push =
        Push::alert(&app.token(0)).header("apns-id", id).header("apns-collapse-id", "c").to(&TOKEN.to_uppercase());
    let reply = connection.push(push).await.unwrap();
    assert_eq!((reply.status, reply.header("apns-id"), reply.body.len()), (200, Some(id), 0));
    assert_eq!(reply.header("apns-unique-id"), None);

    let records = sim.ledger().records(&Query::token(Provider::Apns, TOKEN));
    let record = &records[0];
    assert_eq!((record.seq, record.status, record.accepted, record.answered), (1, 200, true, true));
    assert_eq!(record.token, TOKEN);
    assert_eq!(record.notification_id.as_deref(), Some(NOTIFICATION));
    assert_eq!(record.body["carillon"], carillon());
    assert_eq!(record.headers["apns-collapse-id"], "c");
    assert!(record.headers["authorization"].starts_with("sha256:"));
    assert_eq!(record.violations, Vec::<String>::new());
}

#[tokio::test]
async fn an_id_is_made_when_none_is_given_and_the_sandbox_adds_its_own() {
    let (sim, app, _) = start().await;
    let sandbox = Connection::open(&sim.urls().apns_sandbox, sim.ca_pem()).await;
    let reply = sandbox.push(Push::alert(&app.token(0))).await.unwrap();
    assert_eq!(reply.header("apns-id").map(str::len), Some(36));
    assert_eq!(reply.header("apns-unique-id").map(str::len), Some(36));
}

#[tokio::test]
async fn the_request_line_and_every_header_are_judged() {
    let (_sim, app, connection) = start().await;
    let good = Push::alert(&app.token(0));
    let path = |path: &str| Push { path: path.to_owned(), ..good.clone() };
    let long = "x".repeat(65);
    for (push, status, reason) in [
        (path("/4/broadcasts/apps/x"), 404, "BadPath"),
        (path("/3/device/aa/bb"), 404, "BadPath"),
        (path("/3/device/"), 400, "MissingDeviceToken"),
        (Push { method: Method::GET, ..good.clone() }, 405, "MethodNotAllowed"),
        (good.clone().to("nothex"), 400, "BadDeviceToken"),
        (good.clone().to("abc"), 400, "BadDeviceToken"),
        (good.clone().also("apns-topic", BUNDLE), 400, "DuplicateHeaders"),
        (good.clone().header("apns-id", "7"), 400, "BadMessageId"),
        (good.clone().without("apns-topic"), 400, "MissingTopic"),
        (good.clone().header("apns-topic", "a b"), 400, "BadTopic"),
        (good.clone().header("apns-topic", "com.example.shop.voip"), 400, "BadTopic"),
        (good.clone().header("apns-topic", "com.example.other"), 400, "TopicDisallowed"),
        (good.clone().without("apns-push-type"), 400, "InvalidPushType"),
        (good.clone().header("apns-push-type", "shout"), 400, "InvalidPushType"),
        (good.clone().header("apns-push-type", "voip"), 400, "BadTopic"),
        (good.clone().header("apns-priority", "7"), 400, "BadPriority"),
        (good.clone().header("apns-expiration", "tomorrow"), 400, "BadExpirationDate"),
        (good.clone().header("apns-collapse-id", &long), 400, "BadCollapseId"),
    ] {
        assert_eq!(refusal(&connection, push).await, (status, reason.to_owned()));
    }
    assert_eq!(refusal(&connection, good.header("apns-collapse-id", &long[..64])).await.0, 200);
}

#[tokio::test]
async fn every_push_type_wants_its_topic() {
    let (_sim, app, connection) = start().await;
    for (push_type, suffix) in [
        ("voip", ".voip"),
        ("complication", ".complication"),
        ("fileprovider", ".pushkit.fileprovider"),
        ("location", ".location-query"),
        ("liveactivity", ".push-type.liveactivity"),
        ("pushtotalk", ".voip-ptt"),
        ("controls", ".push-type.controls"),
        ("widgets", ".push-type.widgets"),
        ("mdm", ""),
    ] {
        let push = Push::alert(&app.token(0)).header("apns-push-type", push_type);
        let topic = format!("{BUNDLE}{suffix}");
        assert_eq!(refusal(&connection, push.header("apns-topic", &topic)).await.0, 200, "{push_type}");
    }
}

#[tokio::test]
async fn the_payload_fits_the_push_type_and_the_limit() {
    let (_sim, app, connection) = start().await;
    let alert = Push::alert(&app.token(0));
    let background = Push::background(&app.token(0));
    let filled = |bytes: usize| {
        let frame = json!({"aps": {"alert": ""}}).to_string().len();
        json!({"aps": {"alert": "x".repeat(bytes - frame)}})
    };
    let invalid = (400, "InvalidPushType".to_owned());
    assert_eq!(refusal(&connection, background.clone()).await.0, 200);
    assert_eq!(refusal(&connection, background.clone().without("apns-priority")).await.1, "BadPriority");
    assert_eq!(refusal(&connection, background.clone().header("apns-priority", "10")).await.1, "BadPriority");
    assert_eq!(
        refusal(&connection, background.payload(json!({"aps": {"content-available": 1, "badge": 2}}))).await,
        invalid
    );
    assert_eq!(refusal(&connection, alert.clone().payload(json!({"aps": {"content-available": 1}}))).await, invalid);
    for empty in ["", "not json", "[]", "{}"] {
        assert_eq!(
            refusal(&connection, alert.clone().payload(empty)).await,
            (400, "PayloadEmpty".to_owned()),
            "{empty}"
        );
    }
    assert_eq!(refusal(&connection, alert.clone().payload(filled(4096))).await.0, 200);
    assert_eq!(refusal(&connection, alert.clone().payload(filled(4097))).await, (413, "PayloadTooLarge".to_owned()));
    assert_eq!(refusal(&connection, alert.payload("x".repeat(200_000))).await.0, 413);
}

#[tokio::test]
async fn declared_tokens_have_their_app_and_environment() {
    let (sim, app, connection) = start().await;
    let token = |token: &str, bundle_id: Option<&str>, environment| ApnsToken {
        token: token.to_owned(),
        bundle_id: bundle_id.map(str::to_owned),
        environment,
    };
    sim.declare_apns_tokens(vec![
        token("AA01", None, None),
        token("aa02", Some("com.example.other"), None),
        token("aa03", Some(BUNDLE), Some(Environment::Sandbox)),
    ])
    .unwrap();
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone().to("aa02")).await, (400, "DeviceTokenNotForTopic".to_owned()));
    assert_eq!(refusal(&connection, push.clone().to("aa03")).await, (400, "BadDeviceToken".to_owned()));
    assert_eq!(refusal(&connection, push.clone().to("aa04")).await.0, 200);
    sim.require_known_tokens(true);
    assert_eq!(refusal(&connection, push.clone().to("aa04")).await, (400, "BadDeviceToken".to_owned()));
    assert_eq!(refusal(&connection, push.clone().to("aa01")).await.0, 200);
    let sandbox = Connection::open(&sim.urls().apns_sandbox, sim.ca_pem()).await;
    assert_eq!(refusal(&sandbox, push.to("aa03")).await.0, 200);
}

#[tokio::test]
async fn what_a_device_would_not_understand_is_written_down_but_accepted() {
    let (sim, app, connection) = start().await;
    let mut key = carillon();
    key["extra"] = json!(1);
    let payload = json!({"aps": {"alert": "x"}, "carillon": key});
    assert_eq!(refusal(&connection, Push::alert(&app.token(0)).payload(payload)).await.0, 200);
    let record = &sim.ledger().records(&Query { violating: Some(true), ..Query::default() })[0];
    assert_eq!(record.violations, ["unknown field carillon.extra", "aps.mutable-content is not 1"]);
    assert_eq!(sim.ledger().summary().violations, 2);
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_put_together() {
    let (sim, app, connection) = start().await;
    let push = Push::alert(&app.token(0));
    let body = push.body.clone();
    let reply = connection.push_in_pieces(push, 7).await.unwrap();
    assert_eq!(reply.status, 200);
    let record = &sim.ledger().records(&Query::default())[0];
    assert_eq!(record.body, serde_json::from_slice::<serde_json::Value>(&body).unwrap());
}
