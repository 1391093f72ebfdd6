//! The simulators as a process: prints one line of JSON with every URL and runs until it is told to stop.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use provider_sim::{Config, Listen, Sim, Urls};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// Strict simulators of APNs, FCM, Web Push and an SMS gateway.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address that every listener binds.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Host that goes into every URL that is handed out and into the certificate.
    #[arg(long, default_value = "localhost")]
    public_host: String,
    /// Port of the control interface and the ledger; 0 lets the operating system choose, here and below.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Port of APNs, production.
    #[arg(long, default_value_t = 0)]
    apns_port: u16,
    /// Port of APNs, sandbox.
    #[arg(long, default_value_t = 0)]
    apns_sandbox_port: u16,
    /// Port of FCM.
    #[arg(long, default_value_t = 0)]
    fcm_port: u16,
    /// Port of FCM's OAuth token endpoint.
    #[arg(long, default_value_t = 0)]
    fcm_token_port: u16,
    /// Port of the Web Push service.
    #[arg(long, default_value_t = 0)]
    webpush_port: u16,
    /// Port of the SMS gateway.
    #[arg(long, default_value_t = 0)]
    sms_port: u16,
    /// APNs and FCM without TLS, HTTP/2 with prior knowledge.
    #[arg(long)]
    plain: bool,
    /// The SMS gateway with TLS.
    #[arg(long)]
    sms_tls: bool,
    /// Where the authority's certificate is written as PEM.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Where the line of JSON is written, renamed into place when everything listens; standard output when absent.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Concurrent streams per APNs connection.
    #[arg(long, default_value_t = 1000)]
    apns_streams: u32,
    /// Announce one stream per APNs connection until a valid token was seen on it.
    #[arg(long)]
    apns_one_stream_until_valid: bool,
    /// Concurrent streams per FCM connection.
    #[arg(long, default_value_t = 100)]
    fcm_streams: u32,
    /// Refuse APNs and FCM tokens that were not declared.
    #[arg(long)]
    known_tokens_only: bool,
    /// Do not look at pushes as a device would: cheaper, for load.
    #[arg(long)]
    no_device_checks: bool,
    /// Bytes of headers and bodies that the ledger keeps.
    #[arg(long, default_value_t = 256 << 20)]
    keep_bytes: usize,
    /// PEM file of further authorities that https callbacks of delivery reports may chain to.
    #[arg(long)]
    report_ca: Option<PathBuf>,
}

/// What the starter needs to know.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    urls: &'a Urls,
    ca: Option<&'a Path>,
    pid: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let sim = Sim::start(config(&arguments)?).await?;
    let report = Report { urls: sim.urls(), ca: arguments.ca.as_deref(), pid: std::process::id() };
    let line = serde_json::to_string(&report)?;
    match &arguments.report {
        Some(path) => write_atomically(path, &line)?,
        None => say(&line),
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sim.stop().await;
    Ok(())
}

fn config(arguments: &Arguments) -> Result<Config, Failure> {
    let at = |port| SocketAddr::new(arguments.bind, port);
    let push = |port| Listen { address: at(port), tls: !arguments.plain };
    let report_ca = arguments.report_ca.as_ref().map(std::fs::read_to_string).transpose()?;
    Ok(Config {
        control: at(arguments.control_port),
        apns: push(arguments.apns_port),
        apns_sandbox: push(arguments.apns_sandbox_port),
        fcm: push(arguments.fcm_port),
        fcm_token: at(arguments.fcm_token_port),
        webpush: at(arguments.webpush_port),
        sms: Listen { address: at(arguments.sms_port), tls: arguments.sms_tls },
        public_host: arguments.public_host.clone(),
        ca_path: arguments.ca.clone(),
        apns_streams: arguments.apns_streams,
        apns_one_stream_until_valid: arguments.apns_one_stream_until_valid,
        fcm_streams: arguments.fcm_streams,
        known_tokens_only: arguments.known_tokens_only,
        check_devices: !arguments.no_device_checks,
        keep_bytes: arguments.keep_bytes,
        report_ca,
        ..Config::default()
    })
}

/// A reader sees nothing or the whole line.
fn write_atomically(path: &Path, line: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, format!("{line}\n"))?;
    std::fs::rename(&beside, path)
}

#[allow(clippy::disallowed_macros, reason = "the line is this program's output")]
fn say(line: &str) {
    println!("{line}");
}

#[allow(clippy::disallowed_macros, reason = "a program that cannot start says why")]
fn say_error(error: &Failure) {
    eprintln!("provider-sim: {error}");
}
