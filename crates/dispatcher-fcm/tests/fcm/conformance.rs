use bytes::Bytes;
use carillon_dispatch::conformance::{Behaviour, Device, Simulator, check};
use provider_sim::{Conditions, Fate, FcmProject, Provider, Reply};
use serde_json::json;

use crate::google::{Google, body, stored};

impl Simulator for Google {
    async fn device(&mut self) -> Device {
        Google::device(self)
    }

    async fn credential(&mut self) -> Vec<u8> {
        self.key().await
    }

    async fn refused_credential(&mut self) -> Option<Vec<u8>> {
        let account = self.account(FcmProject::new("gone-1")).await;
        self.sim.remove_fcm_project("gone-1");
        Some(stored(&account))
    }

    fn body(&self, device: &Device) -> Bytes {
        body(&device.token)
    }

    fn arrange(&mut self, device: &Device, behaviour: Behaviour) {
        let too_big = || {
            let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
            let details = json!([{"@type": kind, "errorCode": "INVALID_ARGUMENT"}]);
            let error = json!({"code": 400, "message": "Message is too big.", "details": details});
            Reply { body: Some(json!({ "error": error }).to_string()), ..Reply::refuse("INVALID_ARGUMENT") }
        };
        let reply = match behaviour {
            Behaviour::Accept => Reply::accept(),
            Behaviour::Gone => Reply::unregistered(Provider::Fcm),
            Behaviour::RefuseMessage => Reply::refuse("INVALID_ARGUMENT"),
            Behaviour::TooLarge => too_big(),
            Behaviour::Throttle(seconds) => Reply::refuse("QUOTA_EXCEEDED").retry_after(seconds),
            Behaviour::Unavailable => Reply::refuse("UNAVAILABLE"),
            Behaviour::TakeAndCut => Reply::accept().fate(Fate::Drop),
        };
        self.sim.script(Provider::Fcm, &device.token, [reply]).unwrap();
    }

    fn shut(&mut self, shut: bool) {
        let conditions = Conditions { refuse_connections: shut, ..Conditions::default() };
        self.sim.set_conditions(Provider::Fcm, conditions).unwrap();
    }

    fn arrived(&self, device: &Device) -> usize {
        self.records(device).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fcm_keeps_what_every_provider_must() {
    let mut google = Google::start().await;
    let fcm = google.replica();
    check(&fcm, &mut google).await;
}
