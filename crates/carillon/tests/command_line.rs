//! The command as people and scripts meet it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn carillon(words: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carillon"));
    // What the machine that runs the tests has set is nobody's business here.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARILLON_")) {
        command.env_remove(name);
    }
    command.args(words).envs(settings.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_command_explains_itself() {
    let commands: [&[&str]; 14] = [
        &[],
        &["dev"],
        &["demo"],
        &["migrate"],
        &["topology"],
        &["config"],
        &["config", "check"],
        &["parked"],
        &["parked", "list"],
        &["parked", "replay"],
        &["operator-key"],
        &["operator-key", "create"],
        &["kind-keys"],
        &["send"],
    ];
    for command in commands {
        let words: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let output = carillon(&words, &[]);
        assert!(output.status.success(), "{command:?}");
        let text = said(&output);
        assert!(text.contains("Usage: carillon") && text.lines().count() > 5, "{command:?}: {text}");
    }
}

#[test]
fn a_word_that_is_no_command_exits_64() {
    let output = carillon(&["demonstrate"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("demonstrate"));
}

#[test]
fn a_bad_variable_exits_64_and_is_named_without_its_value() {
    for (name, value, named) in [
        ("CARILLON_DATABSE__URL", "postgres://hunter2", "CARILLON_DATABSE is no section"),
        ("CARILLON_AMQP_URL", "amqp://hunter2", "CARILLON_AMQP__URL"),
    ] {
        let output = carillon(&["config", "check"], &[(name, value)]);
        assert_eq!(output.status.code(), Some(64), "{}", said(&output));
        assert!(said(&output).contains(named) && !said(&output).contains("hunter2"), "{}", said(&output));
    }
}

#[test]
fn a_command_that_lacks_its_database_says_which_variable_names_it() {
    let output = carillon(&["migrate"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("CARILLON_DATABASE__URL"), "{}", said(&output));
}

#[test]
fn the_topology_is_printed_as_a_table_and_as_definitions() {
    let table = carillon(&["topology"], &[]);
    assert!(table.status.success() && said(&table).contains("queue dispatcher-apns.bulk"));
    let definitions = carillon(&["topology", "--definitions", "--vhost", "push"], &[]);
    let read: serde_json::Value = serde_json::from_slice(&definitions.stdout).unwrap();
    assert_eq!(read["policies"][0]["vhost"], "push");
}

#[test]
fn dev_wants_the_root_of_a_checkout() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carillon"));
    let output = command.arg("dev").current_dir(std::env::temp_dir()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("deploy/local/stack.sh"));
}

#[test]
fn the_keys_of_a_kind_open_what_the_master_keys_sealed_and_nothing_of_another_kind() {
    let masters = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=,CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
    let context = carillon_vault::Context { tenant: "t", app: Some("a"), kind: "apns", version: 1 };
    let vault = carillon_vault::Vault::from_list(masters).unwrap();
    let sealed = vault.for_kind("apns").unwrap().seal(&context, b"secret").unwrap();
    let printed = |kind: &str| {
        let output = carillon(&["kind-keys", kind], &[("CARILLON_SECRETS__KEY", masters)]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let vault_of = |text: &str| carillon_vault::KindVault::new(carillon_vault::KindKeys::parse("apns", text).unwrap());
    assert_eq!(vault_of(&printed("apns")).open(&context, &sealed).unwrap().expose(), b"secret");
    assert!(vault_of(&printed("sms")).open(&context, &sealed).is_err());

    let output = carillon(&["kind-keys", "apns"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("CARILLON_SECRETS__KEY"), "{}", said(&output));
}

#[test]
fn parked_messages_are_not_counted_without_a_ledger_that_is_named_wrongly() {
    for command in [["parked", "list"], ["parked", "replay"]] {
        let settings =
            [("CARILLON_AMQP__URL", "amqp://x:x@127.0.0.1:1/x"), ("CARILLON_DATABASE__URL", "nonsense-hunter2")];
        let output = carillon(&command, &settings);
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", said(&output));
        assert!(said(&output).contains("database") && !said(&output).contains("hunter2"), "{}", said(&output));
    }
}
