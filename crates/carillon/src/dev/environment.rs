//! What a child process finds in its environment: the operator's settings first, ours where there are none.

use std::collections::BTreeMap;

const PREFIX: &str = "CARILLON_";

/// Addresses that differ from process to process: one value in the environment cannot be meant for all of them.
const PER_PROCESS: [&str; 4] =
    ["CARILLON_HTTP__LISTEN", "CARILLON_GRPC__LISTEN", "CARILLON_ADMIN__LISTEN", "CARILLON_INTERNAL__LISTEN"];

/// The settings that the operator made, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operator(BTreeMap<String, String>);

impl Operator {
    /// From this process' own environment.
    pub(crate) fn of_process() -> Self {
        Self::from_pairs(std::env::vars())
    }

    /// From pairs; an empty value counts as absent, as it does for the services.
    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()).collect())
    }

    /// What the operator set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variables to give to a process beside those that it inherits: ours, unless the operator set the same, and both
    /// in lists.
    pub(crate) fn merged<'a>(&self, ours: impl IntoIterator<Item = &'a (String, String)>) -> BTreeMap<String, String> {
        let mut merged = BTreeMap::new();
        for (name, value) in ours {
            let value = match self.get(name) {
                Some(theirs) if is_list(name) => joined(theirs, value),
                Some(theirs) if !PER_PROCESS.contains(&name.as_str()) => theirs.to_owned(),
                _ => value.clone(),
            };
            merged.insert(name.clone(), value);
        }
        merged
    }
}

/// Lists to which this command only ever adds: the operator's certificate authorities and exempted hosts stay.
fn is_list(name: &str) -> bool {
    name == "CARILLON_TLS__EXTRA_CA" || name.ends_with("__ALLOW_HOSTS")
}

fn joined(theirs: &str, ours: &str) -> String {
    format!("{},{ours}", theirs.trim_end_matches([',', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn merged(theirs: &[(&str, &str)], name: &str, ours: &str) -> String {
        let operator = Operator::from_pairs(theirs.iter().map(|(name, value)| pair(name, value)));
        operator.merged(&[pair(name, ours)])[name].clone()
    }

    #[test]
    fn what_the_operator_set_wins() {
        let theirs = [("CARILLON_APNS__PRODUCTION_URL", "https://foreign")];
        assert_eq!(merged(&theirs, "CARILLON_APNS__PRODUCTION_URL", "https://sim"), "https://foreign");
        assert_eq!(merged(&theirs, "CARILLON_FCM__URL", "https://sim"), "https://sim");
    }

    #[test]
    fn lists_get_ours_added() {
        let theirs = [("CARILLON_TLS__EXTRA_CA", "/a.pem,"), ("CARILLON_WEBPUSH__ALLOW_HOSTS", "push.test")];
        assert_eq!(merged(&theirs, "CARILLON_TLS__EXTRA_CA", "/sim.pem"), "/a.pem,/sim.pem");
        assert_eq!(merged(&theirs, "CARILLON_WEBPUSH__ALLOW_HOSTS", "localhost:1"), "push.test,localhost:1");
        assert_eq!(merged(&[], "CARILLON_FCM__ALLOW_HOSTS", "localhost:1"), "localhost:1");
    }

    #[test]
    fn an_address_that_every_process_needs_for_itself_is_ours() {
        let theirs = [("CARILLON_ADMIN__LISTEN", "127.0.0.1:9600")];
        assert_eq!(merged(&theirs, "CARILLON_ADMIN__LISTEN", "127.0.0.1:20001"), "127.0.0.1:20001");
    }

    #[test]
    fn an_empty_variable_is_an_absent_one() {
        assert_eq!(merged(&[("CARILLON_FCM__URL", "")], "CARILLON_FCM__URL", "https://sim"), "https://sim");
    }
}
