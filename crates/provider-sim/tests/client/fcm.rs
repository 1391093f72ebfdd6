//! An FCM client: assertion, bearer token, message.

use provider_sim::{FcmProject, Sim};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::plain::Ask;
use super::{Reply, jwt, now};

pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A service account.
pub struct Account {
    pub json: Value,
    pair: RsaKeyPair,
}

impl Account {
    pub async fn create(sim: &Sim, project: FcmProject) -> Self {
        let json = sim.create_fcm_project(project).await.unwrap();
        let pem = json["private_key"].as_str().unwrap();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        Self { json, pair }
    }

    pub fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap()
    }

    pub fn claims(&self) -> Value {
        json!({
            "iss": self.text("client_email"),
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
            "aud": self.text("token_uri"),
            "iat": now(),
            "exp": now() + 3600,
        })
    }

    pub fn assertion(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.text("private_key_id")});
        jwt(&header, claims, |message| {
            let mut signature = vec![0; self.pair.public().modulus_len()];
            let random = ring::rand::SystemRandom::new();
            self.pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
            signature
        })
    }

    pub async fn exchange(&self, sim: &Sim, assertion: &str) -> Reply {
        let fields = [("grant_type", GRANT), ("assertion", assertion)];
        Ask::post(self.text("token_uri")).form(&fields).send(sim.ca_pem()).await.unwrap()
    }

    pub async fn bearer(&self, sim: &Sim) -> String {
        let reply = self.exchange(sim, &self.assertion(&self.claims())).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        format!("Bearer {}", reply.json()["access_token"].as_str().unwrap())
    }
}

/// A send request to a project.
pub fn send(sim: &Sim, project: &str, bearer: &str, body: &Value) -> Ask {
    let url = format!("{}/v1/projects/{project}/messages:send", sim.urls().fcm);
    Ask::post(url).header("authorization", bearer).json(body)
}

/// The error code in the details.
pub fn error_code(reply: &Reply) -> String {
    let details = reply.json()["error"]["details"].clone();
    let details = details.as_array().cloned().unwrap_or_default();
    let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
    let found = details.iter().find(|detail| detail["@type"] == kind);
    found.and_then(|detail| detail["errorCode"].as_str()).unwrap_or_default().to_owned()
}
