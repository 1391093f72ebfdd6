//! The plain HTTP client.

use crate::certificates::{authority, trust};
use crate::gateway::{Act, Gateway, INTERNAL_ERROR, OK, REFUSED_STREAM, Seen};
use bytes::Bytes;
use carillon_egress::{
    ConnectError, Guard, GuardError, HttpClient, HttpConfig, NotSent, RequestError, Response, Unknown,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An HTTP/1.1 server that answers each request with `answer`, or never if that is empty. Returns its URL and how many
/// requests it saw.
async fn http1(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                while let Ok(n @ 1..) = tcp.read(&mut piece).await {
                    request.extend_from_slice(&piece[..n]);
                    if request.ends_with(b"\r\n\r\nhello") {
                        counted.fetch_add(1, Ordering::SeqCst);
                        request.clear();
                        let _ = tcp.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    (url, seen)
}

fn client(config: HttpConfig) -> HttpClient {
    HttpClient::new(config, trust()).unwrap()
}

async fn hello(client: &HttpClient, url: &str) -> Result<Response, RequestError> {
    client.send(http::Request::post(url).body(Bytes::from_static(b"hello")).unwrap()).await
}

#[tokio::test]
async fn http1_is_spoken_and_its_answer_is_whole() {
    let (url, _) = http1("HTTP/1.1 201 Created\r\nx-id: 7\r\ncontent-length: 4\r\n\r\nbody").await;
    let client = client(HttpConfig::default());
    for _ in 0..3 {
        let answer = hello(&client, &url).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..], &answer.headers["x-id"]),
            (201, &b"body"[..], &"7".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_offers_it() {
    let gateway = Gateway::start_tls(10, |_| Act::Answer(OK, b"two".to_vec())).await;
    let client = client(HttpConfig::default());
    let answer = hello(&client, &format!("{}/x", gateway.origin())).await.unwrap();
    assert_eq!(&answer.body[..], b"two");
    assert_eq!(gateway.sorted_bodies(), ["hello"]);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, seen) = http1("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let redirect = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (url, _) = http1(redirect.leak()).await;
    let answer = hello(&client(HttpConfig::default()), &url).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_longer_than_the_cap_is_refused_announced_or_not() {
    let config = HttpConfig { response_cap: 8, ..HttpConfig::default() };
    let announced = "HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n";
    let chunked = "HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n4\r\n5678\r\n0\r\n\r\n";
    for answer in [announced, chunked] {
        let (url, _) = http1(answer).await;
        let refused = hello(&client(config.clone()), &url).await;
        assert!(matches!(refused, Err(RequestError::TooLarge { status, cap: 8 }) if status == 500), "{refused:?}");
    }
}

#[tokio::test]
async fn no_answer_in_time_leaves_unknown_whether_it_was_taken() {
    let config = HttpConfig { timeout: Duration::from_millis(50), ..HttpConfig::default() };
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo"] {
        let (url, seen) = http1(answer).await;
        let late = hello(&client(config.clone()), &url).await;
        assert!(matches!(late, Err(RequestError::Unknown(Unknown::Timeout))), "{late:?}");
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_request_leaves_unknown_whether_it_was_taken() {
    let gateway = Gateway::start_tls(10, |_| Act::Hangup).await;
    let lost = hello(&client(HttpConfig::default()), &format!("{}/x", gateway.origin())).await;
    assert!(matches!(lost, Err(RequestError::Unknown(Unknown::ConnectionLost))), "{lost:?}");
    assert_eq!(gateway.sorted_bodies(), ["hello"]);
}

#[tokio::test]
async fn a_refused_stream_was_surely_not_taken() {
    let gateway = Gateway::start_tls(10, |_| Act::Reset(REFUSED_STREAM)).await;
    let refused = hello(&client(HttpConfig::default()), &format!("{}/x", gateway.origin())).await;
    assert!(matches!(refused, Err(RequestError::NotSent(NotSent::Refused))), "{refused:?}");
}

#[tokio::test]
async fn what_fails_before_the_request_says_where() {
    let (_socket, closed) = crate::closed_port();
    let client = client(HttpConfig { connect_timeout: Duration::from_secs(3), ..HttpConfig::default() });
    let refused = hello(&client, &format!("http://{closed}/x")).await;
    assert!(matches!(refused, Err(RequestError::Connect(ConnectError::Tcp(_)))), "{refused:?}");
    let gateway = Gateway::start_with(authority().server("other.example", &[b"h2"], false)).await;
    let mistaken = hello(&client, &format!("{}/x", gateway.origin())).await;
    assert!(matches!(mistaken, Err(RequestError::Connect(ConnectError::Tls(_)))), "{mistaken:?}");
    let relative = client.send(http::Request::post("/x").body(Bytes::new()).unwrap()).await;
    assert!(matches!(relative, Err(RequestError::NotSent(NotSent::Invalid))));
}

#[tokio::test]
async fn a_guarded_client_reaches_internal_addresses_only_where_they_are_exempt() {
    let gateway = Gateway::start_tls(10, |_| Act::Answer(INTERNAL_ERROR, vec![])).await;
    let url = format!("{}/x", gateway.origin());
    let strict = HttpClient::guarded(HttpConfig::default(), trust(), Guard::default()).unwrap();
    let refused = hello(&strict, &url).await;
    assert!(matches!(refused, Err(RequestError::Connect(ConnectError::Guard(GuardError::HostName)))), "{refused:?}");
    assert_eq!(Seen::count(&gateway.seen.connections), 0);
    let exempt = format!("localhost:{}", gateway.address.port()).parse().unwrap();
    let lenient = HttpClient::guarded(HttpConfig::default(), trust(), Guard::new(exempt)).unwrap();
    assert_eq!(hello(&lenient, &url).await.unwrap().status, 500);
}
