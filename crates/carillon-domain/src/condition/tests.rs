use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Expression {
    Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).root
}

fn term(text: &str) -> Term {
    match parse(text) {
        Expression::Term(term) => term,
        other => panic!("{text} is {other:?}"),
    }
}

fn fault(text: &str) -> String {
    Condition::parse(text).expect_err(text).to_string()
}

fn tag(name: &str) -> Expression {
    Expression::Term(Term::HasTag(name.into()))
}

fn attribute(name: &str) -> Field {
    Field::Attribute(name.into())
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    let read = parse("tags has 'a' or not tags has 'b' and tags has 'c'");
    let not_b = Expression::Not(Box::new(tag("b")));
    assert_eq!(read, Expression::Any(vec![tag("a"), Expression::All(vec![not_b, tag("c")])]));
    let read = parse("(tags has 'a' or tags has 'b') and tags has 'c'");
    assert_eq!(read, Expression::All(vec![Expression::Any(vec![tag("a"), tag("b")]), tag("c")]));
}

#[test]
fn words_may_be_in_capitals_and_blanks_are_where_one_likes_them() {
    let read = parse(" tags HAS 'a'\tOR\n(NOT tags has 'b') ");
    assert_eq!(read, Expression::Any(vec![tag("a"), Expression::Not(Box::new(tag("b")))]));
    let tight = term("attributes.age>=18");
    assert_eq!(tight, Term::Compare(attribute("age"), Comparison::AtLeast, Value::Number("18".into())));
}

#[test]
fn a_quote_in_a_text_is_written_twice() {
    assert_eq!(term("tags has 'it''s'"), Term::HasTag("it's".into()));
    assert_eq!(term("tags has ''"), Term::HasTag(String::new()));
    assert_eq!(fault("tags has 'it's'"), "character 14: expected `and`, `or`, or the end");
    assert_eq!(fault("tags has 'abc"), "character 10: expected a text that ends: its closing quote is missing");
}

#[test]
fn values_are_texts_numbers_truths_and_times() {
    let value = |text: &str| match term(&format!("attributes.x = {text}")) {
        Term::Compare(_, Comparison::Equal, value) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(value("'31'"), Value::Text("31".into()));
    assert_eq!(value("-2.50"), Value::Number("-2.50".into()));
    assert_eq!(value("true"), Value::Boolean(true));
    assert_eq!(value("2026-12-01T09:00:00Z"), Value::Time("2026-12-01T09:00:00Z".parse().unwrap()));
    assert_eq!(value("2026-12-01T10:00:00.5+01:00"), Value::Time("2026-12-01T09:00:00.5Z".parse().unwrap()));
    assert_eq!(value("now()"), Value::FromNow(SignedDuration::ZERO));
    assert_eq!(value("now() - 30d"), Value::FromNow(SignedDuration::from_hours(-720)));
    assert_eq!(value("now()+90s"), Value::FromNow(SignedDuration::from_secs(90)));
}

#[test]
fn a_time_may_stand_in_quotes_where_only_a_time_can_be_meant() {
    let time = Value::Time("2026-12-01T09:00:00Z".parse().unwrap());
    let read = term("last_seen_at < '2026-12-01T09:00:00Z'");
    assert_eq!(read, Term::Compare(Field::Known(KnownField::LastSeenAt), Comparison::Less, time));
}

#[test]
fn a_year_has_four_digits() {
    for time in ["-009999-01-01T00:00:00Z", "+012345-01-01T00:00:00Z"] {
        assert!(fault(&format!("attributes.x > {time}")).contains("RFC 3339"), "{time}");
        assert!(fault(&format!("last_seen_at > '{time}'")).contains("a time such as"), "{time}");
    }
    assert!(Condition::parse("last_seen_at > 0001-01-01T00:00:00Z").is_ok());
}

#[test]
fn an_attribute_with_any_name_stands_in_quotes() {
    assert_eq!(term("attributes.'favourite colour' exists"), Term::Exists(attribute("favourite colour")));
    assert_eq!(term("attributes.żółw-1 exists"), Term::Exists(attribute("żółw-1")));
    assert!(fault("attributes. = 1").starts_with("character 12: expected the attribute's name"));
}

#[test]
fn a_list_has_at_least_one_value() {
    let known = Field::Known(KnownField::Locale);
    let values = vec![Value::Text("pl".into()), Value::Text("pl-PL".into())];
    assert_eq!(term("locale in ['pl', 'pl-PL']"), Term::In(known, values));
    assert!(fault("locale in []").starts_with("character 12: expected a value"));
    assert_eq!(fault("locale in ['pl'"), "character 16: expected `,` or `]`");
}

#[test]
fn every_comparison_is_read() {
    for comparison in Comparison::ALL {
        let read = term(&format!("attributes.x {} 'v'", comparison.as_str()));
        assert_eq!(read, Term::Compare(attribute("x"), *comparison, Value::Text("v".into())));
    }
}

#[test]
fn what_a_field_cannot_be_compared_with_is_told_at_its_place() {
    let cases = [
        ("platform = 'apple'", "character 12: expected one of apns, fcm, webpush, in quotes"),
        ("platform < 'fcm'", "character 10: expected one of =, !=, in, exists after `platform`"),
        ("os in ['ios', 'tizen']", "character 15: expected one of ios, android, web, macos, other, in quotes"),
        ("permission = true", "character 14: expected one of granted, denied, unknown, in quotes"),
        ("app_version > 'new'", "character 15: expected a version in quotes, such as '4.2.0'"),
        ("app_version > 4.2", "character 15: expected a version in quotes, such as '4.2.0'"),
        ("user_id = 17", "character 11: expected a text in quotes"),
        ("last_seen_at in [now()]", "character 14: expected one of =, !=, <, <=, >, >=, exists after `last_seen_at`"),
        ("last_seen_at > 'soon'", "character 16: expected a time such as 2026-12-01T09:00:00Z or now() - 30d"),
        ("last_seen_at > 5", "character 16: expected a time such as 2026-12-01T09:00:00Z or now() - 30d"),
        ("attributes.x contains 1", "character 23: expected a text in quotes"),
        ("attributes.x > true", "character 16: expected a text, number or time: true and false have no order"),
        ("tags = 'vip'", "character 6: expected `has`, as in tags has 'vip'"),
        ("last_seen_at > now() - soon", "character 24: expected a duration such as 90s, 30m, 2h, 7d, 4w"),
        ("attributes.x = now", "character 19: expected `now()`"),
        ("(tags has 'a'", "character 14: expected `and`, `or`, or `)`"),
        (
            "żółw = 1 or colour = 'red'",
            "character 1: expected a field: tags, attributes.NAME, platform, os, permission, locale, timezone, user_id, app_version, os_version, registered_at, last_seen_at, last_sent_at",
        ),
        (
            "attributes.żółw == 1",
            "character 18: expected a value: 'text', a number, true, false, an RFC 3339 time such as 2026-12-01T09:00:00Z, or now() - 30d",
        ),
        ("attributes.x ~ 1", "character 14: expected one of =, !=, <, <=, >, >=, starts_with, contains, in, exists"),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected, "{text}");
    }
    assert!(fault("").starts_with("character 1: expected a field"));
    assert!(fault("tags has 'a' and").starts_with("character 17: expected a field"));
}

#[test]
fn versions_are_numbers_and_what_comes_before_a_release() {
    for good in ["4", "4.2", "4.2.0", "v1.0", "4.2.0-beta.1", "4.2.0+17", "10.0.19041.1"] {
        assert!(Condition::parse(&format!("os_version >= '{good}'")).is_ok(), "{good}");
    }
    for bad in ["", "beta", "4.", ".4", "4..2", "4.2 beta", "4.2-", "４"] {
        assert!(Condition::parse(&format!("os_version >= '{bad}'")).is_err(), "{bad}");
    }
    assert!(Condition::parse("os_version starts_with '4.'").is_ok());
}

#[test]
fn size_terms_and_depth_are_bounded() {
    let terms = |n: usize| vec!["tags has 'a'"; n].join(" or ");
    assert!(Condition::parse(&terms(50)).is_ok());
    assert_eq!(fault(&terms(51)), "character 1: expected at most 50 terms; there are 51");
    let long = format!("tags has '{}'", "x".repeat(4086));
    assert_eq!(fault(&long), "character 1: expected at most 4096 bytes; it has 4097");
    let deep = |n: usize| format!("{}tags has 'a'{}", "(".repeat(n), ")".repeat(n));
    assert!(Condition::parse(&deep(32)).is_ok());
    assert_eq!(fault(&deep(33)), "character 34: expected at most 32 levels of parentheses and `not`");
    assert!(fault(&"not ".repeat(1_000)).contains("at most 32 levels"));
}

#[test]
fn no_text_has_the_character_that_the_database_has_not() {
    assert_eq!(fault("tags has 'a\0b'"), "character 12: expected a text without U+0000");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_a_fault_lies_within_it(text in any::<String>()) {
        if let Err(error) = Condition::parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.character));
        }
    }

    /// Made of its own words, a text gets further.
    #[test]
    fn no_row_of_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "tags", "has", "'a'", "and", "or", "not", "(", ")", "attributes.x", "=", "<", "in", "[", "]", ",", "1", "now()", "-", "30d", "exists", "os", "'ios'",
    ]), 0..30)) {
        let text = words.join(" ");
        if let Err(error) = Condition::parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.character));
        }
    }

    #[test]
    fn every_text_can_be_said_in_quotes(text in "[^\0]{0,40}") {
        prop_assert_eq!(term(&format!("tags has '{}'", text.replace('\'', "''"))), Term::HasTag(text));
    }
}
