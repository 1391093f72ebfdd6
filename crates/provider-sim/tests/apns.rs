//! APNs, by a client on the h2 crate.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

mod client;

use client::apns::{App, BUNDLE, Connection, KEY, Push, TEAM, TOKEN};
use client::{DEADLINE, NOTIFICATION, carillon, now};
use http::Method;
use provider_sim::{
    ApnsCertificate, ApnsKey, ApnsToken, Conditions, Config, Environment, Failure, Fate, Listen, Provider, Query,
    Reply, Sim, Throttle,
};
use serde_json::json;

async fn start() -> (Sim, App, Connection) {
    let sim = Sim::start(Config::default()).await.unwrap();
    let app = App::register(&sim);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    (sim, app, connection)
}

/// Status and reason.
async fn refusal(connection: &Connection, push: Push) -> (u16, String) {
    let reply = connection.push(push).await.unwrap();
    (reply.status, reply.reason())
}

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
async fn a_provider_token_is_verified() {
    let (sim, app, _) = start().await;
    let header = json!({"alg": "ES256", "kid": KEY});
    let claims = json!({"iss": TEAM, "iat": now()});
    let forged = App::with(client::Signer::generate());
    let good = Push::alert(&app.token(0));
    for (authorization, status, reason) in [
        ("basic x".to_owned(), 403, "MissingProviderToken"),
        ("bearer x".to_owned(), 403, "InvalidProviderToken"),
        (forged.token(0), 403, "InvalidProviderToken"),
        (app.token_of(json!({"alg": "HS256", "kid": KEY}), claims.clone()), 403, "InvalidProviderToken"),
        (app.token_of(json!({"alg": "ES256"}), claims.clone()), 403, "InvalidProviderToken"),
        (app.token_of(json!({"alg": "ES256", "kid": "OTHER"}), claims), 403, "InvalidProviderToken"),
        (app.token_of(header.clone(), json!({"iss": "OTHER", "iat": now()})), 403, "InvalidProviderToken"),
        (app.token_of(header, json!({"iss": TEAM})), 403, "InvalidProviderToken"),
        (app.token(-120), 403, "InvalidProviderToken"),
        (app.token(3700), 403, "ExpiredProviderToken"),
    ] {
        let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
        let push = good.clone().header("authorization", &authorization);
        assert_eq!(refusal(&connection, push).await, (status, reason.to_owned()), "{authorization}");
    }
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    assert_eq!(refusal(&connection, good.without("authorization")).await, (403, "MissingProviderToken".to_owned()));
}

#[tokio::test]
async fn a_token_expires_while_it_is_in_use() {
    let (sim, app, connection) = start().await;
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    sim.advance_clock(std::time::Duration::from_secs(3601));
    assert_eq!(refusal(&connection, push).await, (403, "ExpiredProviderToken".to_owned()));
}

#[tokio::test]
async fn a_revoked_key_stops_being_good_on_open_connections() {
    let (sim, app, connection) = start().await;
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    assert!(sim.revoke_apns_key(TEAM, KEY));
    assert_eq!(refusal(&connection, push).await, (403, "InvalidProviderToken".to_owned()));
}

#[tokio::test]
async fn two_tokens_of_a_key_within_twenty_minutes_are_too_many() {
    let (_sim, app, connection) = start().await;
    assert_eq!(refusal(&connection, Push::alert(&app.token(3000))).await.0, 200);
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
    let reply = refusal(&connection, Push::alert(&app.token(60))).await;
    assert_eq!(reply, (429, "TooManyProviderTokenUpdates".to_owned()));
}

#[tokio::test]
async fn a_second_key_on_a_connection_is_unrelated() {
    let (sim, app, connection) = start().await;
    let key = ApnsKey { key_id: "KEY0000002".to_owned(), ..app.key(None) };
    sim.register_apns_key(key).unwrap();
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
    let other = app.token_of(json!({"alg": "ES256", "kid": "KEY0000002"}), json!({"iss": TEAM, "iat": now()}));
    assert_eq!(refusal(&connection, Push::alert(&other)).await, (403, "UnrelatedKeyIdInToken".to_owned()));
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    assert_eq!(refusal(&connection, Push::alert(&other)).await.0, 200);
}

#[tokio::test]
async fn a_key_can_be_bound_to_an_environment() {
    let (sim, app, connection) = start().await;
    sim.register_apns_key(app.key(Some(Environment::Sandbox))).unwrap();
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone()).await, (403, "BadEnvironmentKeyIdInToken".to_owned()));
    let sandbox = Connection::open(&sim.urls().apns_sandbox, sim.ca_pem()).await;
    assert_eq!(refusal(&sandbox, push).await.0, 200);
}

#[tokio::test]
async fn a_key_made_here_comes_with_its_p8() {
    let (sim, _, connection) = start().await;
    let key = ApnsKey {
        team_id: "T2".to_owned(),
        key_id: "K2".to_owned(),
        public_key: None,
        bundle_ids: vec![BUNDLE.to_owned()],
        environment: None,
    };
    let pem = sim.register_apns_key(key).unwrap().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    let app = App::with(client::Signer::from_p8(&pem));
    let token = app.token_of(json!({"alg": "ES256", "kid": "K2"}), json!({"iss": "T2", "iat": now()}));
    assert_eq!(refusal(&connection, Push::alert(&token)).await.0, 200);
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
async fn scripted_replies_come_in_their_order() {
    let (sim, app, connection) = start().await;
    let replies = [
        Reply::refuse("Unregistered").since(1_700_000_000_000),
        Reply::refuse("TooManyRequests").retry_after(7),
        Reply::status(500).times(2),
        Reply::status(503),
    ];
    sim.script(Provider::Apns, TOKEN, replies).unwrap();
    let push = Push::alert(&app.token(0));
    let gone = connection.push(push.clone()).await.unwrap();
    assert_eq!((gone.status, gone.json()), (410, json!({"reason": "Unregistered", "timestamp": 1_700_000_000_000i64})));
    let throttled = connection.push(push.clone()).await.unwrap();
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, Some("7")));
    for (status, reason) in
        [(500, "InternalServerError"), (500, "InternalServerError"), (503, "ServiceUnavailable"), (200, "")]
    {
        assert_eq!(refusal(&connection, push.clone()).await, (status, reason.to_owned()));
    }
    let summary = sim.ledger().summary().of(Provider::Apns);
    assert_eq!((summary.requests, summary.accepted, summary.by_status[&500]), (6, 1, 2));
}

#[tokio::test]
async fn a_script_does_not_hide_a_bad_request() {
    let (sim, app, connection) = start().await;
    sim.script(Provider::Apns, TOKEN, [Reply::status(503)]).unwrap();
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone().header("apns-priority", "7")).await.1, "BadPriority");
    assert_eq!(refusal(&connection, push).await.0, 503);
}

#[tokio::test]
async fn a_script_that_makes_no_sense_is_refused() {
    let (sim, ..) = start().await;
    assert!(sim.script(Provider::Apns, TOKEN, [Reply::refuse("Nonsense")]).is_err());
    assert!(sim.script(Provider::Fcm, "t", [Reply::status(410).since(1)]).is_err());
    assert!(sim.script(Provider::Apns, TOKEN, [Reply::reports([])]).is_err());
    assert!(sim.script(Provider::Apns, TOKEN, [Reply::accept().retry_after(1)]).is_err());
}

#[tokio::test]
async fn a_reset_push_was_accepted_but_never_answered() {
    let (sim, app, connection) = start().await;
    sim.script(Provider::Apns, TOKEN, [Reply::accept().fate(Fate::Reset)]).unwrap();
    let push = Push::alert(&app.token(0));
    let error = connection.push(push.clone()).await.unwrap_err();
    assert!(error.is_reset());
    assert_eq!(refusal(&connection, push).await.0, 200);
    let records = sim.ledger().records(&Query::token(Provider::Apns, TOKEN));
    assert_eq!((records[0].accepted, records[0].answered, records[0].duplicate), (true, false, false));
    assert_eq!((records[1].accepted, records[1].answered, records[1].duplicate), (true, true, true));
    assert_eq!(sim.ledger().summary().duplicates, 1);
    let query = Query { duplicate: Some(true), ..Query::default() };
    assert_eq!(sim.ledger().records(&query).len(), 1);
}

#[tokio::test]
async fn a_cut_connection_answers_nothing_more() {
    let (sim, app, connection) = start().await;
    sim.script(Provider::Apns, TOKEN, [Reply::status(503).fate(Fate::Drop)]).unwrap();
    assert!(connection.push(Push::alert(&app.token(0))).await.is_err());
    let record = &sim.ledger().records(&Query::default())[0];
    assert_eq!((record.status, record.accepted, record.answered), (503, false, false));
    let again = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    assert_eq!(refusal(&again, Push::alert(&app.token(0))).await.0, 200);
}

#[tokio::test]
async fn goaway_lets_what_is_under_way_finish_and_closes() {
    let (sim, app, connection) = start().await;
    sim.set_conditions(Provider::Apns, Conditions { paused: true, ..Conditions::default() }).unwrap();
    let waiting = connection.start(Push::alert(&app.token(0))).await.unwrap();
    assert_eq!(sim.ledger().wait(&Query::default(), 1, DEADLINE).await.len(), 1);
    sim.go_away(Provider::Apns);
    sim.set_conditions(Provider::Apns, Conditions::default()).unwrap();
    let reply = tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert_eq!(reply.status, 200);
    let closed = tokio::time::timeout(DEADLINE, &mut *connection.closed.lock().await).await.unwrap().unwrap();
    assert!(closed.is_ok());
    assert!(connection.push(Push::alert(&app.token(0))).await.is_err());
}

#[tokio::test]
async fn a_scripted_goaway_answers_first() {
    let (sim, app, connection) = start().await;
    sim.script(Provider::Apns, TOKEN, [Reply::accept().fate(Fate::Goaway)]).unwrap();
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
    assert!(tokio::time::timeout(DEADLINE, &mut *connection.closed.lock().await).await.is_ok());
}

#[tokio::test]
async fn a_hanging_push_ends_when_the_client_gives_up() {
    let (sim, app, connection) = start().await;
    sim.script(Provider::Apns, TOKEN, [Reply::accept().fate(Fate::Hang)]).unwrap();
    let waiting = connection.start(Push::alert(&app.token(0))).await.unwrap();
    assert_eq!(sim.ledger().wait(&Query::default(), 1, DEADLINE).await.len(), 1);
    drop(waiting);
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
}

#[tokio::test]
async fn paused_answers_come_when_the_pause_ends() {
    let (sim, app, connection) = start().await;
    sim.set_conditions(Provider::Apns, Conditions { paused: true, ..Conditions::default() }).unwrap();
    let push = Push::alert(&app.token(0));
    let answers = [connection.start(push.clone()).await.unwrap(), connection.start(push).await.unwrap()];
    assert_eq!(sim.ledger().wait(&Query::provider(Provider::Apns), 2, DEADLINE).await.len(), 2);
    sim.set_conditions(Provider::Apns, Conditions::default()).unwrap();
    for answer in answers {
        assert_eq!(tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_outage_and_a_throttle_hold_for_every_token() {
    let (sim, app, connection) = start().await;
    let push = Push::alert(&app.token(0));
    let fail = Failure { reply: Reply::refuse("Shutdown"), for_ms: None };
    sim.set_conditions(Provider::Apns, Conditions { fail: Some(fail), ..Conditions::default() }).unwrap();
    assert_eq!(refusal(&connection, push.clone()).await, (503, "Shutdown".to_owned()));
    assert_eq!(refusal(&connection, push.clone().to("ab")).await, (503, "Shutdown".to_owned()));
    let throttle = Throttle { requests: 1, retry_after: Some(3) };
    sim.set_conditions(Provider::Apns, Conditions { throttle: Some(throttle), ..Conditions::default() }).unwrap();
    assert_eq!(refusal(&connection, push.clone()).await, (429, "TooManyRequests".to_owned()));
    assert_eq!(refusal(&connection, push).await.0, 200);
}

#[tokio::test]
async fn a_provider_that_is_gone_takes_no_connection() {
    let (sim, app, connection) = start().await;
    sim.set_conditions(Provider::Apns, Conditions { refuse_connections: true, ..Conditions::default() }).unwrap();
    assert!(connection.push(Push::alert(&app.token(0))).await.is_err());
    assert!(client::tls(&sim.urls().apns, sim.ca_pem(), &["h2"]).await.is_err());
    sim.set_conditions(Provider::Apns, Conditions::default()).unwrap();
    let again = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    assert_eq!(refusal(&again, Push::alert(&app.token(0))).await.0, 200);
}

#[tokio::test]
async fn only_http_2_is_spoken() {
    let (sim, ..) = start().await;
    assert!(client::tls(&sim.urls().apns, sim.ca_pem(), &["http/1.1"]).await.is_err());
    let stream = client::tls(&sim.urls().apns, sim.ca_pem(), &[]).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    drop(sender);
    assert!(tokio::time::timeout(DEADLINE, connection).await.is_ok());
    assert_eq!(sim.connections(Provider::Apns).1, 1);
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
async fn one_stream_is_announced_and_enforced_until_a_valid_token_was_seen() {
    let sim = Sim::start(Config { apns_one_stream_until_valid: true, ..Config::default() }).await.unwrap();
    let app = App::register(&sim);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    // A refused push does not open the gate. Its answer comes after the settings.
    let bad = Push::alert("bearer x");
    assert_eq!(refusal(&connection, bad.clone()).await.0, 403);
    assert_eq!(connection.most_streams(), 1);

    sim.set_conditions(Provider::Apns, Conditions { delay_ms: 1, ..Conditions::default() }).unwrap();
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
    let wider = async {
        while connection.most_streams() == 1 {
            assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
        }
    };
    tokio::time::timeout(DEADLINE, wider).await.unwrap();
    assert_eq!(connection.most_streams(), 1000);
    let pushes = (0..50).map(|_| connection.push(Push::alert(&app.token(0))));
    let replies = futures::future::join_all(pushes).await;
    assert!(replies.iter().all(|reply| reply.as_ref().is_ok_and(|reply| reply.status == 200)));
}

#[tokio::test]
async fn a_second_stream_before_the_first_valid_token_is_refused_unread() {
    let sim = Sim::start(Config { apns_one_stream_until_valid: true, ..Config::default() }).await.unwrap();
    let app = App::register(&sim);
    sim.set_conditions(Provider::Apns, Conditions { paused: true, ..Conditions::default() }).unwrap();
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    // Both leave before the client has read any settings.
    let bad = Push::alert("bearer x");
    let first = connection.start(bad.clone()).await.unwrap();
    let second = connection.start(bad).await.unwrap();
    let error = tokio::time::timeout(DEADLINE, second).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
    sim.set_conditions(Provider::Apns, Conditions::default()).unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, first).await.unwrap().unwrap().status, 403);
    assert_eq!(sim.ledger().summary().of(Provider::Apns).requests, 1);
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
}

#[tokio::test]
async fn a_certificate_of_one_app_needs_neither_token_nor_topic() {
    let (sim, ..) = start().await;
    let issue = |bundle_ids: &[&str], environment| {
        let bundle_ids = bundle_ids.iter().map(|bundle_id| (*bundle_id).to_owned()).collect();
        sim.issue_apns_certificate(ApnsCertificate { bundle_ids, environment }).unwrap()
    };
    let push = Push::alert("").without("authorization");
    let one = issue(&[BUNDLE], None);
    let connection = Connection::open_as(&sim.urls().apns, sim.ca_pem(), &one).await;
    assert_eq!(refusal(&connection, push.clone().without("apns-topic")).await.0, 200);
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    let foreign = push.clone().header("apns-topic", "com.example.other");
    assert_eq!(refusal(&connection, foreign).await, (400, "TopicDisallowed".to_owned()));

    let two = issue(&[BUNDLE, "com.example.other"], Some(Environment::Production));
    let connection = Connection::open_as(&sim.urls().apns, sim.ca_pem(), &two).await;
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    assert_eq!(refusal(&connection, push.clone().without("apns-topic")).await, (400, "MissingTopic".to_owned()));
    let sandbox = Connection::open_as(&sim.urls().apns_sandbox, sim.ca_pem(), &two).await;
    assert_eq!(refusal(&sandbox, push.clone()).await, (403, "BadCertificateEnvironment".to_owned()));

    sim.revoke_apns_certificates();
    assert_eq!(refusal(&connection, push.clone()).await, (403, "BadCertificate".to_owned()));
    let again = Connection::open_as(&sim.urls().apns, sim.ca_pem(), &one).await;
    assert_eq!(refusal(&again, push).await, (403, "BadCertificate".to_owned()));
}

#[tokio::test]
async fn without_tls_http_2_is_spoken_with_prior_knowledge() {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sim = Sim::start(Config { apns: Listen::plain(any), ..Config::default() }).await.unwrap();
    let app = App::register(&sim);
    assert!(sim.urls().apns.starts_with("http://"));
    let connection = Connection::open_plain(&sim.urls().apns).await;
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
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
