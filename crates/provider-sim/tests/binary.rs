//! The process: what it tells its starter, and how it ends.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

mod client;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use client::plain::Ask;
use serde_json::Value;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provider-sim"));
    Process(command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Signals by the `kill` of the system: it ends one process, the one given.
fn terminate(process: &Process) {
    assert!(Command::new("kill").arg(process.0.id().to_string()).status().unwrap().success());
}

#[tokio::test]
async fn it_prints_its_urls_serves_and_ends_when_told_to() {
    let ca = directory("printed").join("ca.pem");
    let mut process = start(&["--ca", ca.to_str().unwrap(), "--apns-streams", "7"]);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let report: Value = serde_json::from_str(&line).unwrap();
    for name in ["control", "ledger", "apns", "apns_sandbox", "fcm", "fcm_token", "webpush", "sms"] {
        assert!(report[name].as_str().is_some_and(|url| url.contains("://localhost:")), "{name}");
    }
    assert_eq!(report["pid"], process.0.id());
    let pem = std::fs::read_to_string(&ca).unwrap();
    let summary = Ask::get(format!("{}/summary", report["ledger"].as_str().unwrap())).send("").await.unwrap();
    assert_eq!(summary.status, 200);
    assert!(client::tls(report["apns"].as_str().unwrap(), &pem, &["h2"]).await.is_ok());
    terminate(&process);
    assert!(process.0.wait().unwrap().success());
}

#[tokio::test]
async fn it_writes_its_urls_to_a_file_in_one_piece() {
    let file = directory("written").join("sims.json");
    let _ = std::fs::remove_file(&file);
    let mut process = start(&["--report", file.to_str().unwrap()]);
    let there = async {
        while !file.exists() {
            assert!(process.0.try_wait().unwrap().is_none(), "it ended");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(client::DEADLINE, there).await.unwrap();
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(report["ca"], Value::Null);
    assert!(report["control"].is_string());
}

#[test]
fn it_says_why_it_cannot_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut process = start(&["--control-port", &port]);
    let mut line = String::new();
    BufReader::new(process.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), format!("provider-sim: cannot listen on 127.0.0.1:{port}"));
    assert!(!process.0.wait().unwrap().success());
}
