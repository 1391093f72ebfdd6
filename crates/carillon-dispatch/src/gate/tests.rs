use super::*;
use crate::breaker::{OPENS_AFTER, PROBE_EVERY};
use crate::host::STALE;
use carillon_telemetry::metrics::gauge;
use carillon_telemetry::names;
use proptest::prelude::*;

const HOST: &str = "push.example";

fn opened(now: Instant) -> Gate {
    let mut gate = Gate::default();
    assert_eq!((0..OPENS_AFTER).filter(|_| gate.learn(Lesson::Fails, HOST, now) == Change::Opened).count(), 1);
    gate
}

#[test]
fn a_host_that_is_away_holds_its_own_messages_and_no_others() {
    let now = Instant::now();
    let mut gate = opened(now);
    assert!(matches!(gate.admit(HOST, now), Admission::Hold(_, Reach::Host)));
    assert_eq!(gate.admit("other.example", now), Admission::Go);
    assert!(gate.closed([HOST].into_iter(), now).is_some());
    assert_eq!(gate.closed([HOST, "other.example"].into_iter(), now), None);
    assert_eq!(gate.admit(HOST, now + PROBE_EVERY), Admission::Probe);
    assert_eq!(gate.learn(Lesson::Works, HOST, now + PROBE_EVERY), Change::Recovered);
    assert_eq!(gate.admit(HOST, now + PROBE_EVERY), Admission::Go);
}

#[test]
fn a_preparation_that_fails_holds_all_hosts_until_one_succeeds() {
    let now = Instant::now();
    let mut gate = Gate::default();
    (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, PREPARATION, now));
    assert!(gate.closed([HOST].into_iter(), now).is_some());
    let then = now + PROBE_EVERY;
    assert_eq!(gate.closed([HOST].into_iter(), then), None, "one may try");
    assert_eq!(gate.learn(Lesson::Works, PREPARATION, then), Change::Recovered);
    assert_eq!((gate.closed([HOST].into_iter(), now), gate.hosts.len()), (None, 0));
}

#[test]
fn hosts_that_answer_are_not_remembered_and_those_that_fail_not_without_bound() {
    let now = Instant::now();
    let mut gate = Gate::default();
    for number in 0..3 * MOST_HOSTS {
        let host = format!("{number}.example");
        (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, &host, now));
        assert!(gate.hosts.len() <= MOST_HOSTS);
    }
    let mut gate = Gate::default();
    gate.learn(Lesson::Fails, HOST, now);
    gate.learn(Lesson::Works, HOST, now);
    assert!(gate.hosts.is_empty());
}

#[test]
fn a_host_that_asks_for_patience_gets_it_and_the_others_go_on() {
    let now = Instant::now();
    let mut gate = Gate::default();
    gate.learn(Lesson::Away(Duration::from_secs(5)), HOST, now);
    assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(5), Reach::Host));
    assert_eq!(gate.admit("other.example", now), Admission::Go);
    assert_eq!(gate.admit(HOST, now + Duration::from_secs(5)), Admission::Go, "one failure opens no breaker");
    (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Away(Duration::from_secs(5)), HOST, now));
    assert_eq!(gate.admit(HOST, now + Duration::from_secs(5)), Admission::Probe);
}

#[test]
fn a_throttle_is_waited_for_or_held_by_its_length() {
    let now = Instant::now();
    let mut gate = Gate::default();
    gate.learn(Lesson::Pause(Duration::from_secs(3)), HOST, now);
    assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(3), Reach::Credential));
    let later = now + Duration::from_secs(2);
    assert_eq!(gate.admit(HOST, later), Admission::Wait(Duration::from_secs(1), Reach::Credential));
    assert_eq!(gate.admit(HOST, now + Duration::from_secs(3)), Admission::Go);
}

#[test]
fn a_shorter_throttle_does_not_end_a_longer_one() {
    let now = Instant::now();
    let mut gate = Gate::default();
    gate.learn(Lesson::Pause(Duration::from_secs(60)), HOST, now);
    gate.learn(Lesson::Pause(Duration::from_secs(2)), HOST, now);
    assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(60), Reach::Credential));
}

#[test]
fn a_host_that_refuses_the_credential_holds_its_own_messages_and_says_so_once() {
    let now = Instant::now();
    let minute = Duration::from_secs(60);
    let mut gate = Gate::default();
    let said = [(); 3].map(|()| gate.learn(Lesson::Refused(minute), HOST, now));
    assert_eq!(said, [Change::Refused, Change::None, Change::None]);
    assert_eq!(gate.admit(HOST, now), Admission::Hold(minute, Reach::Host));
    assert_eq!(gate.admit("other.example", now), Admission::Go);
    assert_eq!(gate.closed([HOST, "other.example"].into_iter(), now), None);
    assert_eq!(gate.admit(HOST, now + minute), Admission::Go);
    assert!(gate.hosts.is_empty(), "what it said is over");
    assert_eq!(gate.learn(Lesson::Refused(minute), HOST, now + minute), Change::Refused);
}

#[test]
fn a_credential_that_is_refused_before_any_host_was_asked_holds_them_all() {
    let now = Instant::now();
    let minute = Duration::from_secs(60);
    let mut gate = Gate::default();
    let said = [(); 2].map(|()| gate.learn(Lesson::Refused(minute), PREPARATION, now));
    assert_eq!(said, [Change::Refused, Change::None]);
    assert_eq!(gate.admit(HOST, now), Admission::Hold(minute, Reach::Credential));
    assert_eq!(gate.closed([HOST].into_iter(), now), Some(minute));
}

#[test]
fn a_full_table_keeps_what_still_holds_and_lets_go_of_what_does_not() {
    let now = Instant::now();
    let mut gate = Gate::default();
    gate.learn(Lesson::Away(Duration::from_secs(30)), HOST, now);
    for number in 0..2 * MOST_HOSTS {
        gate.learn(Lesson::Fails, &format!("{number}.example"), now);
    }
    assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(30), Reach::Host));
    for number in 0..2 * MOST_HOSTS {
        (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, &format!("{number}.example"), now));
    }
    let later = now + STALE * 2;
    let lately = "lately.example";
    (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, lately, later));
    assert!(matches!(gate.admit(lately, later), Admission::Hold(_, Reach::Host)), "the dead made room");
}

#[test]
fn a_breaker_is_counted_while_it_is_open_however_that_ends() {
    let shown = gauge(&names::INFLIGHT, &[("stage", "breakers of a test")]);
    let now = Instant::now();
    let open = || {
        let mut gate = opened(now);
        gate.count(HOST, &shown);
        assert_eq!(shown.get(), 1);
        gate
    };
    let mut works = open();
    works.learn(Lesson::Works, HOST, now);
    assert_eq!(shown.get(), 0, "it works");
    let mut refused = open();
    assert_eq!(refused.learn(Lesson::Refused(Duration::from_secs(60)), HOST, now), Change::Refused);
    assert_eq!(shown.get(), 0, "it answers, with a refusal");
    let mut forgotten = open();
    forgotten.forget(now + STALE / 2);
    assert_eq!(shown.get(), 1, "it may well be asked again");
    forgotten.forget(now + STALE * 2);
    assert_eq!((shown.get(), forgotten.hosts.len()), (0, 0), "nobody sends there any more");
    drop(open());
    assert_eq!(shown.get(), 0, "the credential is gone");
}

#[test]
fn dead_tokens_among_living_ones_are_retired_and_a_whole_app_of_dead_ones_is_held() {
    let now = Instant::now();
    let mut mixed = Gate::default();
    for _ in 0..500 {
        mixed.answered(HOST, 1, now);
        assert_eq!(mixed.brakes(now), Brakes::No);
    }
    let mut wrong = Gate::default();
    let said: Vec<_> = (0..100).map(|_| wrong.brakes(now)).collect();
    let count = |what| said.iter().filter(|brakes| **brakes == what).count();
    assert_eq!([count(Brakes::No), count(Brakes::Now), count(Brakes::Still)], [50, 1, 49]);
    assert_eq!(wrong.admit(HOST, now), Admission::Hold(BRAKE_HOLD, Reach::Credential));
}

proptest! {
    #[test]
    fn whatever_happens_a_message_gets_through_once_the_provider_works(
        lessons in proptest::collection::vec((0u8..5, 0u64..5_000, 0u8..3), 0..60)
    ) {
        let mut now = Instant::now();
        let mut gate = Gate::default();
        let host = |number: u8| ["a", "b", PREPARATION][usize::from(number)];
        for (kind, ms, of) in lessons {
            now += Duration::from_millis(ms);
            gate.admit(host(of), now);
            let wait = Duration::from_millis(ms);
            let all = [Lesson::Works, Lesson::Fails, Lesson::Pause(wait), Lesson::Refused(wait), Lesson::Away(wait)];
            gate.learn(all[usize::from(kind)], host(of), now);
        }
        now += Duration::from_secs(120);
        gate.forget(now);
        for host in ["a", "b", "c"] {
            prop_assert!(gate.closed([host].into_iter(), now).is_none());
            prop_assert!(matches!(gate.admit(host, now), Admission::Go | Admission::Probe));
        }
    }
}

#[test]
fn a_host_comes_back_to_what_it_took_before_and_another_begins_low() {
    let start = Instant::now();
    let mut gate = Gate::default();
    for burst in 0..=200u64 {
        gate.answered(HOST, 64, start + Duration::from_millis(burst * 5));
        gate.answered("slow.example", 1, start + Duration::from_millis(burst * 5));
    }
    let down = start + Duration::from_secs(60);
    let came = |gate: &mut Gate, host: &str| {
        (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, host, down));
        let back = down + PROBE_EVERY;
        assert_eq!(gate.admit(host, back), Admission::Probe);
        assert_eq!(gate.learn(Lesson::Works, host, back), Change::Recovered);
        (0..10_000).filter(|i| gate.admit(host, back + Duration::from_micros(i * 100)) == Admission::Go).count()
    };
    assert!((1_600..=1_800).contains(&came(&mut gate, HOST)), "an eighth of 12,800");
    assert!((100..=120).contains(&came(&mut gate, "slow.example")));
}
