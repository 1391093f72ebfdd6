//! `carillon kind-keys`: what a dispatcher or sms-cascade needs instead of the master keys.

use std::process::ExitCode;

use anyhow::Result;
use carillon_runtime::config::{self, Secret, ServiceConfig};
use carillon_vault::Vault;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::Outcome;
use crate::cli::KindKeys;

/// The section that this command reads.
#[derive(Debug, Deserialize)]
struct Settings {
    secrets: Secrets,
}

#[derive(Debug, Deserialize)]
struct Secrets {
    key: Secret,
}

impl ServiceConfig for Settings {
    const SECTIONS: &'static [&'static str] = &["secrets"];
}

/// Prints the keys alone, so that they can be piped into a Secret.
pub(crate) fn run(options: &KindKeys) -> Outcome {
    println!("{}", of(options)?.expose_secret());
    Ok(ExitCode::SUCCESS)
}

fn of(options: &KindKeys) -> Result<secrecy::SecretString> {
    let settings: Settings = config::load(options.config.as_deref(), std::env::vars_os())?;
    Ok(Vault::from_list(settings.secrets.key.expose())?.keys_for_kind(options.kind.as_str())?.to_text())
}
