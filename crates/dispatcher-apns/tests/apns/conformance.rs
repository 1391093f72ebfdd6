use bytes::Bytes;
use carillon_dispatch::conformance::{Behaviour, Device, Simulator, check};
use provider_sim::{Conditions, Fate, Provider, Reply};

use crate::apple::{Apple, KEY, TEAM, alert, stored};

impl Simulator for Apple {
    async fn device(&mut self) -> Device {
        Apple::device(self)
    }

    async fn credential(&mut self) -> Vec<u8> {
        self.key(TEAM, KEY)
    }

    async fn refused_credential(&mut self) -> Option<Vec<u8>> {
        let other = self.key("OTHER12345", "OTHERKEY12");
        let other: serde_json::Value = serde_json::from_slice(&other).unwrap();
        Some(stored(TEAM, "UNKNOWN123", other["private_key"].as_str().unwrap()))
    }

    fn body(&self, _: &Device) -> Bytes {
        alert()
    }

    fn arrange(&mut self, device: &Device, behaviour: Behaviour) {
        let reply = match behaviour {
            Behaviour::Accept => Reply::accept(),
            Behaviour::Gone => Reply::unregistered(Provider::Apns),
            Behaviour::RefuseMessage => Reply::refuse("BadMessageId"),
            Behaviour::TooLarge => Reply::refuse("PayloadTooLarge"),
            Behaviour::Throttle(seconds) => Reply::refuse("TooManyRequests").retry_after(seconds),
            Behaviour::Unavailable => Reply::refuse("ServiceUnavailable"),
            Behaviour::TakeAndCut => Reply::accept().fate(Fate::Drop),
        };
        self.sim.script(Provider::Apns, &device.token, [reply]).unwrap();
    }

    fn shut(&mut self, shut: bool) {
        self.sim
            .set_conditions(Provider::Apns, Conditions { refuse_connections: shut, ..Conditions::default() })
            .unwrap();
    }

    fn arrived(&self, device: &Device) -> usize {
        self.records(device).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apns_keeps_what_every_provider_must() {
    let mut apple = Apple::start().await;
    let apns = apple.replica();
    check(&apns, &mut apple).await;
}
