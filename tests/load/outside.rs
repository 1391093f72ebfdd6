//! Programs of others beside the floors, measured in the same run: whether a floor is as good as what anybody has. A program that is not
//! installed is said to be missing and is no fault.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::cpu;
use crate::floor_h2::Plan;
use crate::report::Row;

/// A floor must reach this part of it.
const GOOD: f64 = 0.8;

/// What a program came to, or why it was not asked.
pub(crate) enum Outside {
    Missing(&'static str),
    Measured { program: &'static str, per_second: f64, cpu_us: f64 },
}

impl Outside {
    /// Compares a floor's rate and puts the outcome into a row.
    pub(crate) fn judge_rate(&self, mut row: Row, floor_per_second: f64) -> Row {
        row.figures["outside"] = self.json();
        let mut doubt = None;
        let words = match self {
            Self::Missing(program) => format!("not measured: {program} is not installed"),
            Self::Measured { program, per_second, .. } => {
                let ratio = floor_per_second / per_second;
                row.figures["floor_to_outside"] = json!((ratio * 1000.0).round() / 1000.0);
                if ratio < GOOD {
                    doubt = Some(format!("its floor reaches {ratio:.2} of {program}, {GOOD} is wanted"));
                }
                format!("floor to {program}: {ratio:.2}")
            }
        };
        crate::report::say(&format!("    {}: {words} ({self})", row.id));
        let reference = format!("{}; {words}", row.reference);
        row.reference(reference).doubt(doubt)
    }

    fn json(&self) -> Value {
        match self {
            Self::Missing(program) => json!({"program": program, "not_measured": "not installed"}),
            Self::Measured { program, per_second, cpu_us } => {
                json!({"program": program, "per_second": per_second.round(), "cpu_us": (cpu_us * 100.0).round() / 100.0})
            }
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(program) => write!(f, "{program}: not installed"),
            Self::Measured { program, per_second, cpu_us } => write!(f, "{program}: {per_second:.0}/s, {cpu_us:.1} us"),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "looks where the shell would look for a program")]
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Runs a program to its end: what it said, how long it took, and its CPU.
fn run(mut command: Command) -> Result<(String, Duration, Duration)> {
    let (before, began) = (cpu::of_ended_children()?, Instant::now());
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    let wall = began.elapsed();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok((said, wall, cpu::of_ended_children()?.saturating_sub(before)))
}

/// The number in front of a word.
fn before(text: &str, word: &str) -> Option<f64> {
    text.split_once(word)?.0.split_ascii_whitespace().next_back()?.trim_start_matches(',').parse().ok()
}

/// h2load with the requests of a floor: its paths and headers, and the body of the first message for all.
pub(crate) fn h2load(requests: &Path, url: &str, connections: usize, in_flight: usize) -> Result<Outside> {
    if !is_installed("h2load") {
        return Ok(Outside::Missing("h2load"));
    }
    let plan = Plan::read(requests)?;
    let (paths, body) = (requests.with_extension("paths"), requests.with_extension("body"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(&paths)?);
    for [path, _, _] in &plan.messages {
        writeln!(file, "{}{}", url.trim_end_matches('/'), std::str::from_utf8(path)?)?;
    }
    file.flush()?;
    let [_, _, text] = plan.messages.first().context("no message")?;
    std::fs::write(&body, text)?;
    let mut command = Command::new("h2load");
    let (count, clients, streams) =
        (plan.messages.len().to_string(), connections.to_string(), (in_flight / connections).to_string());
    command.args(["-n", &count, "-c", &clients, "-m", &streams, "-t", "1", "-d"]).arg(&body).arg("-i").arg(&paths);
    for (name, value) in &plan.headers {
        command.arg("-H").arg(format!("{name}: {}", value.to_str()?));
    }
    let (said, _, cpu) = run(command)?;
    let good = before(&said, " succeeded").context("h2load says nothing")?;
    ensure!(good == plan.messages.len() as f64, "h2load: {good} of {count} succeeded");
    let per_second = before(&said, " req/s").context("h2load says no rate")?;
    Ok(Outside::Measured { program: "h2load", per_second, cpu_us: cpu.as_secs_f64() * 1e6 / good })
}

/// wrk with one body for all calls.
pub(crate) fn wrk(directory: &Path, url: &str, body: &str, connections: usize, lasting: Duration) -> Result<Outside> {
    if !is_installed("wrk") {
        return Ok(Outside::Missing("wrk"));
    }
    let (script, text) = (directory.join("wrk.lua"), directory.join("wrk.json"));
    std::fs::write(&text, body)?;
    let words = format!(
        "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\nlocal file = io.open(\"{}\")\nwrk.body = file:read(\"a\")\n",
        text.display()
    );
    std::fs::write(&script, words.replace("\"a\"", "\"*a\""))?;
    let seconds = format!("{}s", lasting.as_secs().max(1));
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", &connections.to_string(), "-d", &seconds, "-s"]).arg(&script).arg(url);
    let (said, _, cpu) = run(command)?;
    ensure!(!said.contains("Non-2xx"), "wrk: {said}");
    let per_second = after(&said, "Requests/sec:").context("wrk says no rate")?;
    let calls = before(&said, " requests in").context("wrk says no count")?;
    Ok(Outside::Measured { program: "wrk", per_second, cpu_us: cpu.as_secs_f64() * 1e6 / calls })
}

fn after(text: &str, word: &str) -> Option<f64> {
    text.split_once(word)?.1.split_ascii_whitespace().next()?.parse().ok()
}

/// Where a `COPY` has its rows from, or puts them.
pub(crate) enum Lines<'a> {
    Nowhere,
    From(&'a Path),
    To(&'a Path),
}

/// psql with a `COPY`.
pub(crate) fn psql(database: &str, copy: &str, lines: Lines<'_>, rows: u64) -> Result<Outside> {
    if !is_installed("psql") {
        return Ok(Outside::Missing("psql"));
    }
    let redirect = match lines {
        Lines::Nowhere => "> /dev/null".to_owned(),
        Lines::From(path) => format!("< '{}'", path.display()),
        Lines::To(path) => format!("> '{}'", path.display()),
    };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec psql -q -X -v ON_ERROR_STOP=1 -d \"$0\" -c \"$1\" {redirect}"), database, copy]);
    let (_, wall, cpu) = run(command)?;
    let (per_second, cpu_us) = (rows as f64 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / rows.max(1) as f64);
    Ok(Outside::Measured { program: "psql", per_second, cpu_us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::Spread;

    fn row() -> Row {
        Row::plain("B4", "a stage", "us", [0.5, 0.75, 0.9], Spread { median: 0.8, low: 0.8, high: 0.8 })
    }

    #[test]
    fn a_missing_program_is_said_to_be_missing_and_is_no_fault() {
        assert!(!is_installed("no-program-has-this-name") && is_installed("sh"));
        let row = Outside::Missing("h2load").judge_rate(row(), 100.0);
        assert!(row.reference.contains("not measured: h2load is not installed"), "{}", row.reference);
        assert_eq!(row.reached(), "target");
    }

    #[test]
    fn a_floor_that_is_slower_than_others_takes_its_rows_verdict_away() {
        let outside = Outside::Measured { program: "h2load", per_second: 100.0, cpu_us: 1.0 };
        assert_eq!(outside.judge_rate(row(), 85.0).reached(), "target");
        assert_eq!(outside.judge_rate(row(), 75.0).reached(), "DOES NOT COUNT");
    }

    #[test]
    fn rates_are_read_from_what_h2load_and_wrk_say() {
        let h2load = "finished in 1.23s, 24390.24 req/s, 2.1MB/s\nrequests: 30000 total, 30000 started, 30000 done, 29999 succeeded, 1 failed";
        assert_eq!((before(h2load, " req/s"), before(h2load, " succeeded")), (Some(24390.24), Some(29999.0)));
        let wrk = "  40012 requests in 4.00s, 5.1MB read\nRequests/sec:  10001.50\n";
        assert_eq!((after(wrk, "Requests/sec:"), before(wrk, " requests in")), (Some(10001.5), Some(40012.0)));
    }
}
