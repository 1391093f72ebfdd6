//! How an app shows push services who it is.
//!
//! A subscription is bound to the pair that it was made with (RFC 8292, section 4), and a registration does not say which one that
//! was. So a message goes with the newest pair first; where a push service refuses that, with the older ones; and which
//! one it took is remembered.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use carillon_dispatch::Misconfigured;
use serde::Deserialize;

use crate::bindings::Bindings;
use crate::endpoint::authority;
use crate::mismatches::Mismatches;
use crate::vapid::Signer;

/// An opened credential.
pub struct Credential {
    /// The newest first; never empty.
    signers: Vec<Signer>,
    bindings: Bindings,
    mismatches: Mismatches,
}

/// The JSON of contract section 4, as it is kept: with both halves, and the pairs that were in use before.
#[derive(Deserialize)]
struct Stored {
    subject: String,
    #[serde(flatten)]
    pair: Pair,
    /// The newest first.
    #[serde(default)]
    older: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    public_key: String,
    private_key: String,
}

impl Pair {
    fn signer(&self, subject: &str) -> Option<Signer> {
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        Signer::new(subject.to_owned(), &decode(&self.public_key)?, &decode(&self.private_key)?)
    }
}

impl Credential {
    /// Reads the JSON of contract section 4.
    pub(crate) fn read(plaintext: &[u8]) -> Result<Self, Misconfigured> {
        // serde's own words could quote the content.
        let Stored { subject, pair, older } =
            serde_json::from_slice(plaintext).map_err(|_| Misconfigured("not a Web Push credential".into()))?;
        // RFC 8292, section 2.1.
        if !(subject.starts_with("mailto:") || subject.starts_with("https:")) {
            return Err(Misconfigured("the subject is neither a mailto: nor an https: URL".into()));
        }
        let signers = std::iter::once(&pair).chain(&older).map(|pair| pair.signer(&subject)).collect::<Option<_>>();
        let signers = signers.ok_or(Misconfigured("the keys are not a pair of P-256 in base64url".into()))?;
        Ok(Self { signers, bindings: Bindings::default(), mismatches: Mismatches::default() })
    }

    /// The pairs in the order in which a subscription is to be asked for: the one that it is known to take, then the newest first.
    pub(crate) fn signers(&self, endpoint: &str) -> impl Iterator<Item = (usize, &Signer)> {
        let known = if self.signers.len() > 1 { self.bindings.get(endpoint) } else { 0 };
        let others = (0..self.signers.len()).filter(move |index| *index != known);
        std::iter::once(known).chain(others).filter_map(|index| Some((index, self.signers.get(index)?)))
    }

    /// Takes note that a subscription accepts a pair.
    pub(crate) fn fits(&self, endpoint: &str, index: usize) {
        if self.signers.len() > 1 {
            self.bindings.learn(endpoint, index);
        }
        self.mismatches.fits(authority(endpoint));
    }

    /// Takes note that a subscription refuses every pair; whether too many of its push service do for it to be their fault.
    pub(crate) fn is_mismatched(&self, endpoint: &str) -> bool {
        self.mismatches.are_too_many(authority(endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vapid::tests::{pair, pair_of};
    use serde_json::{Value, json};

    fn stored() -> Value {
        let (public, private) = pair();
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({"subject": "mailto:push@shop.example", "public_key": encode(public), "private_key": encode(private)})
    }

    fn with_older(seeds: &[u8]) -> Credential {
        let mut stored = stored();
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let older = seeds
            .iter()
            .map(|seed| pair_of(*seed))
            .map(|(public, private)| json!({"public_key": encode(public), "private_key": encode(private)}));
        stored["older"] = older.collect();
        Credential::read(stored.to_string().as_bytes()).unwrap()
    }

    fn order(credential: &Credential, endpoint: &str) -> Vec<usize> {
        credential.signers(endpoint).map(|(index, _)| index).collect()
    }

    #[test]
    fn a_stored_credential_is_read_and_signs() {
        let credential = Credential::read(stored().to_string().as_bytes()).unwrap();
        let to = "https://push.example".parse().unwrap();
        let (_, signer) = credential.signers("https://push.example/a").next().unwrap();
        assert!(signer.authorization(&to, 1_790_000_000).is_some());
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_it() {
        for field in ["subject", "public_key", "private_key"] {
            let mut wrong = stored();
            wrong[field] = "sesame".into();
            let error = Credential::read(wrong.to_string().as_bytes()).err().unwrap();
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        let mut wrong = stored();
        wrong["older"] = json!([{"public_key": "sesame", "private_key": "sesame"}]);
        let error = Credential::read(wrong.to_string().as_bytes()).err().unwrap();
        assert!(!error.to_string().contains("sesame"), "{error}");
        assert!(Credential::read(b"sesame").is_err());
    }

    #[test]
    fn the_newest_pair_comes_first_and_the_one_that_a_subscription_took_before_it() {
        let credential = with_older(&[2, 3]);
        assert_eq!(order(&credential, "https://a.example/1"), [0, 1, 2]);
        credential.fits("https://a.example/1", 2);
        assert_eq!(order(&credential, "https://a.example/1"), [2, 0, 1]);
        assert_eq!(order(&credential, "https://a.example/2"), [0, 1, 2]);
    }
}
