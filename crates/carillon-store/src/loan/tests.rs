//! What becomes of a connection over which nothing is answered any more, while something on the way still takes what is sent.

use super::*;
use crate::begun::tests::{one_connection, server, there};
use crate::{Config, Error, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Takes what is sent and, while it is not silent, hands it on.
async fn way(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    silent: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !*silent.borrow() && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Between clients and a server, for as long as the tasks are not dropped.
async fn between(server: String, silent: watch::Receiver<bool>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut ways = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let (from, to) = client.into_split();
            let (back, there) = TcpStream::connect(&server).await.unwrap().into_split();
            // Connections that are silent stay so: only what comes later is served again.
            let silent = silent.clone();
            let dead = watch::channel(false);
            let (one, other) = (dead.1.clone(), dead.1);
            ways.spawn(way(from, there, one));
            ways.spawn(way(back, to, other));
            let mut heard = silent;
            ways.spawn(async move {
                let _ = heard.wait_for(|silent| *silent).await;
                dead.0.send_replace(true);
                dead.0.closed().await;
            });
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn a_database_that_falls_silent_while_a_connection_is_looked_at_is_given_up() {
    falls_silent_after(1).await;
}

#[tokio::test]
async fn a_database_that_falls_silent_in_a_statement_is_given_up() {
    falls_silent_after(2).await;
}

/// A connection is looked at when it is used for the second time, and not again at the third.
async fn falls_silent_after(uses: usize) {
    let url = server();
    let (before, rest) = url.split_at(url.rfind('@').map_or_else(|| url.find("://").unwrap() + 3, |at| at + 1));
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (falls_silent, silent) = watch::channel(false);
    let (between, _tasks) = between(address.to_owned(), silent).await;
    let mut config = Config::new(format!("{before}{between}{path}"));
    (config.connections, config.statement_ms) = (1, 100);
    let store = Store::open(&config, "test").unwrap();
    for _ in 0..uses {
        store.ping().await.unwrap();
    }

    falls_silent.send_replace(true);
    let answer = tokio::time::timeout(Duration::from_secs(20), store.rows("SELECT 1", &[])).await.expect("an end");
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    falls_silent.send_replace(false);
    assert_eq!(store.rows("SELECT 1", &[]).await.unwrap().len(), 1, "the only place in the pool is free again");
}

#[tokio::test(start_paused = true)]
async fn work_of_several_statements_is_given_up_as_well() {
    let store = Store::open(&Config::new("postgres://nobody@127.0.0.1:1/nothing".to_owned()), "test").unwrap();
    let never = store.in_time(std::future::pending::<crate::Result<()>>()).await;
    assert!(matches!(never, Err(Error::Unavailable(_))), "{never:?}");
}

#[tokio::test]
async fn a_connection_that_was_kept_too_long_is_not_given_to_anybody_else() {
    let store = one_connection().await;
    let (_, before) = there(&store).await;
    drop(store.connection().await.unwrap());
    assert_eq!(there(&store).await.1, before, "given back");
    let mut loan = store.connection().await.unwrap();
    loan.longest = Duration::ZERO;
    drop(loan);
    assert_ne!(there(&store).await.1, before);
}
