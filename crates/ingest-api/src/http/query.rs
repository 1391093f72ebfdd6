//! Query parameters of listings, and their answers.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use carillon_domain::fault::{ErrorCode, Faults, check_text};
use carillon_domain::limits;
use carillon_store::{Cursor, Listed, PageRequest};
use http::request::Parts;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;

/// Parameters of one request.
const MOST: usize = 50;
/// Bytes of one value.
pub(crate) const VALUE_BYTES: usize = 1_024;

/// The query parameters of a request: take what is known, then [`Query::finish`], which refuses the rest. Faults point to
/// `/query/NAME`.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    faults: Faults,
    nothing: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut faults = Faults::new();
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()).take(MOST + 1) {
            check_text(&mut faults, &pointer(&name), &value, VALUE_BYTES);
            pairs.push((name.into_owned(), value.into_owned()));
        }
        if pairs.len() > MOST {
            faults.add("/query", format!("has more than {MOST} parameters"));
        }
        Self { pairs, faults, nothing: false }
    }

    /// Every value of a parameter; a repeated filter means AND.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.pairs).into_iter().partition(|(n, _)| n == name);
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a parameter that makes no sense twice.
    pub(crate) fn one(&mut self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.fault(name, "stands more than once");
        }
        values.pop()
    }

    /// The value of a filter for a field that has one value. Repeated filters are all meant: two values fit nothing.
    pub(crate) fn filter(&mut self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        values.dedup();
        self.nothing |= values.len() > 1;
        values.pop()
    }

    /// Whether the filters that were read contradict each other, so that nothing can fit.
    pub(crate) fn fits_nothing(&self) -> bool {
        self.nothing
    }

    /// Notes a fault of a parameter.
    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.add(pointer(name), detail);
    }

    /// `limit` and `cursor`.
    pub(crate) fn page<Id: FromStr>(&mut self) -> PageRequest<Id> {
        let (default, most) = limits::PAGE;
        let limit = match self.one("limit").map(|text| text.parse::<u32>()) {
            None => default,
            Some(Ok(limit)) if (1..=most).contains(&limit) => limit,
            Some(_) => {
                self.fault("limit", format!("must be a whole number from 1 to {most}"));
                default
            }
        };
        let after = self.one("cursor").and_then(|text| {
            let cursor = decode(&text);
            if cursor.is_none() {
                self.fault("cursor", "is not one that a listing gave");
            }
            cursor
        });
        PageRequest { limit, after }
    }

    /// Refuses what nobody asked for.
    ///
    /// # Errors
    /// Every fault of the parameters.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            self.faults.add_code(ErrorCode::UnknownField, pointer(name), "is not a known parameter");
        }
        Ok(self.faults.into_result(())?)
    }
}

fn pointer(name: &str) -> String {
    format!("/query/{}", crate::json::escape(name))
}

/// A page of a listing, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items.
    items: Vec<T>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The answer when nothing can fit.
    pub(crate) fn empty() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }

    /// The answer to a listing.
    pub(crate) fn of<R, Id: ToString>(listed: Listed<R, Id>, item: impl Fn(R) -> T) -> Self {
        Self { items: listed.items.into_iter().map(item).collect(), next_cursor: listed.next.as_ref().map(encode) }
    }
}

/// The text of a cursor, opaque to callers.
pub(crate) fn encode<Id: ToString>(cursor: &Cursor<Id>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{} {}", cursor.at.as_microsecond(), cursor.id.to_string()))
}

/// Back from [`encode`].
pub(crate) fn decode<Id: FromStr>(text: &str) -> Option<Cursor<Id>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'))?;
    let (at, id) = text.split_once(' ')?;
    Some(Cursor { at: Timestamp::from_microsecond(at.parse().ok()?).ok()?, id: id.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn errors(query: Query) -> Vec<String> {
        let mut query = query;
        let _: PageRequest<String> = query.page();
        let faults = query.finish().err().map(|p| format!("{p:?}")).unwrap_or_default();
        ["limit", "cursor", "x"]
            .into_iter()
            .filter(|n| faults.contains(&format!("/query/{n}")))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn unknown_repeated_and_senseless_parameters_are_refused_together() {
        assert!(errors(Query::parse("")).is_empty());
        assert!(errors(Query::parse("limit=500")).is_empty());
        assert_eq!(errors(Query::parse("limit=0&cursor=zzz&x=1")), ["limit", "cursor", "x"]);
        assert_eq!(errors(Query::parse("limit=501")), ["limit"]);
        assert_eq!(errors(Query::parse("limit=1&limit=2")), ["limit"]);
        assert_eq!(errors(Query::parse("limit=-1")), ["limit"]);
    }

    #[test]
    fn a_filter_may_be_repeated() {
        let mut query = Query::parse("tag=a&tag=b%20c&limit=2");
        assert_eq!(query.all("tag"), ["a", "b c"]);
        assert_eq!(query.page::<String>().limit, 2);
        assert!(query.finish().is_ok());
    }

    #[test]
    fn a_repeated_filter_of_one_value_is_and() {
        let mut query = Query::parse("state=a&state=a&os=ios&os=web");
        assert_eq!(query.filter("state").as_deref(), Some("a"));
        assert!(!query.fits_nothing());
        query.filter("os");
        assert!(query.fits_nothing());
        assert!(query.finish().is_ok());
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_back(micros in -1_000_000_000_000_000i64..4_000_000_000_000_000, id in "[ -~]{0,40}") {
            let cursor = Cursor { at: Timestamp::from_microsecond(micros).unwrap(), id };
            prop_assert_eq!(decode::<String>(&encode(&cursor)), Some(cursor));
        }

        #[test]
        fn no_text_makes_a_cursor_panic(text in any::<String>()) {
            let _ = decode::<uuid::Uuid>(&text);
        }
    }
}
