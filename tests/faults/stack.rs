//! The private broker and database: `deploy/local/stack.sh` does the work.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The first start may install packages.
const START: Duration = Duration::from_secs(1_200);
const STEP: Duration = Duration::from_secs(180);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Broker,
    Postgres,
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Postgres => "postgres",
        }
    }
}

/// A stack of our own.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    directory: PathBuf,
}

impl Stack {
    /// Not started yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf() }
    }

    /// Starts with empty data; what a client has to know.
    ///
    /// # Errors
    /// What the script says, already on standard error.
    pub(crate) async fn start(&self) -> Result<BTreeMap<String, String>> {
        self.verb("stop", &["--wipe"], STEP).await?;
        self.verb("start", &[], START).await?;
        let path = self.directory.join("stack.env");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The servers' processes.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let pid = |name: &str| self.known(name)?.parse().with_context(|| format!("{name} is no number"));
        ["STACK_BROKER_PID", "STACK_POSTGRES_PID"].into_iter().map(pid).collect()
    }

    /// What the script wrote down.
    fn known(&self, name: &str) -> Result<String> {
        let path = self.directory.join("stack.env");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let found = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned()).with_context(|| format!("stack.env has no {name}"))
    }

    /// Starts the broker again with an empty disk.
    ///
    /// # Errors
    /// If it does not come up.
    pub(crate) async fn revive_broker_empty(&self) -> Result<()> {
        self.verb("start-broker", &["--wipe"], STEP).await
    }

    /// A second PostgreSQL that follows the first, and without which nothing is committed; its port.
    ///
    /// # Errors
    /// If it does not come up.
    pub(crate) async fn follow(&self) -> Result<u16> {
        self.verb("standby-postgres", &[], STEP).await?;
        Ok(self.known("STACK_STANDBY_PORT")?.parse()?)
    }

    /// The first is killed, the second promoted, and the first comes back as one that only reads.
    ///
    /// # Errors
    /// If one of them does not come up.
    pub(crate) async fn switch_over(&self) -> Result<()> {
        self.verb("switch-postgres", &[], STEP).await
    }

    /// The second takes the first one's place and port for good.
    ///
    /// # Errors
    /// If it does not come up.
    pub(crate) async fn adopt(&self) -> Result<()> {
        self.verb("adopt-standby", &[], STEP).await
    }

    /// Stops it and deletes the data.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.verb("stop", &["--wipe"], STEP).await {
            eprintln!("faults: {error:#}");
        }
    }

    /// SIGKILL, without a word.
    ///
    /// # Errors
    /// If it does not end.
    pub(crate) async fn kill(&self, server: Server) -> Result<()> {
        self.verb(&format!("stop-{}", server.name()), &["--kill"], STEP).await
    }

    /// Starts one of both again, on the same port and data.
    ///
    /// # Errors
    /// If it does not come up.
    pub(crate) async fn revive(&self, server: Server) -> Result<()> {
        self.verb(&format!("start-{}", server.name()), &[], STEP).await
    }

    async fn verb(&self, verb: &str, options: &[&str], limit: Duration) -> Result<()> {
        let mut command = Command::new("deploy/local/stack.sh");
        command.arg(verb).arg(&self.directory).args(options).stdin(Stdio::null());
        let log = std::fs::File::options().create(true).append(true).open(self.directory.join("verbs.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let run = tokio::task::spawn_blocking(move || command.status());
        match tokio::time::timeout(limit, run).await {
            Ok(Ok(Ok(status))) if status.success() => Ok(()),
            Ok(Ok(Err(error))) => Err(error).context("stack.sh cannot be started: run this in the root of a checkout"),
            Ok(_) => bail!("stack.sh {verb} failed, see {}/verbs.log", self.directory.display()),
            Err(_) => bail!("stack.sh {verb} took longer than {} s", limit.as_secs()),
        }
    }
}
