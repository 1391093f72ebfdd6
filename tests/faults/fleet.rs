//! The services as child processes, two replicas each, and what can be done to them.

use crate::http::Http;
use crate::waiting::until;
use ::http::Method;
use anyhow::{Result, bail};
use carillon_tests::{End, Environment, Kept, binary};
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Every service, in the order in which they are started.
pub(crate) const SERVICES: [&str; 7] = [
    "status-collector",
    "segmenter",
    "dispatcher-apns",
    "dispatcher-fcm",
    "dispatcher-webpush",
    "sms-cascade",
    "ingest-api",
];
/// Of each.
pub(crate) const REPLICAS: usize = 2;
/// From the start of a process to its `/readyz`; others build on this machine.
const READY: Duration = Duration::from_secs(90);

/// One of a service's replicas, whichever process it is at the moment.
pub(crate) struct Replica {
    pub(crate) service: &'static str,
    /// From 1.
    pub(crate) index: usize,
    admin: Http,
    environment: Environment,
    binary: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Kept>>,
}

impl Replica {
    /// Starts it. `admin` is where its admin port listens. What is run is a link beside the logs: a build meanwhile must not
    /// change what is tried.
    ///
    /// # Errors
    /// If a link or its log cannot be written.
    pub(crate) fn start(
        service: &'static str,
        index: usize,
        admin: &str,
        environment: &Environment,
        directory: &Path,
    ) -> Result<Self> {
        let own = directory.join("bin").join(service);
        if index == 1 {
            let _ = std::fs::remove_file(&own);
            std::fs::hard_link(binary(service), &own).or_else(|_| std::fs::copy(binary(service), &own).map(drop))?;
        }
        let replica = Self {
            service,
            index,
            admin: Http::new(&format!("http://{admin}")),
            environment: environment.with("ADMIN__LISTEN", admin),
            binary: own,
            log: directory.join("logs").join(format!("{service}-{index}.log")),
            process: Mutex::new(None),
        };
        replica.respawn(&[])?;
        Ok(replica)
    }

    /// `service-index`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.service, self.index)
    }

    fn process(&self) -> MutexGuard<'_, Option<Kept>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new process in its place, with further variables.
    ///
    /// # Errors
    /// If its log cannot be written.
    pub(crate) fn respawn(&self, more: &[(&str, &str)]) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let environment = more.iter().fold(self.environment.clone(), |all, (key, value)| all.with(key, *value));
        let mut process = self.process();
        drop(process.take());
        *process = Some(Kept::start(&self.binary, &environment, log));
        Ok(())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = self.process().as_ref() {
            process.signal(signal);
        }
    }

    /// How its process ended; None while it runs.
    pub(crate) fn end(&self) -> Option<End> {
        self.process().as_ref().and_then(Kept::end)
    }

    /// Whether its log holds these words.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn said(&self, words: &str) -> Result<bool> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).contains(words))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Kept::pid)
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let Some(pid) = self.pid() else { return 0 };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Waits until it has ended; how, and after how long.
    ///
    /// # Errors
    /// If it has not within the limit.
    pub(crate) async fn ended(&self, limit: Duration) -> Result<(End, Duration)> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if let Some(end) = self.end() {
                return Ok((end, began.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} does not end within {} s", self.name(), limit.as_secs())
    }

    /// SIGKILL, as a machine that goes away.
    ///
    /// # Errors
    /// If it had ended by itself, or does not end.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.alive()?;
        self.signal(Signal::KILL);
        self.ended(Duration::from_secs(10)).await.map(drop)
    }

    /// SIGTERM, and a process in its place with further settings.
    ///
    /// # Errors
    /// If it does not end well, or the next one does not become ready.
    pub(crate) async fn renew(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.signal(Signal::TERM);
        match self.ended(Duration::from_secs(30)).await? {
            (End::Code(0), _) => {}
            (end, _) => bail!("{} ended with {end:?}", self.name()),
        }
        self.respawn(settings)?;
        self.ready().await
    }

    /// # Errors
    /// If its process has ended.
    pub(crate) fn alive(&self) -> Result<()> {
        match self.end() {
            None => Ok(()),
            Some(end) => bail!("{} ended by itself ({end:?}), see {}", self.name(), self.log.display()),
        }
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// If it ends, or is not ready after 90 s.
    pub(crate) async fn ready(&self) -> Result<()> {
        until(&format!("{} to be ready", self.name()), READY, async || {
            self.alive()?;
            let asked =
                tokio::time::timeout(Duration::from_secs(2), self.admin.call(Method::GET, "/readyz", None, &[]));
            Ok(matches!(asked.await, Ok(Ok(answer)) if answer.status.is_success()).then_some(()))
        })
        .await
    }

    /// The sum of a gauge's or counter's lines, by the beginning of the line; None if it does not answer.
    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let asked = self.admin.call(Method::GET, "/metrics", None, &[]);
        let answer = tokio::time::timeout(Duration::from_secs(1), asked).await.ok()?.ok()?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let lines = text.lines().filter(|one| one.starts_with(line));
        Some(lines.filter_map(|one| one.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }
}
