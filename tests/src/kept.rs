//! A process that does not outlive the one that started it, and whose number stays its own until it was looked at.

use crate::Environment;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs a program and kills it when standard input closes: whoever dies leaves nothing behind. An ended program stays a
/// zombie until then, so that its process id is nobody else's and its exit code can be read.
const KEEPER: &str = r#"exec 3<&0; "$0" </dev/null 1>&2 & echo $!; cat <&3 >/dev/null; kill -9 $! 2>/dev/null"#;

/// A running, or ended, process.
pub struct Kept {
    pid: u32,
    keeper: Child,
}

/// What a process came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It called exit with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

impl Kept {
    /// Starts a program without arguments; everything it writes goes into the log.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(binary: &Path, environment: &Environment, log: File) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(binary)
            .envs(environment.variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("the process id");
        Self { pid: line.trim().parse().expect("the shell prints a number"), keeper }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; nothing happens to a process that has ended.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// How it ended; None while it runs.
    pub fn end(&self) -> Option<End> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name in parentheses may hold anything; the state comes after it, the wait status is the last field.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("Z 0", |(_, rest)| rest).split_whitespace().collect();
        if !matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        let status: i32 = fields.last().and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(if status & 0x7f == 0 { End::Code(status >> 8) } else { End::Signal(status & 0x7f) })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The services' binaries lie beside this program, or beside the directory of the tests'.
///
/// # Panics
/// If it is not built.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program's own path");
    let found = own.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: cargo build --workspace --bins"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(binary: &str) -> Kept {
        Kept::start(Path::new(binary), &Environment::default(), File::create("/dev/null").unwrap())
    }

    fn ended(kept: &Kept) -> End {
        for _ in 0..500 {
            if let Some(end) = kept.end() {
                return end;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it does not end");
    }

    #[test]
    fn the_exit_code_of_an_ended_process_is_known() {
        assert_eq!(ended(&started("/bin/true")), End::Code(0));
        assert_eq!(ended(&started("/bin/false")), End::Code(1));
    }

    #[test]
    fn a_process_runs_until_its_signal_comes() {
        // Without arguments it goes on for ever.
        let kept = started("/usr/bin/yes");
        assert_eq!(kept.end(), None);
        kept.signal(Signal::KILL);
        assert_eq!(ended(&kept), End::Signal(9));
    }
}
