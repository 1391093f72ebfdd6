//! The order of a process' life.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use carillon_telemetry::Guard;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminConfig};
use crate::arguments;
use crate::config::{Faults, HumanDuration, ServiceConfig, Settings};
use crate::failpoints::FailpointsConfig;
use crate::readiness::Phase;
use crate::{Clock, Scope, StartError, healthy, signals};

/// Exit code after a failed start, a failed task or a drain that ran out of time.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code on bad arguments or a bad configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// How long the exporter of traces may take at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// What the runtime itself reads from the configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProcessConfig {
    admin: AdminConfig,
    failpoints: FailpointsConfig,
    runtime: RuntimeConfig,
    telemetry: carillon_telemetry::Config,
}

impl ServiceConfig for ProcessConfig {
    const SECTIONS: &'static [&'static str] = &["admin", "failpoints", "runtime", "telemetry"];

    fn faults(&self) -> Vec<(&'static str, String)> {
        self.telemetry.faults().into_iter().chain(self.failpoints.fault()).collect()
    }
}

/// Section `runtime`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    /// From the signal to the exit, the wait for endpoints included; keep it below Kubernetes'
    /// `terminationGracePeriodSeconds`.
    grace: HumanDuration,
    /// From not ready to the stop: the time load balancers need to notice. 5 s in a cluster, nothing elsewhere.
    endpoint_wait: HumanDuration,
    /// Threads of the event loop; absent means as many as the service has by itself.
    worker_threads: Option<NonZeroUsize>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { grace: HumanDuration::from_secs(20), endpoint_wait: HumanDuration::from_secs(0), worker_threads: None }
    }
}

/// Runs a service from its arguments to its exit code: 0 after a clean drain, 1 after a failure, 64 on a bad
/// configuration. A second signal ends the process at once.
pub fn run<C: ServiceConfig>(
    service: &'static str,
    start: impl AsyncFnOnce(C, Scope) -> Result<(), StartError>,
) -> ExitCode {
    let arguments = match arguments::parse(service, std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_CONFIG } else { 0 });
        }
    };
    let settings = Settings::read(arguments.config.as_deref(), std::env::vars_os());
    if arguments.healthy {
        return match settings.and_then(|settings| settings.extract::<ProcessConfig>()) {
            Ok(process) => tell_health(service, &process),
            Err(faults) => refuse(service, &faults),
        };
    }
    let loaded = settings.and_then(|settings| both::<C>(&settings).map(|configs| (configs, settings)));
    let ((config, process), settings) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => return refuse(service, &faults),
    };
    if arguments.check {
        let _ = writeln!(std::io::stdout(), "{service}: the configuration is valid");
        return ExitCode::SUCCESS;
    }
    match begin(service, &process, &settings, C::WORKER_THREADS) {
        Ok((runtime, telemetry)) => {
            let code = runtime.block_on(life(service, start, config, process, telemetry));
            // Whatever ignored the drain is left behind: waiting for it would be waiting for ever.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{service}: {error}");
            ExitCode::from(code_of(&error))
        }
    }
}

fn both<C: ServiceConfig>(settings: &Settings) -> Result<(C, ProcessConfig), Faults> {
    match (settings.extract(), settings.extract()) {
        (Ok(config), Ok(process)) => Ok((config, process)),
        (Err(a), Err(b)) => Err(a.and(b)),
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => Err(faults),
    }
}

/// What `--healthy` exits with; why not is said where container engines show it.
fn tell_health(service: &str, process: &ProcessConfig) -> ExitCode {
    let why = match healthy::ask(process.admin.listen) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(status)) => format!("not ready: {status}"),
        Err(error) => format!("{} does not answer: {error}", process.admin.listen),
    };
    let _ = writeln!(std::io::stderr(), "{service}: {why}");
    ExitCode::from(EXIT_FAILURE)
}

fn refuse(service: &str, faults: &Faults) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{service}: the configuration is refused\n{faults}");
    ExitCode::from(EXIT_CONFIG)
}

fn begin(
    service: &'static str,
    process: &ProcessConfig,
    settings: &Settings,
    worker_threads: Option<NonZeroUsize>,
) -> Result<(tokio::runtime::Runtime, Guard), StartError> {
    install_crypto();
    let telemetry = carillon_telemetry::init(service, &process.telemetry)
        .map_err(|error| StartError::misconfigured(error.to_string()))?;
    process.failpoints.arm();
    for name in settings.ignored() {
        tracing::warn!(name, "a CARILLON_ variable that names no section is ignored");
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = process.runtime.worker_threads.or(worker_threads) {
        builder.worker_threads(threads.get());
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| StartError::because("the threads of the event loop could not be started", error))?;
    Ok((runtime, telemetry))
}

/// Ring is the one provider of the tree; said once, so that a library that brings a second one cannot make rustls guess.
pub(crate) fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn life<C>(
    service: &'static str,
    start: impl AsyncFnOnce(C, Scope) -> Result<(), StartError>,
    config: C,
    process: ProcessConfig,
    telemetry: Guard,
) -> u8 {
    let scope = Scope::new(service, Clock::system());
    let code = match prepare(&scope, &process.admin).await {
        Ok(signal) => {
            let ending = Box::pin(until_told_to_end(&scope, start, config, &signal)).await;
            drain(&scope, &process.runtime, ending).await
        }
        Err(error) => {
            tracing::error!(%error, "not started");
            code_of(&error)
        }
    };
    let _ = tokio::task::spawn_blocking(move || telemetry.flush(FLUSH_LIMIT)).await;
    code
}

async fn prepare(scope: &Scope, admin: &AdminConfig) -> Result<CancellationToken, StartError> {
    let signal = signals::listen().map_err(|error| StartError::because("cannot listen for signals", error))?;
    let address = admin::open(admin, scope.ready().clone()).await.map_err(|error| {
        let setting =
            format!("admin.listen = {} cannot be bound; CARILLON_ADMIN__LISTEN chooses another", admin.listen);
        StartError::because(setting, error)
    })?;
    scope.set_admin_address(address);
    tracing::info!(service = scope.service(), admin.address = %address, version = env!("CARGO_PKG_VERSION"), "starting");
    Ok(signal)
}

enum Ending {
    Signal,
    TaskFailed,
    NotStarted(StartError),
}

async fn until_told_to_end<C>(
    scope: &Scope,
    start: impl AsyncFnOnce(C, Scope) -> Result<(), StartError>,
    config: C,
    signal: &CancellationToken,
) -> Ending {
    tokio::select! {
        started = start(config, scope.clone()) => if let Err(error) = started {
            return Ending::NotStarted(error);
        },
        () = signal.cancelled() => return Ending::Signal,
        () = scope.tasks().failed() => return Ending::TaskFailed,
    }
    scope.ready().enter(Phase::Running);
    tracing::info!(service = scope.service(), "started");
    tokio::select! {
        () = signal.cancelled() => Ending::Signal,
        () = scope.tasks().failed() => Ending::TaskFailed,
    }
}

async fn drain(scope: &Scope, config: &RuntimeConfig, ending: Ending) -> u8 {
    let began = Instant::now();
    let was_ready = scope.ready().report().ready;
    scope.ready().enter(Phase::Draining);
    tracing::info!(service = scope.service(), "draining");
    let mut code = match &ending {
        Ending::Signal => 0,
        Ending::TaskFailed => EXIT_FAILURE,
        Ending::NotStarted(error) => {
            tracing::error!(%error, "not started");
            code_of(error)
        }
    };
    if matches!(ending, Ending::Signal) && was_ready {
        tokio::time::sleep(config.endpoint_wait.get().min(config.grace.get())).await;
    }
    scope.stop();
    let left = config.grace.get().saturating_sub(began.elapsed());
    if let Err(unclean) = scope.tasks().drain(left).await {
        tracing::error!(%unclean, "the drain was not clean");
        code = code.max(EXIT_FAILURE);
    }
    tracing::info!(service = scope.service(), code, drain_ms = began.elapsed().as_millis(), "stopped");
    code
}

fn code_of(error: &StartError) -> u8 {
    if error.is_misconfigured() { EXIT_CONFIG } else { EXIT_FAILURE }
}
