//! What stands behind a comparison.

use super::Value;
use super::token::{Read, expected, found, skip_blanks, symbol, text, word};
use crate::span::Seconds;
use jiff::{SignedDuration, Timestamp};
use winnow::Parser;
use winnow::ascii::digit1;
use winnow::combinator::{alt, opt, separated};
use winnow::token::take_while;

pub(super) fn value(input: &mut &str) -> Read<Value> {
    if input.starts_with('\'') {
        return text(input).map(Value::Text);
    }
    if found(input, word("true")) {
        return Ok(Value::Boolean(true));
    }
    if found(input, word("false")) {
        return Ok(Value::Boolean(false));
    }
    if found(input, word("now")) {
        return from_now(input).map(Value::FromNow);
    }
    let before = *input;
    let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | ':' | '.');
    let token: &str = take_while(0.., token).parse_next(input)?;
    skip_blanks(input)?;
    if is_number(token) {
        return Ok(Value::Number(token.to_owned()));
    }
    match time(token) {
        Some(time) => Ok(Value::Time(time)),
        None => expected(
            before,
            "a value: 'text', a number, true, false, an RFC 3339 time such as 2026-12-01T09:00:00Z, or now() - 30d",
        ),
    }
}

/// A time with a year of four digits (RFC 3339, section 5.6): others, which the parser takes, can be before all that a database keeps.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}

/// What follows `now`.
fn from_now(input: &mut &str) -> Read<SignedDuration> {
    if !(found(input, symbol("(")) && found(input, symbol(")"))) {
        return expected(input, "`now()`");
    }
    let sign = if found(input, symbol("-")) {
        -1
    } else if found(input, symbol("+")) {
        1
    } else {
        return Ok(SignedDuration::ZERO);
    };
    let before = *input;
    let span: &str = take_while(0.., |c: char| c.is_ascii_alphanumeric()).parse_next(input)?;
    let Some(Seconds(seconds)) = Seconds::parse(span) else {
        return expected(before, "a duration such as 90s, 30m, 2h, 7d, 4w");
    };
    skip_blanks(input)?;
    Ok(SignedDuration::from_secs(sign * i64::from(seconds)))
}

/// Numbers with dots between them, and what comes before a release after a hyphen.
pub(super) fn is_version(text: &str) -> bool {
    let suffix = |input: &mut &str| -> Read<()> {
        let rest = take_while(1.., |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'));
        (alt(('-', '+')), rest).void().parse_next(input)
    };
    let numbers = |input: &mut &str| -> Read<()> {
        let numbers: Vec<&str> = separated(1.., digit1, '.').parse_next(input)?;
        drop(numbers);
        Ok(())
    };
    (opt('v'), numbers, opt(suffix)).parse(text).is_ok()
}
