//! Events over AMQP, published as a service outside publishes them.

use std::time::Duration;

use carillon_wire::{public as pb, topology};
use futures::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, Consumer};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

use crate::world::{Tenant, World, eventually};

/// A service outside: a channel, and a queue of its own for answers.
pub(crate) struct Publisher {
    channel: Channel,
    answers: Consumer,
    reply_to: String,
    _connection: Connection,
    _turn: Turn,
}

/// The intake is one queue for all tests, and its replicas take turns at its events.
static TURNS: RwLock<()> = RwLock::const_new(());

/// One test alone, or any number of the others.
enum Turn {
    Shared { _turn: RwLockReadGuard<'static, ()> },
    Alone { _turn: RwLockWriteGuard<'static, ()> },
}

/// For a test that starts a replica of its own, as long as it runs: it takes a share of the intake's events, too.
pub(crate) async fn with_a_replica() -> RwLockReadGuard<'static, ()> {
    TURNS.read().await
}

/// What came back.
pub(crate) struct Heard {
    pub(crate) body: Value,
    correlation_id: Option<String>,
    content_type: Option<String>,
}

impl Publisher {
    /// One of several; a test has only one.
    pub(crate) async fn new() -> Self {
        Self::in_turn(Turn::Shared { _turn: TURNS.read().await }).await
    }

    /// The only one, so that the events of this test are shared out evenly.
    pub(crate) async fn alone() -> Self {
        Self::in_turn(Turn::Alone { _turn: TURNS.write().await }).await
    }

    async fn in_turn(turn: Turn) -> Self {
        let connection =
            Connection::connect(&World::get().amqp_url, Default::default()).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let reply_to = format!("test.{}", Uuid::now_v7().simple());
        let answers = bind(&channel, topology::REPLIES.name, &reply_to).await;
        Self { channel, answers, reply_to, _connection: connection, _turn: turn }
    }

    #[allow(clippy::disallowed_methods, reason = "a service outside has no failpoints")]
    pub(crate) async fn publish(&self, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirm = self
            .channel
            .basic_publish(topology::EVENTS.name.into(), "notification.requested".into(), options, body, properties)
            .await
            .expect("published");
        assert!(confirm.await.expect("a confirm").is_ack());
    }

    pub(crate) async fn answer(&mut self) -> Heard {
        heard(&mut self.answers).await
    }

    pub(crate) fn asking(&self) -> BasicProperties {
        BasicProperties::default().with_reply_to(self.reply_to.as_str().into()).with_correlation_id("c-1".into())
    }
}

/// A queue of this test's own, and its messages.
async fn bind(channel: &Channel, exchange: &str, key: &str) -> Consumer {
    let name = format!("test.{}", Uuid::now_v7().simple());
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    channel.queue_declare(name.as_str().into(), own, FieldTable::default()).await.expect("a queue");
    channel
        .queue_bind(
            name.as_str().into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("a binding");
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    channel.basic_consume(name.as_str().into(), "".into(), options, FieldTable::default()).await.expect("a consumer")
}

async fn heard(consumer: &mut Consumer) -> Heard {
    let message = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await.expect("an answer in time");
    let message = message.expect("a consumer that lives").expect("a message");
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let headers = message.properties.headers().clone().unwrap_or_default();
    assert!(headers.inner().keys().all(|name| !name.as_str().eq_ignore_ascii_case("authorization")));
    Heard {
        body: serde_json::from_slice(&message.data).expect("JSON"),
        correlation_id: text(message.properties.correlation_id()),
        content_type: text(message.properties.content_type()),
    }
}

pub(crate) fn bearer(properties: BasicProperties, key: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("authorization".into(), AMQPValue::LongString(format!("Bearer {key}").into()));
    properties.with_headers(headers)
}

pub(crate) fn json_with(properties: BasicProperties, id: &str) -> BasicProperties {
    properties.with_content_type("application/json".into()).with_message_id(id.into())
}

pub(crate) fn hello() -> Value {
    json!({"app": "shop", "to": {"users": ["u1"]}, "content": {"title": "Hello"}})
}

const ALL: &str = "SELECT count(*) FROM notifications WHERE tenant_key = $1";

#[tokio::test]
async fn an_event_becomes_a_notification_and_its_acceptance_goes_to_who_asked() {
    let t = Tenant::new().await;
    let mut publisher = Publisher::new().await;
    let properties = bearer(json_with(publisher.asking(), "order-17"), &t.key);
    publisher.publish(properties.clone(), hello().to_string().as_bytes()).await;
    let first = publisher.answer().await;
    assert_eq!((first.correlation_id.as_deref(), &first.body["state"]), (Some("c-1"), &json!("sending")));
    assert_eq!(first.content_type.as_deref(), Some("application/json"));
    World::get().wakes(first.body["id"].as_str().unwrap().parse().unwrap()).await;
    publisher.publish(properties, hello().to_string().as_bytes()).await;
    assert_eq!(publisher.answer().await.body, first.body, "the message id is the idempotency key");
    assert_eq!(t.count(ALL).await, 1);
}

#[tokio::test]
async fn protobuf_means_the_same_as_json() {
    let t = Tenant::new().await;
    let mut publisher = Publisher::new().await;
    publisher.publish(bearer(json_with(publisher.asking(), "k"), &t.key), hello().to_string().as_bytes()).await;
    let request = pb::SendRequest {
        app: "shop".into(),
        to: Some(pb::Audience { users: vec!["u1".into()], ..Default::default() }),
        content: Some(pb::Content { title: Some("Hello".into()), ..Default::default() }),
        ..Default::default()
    };
    let first = publisher.answer().await;
    let properties = json_with(publisher.asking(), "k").with_content_type("application/x-protobuf".into());
    publisher.publish(bearer(properties, &t.key), &request.encode_to_vec()).await;
    assert_eq!(publisher.answer().await.body, first.body);
}

#[tokio::test]
async fn a_user_of_the_broker_speaks_for_the_tenant_that_the_operator_named() {
    let t = Tenant::new().await;
    let user = World::get().amqp_url.split("//").nth(1).unwrap().split(':').next().unwrap().to_owned();
    let sql = "INSERT INTO amqp_users (amqp_user, tenant_key, scopes) VALUES ($1, $2, '{send}')
               ON CONFLICT (amqp_user) DO UPDATE SET tenant_key = excluded.tenant_key";
    t.sql.execute(sql, &[&user, &t.tenant_key]).await.unwrap();
    let mut publisher = Publisher::new().await;
    let answer = eventually("the mapping", async || {
        let properties = json_with(publisher.asking(), "k").with_user_id(user.as_str().into());
        publisher.publish(properties, hello().to_string().as_bytes()).await;
        let answer = publisher.answer().await.body;
        answer["id"].is_string().then_some(answer)
    })
    .await;
    assert_eq!(answer["state"], "sending");
    assert_eq!(t.count(ALL).await, 1);
}

#[tokio::test]
async fn every_refusal_is_answered_with_its_code() {
    let t = Tenant::new().await;
    let mut publisher = Publisher::new().await;
    let reader = t.server_key(&["read"], None).await;
    let body = hello().to_string();
    let json = || json_with(publisher.asking(), "k");
    let cases = [
        (json(), body.clone(), "unauthenticated"),
        (bearer(json(), "csk_nonsense"), body.clone(), "unauthenticated"),
        (bearer(json(), &reader), body.clone(), "forbidden"),
        (bearer(json(), &t.key), "{".into(), "invalid_request"),
        (
            bearer(json(), &t.key),
            json!({"app": "shop", "nonsense": 1, "to": {"all": true}, "content": {"title": "x"}}).to_string(),
            "unknown_field",
        ),
        (bearer(json().with_content_type("text/plain".into()), &t.key), body.clone(), "invalid_request"),
        (bearer(json().with_content_type("application/x-protobuf".into()), &t.key), body.clone(), "invalid_request"),
        (bearer(json().with_message_id("zażółć".into()), &t.key), body.clone(), "invalid_request"),
        (bearer(json(), &t.key), format!("{{\"app\": \"{}\"}}", "x".repeat(1_100_000)), "body_too_large"),
    ];
    for (properties, body, code) in cases {
        publisher.publish(properties, body.as_bytes()).await;
        let answer = publisher.answer().await;
        assert_eq!(answer.body["code"], code, "{}", answer.body);
        assert!(!answer.body.to_string().contains(&t.key));
        assert_eq!(answer.content_type.as_deref(), Some("application/problem+json"));
    }
    assert_eq!(t.count(ALL).await, 0);
}

#[tokio::test]
async fn a_refusal_that_nobody_asked_for_goes_to_the_refused() {
    let t = Tenant::new().await;
    let publisher = Publisher::new().await;
    let mut refused = bind(&publisher.channel, topology::REFUSED.name, "#").await;
    let id = Uuid::now_v7().to_string();
    let properties = bearer(json_with(BasicProperties::default(), &id).with_correlation_id(id.as_str().into()), &t.key);
    publisher.publish(properties, b"{}").await;
    loop {
        let one = heard(&mut refused).await;
        if one.correlation_id.as_deref() == Some(&id) {
            assert_eq!((&one.body["code"], &one.body["request_id"]), (&json!("invalid_request"), &json!(id)));
            return;
        }
    }
}

#[tokio::test]
async fn an_event_without_an_answer_wanted_is_just_accepted() {
    let t = Tenant::new().await;
    let publisher = Publisher::new().await;
    let properties = BasicProperties::default().with_content_type("application/json".into());
    publisher.publish(bearer(properties, &t.key), hello().to_string().as_bytes()).await;
    eventually("the notification", async || (t.count(ALL).await == 1).then_some(())).await;
}
