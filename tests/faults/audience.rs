//! A tenant with devices, as many as a row wants.

use crate::api::Api;
use crate::dice::Dice;
use crate::onboard;
use crate::platform::Platform;
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provider_sim::{NewSubscriptions, Provider};
use std::collections::HashMap;

/// Every so many devices one is a browser.
const BROWSERS: usize = 25;
/// The simulator makes no more at once.
const SUBSCRIPTIONS: usize = 100_000;
/// Rows of one insert.
const PAGE: usize = 5_000;

/// A device as the ledgers know it.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) provider: Provider,
    pub(crate) token: String,
}

/// A tenant of one row, with one app.
pub(crate) struct Tenant {
    pub(crate) app: String,
    pub(crate) key: String,
    pub(crate) app_key: i32,
    pub(crate) tenant_key: i32,
    pub(crate) devices: Vec<Device>,
    by_id: HashMap<String, usize>,
}

/// What is inserted of a device beside what [`Device`] holds.
struct Row {
    device: Device,
    p256dh: Option<Vec<u8>>,
    auth: Option<Vec<u8>>,
}

impl Tenant {
    /// Makes a tenant, an app and credentials through the public API, and devices behind its back: registering them is not
    /// what is tried here.
    ///
    /// # Errors
    /// What the API, the simulators or the database refuse.
    pub(crate) async fn new(platform: &Platform, id: &str, devices: usize, dice: &mut Dice) -> Result<Self> {
        let id = format!("{id}-{:06x}", dice.next() & 0xff_ffff);
        let http = platform.http.first().context("there is an ingest-api")?;
        let key = onboard::tenant(http, &platform.operator_key, &id).await?;
        let api = Api::new(http.with_key(&key));
        let app = format!("{id}-app");
        onboard::app(http, &api, &platform.sim_control, &app).await?;
        let sql = "SELECT a.app_key, a.tenant_key FROM apps a WHERE a.app = $1";
        let row = platform.rows(sql, &[&app]).await?.into_iter().next().context("the app is in the database")?;
        let mut tenant = Self {
            app,
            key,
            app_key: row.get(0),
            tenant_key: row.get(1),
            devices: Vec::with_capacity(devices),
            by_id: HashMap::new(),
        };
        let rows = rows(platform, devices, dice).await?;
        for page in rows.chunks(PAGE) {
            tenant.insert(platform, page).await?;
        }
        for row in rows {
            tenant.by_id.insert(row.device.id.clone(), tenant.devices.len());
            tenant.devices.push(row.device);
        }
        Ok(tenant)
    }

    async fn insert(&self, platform: &Platform, page: &[Row]) -> Result<()> {
        let ids: Vec<&str> = page.iter().map(|row| row.device.id.as_str()).collect();
        let platforms: Vec<i16> = page.iter().map(|row| number(row.device.provider)).collect();
        let tokens: Vec<&str> = page.iter().map(|row| row.device.token.as_str()).collect();
        let p256dh: Vec<Option<&[u8]>> = page.iter().map(|row| row.p256dh.as_deref()).collect();
        let auth: Vec<Option<&[u8]>> = page.iter().map(|row| row.auth.as_deref()).collect();
        let sql = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, p256dh, auth,
                                        user_id, environment, phone)
                   SELECT $1, $2, d.id, 'u:u' || d.id, d.platform, d.platform, d.token, sha256(d.token::bytea), d.p256dh,
                          d.auth, 'u' || d.id, 1, '+48501' || right(d.id, 6)
                   FROM unnest($3::text[], $4::smallint[], $5::text[], $6::bytea[], $7::bytea[])
                        AS d(id, platform, token, p256dh, auth)";
        platform.rows(sql, &[&self.tenant_key, &self.app_key, &ids, &platforms, &tokens, &p256dh, &auth]).await?;
        Ok(())
    }

    /// A device by its id.
    pub(crate) fn device(&self, id: &str) -> Option<&Device> {
        self.devices.get(*self.by_id.get(id)?)
    }

    /// The phone of the person who has the device: each has one.
    pub(crate) fn phone_of(device: &Device) -> String {
        format!("+48501{}", &device.id[device.id.len() - 6..])
    }
}

/// As the database has it, for platform and for os alike.
fn number(provider: Provider) -> i16 {
    match provider {
        Provider::Apns => 1,
        Provider::Fcm => 2,
        _ => 3,
    }
}

async fn rows(platform: &Platform, devices: usize, dice: &mut Dice) -> Result<Vec<Row>> {
    let mut subscriptions = Vec::new();
    let browsers = devices.div_ceil(BROWSERS);
    while subscriptions.len() < browsers {
        let count = (browsers - subscriptions.len()).min(SUBSCRIPTIONS);
        let wanted = NewSubscriptions { count, application_server_key: None };
        subscriptions.extend(platform.sim.create_subscriptions(wanted).await?);
    }
    let mut rows = Vec::with_capacity(devices);
    for number in 0..devices {
        let id = format!("d{number:07}");
        let mut word = || format!("{:016x}", dice.next());
        let row = if number % BROWSERS == 0 {
            let one = subscriptions.pop().context("a subscription for each browser")?;
            let device = Device { id, provider: Provider::Webpush, token: one.endpoint };
            let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
            Row { device, p256dh: Some(decode(&one.keys.p256dh)?), auth: Some(decode(&one.keys.auth)?) }
        } else if number % 2 == 0 {
            let token = format!("{}{}{}{}", word(), word(), word(), word());
            Row { device: Device { id, provider: Provider::Apns, token }, p256dh: None, auth: None }
        } else {
            let tail: String = (0..8).map(|_| word()).collect();
            let token = format!("{}{}:APA91b{tail}", word(), &word()[..6]);
            Row { device: Device { id, provider: Provider::Fcm, token }, p256dh: None, auth: None }
        };
        rows.push(row);
    }
    Ok(rows)
}
