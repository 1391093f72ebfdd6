//! `target/faults.json`: rows that can be judged without trusting `passed`.

use crate::options::{Options, Size};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// One row while it runs.
pub(crate) struct Row {
    id: String,
    title: String,
    seed: u64,
    began: Instant,
    pub(crate) accepted: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) stuck: u64,
    pub(crate) kills: u64,
    pub(crate) restarts: u64,
    pub(crate) cuts: u64,
    figures: Map<String, Value>,
    faults: Vec<Value>,
    broken: Vec<String>,
}

impl Row {
    /// Of a row that begins now.
    pub(crate) fn new(id: &str, title: &str, seed: u64) -> Self {
        println!("\n{id}: {title}");
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            seed,
            began: Instant::now(),
            accepted: 0,
            lost: 0,
            duplicates: 0,
            stuck: 0,
            kills: 0,
            restarts: 0,
            cuts: 0,
            figures: Map::new(),
            faults: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// A line of progress.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        println!("  {:6.1} s  {}", self.began.elapsed().as_secs_f64(), text.as_ref());
    }

    /// A figure that the row is about.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.say(format!("{name} = {value}"));
        self.figures.insert(name.to_owned(), value);
    }

    /// A figure that is too long for a line.
    pub(crate) fn quiet(&mut self, name: &str, value: Value) {
        match (self.figures.get_mut(name), value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (_, value) => drop(self.figures.insert(name.to_owned(), value)),
        }
    }

    /// What was done, and what was under way when it was.
    pub(crate) fn fault(&mut self, what: &str, sight: &crate::observe::Sight) {
        let mut entry = sight.json();
        entry["fault"] = json!(what);
        entry["at"] = json!((self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0);
        self.faults.push(entry);
    }

    /// The same of a fault that must find something to break in every place.
    pub(crate) fn strike(&mut self, what: &str, sight: &crate::observe::Sight) {
        self.fault(what, sight);
        self.expect(sight.is_busy(), || format!("{what} found nothing to break in some place: {}", sight.json()));
    }

    /// What does not hold breaks the row.
    pub(crate) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            let text = otherwise();
            self.say(format!("BROKEN: {text}"));
            self.broken.push(text);
        }
    }

    fn passed(&self) -> bool {
        self.broken.is_empty()
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "title": self.title, "passed": self.passed(), "seed": self.seed,
            "seconds": (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            "accepted": self.accepted, "lost": self.lost, "duplicates": self.duplicates, "stuck": self.stuck,
            "kills": self.kills, "restarts": self.restarts, "cuts": self.cuts, "figures": self.figures,
            "faults": self.faults, "broken": self.broken,
        })
    }
}

/// All rows of a run.
pub(crate) struct Report {
    seed: u64,
    size: Size,
    started_at: jiff::Timestamp,
    began: Instant,
    rows: Vec<Value>,
    path: PathBuf,
    /// Where a full run keeps what it has finished.
    kept: Option<PathBuf>,
}

impl Report {
    /// Of a run that begins now.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            seed: options.seed,
            size: options.size,
            started_at: jiff::Timestamp::now(),
            began: Instant::now(),
            rows: Vec::new(),
            path: options.report.clone(),
            kept: (options.size == Size::Full).then(|| options.directory.join("full.json")),
        }
    }

    /// Takes up what an earlier full run has finished and passed, unless everything is to be done anew.
    ///
    /// # Errors
    /// If the file cannot be removed, or is none of ours.
    pub(crate) fn resume(&mut self, fresh: bool) -> Result<()> {
        let Some(path) = self.kept.as_ref().filter(|path| path.exists()) else { return Ok(()) };
        if fresh {
            return Ok(std::fs::remove_file(path)?);
        }
        let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(path)?)?;
        self.rows = rows.into_iter().filter(|row| row["passed"] == true).collect();
        for row in &self.rows {
            println!("{} with seed {} has passed before; FRESH=1 does it again", row["id"], row["seed"]);
        }
        Ok(())
    }

    /// Whether a row was finished with this seed.
    pub(crate) fn has(&self, id: &str, seed: u64) -> bool {
        self.rows.iter().any(|row| row["id"] == id && row["seed"] == seed)
    }

    /// A row that is through. The file is written anew each time, so that a run that is cut short leaves what it has.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn add(&mut self, row: &Row) -> Result<()> {
        let word = if row.passed() { "passed" } else { "FAILED" };
        row.say(format!(
            "{word}: {} accepted, {} lost, {} duplicates, {} stuck; {} kills, {} restarts, {} cuts",
            row.accepted, row.lost, row.duplicates, row.stuck, row.kills, row.restarts, row.cuts
        ));
        self.rows.push(row.json());
        if let Some(path) = &self.kept {
            std::fs::write(path, serde_json::to_vec_pretty(&self.rows)?)?;
        }
        self.write()
    }

    /// Whether every row held.
    pub(crate) fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row["passed"] == true)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        let report = json!({
            "passed": self.passed(), "started_at": self.started_at.to_string(), "seed": self.seed,
            "seconds": self.began.elapsed().as_secs(), "commit": commit(), "size": format!("{:?}", self.size).to_lowercase(),
            "rows": self.rows,
        });
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&self.path, format!("{report:#}\n"))?;
        Ok(())
    }
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
