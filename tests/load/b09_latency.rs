//! B9: from the instant at which a transactional call is due to the provider's reading of its request, at 10, 50 and 90 % of the most that goes
//! through; against a floor of one commit, two bare hops and one request at the same load. B10: the same while a campaign to
//! everybody is under way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use carillon_domain::platform::Platform as Of;
use jiff::Timestamp;
use serde_json::json;

use crate::fixture::{BUNDLE, Campaign, TEAM, apns_credential, device_id};
use crate::open_loop::{self, Load, percentile};
use crate::pairs::Spread;
use crate::platform::{ALL, Platform};
use crate::processes::Talker;
use crate::queues::Bare;
use crate::report::{NONE, REPORT, Row, say};
use crate::stack::Stack;
use crate::{Options, bearers, caller, floor_hops, floor_ingest, requests};

const CALLERS: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);
/// The simulator's clock shows whole milliseconds: on average it is half of one later.
const HALF_MS: f64 = 0.5;
/// Hundredths of the most that goes through.
const LOADS: [f64; 3] = [10.0, 50.0, 90.0];
const FLOORS: &str = "BENCHKEY02";

fn body(devices: u64) -> impl Fn(u64) -> String + Copy {
    move |number| {
        // Even ordinals are APNs'.
        let device = device_id(number * 2 % devices);
        json!({"app": "shop", "to": {"devices": [device]}, "content": {"title": "Your parcel is on its way",
            "body": "It will be with you tomorrow between 9 and 12.", "data": {"order": number.to_string()}}})
        .to_string()
    }
}

/// Which device a token belongs to.
fn ordinal_of(token: &str) -> Result<u64> {
    Ok(u64::from_str_radix(token.get(..16).context("a token")?, 16)?)
}

fn milliseconds(at: Timestamp) -> f64 {
    at.as_nanosecond() as f64 / 1e6
}

/// What one load came to.
struct Latency {
    p50: f64,
    p99: f64,
    lost: u64,
    duplicates: u64,
}

struct Latencies<'a> {
    stack: &'a Stack,
    platform: Platform,
    devices: u64,
    lasting: Duration,
}

impl<'a> Latencies<'a> {
    async fn start(stack: &'a Stack, options: &Options) -> Result<Self> {
        // Enough for a call to each at the greatest load: who came when is known by the device.
        let devices = options.scaled(400_000, 4_000).max(options.size(150_000, 4_000));
        let platform = Platform::start(stack, "bench_b9", ALL, devices).await?;
        platform.database.sql.batch_execute(floor_ingest::TABLES).await?;
        let bare = Bare::open(&stack.amqp).await?;
        for queue in floor_hops::QUEUES {
            bare.declare(queue).await?;
        }
        let key = platform.simulators.apns_key(TEAM, FLOORS, BUNDLE).await?;
        let one = Campaign::new(Of::Apns, 1, &apns_credential(&key, FLOORS))?;
        let (file, unused) = (stack.directory.join("requests-one"), stack.directory.join("plaintexts"));
        requests::write(&one, &file, &unused, &bearers::apns(&key, FLOORS)?)?;
        let lasting = Duration::from_millis(options.size(8_000, 500) as u64);
        Ok(Self { stack, platform, devices: devices as u64, lasting })
    }

    /// The most that goes through from callers who wait for their answers, a second.
    async fn most(&self) -> Result<f64> {
        self.platform.simulators.clear().await?;
        let began = Instant::now();
        let (http, key) = (&self.platform.http, &self.platform.key);
        let seen = caller::call(http, key, (CALLERS, 200), self.lasting, body(self.devices)).await?;
        ensure!(seen.otherwise == 0, "{} calls were refused", seen.otherwise);
        self.through(seen.accepted).await?;
        Ok(seen.accepted as f64 / began.elapsed().as_secs_f64())
    }

    /// Until the provider has accepted so many.
    async fn through(&self, accepted: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let count = self.platform.simulators.count("apns").await?;
            if count.accepted >= accepted {
                return Ok(());
            }
            ensure!(began.elapsed() < LIMIT, "{} of {accepted} reached the provider", count.accepted);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ours(&self, rate: f64) -> Result<Latency> {
        self.platform.simulators.clear().await?;
        let (http, key) = (&self.platform.http, &self.platform.key);
        let load = open_loop::load(http, key, rate, self.lasting, body(self.devices)).await?;
        self.through(load.accepted.iter().filter(|accepted| **accepted).count() as u64).await?;
        self.tell_waits(&load).await?;
        self.judged(&load, "").await
    }

    async fn floor(&self, rate: f64) -> Result<Latency> {
        self.platform.simulators.clear().await?;
        let file = self.stack.directory.join("requests-one").display().to_string();
        let simulators = &self.platform.simulators;
        let words = [
            "floor-hops".to_owned(),
            self.platform.database.url.clone(),
            self.stack.amqp.clone(),
            file,
            simulators.url("apns")?.to_owned(),
            simulators.ca.display().to_string(),
        ];
        let mut talker = Talker::start(&words)?;
        let base = talker.hear()?;
        let load = open_loop::load(&base, "csk_none", rate, self.lasting, body(self.devices)).await?;
        self.through(load.accepted.iter().filter(|accepted| **accepted).count() as u64).await?;
        self.judged(&load, "").await
    }

    /// From the simulator's requests but for those of one campaign, by the device that each call was to.
    async fn judged(&self, load: &Load, but: &str) -> Result<Latency> {
        let mut came: HashMap<u64, Vec<Timestamp>> = HashMap::new();
        for seen in self.platform.simulators.accepted("apns").await? {
            if seen.notification_id.as_deref().is_none_or(|id| id != but) {
                came.entry(ordinal_of(&seen.token)?).or_default().push(seen.at);
            }
        }
        let (mut all, mut lost, mut duplicates) = (Vec::new(), 0, 0);
        for (number, accepted) in load.accepted.iter().enumerate() {
            let times = came.remove(&(number as u64 * 2 % self.devices)).unwrap_or_default();
            // A call that was told to come again never comes: it counts as the worst.
            lost += u64::from(*accepted && times.is_empty());
            duplicates += (times.len() as u64).saturating_sub(1);
            let waited = times.first().map(|at| at.duration_since(load.due(number)).as_secs_f64() * 1000.0 + HALF_MS);
            all.push(waited.unwrap_or(f64::MAX));
        }
        all.sort_by(f64::total_cmp);
        Ok(Latency { p50: percentile(&all, 50.0), p99: percentile(&all, 99.0), lost, duplicates })
    }

    /// Says where calls waited, by the median of each stage: until the statement that accepts them begins, until their run begins, which is the segmenter's
    /// transaction, and until the provider reads the request; and the share of chunks that had to be published again, because the first
    /// time nothing came of them for five seconds.
    async fn tell_waits(&self, load: &Load) -> Result<()> {
        let sql = "
            SELECT n.notification_id::text, extract(epoch FROM n.created_at)::float8 * 1000, extract(epoch FROM n.run_started_at)::float8 * 1000,
                   EXISTS (SELECT 1 FROM chunks c WHERE c.run_id = n.run_id AND c.copies > 1)
            FROM notifications n WHERE lane = 1 AND created_at >= $1 AND run_started_at IS NOT NULL";
        let rows = self.platform.database.sql.query(sql, &[&load.began]).await?;
        let again = rows.iter().filter(|row| row.get(3)).count() as f64 / rows.len().max(1) as f64 * 100.0;
        let runs: HashMap<String, (f64, f64)> = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        let mut stages = [const { Vec::new() }; 3];
        for seen in self.platform.simulators.accepted("apns").await? {
            let Some((accepted, run)) = seen.notification_id.as_ref().and_then(|id| runs.get(id)) else { continue };
            let number = (ordinal_of(&seen.token)? / 2) as usize;
            stages[0].push(accepted - milliseconds(load.due(number)));
            stages[1].push(run - accepted);
            stages[2].push(milliseconds(seen.at) + HALF_MS - run);
        }
        let [accepted, run, read] = stages.map(|mut stage| {
            stage.sort_by(f64::total_cmp);
            percentile(&stage, 50.0)
        });
        say(&format!(
            "    accepted after {accepted:.1} ms, run {run:.1} ms later, read {read:.1} ms later; {again:.1} % of chunks were published again"
        ));
        Ok(())
    }

    /// A load at a tenth of the most, beside a campaign to everybody.
    async fn beside_a_campaign(&self, rate: f64) -> Result<(Latency, bool)> {
        self.platform.simulators.clear().await?;
        let body_of_all =
            json!({"app": "shop", "to": {"all": true}, "content": {"title": "Everything for the winter"}});
        let accepted = self.platform.call("POST", "/v1/notifications", Some(&body_of_all)).await?;
        let id = accepted["id"].as_str().context("no id")?.to_owned();
        let (http, key) = (&self.platform.http, &self.platform.key);
        let load = open_loop::load(http, key, rate, self.lasting, body(self.devices)).await?;
        let seen = self.platform.call("GET", &format!("/v1/notifications/{id}"), None).await?;
        let covered = seen["state"] != "finished";
        let counts = self.platform.finished(&id, LIMIT * 5).await?;
        ensure!(counts["sent"] == self.devices, "the campaign: {counts}");
        let called = load.accepted.iter().filter(|accepted| **accepted).count() as u64;
        self.through(self.devices / 2 + called).await?;
        self.tell_waits(&load).await?;
        Ok((self.judged(&load, &id).await?, covered))
    }
}

/// One load's measurements.
#[derive(Default)]
struct AtLoad {
    ours: Vec<Latency>,
    floor: Vec<Latency>,
}

impl AtLoad {
    fn row(&self, id: &'static str, title: &'static str, goals: [f64; 3], of: fn(&Latency) -> f64) -> Row {
        let ratio = Spread::of(self.ours.iter().zip(&self.floor).map(|(ours, floor)| of(ours) / of(floor)));
        let mut row = Row::plain(id, title, "ms", goals, ratio).less_is_better();
        (row.ours, row.floor) =
            (Spread::of(self.ours.iter().map(of)).median, Spread::of(self.floor.iter().map(of)).median);
        row.pairs = self.ours.len();
        row.lost = self.ours.iter().map(|one| one.lost).sum();
        row.duplicates = self.ours.iter().map(|one| one.duplicates).sum();
        row.reference("one commit, two bare hops publish to consume, one request, at the same load")
            .bound_by("hops that wait for confirms and commits; the simulator's clock shows whole milliseconds")
    }
}

/// B9 and B10.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    let run = Latencies::start(stack, options).await?;
    run.most().await?;
    let most = run.most().await?;
    say(&format!("    {most:.0}/s go through"));
    let mut loads = [const { AtLoad { ours: Vec::new(), floor: Vec::new() } }; 3];
    for pair in 0..options.pairs {
        for (load, hundredths) in loads.iter_mut().zip(LOADS) {
            let rate = most * hundredths / 100.0;
            if pair % 2 == 0 {
                load.ours.push(run.ours(rate).await?);
                load.floor.push(run.floor(rate).await?);
            } else {
                load.floor.push(run.floor(rate).await?);
                load.ours.push(run.ours(rate).await?);
            }
            if let (Some(ours), Some(floor)) = (load.ours.last(), load.floor.last()) {
                let (a, b, c, d) = (ours.p50, ours.p99, floor.p50, floor.p99);
                say(&format!("    {hundredths:2} %: ours {a:.1} ms, p99 {b:.1}   floor {c:.1} ms, p99 {d:.1}"));
            }
        }
    }
    let [low, middle, high] = &loads;
    let mut rows = vec![
        low.row("B9a", "push at 10 % of the most, p50", [3.0, 2.0, NONE], |one| one.p50),
        low.row("B9b", "push at 10 % of the most, p99", [4.0, 3.0, NONE], |one| one.p99),
        middle.row("B9c", "push at 50 % of the most, p50", [5.0, 3.0, NONE], |one| one.p50),
        middle.row("B9d", "push at 50 % of the most, p99", [8.0, 5.0, NONE], |one| one.p99),
        high.row("B9e", "push at 90 % of the most, p50", [REPORT, 15.0, NONE], |one| one.p50),
        high.row("B9f", "push at 90 % of the most, p99", [REPORT, 40.0, NONE], |one| one.p99),
    ];
    for row in &mut rows {
        row.figures["most_per_second"] = json!(most.round());
    }
    let floor = Spread::of(high.floor.iter().map(|one| one.p99)).median;
    rows.push(beside(options, &run, most, floor).await?);
    Ok(rows)
}

async fn beside(options: &Options, run: &Latencies<'_>, most: f64, floor: f64) -> Result<Row> {
    let (mut measured, mut covered) = (Vec::new(), true);
    for _ in 0..options.pairs {
        let (latency, whole) = run.beside_a_campaign(most * LOADS[0] / 100.0).await?;
        say(&format!("    beside a campaign: {:.1} ms, p99 {:.1}", latency.p50, latency.p99));
        covered &= whole;
        measured.push(latency);
    }
    let p99 = Spread::of(measured.iter().map(|one| one.p99));
    let ratio = Spread { median: p99.median / floor, low: p99.low / floor, high: p99.high / floor };
    let mut row = Row::plain("B10", "p99 at 10 % while a campaign runs", "ms", [8.0, 3.0, 1.5], ratio).less_is_better();
    (row.ours, row.floor, row.pairs) = (p99.median, floor, measured.len());
    row.lost = measured.iter().map(|one| one.lost).sum();
    row.duplicates = measured.iter().map(|one| one.duplicates).sum();
    row.figures["p50_ms"] = json!(Spread::of(measured.iter().map(|one| one.p50)).median);
    row.figures["campaign_lasted_as_long_as_the_load"] = json!(covered);
    row.figures["devices"] = json!(run.devices);
    Ok(row.may_be_faster().reference("p99 of B9's floor at 90 %").bound_by("two cores that the campaign keeps busy"))
}
