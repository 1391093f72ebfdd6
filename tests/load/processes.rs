//! Child processes that end with this one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::http1;

/// From the start of a process to its `/readyz`.
const READY: Duration = Duration::from_secs(30);

const ANY_PORT: &str = "127.0.0.1:0";

/// Runs a process and kills it when standard input closes: a bench that dies leaves nothing behind.
const KEEPER: &str = r#"exec 3<&0; "$@" </dev/null 1>&2 & echo $!; cat <&3 >/dev/null; kill -9 $! 2>/dev/null"#;

/// A process of the platform. Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) pid: u32,
    name: String,
    log: PathBuf,
    keeper: Child,
}

/// Settings by name, without the prefix `CARILLON_`.
pub(crate) type Settings = BTreeMap<String, String>;

impl Process {
    /// Starts a binary that lies beside this one.
    pub(crate) fn start(directory: &Path, name: &str, arguments: &[String], settings: &Settings) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let variables = settings.iter().map(|(key, value)| (format!("CARILLON_{key}"), value));
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(beside(name)?)
            .args(arguments)
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("a shell")?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().context("piped")?).read_line(&mut line)?;
        let pid = line.trim().parse().context("the process id")?;
        Ok(Self { pid, name: name.to_owned(), log, keeper })
    }

    /// Starts a service and waits until it is ready. Every port is the system's choice: one that was free a moment ago may be
    /// another's by the time a service binds it.
    pub(crate) async fn service(directory: &Path, name: &str, settings: &Settings) -> Result<Self> {
        let mut settings = settings.clone();
        for port in ["ADMIN__LISTEN", "HTTP__LISTEN", "GRPC__LISTEN", "INTERNAL__LISTEN"] {
            settings.insert(port.into(), ANY_PORT.into());
        }
        let process = Self::start(directory, name, &[], &settings)?;
        let base = format!("http://{}", process.said("admin.address").await?);
        let began = Instant::now();
        while let Err(error) = http1::call(&base, "GET", "/readyz", None, None).await {
            if began.elapsed() > READY || !process.is_alive() {
                bail!("{name} is not ready ({error:#}), see {}", process.log.display());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(process)
    }

    /// The value that the process first logged under a name, such as the address of a port; waits for it.
    pub(crate) async fn said(&self, name: &str) -> Result<String> {
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log)?;
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(value) = lines.filter_map(|line| Some(line.get(name)?.as_str()?.to_owned())).next() {
                return Ok(value);
            }
            if began.elapsed() > READY || !self.is_alive() {
                bail!("{} does not say its {name}, see {}", self.name, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    /// The process must have lived until now.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.is_alive(), "{} ended, see {}", self.name, self.log.display());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The path of a binary that was built with this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is not built: `make bench` builds the services first", path.display());
    Ok(path)
}

/// In a floor: waits until its measurement tells it to go on.
pub(crate) fn wait_for_a_line() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(())
}

/// This program as another process that is told when to begin, for floors.
pub(crate) struct Talker {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Talker {
    pub(crate) fn start(words: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = BufReader::new(child.stdout.take().context("piped")?);
        Ok(Self { child, output })
    }

    /// The next line that it says.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the floor ended before its time");
        Ok(line.trim_end().to_owned())
    }

    /// Tells it to go on.
    pub(crate) fn go(&mut self) -> Result<()> {
        use std::io::Write as _;
        self.child.stdin.as_mut().context("piped")?.write_all(b"go\n").map_err(Into::into)
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        crate::cpu::of(self.child.id())
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
