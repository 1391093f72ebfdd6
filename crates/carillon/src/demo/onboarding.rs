//! Step 1: a tenant, two apps, credentials.

use anyhow::{Context as _, Result};

use super::checks::Checks;
use super::people::{NEWS, SHOP};
use super::world::World;
use crate::api::Api;
use crate::dev::onboard::{self, Tenant};

const TENANT: &str = "acme";

/// Makes them through the public API, reads them back.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let (http, sim) = (world.platform.http()?, world.sim()?);
    let server_key = onboard::tenant(&http, world.platform.operator_key()?, TENANT).await?;
    world.say(format!("tenant {TENANT} has a server key"));
    let api = Api::new(http.with_key(&server_key));
    let shop = onboard::app(&http, &api, &sim, SHOP).await?;
    onboard::app(&http, &api, &sim, NEWS).await?;
    onboard::sms(&api, &sim).await.context("SMS")?;
    world.say(
        "apps shop and news have an APNs .p8 key, an FCM service account and a VAPID key, and an SMS gateway is set",
    );
    for app in [SHOP, NEWS] {
        for platform in ["apns", "fcm", "webpush"] {
            let shown = api.get(&format!("/v1/apps/{app}/credentials/{platform}")).await?;
            checks.equal("platform of a credential", shown["platform"].as_str(), Some(platform));
            checks.expect(shown["status"] != "suspended", || format!("{app} {platform} is {}", shown["status"]));
            let text = shown.to_string();
            checks.expect(!text.contains("PRIVATE KEY"), || format!("{app} {platform} shows its secret"));
        }
    }
    checks.expect(shop.vapid_key.is_some(), || "the app's client configuration has no vapid_public_key".to_owned());
    let tenant = Tenant {
        id: TENANT.to_owned(),
        app: SHOP.to_owned(),
        server_key,
        public_key: shop.public_key,
        vapid_key: shop.vapid_key,
    };
    world.platform.announce(&tenant)?;
    world.tenant = Some(tenant);
    checks.fact("1 tenant, 2 apps, 6 credentials, none of them shown again");
    Ok(())
}
