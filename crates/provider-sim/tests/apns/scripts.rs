//! What a test can tell the simulator to do: scripted replies, cuts, outages.

use crate::client::DEADLINE;
use crate::client::apns::{Connection, Push, TOKEN};
use crate::{refusal, start};
use provider_sim::{Conditions, Failure, Fate, Provider, Query, Reply, Throttle};
use serde_json::json;

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
