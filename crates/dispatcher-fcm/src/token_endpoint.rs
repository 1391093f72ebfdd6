//! Where bearer tokens come from: the service account's `token_uri` (RFC 7523, Google's "OAuth 2.0 for server to server").

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use carillon_dispatch::{Misconfigured, Verdict};
use carillon_egress::{AllowHosts, HostPort, HttpClient, Origin, Scheme};
use carillon_runtime::{Clock, Scope};
use futures::FutureExt as _;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::Client;
use yup_oauth2::authenticator::Authenticator;
use yup_oauth2::{AccessToken, CustomHyperClientBuilder, Error, ServiceAccountAuthenticator, ServiceAccountKey};

use crate::assertion::Signer;
use crate::tunnel::{Helpers, Said, Tunnel};

/// What may be done with the token.
const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/firebase.messaging"];
/// How long a token is good that does not say so.
const UNSAID_LIFE: Duration = Duration::from_secs(300);

/// Fetches tokens for one service account.
pub(crate) struct TokenEndpoint {
    authenticator: Authenticator<Tunnel>,
    tunnel: Tunnel,
    clock: Clock,
}

/// A token as the `authorization` header.
pub(crate) struct Issued {
    pub(crate) authorization: HeaderValue,
    /// From now.
    pub(crate) life: Duration,
}

impl TokenEndpoint {
    /// # Errors
    /// A key that cannot sign, or a `token_uri` that is not to be trusted with a signed assertion.
    pub(crate) fn new(
        key: ServiceAccountKey,
        allow: &AllowHosts,
        http: Arc<HttpClient>,
        scope: Scope,
    ) -> Result<Self, Misconfigured> {
        let uri = judge(&key.token_uri, allow)?;
        let unusable = || Misconfigured("the private key is not an RSA key as PKCS#8 in PEM".into());
        let signer = Signer::from_pem(&key.private_key).ok_or_else(unusable)?;
        let (tunnel, clock) = (Tunnel::new(http, uri, signer, scope.clone()), scope.clock());
        let client = Client::builder(Helpers(scope)).pool_max_idle_per_host(0).build(tunnel.clone());
        let building = ServiceAccountAuthenticator::with_client(key, CustomHyperClientBuilder::from(client)).build();
        // With a key that is at hand there is nothing to wait for.
        match building.now_or_never() {
            Some(Ok(authenticator)) => Ok(Self { authenticator, tunnel, clock }),
            _ => Err(unusable()),
        }
    }

    /// Asks for a new token. One call at a time.
    ///
    /// # Errors
    /// The verdict that every message would get.
    pub(crate) async fn fetch(&self) -> Result<Issued, Verdict> {
        let _old = self.tunnel.said();
        let fetched = self.authenticator.force_refreshed_token(&SCOPES).await;
        let said = self.tunnel.said();
        fetched.as_ref().ok().and_then(|token| self.read(token)).ok_or_else(|| why_not(said, fetched.as_ref().err()))
    }

    fn read(&self, token: &AccessToken) -> Option<Issued> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.token()?)).ok()?;
        authorization.set_sensitive(true);
        let life = token.expiration_time().map_or(UNSAID_LIFE, |at| {
            let seconds = at.unix_timestamp() - self.clock.now().as_second();
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        });
        Some(Issued { authorization, life })
    }
}

/// Contract, section 12: `https` at googleapis.com, or a host that the operator named.
fn judge(token_uri: &str, allow: &AllowHosts) -> Result<Uri, Misconfigured> {
    let refused = || Misconfigured("the token_uri is neither at googleapis.com nor at an allowed host".into());
    let uri: Uri = token_uri.parse().map_err(|_| refused())?;
    let origin = Origin::of(&uri).map_err(|_| refused())?;
    let host = origin.host();
    let google = origin.scheme() == Scheme::Https
        && origin.port() == Scheme::Https.default_port()
        && (host == "googleapis.com" || host.ends_with(".googleapis.com"));
    if google || names(allow, host, origin.port()) { Ok(uri) } else { Err(refused()) }
}

fn names(allow: &AllowHosts, host: &str, port: u16) -> bool {
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    let entries = [format!("{open}{host}{close}"), format!("{open}{host}{close}:{port}")];
    entries.iter().filter_map(|entry| entry.parse::<HostPort>().ok()).any(|entry| allow.0.contains(&entry))
}

/// A refusal is the service account's fault only if the endpoint says so.
fn why_not(said: Option<Said>, error: Option<&Error>) -> Verdict {
    let Some(Said::Answered { status, retry_after }) = said else {
        return Verdict::Unavailable { retry_after: None };
    };
    if !status.is_client_error() || matches!(status.as_u16(), 408 | 429) {
        return Verdict::Unavailable { retry_after };
    }
    let detail = match error {
        Some(Error::AuthError(refusal)) => word(refusal.error.as_str()),
        _ => None,
    };
    Verdict::Misconfigured { detail: detail.unwrap_or(Cow::Borrowed("the token endpoint refuses the service account")) }
}

/// It goes into logs, so only what can be one of OAuth's words does.
fn word(text: &str) -> Option<Cow<'static, str>> {
    let is_word = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_word.then(|| Cow::Owned(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn allows(uri: &str) -> bool {
        judge(uri, &"127.0.0.1:9,sim.example,[::1]:7".parse().unwrap()).is_ok()
    }

    #[test]
    fn assertions_go_to_google_or_to_a_host_the_operator_named() {
        for good in [
            "https://oauth2.googleapis.com/token",
            "https://googleapis.com:443/t",
            "http://127.0.0.1:9/token",
            "https://sim.example:8443/token",
            "https://[::1]:7/token",
        ] {
            assert!(allows(good), "{good}");
        }
        for bad in [
            "http://oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com:8443/token",
            "https://oauth2.googleapis.com.evil.example/token",
            "https://evilgoogleapis.com/token",
            "https://oauth2.googleapis.com@evil.example/token",
            "https://x@oauth2.googleapis.com/token",
            "https://169.254.169.254/token",
            "http://127.0.0.1:10/token",
            "https://[::1]:8/token",
            "ftp://127.0.0.1:9/token",
            "/token",
            "",
        ] {
            assert!(!allows(bad), "{bad}");
        }
    }

    #[test]
    fn only_an_endpoint_that_says_so_makes_the_account_bad() {
        let said = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            why_not(Some(Said::Answered { status, retry_after: Some(Duration::from_secs(7)) }), None)
        };
        assert!(matches!(said(400), Verdict::Misconfigured { .. }));
        assert!(matches!(said(401), Verdict::Misconfigured { .. }));
        for status in [200, 302, 408, 429, 500, 503] {
            assert_eq!(said(status), Verdict::Unavailable { retry_after: Some(Duration::from_secs(7)) }, "{status}");
        }
        assert_eq!(why_not(Some(Said::Nothing), None), Verdict::Unavailable { retry_after: None });
        assert_eq!(why_not(None, None), Verdict::Unavailable { retry_after: None });
    }

    #[test]
    fn only_words_get_into_the_log() {
        assert_eq!(word("invalid_grant").as_deref(), Some("invalid_grant"));
        assert!(word("ya29.secret").is_none() && word("").is_none());
    }
}
