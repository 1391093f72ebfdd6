//! The provider simulators as a child process.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::fleet::Fleet;
use super::layout::Layout;
use crate::sim::{Sim, Urls};
use crate::waiting::until;

/// Name of the binary, and of the process in logs and in dev.json.
pub(crate) const NAME: &str = "provider-sim";
const READY: Duration = Duration::from_secs(30);

/// Starts them and waits until they say where they listen.
///
/// # Errors
/// If they end, or say nothing within 30 s.
pub(crate) async fn start(layout: &Layout, fleet: &mut Fleet) -> Result<Sim> {
    let report = layout.run.join("sim.json");
    let _ = std::fs::remove_file(&report);
    let arguments =
        ["--ca".into(), certificate(layout).into_os_string(), "--report".into(), report.clone().into_os_string()];
    fleet.spawn_plain(NAME, layout, &arguments)?;
    let found = until("the provider simulators", READY, async || {
        fleet.check()?;
        Ok(std::fs::read_to_string(&report).ok())
    });
    let urls: Urls = serde_json::from_str(&found.await?).context("the report of the provider simulators")?;
    Ok(Sim::new(urls))
}

/// The certificate of the simulators' own authority.
pub(crate) fn certificate(layout: &Layout) -> std::path::PathBuf {
    layout.run.join("sim-ca.pem")
}
