//! Exactly one text for everybody who did not read in time, whoever dies.

use crate::world::{World, phone, reachable};
use carillon_domain::cascade::{CascadeState, Sms};
use carillon_domain::receipt::CascadeEffect;
use provider_sim::{Conditions, Provider};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

const PEOPLE: usize = 300;

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Reads around the deadline, in small groups, from several callers at once; what each reader was told.
async fn read_around_the_deadline(
    world: &World,
    chunk: carillon_domain::ids::ChunkId,
    dice: &mut Dice,
    deadline: Instant,
) -> HashMap<usize, CascadeEffect> {
    let mut groups: Vec<(Duration, Vec<usize>)> = Vec::new();
    for person in (0..PEOPLE).filter(|_| dice.below(10) < 6).collect::<Vec<_>>() {
        if groups.is_empty() || dice.below(3) == 0 {
            groups.push((Duration::from_millis(dice.below(700)), Vec::new()));
        }
        groups.last_mut().expect("a group").1.push(person);
    }
    let start = deadline - Duration::from_millis(300);
    let readers = groups.into_iter().map(|(after, people)| {
        let (store, tenant) = (world.store.clone(), world.tenant);
        async move {
            tokio::time::sleep_until((start + after).into()).await;
            let effects = World::open(&store, tenant, chunk, &people).await;
            people.into_iter().zip(effects).collect::<Vec<_>>()
        }
    });
    futures::future::join_all(readers).await.into_iter().flatten().collect()
}

/// Returns how many messages somebody else had to take up.
async fn race(seed: u64) -> i64 {
    let world = World::new().await;
    let mut dice = Dice(seed);
    world.sim.set_conditions(Provider::Sms, Conditions { delay_ms: 30, ..Default::default() }).unwrap();
    let people: Vec<_> = (0..PEOPLE).map(reachable).collect();
    let sent = world.send(Sms::default(), 2, &people).await;
    world.accept_pushes(&sent).await;
    let deadline = Instant::now() + Duration::from_secs(2);
    let small =
        [("CARILLON_CASCADE__BATCH", "24"), ("CARILLON_CASCADE__REQUESTS", "8"), ("CARILLON_CASCADE__LEASE", "3s")];
    let (mortal, survivor) = (world.service(&small).await, world.service(&small).await);
    let kill_after = Duration::from_millis(40 + dice.below(150));
    let killed = async {
        tokio::time::sleep_until((deadline + kill_after).into()).await;
        mortal.kill().await;
    };
    let (told, ()) = tokio::join!(read_around_the_deadline(&world, sent.chunk, &mut dice, deadline), killed);
    world.settled(sent.run).await;

    let mut texts: HashMap<String, usize> = HashMap::new();
    for record in world.texts() {
        *texts.entry(record.token).or_default() += 1;
    }
    for person in 0..PEOPLE {
        let got = texts.get(&phone(person)).copied().unwrap_or(0);
        let stopped = told.get(&person) == Some(&CascadeEffect::Stopped);
        assert_eq!(got, usize::from(!stopped), "seed {seed}, person {person}, told {:?}", told.get(&person));
        let state = world.standing(sent.run, person as i32).await.state;
        assert_eq!(
            state,
            if stopped { CascadeState::Cancelled } else { CascadeState::Sent },
            "seed {seed}, person {person}"
        );
    }
    let effects: HashSet<CascadeEffect> = told.values().copied().collect();
    assert!(
        effects.contains(&CascadeEffect::Stopped) && effects.contains(&CascadeEffect::TooLate),
        "no race: {effects:?}"
    );
    assert_eq!(world.sim.ledger().summary().of(Provider::Sms).duplicates, 0);
    assert_eq!(world.count(sent.run, 2, "sent").await, world.texts().len() as i64);
    world.eventually("the run is finished", async || world.finished(sent.run).await).await;
    survivor.stop().await.expect("a clean drain");
    let sql = "SELECT count(*) FROM cascades WHERE attempts > 1";
    let taken_up = world.sql.query_one(sql, &[]).await.unwrap().get(0);
    world.end().await;
    taken_up
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_was_told_stopped_gets_no_text_and_everybody_else_exactly_one_though_a_replica_dies() {
    let mut taken_up = 0;
    for seed in [1, 2, 3] {
        taken_up += race(seed).await;
    }
    assert!(taken_up > 0, "the kill struck nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_drains_finishes_what_is_in_flight_and_gives_the_rest_back_at_once() {
    let world = World::new().await;
    world.sim.set_conditions(Provider::Sms, Conditions { delay_ms: 300, ..Default::default() }).unwrap();
    let people: Vec<_> = (0..60).map(|i| crate::world::Somebody { devices: 0, ..reachable(i) }).collect();
    let sent = world.send(Sms::default(), 60, &people).await;
    let leaving = world.service(&[("CARILLON_CASCADE__REQUESTS", "5")]).await;
    world.eventually("the gateway has the first ones", async || world.texts().len() >= 5).await;
    leaving.stop().await.expect("a clean drain");
    let taken = world.texts().len();
    assert!(taken < 60, "it did not stop");
    // Nobody has to wait for its lease.
    let free = "SELECT count(*) FROM cascades WHERE state = 2 AND due_at <= now() AND lease_until IS NULL";
    assert_eq!(world.sql.query_one(free, &[]).await.unwrap().get::<_, i64>(0), 60 - taken as i64);
    let next = world.service(&[]).await;
    world.settled(sent.run).await;
    assert_eq!(world.texts().len(), 60);
    assert_eq!(world.sim.ledger().summary().of(Provider::Sms).duplicates, 0);
    next.stop().await.expect("a clean drain");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_takes_its_time_does_not_keep_the_next_messages_waiting() {
    let world = World::new().await;
    let people: Vec<_> = (0..20).map(|i| crate::world::Somebody { devices: 0, ..reachable(i) }).collect();
    let sent = world.send(Sms::default(), 60, &people).await;
    // What became of a message cannot be written.
    world.sql.batch_execute("BEGIN; LOCK TABLE deliveries IN SHARE MODE").await.unwrap();
    let service = world.service(&[("CARILLON_CASCADE__REQUESTS", "1")]).await;
    world.eventually("the gateway has them all", async || world.texts().len() == 20).await;
    let open = "SELECT count(*) FROM cascades WHERE state = 2";
    assert_eq!(world.sql.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 20, "nothing is committed");
    world.sql.batch_execute("COMMIT").await.unwrap();
    world.settled(sent.run).await;
    assert_eq!(world.count(sent.run, 2, "sent").await, 20);
    assert_eq!(world.texts().len(), 20);
    service.stop().await.expect("a clean drain");
    world.end().await;
}
