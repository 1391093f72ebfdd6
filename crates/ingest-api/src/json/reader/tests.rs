use super::super::findings::{MOST_FAULTS, Unknown};
use super::*;
use serde_json::{Map, Value, json};

fn read<T>(
    value: Value,
    unknown: Unknown,
    read: impl FnOnce(&mut Object<'_>) -> T,
) -> (Option<T>, Vec<(String, String)>, Vec<String>) {
    let findings = Findings::new(unknown);
    let value = Json::from(value);
    let read = Object::root(&value, &findings).map(|mut object| read(&mut object));
    let (faults, ignored) = findings.into_parts();
    (read, faults.as_slice().iter().map(|f| (f.pointer.clone(), f.detail.clone())).collect(), ignored)
}

#[test]
fn every_fault_is_found_at_once_with_its_pointer() {
    let body = json!({"name": 7, "age": 200, "on": "yes", "at": "today", "for": "1y", "tags": ["a", 1, {}],
                      "sub": {"x": 1, "deep/er": 2}, "long": "abcdef", "nul": "a\0b"});
    let (_, faults, _) = read(body, Unknown::Refuse, |o| {
        let mut sub = o.object("sub").unwrap();
        sub.integer("x", 0..=5);
        sub.finish();
        assert_eq!((o.text("name", 10), o.text("missing", 10)), (None, None));
        assert_eq!((o.integer("age", 0..=150), o.boolean("on")), (None, None));
        assert_eq!((o.time("at"), o.duration("for"), o.texts("tags", 5, 10)), (None, None, None));
        assert_eq!((o.opt_text("long", 3), o.opt_text("nul", 9)), (None, None));
    });
    let pointers: Vec<&str> = faults.iter().map(|f| f.0.as_str()).collect();
    let expected =
        ["/sub/deep~1er", "/name", "/missing", "/age", "/on", "/at", "/for", "/tags/1", "/tags/2", "/long", "/nul"];
    assert_eq!(pointers, expected);
}

#[test]
fn a_merge_tells_absent_from_cleared() {
    let body = json!({"cleared": null, "given": "x", "wrong": 1});
    let (read, faults, _) = read(body, Unknown::Refuse, |o| {
        ["absent", "cleared", "given", "wrong"].map(|name| o.merge(name, |o, n| o.opt_text(n, 9)))
    });
    assert_eq!(read.unwrap(), [None, Some(None), Some(Some("x".to_owned())), None]);
    assert_eq!(faults.len(), 1);
}

#[test]
fn an_app_may_send_fields_that_the_server_does_not_know_yet() {
    let (_, faults, ignored) = read(json!({"a": 1, "b": {"c": 1}}), Unknown::Ignore, |o| {
        o.integer("a", 0..=9);
        drop(o.object("b"));
    });
    assert_eq!((faults, ignored), (vec![], vec!["/b/c".to_owned()]));
}

#[test]
fn whole_seconds_and_units_are_the_same_duration() {
    let (read, faults, _) = read(json!({"a": "2m", "b": 120, "c": "120"}), Unknown::Refuse, |o| {
        ["a", "b", "c"].map(|name| o.duration(name).map(|s| s.0))
    });
    assert_eq!((read.unwrap(), faults), ([Some(120); 3], vec![]));
}

#[test]
fn a_whole_number_may_be_written_with_a_fraction_of_nothing_and_no_other_fraction() {
    let body = json!({"a": 3.0, "b": 3e2, "c": -0.0, "d": 120.0, "e": 3.5, "f": 1e300, "g": "3", "h": 9.0, "i": -1.0});
    let (read, faults, _) = read(body, Unknown::Refuse, |o| {
        let numbers = ["a", "b", "c"].map(|name| o.integer(name, 0..=300));
        let duration = o.duration("d").map(|s| s.0);
        let wrong = ["e", "f", "g", "h"].map(|name| o.integer(name, 0..=5));
        (numbers, duration, wrong, o.duration("i"))
    });
    assert_eq!(read.unwrap(), ([Some(3), Some(300), Some(0)], Some(120), [None; 4], None));
    let at: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(at, ["/e", "/f", "/g", "/h", "/i"]);
    assert_eq!(faults[0].1, "must be a whole number from 0 to 5");
}

#[test]
fn what_is_no_object_is_one_fault() {
    for body in [json!([]), json!(1), json!("x"), Value::Null] {
        let (read, faults, _) = read(body, Unknown::Refuse, |_| ());
        assert_eq!((read, faults), (None, vec![(String::new(), "must be an object".to_owned())]));
    }
}

#[test]
fn a_body_of_nothing_but_faults_is_answered_with_a_hundred() {
    let body: Map<String, Value> = (0..5_000).map(|i| (format!("k{i}"), Value::Null)).collect();
    let (_, faults, _) = read(Value::Object(body), Unknown::Refuse, |_| ());
    assert_eq!(faults.len(), MOST_FAULTS);
}
