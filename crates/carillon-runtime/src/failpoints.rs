//! Section `failpoints`: what a process is told to do to itself.

use carillon_failpoint::{Hit, Plan};
use carillon_telemetry::{metrics, names};
use serde::Deserialize;

/// Section `failpoints`. For trying out what survives, never for production.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FailpointsConfig {
    /// A comma list of `POINT:SIDE=ACTION@N`, empty for none.
    arm: String,
}

impl FailpointsConfig {
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        self.arm.parse::<Plan>().err().map(|error| ("failpoints.arm", error.to_string()))
    }

    /// Arms this process; what is no plan was refused before.
    pub(crate) fn arm(&self) {
        let plan: Plan = self.arm.parse().unwrap_or_default();
        if !plan.armings().is_empty() {
            tracing::warn!(%plan, "failpoints are armed: this process will harm itself");
        }
        carillon_failpoint::arm(plan, told);
    }
}

/// The last words of a process that kills itself: the line is written before the action.
fn told(hit: &Hit) {
    metrics::counter(&names::FAILPOINT_HITS, &[("point", hit.0.point.name())]).inc();
    tracing::warn!(%hit, "a failpoint is hit");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_there_is_not_is_a_fault_of_the_setting() {
        let of = |arm: &str| FailpointsConfig { arm: arm.to_owned() }.fault();
        assert_eq!(of(""), None);
        assert_eq!(of("store.report.commit:after=kill@3"), None);
        let (key, words) = of("store.repost.commit:after=kill").unwrap();
        assert!(key == "failpoints.arm" && words.contains("store.report.commit"), "{key} {words}");
    }
}
