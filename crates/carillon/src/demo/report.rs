//! The report: `target/demo.json`, and a table for people.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A point of the scenario.
pub(crate) struct Point {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
}

const fn point(id: &'static str, title: &'static str) -> Point {
    Point { id, title }
}

/// All points, in their order.
pub(crate) const STEPS: [Point; 9] = [
    point("onboarding", "A tenant, two apps and their credentials are made through the public API"),
    point("registration", "3,000 devices of 1,000 users register: APNs, FCM, Web Push"),
    point("intakes", "One transactional event arrives by REST, gRPC and AMQP and reaches its user's devices"),
    point("broadcast", "A notification to everyone in an app, and a silent data push: one request per device"),
    point("troubles", "Dead tokens leave, throttling is obeyed, an outage of 10 s loses nothing"),
    point("receipts", "Devices report delivered, opened, clicked; counts add up"),
    point(
        "cascade",
        "Who does not read within 5 s gets one SMS, who reads gets none, who has no device gets it at once",
    ),
    point("schedule", "A scheduled notification goes out on time, a cancelled one does not"),
    point("interruptions", "RabbitMQ is restarted and the dispatcher that holds work is killed; nothing is lost"),
];

/// One step as it went.
#[derive(Debug, Serialize)]
struct Step {
    id: &'static str,
    title: &'static str,
    passed: bool,
    detail: String,
    seconds: f64,
}

/// Sums over all notifications. `recipients` counts pushes; `sent` includes what was delivered and opened.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) recipients: i64,
    pub(crate) sent: i64,
    pub(crate) delivered: i64,
    pub(crate) opened: i64,
    pub(crate) failed: i64,
    pub(crate) expired: i64,
    pub(crate) suppressed: i64,
    pub(crate) cancelled: i64,
    pub(crate) pending: i64,
    pub(crate) sms_sent: i64,
    pub(crate) sms_delivered: i64,
    /// Accepted requests beyond the first of a message.
    pub(crate) duplicates: i64,
    /// Messages that the platform says were sent or owes, and no provider accepted.
    pub(crate) lost: i64,
}

impl Totals {
    /// Adds the `counts` of one notification.
    pub(crate) fn add(&mut self, counts: &Value) {
        let push = |name: &str| counts["push"][name].as_i64().unwrap_or(0);
        let sms = |name: &str| counts["sms"][name].as_i64().unwrap_or(0);
        self.recipients += push("total");
        self.sent += push("sent");
        self.delivered += push("delivered");
        self.opened += push("opened");
        self.failed += push("failed");
        self.expired += push("expired");
        self.suppressed += push("suppressed");
        self.cancelled += push("cancelled");
        self.pending += push("pending");
        self.sms_sent += sms("sent");
        self.sms_delivered += sms("delivered");
    }

    /// total = pending + sent + failed + expired + suppressed + cancelled, and nothing is owed.
    fn add_up(&self) -> bool {
        let parts = self.pending + self.sent + self.failed + self.expired + self.suppressed + self.cancelled;
        parts == self.recipients && self.recipients > 0 && self.pending == 0 && self.lost == 0
    }
}

/// Requests that the simulators' ledgers hold.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ProviderRequests {
    pub(crate) apns: u64,
    pub(crate) fcm: u64,
    pub(crate) webpush: u64,
    pub(crate) sms: u64,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) passed: bool,
    started_at: Timestamp,
    seconds: f64,
    commit: String,
    steps: Vec<Step>,
    pub(crate) totals: Totals,
    pub(crate) provider_requests: ProviderRequests,
    /// What ended the demonstration before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    aborted: Option<String>,
}

impl Report {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self {
            passed: false,
            started_at: Timestamp::now(),
            seconds: 0.0,
            commit: commit(),
            steps: Vec::new(),
            totals: Totals::default(),
            provider_requests: ProviderRequests::default(),
            aborted: None,
        }
    }

    /// A step ended.
    pub(crate) fn step(&mut self, point: &Point, passed: bool, detail: String, seconds: f64) {
        let seconds = rounded(seconds);
        self.steps.push(Step { id: point.id, title: point.title, passed, detail, seconds });
    }

    /// Nothing more will happen.
    pub(crate) fn abort(&mut self, why: &str) {
        self.aborted = Some(why.to_owned());
    }

    /// Judges: every step passed and the totals add up. Steps that never ran are written down as failed.
    pub(crate) fn close(&mut self, took: Duration) {
        self.seconds = rounded(took.as_secs_f64());
        for point in STEPS.iter().skip(self.steps.len()) {
            self.step(point, false, "did not run to its end".to_owned(), 0.0);
        }
        self.passed = self.aborted.is_none() && self.steps.iter().all(|step| step.passed) && self.totals.add_up();
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let context = || format!("{} cannot be written", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        let beside = path.with_extension("json.new");
        std::fs::write(&beside, format!("{}\n", serde_json::to_string_pretty(self)?)).with_context(context)?;
        std::fs::rename(&beside, path).with_context(context)
    }

    /// The table at the end.
    pub(crate) fn print(&self) {
        println!("\n{}", self.table());
    }

    fn table(&self) -> String {
        let mut lines = vec!["step            result   seconds  what happened".to_owned()];
        for step in &self.steps {
            let result = if step.passed { "passed" } else { "FAILED" };
            lines.push(format!("{:<15} {result:<8} {:>7.1}  {}", step.id, step.seconds, step.title));
            let facts = step.detail.split("; ").map(|fact| format!("{:34}- {fact}", ""));
            lines.extend(facts);
        }
        let t = &self.totals;
        lines.push(String::new());
        lines.push(format!(
            "pushes: {} = {} sent + {} failed + {} expired + {} suppressed + {} cancelled + {} pending; {} delivered, {} opened",
            t.recipients, t.sent, t.failed, t.expired, t.suppressed, t.cancelled, t.pending, t.delivered, t.opened
        ));
        lines.push(format!("text messages: {} sent, {} delivered", t.sms_sent, t.sms_delivered));
        let p = &self.provider_requests;
        lines.push(format!("requests: {} APNs, {} FCM, {} Web Push, {} SMS", p.apns, p.fcm, p.webpush, p.sms));
        lines.push(format!("lost: {}; sent twice: {}", t.lost, t.duplicates));
        if let Some(why) = &self.aborted {
            lines.push(format!("ended before its time: {why}"));
        }
        let verdict = if self.passed { "everything happened" } else { "NOT everything happened" };
        lines.push(format!("{verdict}, {:.1} s", self.seconds));
        lines.join("\n")
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// What was demonstrated; a tarball has no commit.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Report {
        let mut report = Report::new();
        for point in &STEPS {
            report.step(point, true, "fine; and dandy".to_owned(), 1.234_5);
        }
        report.totals.add(&json!({"push": {"total": 10, "sent": 7, "failed": 1, "suppressed": 2, "pending": 0,
                                           "delivered": 3, "opened": 1}, "sms": {"sent": 2, "delivered": 2}}));
        report
    }

    #[test]
    fn it_has_the_shape_that_the_contract_names() {
        let mut report = whole();
        report.close(Duration::from_millis(1_500));
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!((&value["passed"], &value["seconds"]), (&json!(true), &json!(1.5)));
        assert!(value["started_at"].as_str().unwrap().parse::<Timestamp>().is_ok() && value["commit"].is_string());
        assert_eq!(value["steps"].as_array().unwrap().len(), 9);
        for name in ["id", "title", "passed", "detail", "seconds"] {
            assert!(!value["steps"][0][name].is_null(), "{name}");
        }
        let totals = [
            "recipients",
            "sent",
            "delivered",
            "opened",
            "failed",
            "expired",
            "suppressed",
            "cancelled",
            "pending",
            "sms_sent",
            "sms_delivered",
            "duplicates",
            "lost",
        ];
        assert!(totals.iter().all(|name| value["totals"][name].is_i64()), "{value}");
        assert!(["apns", "fcm", "webpush", "sms"].iter().all(|name| value["provider_requests"][name].is_u64()));
    }

    #[test]
    fn a_step_that_never_ran_was_not_passed() {
        let mut report = Report::new();
        report.step(&STEPS[0], true, String::new(), 0.1);
        report.close(Duration::ZERO);
        assert!(!report.passed);
        assert_eq!(report.steps.len(), 9);
        assert!(!report.steps[8].passed);
    }

    #[test]
    fn counts_that_do_not_add_up_or_a_lost_message_fail_the_whole() {
        let mut report = whole();
        report.totals.sent -= 1;
        report.close(Duration::ZERO);
        assert!(!report.passed);
        let mut report = whole();
        report.totals.lost = 1;
        report.close(Duration::ZERO);
        assert!(!report.passed);
        let mut report = whole();
        report.abort("a process died");
        report.close(Duration::ZERO);
        assert!(!report.passed && report.table().contains("a process died"));
    }
}
