//! Secrets of an installation on this machine.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use carillon_vault::{ApiKey, ApiKeyKind};
use serde::{Deserialize, Serialize};

use super::environment::Operator;
use super::layout::Layout;
use crate::random;

/// Secrets of an installation on this machine. Kept, since the database holds what they sealed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) secrets: String,
    pub(super) operator: String,
    pub(super) internal: String,
}

impl Keys {
    /// The operator's where set, else those of the last run, else new ones.
    ///
    /// # Errors
    /// If they cannot be written down.
    pub(super) fn of(layout: &Layout, fresh: bool, operator: &Operator) -> Result<Self> {
        let path = layout.stack.join("keys.json");
        let kept = if fresh { None } else { std::fs::read(&path).ok() };
        let mut keys = match kept.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok()) {
            Some(keys) => keys,
            None => Self::mint()?,
        };
        write_private(&path, &serde_json::to_vec(&keys)?)?;
        for (name, key) in [
            ("CARILLON_SECRETS__KEY", &mut keys.secrets),
            ("CARILLON_OPERATOR__KEY", &mut keys.operator),
            ("CARILLON_INTERNAL__TOKEN", &mut keys.internal),
        ] {
            if let Some(theirs) = operator.get(name) {
                theirs.clone_into(key);
            }
        }
        Ok(keys)
    }

    fn mint() -> Result<Self> {
        let operator = ApiKey::mint(ApiKeyKind::Operator)?.expose().to_owned();
        Ok(Self { secrets: random::master_key()?, operator, internal: random::token()? })
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_from_run_to_run_and_the_operators_win() {
        let stack = std::env::temp_dir().join(format!("carillon-keys-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&stack).unwrap();
        let layout =
            Layout { run: stack.clone(), stack: stack.clone(), stack_script: stack.clone(), binaries: stack.clone() };
        let nobody = Operator::default();
        let first = Keys::of(&layout, false, &nobody).unwrap();
        assert_eq!(Keys::of(&layout, false, &nobody).unwrap().secrets, first.secrets);
        assert_ne!(Keys::of(&layout, true, &nobody).unwrap().secrets, first.secrets);
        let theirs = [("CARILLON_OPERATOR__KEY".to_owned(), "cak_theirs".to_owned())];
        assert_eq!(Keys::of(&layout, false, &Operator::from_pairs(theirs)).unwrap().operator, "cak_theirs");
        std::fs::remove_dir_all(&stack).unwrap();
    }
}
