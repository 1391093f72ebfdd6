//! Gateways ready for use: their tokens opened, their callbacks named.

use crate::config::VAULT_KIND;
use carillon_store::{SmsGateway, SmsRoutes};
use carillon_telemetry::Secret;
use carillon_vault::{Context, KindVault};
use serde::Deserialize;

/// The one kind there is; what it promises is what `deliver` relies on.
const SMSAPI: &str = "smsapi";

/// What ingest-api seals of a gateway of kind `smsapi`.
#[derive(Deserialize)]
struct Sealed {
    token: Secret,
}

/// A gateway ready for use.
pub(crate) struct OpenGateway {
    /// Its id.
    pub(crate) gateway: String,
    /// The account's token.
    pub(crate) token: Secret,
    /// Where it reports deliveries; holds a secret.
    pub(crate) notify_url: Option<Secret>,
}

/// Opens a gateway of a tenant. Nothing, and a word to the operator, when its secrets do not open or its kind is unknown.
pub(crate) fn open(
    gateway: &SmsGateway,
    routes: &SmsRoutes,
    vault: &KindVault,
    public_url: Option<&str>,
) -> Option<OpenGateway> {
    if gateway.kind != SMSAPI {
        tracing::error!(tenant.id = routes.tenant, gateway = gateway.gateway, "a gateway of a kind that is not known");
        return None;
    }
    let version = u64::from(gateway.version.unsigned_abs());
    let context = Context { tenant: &routes.tenant, app: None, kind: VAULT_KIND, version };
    let opened = match vault.open(&context, &gateway.sealed) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(tenant.id = routes.tenant, gateway = gateway.gateway, %error, "a gateway's token does not open");
            return None;
        }
    };
    let Ok(Sealed { token }) = serde_json::from_slice(opened.expose()) else {
        tracing::error!(tenant.id = routes.tenant, gateway = gateway.gateway, "a gateway's token does not read");
        return None;
    };
    let notify_url = public_url.map(|url| {
        let url = url.trim_end_matches('/');
        Secret::new(format!("{url}/v1/callbacks/sms/{}", gateway.callback_secret))
    });
    Some(OpenGateway { gateway: gateway.gateway.clone(), token, notify_url })
}
