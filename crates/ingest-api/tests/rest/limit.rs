//! What comes beyond the operator's limit (`CARILLON_HTTP__REQUESTS_PER_SECOND`).

use std::time::{Duration, Instant};

use carillon_wire::public as pb;
use carillon_wire::public::notifications_client::NotificationsClient;
use prost_types::value::Kind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::frame::{NOWHERE, SOON, read_head};
use crate::world::Service;

async fn limited() -> Service {
    Service::start(NOWHERE, &[("CARILLON_HTTP__REQUESTS_PER_SECOND", "4")]).await
}

#[tokio::test]
async fn more_requests_than_the_operator_allows_are_told_when_to_come_back_whatever_they_ask() {
    let service = limited().await;
    let mut refused = 0;
    for _ in 0..50 {
        let answer = service.client.get("/openapi.json").send().await;
        if answer.status.as_u16() == 429 {
            assert_eq!(answer.must_be_problem(429, "rate_limited").header("retry-after"), "1");
            refused += 1;
        }
    }
    assert!(refused >= 40, "{refused} of 50 within a moment, at 4 a second");
    let welcome_again = async { while service.client.get("/openapi.json").send().await.status.as_u16() != 200 {} };
    tokio::time::timeout(SOON, welcome_again).await.expect("a quarter of a second later");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read_and_a_small_one_leaves_the_connection_usable() {
    let service = limited().await;
    let head = |length: usize| {
        format!(
            "PATCH /v1/account HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut connection = TcpStream::connect(service.client.address).await.unwrap();
    let mut refused = 0;
    while refused < 5 {
        connection.write_all(format!("{}{}", head(2_000), " ".repeat(2_000)).as_bytes()).await.unwrap();
        let answer = read_head(&mut connection).await;
        refused += usize::from(answer.starts_with("HTTP/1.1 429"));
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    // Nothing of this body ever comes, and the answer does.
    let began = Instant::now();
    loop {
        let mut connection = TcpStream::connect(service.client.address).await.unwrap();
        connection.write_all(head(900_000).as_bytes()).await.unwrap();
        let answer = read_head(&mut connection).await;
        if answer.starts_with("HTTP/1.1 429") {
            assert!(answer.contains("connection: close"), "{answer}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{answer}");
    }
}

#[tokio::test]
async fn a_web_page_may_read_that_it_is_to_come_back_and_its_preflight_is_answered() {
    let service = limited().await;
    let path = "/v1/apps/shop/client";
    let refused = async {
        loop {
            let answer = service.client.get(path).header("origin", "https://shop.example").send().await;
            if answer.status.as_u16() == 429 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(SOON, refused).await.expect("429");
    assert_eq!(refused.header("access-control-allow-origin"), "https://shop.example");
    assert!(refused.header("access-control-expose-headers").contains("retry-after"));
    for _ in 0..20 {
        let asked = service.client.call("OPTIONS", path).header("origin", "https://shop.example");
        let answer = asked.header("access-control-request-method", "GET").header("x-request-id", "r-1").send().await;
        assert_eq!(answer.status.as_u16(), 204);
        assert_eq!((answer.header("x-request-id"), answer.header("x-content-type-options")), ("r-1", "nosniff"));
    }
}

#[tokio::test]
async fn a_call_over_grpc_beyond_the_limit_is_refused_before_its_message_is_read() {
    let service = limited().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", service.grpc)).unwrap();
    let mut client = NotificationsClient::new(channel.connect().await.unwrap());
    // Deeper than the decoder goes.
    let mut data = prost_types::Struct::default();
    for _ in 0..60 {
        let kind = Some(Kind::StructValue(data));
        data = prost_types::Struct { fields: [("a".to_owned(), prost_types::Value { kind })].into() };
    }
    let content = Some(pb::Content { data: Some(data), ..Default::default() });
    let unreadable = pb::SendRequest { content, ..Default::default() };
    let mut refused = 0;
    for _ in 0..50 {
        let status = client.send(unreadable.clone()).await.unwrap_err();
        if status.code() == Code::ResourceExhausted {
            let details = status.get_error_details();
            assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("rate_limited"));
            assert!(details.retry_info().is_some());
            refused += 1;
        }
    }
    assert!(refused >= 40, "{refused} of 50 within a moment, at 4 a second");
}
