//! Services as a world runs them: processes of their own, so that a kill is a kill.

use crate::Environment;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a service may take until it is ready.
const READY: Duration = Duration::from_secs(30);

/// Runs a service and kills it when standard input closes: a test that dies leaves nothing behind.
const KEEPER: &str = r#"exec 3<&0; "$0" </dev/null 1>&2 & echo $!; cat <&3 >/dev/null; kill -9 $! 2>/dev/null"#;

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Expands notifications.
    Segmenter,
    /// Keeps the ledger.
    StatusCollector,
    /// Sends to APNs.
    DispatcherApns,
}

impl Service {
    /// The binary's name.
    pub fn name(self) -> &'static str {
        match self {
            Service::Segmenter => "segmenter",
            Service::StatusCollector => "status-collector",
            Service::DispatcherApns => "dispatcher-apns",
        }
    }

    pub(crate) fn start(self, environment: &Environment) -> Replica {
        let admin = free_address();
        let log = std::env::temp_dir().join(format!("carillon-{}-{}.log", self.name(), admin.port()));
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(binary(self.name()))
            .envs(environment.with("ADMIN__LISTEN", admin.to_string()).variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("the process id");
        let replica =
            Replica { service: self, environment: environment.clone(), pid: line.trim().to_owned(), keeper, log };
        replica.wait_until_ready(admin);
        replica
    }
}

/// One running process of a service.
pub(crate) struct Replica {
    pub(crate) service: Service,
    environment: Environment,
    pid: String,
    keeper: Child,
    log: PathBuf,
}

impl Replica {
    /// SIGKILL, and another in its place.
    pub(crate) fn kill_and_replace(mut self) -> Replica {
        let killed = Command::new("kill").args(["-9", &self.pid]).status().expect("kill runs");
        assert!(killed.success(), "{} ended by itself: see {}", self.service.name(), self.log.display());
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        self.service.start(&self.environment)
    }

    fn wait_until_ready(&self, admin: SocketAddr) {
        let start = Instant::now();
        while !is_ready(admin) {
            assert!(start.elapsed() < READY, "{} is not ready: see {}", self.service.name(), self.log.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&admin, Duration::from_secs(1)) else { return false };
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// The services' binaries lie beside the directory of the tests'.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    let path = own.ancestors().nth(2).expect("target directory").join(name);
    assert!(path.exists(), "{name} is not built: run the tests with `make test`, which builds the services first");
    path
}

/// A loopback address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port")
}
