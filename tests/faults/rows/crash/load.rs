//! A little of everything that the platform does, so that every point is passed all the time.

use crate::audience::{Device, Tenant};
use crate::caller::Caller;
use crate::dice::Dice;
use crate::onboard;
use crate::platform::Platform;
use anyhow::{Context as _, Result};
use provider_sim::{Provider, Reply};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Devices that everything is sent to which has to arrive: more than 64 of a platform, so that chunks are claimed.
const DEVICES: usize = 300;
/// Persons who get one text message each.
const PERSONS: usize = 4_000;
/// Devices of notifications that are cancelled or expire.
const SPARE: usize = 200;

/// Until what a provider put off stands in the ledger.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Who is sent to.
pub(crate) struct Crowd {
    pub(crate) tenant: Tenant,
    pub(crate) caller: Caller,
    /// Everybody has a phone and never reads.
    pub(crate) readers: Tenant,
    pub(crate) texts: Caller,
    /// What is sent here never arrives.
    pub(crate) spare: Tenant,
    pub(crate) control: Caller,
}

impl Crowd {
    /// Three tenants.
    ///
    /// # Errors
    /// What the API refuses.
    pub(crate) async fn new(platform: &Platform, dice: &mut Dice) -> Result<Self> {
        let tenant = Tenant::new(platform, "f3", DEVICES, dice).await?;
        let readers = Tenant::new(platform, "f3-sms", PERSONS, dice).await?;
        let http = platform.http.first().context("there is an ingest-api")?;
        onboard::sms(&crate::api::Api::new(http.with_key(&readers.key)), &platform.sim_control).await?;
        let spare = Tenant::new(platform, "f3-spare", SPARE, dice).await?;
        let caller = |tenant: &Tenant| Caller::new(&platform.http, &tenant.key);
        let (own, texts, control) = (caller(&tenant), caller(&readers), caller(&spare));
        Ok(Self { tenant, caller: own, readers, texts, spare, control })
    }
}

/// Feeds until it is told that it is enough.
pub(crate) struct Load<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) crowd: &'a Crowd,
    pub(crate) enough: &'a AtomicBool,
    /// Persons who were sent a cascade; each one once.
    pub(crate) persons: AtomicUsize,
    /// References of events that were published to the intake, with their devices.
    pub(crate) events: tokio::sync::Mutex<Vec<(String, Arc<Vec<String>>)>>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(platform: &'a Platform, crowd: &'a Crowd, enough: &'a AtomicBool) -> Self {
        Self { platform, crowd, enough, persons: AtomicUsize::new(0), events: tokio::sync::Mutex::default() }
    }

    /// All of it at once.
    ///
    /// # Errors
    /// If a call is refused, or gets no answer for two minutes.
    pub(crate) async fn feed(&self) -> Result<()> {
        tokio::try_join!(
            self.every(250, async |n| self.send(&format!("small-{n}"), self.some("small", n, 5), json!({})).await),
            self.every(1_500, async |n| self
                .send(&format!("larger-{n}"), self.some("larger", n, 140), json!({}))
                .await),
            self.every(3_000, async |n| self.campaign(n).await),
            self.every(700, async |n| self.scheduled(n).await),
            self.every(900, async |n| self.deferred(n).await),
            self.every(600, async |n| super::intakes::grpc(self, n).await),
            self.every(500, async |n| super::intakes::events(self, n).await),
            self.every(700, async |n| self.cascade(n).await),
            self.every(600, async |n| self.receipts(n).await),
            self.every(500, async |n| self.devices_and_setup(n).await),
            self.every(1_200, async |n| self.cancelled(n).await),
            self.every(900, async |n| super::intakes::poison(self, n).await),
        )?;
        Ok(())
    }

    async fn every(&self, pause_ms: u64, mut step: impl AsyncFnMut(usize) -> Result<()>) -> Result<()> {
        let mut number = 0;
        while !self.enough.load(Ordering::Relaxed) {
            step(number).await?;
            number += 1;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Ok(())
    }

    /// Neighbours, so that all platforms are among them.
    pub(crate) fn some(&self, purpose: &str, number: usize, count: usize) -> Vec<String> {
        let devices = &self.crowd.tenant.devices;
        let first = Dice::new(number as u64, purpose).below(devices.len());
        devices.iter().cycle().skip(first).take(count).map(|device| device.id.clone()).collect()
    }

    async fn send(&self, name: &str, devices: Vec<String>, more: Value) -> Result<()> {
        let app = &self.crowd.tenant.app;
        let mut body = json!({"app": app, "to": {"devices": devices}, "content": {"title": "Your order", "body": "is on its way"}});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.crowd.caller.send(&body, &format!("{app}-{name}"), Arc::new(devices)).await.map(drop)
    }

    async fn campaign(&self, number: usize) -> Result<()> {
        let crowd = self.crowd;
        let body =
            json!({"app": crowd.tenant.app, "to": {"all": true}, "content": {"title": "Sale", "data": {"n": number}}});
        let everybody: Vec<String> = crowd.tenant.devices.iter().map(|device| device.id.clone()).collect();
        crowd
            .caller
            .send(&body, &format!("{}-campaign-{number}", crowd.tenant.app), Arc::new(everybody))
            .await
            .map(drop)
    }

    async fn scheduled(&self, number: usize) -> Result<()> {
        let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_secs(2))?;
        let devices = self.some("scheduled", number, 2);
        self.send(&format!("scheduled-{number}"), devices, json!({"schedule": {"at": at.to_string()}})).await
    }

    /// A provider that asks to come again in two seconds: the row waits, and the scan publishes it.
    async fn deferred(&self, number: usize) -> Result<()> {
        let phones: Vec<&Device> = of(&self.crowd.tenant, Provider::Apns);
        let device = phones[number % phones.len()];
        let busy = Reply::status(429).retry_after(2);
        self.platform.sim.script(Provider::Apns, &device.token, [busy])?;
        self.send(&format!("deferred-{number}"), vec![device.id.clone()], json!({})).await
    }

    /// A text message a second after the push, since nobody reads; of every other one the pushes to APNs are overtaken by it, since APNs is busy.
    async fn cascade(&self, number: usize) -> Result<()> {
        let crowd = self.crowd;
        let first = self.persons.fetch_add(2, Ordering::Relaxed);
        let persons: Vec<String> =
            crowd.readers.devices.iter().skip(first).take(2).map(|device| device.id.clone()).collect();
        anyhow::ensure!(persons.len() == 2, "more persons are needed");
        let two = crowd.readers.devices.iter().skip(first).take(2);
        for device in two.filter(|device| device.provider == Provider::Apns && number.is_multiple_of(2)) {
            let busy = Reply::status(429).retry_after(600).times(20);
            self.platform.sim.script(Provider::Apns, &device.token, [busy])?;
        }
        let cascade = json!([{"unless": "read", "within": "1s",
                              "then": {"sms": {"from": onboard::SENDER, "text": "Your table is ready"}}}]);
        let body = json!({"app": crowd.readers.app, "to": {"devices": persons}, "content": {"title": "Your table"}, "cascade": cascade});
        crowd.texts.send(&body, &format!("{}-table-{first}", crowd.readers.app), Arc::new(persons)).await.map(drop)
    }

    /// Receipts for the newest pushes, some of them again and again.
    async fn receipts(&self, _: usize) -> Result<()> {
        let id = self.crowd.caller.book().accepted.iter().rev().nth(8).map(|(id, _)| id.clone());
        let Some(id) = id else { return Ok(()) };
        let query =
            provider_sim::Query { accepted: Some(true), notification_id: Some(id.clone()), ..Default::default() };
        let receipts: Vec<Value> = self
            .platform
            .sim
            .ledger()
            .records(&query)
            .iter()
            .filter_map(|record| record.body["carillon"]["r"].as_str().map(str::to_owned))
            .take(3)
            .map(|reference| json!({"notification_id": id, "run": reference, "event": "displayed"}))
            .collect();
        if receipts.is_empty() {
            return Ok(());
        }
        let body = json!({"receipts": receipts});
        let answer = self.crowd.caller.call(::http::Method::POST, "/v1/receipts", Some(&body), None).await?;
        answer.success("receipts").map(drop)
    }

    /// Registers a device, forgets it, and says an app's name again.
    async fn devices_and_setup(&self, number: usize) -> Result<()> {
        let (caller, app) = (&self.crowd.control, &self.crowd.spare.app);
        let path = format!("/v1/apps/{app}/devices/new-{number}");
        let token = format!("{:064x}", number + 1);
        let body = json!({"platform": "apns", "token": token, "user_id": format!("new-{number}")});
        caller.call(::http::Method::PUT, &path, Some(&body), None).await?.success("a registration")?;
        let gone = caller.call(::http::Method::DELETE, &path, None, None).await?;
        // Asked again after an answer that did not come, it is gone already.
        anyhow::ensure!(gone.status.is_success() || gone.status == 404, "{path}: {}", gone.words());
        let body = json!({"name": format!("Spare {number}")});
        caller.call(::http::Method::PATCH, "/v1/account", Some(&body), None).await?;
        caller.call(::http::Method::PUT, &format!("/v1/apps/{app}-b"), Some(&body), None).await?.success("an app")?;
        Ok(())
    }

    /// A provider that is busy for long, so that the notification is open when it is cancelled.
    async fn cancelled(&self, number: usize) -> Result<()> {
        let id = self.held(number, "cancelled").await?;
        let path = format!("/v1/notifications/{id}/cancel");
        let answer = self.crowd.control.call(::http::Method::POST, &path, None, None).await?;
        answer.success("cancel").map(drop)
    }

    /// Sends what stays open until somebody does something about it; its id.
    ///
    /// # Errors
    /// If the API refuses, or the provider is not asked in time.
    pub(crate) async fn held(&self, number: usize, name: &str) -> Result<String> {
        let (sim, spare) = (&self.platform.sim, &self.crowd.spare);
        let phones = of(spare, Provider::Apns);
        let device = phones[number % phones.len()];
        sim.clear_scripts(Some(Provider::Apns), Some(&device.token));
        sim.script(Provider::Apns, &device.token, [Reply::status(429).retry_after(600).times(20)])?;
        let body = json!({"app": spare.app, "to": {"devices": [device.id]}, "content": {"title": "Never mind"}});
        let key = format!("{}-{name}-{number}", spare.app);
        let sent = self.crowd.control.send(&body, &key, Arc::new(vec![device.id.clone()])).await?;
        let id = sent.context("a send was refused")?;
        let asked = provider_sim::Query { notification_id: Some(id.clone()), ..Default::default() };
        sim.ledger().wait(&asked, 1, Duration::from_secs(5)).await;
        self.put_off(&id).await?;
        Ok(id)
    }

    /// Until the ledger knows that the provider asked to come again later; without it for a while if somebody who knows is struck.
    async fn put_off(&self, id: &str) -> Result<()> {
        let sql = "SELECT 1 FROM chunks
                   WHERE notification_id = $1::text::uuid AND due_at > now() + interval '5 minutes'";
        let began = Instant::now();
        while began.elapsed() < PUT_OFF && self.platform.rows(sql, &[&id]).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// A tenant's devices of one provider.
pub(crate) fn of(tenant: &Tenant, provider: Provider) -> Vec<&Device> {
    tenant.devices.iter().filter(|device| device.provider == provider).collect()
}
