//! A tenant, apps and their credentials, made through the public API; the other side of each credential is made known to the
//! simulators.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::api::{Api, find_key};
use crate::http::Http;
use crate::sim::Sim;

/// The sender of text messages.
pub(crate) const SENDER: &str = "shop";
/// The gateway behind it.
const GATEWAY: &str = "smsapi";

/// A tenant with one app.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) server_key: String,
    pub(crate) public_key: String,
    /// What browsers subscribe with.
    pub(crate) vapid_key: Option<String>,
}

/// An app as it was made.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) public_key: String,
    pub(crate) vapid_key: Option<String>,
}

/// Makes a tenant and a key that may do everything in it.
///
/// # Errors
/// What the API refuses.
pub(crate) async fn tenant(http: &Http, operator_key: &str, id: &str) -> Result<String> {
    let operator = Api::new(http.with_key(operator_key));
    operator.put(&format!("/v1/tenants/{id}"), &json!({})).await?;
    let key = json!({"name": "backend", "scopes": ["send", "devices", "read", "admin"]});
    let made = operator.post(&format!("/v1/tenants/{id}/keys"), &key).await?;
    find_key(&made, "csk_").context("the answer to a new key holds no csk_ key")
}

/// Makes an app with credentials for APNs, FCM and Web Push.
///
/// # Errors
/// What the API or the simulators refuse.
pub(crate) async fn app(http: &Http, api: &Api, sim: &Sim, app: &str) -> Result<App> {
    let path = format!("/v1/apps/{app}");
    let body = json!({"name": app, "icon_url": "https://images.example/icon.png", "default_locale": "en"});
    let made = api.put(&path, &body).await?;
    let public_key = find_key(&made, "cpk_").context("the answer to a new app holds no cpk_ key")?;
    apns(api, sim, app).await.with_context(|| format!("APNs credentials of {app}"))?;
    fcm(api, sim, app).await.with_context(|| format!("FCM credentials of {app}"))?;
    webpush(api, app).await.with_context(|| format!("Web Push credentials of {app}"))?;
    let client = Api::new(http.with_key(&public_key)).get(&format!("{path}/client")).await?;
    let vapid_key = client["vapid_public_key"].as_str().map(str::to_owned);
    Ok(App { public_key, vapid_key })
}

/// The bundle id of an app, which is its topic at APNs.
pub(crate) fn bundle_id(app: &str) -> String {
    format!("com.example.{}", app.replace('-', ""))
}

async fn apns(api: &Api, sim: &Sim, app: &str) -> Result<Value> {
    let (team_id, key_id, bundle_id) = ("TEAM123456", key_id(app), bundle_id(app));
    let private_key = sim.apns_key(team_id, &key_id, &bundle_id).await?;
    let credential = json!({
        "auth": "token", "key_id": key_id, "team_id": team_id, "bundle_id": bundle_id, "private_key": private_key,
    });
    api.put(&format!("/v1/apps/{app}/credentials/apns"), &credential).await
}

/// Ten characters, as Apple's are, different from app to app.
fn key_id(app: &str) -> String {
    let letters = app.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase() as char);
    letters.chain("KEYKEYKEYK".chars()).take(10).collect()
}

async fn fcm(api: &Api, sim: &Sim, app: &str) -> Result<Value> {
    let service_account = sim.fcm_project(&format!("{app}-push")).await?;
    api.put(&format!("/v1/apps/{app}/credentials/fcm"), &json!({"service_account": service_account})).await
}

/// The pair is made by the platform.
async fn webpush(api: &Api, app: &str) -> Result<Value> {
    let subject = json!({"subject": "mailto:push@example.com"});
    api.put(&format!("/v1/apps/{app}/credentials/webpush"), &subject).await
}

/// Makes an SMS gateway and a sender that uses it.
///
/// # Errors
/// What the API or the simulators refuse.
pub(crate) async fn sms(api: &Api, sim: &Sim) -> Result<()> {
    let token = crate::random::token()?;
    sim.sms_account(&token).await?;
    let gateway = json!({"kind": "smsapi", "token": token});
    api.put(&format!("/v1/sms/gateways/{GATEWAY}"), &gateway).await?;
    api.put(&format!("/v1/sms/senders/{SENDER}"), &json!({"gateways": [GATEWAY]})).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_have_apples_form_and_differ_from_app_to_app() {
        assert_eq!(key_id("shop"), "SHOPKEYKEY");
        assert_eq!(key_id("a-very-long-name-of-an-app").len(), 10);
        assert_ne!(key_id("shop"), key_id("news"));
    }
}
