//! CPU time and memory of processes, and what the machine's owner took away, as the kernel counts them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The kernel shows times to programs in hundredths of a second on every Linux that is in use.
const TICK: Duration = Duration::from_millis(10);

/// utime and stime of a process.
pub(crate) fn of(pid: u32) -> Result<Duration> {
    let fields = stat(pid)?;
    Ok(ticks(&fields, 11) + ticks(&fields, 12))
}

/// The same of a process, its children that were waited for, and its living children: for PostgreSQL, where a connection is a
/// process.
pub(crate) fn of_family(pid: u32) -> Result<Duration> {
    let fields = stat(pid)?;
    let mut sum: Duration = (11..15).map(|field| ticks(&fields, field)).sum();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
        // One that ended meanwhile is counted by its parent next time.
        sum += of(child).unwrap_or_default();
    }
    Ok(sum)
}

/// utime and stime of this process's children that have ended and were waited for.
pub(crate) fn of_ended_children() -> Result<Duration> {
    let fields = stat(std::process::id())?;
    Ok(ticks(&fields, 13) + ticks(&fields, 14))
}

/// The fields after the name, which may hold spaces; the first is the state (field 3 of proc(5)).
fn stat(pid: u32) -> Result<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let (_, rest) = text.rsplit_once(')').context("stat has no name")?;
    Ok(rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn ticks(fields: &[u64], at: usize) -> Duration {
    TICK * u32::try_from(fields.get(at).copied().unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Resident memory now and at its peak, in bytes.
pub(crate) fn memory(pid: u32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let kib = |name| field(name).map(|kib| kib << 10);
    Ok((kib("VmRSS:").context("no VmRSS")?, kib("VmHWM:").context("no VmHWM")?))
}

/// All CPU time of the machine so far, and the part that was stolen.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    all: u64,
    stolen: u64,
}

impl Machine {
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let fields: Vec<u64> = line.split_ascii_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
        let at = |i: usize| fields.get(i).copied().unwrap_or(0);
        let all = fields.iter().take(8).sum();
        Ok(Self { all, stolen: at(7) })
    }

    /// The stolen share since then.
    pub(crate) fn stolen_since(&self, earlier: &Self) -> f64 {
        (self.stolen - earlier.stolen) as f64 / (self.all - earlier.all).max(1) as f64
    }
}
