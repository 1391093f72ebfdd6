//! APNs: a token signing key (p8), from Apple's developer account.

use carillon_domain::fault::ErrorCode::CredentialInvalid;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::json;

use super::{Checked, PEM_BYTES};
use crate::json::{FromJson, Object};

/// Bytes of a bundle id: an `apns-topic` with its suffix stays far below.
const BUNDLE_ID_BYTES: usize = 155;

/// A checked APNs credential.
#[derive(Debug)]
pub(crate) struct Apns(pub(crate) Checked);

impl FromJson for Apns {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let auth = object.text("auth", 32)?;
        match auth.as_str() {
            "token" => token(object),
            "certificate" => {
                // Known fields of a form that this version does not take: one clear fault instead of five.
                for field in ["bundle_id", "certificate", "private_key", "password"] {
                    let _ = object.value(field);
                }
                let detail = "certificates are not taken by this version; use `token` with a p8 key";
                object.fault_code(CredentialInvalid, "auth", detail);
                None
            }
            _ => {
                object.fault("auth", "must be token");
                None
            }
        }
    }
}

fn token(object: &mut Object<'_>) -> Option<Apns> {
    let key_id = apple_id(object, "key_id");
    let team_id = apple_id(object, "team_id");
    let bundle_id = object.text("bundle_id", BUNDLE_ID_BYTES);
    if bundle_id.as_deref().is_some_and(|id| !is_bundle_id(id)) {
        object.fault_code(CredentialInvalid, "bundle_id", "must be a bundle id such as com.example.app");
    }
    let private_key = object.text("private_key", PEM_BYTES);
    let key = private_key.as_deref().and_then(|pem| p256::SecretKey::from_pkcs8_pem(pem.trim()).ok());
    if private_key.is_some() && key.is_none() {
        let must = "must be the p8 file: a P-256 private key as PKCS#8 in PEM (BEGIN PRIVATE KEY)";
        object.fault_code(CredentialInvalid, "private_key", must);
    }
    let (key_id, team_id, bundle_id, private_key, key) = (key_id?, team_id?, bundle_id?, private_key?, key?);
    let body = json!({"auth": "token", "key_id": key_id, "team_id": team_id, "bundle_id": bundle_id,
                      "private_key": private_key});
    let facts = json!({"auth": "token", "key_id": key_id, "team_id": team_id, "bundle_id": bundle_id});
    Some(Apns(Checked::new(&body, facts, key.public_key().to_sec1_point(false).as_bytes())))
}

/// Key and team ids are ten capital letters and digits.
fn apple_id(object: &mut Object<'_>, name: &'static str) -> Option<String> {
    let id = object.text(name, 32)?;
    if id.len() == 10 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Some(id);
    }
    object.fault_code(CredentialInvalid, name, "must be ten characters of A-Z and 0-9");
    None
}

/// Letters, digits, hyphens and dots: it goes into a header.
fn is_bundle_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}
