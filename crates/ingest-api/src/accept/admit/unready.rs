//! Platforms that a notification is meant for and that the app has no credential of. It is accepted all the same: its messages wait, a cascade
//! may text meanwhile, and a credential lets them go out. But the caller is told at once, and not by silence.

use carillon_domain::audience::Audience;
use carillon_domain::delivery_status::Reason;
use carillon_domain::platform::Platform;

/// A set of platforms: bit `n` is the one with number `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unready(u16);

/// What keeps messages waiting until somebody does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) reason: Reason,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) detail: String,
}

impl Unready {
    /// A platform that is named is meant. Where none is, an app need not have a credential of each, but of one.
    pub(super) fn of(to: &Audience, ready: &[Platform]) -> Self {
        let meant = match (to.platforms.as_slice(), ready) {
            ([], []) => Platform::ALL,
            (named, _) => named,
        };
        let lacking = meant.iter().filter(|platform| !ready.contains(platform));
        Self(lacking.fold(0, |bits, platform| bits | 1 << platform.number()))
    }

    /// What the caller is told, if there is anything to tell.
    pub(crate) fn warning(self) -> Option<Warning> {
        if self == Self::default() {
            return None;
        }
        let platforms: Vec<Platform> =
            Platform::ALL.iter().copied().filter(|platform| self.0 & 1 << platform.number() != 0).collect();
        let names: Vec<&str> = platforms.iter().map(|platform| platform.as_str()).collect();
        let whole = names.len() == Platform::ALL.len();
        let lacking = if whole { "any platform".to_owned() } else { names.join(", ") };
        let detail = format!(
            "The app has no credential for {lacking}: messages to such devices wait, queued with the reason credential, \
             until PUT /v1/apps/{{app}}/credentials/{{platform}}, or expire."
        );
        Some(Warning { reason: Reason::Credential, platforms, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Platform::{Apns, Fcm, Webpush};

    fn lacking(named: &[Platform], ready: &[Platform]) -> Vec<Platform> {
        let to = Audience { platforms: named.to_vec(), ..Default::default() };
        Unready::of(&to, ready).warning().map(|warning| warning.platforms).unwrap_or_default()
    }

    #[test]
    fn what_is_named_and_has_no_credential_is_told_and_what_is_not_named_only_if_nothing_has_one() {
        assert_eq!(lacking(&[], &[]), [Apns, Fcm, Webpush]);
        assert_eq!(lacking(&[], &[Fcm]), []);
        assert_eq!(lacking(&[Apns, Fcm], &[Fcm]), [Apns]);
        assert_eq!(lacking(&[Webpush], &[]), [Webpush]);
        assert_eq!(lacking(&[Fcm], &[Fcm]), []);
    }

    #[test]
    fn the_warning_says_what_to_do() {
        let to = Audience { platforms: vec![Apns], ..Default::default() };
        let detail = Unready::of(&to, &[]).warning().expect("a warning").detail;
        assert!(detail.contains("no credential for apns:") && detail.contains("PUT /v1/apps/"), "{detail}");
    }
}
