//! What the run found: a table for people, `target/bench.json` for programs (contract, section 14).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::row::goal;
pub(crate) use crate::row::{NONE, REPORT, Row};

/// A line for whoever runs it.
#[allow(clippy::disallowed_macros, reason = "the table is this program's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// Rows that could not be measured, with the reason.
    pub(crate) broken: Vec<(String, String)>,
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
        let passed = self.passed(short);
        let report = json!({
            "passed": passed, "short": short, "started_at": started_at.to_string(), "seconds": took.as_secs_f64().round(),
            "commit": commit(root), "machine": machine(), "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "growth": self.rows.iter().flat_map(|row| &row.growth).collect::<Vec<_>>(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::Spread;

    fn row(ratio: f64) -> Row {
        let spread = Spread { median: ratio, low: ratio, high: ratio };
        Row { floor: 1.0, ..Row::plain("B4", "a stage", "us", [0.5, 0.75, 0.9], spread) }
    }

    fn passed(rows: Vec<Row>, short: bool) -> bool {
        Report { rows, ..Report::default() }.passed(short)
    }

    #[test]
    fn a_run_that_measured_nothing_does_not_pass() {
        assert!(!passed(Vec::new(), false) && !passed(Vec::new(), true));
        assert!(passed(vec![row(0.6)], false));
    }

    #[test]
    fn the_short_form_judges_what_was_lost_and_not_how_fast_it_was() {
        assert!(!passed(vec![row(0.1)], false) && passed(vec![row(0.1)], true));
        assert!(!passed(vec![Row { lost: 1, ..row(0.6) }], true));
    }

    #[test]
    fn a_row_does_not_count_whose_floor_is_slower_than_the_stage_or_than_what_others_have() {
        assert_eq!(row(1.1).reached(), "DOES NOT COUNT");
        assert_eq!(row(1.1).may_be_faster().reached(), "moonshot");
        let doubted = row(0.95).doubt(Some("its floor is slow".into()));
        assert!(!passed(vec![doubted], false));
        assert_eq!(row(0.95).reached(), "moonshot");
    }

    #[test]
    fn a_bound_that_nobody_set_is_reached_by_everything_and_a_goal_that_nobody_set_by_nothing() {
        let spread = Spread { median: 30.0, low: 30.0, high: 30.0 };
        let row = Row::plain("B9e", "a wait", "ms", [REPORT, 15.0, NONE], spread).less_is_better();
        assert_eq!(row.reached(), "must");
    }
}
