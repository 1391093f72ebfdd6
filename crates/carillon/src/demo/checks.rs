//! What a step found: facts worth telling, and what was not as it should be.

use std::fmt::Debug;

/// Faults that are told one by one; more of them say nothing new.
const MOST_FAULTS: usize = 8;

/// Collected while a step runs, so that one fault does not hide the next.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    facts: Vec<String>,
    faults: Vec<String>,
}

impl Checks {
    /// Something worth telling.
    pub(crate) fn fact(&mut self, fact: impl Into<String>) {
        self.facts.push(fact.into());
    }

    /// Something that is wrong.
    pub(crate) fn fail(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Something that has to hold.
    pub(crate) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// Two things that have to be equal.
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        self.expect(found == expected, || format!("{what}: {found:?} instead of {expected:?}"));
    }

    /// Nothing is wrong.
    pub(crate) fn passed(&self) -> bool {
        self.faults.is_empty()
    }

    /// Faults first, then facts, in one line.
    pub(crate) fn detail(&self) -> String {
        let more = self.faults.len().saturating_sub(MOST_FAULTS);
        let mut parts: Vec<String> =
            self.faults.iter().take(MOST_FAULTS).map(|fault| format!("FAULT {}", fault.replace('\n', " "))).collect();
        if more > 0 {
            parts.push(format!("FAULT and {more} more"));
        }
        parts.extend(self.facts.iter().cloned());
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_fails_the_step_and_faults_come_first() {
        let mut checks = Checks::default();
        checks.fact("3 sent");
        assert!(checks.passed());
        checks.equal("requests", 2, 3);
        assert!(!checks.passed());
        assert_eq!(checks.detail(), "FAULT requests: 2 instead of 3; 3 sent");
    }

    #[test]
    fn many_faults_are_told_in_short() {
        let mut checks = Checks::default();
        (0..100).for_each(|number| checks.fail(number.to_string()));
        assert!(checks.detail().ends_with("FAULT 7; FAULT and 92 more"));
    }
}
