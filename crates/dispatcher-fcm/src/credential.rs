//! How an app shows Google who it is.

use std::sync::Arc;

use carillon_dispatch::Misconfigured;
use carillon_egress::{AllowHosts, HttpClient};
use carillon_runtime::Scope;
use http::uri::PathAndQuery;
use serde::Deserialize;
use yup_oauth2::ServiceAccountKey;

use crate::bearer::Bearer;
use crate::token_endpoint::TokenEndpoint;

/// An opened credential.
pub struct Credential {
    /// The Firebase project.
    pub(crate) project: String,
    /// Where its messages are posted.
    pub(crate) path: PathAndQuery,
    pub(crate) bearer: Arc<Bearer>,
}

/// The JSON of contract section 4.
#[derive(Deserialize)]
struct Stored {
    service_account: ServiceAccountKey,
}

impl Credential {
    /// Reads the JSON of contract section 4. Opens nothing yet: the first token is fetched for the first chunk.
    pub(crate) fn read(
        plaintext: &[u8],
        allow: &AllowHosts,
        http: Arc<HttpClient>,
        scope: Scope,
    ) -> Result<Self, Misconfigured> {
        // serde's own words could quote the content.
        let Stored { service_account } =
            serde_json::from_slice(plaintext).map_err(|_| Misconfigured("not an FCM credential".into()))?;
        let project = service_account.project_id.clone().filter(|id| is_project(id));
        let project = project.ok_or(Misconfigured("the project id is malformed".into()))?;
        let path = PathAndQuery::try_from(format!("/v1/projects/{project}/messages:send"));
        let path = path.map_err(|_| Misconfigured("the project id is malformed".into()))?;
        let endpoint = TokenEndpoint::new(service_account, allow, http, scope.clone())?;
        Ok(Self { project, path, bearer: Bearer::new(endpoint, scope) })
    }
}

/// It goes into a path. Old projects have a domain before a colon.
fn is_project(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.' | b'_'))
        && !text.bytes().all(|b| b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_id_cannot_leave_its_place_in_the_path() {
        assert!(is_project("shop-17") && is_project("example.com:shop"));
        for bad in ["", "..", "a/b", "a?b", "a b", "a%2fb"] {
            assert!(!is_project(bad), "{bad}");
        }
    }
}
