//! What is spoken, and how many streams.

use crate::client::DEADLINE;
use crate::client::apns::{App, Connection, Push};
use crate::{client, refusal, start};
use provider_sim::{Conditions, Config, Listen, Provider, Sim};

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
async fn without_tls_http_2_is_spoken_with_prior_knowledge() {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sim = Sim::start(Config { apns: Listen::plain(any), ..Config::default() }).await.unwrap();
    let app = App::register(&sim);
    assert!(sim.urls().apns.starts_with("http://"));
    let connection = Connection::open_plain(&sim.urls().apns).await;
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
}
