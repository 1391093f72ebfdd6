//! The engine against a ledger of its own and a scripted provider, in paused time.

mod announcements;
mod claims;
mod holds;
mod leases;
mod ledger;
mod panics;
mod process;
mod reports;
mod verdicts;
mod world;
