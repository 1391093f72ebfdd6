use bytes::Bytes;
use carillon_dispatch::conformance::{Behaviour, Device, Simulator, check};
use provider_sim::{Conditions, Fate, Provider, Reply};

use crate::browser::{Browsers, body, key, stored};

impl Simulator for Browsers {
    async fn device(&mut self) -> Device {
        Browsers::device(self).await
    }

    async fn credential(&mut self) -> Vec<u8> {
        key()
    }

    /// Apple's service refuses a contact on this machine.
    async fn refused_credential(&mut self) -> Option<Vec<u8>> {
        Some(stored("mailto:push@localhost", 1))
    }

    fn body(&self, _: &Device) -> Bytes {
        body()
    }

    fn arrange(&mut self, device: &Device, behaviour: Behaviour) {
        let reply = match behaviour {
            Behaviour::Accept => Reply::accept(),
            Behaviour::Gone => Reply::unregistered(Provider::Webpush),
            Behaviour::RefuseMessage => Reply::status(400),
            Behaviour::TooLarge => Reply::status(413),
            Behaviour::Throttle(seconds) => Reply::status(429).retry_after(seconds),
            Behaviour::Unavailable => Reply::status(503),
            Behaviour::TakeAndCut => Reply::accept().fate(Fate::Drop),
        };
        self.sim.script(Provider::Webpush, &device.token, [reply]).unwrap();
    }

    fn shut(&mut self, shut: bool) {
        let conditions = Conditions { refuse_connections: shut, ..Conditions::default() };
        self.sim.set_conditions(Provider::Webpush, conditions).unwrap();
    }

    fn arrived(&self, device: &Device) -> usize {
        self.records(device).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_push_keeps_what_every_provider_must() {
    let mut browsers = Browsers::start().await;
    let webpush = browsers.replica();
    check(&webpush, &mut browsers).await;
}
