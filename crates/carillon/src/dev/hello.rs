//! The first notification: what `make run` shows before it stays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::onboard::{self, Tenant};
use super::platform::Platform;
use crate::api::Api;
use crate::random;
use crate::sim::Record;
use crate::waiting::until;

const TENANT: &str = "dev";
const APP: &str = "shop";
const DEVICE: &str = "first-phone";
const USER: &str = "u-1";
const PATIENCE: Duration = Duration::from_secs(30);

/// What happened.
pub(crate) struct Hello {
    pub(crate) tenant: Tenant,
    notification: String,
    request: Record,
    seconds: f64,
}

/// Makes a tenant, an app and a device, and sends to it.
///
/// # Errors
/// What the API refuses, and a push that does not arrive within 30 s.
pub(crate) async fn say(platform: &Platform) -> Result<Hello> {
    let (http, sim) = (platform.http()?, platform.sim()?);
    let server_key = onboard::tenant(&http, platform.operator_key()?, TENANT).await?;
    let api = Api::new(http.with_key(&server_key));
    let app = onboard::app(&http, &api, sim, APP).await?;
    onboard::sms(&api, sim).await.context("SMS")?;
    let token = random::hex()?;
    let device = json!({"platform": "apns", "os": "ios", "token": token, "environment": "production", "user_id": USER});
    api.put(&format!("/v1/apps/{APP}/devices/{DEVICE}"), &device).await?;
    let began = Instant::now();
    let content = json!({"title": "Hello", "body": "Your first push", "open": {"url": "https://example.com/hello"}});
    let accepted = api.send(&json!({"app": APP, "to": {"users": [USER]}, "content": content})).await?;
    let query = format!("provider=apns&token={token}&notification_id={}", accepted.id);
    let request = until("the first push to arrive at the APNs simulator", PATIENCE, async || {
        Ok(sim.requests(&query).await?.into_iter().find(|record| record.accepted))
    });
    let request = request.await?;
    let tenant = Tenant {
        id: TENANT.to_owned(),
        app: APP.to_owned(),
        server_key,
        public_key: app.public_key,
        vapid_key: app.vapid_key,
    };
    Ok(Hello { tenant, notification: accepted.id, request, seconds: began.elapsed().as_secs_f64() })
}

impl Hello {
    /// Says what happened and where to look.
    pub(crate) fn print(&self, platform: &Platform) {
        let layout = platform.layout();
        let manifest = layout.manifest();
        let alert = &self.request.body["aps"]["alert"];
        println!();
        println!(
            "tenant {TENANT}, app {APP} with credentials for APNs, FCM and Web Push, device {DEVICE} of user {USER}"
        );
        println!("notification {} reached the APNs simulator after {:.2} s:", self.notification, self.seconds);
        println!("  HTTP {}  {alert}", self.request.status);
        println!();
        println!("keys and URLs   {} (removed when this ends)", manifest.display());
        println!("logs            {}", layout.run.join("logs").display());
        if let Ok(sim) = platform.sim() {
            println!("what was sent   curl -s '{}/requests?provider=apns'", sim.urls.ledger);
        }
        println!("send another    target/debug/carillon send --user {USER} --title 'Hello again' --wait");
        println!("the examples of README.md read {}", manifest.display());
        println!();
        println!("Ctrl-C ends everything; data stays in {}", layout.stack.display());
    }
}
