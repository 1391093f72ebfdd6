//! B8b: one call to everybody as in B8, against the shape of a usual sender that has the same tokens, at providers that take as long as the real
//! ones: wall and CPU. And once without their delay, where the usual sender's hundred requests in flight bind it least.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::fixture::{BUNDLE, TEAM};
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::platform::{ALL, Platform};
use crate::report::{NONE, Row};
use crate::stack::Stack;
use crate::{Options, bearers, usual_sender};

/// Milliseconds to an answer.
const DELAYS: [(&str, u64); 2] = [("apns", 50), ("fcm", 80)];
const LIMIT: Duration = Duration::from_secs(600);

struct Usual {
    platform: Platform,
    count: u64,
    apns_bearer: String,
    fcm_bearer: String,
}

impl Usual {
    async fn start(stack: &Stack, count: usize) -> Result<Self> {
        let platform = Platform::start(stack, "bench_b8b", ALL, count).await?;
        let key = platform.simulators.apns_key(TEAM, "BENCHKEY02", BUNDLE).await?;
        let apns_bearer = bearers::apns(&key, "BENCHKEY02")?;
        let fcm_bearer = bearers::fcm(&platform.service_account, &platform.simulators.ca).await?;
        Ok(Self { platform, count: count as u64, apns_bearer, fcm_bearer })
    }

    async fn delays(&self, on: bool) -> Result<()> {
        for (provider, delay_ms) in DELAYS {
            let delay_ms = if on { delay_ms } else { 0 };
            self.platform.simulators.conditions(provider, &json!({"delay_ms": delay_ms})).await?;
        }
        Ok(())
    }

    async fn ours(&self) -> Result<Measured> {
        self.platform.simulators.clear().await?;
        self.platform.database.sql.batch_execute("CHECKPOINT").await?;
        let before = self.platform.spent()?;
        let body = json!({"app": "shop", "to": {"all": true}, "content": {"title": "Everything for the winter", "sound": "default",
            "body": "From today until Sunday: coats, boots and sledges at half the price, in every shop.",
            "data": {"campaign": "winter-26"}}});
        let accepted = self.platform.call("POST", "/v1/notifications", Some(&body)).await?;
        let id = accepted["id"].as_str().context("no id")?.to_owned();
        let counts = self.platform.finished(&id, LIMIT).await?;
        let after = self.platform.spent()?;
        ensure!(counts["sent"] == self.count, "the counters say {counts}");
        self.judged(Measured {
            units: self.count,
            wall: after.at.duration_since(before.at),
            own: after.since(&before).iter().map(|(_, cpu)| *cpu).sum(),
            postgres: after.postgres.saturating_sub(before.postgres),
            broker: after.broker.saturating_sub(before.broker),
            ..Measured::default()
        })
        .await
    }

    async fn usual(&self) -> Result<Measured> {
        let simulators = &self.platform.simulators;
        simulators.clear().await?;
        let (apns, fcm) = (simulators.url("apns")?, simulators.url("fcm")?);
        let (wall, own) =
            usual_sender::measure(self.count, &simulators.ca, [apns, &self.apns_bearer], [fcm, &self.fcm_bearer])?;
        self.judged(Measured { units: self.count, wall, own, ..Measured::default() }).await
    }

    async fn judged(&self, measured: Measured) -> Result<Measured> {
        let simulators = &self.platform.simulators;
        let (apns, fcm) = (simulators.count("apns").await?, simulators.count("fcm").await?);
        let tokens = apns.tokens + fcm.tokens;
        let (lost, duplicates) = (self.count.saturating_sub(tokens), apns.accepted + fcm.accepted - tokens);
        Ok(Measured { lost, duplicates, ..measured })
    }
}

/// B8b, wall and CPU.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    // The usual sender takes 80 ms for a hundred of FCM's half.
    let usual = Usual::start(stack, options.scaled(200_000, 1_000)).await?;
    usual.ours().await?;
    let (ours, theirs) = (usual.ours().await?, usual.usual().await?);
    usual.delays(true).await?;
    let pairs = Pairs::measure(options.pairs, || usual.ours(), || usual.usual()).await?;
    let reference = "one connection to each provider, 100 in flight, a task and a JSON body a token; no broker, no database, no statuses";
    let mut wall =
        Row::of("B8b", "wall against a usual sender, 50/80 ms", "push/s", [1.5, 2.5, NONE], By::Rate, &pairs);
    wall.figures["without_delay"] = json!({"ours_per_second": ours.rate().round(), "usual_per_second": theirs.rate().round(),
        "ours_us": ours.all_us(), "usual_us": theirs.all_us()});
    let by = By::Cost(Measured::all_us);
    let mut cpu = Row::of("B8b-cpu", "CPU against a usual sender, 50/80 ms", "us/push", [1.5, 2.5, NONE], by, &pairs);
    cpu.figures["ours_alone"] = json!(Spread::of(pairs.ours.iter().map(Measured::own_us)).median);
    Ok(vec![
        wall.reference(reference).may_be_faster().bound_by("requests in flight; on two cores the CPU of both"),
        cpu.reference(reference).may_be_faster().bound_by("PostgreSQL and broker, which the usual sender does without"),
    ])
}
