//! The child processes: started, watched, ended.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::children::{end_left_overs, note, tail};
use super::layout::Layout;
use crate::http::Http;
use crate::waiting::until;

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

/// From the start of a process to its `/readyz`.
const READY: Duration = Duration::from_secs(60);
/// From SIGTERM to SIGKILL: the services' own grace and a bit.
const GRACE: Duration = Duration::from_secs(25);
/// One process of a service.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) service: &'static str,
    /// From 1.
    pub(crate) index: usize,
    pub(crate) pid: u32,
    /// Base URL of its admin port.
    pub(crate) admin: String,
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    log: PathBuf,
}

/// All child processes.
pub(crate) struct Fleet {
    replicas: Vec<Replica>,
    plain: Vec<(&'static str, u32)>,
    shared: Arc<Shared>,
    /// Where the processes are written down, for the next run to find what a killed one left.
    register: PathBuf,
}

struct Shared {
    alive: Mutex<HashSet<u32>>,
    expected: Mutex<HashSet<u32>>,
    death: watch::Sender<Option<String>>,
}

impl Shared {
    fn alive(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A signal to a child that was not reaped yet: its number cannot be anybody else's.
    fn signal(&self, pid: u32, signal: Signal) {
        let alive = self.alive();
        if !alive.contains(&pid) {
            return;
        }
        if let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(target, signal);
        }
    }
}

impl Fleet {
    /// Nothing runs yet. Ends what a run that was killed left behind.
    ///
    /// # Errors
    /// If a left-over process does not end.
    pub(crate) fn new(layout: &Layout) -> Result<Self> {
        let register = layout.run.join("children");
        end_left_overs(&register)?;
        let shared = Shared { alive: Mutex::default(), expected: Mutex::default(), death: watch::Sender::new(None) };
        Ok(Self { replicas: Vec::new(), plain: Vec::new(), shared: Arc::new(shared), register })
    }

    /// Starts a process that is no service.
    ///
    /// # Errors
    /// If its binary is not there.
    pub(crate) fn spawn_plain(&mut self, name: &'static str, layout: &Layout, arguments: &[OsString]) -> Result<u32> {
        let binary = layout.binary(name)?;
        let log = layout.log(name, 1);
        let log_file = File::create(&log).with_context(|| format!("{}", log.display()))?;
        let pid = self.spawn(Command::new(&binary).args(arguments), name, 1, &log, log_file)?;
        note(&self.register, pid, &binary);
        self.plain.push((name, pid));
        Ok(pid)
    }

    /// Starts a replica of a service.
    ///
    /// # Errors
    /// If its binary is not there.
    pub(crate) fn spawn_replica(
        &mut self,
        service: &'static str,
        index: usize,
        layout: &Layout,
        environment: BTreeMap<String, String>,
    ) -> Result<()> {
        let admin = environment.get("CARILLON_ADMIN__LISTEN").context("a service has an admin port")?;
        let mut replica = Replica {
            service,
            index,
            pid: 0,
            admin: format!("http://{admin}"),
            binary: layout.binary(service)?,
            environment,
            log: layout.log(service, index),
        };
        let log = File::create(&replica.log).with_context(|| format!("{}", replica.log.display()))?;
        replica.pid = self.spawn_service(&replica, log)?;
        self.replicas.push(replica);
        Ok(())
    }

    fn spawn_service(&self, replica: &Replica, log: File) -> Result<u32> {
        let mut command = Command::new(&replica.binary);
        command.envs(&replica.environment);
        let pid = self.spawn(&mut command, replica.service, replica.index, &replica.log, log)?;
        note(&self.register, pid, &replica.binary);
        Ok(pid)
    }

    /// In a process group of its own, so that a Ctrl-C in the terminal reaches this command and not its children.
    fn spawn(&self, command: &mut Command, name: &'static str, index: usize, log: &Path, file: File) -> Result<u32> {
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let pid = child.id().ok_or_else(|| anyhow!("{name} ended at once"))?;
        self.shared.alive().insert(pid);
        tokio::spawn(watch_child(child, pid, format!("{name} {index}"), log.to_path_buf(), Arc::clone(&self.shared)));
        Ok(pid)
    }

    /// Every replica.
    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Every process that is no service.
    pub(crate) fn plain(&self) -> &[(&'static str, u32)] {
        &self.plain
    }

    /// Waits until every replica says that it is ready.
    ///
    /// # Errors
    /// The first one that ended or is not ready after 60 s, with the tail of its log.
    pub(crate) async fn ready(&self) -> Result<()> {
        for replica in &self.replicas {
            self.replica_ready(replica).await?;
        }
        Ok(())
    }

    async fn replica_ready(&self, replica: &Replica) -> Result<()> {
        let admin = Http::new(&replica.admin);
        let what = format!("{} {} to be ready", replica.service, replica.index);
        let mut last = "no answer".to_owned();
        let ready = until(&what, READY, async || {
            self.check()?;
            match admin.call(Method::GET, "/readyz", None, &[]).await {
                Ok(answer) if answer.status.is_success() => return Ok(Some(())),
                Ok(answer) => last = answer.words(),
                Err(error) => last = format!("{error:#}"),
            }
            Ok(None)
        });
        match ready.await {
            Ok(()) => Ok(()),
            Err(error) if self.check().is_err() => Err(error),
            Err(error) => Err(error.context(format!("{last}\n{}", tail(&replica.log)))),
        }
    }

    /// Kills a replica without a word, as a machine that goes away does.
    ///
    /// # Errors
    /// If there is no such replica, or it does not end.
    pub(crate) async fn kill(&self, service: &str, index: usize) -> Result<()> {
        let replica = self.find(service, index)?;
        self.shared.expected().insert(replica.pid);
        self.shared.signal(replica.pid, Signal::KILL);
        self.gone(&[replica.pid], Duration::from_secs(10)).await
    }

    /// Starts a replica anew, with the same settings, as an orchestrator does.
    ///
    /// # Errors
    /// If there is no such replica, or it cannot be started.
    pub(crate) fn respawn(&mut self, service: &str, index: usize) -> Result<()> {
        let replica = self.find(service, index)?.clone();
        let log = File::options().append(true).open(&replica.log)?;
        let pid = self.spawn_service(&replica, log)?;
        let found = self.replicas.iter_mut().find(|known| known.service == service && known.index == index);
        if let Some(found) = found {
            found.pid = pid;
        }
        Ok(())
    }

    fn find(&self, service: &str, index: usize) -> Result<&Replica> {
        let found = self.replicas.iter().find(|replica| replica.service == service && replica.index == index);
        found.ok_or_else(|| anyhow!("there is no {service} {index}"))
    }

    /// # Errors
    /// If a process ended that should not have.
    pub(crate) fn check(&self) -> Result<()> {
        match self.shared.death.borrow().as_ref() {
            Some(death) => Err(anyhow!("{death}")),
            None => Ok(()),
        }
    }

    /// Until a process ends that should not; what is said of it.
    pub(crate) fn death(&self) -> impl Future<Output = anyhow::Error> + use<> {
        let mut death = self.shared.death.subscribe();
        async move {
            match death.wait_for(Option::is_some).await {
                Ok(death) => anyhow!("{}", death.as_deref().unwrap_or_default()),
                Err(_) => anyhow!("nobody watches the processes any more"),
            }
        }
    }

    /// SIGTERM to the services, then to the others; SIGKILL to what does not end within 25 s.
    pub(crate) async fn stop(&mut self) {
        let services: Vec<u32> = self.replicas.iter().map(|replica| replica.pid).collect();
        let plain: Vec<u32> = self.plain.iter().map(|(_, pid)| *pid).collect();
        for pids in [services, plain] {
            self.shared.expected().extend(pids.iter().copied());
            pids.iter().for_each(|pid| self.shared.signal(*pid, Signal::TERM));
            if self.gone(&pids, GRACE).await.is_err() {
                let stuck = self.replicas.iter().filter(|replica| self.shared.alive().contains(&replica.pid));
                let names: Vec<String> = stuck.map(|one| format!("{} {}", one.service, one.index)).collect();
                eprintln!("carillon: SIGKILL, after {} s: {}", GRACE.as_secs(), names.join(", "));
                pids.iter().for_each(|pid| self.shared.signal(*pid, Signal::KILL));
                let _ = self.gone(&pids, Duration::from_secs(5)).await;
            }
        }
        let _ = std::fs::remove_file(&self.register);
    }

    async fn gone(&self, pids: &[u32], limit: Duration) -> Result<()> {
        until("processes to end", limit, async || {
            let alive = self.shared.alive();
            Ok((!pids.iter().any(|pid| alive.contains(pid))).then_some(()))
        })
        .await
    }
}

async fn watch_child(mut child: Child, pid: u32, name: String, log: PathBuf, shared: Arc<Shared>) {
    let status = child.wait().await;
    shared.alive().remove(&pid);
    if shared.expected().remove(&pid) {
        return;
    }
    let how = status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
    let words = format!("{name} (pid {pid}) ended: {how}\n{}", tail(&log));
    shared.death.send_if_modified(|death| {
        let first = death.is_none();
        if first {
            *death = Some(words);
        }
        first
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let run = std::env::temp_dir().join(format!("carillon-fleet-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(run.join("logs")).unwrap();
        Layout { stack: run.clone(), stack_script: run.clone(), binaries: "/bin".into(), run }
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_is_told_with_the_tail_of_its_log() {
        let layout = layout();
        let mut fleet = Fleet::new(&layout).unwrap();
        fleet.spawn_plain("sh", &layout, &words(&["-c", "echo cannot bind; exit 3"])).unwrap();
        let death = fleet.death().await.to_string();
        assert!(
            death.contains("sh 1") && death.contains("exit status: 3") && death.contains("| cannot bind"),
            "{death}"
        );
        assert!(fleet.check().is_err());
        std::fs::remove_dir_all(&layout.run).unwrap();
    }

    #[tokio::test]
    async fn stopping_is_no_death() {
        let layout = layout();
        let mut fleet = Fleet::new(&layout).unwrap();
        let pid = fleet.spawn_plain("sleep", &layout, &words(&["600"])).unwrap();
        fleet.stop().await;
        assert!(fleet.check().is_ok());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        std::fs::remove_dir_all(&layout.run).unwrap();
    }
}
