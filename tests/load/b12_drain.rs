//! B12: a campaign that is accepted while both providers fail everything; how fast it is sent once they work again, against the same campaign
//! without an outage.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::Options;
use crate::pairs::{By, Measured, Pairs};
use crate::platform::{ALL, Platform};
use crate::report::{NONE, Row};
use crate::stack::Stack;

const PROVIDERS: [&str; 2] = ["apns", "fcm"];
const LIMIT: Duration = Duration::from_secs(600);

struct Drain {
    platform: Platform,
    count: u64,
    outage: Duration,
}

impl Drain {
    async fn tidy(&self) -> Result<()> {
        self.platform.simulators.clear().await?;
        self.platform.database.sql.batch_execute("CHECKPOINT").await.map_err(Into::into)
    }

    async fn accept(&self) -> Result<String> {
        let body = json!({"app": "shop", "to": {"all": true}, "content": {"title": "Everything for the winter",
            "body": "From today until Sunday: coats, boots and sledges at half the price, in every shop."}});
        let accepted = self.platform.call("POST", "/v1/notifications", Some(&body)).await?;
        accepted["id"].as_str().map(str::to_owned).context("no id")
    }

    async fn weather(&self, conditions: &Value) -> Result<()> {
        for provider in PROVIDERS {
            self.platform.simulators.conditions(provider, conditions).await?;
        }
        Ok(())
    }

    async fn steady(&self) -> Result<Measured> {
        self.tidy().await?;
        let before = self.platform.spent()?;
        let id = self.accept().await?;
        self.ended(&id, before.at, 0).await
    }

    /// Only what comes after the outage is measured.
    async fn after_an_outage(&self) -> Result<Measured> {
        self.tidy().await?;
        self.weather(&json!({"fail": {"reply": {"status": 503}}})).await?;
        let id = self.accept().await?;
        tokio::time::sleep(self.outage).await;
        let seen = self.platform.call("GET", &format!("/v1/notifications/{id}"), None).await?;
        let sent = seen["counts"]["push"]["sent"].as_u64().unwrap_or(0);
        ensure!(sent == 0, "{sent} were sent while the providers failed");
        let began = Instant::now();
        self.weather(&json!({})).await?;
        self.ended(&id, began, sent).await
    }

    /// Waits for the end and judges it by what the providers accepted.
    async fn ended(&self, id: &str, began: Instant, before: u64) -> Result<Measured> {
        let counts = self.platform.finished(id, LIMIT).await?;
        let wall = began.elapsed();
        let simulators = &self.platform.simulators;
        let (apns, fcm) = (simulators.count("apns").await?, simulators.count("fcm").await?);
        ensure!(counts["sent"] == self.count, "the counters say {counts}");
        let tokens = apns.tokens + fcm.tokens;
        Ok(Measured {
            units: self.count - before,
            wall,
            lost: self.count - tokens,
            duplicates: apns.accepted + fcm.accepted - tokens,
            ..Measured::default()
        })
    }
}

/// B12.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let count = options.scaled(1_000_000, 1_000);
    let platform = Platform::start(stack, "bench_b12", ALL, count).await?;
    // The outage is as much shorter as the campaign is smaller, but long enough for every pause between tries to be at its longest.
    let scaled = Duration::from_secs_f64((60.0 * options.scale).clamp(20.0, 60.0));
    let outage = if options.short { Duration::from_secs(2) } else { scaled };
    let drain = Drain { platform, count: count as u64, outage };
    drain.steady().await?;
    let pairs = Pairs::measure(options.pairs, || drain.after_an_outage(), || drain.steady()).await?;
    let title = "drain after an outage of the providers";
    let mut row = Row::of("B12", title, "push/s", [0.80, 0.92, NONE], By::Rate, &pairs);
    row.figures["outage_seconds"] = json!(drain.outage.as_secs());
    row.figures["devices"] = json!(count);
    let row = row.reference("the same campaign without an outage").may_be_faster();
    Ok(row.bound_by("pauses between tries when the providers work again; then as B8"))
}
