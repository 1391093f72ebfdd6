//! What is to happen where: the text of the setting and what it means.

use crate::Point;
use std::fmt;
use std::str::FromStr;

/// Most points that one process can have armed.
const MOST: usize = 64;
/// The last hit that can be waited for.
const LAST_HIT: u32 = 1_000_000;

/// On which side of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Nothing of it is done yet.
    Before,
    /// It is done, and whoever asked for it does not know yet.
    After,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];

    /// The word of the setting.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// SIGKILL to the own process: as a machine that goes away.
    Kill,
    /// The function fails as if its work had failed. After the work this is an outcome that the caller cannot know.
    Error,
    /// The function never returns; only the caller's own deadline helps.
    Hang,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Error, Self::Hang];

    /// The word of the setting.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Error => "error",
            Self::Hang => "hang",
        }
    }
}

/// One action at one side of one point, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arming {
    /// Where.
    pub point: Point,
    /// On which side.
    pub side: Side,
    /// What.
    pub action: Action,
    /// At which passing of that side, counted from the start of the process: 1 to 1,000,000.
    pub nth: u32,
}

impl fmt::Display for Arming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, side, action, nth } = self;
        write!(f, "{}:{}={}@{nth}", point.name(), side.as_str(), action.as_str())
    }
}

/// What a process is to do to itself: armings in a comma list, for instance `store.report.commit:after=kill@3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub(crate) Vec<Arming>);

impl Plan {
    /// Its armings, in the order of the text.
    pub fn armings(&self) -> &[Arming] {
        &self.0
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arming) in self.0.iter().enumerate() {
            write!(f, "{}{arming}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A text that is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It does not look like one arming.
    #[error(
        "an arming is POINT:SIDE=ACTION or POINT:SIDE=ACTION@N, with N from 1 to {LAST_HIT}; SIDE is before or after, ACTION kill, error or hang"
    )]
    Malformed,
    /// There is no such point.
    #[error("there is no such point; there are {}", Point::ALL.map(Point::name).join(", "))]
    UnknownPoint,
    /// Too many at once.
    #[error("at most {MOST} points can be armed in one process")]
    TooMany,
}

impl FromStr for Plan {
    type Err = PlanError;

    /// The empty text arms nothing.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let armings = text.split(',').take(MOST + 1).map(|one| one.trim().parse()).collect::<Result<Vec<_>, _>>()?;
        if armings.len() > MOST { Err(PlanError::TooMany) } else { Ok(Self(armings)) }
    }
}

impl FromStr for Arming {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (place, what) = text.split_once('=').ok_or(PlanError::Malformed)?;
        let (point, side) = place.split_once(':').ok_or(PlanError::Malformed)?;
        let (action, nth) = what.split_once('@').unwrap_or((what, "1"));
        let side = Side::ALL.into_iter().find(|one| one.as_str() == side).ok_or(PlanError::Malformed)?;
        let action = Action::ALL.into_iter().find(|one| one.as_str() == action).ok_or(PlanError::Malformed)?;
        let digits = !nth.is_empty() && nth.bytes().all(|b| b.is_ascii_digit());
        let nth = nth.parse().ok().filter(|nth| digits && (1..=LAST_HIT).contains(nth)).ok_or(PlanError::Malformed)?;
        let point = Point::named(point).ok_or(PlanError::UnknownPoint)?;
        Ok(Self { point, side, action, nth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arming() -> impl Strategy<Value = Arming> {
        (0..Point::ALL.len(), 0..2usize, 0..3usize, 1..=LAST_HIT).prop_map(|(point, side, action, nth)| Arming {
            point: Point::ALL[point],
            side: Side::ALL[side],
            action: Action::ALL[action],
            nth,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(armings in prop::collection::vec(arming(), 0..=MOST)) {
            let plan = Plan(armings);
            prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
        }

        #[test]
        fn no_text_panics_and_what_is_taken_means_what_it_says(text in "[a-z.:=@,0-9 ]{0,60}") {
            if let Ok(plan) = text.parse::<Plan>() {
                prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
            }
        }

        #[test]
        fn one_changed_character_never_arms_another_point(arming in arming(), at in 0usize..40, with in "[a-z]") {
            let text = arming.to_string();
            let at = at % text.len();
            let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
            if changed != text && let Ok(other) = changed.parse::<Arming>() {
                prop_assert_eq!(other.point, arming.point);
            }
        }
    }

    #[test]
    fn the_hit_is_the_first_unless_it_is_said() {
        let plan: Plan = " store.report.commit:after=kill , broker.ack:before=hang@7".parse().unwrap();
        assert_eq!(plan.to_string(), "store.report.commit:after=kill@1,broker.ack:before=hang@7");
        assert_eq!("".parse(), Ok(Plan::default()));
    }

    #[test]
    fn what_is_no_plan_is_refused_and_the_points_are_named() {
        for text in [
            "store.report.commit",
            "store.report.commit=kill",
            "store.report.commit:after",
            "store.report.commit:after=panic",
            "store.report.commit:during=kill",
            "store.report.commit:after=kill@0",
            "store.report.commit:after=kill@+1",
            "store.report.commit:after=kill@1000001",
            "store.report.commit:after=kill@",
            "store.report.commit:after=kill,,",
        ] {
            assert_eq!(text.parse::<Plan>(), Err(PlanError::Malformed), "{text}");
        }
        let unknown = "store.repost.commit:after=kill".parse::<Plan>().unwrap_err();
        assert_eq!(unknown, PlanError::UnknownPoint);
        assert!(Point::ALL.iter().all(|point| unknown.to_string().contains(point.name())), "{unknown}");
        let many = vec!["broker.ack:before=hang"; MOST + 1].join(",");
        assert_eq!(many.parse::<Plan>(), Err(PlanError::TooMany));
    }
}
