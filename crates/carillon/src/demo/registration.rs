//! Step 2: everybody registers.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::checks::Checks;
use super::people::{self, NEWS, People, SHOP};
use super::world::World;
use crate::api::Api;

/// Registrations under way at once.
const AT_ONCE: usize = 24;
/// A line of progress every so many.
const TELL_EVERY: usize = 1_000;

/// Makes subscriptions as browsers would, registers all devices, looks at some.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let (api, sim) = (world.api()?, world.sim()?);
    let keys = [(SHOP, world.tenant()?.vapid_key.clone()), (NEWS, vapid_key(&api, world).await?)];
    let mut subscriptions = std::collections::HashMap::new();
    for (app, key) in keys {
        subscriptions.insert(app, sim.subscriptions(people::browsers(app), key.as_deref()).await?);
    }
    world.people = People::new(subscriptions)?;
    let began = Instant::now();
    let registering = world.people.devices.iter().enumerate().map(|(number, device)| {
        let api = &api;
        let world = &*world;
        async move {
            let answer = api.put(&format!("/v1/apps/{}/devices/{}", device.app, device.id), &device.body).await?;
            if (number + 1).is_multiple_of(TELL_EVERY) {
                world.say(format!("{} devices registered", number + 1));
            }
            anyhow::Ok(answer["state"] == "active")
        }
    });
    let states: Vec<bool> = stream::iter(registering).buffer_unordered(AT_ONCE).try_collect().await?;
    let seconds = began.elapsed().as_secs_f64();
    let active = states.iter().filter(|active| **active).count();
    checks.equal("active devices", active, people::DEVICES);
    for device in world.people.devices.iter().step_by(601) {
        let shown = api.device(device.app, &device.id).await?;
        checks.equal("platform", shown["platform"].as_str(), Some(device.platform));
        checks.equal("user", shown["user_id"].as_str(), Some(device.user.as_str()));
        checks.equal("phone", shown["phone"].as_str().is_some(), device.phone.is_some());
    }
    let of = |platform: &str| world.people.devices.iter().filter(|device| device.platform == platform).count();
    let phones = world.people.devices.iter().filter(|device| device.phone.is_some()).count();
    checks.fact(format!(
        "{active} devices of {} users in {seconds:.1} s: {} APNs, {} FCM, {} Web Push; {phones} with a phone number",
        people::USERS,
        of("apns"),
        of("fcm"),
        of("webpush")
    ));
    Ok(())
}

/// The key that browsers of the second app subscribe with, read as one of its copies would read it.
async fn vapid_key(api: &Api, world: &World) -> Result<Option<String>> {
    let app = api.get(&format!("/v1/apps/{NEWS}")).await?;
    let Some(public_key) = app["public_key"].as_str() else { return Ok(None) };
    let copy = Api::new(world.platform.http()?.with_key(public_key));
    let client = copy.get(&format!("/v1/apps/{NEWS}/client")).await?;
    Ok(client["vapid_public_key"].as_str().map(str::to_owned))
}
