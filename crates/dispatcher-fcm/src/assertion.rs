//! The signed assertion of a token request, as RFC 7515 wants it.
//!
//! yup-oauth2 pads the three parts with `=`, which section 2 of the RFC forbids. Google forgives it; an endpoint that stands
//! in for Google need not. What is signed changes with the padding, so it is signed anew.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

/// Signs for one service account.
pub(crate) struct Signer(RsaKeyPair);

impl Signer {
    /// Reads a PKCS#8 key in PEM, the form of Google's files.
    pub(crate) fn from_pem(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
        let (inner, _) = rest.split_once("-----END PRIVATE KEY-----")?;
        let packed: String = inner.split_ascii_whitespace().collect();
        RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(packed).ok()?).ok().map(Self)
    }

    /// The form with an assertion without padding; nothing if there is none in it.
    pub(crate) fn without_padding(&self, form: &[u8]) -> Option<Bytes> {
        // A form writes `=` as %3D; everything else in an assertion stands for itself (RFC 4648, section 5).
        let form = std::str::from_utf8(form).ok()?.replace("%3D", "");
        let (before, assertion) = form.split_once("assertion=")?;
        let assertion = assertion.split('&').next()?.trim_end_matches('=');
        let (signed, _) = assertion.rsplit_once('.')?;
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Some(Bytes::from(format!("{before}assertion={signed}.{signature}")))
    }
}
