//! Whole processes: arguments, exit codes, signals, the admin port. The test starts itself as the service under test.
#![allow(clippy::unwrap_used, clippy::disallowed_macros, reason = "a test may, and this one has no harness to print")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use carillon_runtime::config::ServiceConfig;
use carillon_runtime::{Scope, StartError};
use serde::Deserialize;

const ROLE: &str = "PROCESS_TEST_ROLE";
const SOON: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    dispatch: Dispatch,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Dispatch {
    workers: u16,
}

impl ServiceConfig for Config {
    const SECTIONS: &'static [&'static str] = &["dispatch"];
}

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(ROLE) {
        let role = role.into_string().unwrap();
        return carillon_runtime::run("bell", async |config: Config, scope| start(&role, config, &scope));
    }
    let tests: &[(&str, fn())] = &[
        ("a bad configuration is refused with 64 and all its faults", bad_configuration),
        ("check judges the configuration and exits", check),
        ("healthy asks the running process whether it is ready", health),
        ("sigterm drains and exits with 0", sigterm_drains),
        ("a second signal ends the process at once", second_signal),
        ("a failed task ends the process with 1", failed_task),
        ("a panic is a log line and ends the process with 1", panicking_task),
        ("a collector that is away does not hold up the end", collector_away),
        ("a failed start ends the process with 1, a setting found bad with 64", failed_start),
        ("a task that ignores the stop costs the exit code", deaf_task),
    ];
    for (name, test) in tests {
        test();
        eprintln!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn start(role: &str, config: Config, scope: &Scope) -> Result<(), StartError> {
    assert_eq!(config.dispatch.workers, 0);
    let stopping = scope.stopping();
    match role {
        "draining until told" => scope.spawn("slow", async move {
            stopping.cancelled().await;
            let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
            Ok::<_, StartError>(())
        }),
        "failing" => scope.spawn("failing", async { Err(StartError::new("it broke")) }),
        "panicking" => scope.spawn("panicking", async { panic_with_a_secret() }),
        "deaf" => scope.spawn("deaf", std::future::pending::<Result<(), StartError>>()),
        "not starting" => return Err(StartError::new("no broker")),
        "misconfigured" => return Err(StartError::misconfigured("secrets.key is too short")),
        _ => {}
    }
    Ok(())
}

fn panic_with_a_secret() -> Result<(), StartError> {
    panic!("cannot call +48501502503")
}

/// The service in a process of its own, ended when dropped.
struct Service {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Service {
    fn start(role: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = command(role, &[]);
        command.envs(settings.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = lines(child.stdout.take().unwrap());
        Self { child, log }
    }

    fn line_with(&self, words: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let line = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            match line {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(_) => panic!("no log line with {words:?}"),
            }
        }
    }

    /// Where the system put the admin port.
    fn admin_address(&self) -> String {
        let starting = self.line_with("admin.address");
        let after = starting.split_once("\"admin.address\":\"").unwrap().1;
        after.split('"').next().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Ends the drain of one that waits for it.
    fn tell(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end, which its output ends with.
    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.child.wait().unwrap().code(),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the process did not end"),
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(role: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env(ROLE, role).env("CARILLON_ADMIN__LISTEN", "127.0.0.1:0");
    command
}

/// Lines as they come; the reader ends with its pipe.
fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::sync_channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn bad_configuration() {
    let output = command("idle", &[])
        .env("CARILLON_DISPATCH__WORKERS", "many")
        .env("CARILLON_RUNTIME__GRACE", "20")
        .env("CARILLON_ADMIN__LISTN", "x")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for key in ["CARILLON_DISPATCH__WORKERS", "CARILLON_RUNTIME__GRACE", "CARILLON_ADMIN__LISTN"] {
        assert!(text.contains(key), "{key} is not named in {text}");
    }
    assert_eq!(command("idle", &["--chek"]).output().unwrap().status.code(), Some(64));
    let filter = command("idle", &["--check"]).env("CARILLON_TELEMETRY__LOG", "a=b=c").output().unwrap();
    assert_eq!(filter.status.code(), Some(64));
    let collector = command("idle", &[]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url").output().unwrap();
    assert_eq!(collector.status.code(), Some(64));
}

fn check() {
    assert_eq!(command("idle", &["--check"]).output().unwrap().status.code(), Some(0));
    let bad = command("idle", &["--check"]).env("CARILLON_DISPATCH__WORKERS", "many").output().unwrap();
    assert_eq!(bad.status.code(), Some(64));
    assert_eq!(command("idle", &["--version"]).output().unwrap().status.code(), Some(0));
}

fn health() {
    let mut service = Service::start("draining until told", &[]);
    let address = service.admin_address();
    let healthy = || command("idle", &["--healthy"]).env("CARILLON_ADMIN__LISTEN", &address).output().unwrap();
    service.line_with("started");
    assert_eq!(healthy().status.code(), Some(0));
    service.signal("TERM");
    service.line_with("draining");
    let draining = healthy();
    let said = String::from_utf8(draining.stderr).unwrap();
    assert!(draining.status.code() == Some(1) && said.contains("503"), "{said}");
    service.tell();
    assert_eq!(service.exit_code(), Some(0));
    let gone = healthy();
    let said = String::from_utf8(gone.stderr).unwrap();
    assert!(gone.status.code() == Some(1) && said.contains("does not answer"), "{said}");
    let bad = command("idle", &["--healthy"]).env("CARILLON_ADMIN__LISTEN", "here").output().unwrap();
    assert_eq!(bad.status.code(), Some(64));
}

fn sigterm_drains() {
    let mut service = Service::start("draining until told", &[]);
    let address = service.admin_address();
    let address = address.as_str();
    service.line_with("started");
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/metrics").contains("text/plain; version=0.0.4"));
    service.signal("TERM");
    service.line_with("draining");
    let draining = get(address, "/readyz");
    assert!(draining.starts_with("HTTP/1.1 503") && draining.contains("\"phase\":\"draining\""), "{draining}");
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200"), "alive while draining");
    service.tell();
    assert_eq!(service.exit_code(), Some(0));
}

fn second_signal() {
    let mut service = Service::start("deaf", &[]);
    service.line_with("started");
    service.signal("INT");
    service.line_with("signal received");
    let asked = Instant::now();
    service.signal("TERM");
    assert_eq!(service.exit_code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(10), "it drained instead");
}

fn failed_task() {
    let mut service = Service::start("failing", &[]);
    assert!(service.line_with("a task failed").contains("it broke"));
    assert_eq!(service.exit_code(), Some(1));
}

fn panicking_task() {
    let mut service = Service::start("panicking", &[]);
    let line = service.line_with("panic.location");
    assert!(line.starts_with('{') && line.contains("cannot call ***"), "{line}");
    assert_eq!(service.exit_code(), Some(1));
}

fn collector_away() {
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_TRACES_SAMPLER", "always_on")];
    let mut service = Service::start("idle", &settings);
    service.line_with("started");
    service.signal("TERM");
    assert_eq!(service.exit_code(), Some(0));
}

fn failed_start() {
    let mut service = Service::start("not starting", &[]);
    assert!(service.line_with("not started").contains("no broker"));
    assert_eq!(service.exit_code(), Some(1));
    assert_eq!(Service::start("misconfigured", &[]).exit_code(), Some(64));
}

fn deaf_task() {
    let mut service = Service::start("deaf", &[("CARILLON_RUNTIME__GRACE", "100ms")]);
    service.line_with("started");
    service.signal("TERM");
    assert!(service.line_with("not clean").contains("task deaf did not finish in time"));
    assert_eq!(service.exit_code(), Some(1));
}
