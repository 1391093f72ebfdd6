//! Status events as a listener on the broker gets them.

use carillon_domain::audience::Audience;
use carillon_tests::{World, eventually, server};
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use serde_json::Value;
use std::collections::BTreeSet;

/// A queue of somebody who listens.
struct Listener {
    channel: Channel,
    queue: String,
    _connection: Connection,
}

impl Listener {
    /// Bound under this key from here on.
    async fn bound(key: &str) -> Self {
        let connection = Connection::connect(&server("CARILLON_AMQP__URL"), Default::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue =
            channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap().name().to_string();
        let exchange = carillon_wire::topology::STATUSES.name;
        channel
            .queue_bind(queue.as_str().into(), exchange.into(), key.into(), Default::default(), FieldTable::default())
            .await
            .unwrap();
        Self { channel, queue, _connection: connection }
    }

    /// The events that came, taken from the queue: routing key and body.
    async fn heard(&self) -> Vec<(String, Value)> {
        let mut events = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(self.queue.as_str().into(), options).await.unwrap() {
            let body = serde_json::from_slice(&got.delivery.data).unwrap();
            events.push((got.delivery.routing_key.to_string(), body));
        }
        events
    }
}

fn everybody() -> Audience {
    Audience { all: true, ..Default::default() }
}

#[test]
fn a_listener_misses_nothing_that_is_committed_after_it_was_bound_and_hears_nothing_else() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 40).await;
        let unheard = tenant.send(everybody()).await;
        eventually("the run that nobody listens to is finished", async || tenant.is_finished(unheard).await).await;
        eventually("everything is told", async || tenant.is_told().await).await;

        let key = format!("{}.*.push.apns.sent", tenant.name());
        let (sent, failed) = (Listener::bound(&key).await, Listener::bound(&key.replace("sent", "failed")).await);
        let heard_of = tenant.send(everybody()).await;
        eventually("the run is finished", async || tenant.is_finished(heard_of).await).await;
        eventually("everything is told", async || tenant.is_told().await).await;

        let events = sent.heard().await;
        let devices: BTreeSet<_> = events.iter().map(|(_, body)| body["data"]["device"].as_str().unwrap()).collect();
        assert_eq!(devices, phones.iter().map(|phone| phone.device.as_str()).collect());
        for (key, body) in &events {
            assert_eq!(*key, format!("{}.shop.push.apns.sent", tenant.name()));
            assert_eq!(body["type"], "message.sent");
            assert_eq!(
                body["data"]["notification_id"],
                heard_of.0.to_string(),
                "what was told before was told to nobody"
            );
        }
        assert!(failed.heard().await.is_empty());
    });
}
