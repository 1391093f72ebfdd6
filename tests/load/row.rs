//! One row: what it wants, what it measured, and what is to be said of it.

use serde_json::{Value, json};

use crate::pairs::{By, Measured, Pairs, Spread};

/// The bound of a row that is only reported: whatever it is, it is not below what it must.
pub(crate) const REPORT: f64 = f64::INFINITY;
/// No such goal.
pub(crate) const NONE: f64 = f64::NAN;

/// What a row wants, and what it measured.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// must, target, moonshot.
    pub(crate) goals: [f64; 3],
    /// Goals are upper bounds (milliseconds, megabytes) and not ratios to be reached.
    pub(crate) less_is_better: bool,
    pub(crate) ours: f64,
    pub(crate) floor: f64,
    /// What is judged.
    pub(crate) ratio: Spread,
    pub(crate) pairs: usize,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) bound_by: &'static str,
    /// Words on what the floor was compared with.
    pub(crate) reference: String,
    /// What `floor` is is the least work that anybody must do, so that nobody is faster.
    pub(crate) is_floor: bool,
    /// Why its floor is no good.
    pub(crate) doubt: Option<String>,
    /// Entries of `growth`.
    pub(crate) growth: Vec<Value>,
    /// Whatever else was measured.
    pub(crate) figures: Value,
}

impl Row {
    /// From pairs; CPU and rates of both sides go into the figures.
    pub(crate) fn of(
        id: &'static str,
        title: &'static str,
        unit: &'static str,
        goals: [f64; 3],
        by: By,
        pairs: &Pairs,
    ) -> Self {
        let (ours, floor) = pairs.figures(by);
        Self {
            id,
            title,
            unit,
            goals,
            less_is_better: false,
            ours: ours.median,
            floor: floor.median,
            ratio: pairs.ratio(by),
            pairs: pairs.ours.len(),
            lost: pairs.ours.iter().map(|one| one.lost).sum(),
            duplicates: pairs.ours.iter().map(|one| one.duplicates).sum(),
            bound_by: "",
            reference: String::new(),
            is_floor: true,
            doubt: None,
            growth: Vec::new(),
            figures: figures(pairs),
        }
    }

    /// A row whose measure is no pair of CPU or rates: whoever makes it fills in the rest.
    pub(crate) fn plain(
        id: &'static str,
        title: &'static str,
        unit: &'static str,
        goals: [f64; 3],
        ratio: Spread,
    ) -> Self {
        let ratio_of_none = Pairs::default();
        let row = Self::of(id, title, unit, goals, By::Rate, &ratio_of_none);
        Self { ours: ratio.median, ratio, figures: json!({}), ..row }
    }

    /// Goals are bounds from above.
    pub(crate) fn less_is_better(mut self) -> Self {
        self.less_is_better = true;
        self
    }

    pub(crate) fn reference(mut self, words: impl Into<String>) -> Self {
        self.reference = words.into();
        self
    }

    /// What it is compared with is no floor.
    pub(crate) fn may_be_faster(mut self) -> Self {
        self.is_floor = false;
        self
    }

    /// An outside reference, measured in the same run, that shows the floor to be no good.
    pub(crate) fn doubt(mut self, words: Option<String>) -> Self {
        self.doubt = words;
        self
    }

    /// Why it does not count.
    pub(crate) fn doubted(&self) -> Option<String> {
        let better = if self.less_is_better { self.ratio.median < 1.0 } else { self.ratio.median > 1.0 };
        let faster = self.is_floor && self.floor > 0.0 && better;
        self.doubt.clone().or_else(|| faster.then(|| "ours is faster than its floor".to_owned()))
    }

    /// What keeps it from being faster, as profiles show it.
    pub(crate) fn bound_by(mut self, words: &'static str) -> Self {
        self.bound_by = words;
        self
    }

    pub(crate) fn reaches(&self, goal: f64) -> bool {
        if self.less_is_better { self.ratio.median <= goal } else { self.ratio.median >= goal }
    }

    /// The best goal that was reached.
    pub(crate) fn reached(&self) -> &'static str {
        if self.doubted().is_some() {
            return "DOES NOT COUNT";
        }
        let names = ["must", "target", "moonshot"];
        let reached = self.goals.iter().zip(names).filter(|(goal, _)| self.reaches(**goal));
        reached.map(|(_, name)| name).next_back().unwrap_or("BELOW MUST")
    }

    /// As `target/bench.json` has it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "title": self.title, "unit": self.unit, "ours": round(self.ours), "floor": round(self.floor),
            "ratio": round(self.ratio.median), "low": round(self.ratio.low), "high": round(self.ratio.high),
            "pairs": self.pairs, "must": number(self.goals[0]), "target": number(self.goals[1]), "moonshot": number(self.goals[2]),
            "reached": self.reached(), "less_is_better": self.less_is_better, "lost": self.lost,
            "duplicates": self.duplicates, "doubt": self.doubted(), "bound_by": self.bound_by, "reference": self.reference,
            "figures": self.figures,
        })
    }
}

fn figures(pairs: &Pairs) -> Value {
    let side = |measured: &[Measured]| {
        let spread = |figure: fn(&Measured) -> f64| {
            let spread = Spread::of(measured.iter().map(figure));
            json!([round(spread.median), round(spread.low), round(spread.high)])
        };
        json!({
            "per_second": spread(Measured::rate),
            "cpu_us": spread(Measured::own_us),
            "cpu_us_with_postgres_and_broker": spread(Measured::all_us),
            "postgres_us": spread(|one| one.postgres.as_secs_f64() * 1e6 / one.units.max(1) as f64),
            "broker_us": spread(|one| one.broker.as_secs_f64() * 1e6 / one.units.max(1) as f64),
        })
    };
    json!({"ours": side(&pairs.ours), "floor": side(&pairs.floor), "discarded_pairs": pairs.discarded})
}

/// A goal that nobody set is [`REPORT`] or [`NONE`].
fn number(goal: f64) -> Option<f64> {
    goal.is_finite().then_some(goal)
}

/// A goal as the table shows it.
pub(crate) fn goal(goal: f64) -> String {
    number(goal).map_or_else(|| "-".to_owned(), |goal| goal.to_string())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
