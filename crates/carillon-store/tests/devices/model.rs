//! Random registrations: in order against a model, and at once against the invariants.

use crate::database::Database;
use crate::{apns, get};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceChange, DeviceState};
use carillon_store::{Registered, Registrar};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One call about one of few devices, tokens and users, so that they meet often.
#[derive(Clone, Debug)]
enum Step {
    Put { device: u8, token: Option<u8>, user: Option<Option<u8>>, primary: Option<bool>, active: Option<bool> },
    Forget { device: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let put = (
        0u8..4,
        proptest::option::weighted(0.7, 0u8..4),
        proptest::option::weighted(0.4, proptest::option::weighted(0.8, 0u8..2)),
        proptest::option::weighted(0.3, any::<bool>()),
        proptest::option::weighted(0.2, any::<bool>()),
    )
        .prop_map(|(device, token, user, primary, active)| Step::Put { device, token, user, primary, active });
    prop_oneof![8 => put, 1 => (0u8..4).prop_map(|device| Step::Forget { device })]
}

/// A device as the rules have it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    token: u8,
    user: Option<u8>,
    primary: bool,
    state: DeviceState,
    reason: Option<Reason>,
    generation: u32,
}

type Model = BTreeMap<u8, Known>;

fn change(step: &Step) -> (u8, Option<DeviceChange>) {
    match step {
        Step::Put { device, token, user, primary, active } => {
            let change = DeviceChange {
                token: token.map(|n| apns(n.into())),
                user_id: user.map(|user| user.map(|n| format!("u{n}"))),
                primary: *primary,
                active: *active,
                ..Default::default()
            };
            (*device, Some(change))
        }
        Step::Forget { device } => (*device, None),
    }
}

/// The rules, said another way than the store says them.
fn expect(model: &mut Model, step: &Step) {
    let Step::Put { device, token, user, primary, active } = step else {
        let (Step::Forget { device } | Step::Put { device, .. }) = step;
        model.remove(device);
        return;
    };
    let Some(at) = token.or(model.get(device).map(|known| known.token)) else { return };
    if token.is_some() {
        for (_, other) in
            model.iter_mut().filter(|(d, o)| *d != device && o.token == at && o.state != DeviceState::Invalid)
        {
            (other.state, other.reason) = (DeviceState::Invalid, Some(Reason::TokenMoved));
        }
    }
    let fresh =
        Known { token: at, user: None, primary: false, state: DeviceState::Active, reason: None, generation: 0 };
    let mut known = model.get(device).cloned().unwrap_or(fresh);
    if let Some(user) = user {
        known.primary &= *user == known.user;
        known.user = *user;
    }
    if token.is_some() {
        known.token = at;
        known.generation += 1;
        if known.state == DeviceState::Invalid {
            (known.state, known.reason) = (DeviceState::Active, None);
        }
    }
    if let Some(active) = active
        && known.state != DeviceState::Invalid
    {
        (known.state, known.reason) =
            if *active { (DeviceState::Active, None) } else { (DeviceState::Inactive, Some(Reason::Inactive)) };
    }
    known.primary = primary.unwrap_or(known.primary);
    if known.primary && known.user.is_some() {
        for (_, other) in model.iter_mut().filter(|(d, o)| *d != device && o.user == known.user) {
            other.primary = false;
        }
    }
    model.insert(*device, known);
}

async fn apply(db: &Database, step: &Step) {
    let (device, change) = change(step);
    let device = format!("d{device}");
    match change {
        Some(change) => {
            match db.store.put_device(db.tenant, db.app, &device, &change, Registrar::Server).await.expect("taken") {
                Registered::Done { .. } => {}
                Registered::Refused(faults) => {
                    assert_eq!(faults.as_slice()[0].pointer, "/token", "only a new device needs one")
                }
                other => panic!("{other:?}"),
            }
        }
        None => drop(db.store.forget_device(db.tenant, db.app, &device).await.expect("taken")),
    }
}

async fn read(db: &Database) -> Model {
    let mut model = Model::new();
    for device in 0..4u8 {
        let Some(row) = get(db, &format!("d{device}")).await else { continue };
        let token = (0..4u8).find(|n| row.token == Some(apns((*n).into()))).expect("one of ours");
        let user = row.user_id.as_deref().map(|user| user[1..].parse().expect("one of ours"));
        let known = Known {
            token,
            user,
            primary: row.primary,
            state: row.state,
            reason: row.reason,
            generation: row.generation,
        };
        model.insert(device, known);
    }
    model
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::new(ProptestConfig { cases, max_shrink_iters: 200, ..ProptestConfig::default() })
}

/// Proptest drives from outside the runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn registrations_one_after_another_are_what_the_rules_say() {
    runner(24)
        .run(&proptest::collection::vec(step(), 1..40), |steps| {
            let (ours, theirs) = block_on(async {
                let db = Database::new().await;
                let mut model = Model::new();
                for step in &steps {
                    apply(&db, step).await;
                    expect(&mut model, step);
                }
                let theirs = read(&db).await;
                db.drop_it().await;
                (model, theirs)
            });
            prop_assert_eq!(ours, theirs);
            Ok(())
        })
        .unwrap();
}

#[test]
fn registrations_at_once_leave_one_live_device_per_token_and_per_id() {
    runner(8)
        .run(&proptest::collection::vec(proptest::collection::vec(step(), 1..25), 8), |tasks| {
            block_on(async {
                let db = Database::new().await;
                let all = tasks.iter().map(|steps| {
                    let db = &db;
                    async move {
                        for step in steps {
                            apply(db, step).await;
                        }
                    }
                });
                futures::future::join_all(all).await;
                check_invariants(&db).await;
                db.drop_it().await;
            });
            Ok(())
        })
        .unwrap();
}

async fn check_invariants(db: &Database) {
    let doubles = |what: &str, condition: &str| {
        format!(
            "(SELECT count(*) FROM (SELECT 1 FROM devices WHERE {condition} GROUP BY {what} HAVING count(*) > 1) x)"
        )
    };
    let sql = format!(
        "SELECT {}, {}, {}, (SELECT count(*) FROM devices WHERE state = 5 AND (token IS NOT NULL OR user_id IS NOT NULL)),
            (SELECT count(*) FROM devices WHERE state = 1 AND token_hash IS NULL)",
        doubles("token", "state IN (1, 2)"),
        doubles("device", "state <> 5"),
        doubles("person", "is_primary AND state <> 5")
    );
    let row = db.sql.query_one(&sql, &[]).await.expect("counts");
    let counts: Vec<i64> = (0..5).map(|i| row.get(i)).collect();
    assert_eq!(counts, [0; 5], "tokens, ids, primaries, forgotten with data, live without a token");
}

/// The first statement that does this to a device is the one that the database ends, as if it and others waited for each other.
async fn first_waits_in_a_circle(db: &Database, doing: &str) {
    let once = format!(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION circle() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('tries') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER circle BEFORE {doing} ON devices FOR EACH ROW EXECUTE FUNCTION circle()"
    );
    db.sql.batch_execute(&once).await.expect("SQL");
}

#[tokio::test]
async fn a_registration_that_the_database_ends_as_it_waits_in_a_circle_begins_again() {
    let db = Database::new().await;
    first_waits_in_a_circle(&db, "INSERT").await;
    let change = DeviceChange { token: Some(apns(1)), ..Default::default() };
    let who = Registrar::Newcomer { secret_hash: [1; 32] };
    let registered = db.store.put_device(db.tenant, db.app, "d", &change, who).await.expect("taken");
    assert!(matches!(registered, Registered::Done { created: true, .. }));
    assert_eq!(db.count("state = 1").await, 1);
    db.drop_it().await;
}

#[tokio::test]
async fn a_device_is_forgotten_though_the_database_ends_the_first_try() {
    let db = Database::new().await;
    let change = DeviceChange { token: Some(apns(1)), ..Default::default() };
    db.store.put_device(db.tenant, db.app, "d", &change, Registrar::Server).await.expect("taken");
    first_waits_in_a_circle(&db, "UPDATE").await;
    assert!(db.store.forget_device(db.tenant, db.app, "d").await.expect("forgotten"));
    assert_eq!(db.count("state = 5").await, 1);
    db.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_apps_that_start_at_once_with_one_token_leave_one_of_them_live() {
    let db = Database::new().await;
    let began = Instant::now();
    let all = (0..50).map(|n| {
        let db = &db;
        async move {
            let change = DeviceChange { token: Some(apns(1)), ..Default::default() };
            let who = Registrar::Newcomer { secret_hash: [n; 32] };
            db.store.put_device(db.tenant, db.app, &format!("d{n}"), &change, who).await.unwrap()
        }
    });
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|r| matches!(r, Registered::Done { created: true, .. })));
    assert_eq!(db.count("state = 1").await, 1);
    assert_eq!(db.count("state = 3 AND reason = 4").await, 49);
    assert!(began.elapsed() < Duration::from_secs(20));
    db.drop_it().await;
}
