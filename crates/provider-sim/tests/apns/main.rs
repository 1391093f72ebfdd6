//! APNs, by a client on the h2 crate.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

#[path = "../client/mod.rs"]
mod client;
mod connections;
mod credentials;
mod requests;
mod scripts;

use client::apns::{App, Connection, Push};
use provider_sim::{Config, Sim};

async fn start() -> (Sim, App, Connection) {
    let sim = Sim::start(Config::default()).await.unwrap();
    let app = App::register(&sim);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    (sim, app, connection)
}

/// Status and reason.
async fn refusal(connection: &Connection, push: Push) -> (u16, String) {
    let reply = connection.push(push).await.unwrap();
    (reply.status, reply.reason())
}
