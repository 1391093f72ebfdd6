//! Services as a world runs them: processes of their own, so that a kill is a kill.

use crate::kept::binary;
use crate::{Environment, Kept};
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a service may take until it is ready.
const READY: Duration = Duration::from_secs(30);

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Accepts notifications.
    IngestApi,
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
            Service::IngestApi => "ingest-api",
            Service::Segmenter => "segmenter",
            Service::StatusCollector => "status-collector",
            Service::DispatcherApns => "dispatcher-apns",
        }
    }

    pub(crate) fn start(self, environment: &Environment) -> Replica {
        let admin = free_address();
        let log = std::env::temp_dir().join(format!("carillon-{}-{}.log", self.name(), admin.port()));
        let own = environment.with("ADMIN__LISTEN", admin.to_string());
        let process = Kept::start(&binary(self.name()), &own, File::create(&log).expect("a log file"));
        let replica = Replica { service: self, environment: environment.clone(), process, log };
        replica.wait_until_ready(admin);
        replica
    }
}

/// One running process of a service.
pub(crate) struct Replica {
    pub(crate) service: Service,
    environment: Environment,
    process: Kept,
    log: PathBuf,
}

impl Replica {
    /// SIGKILL, and another in its place.
    pub(crate) fn kill_and_replace(self) -> Replica {
        let (name, log) = (self.service.name(), self.log.display());
        assert_eq!(self.process.end(), None, "{name} ended by itself: see {log}");
        self.process.signal(Signal::KILL);
        drop(self.process);
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

/// A loopback address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port")
}
