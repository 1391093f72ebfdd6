//! A process that does not outlive the one that started it.

use crate::Environment;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

/// Runs a program and kills it when standard input closes: whoever dies leaves nothing behind. Says its process id, and how it
/// ended once it has.
const KEEPER: &str = r#"exec 3<&0
"$0" </dev/null 3<&- 1>&2 & program=$!
echo $program
(cat <&3 >/dev/null; kill -9 $program 2>/dev/null) 1>&2 & watcher=$!
wait $program
code=$?
kill $watcher 2>/dev/null
echo $code"#;

/// A running, or ended, process.
pub struct Kept {
    pid: u32,
    keeper: Child,
    end: Arc<OnceLock<End>>,
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
        let mut said = BufReader::new(keeper.stdout.take().expect("piped")).lines();
        let pid = said.next().and_then(Result::ok).and_then(|line| line.parse().ok()).expect("the process id");
        let end = Arc::new(OnceLock::new());
        let ended = Arc::clone(&end);
        std::thread::spawn(move || {
            let code = said.next().and_then(Result::ok).and_then(|line| line.parse().ok());
            // A shell says 128 and the signal's number.
            let _ = ended.set(match code.unwrap_or(0) {
                code if code > 128 => End::Signal(code - 128),
                code => End::Code(code),
            });
        });
        Self { pid, keeper, end }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; nothing happens to a process that has ended.
    pub fn signal(&self, signal: Signal) {
        if self.end().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// How it ended; None while it runs.
    pub fn end(&self) -> Option<End> {
        self.end.get().copied()
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
