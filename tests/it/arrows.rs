//! The plan of the house holds in the code: who may depend on whom, which foreign library belongs to which crate, and what no
//! service contains. ARCHITECTURE.md shows the same tables to people.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// crate: the crates of ours that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("carillon-domain", &[]),
    ("carillon-telemetry", &[]),
    ("carillon-vault", &[]),
    (FAILPOINT, &[]),
    ("provider-sim", &[]),
    ("carillon-payload", &["carillon-domain"]),
    ("carillon-store", &["carillon-domain"]),
    ("carillon-runtime", &["carillon-telemetry"]),
    ("carillon-egress", &["carillon-telemetry"]),
    ("carillon-broker", &["carillon-telemetry"]),
    ("carillon-wire", &["carillon-domain", "carillon-broker"]),
    (
        "carillon-dispatch",
        &[
            "carillon-domain",
            "carillon-payload",
            "carillon-wire",
            "carillon-broker",
            "carillon-egress",
            "carillon-vault",
            "carillon-runtime",
            "carillon-telemetry",
        ],
    ),
    (
        "ingest-api",
        &[
            "carillon-domain",
            "carillon-payload",
            "carillon-wire",
            "carillon-broker",
            "carillon-store",
            "carillon-vault",
            "carillon-runtime",
            "carillon-telemetry",
        ],
    ),
    (
        "segmenter",
        &[
            "carillon-domain",
            "carillon-payload",
            "carillon-wire",
            "carillon-broker",
            "carillon-store",
            "carillon-runtime",
            "carillon-telemetry",
        ],
    ),
    (
        "status-collector",
        &[
            "carillon-domain",
            "carillon-wire",
            "carillon-broker",
            "carillon-store",
            "carillon-runtime",
            "carillon-telemetry",
        ],
    ),
    (
        "sms-cascade",
        &[
            "carillon-domain",
            "carillon-wire",
            "carillon-broker",
            "carillon-store",
            "carillon-egress",
            "carillon-vault",
            "carillon-runtime",
            "carillon-telemetry",
        ],
    ),
    ("dispatcher-apns", DISPATCHER),
    ("dispatcher-fcm", DISPATCHER),
    ("dispatcher-webpush", DISPATCHER),
];

/// No store: that is what lets dispatchers scale freely.
const DISPATCHER: &[&str] =
    &["carillon-dispatch", "carillon-domain", "carillon-egress", "carillon-runtime", "carillon-telemetry"];

/// Everybody may use it: what a process is told to do to itself is decided where the process meets the outside.
const FAILPOINT: &str = "carillon-failpoint";

/// They may use everything, and nobody may use them.
const ABOVE_ALL: &[&str] = &["carillon", TESTS];

/// This package looks at everything from outside, the database included.
const TESTS: &str = "carillon-tests";

/// What anybody's tests may use beside the crate's own row.
const FOR_TESTS: &str = "provider-sim";

/// library: the crates that may use it outside their tests.
const OWNERS: &[(&str, &[&str])] = &[
    ("lapin", &["carillon-broker"]),
    ("tokio-postgres", &["carillon-store"]),
    ("deadpool-postgres", &["carillon-store"]),
    // Generated code is wire's; the public doors decode bodies and meet the well-known types inside generated messages.
    ("prost", &["carillon-wire", "ingest-api"]),
    ("prost-types", &["carillon-wire", "ingest-api"]),
    ("tonic-prost", &["carillon-wire"]),
    ("tonic-prost-build", &["carillon-wire"]),
    ("protox", &["carillon-wire"]),
    // Generated code is wire's; whoever serves or calls it needs the transport.
    ("tonic", &["carillon-wire", "carillon-dispatch", "ingest-api", "status-collector", "carillon"]),
    ("tonic-health", &["ingest-api", "status-collector"]),
    ("tonic-reflection", &["ingest-api"]),
    ("h2", &["carillon-egress", "provider-sim"]),
    // Clients of strangers are egress'; the others serve, are the operator's own client, or lead a library's client through egress.
    ("hyper", &["carillon-egress", "ingest-api", "dispatcher-fcm", "provider-sim", "carillon"]),
    ("axum", &["carillon-runtime", "ingest-api", "provider-sim"]),
    ("a2", &["dispatcher-apns"]),
    ("yup-oauth2", &["dispatcher-fcm"]),
    ("opentelemetry", &["carillon-telemetry"]),
    ("opentelemetry_sdk", &["carillon-telemetry"]),
    ("opentelemetry-otlp", &["carillon-telemetry"]),
    ("opentelemetry-prometheus", &[]),
    ("tracing-opentelemetry", &["carillon-telemetry"]),
    ("tracing-subscriber", &["carillon-telemetry"]),
    ("prometheus", &["carillon-telemetry"]),
    // Sealing is vault's; the others make key pairs or tokens, or do their provider's own cryptography.
    (
        "ring",
        &[
            "carillon-vault",
            "dispatcher-apns",
            "dispatcher-fcm",
            "dispatcher-webpush",
            "ingest-api",
            "carillon",
            "provider-sim",
        ],
    ),
    ("config", &["carillon-runtime"]),
    ("anyhow", &["carillon"]),
];

/// Ring is the one crypto provider; a second TLS stack or provider must not slip in through a dependency.
const NEVER: &[&str] = &["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

/// words: the one crate whose code may hold them.
const WORDS: &[(&[&str], &str)] = &[
    (&["lapin::", "basic_publish", "basic_ack", "BasicProperties"], "carillon-broker"),
    (&["tokio_postgres::", "SELECT ", "INSERT INTO ", "DELETE FROM ", "ON CONFLICT"], "carillon-store"),
    (&["opentelemetry::", "prometheus::"], "carillon-telemetry"),
];

#[test]
fn every_crate_depends_only_on_what_its_row_of_the_arrow_table_names() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for krate in workspace() {
        let name = krate.name.as_str();
        let Some(row) = arrows.get(name) else {
            if !ABOVE_ALL.contains(&name) {
                faults.push(format!("{name} has no row in the arrow table"));
            }
            continue;
        };
        let mut row = owned(row);
        row.insert(FAILPOINT.to_owned());
        faults.extend(krate.uses.difference(&row).map(|to| format!("{name} -> {to}")));
        let mut tests = row;
        tests.insert(FOR_TESTS.to_owned());
        faults.extend(krate.uses_in_tests.difference(&tests).map(|to| format!("{name} -> {to}, in its tests")));
    }
    assert_eq!(faults, Vec::<String>::new(), "arrows that the table does not have");
}

#[test]
fn the_arrow_table_has_no_circle_and_every_row_has_a_crate() {
    let mut left: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let names: BTreeSet<String> = workspace().into_iter().map(|krate| krate.name).collect();
    for name in left.keys() {
        assert!(names.contains(*name), "{name} is in the table and not in the workspace");
    }
    while !left.is_empty() {
        let leaves: Vec<&str> = left.iter().filter(|(_, to)| to.is_empty()).map(|(from, _)| *from).collect();
        assert!(!leaves.is_empty(), "a circle among {:?}", left.keys());
        for leaf in leaves {
            left.remove(leaf);
            for to in left.values_mut() {
                to.remove(leaf);
            }
        }
    }
}

#[test]
fn no_service_depends_on_another_service() {
    let services = services();
    for krate in workspace().into_iter().filter(|krate| services.contains(&krate.name)) {
        let others: Vec<_> = krate.uses.union(&krate.uses_in_tests).filter(|to| services.contains(*to)).collect();
        assert!(others.is_empty(), "{} -> {others:?}", krate.name);
    }
}

#[test]
fn a_foreign_library_is_used_by_its_owner_only() {
    let owners: BTreeMap<&str, &[&str]> = OWNERS.iter().copied().collect();
    let mut faults = Vec::new();
    for krate in workspace().into_iter().filter(|krate| krate.name != TESTS) {
        for library in &krate.foreign {
            if let Some(row) = owners.get(library.as_str())
                && !row.contains(&krate.name.as_str())
            {
                faults.push(format!("{} uses {library}, which is for {row:?}", krate.name));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn one_crypto_provider_and_no_second_tls_stack_is_in_the_tree() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for name in NEVER {
        assert!(
            !lock.contains(&format!("name = \"{name}\"\n")),
            "{name} is in Cargo.lock; cargo tree -i {name} says why"
        );
    }
}

#[test]
fn sql_amqp_and_opentelemetry_are_spoken_in_one_crate_each() {
    let mut faults = Vec::new();
    for krate in workspace().into_iter().filter(|krate| krate.name != TESTS) {
        for file in sources(&krate.directory.join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            for (words, owner) in WORDS.iter().filter(|(_, owner)| *owner != krate.name) {
                faults.extend(
                    words
                        .iter()
                        .filter(|word| code_holds(&text, word))
                        .map(|word| format!("{}: {word:?} belongs to {owner}", file.display())),
                );
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn the_architecture_page_shows_every_crate() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for krate in workspace() {
        assert!(page.contains(&format!("`{}`", krate.name)), "ARCHITECTURE.md does not name {}", krate.name);
    }
}

/// A member of the workspace, as `cargo metadata` has it.
struct Member {
    name: String,
    directory: PathBuf,
    /// Crates of ours, outside its tests.
    uses: BTreeSet<String>,
    uses_in_tests: BTreeSet<String>,
    /// Libraries of others, outside its tests; those of its build script too.
    foreign: BTreeSet<String>,
}

fn workspace() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > ARROWS.len(), "the whole workspace is looked at");
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Member {
    let dependencies = package["dependencies"].as_array().unwrap();
    let names = |ours: bool, tests: bool| {
        dependencies
            .iter()
            .filter(|d| d["path"].is_string() == ours && (d["kind"] == "dev") == tests)
            .map(|d| d["name"].as_str().unwrap().to_owned())
            .collect()
    };
    Member {
        name: package["name"].as_str().unwrap().to_owned(),
        directory: Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_path_buf(),
        uses: names(true, false),
        uses_in_tests: names(true, true),
        foreign: names(false, false),
    }
}

/// Everything that runs and is not the operator's: the crates without the prefix.
fn services() -> BTreeSet<String> {
    ARROWS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .filter(|name| !name.starts_with("carillon") && name != FOR_TESTS)
        .collect()
}

fn owned(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All but what is compiled for tests only.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
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

/// Whether a line that is no comment holds the word.
fn code_holds(text: &str, word: &str) -> bool {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")).any(|line| line.contains(word))
}
