//! What is known of child processes beyond their own lives: their logs, and who is left of a run that was killed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines of a log that are shown when its process is in trouble.
const TAIL_LINES: usize = 25;
/// Bytes from the end of a log that are looked at for them.
const TAIL_BYTES: u64 = 16 << 10;

/// Writes a process down.
pub(super) fn note(register: &Path, pid: u32, binary: &Path) {
    let file = File::options().create(true).append(true).open(register);
    // Only a run after a crash reads it.
    let _ = file.and_then(|mut file| writeln!(file, "{pid} {}", binary.display()));
}

/// The last lines of a log, with its name above.
pub(super) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
    let shown: Vec<String> = last.map(|line| format!("  | {line}")).collect();
    format!("the end of {}:\n{}", log.display(), shown.join("\n"))
}

/// A run that was killed leaves its children. They are known by number and binary, so nobody else's process is meant.
///
/// # Errors
/// If one of them does not end.
pub(super) fn end_left_overs(register: &Path) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(register) else { return Ok(()) };
    let ours = |line: &str| -> Option<Pid> {
        let (pid, binary) = line.split_once(' ')?;
        let runs = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let same = runs.to_str()?.trim_end_matches(" (deleted)") == binary;
        Pid::from_raw(pid.parse().ok()?).filter(|_| same)
    };
    let left: Vec<Pid> = text.lines().filter_map(ours).collect();
    for pid in &left {
        eprintln!("carillon: ending process {} of a run that was killed", pid.as_raw_nonzero());
        let _ = kill_process(*pid, Signal::KILL);
    }
    let _ = std::fs::remove_file(register);
    for _ in 0..50 {
        if text.lines().filter_map(ours).next().is_none() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("a process of an earlier run does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_ended_by_the_next_one() {
        let directory = std::env::temp_dir().join(format!("carillon-children-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut left = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let exe = std::fs::read_link(format!("/proc/{}/exe", left.id())).unwrap();
        let register = directory.join("children");
        note(&register, left.id(), &exe);
        note(&register, 1, Path::new("/bin/nobody"));
        let reaped = std::thread::spawn(move || left.wait().unwrap());
        end_left_overs(&register).unwrap();
        assert!(!reaped.join().unwrap().success());
        assert!(!register.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
