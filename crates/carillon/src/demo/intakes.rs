//! Step 3: the same kind of event over REST, gRPC and AMQP.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use carillon_broker::{Broker, Outgoing, Raw};
use carillon_runtime::CancellationToken;
use carillon_wire::public::notifications_client::NotificationsClient;
use carillon_wire::public::{Audience, Content, SendRequest};
use carillon_wire::topology;
use serde_json::{Value, json};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

use super::checks::Checks;
use super::people::SHOP;
use super::world::World;
use crate::waiting::until;

const PATIENCE: Duration = Duration::from_secs(30);
const TITLE: &str = "Order shipped";
const TEXT: &str = "It arrives tomorrow";

/// Sends one event to one user on each way, and follows it to the user's devices.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    for (intake, user) in [("rest", "u-0004"), ("grpc", "u-0008"), ("amqp", "u-0013")] {
        let began = Instant::now();
        let reference = format!("order-17-{intake}");
        let sending = async {
            match intake {
                "rest" => over_rest(world, user, &reference).await,
                "grpc" => over_grpc(world, user, &reference).await,
                _ => over_amqp(world, user, &reference).await,
            }
        };
        let id = sending.await.with_context(|| format!("over {intake}"))?;
        world.sent.push(id.clone());
        let took = follow(world, checks, intake, user, &id, began).await?;
        checks.fact(format!(
            "{intake}: {} devices after {:.2} s",
            world.people.of_user(user).count(),
            took.as_secs_f64()
        ));
    }
    Ok(())
}

fn event(user: &str, reference: &str) -> Value {
    json!({"app": SHOP, "reference": reference, "kind": "transactional", "to": {"users": [user]},
           "content": {"title": TITLE, "body": TEXT, "data": {"order": "17"}}})
}

async fn over_rest(world: &World, user: &str, reference: &str) -> Result<String> {
    Ok(world.api()?.send(&event(user, reference)).await?.id)
}

async fn over_grpc(world: &World, user: &str, reference: &str) -> Result<String> {
    let endpoint = Endpoint::from_shared(world.platform.grpc_url()?.to_owned())?.timeout(PATIENCE);
    let mut client = NotificationsClient::new(endpoint.connect_timeout(PATIENCE).connect().await?);
    let content = Content { title: Some(TITLE.to_owned()), body: Some(TEXT.to_owned()), ..Content::default() };
    let message = SendRequest {
        app: SHOP.to_owned(),
        reference: reference.to_owned(),
        kind: "transactional".to_owned(),
        to: Some(Audience { users: vec![user.to_owned()], ..Audience::default() }),
        content: Some(content),
        ..SendRequest::default()
    };
    let mut request = Request::new(message);
    let bearer: MetadataValue<_> = format!("Bearer {}", world.tenant()?.server_key).parse()?;
    request.metadata_mut().insert("authorization", bearer);
    request.metadata_mut().insert("idempotency-key", reference.parse()?);
    Ok(client.send(request).await?.into_inner().id)
}

/// The publisher learns by the broker's confirm that the event is kept; the notification is found by its reference.
async fn over_amqp(world: &World, user: &str, reference: &str) -> Result<String> {
    let stop = CancellationToken::new();
    let config = carillon_broker::Config::new(world.platform.amqp_url()?);
    let broker = Broker::connect(&config, "a service of acme", topology::topology(), stop.clone())?;
    let body = Raw(event(user, reference).to_string().into());
    let message = Outgoing::routed(topology::EVENTS.name, "notification.requested", &body)
        .with_id(reference)
        .with_content_type("application/json")
        .with_header("authorization", format!("Bearer {}", world.tenant()?.server_key));
    let published = broker.publisher().publish(message).await;
    stop.cancel();
    let _ = broker.drained().await;
    published?;
    let path = format!("/v1/notifications?reference={reference}");
    let api = world.api()?;
    let found = until("the event to be accepted", PATIENCE, async || {
        let page = api.get(&path).await?;
        Ok(page["items"][0]["id"].as_str().map(str::to_owned))
    });
    found.await
}

async fn follow(
    world: &World,
    checks: &mut Checks,
    intake: &str,
    user: &str,
    id: &str,
    began: Instant,
) -> Result<Duration> {
    let devices: Vec<_> = world.people.of_user(user).collect();
    let sim = world.sim()?;
    let what = format!("the devices of {user}");
    let arrived = until(&what, PATIENCE, async || {
        let records = sim.of_notification(id).await?;
        let accepted = records.iter().filter(|record| record.accepted).count();
        Ok((accepted >= devices.len()).then_some(began.elapsed()))
    });
    let took = arrived.await?;
    let ended = world.finished(id, PATIENCE).await?;
    let records = sim.of_notification(id).await?;
    for device in &devices {
        let of_device =
            records.iter().filter(|record| record.provider == device.platform && record.token == device.token);
        checks.equal(&format!("{intake}: requests for {}", device.id), of_device.count(), 1);
    }
    checks.equal(&format!("{intake}: requests"), records.len(), devices.len());
    checks.equal(&format!("{intake}: sent"), ended["counts"]["push"]["sent"].as_u64(), Some(devices.len() as u64));
    let titled = records.iter().filter(|record| record.body.to_string().contains(TITLE));
    checks.equal(&format!("{intake}: requests that say it"), titled.count(), devices.len());
    Ok(took)
}
