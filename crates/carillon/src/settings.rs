//! Settings of the commands that work on an installation: the sections `database` and `amqp` of the services' own.

use std::path::Path;

use anyhow::Result;
use carillon_broker::Broker;
use carillon_runtime::CancellationToken;
use carillon_runtime::config::{self, ServiceConfig};
use carillon_store::Store;
use serde::Deserialize;

/// What a command that needs the database reads.
#[derive(Debug, Deserialize)]
pub(crate) struct DatabaseSettings {
    database: carillon_store::Config,
}

impl ServiceConfig for DatabaseSettings {
    const SECTIONS: &'static [&'static str] = &["database"];
}

/// What a command that can do without the database reads.
#[derive(Debug, Deserialize)]
struct PerhapsDatabase {
    database: Option<carillon_store::Config>,
}

impl ServiceConfig for PerhapsDatabase {
    const SECTIONS: &'static [&'static str] = &["database"];
}

/// What a command that needs the broker reads.
#[derive(Debug, Deserialize)]
pub(crate) struct BrokerSettings {
    amqp: carillon_broker::Config,
}

impl ServiceConfig for BrokerSettings {
    const SECTIONS: &'static [&'static str] = &["amqp"];
}

/// Opens the database that the settings name.
///
/// # Errors
/// The faults of the settings.
pub(crate) fn store(file: Option<&Path>) -> Result<Store> {
    let settings: DatabaseSettings = config::load(file, std::env::vars_os())?;
    Ok(Store::open(&settings.database, "carillon")?)
}

/// Opens the database that the settings name, if they name one.
///
/// # Errors
/// The faults of the settings: what is named and cannot be meant is not the same as nothing.
pub(crate) fn store_if_named(file: Option<&Path>) -> Result<Option<Store>> {
    let settings: PerhapsDatabase = config::load(file, std::env::vars_os())?;
    Ok(settings.database.map(|database| Store::open(&database, "carillon")).transpose()?)
}

/// Opens the database at `url`.
///
/// # Errors
/// If it is no URL of a database.
pub(crate) fn store_at(url: &str) -> Result<Store> {
    let settings: DatabaseSettings = config::load(None, [("CARILLON_DATABASE__URL", url)])?;
    Ok(Store::open(&settings.database, "carillon")?)
}

/// Connects to the broker that the settings name; cancel the token to let go of it.
///
/// # Errors
/// The faults of the settings.
pub(crate) fn broker(file: Option<&Path>) -> Result<(Broker, CancellationToken)> {
    let settings: BrokerSettings = config::load(file, std::env::vars_os())?;
    let stop = CancellationToken::new();
    let broker = Broker::connect(&settings.amqp, "carillon", carillon_wire::topology::topology(), stop.clone())?;
    Ok((broker, stop))
}
