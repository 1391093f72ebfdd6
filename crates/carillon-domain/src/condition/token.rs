//! Words, symbols and quoted texts, and what is said where one is missing.

use winnow::ascii::{Caseless, multispace0};
use winnow::combinator::{not, opt, terminated};
use winnow::error::{ErrMode, ParserError};
use winnow::token::take_while;
use winnow::{ModalResult, Parser};

/// What was expected where so many bytes were left.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) left: usize,
    pub(super) what: String,
}

impl ParserError<&str> for Expected {
    type Inner = Self;

    fn from_input(input: &&str) -> Self {
        Self { left: input.len(), what: "something else".into() }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

pub(super) type Read<T> = ModalResult<T, Expected>;

pub(super) fn expected<T>(input: &str, what: impl Into<String>) -> Read<T> {
    Err(ErrMode::Cut(Expected { left: input.len(), what: what.into() }))
}

/// A text in quotes; a quote in it is written twice.
pub(super) fn text(input: &mut &str) -> Read<String> {
    let before = *input;
    if !found(input, '\'') {
        return expected(before, "a text in single quotes");
    }
    let mut text = String::new();
    loop {
        let part: &str = take_while(0.., |c: char| c != '\'' && c != '\0').parse_next(input)?;
        text.push_str(part);
        if found(input, "''") {
            text.push('\'');
        } else if found(input, '\'') {
            skip_blanks(input)?;
            return Ok(text);
        } else if input.starts_with('\0') {
            return expected(input, "a text without U+0000");
        } else {
            return expected(before, "a text that ends: its closing quote is missing");
        }
    }
}

/// A word of its own, in capitals or not, with the blanks behind it.
pub(super) fn word<'a>(word: &'static str) -> impl Parser<&'a str, &'a str, ErrMode<Expected>> {
    let ends = not(take_while(1, |c: char| c.is_alphanumeric() || c == '_'));
    terminated(terminated(Caseless(word), ends), multispace0)
}

pub(super) fn symbol<'a>(symbol: &'static str) -> impl Parser<&'a str, &'a str, ErrMode<Expected>> {
    terminated(symbol, multispace0)
}

pub(super) fn skip_blanks(input: &mut &str) -> Read<()> {
    multispace0.void().parse_next(input)
}

/// Takes it, if it is there.
pub(super) fn found<'a, T>(input: &mut &'a str, token: impl Parser<&'a str, T, ErrMode<Expected>>) -> bool {
    opt(token).parse_next(input).is_ok_and(|found| found.is_some())
}
