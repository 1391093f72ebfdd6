//! What the run found: a table for people, `target/bench.json` for programs (contract, section 14).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::pairs::{By, Pairs, Spread};

/// The bound of a row that is only reported: whatever it is, it is not below what it must.
pub(crate) const REPORT: f64 = f64::INFINITY;
/// No such goal.
pub(crate) const NONE: f64 = f64::NAN;

/// A line for whoever runs it.
#[allow(clippy::disallowed_macros, reason = "the table is this program's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// What a row wants, and what it measured.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// must, target, moonshot.
    pub(crate) goals: [f64; 3],
    /// Goals are upper bounds (milliseconds, megabytes) and not ratios to be reached.
    pub(crate) less_is_better: bool,
    pub(crate) ours: f64,
    pub(crate) floor: f64,
    /// What is judged.
    pub(crate) ratio: Spread,
    pub(crate) pairs: usize,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) bound_by: &'static str,
    /// Words on what the floor was compared with.
    pub(crate) reference: String,
    /// What `floor` is is the least work that anybody must do, so that nobody is faster.
    is_floor: bool,
    /// Why its floor is no good.
    doubt: Option<String>,
    /// Entries of `growth`.
    pub(crate) growth: Vec<Value>,
    /// Whatever else was measured.
    pub(crate) figures: Value,
}

impl Row {
    /// From pairs; CPU and rates of both sides go into the figures.
    pub(crate) fn of(
        id: &'static str,
        title: &'static str,
        unit: &'static str,
        goals: [f64; 3],
        by: By,
        pairs: &Pairs,
    ) -> Self {
        let (ours, floor) = pairs.figures(by);
        Self {
            id,
            title,
            unit,
            goals,
            less_is_better: false,
            ours: ours.median,
            floor: floor.median,
            ratio: pairs.ratio(by),
            pairs: pairs.ours.len(),
            lost: pairs.ours.iter().map(|one| one.lost).sum(),
            duplicates: pairs.ours.iter().map(|one| one.duplicates).sum(),
            bound_by: "",
            reference: String::new(),
            is_floor: true,
            doubt: None,
            growth: Vec::new(),
            figures: figures(pairs),
        }
    }

    /// A row whose measure is no pair of CPU or rates: whoever makes it fills in the rest.
    pub(crate) fn plain(
        id: &'static str,
        title: &'static str,
        unit: &'static str,
        goals: [f64; 3],
        ratio: Spread,
    ) -> Self {
        let ratio_of_none = Pairs::default();
        let row = Self::of(id, title, unit, goals, By::Rate, &ratio_of_none);
        Self { ours: ratio.median, ratio, figures: json!({}), ..row }
    }

    /// Goals are bounds from above.
    pub(crate) fn less_is_better(mut self) -> Self {
        self.less_is_better = true;
        self
    }

    pub(crate) fn reference(mut self, words: impl Into<String>) -> Self {
        self.reference = words.into();
        self
    }

    /// What it is compared with is no floor.
    pub(crate) fn may_be_faster(mut self) -> Self {
        self.is_floor = false;
        self
    }

    /// An outside reference, measured in the same run, that shows the floor to be no good.
    pub(crate) fn doubt(mut self, words: Option<String>) -> Self {
        self.doubt = words;
        self
    }

    /// Why it does not count.
    fn doubted(&self) -> Option<String> {
        let better = if self.less_is_better { self.ratio.median < 1.0 } else { self.ratio.median > 1.0 };
        let faster = self.is_floor && self.floor > 0.0 && better;
        self.doubt.clone().or_else(|| faster.then(|| "ours is faster than its floor".to_owned()))
    }

    /// What keeps it from being faster, as profiles show it.
    pub(crate) fn bound_by(mut self, words: &'static str) -> Self {
        self.bound_by = words;
        self
    }

    fn reaches(&self, goal: f64) -> bool {
        if self.less_is_better { self.ratio.median <= goal } else { self.ratio.median >= goal }
    }

    /// The best goal that was reached.
    fn reached(&self) -> &'static str {
        if self.doubted().is_some() {
            return "DOES NOT COUNT";
        }
        let names = ["must", "target", "moonshot"];
        let reached = self.goals.iter().zip(names).filter(|(goal, _)| self.reaches(**goal));
        reached.map(|(_, name)| name).next_back().unwrap_or("BELOW MUST")
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "title": self.title, "unit": self.unit, "ours": round(self.ours), "floor": round(self.floor),
            "ratio": round(self.ratio.median), "low": round(self.ratio.low), "high": round(self.ratio.high),
            "pairs": self.pairs, "must": number(self.goals[0]), "target": number(self.goals[1]), "moonshot": number(self.goals[2]),
            "reached": self.reached(), "less_is_better": self.less_is_better, "lost": self.lost,
            "duplicates": self.duplicates, "doubt": self.doubted(), "bound_by": self.bound_by, "reference": self.reference,
            "figures": self.figures,
        })
    }
}

fn figures(pairs: &Pairs) -> Value {
    let side = |measured: &[crate::pairs::Measured]| {
        let spread = |figure: fn(&crate::pairs::Measured) -> f64| {
            let spread = Spread::of(measured.iter().map(figure));
            json!([round(spread.median), round(spread.low), round(spread.high)])
        };
        json!({
            "per_second": spread(crate::pairs::Measured::rate),
            "cpu_us": spread(crate::pairs::Measured::own_us),
            "cpu_us_with_postgres_and_broker": spread(crate::pairs::Measured::all_us),
            "postgres_us": spread(|one| one.postgres.as_secs_f64() * 1e6 / one.units.max(1) as f64),
            "broker_us": spread(|one| one.broker.as_secs_f64() * 1e6 / one.units.max(1) as f64),
        })
    };
    json!({"ours": side(&pairs.ours), "floor": side(&pairs.floor), "discarded_pairs": pairs.discarded})
}

/// A goal that nobody set is [`REPORT`] or [`NONE`].
fn number(goal: f64) -> Option<f64> {
    goal.is_finite().then_some(goal)
}

fn goal(goal: f64) -> String {
    number(goal).map_or_else(|| "-".to_owned(), |goal| goal.to_string())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// Rows that could not be measured, with the reason.
    pub(crate) broken: Vec<(String, String)>,
    /// Rows that nobody can measure yet, with the reason.
    pub(crate) skipped: Vec<(&'static str, &'static str)>,
}

impl Report {
    /// Whether something was measured, nothing was lost or doubled and, in the full form, every row reached what it must.
    pub(crate) fn passed(&self, short: bool) -> bool {
        let sound = |row: &Row| {
            row.lost == 0 && row.duplicates == 0 && (short || row.doubted().is_none() && row.reaches(row.goals[0]))
        };
        self.broken.is_empty() && !self.rows.is_empty() && self.rows.iter().all(sound)
    }

    /// Shows and writes it.
    pub(crate) fn finish(&self, root: &Path, short: bool, started_at: jiff::Timestamp, took: Duration) -> Result<bool> {
        say("");
        say(
            "row     stage                                          ours        floor  unit            ratio  (low - high)   must target moon  reached",
        );
        for row in &self.rows {
            say(&format!(
                "{:7} {:40} {:10.2} {:12.2}  {:14} {:6.3}  ({:.3}-{:.3})  {:5} {:5} {:5}  {}{}",
                row.id,
                row.title,
                row.ours,
                row.floor,
                row.unit,
                row.ratio.median,
                row.ratio.low,
                row.ratio.high,
                goal(row.goals[0]),
                goal(row.goals[1]),
                goal(row.goals[2]),
                if short { "not judged" } else { row.reached() },
                if row.lost + row.duplicates > 0 {
                    format!("  LOST {} TWICE {}", row.lost, row.duplicates)
                } else {
                    String::new()
                },
            ));
        }
        for row in self.rows.iter().filter(|_| !short) {
            if let Some(doubt) = row.doubted() {
                say(&format!("{:7} does not count: {doubt}", row.id));
            }
        }
        for (row, why) in &self.broken {
            say(&format!("{row:4} could not be measured: {why}"));
        }
        for (row, why) in &self.skipped {
            say(&format!("{row:7} not measured: {why}"));
        }
        let passed = self.passed(short);
        let report = json!({
            "passed": passed, "short": short, "started_at": started_at.to_string(), "seconds": took.as_secs_f64().round(),
            "commit": commit(root), "machine": machine(), "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "growth": self.rows.iter().flat_map(|row| &row.growth).collect::<Vec<_>>(),
            "not_measured": self.skipped.iter().map(|(row, why)| json!({"id": row, "why": why})).collect::<Vec<_>>(),
            "broken": self.broken.iter().map(|(row, why)| json!({"id": row, "why": why})).collect::<Vec<_>>(),
        });
        let path = root.join("target/bench.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
        say(&format!("{} ({:.0} s)", path.display(), took.as_secs_f64()));
        Ok(passed)
    }
}

fn commit(root: &Path) -> String {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches([' ', '\t', ':']);
    let memory = read("/proc/meminfo");
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("").trim();
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "cores": cores, "cpu": model, "memory": kib, "kernel": kernel.trim(),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}
