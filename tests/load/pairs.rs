//! Measuring two things fairly: A B B A, and what is said of it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cpu::Machine;
use crate::report::say;

/// More stolen time than this makes a pair worthless.
const MOST_STOLEN: f64 = 0.02;

/// One measurement of one side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// What was done.
    pub(crate) units: u64,
    /// How long it took.
    pub(crate) wall: Duration,
    /// CPU of the stage's own processes.
    pub(crate) own: Duration,
    /// CPU of PostgreSQL.
    pub(crate) postgres: Duration,
    /// CPU of the broker.
    pub(crate) broker: Duration,
    /// Expected and not there at the end.
    pub(crate) lost: u64,
    /// There more than once.
    pub(crate) duplicates: u64,
}

impl Measured {
    /// Units a second.
    pub(crate) fn rate(&self) -> f64 {
        self.units as f64 / self.wall.as_secs_f64()
    }

    /// CPU microseconds a unit of the stage's own processes.
    pub(crate) fn own_us(&self) -> f64 {
        micros(self.own, self.units)
    }

    /// CPU microseconds a unit with the database and the broker.
    pub(crate) fn all_us(&self) -> f64 {
        micros(self.own + self.postgres + self.broker, self.units)
    }
}

fn micros(cpu: Duration, units: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / units.max(1) as f64
}

/// Both sides, measured the same number of times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) ours: Vec<Measured>,
    pub(crate) floor: Vec<Measured>,
    /// Pairs that were thrown away because of stolen time.
    pub(crate) discarded: usize,
}

/// What is compared.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// Units a second: more is better.
    Rate,
    /// Microseconds a unit: less is better.
    Cost(fn(&Measured) -> f64),
}

/// Middle, least and greatest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (values.first(), values.last()) else { return Self::default() };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { median, low: *low, high: *high }
    }
}

impl Pairs {
    /// Measures `count` pairs, each in the opposite order of the one before. Every measurement must lose nothing.
    pub(crate) async fn measure(
        count: usize,
        mut ours: impl AsyncFnMut() -> Result<Measured>,
        mut floor: impl AsyncFnMut() -> Result<Measured>,
    ) -> Result<Self> {
        let mut pairs = Self::default();
        while pairs.ours.len() < count {
            let before = Machine::now()?;
            let (a, b) = if (pairs.ours.len() + pairs.discarded) % 2 == 0 {
                let a = ours().await?;
                (a, floor().await?)
            } else {
                let b = floor().await?;
                (ours().await?, b)
            };
            ensure!(a.lost == 0 && b.lost == 0, "lost: {} of ours, {} of the floor", a.lost, b.lost);
            let stolen = Machine::now()?.stolen_since(&before);
            say(&format!(
                "    ours {:9.0}/s {:7.2} us (all {:7.2})   floor {:9.0}/s {:7.2} us (all {:7.2})   stolen {:.1} %",
                a.rate(),
                a.own_us(),
                a.all_us(),
                b.rate(),
                b.own_us(),
                b.all_us(),
                stolen * 100.0
            ));
            if stolen > MOST_STOLEN && pairs.discarded < count {
                pairs.discarded += 1;
                continue;
            }
            pairs.ours.push(a);
            pairs.floor.push(b);
        }
        Ok(pairs)
    }

    /// The ratio that the goals are about: 1 is as good as the floor.
    pub(crate) fn ratio(&self, by: By) -> Spread {
        Spread::of(self.ours.iter().zip(&self.floor).map(|(ours, floor)| match by {
            By::Rate => ours.rate() / floor.rate(),
            By::Cost(cost) => cost(floor) / cost(ours),
        }))
    }

    /// Both sides' medians in the unit of the comparison.
    pub(crate) fn figures(&self, by: By) -> (Spread, Spread) {
        let figure = |measured: &Measured| match by {
            By::Rate => measured.rate(),
            By::Cost(cost) => cost(measured),
        };
        (Spread::of(self.ours.iter().map(figure)), Spread::of(self.floor.iter().map(figure)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.median, spread.low, spread.high), (2.5, 1.0, 4.0));
    }

    #[test]
    fn a_stage_that_needs_twice_the_floors_cpu_has_half_of_it_as_its_ratio() {
        let measured = |own| Measured { units: 1, own: Duration::from_micros(own), ..Measured::default() };
        let pairs = Pairs { ours: vec![measured(20)], floor: vec![measured(10)], discarded: 0 };
        assert_eq!(pairs.ratio(By::Cost(Measured::own_us)).median, 0.5);
    }
}
