//! The state of a chunk: one byte per recipient, never more than the recipients themselves.

use crate::delivery_status::Status;

/// Attempts an open position can count; more stay at this number.
const MOST_ATTEMPTS: u8 = 0x7f;
const CLOSED: u8 = 0x80;

/// The state of one position: open with the number of attempts so far, or closed with its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Still to be sent; the number of provider calls so far, at most 127.
    Open(u8),
    /// Done, with the status the dispatcher or the ledger gave it.
    Closed(Status),
}

impl Position {
    /// The byte that the chunk row keeps.
    pub fn to_byte(self) -> u8 {
        match self {
            Position::Open(attempts) => attempts.min(MOST_ATTEMPTS),
            Position::Closed(status) => CLOSED | status as u8,
        }
    }

    /// Back from [`Position::to_byte`]. A byte that no version wrote reads as open, so that nothing is lost.
    pub fn from_byte(byte: u8) -> Self {
        match Status::from_number(i16::from(byte & !CLOSED)) {
            Some(status) if byte & CLOSED != 0 => Position::Closed(status),
            _ => Position::Open(byte & MOST_ATTEMPTS),
        }
    }
}

/// All positions of a chunk as they lie in its row: a state byte each, and four bytes each (little endian) with the seconds
/// after the run's start before which an open position is not tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    states: Vec<u8>,
    not_before: Vec<u8>,
}

impl Positions {
    /// `count` open positions, all due at once.
    pub fn open(count: usize) -> Self {
        Self { states: vec![0; count], not_before: Vec::new() }
    }

    /// Back from a row. `not_before` may be empty (nothing deferred yet), else it has four bytes per state.
    pub fn from_row(states: Vec<u8>, not_before: Vec<u8>) -> Self {
        let not_before = if not_before.len() == states.len() * 4 { not_before } else { Vec::new() };
        Self { states, not_before }
    }

    /// The state bytes, for the row.
    pub fn states(&self) -> &[u8] {
        &self.states
    }

    /// The deferral bytes, for the row; empty while nothing is deferred.
    pub fn not_before_bytes(&self) -> &[u8] {
        &self.not_before
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// One position, or `None` past the end.
    pub fn get(&self, position: usize) -> Option<Position> {
        self.states.get(position).map(|b| Position::from_byte(*b))
    }

    /// Seconds after the run's start before which this position is not tried.
    pub fn not_before(&self, position: usize) -> u32 {
        let at = position * 4;
        self.not_before.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    /// Closes an open position. `false` when it was closed before or does not exist.
    pub fn close(&mut self, position: usize, status: Status) -> bool {
        match self.get(position) {
            Some(Position::Open(_)) => {
                self.states[position] = Position::Closed(status).to_byte();
                true
            }
            _ => false,
        }
    }

    /// Defers an open position until `not_before` seconds after the run's start. `false` when it is closed or does not exist.
    pub fn defer(&mut self, position: usize, attempts: u8, not_before: u32) -> bool {
        match self.get(position) {
            Some(Position::Open(_)) => {
                self.states[position] = Position::Open(attempts).to_byte();
                if self.not_before.is_empty() {
                    self.not_before = vec![0; self.states.len() * 4];
                }
                self.not_before[position * 4..position * 4 + 4].copy_from_slice(&not_before.to_le_bytes());
                true
            }
            _ => false,
        }
    }

    /// The positions that are open, with their attempts.
    pub fn open_positions(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        self.states.iter().enumerate().filter_map(|(i, b)| match Position::from_byte(*b) {
            Position::Open(attempts) => Some((i, attempts)),
            Position::Closed(_) => None,
        })
    }

    /// The least deferral of the open positions in seconds after the run's start; `None` when all are closed.
    pub fn next_due(&self) -> Option<u32> {
        self.open_positions().map(|(i, _)| self.not_before(i)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_closed_position_stays_closed() {
        let mut p = Positions::open(2);
        assert!(p.close(0, Status::Sent));
        assert!(!p.close(0, Status::Failed) && !p.defer(0, 1, 9));
        assert_eq!(p.get(0), Some(Position::Closed(Status::Sent)));
        assert_eq!(p.open_positions().collect::<Vec<_>>(), [(1, 0)]);
    }

    #[test]
    fn the_next_due_is_the_least_deferral_of_what_is_open() {
        let mut p = Positions::open(3);
        p.close(0, Status::Sent);
        p.defer(1, 1, 90);
        p.defer(2, 2, 60);
        assert_eq!(p.next_due(), Some(60));
        p.close(2, Status::Expired);
        p.close(1, Status::Expired);
        assert_eq!(p.next_due(), None);
        assert!(!p.close(3, Status::Sent) && !p.defer(7, 1, 1));
    }

    proptest! {
        #[test]
        fn every_byte_reads_as_what_it_was_written_from(byte in any::<u8>()) {
            let position = Position::from_byte(byte);
            prop_assert_eq!(Position::from_byte(position.to_byte()), position);
        }

        #[test]
        fn a_row_reads_back_as_it_was(ops in proptest::collection::vec((0usize..20, 0u32..100_000, any::<bool>()), 0..40)) {
            let mut p = Positions::open(20);
            for (i, s, close) in ops {
                if close { p.close(i, Status::Sent); } else { p.defer(i, 1, s); }
            }
            prop_assert_eq!(Positions::from_row(p.states().to_vec(), p.not_before_bytes().to_vec()), p);
        }
    }
}
