//! FCM: the JSON file of a Google service account.

use carillon_domain::fault::ErrorCode::CredentialInvalid;
use ring::signature::{KeyPair as _, RsaKeyPair};
use serde_json::json;

use super::{Checked, HostPort, PEM_BYTES, pem};
use crate::json::{Fields, FromJson, Json, Object};

/// Bytes of the whole file; Google's have 2.4 KB.
const FILE_BYTES: usize = 16 * 1024;
const TEXT_BYTES: usize = 1_024;

/// A service account, checked but for its `token_uri`, which depends on the settings: [`Fcm::check_token_uri`].
#[derive(Debug)]
pub(crate) struct Fcm {
    pub(crate) checked: Checked,
    token_uri: String,
}

impl FromJson for Fcm {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let file = object.need("service_account", Object::map)?;
        let (project, email, uri, public) = read(object, file)?;
        let body = json!({"service_account": file});
        if body.to_string().len() > FILE_BYTES {
            object.fault_code(CredentialInvalid, "service_account", "is larger than any service account's file");
            return None;
        }
        let facts = json!({"project_id": project, "client_email": email});
        Some(Self { checked: Checked::new(&body, facts, &public), token_uri: uri })
    }
}

/// Project, e-mail address, token URI and the public half of the key. The file has more fields, which are Google's.
fn read(outer: &Object<'_>, file: &Fields<'_>) -> Option<(String, String, String, Vec<u8>)> {
    let text = |name: &str, max: usize, fine: &dyn Fn(&str) -> bool, must: &str| {
        let found = file.get(name).and_then(Json::as_str).filter(|t| t.len() <= max && !t.contains('\0') && fine(t));
        if found.is_none() {
            outer.fault_inside(CredentialInvalid, "service_account", name, must);
        }
        found.map(str::to_owned)
    };
    let kind = text("type", TEXT_BYTES, &|t| t == "service_account", "must be service_account");
    let project = text("project_id", TEXT_BYTES, &is_project, "must be a project id such as my-project-17");
    let email = text("client_email", TEXT_BYTES, &|t| t.contains('@'), "must be the account's e-mail address");
    let uri = text("token_uri", TEXT_BYTES, &|t| t.parse::<http::Uri>().is_ok(), "must be a URL");
    let key = text("private_key", PEM_BYTES, &|t| rsa(t).is_some(), "must be an RSA private key as PKCS#8 in PEM");
    kind?;
    Some((project?, email?, uri?, rsa(&key?)?))
}

fn rsa(text: &str) -> Option<Vec<u8>> {
    let pair = RsaKeyPair::from_pkcs8(&pem(text, "PRIVATE KEY")?).ok()?;
    Some(pair.public_key().as_ref().to_vec())
}

/// It goes into a path.
fn is_project(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.' | b'_'))
}

impl Fcm {
    /// Where its tokens come from must be Google, or a host that the operator named: the signed assertion goes there.
    pub(crate) fn check_token_uri(&self, allowed: &[HostPort]) -> bool {
        let Ok(uri) = self.token_uri.parse::<http::Uri>() else { return false };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
        let host = authority.host();
        let port = match scheme {
            "https" => Some(authority.port_u16().unwrap_or(443)),
            "http" => Some(authority.port_u16().unwrap_or(80)),
            _ => None,
        };
        let Some(port) = port.filter(|_| !authority.as_str().contains('@')) else { return false };
        let google = scheme == "https" && port == 443 && is_google(host);
        google || allowed.iter().any(|one| one.matches(host, port))
    }
}

fn is_google(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "googleapis.com" || host.ends_with(".googleapis.com")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn allows(uri: &str) -> bool {
        let allowed = [HostPort::parse("127.0.0.1:9").unwrap()];
        let checked = Checked::new(&Value::Null, Value::Null, b"");
        Fcm { checked, token_uri: uri.to_owned() }.check_token_uri(&allowed)
    }

    #[test]
    fn tokens_come_from_google_or_from_a_host_the_operator_named() {
        for good in ["https://oauth2.googleapis.com/token", "https://googleapis.com:443/t", "http://127.0.0.1:9/token"]
        {
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
            "ftp://127.0.0.1:9/token",
            "/token",
        ] {
            assert!(!allows(bad), "{bad}");
        }
    }
}
