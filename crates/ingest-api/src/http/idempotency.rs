//! The header `Idempotency-Key`.

use axum::extract::FromRequestParts;
use carillon_domain::fault::ErrorCode;
use carillon_domain::limits;
use http::request::Parts;

use super::problem::Problem;
use crate::refusal::Refusal;

/// The caller's `Idempotency-Key`, if it sent one: 1-255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = given.next() else { return Ok(Self(None)) };
        match (check_idempotency_key(value.as_bytes()), given.next()) {
            (Some(key), None) => Ok(Self(Some(key))),
            _ => {
                let must = "must be one value of 1-255 printable ASCII characters";
                Err(Refusal::fault(ErrorCode::InvalidRequest, "/headers/Idempotency-Key", must).into())
            }
        }
    }
}

/// The rule of the key, for every intake.
pub(crate) fn check_idempotency_key(value: &[u8]) -> Option<String> {
    let fits = (1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&value.len());
    let printable = value.iter().all(|b| (b' '..=b'~').contains(b));
    if fits && printable { String::from_utf8(value.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(values: &[&[u8]]) -> Result<Option<String>, Problem> {
        let mut request = http::Request::new(());
        for value in values {
            request.headers_mut().append("idempotency-key", http::HeaderValue::from_bytes(value).unwrap());
        }
        let (mut parts, ()) = request.into_parts();
        IdempotencyKey::from_request_parts(&mut parts, &()).await.map(|key| key.0)
    }

    #[tokio::test]
    async fn a_key_is_one_value_of_printable_ascii() {
        assert_eq!(read(&[]).await.unwrap(), None);
        assert_eq!(read(&[b"order 17"]).await.unwrap().as_deref(), Some("order 17"));
        assert!(read(&[&[b'a'; 255]]).await.is_ok());
        for bad in [vec![b"".as_slice()], vec![&[b'a'; 256]], vec![b"\xc5\xbc"], vec![b"a\tb"], vec![b"a", b"b"]] {
            assert!(read(&bad).await.is_err(), "{bad:?}");
        }
    }
}
