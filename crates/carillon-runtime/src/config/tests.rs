use std::io::Write as _;
use std::num::NonZeroU16;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
struct Service {
    amqp: Amqp,
    #[serde(default)]
    webpush: Webpush,
    secrets: Option<Secrets>,
}

#[derive(Debug, Deserialize)]
struct Amqp {
    url: Secret,
    #[serde(default)]
    prefetch: Option<NonZeroU16>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Plain,
    Tls,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Webpush {
    allow_hosts: Vec<String>,
    ports: Vec<u16>,
    strict: bool,
    ratio: f64,
    timeout: HumanDuration,
}

impl Default for Webpush {
    fn default() -> Self {
        let timeout = HumanDuration::from_secs(10);
        Self { allow_hosts: Vec::new(), ports: Vec::new(), strict: true, ratio: 0.5, timeout }
    }
}

#[derive(Debug, Deserialize)]
struct Secrets {
    key: Secret,
    #[allow(dead_code, reason = "only its absence is looked at")]
    more: u32,
}

impl ServiceConfig for Service {
    const SECTIONS: &'static [&'static str] = &["amqp", "webpush", "secrets"];

    fn faults(&self) -> Vec<(&'static str, String)> {
        match self.webpush.ratio > 1.0 {
            true => vec![("webpush.ratio", "must be at most 1".to_owned())],
            false => Vec::new(),
        }
    }
}

const URL: (&str, &str) = ("CARILLON_AMQP__URL", "amqp://guest:sesame@localhost");

fn read(variables: &[(&str, &str)]) -> Result<Service, Faults> {
    load(None, variables.iter().copied())
}

fn refused(variables: &[(&str, &str)], expected: Expect) {
    let text = read(variables).unwrap_err().to_string();
    assert!(!text.contains("sesame"), "a fault quotes a value");
    expected.assert_eq(&text);
}

/// A file in the system's temporary directory, gone when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("carillon-{}-{name}.toml", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn texts_of_the_environment_become_numbers_booleans_durations_and_lists() {
    let service = read(&[
        URL,
        ("CARILLON_AMQP__PREFETCH", "64"),
        ("CARILLON_AMQP__MODE", "tls"),
        ("CARILLON_WEBPUSH__ALLOW_HOSTS", "localhost:8443, push.example.com ,"),
        ("CARILLON_WEBPUSH__PORTS", "443,8443"),
        ("CARILLON_WEBPUSH__STRICT", "false"),
        ("CARILLON_WEBPUSH__RATIO", "0.25"),
        ("CARILLON_WEBPUSH__TIMEOUT", "200ms"),
    ])
    .unwrap();
    assert_eq!(service.amqp.url.expose(), URL.1);
    assert_eq!(service.amqp.prefetch, NonZeroU16::new(64));
    assert_eq!(service.amqp.mode, Mode::Tls);
    assert_eq!(service.webpush.allow_hosts, ["localhost:8443", "push.example.com"]);
    assert_eq!(service.webpush.ports, [443, 8443]);
    assert!(!service.webpush.strict);
    assert!((service.webpush.ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(service.webpush.timeout, HumanDuration::from_millis(200));
}

#[test]
fn a_text_that_looks_like_a_number_stays_a_text() {
    let service = read(&[("CARILLON_AMQP__URL", "0123")]).unwrap();
    assert_eq!(service.amqp.url.expose(), "0123");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = TempFile::new(
        "layers",
        "[amqp]\nurl = 'amqp://file'\nprefetch = 8\n[webpush]\nallow_hosts = ['a', 'b']\nratio = 1\n",
    );
    let service: Service = load(Some(&file.0), [URL]).unwrap();
    assert_eq!(service.amqp.url.expose(), URL.1);
    assert_eq!(service.amqp.prefetch, NonZeroU16::new(8));
    assert_eq!(service.webpush.allow_hosts, ["a", "b"]);
    assert_eq!(service.webpush.timeout, HumanDuration::from_secs(10));
}

#[test]
fn sections_of_other_services_and_foreign_variables_are_left_alone() {
    let service = read(&[
        URL,
        ("CARILLON_DATABASE__URL", "postgres://"),
        ("CARILLON_DATABASE__WHATEVER", "1"),
        ("CARILLON_AMQP_SERVICE_HOST", "10.0.0.1"),
        ("CARILLON_AMQP_PORT", "tcp://10.0.0.1:5672"),
        ("CARILLON_AMQP_PORT_5672_TCP_ADDR", "10.0.0.1"),
        ("CARILLON_INGEST_API_SERVICE_PORT_HTTP", "80"),
        ("CARILLON_SOMETHING", "1"),
        ("CARILLON_WEBPUSH__RATIO", ""),
        ("PATH", "/bin"),
    ]);
    assert!(service.is_ok(), "{service:?}");
}

#[test]
fn every_fault_is_named_with_the_key_and_the_nearest_known_one() {
    refused(
        &[
            ("CARILLON_AMPQ__URL", "amqp://guest:sesame@localhost"),
            ("CARILLON_HTTP", "1"),
            ("CARILLON_AMQP_URL", "amqp://guest:sesame@localhost"),
        ],
        expect![[r#"
            - CARILLON_AMPQ is no section; the nearest is `amqp`
            - CARILLON_AMQP_URL needs two underscores after the section: CARILLON_AMQP__URL
            - CARILLON_HTTP needs two underscores after the section: CARILLON_HTTP__<KEY>"#]],
    );
    refused(
        &[
            ("CARILLON_AMQP__URLL", "amqp://guest:sesame@localhost"),
            ("CARILLON_AMQP__PREFETCH", "sesame"),
            ("CARILLON_AMQP__MODE", "sesame"),
            ("CARILLON_WEBPUSH__PORTS", "443,sesame,70000"),
            ("CARILLON_WEBPUSH__STRICT", "sesame"),
            ("CARILLON_WEBPUSH__TIMEOUT", "5"),
            ("CARILLON_SECRETS__KEYS", "sesame"),
        ],
        expect![[r#"
            - CARILLON_AMQP__MODE must be one of plain, tls; the nearest is `plain`
            - CARILLON_AMQP__PREFETCH must be a whole number, not a text
            - CARILLON_AMQP__URLL is no known key; the nearest is `url`
            - CARILLON_SECRETS__KEYS is no known key; the nearest is `key`
            - CARILLON_WEBPUSH__PORTS__1 must be a whole number, not a text
            - CARILLON_WEBPUSH__PORTS__2 does not fit: must be a whole number of type u16
            - CARILLON_WEBPUSH__STRICT must be true or false, not a text
            - CARILLON_WEBPUSH__TIMEOUT is not a duration with a unit, such as 200ms, 5s or 1m30s
            - amqp.url (CARILLON_AMQP__URL) is missing
            - secrets.key (CARILLON_SECRETS__KEY) is missing
            - secrets.more (CARILLON_SECRETS__MORE) is missing"#]],
    );
}

#[test]
fn what_is_missing_in_an_absent_section_is_named_and_an_optional_section_may_be_absent() {
    refused(&[], expect!["- amqp.url (CARILLON_AMQP__URL) is missing"]);
    assert!(read(&[URL]).unwrap().secrets.is_none());
    let with = read(&[URL, ("CARILLON_SECRETS__KEY", "k"), ("CARILLON_SECRETS__MORE", "1")]).unwrap();
    assert_eq!(with.secrets.unwrap().key.expose(), "k");
}

#[test]
fn what_a_service_finds_wrong_by_itself_is_a_fault_too() {
    refused(
        &[URL, ("CARILLON_WEBPUSH__RATIO", "1.5")],
        expect!["- webpush.ratio (CARILLON_WEBPUSH__RATIO) must be at most 1"],
    );
}

#[test]
fn faults_in_a_file_name_the_file() {
    let text = |toml: &str| {
        let file = TempFile::new("faults", toml);
        load::<Service>(Some(&file.0), [URL; 0]).unwrap_err().to_string()
    };
    expect![[r#"
        - amq in the configuration file is no section; the nearest is `amqp`
        - tls in the configuration file is a section, not a value"#]]
    .assert_eq(&text("tls = 1\n[amqp]\nurl = 'x'\n[amq]\nx = 1\n"));
    expect![[r#"
        - amqp.prefech in the configuration file is no known key; the nearest is `prefetch`
        - amqp.prefetch in the configuration file must be a whole number, not a text
        - webpush.allow_hosts in the configuration file must be a list, not a table"#]]
    .assert_eq(&text("[amqp]\nurl = 'x'\nprefech = 8\nprefetch = 'y'\n[webpush.allow_hosts]\n"));
}

#[test]
fn a_file_that_is_not_there_or_is_not_toml_is_a_fault() {
    assert!(load::<Service>(Some(Path::new("/nowhere/carillon.toml")), [URL]).is_err());
    let file = TempFile::new("broken", "[amqp]\nurl = \"sesame\n");
    let faults = load::<Service>(Some(&file.0), [URL]).unwrap_err().to_string();
    assert!(faults.contains("broken.toml cannot be read: TOML parse error at line 2"), "{faults}");
    assert!(!faults.contains("sesame"), "{faults}");
}
