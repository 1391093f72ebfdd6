//! `carillon operator-key create`.

use std::process::ExitCode;

use anyhow::Context as _;
use carillon_store::NewApiKey;
use carillon_vault::{ApiKey, ApiKeyKind};
use uuid::Uuid;

use crate::cli::OperatorKeyCreate;
use crate::{Outcome, settings};

/// Makes a key, keeps its hash, prints it: to standard output the key alone, so that it can be piped.
pub(crate) async fn create(options: &OperatorKeyCreate) -> Outcome {
    let store = settings::store(options.config.as_deref())?;
    store.check_schema().await?;
    let key = ApiKey::mint(ApiKeyKind::Operator)?;
    let new = NewApiKey {
        key_id: Uuid::now_v7(),
        tenant_key: None,
        secret_hash: key.hash(),
        name: options.name.as_deref(),
        scopes: &[],
        apps: None,
        expires_at: None,
    };
    let kept = store.create_api_key(&new).await.context("the key could not be kept")?;
    eprintln!("key {} was made; it is shown once:", kept.key_id);
    println!("{}", key.expose());
    Ok(ExitCode::SUCCESS)
}
