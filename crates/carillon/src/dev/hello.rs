//! The first notification: what `make run` shows before it stays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::onboard::{self, Tenant};
use super::platform::Platform;
use crate::api::Api;
use crate::random;
use crate::sim::{Record, Sim};
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
    end: End,
    seconds: f64,
}

/// Where the first push went.
enum End {
    /// To the simulator, which says what it was told.
    Simulator(Record),
    /// To the server that the environment names; only the platform's own word tells what became of it.
    Elsewhere { url: String, status: String },
}

/// Makes a tenant, an app and a device, and sends to it.
///
/// # Errors
/// What the API refuses, and a push that does not arrive at the simulator within 30 s. A server that the environment put in
/// the simulator's place may take its time, or refuse: that is what it is there to be tried with.
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
    let end = match platform.apns_of_operator() {
        Some(url) => {
            let waited = api.finished(&accepted.id, PATIENCE).await;
            let status = match waited {
                Ok(_) => status_of(&api, &accepted.id).await?,
                Err(_) => format!("not through after {} s", PATIENCE.as_secs()),
            };
            End::Elsewhere { url: url.to_owned(), status }
        }
        None => End::Simulator(arrival(sim, &token, &accepted.id).await?),
    };
    let tenant = Tenant {
        id: TENANT.to_owned(),
        app: APP.to_owned(),
        server_key,
        public_key: app.public_key,
        vapid_key: app.vapid_key,
    };
    Ok(Hello { tenant, notification: accepted.id, end, seconds: began.elapsed().as_secs_f64() })
}

async fn arrival(sim: &Sim, token: &str, notification: &str) -> Result<Record> {
    let query = format!("provider=apns&token={token}&notification_id={notification}");
    until("the first push to arrive at the APNs simulator", PATIENCE, async || {
        Ok(sim.requests(&query).await?.into_iter().find(|record| record.accepted))
    })
    .await
}

async fn status_of(api: &Api, notification: &str) -> Result<String> {
    let delivery =
        api.deliveries(notification, "").await?.into_iter().next().context("the first push has no delivery")?;
    Ok(delivery.reason.map_or_else(|| delivery.status.clone(), |reason| format!("{} ({reason})", delivery.status)))
}

impl Hello {
    /// Says what happened and where to look.
    pub(crate) fn print(&self, platform: &Platform) {
        let layout = platform.layout();
        let manifest = layout.manifest();
        println!();
        println!(
            "tenant {TENANT}, app {APP} with credentials for APNs, FCM and Web Push, device {DEVICE} of user {USER}"
        );
        self.end.print(&self.notification, self.seconds);
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

impl End {
    fn print(&self, notification: &str, seconds: f64) {
        match self {
            Self::Simulator(request) => {
                println!("notification {notification} reached the APNs simulator after {seconds:.2} s:");
                println!("  HTTP {}  {}", request.status, request.body["aps"]["alert"]);
            }
            Self::Elsewhere { url, status } => {
                println!("notification {notification} went to {url}, the APNs that the environment names: {status}");
            }
        }
    }
}
