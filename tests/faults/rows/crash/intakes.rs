//! The ways in beside REST: gRPC, events over AMQP, and what cannot be read.

use super::load::Load;
use anyhow::{Context as _, Result, bail};
use carillon_broker::{Outgoing, Queue, Raw};
use carillon_wire::public::notifications_client::NotificationsClient;
use carillon_wire::public::{Audience, Content, SendRequest};
use carillon_wire::topology;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

/// One attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// All attempts of one call.
const ENDURANCE: Duration = Duration::from_secs(120);
/// Queues that poison goes into.
const QUEUES: [&str; 4] = [
    "segmenter.runs.transactional",
    "dispatcher-apns.transactional",
    "dispatcher-fcm.transactional",
    "dispatcher-webpush.transactional",
];

/// One notification over gRPC, asked for under one key until there is an answer.
pub(super) async fn grpc(load: &Load<'_>, number: usize) -> Result<()> {
    let tenant = &load.crowd.tenant;
    let devices = load.some("grpc", number, 2);
    let content = Content { title: Some("Over gRPC".to_owned()), ..Content::default() };
    let message = SendRequest {
        app: tenant.app.clone(),
        to: Some(Audience { devices: devices.clone(), ..Audience::default() }),
        content: Some(content),
        ..SendRequest::default()
    };
    let bearer: MetadataValue<_> = format!("Bearer {}", tenant.key).parse()?;
    let key: MetadataValue<_> = format!("{}-grpc-{number}", tenant.app).parse()?;
    let began = Instant::now();
    for address in load.platform.grpc.iter().cycle() {
        let mut request = Request::new(message.clone());
        request.metadata_mut().insert("authorization", bearer.clone());
        request.metadata_mut().insert("idempotency-key", key.clone());
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(PATIENCE).connect_timeout(PATIENCE);
        let answered = match endpoint.connect().await {
            Ok(channel) => NotificationsClient::new(channel).send(request).await,
            Err(error) => Err(tonic::Status::unavailable(error.to_string())),
        };
        match answered {
            Ok(answer) => {
                load.crowd.caller.book().accepted.push((answer.into_inner().id, Arc::new(devices)));
                return Ok(());
            }
            Err(status) if status.code() == tonic::Code::InvalidArgument => bail!("over gRPC: {status}"),
            Err(status) if began.elapsed() > ENDURANCE => bail!("over gRPC: no answer: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    bail!("there is no address")
}

/// An event that wants an answer, and one that is refused and wants none.
pub(super) async fn events(load: &Load<'_>, number: usize) -> Result<()> {
    let tenant = &load.crowd.tenant;
    let devices = load.some("events", number, 2);
    let reference = format!("{}-event-{number}", tenant.app);
    let body = json!({"app": tenant.app, "reference": reference, "to": {"devices": devices}, "content": {"title": "Over AMQP"}});
    let event = |body: serde_json::Value, id: &str| {
        Outgoing::routed(topology::EVENTS.name, "notification.requested", &Raw(body.to_string().into()))
            .with_id(id)
            .with_content_type("application/json")
            .with_header("authorization", format!("Bearer {}", tenant.key))
    };
    let publisher = load.platform.broker.publisher();
    publisher.publish(event(body, &reference).with_reply_to("f3.answers")).await.context("an event")?;
    load.events.lock().await.push((reference, Arc::new(devices)));
    // An odd number in two rounds, or of two consumers that take turns each would always get the same kind.
    if !number.is_multiple_of(2) {
        return Ok(());
    }
    publisher.publish(event(json!({"to": "nobody"}), &format!("{}-bad-{number}", tenant.app))).await.context("an event")
}

/// What every event was accepted as, once; they join the caller's book.
///
/// # Errors
/// If one was accepted never, or more than once.
pub(super) async fn collect(load: &Load<'_>) -> Result<()> {
    let caller = &load.crowd.caller;
    for (reference, devices) in load.events.lock().await.drain(..) {
        let path = format!("/v1/notifications?reference={reference}");
        let began = Instant::now();
        loop {
            let page = caller.get(&path).await?;
            let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
            match items {
                [one] => {
                    let id = one["id"].as_str().unwrap_or_default().to_owned();
                    caller.book().accepted.push((id, devices));
                    break;
                }
                [] if began.elapsed() < ENDURANCE => tokio::time::sleep(Duration::from_millis(500)).await,
                _ => bail!("the event {reference} was accepted {} times", items.len()),
            }
        }
    }
    Ok(())
}

/// What nobody can read has to be parked, whoever dies over it.
pub(super) async fn poison(load: &Load<'_>, number: usize) -> Result<()> {
    let poison = |queue| {
        let queue = Queue::<Raw>::new(queue, &[]);
        Outgoing::to(&queue, &Raw(vec![0xff; 40].into())).with_id(format!("f3-poison-{number}-{}", queue.name()))
    };
    let published = load.platform.broker.publisher().publish_all(QUEUES.map(poison).to_vec()).await;
    published.into_iter().collect::<Result<(), _>>().context("poison")
}
