//! Which deliveries are out, which are done, and the fewest acknowledgements that say so.

use std::collections::BTreeMap;

/// One `basic.ack` (AMQP 0-9-1, 1.8.3.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) tag: u64,
    /// Also everything before `tag` that is still out.
    pub(crate) multiple: bool,
}

/// The deliveries of one channel that the broker has not heard about.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// Delivery tag -> done.
    out: BTreeMap<u64, bool>,
    done: usize,
}

impl Unacked {
    /// The broker handed `tag` out.
    pub(crate) fn delivered(&mut self, tag: u64) {
        self.out.insert(tag, false);
    }

    /// The work on `tag` is done and confirmed.
    pub(crate) fn done(&mut self, tag: u64) {
        if let Some(done @ false) = self.out.get_mut(&tag) {
            *done = true;
            self.done += 1;
        }
    }

    /// `tag` was given back to the broker another way; no acknowledgement may cover it any more.
    pub(crate) fn returned(&mut self, tag: u64) {
        if self.out.remove(&tag) == Some(true) {
            self.done -= 1;
        }
    }

    /// How many are done and not acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.done
    }

    /// Takes the acknowledgements to send: one for the unbroken run of done deliveries at the front, one each for the others.
    /// The tag of a `multiple` is always still out: the broker closes the channel over one that is not.
    pub(crate) fn take(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut front = None;
        while let Some(entry) = self.out.first_entry() {
            if !*entry.get() {
                break;
            }
            let previous = front.replace(Ack { tag: *entry.key(), multiple: front.is_some() });
            debug_assert!(previous.is_none_or(|ack| ack.tag < *entry.key()));
            entry.remove();
            self.done -= 1;
        }
        acks.extend(front);
        if self.done > 0 {
            self.out.retain(|tag, done| {
                if *done {
                    acks.push(Ack { tag: *tag, multiple: false });
                }
                !*done
            });
            self.done = 0;
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_finished_run_is_one_acknowledgement() {
        let mut unacked = Unacked::default();
        (1..=5).for_each(|tag| unacked.delivered(tag));
        [2, 1, 3].into_iter().for_each(|tag| unacked.done(tag));
        assert_eq!(unacked.take(), [Ack { tag: 3, multiple: true }]);
        assert_eq!(unacked.take(), []);
    }

    #[test]
    fn what_finished_behind_a_slow_one_is_acknowledged_alone() {
        let mut unacked = Unacked::default();
        (1..=4).for_each(|tag| unacked.delivered(tag));
        [1, 3].into_iter().for_each(|tag| unacked.done(tag));
        assert_eq!(unacked.take(), [Ack { tag: 1, multiple: false }, Ack { tag: 3, multiple: false }]);
        [2, 4].into_iter().for_each(|tag| unacked.done(tag));
        assert_eq!(unacked.take(), [Ack { tag: 4, multiple: true }]);
    }

    proptest! {
        /// Against a broker that keeps the set of what is out and closes the channel over a tag it does not know.
        #[test]
        fn exactly_what_is_done_is_acknowledged_and_never_a_tag_the_broker_forgot(
            steps in proptest::collection::vec((0_u8..4, 0_u64..40), 1..200)
        ) {
            let mut unacked = Unacked::default();
            let (mut broker, mut done, mut next) = (BTreeSet::new(), BTreeSet::new(), 1);
            for (what, pick) in steps {
                let chosen = broker.iter().copied().nth(pick as usize % broker.len().max(1));
                match (what, chosen) {
                    (0, _) => { unacked.delivered(next); broker.insert(next); next += 1; }
                    (1, Some(tag)) => { unacked.done(tag); done.insert(tag); }
                    (2, Some(tag)) if !done.contains(&tag) => { unacked.returned(tag); broker.remove(&tag); }
                    (3, _) => {
                        for ack in unacked.take() {
                            prop_assert!(broker.contains(&ack.tag));
                            let covered: Vec<u64> = if ack.multiple {
                                broker.range(..=ack.tag).copied().collect()
                            } else {
                                vec![ack.tag]
                            };
                            for tag in covered {
                                prop_assert!(done.remove(&tag), "{tag} was not done");
                                broker.remove(&tag);
                            }
                        }
                        prop_assert!(done.is_empty());
                        prop_assert_eq!(unacked.waiting(), 0);
                    }
                    _ => {}
                }
            }
        }
    }
}
