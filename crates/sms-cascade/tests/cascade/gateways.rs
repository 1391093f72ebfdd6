//! What gateways say, and what becomes of messages.

use crate::world::{Somebody, Standing, TOKEN, World, phone, reachable};
use carillon_domain::cascade::{CascadeState, Sms};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::span::Seconds;
use carillon_store::{PutSmsSender, SmsReference, SmsReport};
use provider_sim::{Conditions, Failure, Fate, Provider, Query, Reply, Throttle};

fn at_once(number: usize) -> Somebody {
    Somebody { devices: 0, ..reachable(number) }
}

fn sent() -> Standing {
    Standing { state: CascadeState::Sent, status: Status::Sent, reason: None, provider_id: true }
}

fn failed(reason: Reason) -> Standing {
    Standing { state: CascadeState::Failed, status: Status::Failed, reason: Some(reason), provider_id: false }
}

fn requests(world: &World) -> usize {
    world.sim.ledger().records(&Query { provider: Some(Provider::Sms), ..Query::default() }).len()
}

#[tokio::test]
async fn a_person_without_a_device_is_texted_at_once_and_the_text_follows_the_sender_and_the_content() {
    let world = World::new().await;
    let service = world.service(&[("CARILLON_HTTP__PUBLIC_URL", "http://127.0.0.1:9")]).await;
    let sms = Sms { from: Some("SHOP".into()), ttl: Some(Seconds(3600)), ..Default::default() };
    let run = world.send(sms, 3600, &[at_once(1)]).await.run;
    world.settled(run).await;
    assert_eq!(world.standing(run, 0).await, sent());
    let texts = world.texts();
    let body = &texts[0].body;
    assert_eq!((texts.len(), texts[0].token.as_str()), (1, phone(1).as_str()));
    assert_eq!((body["message"].as_str(), body["from"].as_str()), (Some("Order 17\nIt is on its way"), Some("SHOP")));
    assert_eq!(texts[0].notification_id.as_deref(), Some(run.0.to_string().as_str()));
    assert!(body["notify_url"].as_str().unwrap().starts_with("http://127.0.0.1:9/v1/callbacks/sms/"));
    assert!(body["expiration_date"].is_string());
    assert_eq!((world.count(run, 2, "sent").await, world.count(run, 1, "sent").await), (1, 0));
    let row = world.sql.query_one("SELECT gateway, segments FROM cascades", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i16>(1)), ("main", 1));
    world.eventually("the run is finished", async || world.finished(run).await).await;
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn nobody_to_text_is_a_suppressed_delivery_unless_any_device_of_the_person_knows_a_number() {
    let world = World::new().await;
    let nobody = Somebody { phone: None, devices: 0 };
    let sql = "
        INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, user_id, phone, state)
        VALUES ($1, $2, 'old', 'u:u1', 1, 1, 't', 'u1', $3, 3)";
    world.sql.execute(sql, &[&world.tenant.0, &world.app.0, &phone(7)]).await.unwrap();
    let run = world.send(Sms::default(), 60, &[nobody.clone(), nobody]).await.run;
    let service = world.service(&[]).await;
    world.settled(run).await;
    let no_phone = Standing {
        state: CascadeState::Failed,
        status: Status::Suppressed,
        reason: Some(Reason::NoPhone),
        provider_id: false,
    };
    assert_eq!((world.standing(run, 0).await, world.standing(run, 1).await), (no_phone, sent()));
    assert_eq!(world.texts()[0].token, phone(7));
    assert_eq!((world.count(run, 2, "suppressed").await, world.count(run, 2, "sent").await), (1, 1));
    world.eventually("the run is finished", async || world.finished(run).await).await;
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_refusal_is_final_and_says_whether_the_number_or_the_account_is_to_blame() {
    let world = World::new().await;
    world.sim.script(Provider::Sms, phone(1), [Reply::refuse("13")]).unwrap();
    world.sim.script(Provider::Sms, phone(2), [Reply::refuse("101")]).unwrap();
    let service = world.service(&[]).await;
    let run = world.send(Sms::default(), 60, &[at_once(1), at_once(2), at_once(3)]).await.run;
    world.settled(run).await;
    assert_eq!(world.standing(run, 0).await, failed(Reason::ProviderRejected));
    assert_eq!(world.standing(run, 1).await, failed(Reason::Credential));
    assert_eq!(world.standing(run, 2).await, sent());
    assert_eq!((world.count(run, 2, "failed").await, world.count(run, 2, "sent").await), (2, 1));
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn without_a_gateway_nothing_is_sent_and_the_credential_is_to_blame() {
    let world = World::without_gateway().await;
    let service = world.service(&[]).await;
    let run = world.send(Sms::default(), 60, &[at_once(1)]).await.run;
    world.settled(run).await;
    assert_eq!(world.standing(run, 0).await, failed(Reason::Credential));
    assert_eq!(requests(&world), 0);
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_sender_s_next_gateway_sends_what_the_first_surely_did_not_take() {
    let world = World::without_gateway().await;
    world.gateway("first", "revoked").await;
    world.gateway("second", TOKEN).await;
    let gateways = ["first".to_owned(), "second".to_owned()];
    let put = world.store.put_sms_sender(world.tenant, "shop", &gateways).await.unwrap();
    assert!(matches!(put, PutSmsSender::Kept(_, true)));
    let service = world.service(&[]).await;
    let sms = Sms { from: Some("SHOP".into()), ..Default::default() };
    let run = world.send(sms, 60, &[at_once(1)]).await.run;
    world.settled(run).await;
    assert_eq!(world.standing(run, 0).await, sent());
    let gateway = world.sql.query_one("SELECT gateway FROM cascades", &[]).await.unwrap();
    assert_eq!(gateway.get::<_, &str>(0), "second");
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_message_without_an_answer_is_repeated_and_not_doubled() {
    let world = World::new().await;
    world.sim.script(Provider::Sms, phone(1), [Reply::accept().fate(Fate::Hang)]).unwrap();
    world.sim.script(Provider::Sms, phone(2), [Reply::accept().fate(Fate::Drop)]).unwrap();
    let service = world.service(&[]).await;
    let run = world.send(Sms::default(), 60, &[at_once(1), at_once(2)]).await.run;
    world.settled(run).await;
    // The gateway answers a repetition without its id.
    for person in 0..2 {
        assert_eq!(world.standing(run, person).await, Standing { provider_id: false, ..sent() });
    }
    assert_eq!((world.texts().len(), requests(&world)), (2, 4));
    assert_eq!(world.sim.ledger().summary().of(Provider::Sms).duplicates, 0);
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_message_that_is_never_answered_is_unknown_until_it_is_reported() {
    let world = World::new().await;
    let cut = Failure { reply: Reply::accept().fate(Fate::Drop), for_ms: None };
    world.sim.set_conditions(Provider::Sms, Conditions { fail: Some(cut), ..Default::default() }).unwrap();
    let service = world.service(&[]).await;
    let run = world.send(Sms::default(), 60, &[at_once(1)]).await.run;
    world.settled(run).await;
    let unknown = Standing {
        state: CascadeState::Unknown,
        status: Status::Unknown,
        reason: Some(Reason::Unknown),
        provider_id: false,
    };
    assert_eq!(world.standing(run, 0).await, unknown);
    assert_eq!((requests(&world), world.texts().len()), (3, 1));
    service.stop().await.unwrap();

    let idx = world.texts()[0].body["idx"].as_str().unwrap().to_owned();
    let report = |status| SmsReport {
        reference: SmsReference::parse(&idx).expect("our reference"),
        status,
        reason: None,
        provider_id: Some("5F".into()),
        at: None,
    };
    let reported = world.store.record_sms_reports(world.tenant, &[report(Status::Delivered)], 0).await.unwrap();
    assert_eq!(reported.known, 1);
    let told = world.store.take_status_batches(100).await.unwrap().len();
    let again = world.store.record_sms_reports(world.tenant, &[report(Status::Delivered)], 0).await.unwrap();
    assert_eq!((again.known, world.store.take_status_batches(100).await.unwrap().len()), (1, 0), "nothing new to tell");
    assert!(told > 0);
    let standing = world.standing(run, 0).await;
    assert_eq!((standing.state, standing.status, standing.provider_id), (CascadeState::Sent, Status::Delivered, true));
    assert_eq!(world.count(run, 2, "delivered").await, 1);
    assert_eq!((world.count(run, 2, "unknown").await, world.count(run, 2, "sent").await), (0, 1));
    let other = carillon_domain::ids::TenantKey(world.tenant.0 + 1);
    let foreign = world.store.record_sms_reports(other, &[report(Status::Undelivered)], 0).await.unwrap();
    assert_eq!((foreign.known, world.count(run, 2, "undelivered").await), (0, 0));
    world.end().await;
}

#[tokio::test]
async fn a_gateway_that_is_busy_or_away_is_asked_again_later() {
    let world = World::new().await;
    world
        .sim
        .set_conditions(
            Provider::Sms,
            Conditions { throttle: Some(Throttle { requests: 2, retry_after: None }), ..Default::default() },
        )
        .unwrap();
    world.sim.script(Provider::Sms, phone(2), [Reply::status(503)]).unwrap();
    let service = world.service(&[]).await;
    let run = world.send(Sms::default(), 60, &[at_once(1), at_once(2), at_once(3)]).await.run;
    world.settled(run).await;
    for person in 0..3 {
        assert_eq!(world.standing(run, person).await, sent());
    }
    assert_eq!(world.texts().len(), 3);
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_message_whose_time_to_live_has_passed_is_expired_and_not_sent() {
    let world = World::new().await;
    let sms = Sms { ttl: Some(Seconds(60)), ..Default::default() };
    let run = world.send(sms, 60, &[at_once(1)]).await.run;
    world.sql.execute("UPDATE cascades SET released_at = now() - interval '3 minutes'", &[]).await.unwrap();
    let service = world.service(&[]).await;
    world.settled(run).await;
    let standing = world.standing(run, 0).await;
    assert_eq!((standing.status, standing.reason), (Status::Expired, Some(Reason::Ttl)));
    assert_eq!((requests(&world), world.count(run, 2, "expired").await), (0, 1));
    service.stop().await.unwrap();
    world.end().await;
}
