//! Text to expression. Whatever fails says what was expected instead, and is not tried in another way: the first word of everything tells what it is.

use super::token::{Expected, Read, expected, found, skip_blanks, symbol, text, word};
use super::value::{is_version, time, value};
use super::{Comparison, ConditionError, Expression, Field, KnownField, Term, Value};
use crate::device::Permission;
use crate::limits;
use crate::platform::{Os, Platform};
use winnow::Parser;
use winnow::ascii::multispace0;
use winnow::combinator::{alt, opt, separated};
use winnow::error::ErrMode;
use winnow::token::take_while;

pub(super) fn expression(text: &str) -> Result<Expression, ConditionError> {
    let mut left = text;
    let read = |input: &mut &str| {
        let _blank: Read<&str> = multispace0.parse_next(input);
        let root = any(input, 0)?;
        if input.is_empty() { Ok(root) } else { expected(input, "`and`, `or`, or the end") }
    };
    read(&mut left).map_err(|error: ErrMode<Expected>| {
        let Expected { left, what } =
            error.into_inner().unwrap_or_else(|_| Expected { left: 0, what: "more".to_owned() });
        let character = text[..text.len() - left].chars().count() + 1;
        ConditionError { character, expected: what }
    })
}

fn any(input: &mut &str, depth: usize) -> Read<Expression> {
    let all: Vec<_> = separated(1.., |input: &mut _| all(input, depth), word("or")).parse_next(input)?;
    Ok(alone(all).unwrap_or_else(Expression::Any))
}

fn all(input: &mut &str, depth: usize) -> Read<Expression> {
    let all: Vec<_> = separated(1.., |input: &mut _| one(input, depth), word("and")).parse_next(input)?;
    Ok(alone(all).unwrap_or_else(Expression::All))
}

/// The only one of a list.
fn alone(mut list: Vec<Expression>) -> Result<Expression, Vec<Expression>> {
    match list.pop() {
        Some(only) if list.is_empty() => Ok(only),
        last => {
            list.extend(last);
            Err(list)
        }
    }
}

fn one(input: &mut &str, depth: usize) -> Read<Expression> {
    if depth > limits::CONDITION_DEPTH {
        return expected(input, format!("at most {} levels of parentheses and `not`", limits::CONDITION_DEPTH));
    }
    if found(input, word("not")) {
        return Ok(Expression::Not(Box::new(one(input, depth + 1)?)));
    }
    if !found(input, symbol("(")) {
        return term(input).map(Expression::Term);
    }
    let inner = any(input, depth + 1)?;
    if found(input, symbol(")")) { Ok(inner) } else { expected(input, "`and`, `or`, or `)`") }
}

fn term(input: &mut &str) -> Read<Term> {
    if found(input, word("tags")) {
        if !found(input, word("has")) {
            return expected(input, "`has`, as in tags has 'vip'");
        }
        return Ok(Term::HasTag(text(input)?));
    }
    let field = field(input)?;
    if found(input, word("exists")) {
        return Ok(Term::Exists(field));
    }
    let before = *input;
    if found(input, word("in")) {
        check_comparison(&field, None, before)?;
        return Ok(Term::In(field.clone(), list(input, &field)?));
    }
    let comparison = comparison(input)?;
    check_comparison(&field, Some(comparison), before)?;
    let value = value_for(input, &field, comparison)?;
    Ok(Term::Compare(field, comparison, value))
}

fn field(input: &mut &str) -> Read<Field> {
    let before = *input;
    let name: &str = take_while(0.., |c: char| c.is_ascii_alphanumeric() || c == '_').parse_next(input)?;
    if name == "attributes" && found(input, '.') {
        return attribute(input).map(Field::Attribute);
    }
    let Some(known) = KnownField::from_text(name) else {
        return expected(before, format!("a field: tags, attributes.NAME, {}", KnownField::texts()));
    };
    skip_blanks(input)?;
    Ok(Field::Known(known))
}

/// A name of letters, digits, `_` and `-`, or any other in quotes.
fn attribute(input: &mut &str) -> Read<String> {
    if input.starts_with('\'') {
        return text(input);
    }
    let bare = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let name: Option<&str> = opt(take_while(1.., bare)).parse_next(input)?;
    let Some(name) = name else { return expected(input, "the attribute's name, in quotes unless it is one word") };
    skip_blanks(input)?;
    Ok(name.to_owned())
}

fn comparison(input: &mut &str) -> Read<Comparison> {
    let read: Read<&str> = alt((
        symbol("!="),
        symbol("<="),
        symbol(">="),
        symbol("="),
        symbol("<"),
        symbol(">"),
        word("starts_with"),
        word("contains"),
    ))
    .parse_next(input);
    let comparison = read.ok().and_then(|text| Comparison::from_text(&text.to_ascii_lowercase()));
    comparison.map_or_else(|| expected(input, format!("one of {}, in, exists", Comparison::texts())), Ok)
}

/// Whether a field can be compared so; without a comparison, with a list.
fn check_comparison(field: &Field, comparison: Option<Comparison>, at: &str) -> Read<()> {
    use Comparison::{Contains, Equal, NotEqual, StartsWith};
    let Field::Known(known) = field else { return Ok(()) };
    let closed = matches!(known, KnownField::Platform | KnownField::Os | KnownField::Permission);
    if closed && !matches!(comparison, None | Some(Equal | NotEqual)) {
        return expected(at, format!("one of =, !=, in, exists after `{}`", known.as_str()));
    }
    if known.is_time() && matches!(comparison, None | Some(StartsWith | Contains)) {
        return expected(at, format!("one of =, !=, <, <=, >, >=, exists after `{}`", known.as_str()));
    }
    Ok(())
}

fn list(input: &mut &str, field: &Field) -> Read<Vec<Value>> {
    if !found(input, symbol("[")) {
        return expected(input, "a list, as in ['a', 'b']");
    }
    let item = |input: &mut _| value_for(input, field, Comparison::Equal);
    let values = separated(1.., item, symbol(",")).parse_next(input)?;
    if found(input, symbol("]")) { Ok(values) } else { expected(input, "`,` or `]`") }
}

/// A value that a field can be compared with.
fn value_for(input: &mut &str, field: &Field, comparison: Comparison) -> Read<Value> {
    let before = *input;
    let value = value(input)?;
    let is_time = matches!(field, Field::Known(known) if known.is_time());
    let value = match value {
        // Where only a time can be meant, it may stand in quotes.
        Value::Text(text) if is_time => time(&text).map_or(Value::Text(text), Value::Time),
        other => other,
    };
    match misfit(field, comparison, &value) {
        None => Ok(value),
        Some(what) => expected(before, what),
    }
}

/// What a field would have to be compared with instead.
fn misfit(field: &Field, comparison: Comparison, value: &Value) -> Option<String> {
    let text = if let Value::Text(text) = value { Some(text.as_str()) } else { None };
    let searched = matches!(comparison, Comparison::StartsWith | Comparison::Contains);
    let ordered = !searched && !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let one_of = |known: bool, texts: String| (!known).then(|| format!("one of {texts}, in quotes"));
    match field {
        Field::Known(KnownField::Platform) => one_of(text.and_then(Platform::from_text).is_some(), Platform::texts()),
        Field::Known(KnownField::Os) => one_of(text.and_then(Os::from_text).is_some(), Os::texts()),
        Field::Known(KnownField::Permission) => {
            one_of(text.and_then(Permission::from_text).is_some(), Permission::texts())
        }
        Field::Known(known) if known.is_time() => (!matches!(value, Value::Time(_) | Value::FromNow(_)))
            .then(|| "a time such as 2026-12-01T09:00:00Z or now() - 30d".to_owned()),
        Field::Known(known) if known.is_version() && !searched => {
            (!text.is_some_and(is_version)).then(|| "a version in quotes, such as '4.2.0'".to_owned())
        }
        Field::Attribute(_) if ordered && matches!(value, Value::Boolean(_)) => {
            Some("a text, number or time: true and false have no order".to_owned())
        }
        Field::Attribute(_) if !searched => None,
        Field::Known(_) | Field::Attribute(_) => text.is_none().then(|| "a text in quotes".to_owned()),
    }
}
