//! What is to be run, and how large.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// Every row that is built, in the order of a whole run.
pub(crate) const ROWS: [&str; 14] =
    ["F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F13", "F14"];

/// What a pipeline runs.
const CI_ROWS: [&str; 5] = ["F1", "F3", "F8", "F11", "F14"];

/// How large the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What fits into a pipeline.
    Ci,
    /// The table's short form.
    Short,
    /// The table's full form.
    Full,
}

/// What the caller asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rows: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) size: Size,
    /// Where the stack, its data and the logs lie. Two runs in one checkout need two.
    pub(crate) directory: PathBuf,
    /// The report.
    pub(crate) report: PathBuf,
    /// What a full run has finished is done again.
    pub(crate) fresh: bool,
}

impl Options {
    /// `ROWS`, `SEED`, `FULL`, `CI`, `FRESH` and `RUN_DIR`.
    ///
    /// # Errors
    /// A row that there is not, a seed that is no number.
    pub(crate) fn from_environment() -> Result<Self> {
        let word = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let size = match (word("FULL"), word("CI")) {
            (Some(_), _) => Size::Full,
            (None, Some(_)) => Size::Ci,
            (None, None) => Size::Short,
        };
        let rows: Vec<String> = match word("ROWS") {
            Some(list) => list.split(',').map(|row| row.trim().to_uppercase()).collect(),
            None if size == Size::Ci => CI_ROWS.map(str::to_owned).to_vec(),
            None => ROWS.map(str::to_owned).to_vec(),
        };
        if let Some(unknown) = rows.iter().find(|row| !ROWS.contains(&row.as_str())) {
            bail!("there is no row {unknown}; there are {}", ROWS.join(", "));
        }
        let seed = word("SEED").map_or(Ok(1), |text| text.parse().context("SEED is a number"))?;
        let here = std::env::current_dir()?;
        let own = word("RUN_DIR").map(|path| here.join(path));
        let report = own.as_deref().unwrap_or(Path::new("target")).join("faults.json");
        let fresh = word("FRESH").is_some();
        Ok(Self { rows, seed, size, fresh, directory: own.unwrap_or_else(|| here.join(".run-faults")), report })
    }

    /// The seeds that a row is run with, each of which is kept when it has passed: the full form of F1 has five, that of F3 one for each round.
    pub(crate) fn seeds(&self, row: &str) -> std::ops::Range<u64> {
        let many = match (self.size, row) {
            (Size::Full, "F1") => 5,
            (Size::Full, "F3") => 25,
            _ => 1,
        };
        self.seed..self.seed + many
    }

    /// One of three, by size.
    pub(crate) fn pick<T>(&self, ci: T, short: T, full: T) -> T {
        match self.size {
            Size::Ci => ci,
            Size::Short => short,
            Size::Full => full,
        }
    }
}
