//! The same calls over gRPC.

use carillon_wire::public as pb;
use carillon_wire::public::devices_client::DevicesClient;
use carillon_wire::public::notifications_client::NotificationsClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::http::get;
use crate::world::{Tenant, World};

async fn channel() -> Channel {
    let url = format!("http://{}", World::get().grpc);
    Endpoint::from_shared(url).expect("a URL").connect().await.expect("the port answers")
}

fn with<M>(key: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let value: MetadataValue<_> = format!("Bearer {key}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

fn hello() -> pb::SendRequest {
    pb::SendRequest {
        app: "shop".into(),
        to: Some(pb::Audience { users: vec!["u1".into()], ..Default::default() }),
        content: Some(pb::Content { title: Some("Hello".into()), ..Default::default() }),
        metadata: [("team".to_owned(), "orders".to_owned())].into(),
        ..Default::default()
    }
}

fn reason(status: &tonic::Status) -> (Code, String) {
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason)
}

#[tokio::test]
async fn a_send_over_grpc_is_the_same_notification_as_over_rest() {
    let t = Tenant::new().await;
    let mut client = NotificationsClient::new(channel().await);
    let mut request = with(&t.key, hello());
    request.metadata_mut().insert("idempotency-key", "order-17".parse().unwrap());
    let sent = client.send(request).await.unwrap().into_inner();
    assert_eq!((sent.state.as_str(), sent.idempotent_replayed), ("sending", false));
    World::get().wakes(sent.id.parse().unwrap()).await;
    // The key is one for all intakes.
    let body = serde_json::json!({"app": "shop", "metadata": {"team": "orders"}, "to": {"users": ["u1"]},
                                  "content": {"title": "Hello"}});
    let headers = [("idempotency-key", "order-17")];
    let again = crate::http::call_with(&t.key, hyper::Method::POST, "/v1/notifications", Some(body), &headers).await;
    assert_eq!(again.expect(202)["id"], sent.id.as_str());
    let request = pb::GetNotificationRequest { id: sent.id.clone() };
    let shown = client.get(with(&t.key, request)).await.unwrap().into_inner();
    assert_eq!((shown.id, shown.state.as_str(), shown.metadata["team"].as_str()), (sent.id, "sending", "orders"));
    assert_eq!(shown.counts.unwrap().push.unwrap().total, None);
}

#[tokio::test]
async fn what_is_no_message_is_the_callers_fault_and_named_like_every_other() {
    let t = Tenant::new().await;
    let mut client = NotificationsClient::new(channel().await);
    // Deeper than the decoder goes.
    let mut data = prost_types::Struct::default();
    for _ in 0..60 {
        let kind = Some(prost_types::value::Kind::StructValue(data));
        data = prost_types::Struct { fields: [("a".to_owned(), prost_types::Value { kind })].into() };
    }
    let content = |data| Some(pb::Content { data: Some(data), ..hello().content.unwrap() });
    let deep = pb::SendRequest { content: content(data), ..hello() };
    let status = client.send(with(&t.key, deep)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "invalid_request".into()));
    let kind = Some(prost_types::value::Kind::NumberValue(f64::NAN));
    let nan = prost_types::Struct { fields: [("a".to_owned(), prost_types::Value { kind })].into() };
    let rows = [
        (pb::SendRequest { content: content(nan), ..hello() }, "/content/data"),
        (pb::SendRequest { schedule: Some(pb::Schedule { at: None }), ..hello() }, "/schedule/at"),
    ];
    for (request, pointer) in rows {
        let status = client.send(with(&t.key, request)).await.unwrap_err();
        assert_eq!(reason(&status), (Code::InvalidArgument, "invalid_request".into()));
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, pointer);
    }
}

#[tokio::test]
async fn refusals_carry_the_code_of_rest_and_every_fault() {
    let t = Tenant::new().await;
    let mut client = NotificationsClient::new(channel().await);
    let status = client.send(Request::new(hello())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "unauthenticated".into()));
    let reader = t.server_key(&["read"], None).await;
    let status = client.send(with(&reader, hello())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "forbidden".into()));
    let status = client.send(with(&t.public_key, hello())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "forbidden".into()));
    let bad = pb::SendRequest { to: None, kind: "spam".into(), content: None, ..hello() };
    let status = client.send(with(&t.key, bad)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "invalid_request".into()));
    assert!(status.get_error_details().bad_request().unwrap().field_violations.iter().any(|v| v.field == "/kind"));
    let to = pb::Audience { r#where: Some("tags has 'vip".into()), ..Default::default() };
    let status = client.send(with(&t.key, pb::SendRequest { to: Some(to), ..hello() })).await.unwrap_err();
    let violations = status.get_error_details().bad_request().unwrap().field_violations.clone();
    assert_eq!(violations[0].field, "/to/where");
    assert!(violations[0].description.contains("character 10"), "{}", violations[0].description);
    let absent = pb::GetNotificationRequest { id: uuid::Uuid::now_v7().to_string() };
    let status = client.get(with(&t.key, absent)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "not_found".into()));
}

#[tokio::test]
async fn a_batch_over_grpc_answers_each_item() {
    let t = Tenant::new().await;
    let mut client = NotificationsClient::new(channel().await);
    let item = |notification| pb::send_batch_request::Item { notification, idempotency_key: String::new() };
    let items = vec![item(Some(hello())), item(None)];
    let answers = client.send_batch(with(&t.key, pb::SendBatchRequest { items })).await.unwrap().into_inner().answers;
    assert!(matches!(answers[0].answer, Some(pb::send_batch_response::answer::Answer::Accepted(_))));
    match &answers[1].answer {
        Some(pb::send_batch_response::answer::Answer::Problem(problem)) => {
            assert_eq!(problem.code, "invalid_request");
            assert!(problem.errors.iter().any(|fault| fault.pointer == "/notification/to"));
        }
        other => panic!("{other:?}"),
    }
    let status = client.send_batch(with(&t.key, pb::SendBatchRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn listing_pausing_and_cancelling_work_over_grpc() {
    let t = Tenant::new().await;
    let mut client = NotificationsClient::new(channel().await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.send(with(&t.key, hello())).await.unwrap().into_inner().id);
    }
    let page = pb::ListNotificationsRequest { app: "shop".into(), limit: 2, ..Default::default() };
    let first = client.list(with(&t.key, page.clone())).await.unwrap().into_inner();
    let second = pb::ListNotificationsRequest { cursor: first.next_cursor.clone(), ..page };
    let second = client.list(with(&t.key, second)).await.unwrap().into_inner();
    let listed: Vec<_> = first.items.iter().chain(&second.items).map(|n| n.id.clone()).collect();
    assert_eq!(listed, ids.iter().rev().cloned().collect::<Vec<_>>());
    assert!(second.next_cursor.is_empty());
    let paused = client.pause(with(&t.key, pb::PauseRequest { id: ids[0].clone() })).await.unwrap().into_inner();
    assert_eq!(paused.state, "paused");
    let resumed = client.resume(with(&t.key, pb::ResumeRequest { id: ids[0].clone() })).await.unwrap().into_inner();
    assert_eq!(resumed.state, "sending");
    let cancelled = client.cancel(with(&t.key, pb::CancelRequest { id: ids[0].clone() })).await.unwrap().into_inner();
    assert_eq!(cancelled.state, "cancelled");
    let deliveries = pb::ListDeliveriesRequest { notification_id: ids[1].clone(), ..Default::default() };
    assert!(client.list_deliveries(with(&t.key, deliveries)).await.unwrap().into_inner().items.is_empty());
    let bad =
        pb::ListNotificationsRequest { state: "lost".into(), limit: 900, cursor: "x".into(), ..Default::default() };
    let status = client.list(with(&t.key, bad)).await.unwrap_err();
    assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), 3);
}

#[tokio::test]
async fn a_filter_that_no_text_of_ours_can_equal_is_the_callers_fault() {
    let t = Tenant::new().await;
    let fields = |status: tonic::Status| {
        assert_eq!(reason(&status), (Code::InvalidArgument, "invalid_request".into()));
        let details = status.get_error_details();
        details.bad_request().unwrap().field_violations.iter().map(|v| v.field.clone()).collect::<Vec<_>>()
    };
    let mut client = NotificationsClient::new(channel().await);
    let (app, reference, user_id) = ("\0".to_owned(), "a\0".to_owned(), "\0b".to_owned());
    let list = pb::ListNotificationsRequest { app, reference, user_id, ..Default::default() };
    let status = client.list(with(&t.key, list)).await.unwrap_err();
    assert_eq!(fields(status), ["/app", "/reference", "/user_id"]);
    let notification_id = uuid::Uuid::now_v7().to_string();
    let list = pb::ListDeliveriesRequest { notification_id, user_id: "\0".into(), ..Default::default() };
    assert_eq!(fields(client.list_deliveries(with(&t.key, list)).await.unwrap_err()), ["/user_id"]);
    let mut client = DevicesClient::new(channel().await);
    let (user_id, tag) = ("\0".into(), "x".repeat(2_000));
    let list = pb::ListDevicesRequest { app: "shop".into(), user_id, tag, ..Default::default() };
    assert_eq!(fields(client.list(with(&t.key, list)).await.unwrap_err()), ["/user_id", "/tag"]);
}

#[tokio::test]
async fn devices_are_registered_changed_and_removed_over_grpc() {
    let t = Tenant::new().await;
    let mut client = DevicesClient::new(channel().await);
    let fields = pb::DeviceFields {
        platform: Some("apns".into()),
        token: Some("ab".repeat(32)),
        user_id: Some("u-17".into()),
        ..Default::default()
    };
    let register = |fields: Option<pb::DeviceFields>, clear: &[&str]| pb::RegisterRequest {
        app: "shop".into(),
        device: "d1".into(),
        fields,
        clear: clear.iter().map(|name| (*name).to_owned()).collect(),
    };
    let status = client.update(with(&t.key, register(Some(fields.clone()), &[]))).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "not_found".into()));
    let made = client.register(with(&t.key, register(Some(fields), &[]))).await.unwrap().into_inner();
    assert_eq!((made.state.as_str(), made.fields.unwrap().user_id.as_deref()), ("active", Some("u-17")));
    let left = client.update(with(&t.key, register(None, &["user_id"]))).await.unwrap().into_inner();
    assert_eq!(left.fields.unwrap().user_id, None);
    assert_eq!(get(&t.key, "/v1/apps/shop/devices/d1").await.expect(200)["token"], "ab".repeat(32));
    let list = pb::ListDevicesRequest { app: "shop".into(), platform: "apns".into(), ..Default::default() };
    assert_eq!(client.list(with(&t.key, list)).await.unwrap().into_inner().items.len(), 1);
    let named = || pb::GetDeviceRequest { app: "shop".into(), device: "d1".into() };
    client.get(with(&t.key, named())).await.unwrap();
    client.remove(with(&t.key, pb::RemoveDeviceRequest { app: "shop".into(), device: "d1".into() })).await.unwrap();
    assert_eq!(client.get(with(&t.key, named())).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_port_reflects_its_services_and_says_that_it_is_healthy() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = ServerReflectionClient::new(channel().await)
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"carillon.v1.Notifications") && names.contains(&"carillon.v1.Devices"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("internal")));
    let check = tonic_health::pb::HealthCheckRequest { service: "carillon.v1.Notifications".into() };
    let health = HealthClient::new(channel().await).check(check).await.unwrap().into_inner();
    assert_eq!(health.status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
}
