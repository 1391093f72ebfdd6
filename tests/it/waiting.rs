//! What cannot go out yet, or not at once.

use carillon_domain::audience::Audience;
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::limits;
use carillon_domain::phone::Phone;
use carillon_domain::platform::Platform;
use carillon_tests::{World, eventually};
use std::collections::BTreeSet;

fn users(names: &[&str]) -> Audience {
    Audience { users: names.iter().collect(), ..Default::default() }
}

#[test]
fn what_waits_for_a_credential_goes_out_when_there_is_one() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 2).await;
        let deleted = "UPDATE credentials SET deleted_at = now() WHERE app_key = $1";
        tenant.sql().execute(deleted, &[&tenant.app_key()]).await.unwrap();
        let id = tenant.send(users(&["ola"])).await;
        let put_off =
            "SELECT count(*) FROM chunks WHERE notification_id = $1 AND not_before <> '' AND lease_until IS NULL";
        eventually("a dispatcher has put it off", async || {
            tenant.sql().query_one(put_off, &[&id.0]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        assert!(tenant.seen(id).is_empty());
        let back = "UPDATE credentials SET deleted_at = NULL WHERE app_key = $1 RETURNING tenant_key";
        let tenant_key: i32 = tenant.sql().query_one(back, &[&tenant.app_key()]).await.unwrap().get(0);
        let app = AppKey(tenant.app_key());
        assert_eq!(world.store.wake_held(TenantKey(tenant_key), app, Platform::Apns).await.unwrap(), 1);
        let begun = std::time::Instant::now();
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        assert!(begun.elapsed().as_secs() < 45, "not by the minute after which it is tried anyway");
        assert_eq!(tenant.seen(id).into_keys().collect::<BTreeSet<_>>(), phones.into_iter().map(|p| p.token).collect());
    });
}

#[test]
fn a_phone_reaches_all_devices_of_the_user_who_has_it() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        let phones = tenant.phones("ola", 3).await;
        tenant.phones("jan", 1).await;
        let number = "UPDATE devices SET phone = '+48501502503' WHERE app_key = $1 AND device = $2";
        tenant.sql().execute(number, &[&tenant.app_key(), &phones[0].device]).await.unwrap();
        let to = Audience { phones: vec![Phone::from_e164("+48501502503")], ..Default::default() };
        let id = tenant.send(to).await;
        eventually("the run is finished", async || tenant.is_finished(id).await).await;
        assert_eq!(tenant.seen(id).into_keys().collect::<BTreeSet<_>>(), phones.into_iter().map(|p| p.token).collect());
    });
}

#[test]
fn a_few_names_with_more_devices_than_a_transaction_holds_are_walked_page_by_page() {
    World::run(async |world| {
        let tenant = world.tenant().await;
        // Switched off, so that none of them is sent to: who is meant is what is asked here.
        let fill = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id, state, reason)
                    SELECT a.tenant_key, a.app_key, 'x' || i, 'u:guest' || i % 3, 1, 1, i::text, sha256(i::text::bytea),
                        'guest' || i % 3, 2, 2
                    FROM apps a, generate_series(1, $2::int4) i WHERE a.app_key = $1";
        let many = limits::PERSON_DEVICES as i32 / 2 * 3;
        tenant.sql().execute(fill, &[&tenant.app_key(), &many]).await.unwrap();
        let phone = tenant.phones("ola", 1).await.remove(0);
        let guests = users(&["guest0", "guest1", "guest2", "nobody", "ola"]);
        let ids = tenant.send_together(vec![(guests, String::new()), (users(&["ola"]), String::new())]).await;
        for (id, total) in [(ids[0], i64::from(many) + 2), (ids[1], 1)] {
            eventually("the run is finished", async || tenant.is_finished(id).await).await;
            assert_eq!(tenant.counts(id).await, (total, 1, total));
            assert_eq!(tenant.seen(id).into_keys().collect::<Vec<_>>(), std::slice::from_ref(&phone.token));
        }
        // Whole persons, each once, in more than one commit.
        let sql = "SELECT recipients, epoch FROM notifications WHERE notification_id = $1";
        let row = tenant.sql().query_one(sql, &[&ids[0].0]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 5);
        assert!(row.get::<_, i32>(1) >= 3, "{} pages", row.get::<_, i32>(1));
    });
}
