//! What makes something true for others passes few functions, and each of them has a failpoint: nothing commits, publishes, acknowledges,
//! calls a provider or answers a request beside them, and the fault run arms every point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carillon_failpoint::Point;

/// One kind of call: the words that make it, where sources are looked through, the files that may hold them, and how often.
struct Door {
    words: &'static [&'static str],
    within: &'static str,
    files: &'static [(&'static str, usize)],
}

const DOORS: &[Door] = &[
    // Migrations run before anything serves, and are repeated.
    Door {
        words: &[".commit().await"],
        within: "crates/carillon-store/src",
        files: &[("commit.rs", 1), ("migrate.rs", 1)],
    },
    Door { words: &["batch_execute(\"COMMIT\")"], within: "crates/carillon-store/src", files: &[("commit.rs", 2)] },
    // Whatever is no transaction is one statement, and whether it writes is asserted there.
    // Migrations look at what was applied, and at their lock; what is ready to be sent is sent inside a transaction.
    Door {
        words: &[
            "connection.query(",
            "connection.query_one(",
            "connection.query_opt(",
            "connection.execute(",
            "connection.execute_raw(",
            "connection.query_raw(",
            "connection.copy_in(",
            "connection.simple_query(",
        ],
        within: "crates/carillon-store/src",
        files: &[("statement.rs", 7), ("pool.rs", 2), ("migrate.rs", 3), ("begun.rs", 1)],
    },
    Door { words: &[".basic_publish("], within: "crates", files: &[("carillon-broker/src/door.rs", 1)] },
    Door { words: &[".basic_ack("], within: "crates", files: &[("carillon-broker/src/door.rs", 1)] },
    Door { words: &[".basic_nack(", ".basic_reject("], within: "crates", files: &[("carillon-broker/src/door.rs", 1)] },
    Door {
        words: &[".send_request("],
        within: "crates",
        files: &[("carillon-egress/src/pool/connection.rs", 1), ("provider-sim/src/sms/reports.rs", 1)],
    },
    Door { words: &["connection.send(head"], within: "crates/carillon-egress/src", files: &[("pool/exchange.rs", 1)] },
    // The operator's command is a caller; the token library's client goes through egress.
    Door {
        words: &["client.request("],
        within: "crates",
        files: &[("carillon-egress/src/client.rs", 1), ("carillon/src/http.rs", 1)],
    },
];

/// Functions that do it: file, the line that begins the function, and what it must hold.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("carillon-store/src/commit.rs", "pub(crate) async fn commit(", "point.around("),
    ("carillon-store/src/commit.rs", "pub(crate) async fn commit_by_hand(", "point.around("),
    ("carillon-store/src/commit.rs", "pub(crate) async fn commit_behind(", "point.around("),
    ("carillon-store/src/commit.rs", "pub(crate) async fn autocommit<", "point.around("),
    ("carillon-store/src/statement.rs", "pub(crate) async fn write_within(", "autocommit("),
    ("carillon-store/src/statement.rs", "pub(crate) async fn write_if_first(", "autocommit("),
    ("carillon-store/src/statement.rs", "pub(crate) async fn write_count(", "autocommit("),
    ("carillon-broker/src/door.rs", "pub(crate) async fn publish(", "through("),
    ("carillon-broker/src/door.rs", "pub(crate) async fn acknowledge(", "through("),
    ("carillon-broker/src/door.rs", "pub(crate) async fn give_back(", "through("),
    ("carillon-broker/src/door.rs", "async fn through<", ".around("),
    ("carillon-egress/src/pool/exchange.rs", "pub(super) async fn exchange(", "Point::ProviderCall.around("),
    ("carillon-egress/src/client.rs", "pub async fn send(", "Point::PlainCall.around("),
    ("ingest-api/src/http/frame.rs", "async fn answer(", "Point::RestAnswer.around("),
    ("ingest-api/src/grpc/call.rs", "pub(super) async fn answer<", "Point::GrpcAnswer.around("),
    ("status-collector/src/ledger.rs", "async fn answer<", "point.around("),
];

#[test]
fn nothing_is_committed_published_acknowledged_or_asked_beside_the_functions_with_a_failpoint() {
    for door in DOORS {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for file in sources(&root().join(door.within)) {
            let text = squeezed(&std::fs::read_to_string(&file).unwrap());
            let times: usize = door.words.iter().map(|word| text.matches(&squeezed(word)).count()).sum();
            if times > 0 {
                let name = file.strip_prefix(root().join(door.within)).unwrap().display().to_string();
                found.insert(name, times);
            }
        }
        let allowed: BTreeMap<String, usize> =
            door.files.iter().map(|(file, times)| ((*file).to_owned(), *times)).collect();
        assert_eq!(found, allowed, "{:?} within {}", door.words, door.within);
    }
}

#[test]
fn every_function_that_makes_something_true_for_others_has_its_failpoint() {
    for (file, begins, holds) in FUNCTIONS {
        let text = std::fs::read_to_string(root().join("crates").join(file)).unwrap();
        let body = text.split(begins).nth(1).unwrap_or_else(|| panic!("{file} has no {begins:?}"));
        // As rustfmt has it, a function ends where a brace closes at the depth at which it began.
        let line = text.lines().find(|line| line.contains(begins)).unwrap();
        let end = format!("\n{}}}", " ".repeat(line.len() - line.trim_start().len()));
        let body = body.split(&end).next().unwrap();
        assert!(body.contains(holds), "{begins:?} in {file} does its work outside of {holds:?}");
    }
}

#[test]
fn every_call_over_grpc_is_answered_by_the_function_with_the_failpoint() {
    let mut servers = 0;
    for file in sources(&root().join("crates")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for server in text.split("#[tonic::async_trait]").skip(1) {
            servers += 1;
            let server = server.split("\n}").next().unwrap();
            let methods = server.matches("async fn ").count();
            let answered = server.matches("answer(").count();
            assert_eq!(methods, answered, "{}: {methods} methods, {answered} answers", file.display());
        }
    }
    assert_eq!(servers, 3, "the ledger, notifications and devices");
}

#[test]
fn every_point_is_passed_by_code_and_armed_by_the_fault_run() {
    let list = root().join("crates/carillon-failpoint");
    let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
    let code: String =
        sources(&root().join("crates")).iter().filter(|file| !file.starts_with(&list)).map(read).collect();
    // Where something is published to says which point it passes.
    let published = read(&list.join("src/point.rs"));
    let armed = read(&root().join("tests/faults/rows/crash/cases.rs"));
    for point in Point::ALL {
        let passed = code.contains(&format!("Point::{point:?}")) || published.contains(&format!("Self::{point:?}"));
        assert!(passed, "{} is passed nowhere", point.name());
        assert!(armed.contains(&format!("Point::{point:?}")), "F3 does not arm {}", point.name());
    }
}

#[test]
fn what_is_published_has_the_point_of_its_kind() {
    use carillon_wire::topology::{self, RUNS_BULK, RUNS_TRANSACTIONAL};
    assert_eq!(Point::of_publishing(topology::STATUSES.name, "acme.shop.sent"), Point::PublishStatuses);
    assert_eq!(Point::of_publishing(topology::REPLIES.name, "dispatcher-x"), Point::PublishReplies);
    assert_eq!(Point::of_publishing(topology::REFUSED.name, "notification.refused"), Point::PublishRefused);
    for queue in [RUNS_BULK.name(), RUNS_TRANSACTIONAL.name()] {
        assert_eq!(Point::of_publishing(topology::WORK.name, queue), Point::PublishRuns);
    }
    for platform in carillon_domain::platform::Platform::ALL {
        for lane in carillon_domain::platform::Lane::ALL {
            let queue = topology::chunks(*platform, *lane).name();
            assert_eq!(Point::of_publishing(topology::WORK.name, queue), Point::PublishChunks);
        }
    }
    assert_eq!(Point::of_publishing("", topology::topology().parked()), Point::PublishParked);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Everything that is compiled into a service: no tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests" || stem == "target") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// Without white space, so that a chain of calls over several lines is one.
fn squeezed(text: &str) -> String {
    let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    code.flat_map(|line| line.chars().filter(|c| !c.is_whitespace())).collect()
}
