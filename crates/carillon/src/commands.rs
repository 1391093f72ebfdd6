//! The commands that work on an installation that is there.

pub(crate) mod config_check;
pub(crate) mod kind_keys;
pub(crate) mod migrate;
pub(crate) mod operator_key;
pub(crate) mod parked;
pub(crate) mod send;
pub(crate) mod topology;
