//! One whole path through every real part, with somebody dying in the middle.

use carillon_domain::audience::Audience;
use carillon_domain::condition::Condition;
use carillon_tests::{Service, World, eventually};
use provider_sim::{Conditions, Provider, Reply};
use std::collections::BTreeSet;

fn users(names: &[&str]) -> Audience {
    Audience { users: names.iter().collect(), ..Default::default() }
}

fn everybody() -> Audience {
    Audience { all: true, ..Default::default() }
}

#[test]
fn a_push_reaches_every_device_of_its_user_once() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 3).await;
        tenant.phones("somebody-else", 2).await;
        let id = tenant.send(users(&["ola"])).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        let seen = tenant.seen(id);
        assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), phones.iter().map(|p| p.token.clone()).collect());
        assert!(seen.values().all(|n| *n == 1));
        assert_eq!(tenant.counts(id).await, (3, 3, 3));
    });
}

#[test]
fn a_person_without_a_device_is_told_apart_and_an_empty_audience_is_finished() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.send(users(&["nobody"])).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        assert_eq!(tenant.counts(id).await, (1, 0, 1));
        let empty = tenant.send(everybody()).await;
        eventually("the empty run is finished", async || tenant.is_finished(empty).await).await;
        assert_eq!(tenant.counts(empty).await, (0, 0, 0));
    });
}

#[test]
fn only_devices_of_which_the_condition_is_true_are_reached() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 3).await;
        tenant.phones("somebody-else", 2).await;
        let sql = "UPDATE devices SET tags = '{vip}', app_version = '4.10.0' WHERE app_key = $1 AND device = $2";
        tenant.sql().execute(sql, &[&tenant.app_key(), &phones[1].device]).await.unwrap();
        let condition = Condition::parse("tags has 'vip' and app_version > '4.9'").ok();
        let id = tenant.send(Audience { condition, ..Default::default() }).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        assert_eq!(tenant.seen(id), [(phones[1].token.clone(), 1)].into());
        assert_eq!(tenant.counts(id).await, (1, 1, 1));
    });
}

#[test]
fn a_dead_token_leaves_the_registry_and_the_others_are_reached() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 3).await;
        world.sim.script(Provider::Apns, &phones[1].token, [Reply::unregistered(Provider::Apns)]).unwrap();
        let id = tenant.send(users(&["ola"])).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        assert_eq!(tenant.counts(id).await, (3, 2, 3));
        let sql = "SELECT state FROM devices WHERE app_key = $1 AND device = $2";
        let state: i16 = tenant.sql().query_one(sql, &[&tenant.app_key(), &phones[1].device]).await.unwrap().get(0);
        assert_eq!(state, 3);
    });
}

#[test]
fn a_pause_stops_a_campaign_within_two_seconds_and_after_the_resume_everybody_is_reached_once() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        // More than all dispatchers may have under way at once.
        let devices = 1_500;
        for user in 0..devices / 5 {
            tenant.phones(&format!("u{user:03}"), 5).await;
        }
        world.sim.set_conditions(Provider::Apns, Conditions { delay_ms: 700, ..Conditions::default() }).unwrap();
        let id = tenant.send(everybody()).await;
        eventually("sending has begun", async || tenant.seen(id).len() > 20).await;
        tenant.pause(id, true).await;
        let two_seconds = std::time::Instant::now() + std::time::Duration::from_secs(2);
        eventually("two seconds are over", async || std::time::Instant::now() >= two_seconds).await;
        let seen = tenant.seen(id).len();
        // What was under way is told, and nothing follows.
        eventually("what was under way is told", async || tenant.counts(id).await.1 as usize == seen).await;
        assert!(seen < devices && !tenant.is_finished(id).await);
        world.sim.set_conditions(Provider::Apns, Conditions::default()).unwrap();
        assert_eq!(tenant.seen(id).len(), seen);
        tenant.pause(id, false).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        let seen = tenant.seen(id);
        assert!(seen.len() == devices && seen.values().all(|n| *n == 1), "{} of {devices}", seen.len());
        let devices = devices as i64;
        assert_eq!(tenant.counts(id).await, (devices, devices, devices));
    });
}

#[test]
fn nothing_is_lost_when_replicas_are_killed_while_devices_come_and_go() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let mut kept = Vec::new();
        for user in 0..100 {
            kept.extend(tenant.phones(&format!("u{user:03}"), 3).await);
        }
        let slow = Conditions { delay_ms: 40, ..Conditions::default() };
        world.sim.set_conditions(Provider::Apns, slow).unwrap();
        let id = tenant.send(everybody()).await;
        eventually("sending has begun", async || tenant.seen(id).len() > 20).await;
        world.kill_one(Service::DispatcherApns).await;
        world.kill_one(Service::StatusCollector).await;
        // Devices are deleted and registered again meanwhile: new ones are out by definition, deleted ones may go either way.
        let sql =
            "UPDATE devices SET state = 5, token = NULL, token_hash = NULL WHERE app_key = $1 AND device = ANY($2)";
        let gone: Vec<String> = kept.iter().step_by(30).map(|p| p.device.clone()).collect();
        tenant.sql().execute(sql, &[&tenant.app_key(), &gone]).await.unwrap();
        for device in &gone {
            tenant.phone("u050", device).await;
        }
        world.kill_one(Service::Segmenter).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        world.sim.set_conditions(Provider::Apns, Conditions::default()).unwrap();

        let seen = tenant.seen(id);
        let (total, sent, closed) = tenant.counts(id).await;
        assert_eq!((total, closed), (300, 300));
        let lost: Vec<_> = kept.iter().filter(|p| !gone.contains(&p.device) && !seen.contains_key(&p.token)).collect();
        assert!(lost.is_empty(), "{} of 300 were never sent", lost.len());
        // One dispatcher died: at most 64 unreported results for each chunk in its hands, and what was in flight.
        let repeated: usize = seen.values().map(|n| n - 1).sum();
        assert!(repeated <= 8 * 64, "{repeated} repeated");
        assert!(sent as usize <= seen.len());
    });
}
