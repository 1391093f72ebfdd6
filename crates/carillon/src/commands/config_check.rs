//! `carillon config check`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use carillon_runtime::config::Settings;

use crate::cli::ConfigCheck;
use crate::dev::SERVICES;
use crate::{EXIT_USAGE, Outcome};

/// Judges the names of sections, then lets every service judge the sections that are its own. Services are asked as
/// processes, so that what is judged is the binary that will run.
pub(crate) fn run(options: &ConfigCheck) -> Outcome {
    Settings::read(options.config.as_deref(), std::env::vars_os())?;
    let beside = std::env::current_exe().context("where this program is")?;
    let beside = beside.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut refused = false;
    let mut asked = 0;
    for service in wanted(&options.services)? {
        let Some(binary) = binary(&beside, service) else {
            println!("{service}: not asked, there is no {service} in {}", beside.display());
            continue;
        };
        asked += 1;
        let mut command = Command::new(binary);
        command.arg("--check");
        if let Some(config) = &options.config {
            command.arg("--config").arg(config);
        }
        let status = command.status().with_context(|| format!("{service} cannot be asked"))?;
        refused |= !status.success();
    }
    if asked == 0 {
        bail!("no service was asked: build them (cargo build --workspace --bins) or run this command beside them");
    }
    Ok(if refused { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS })
}

fn wanted(named: &[String]) -> anyhow::Result<Vec<&'static str>> {
    if let Some(unknown) = named.iter().find(|name| !SERVICES.contains(&name.as_str())) {
        bail!("{unknown} is no service; the services are {}", SERVICES.join(", "));
    }
    Ok(SERVICES
        .iter()
        .copied()
        .filter(|service| named.is_empty() || named.iter().any(|name| name == service))
        .collect())
}

fn binary(beside: &Path, service: &str) -> Option<PathBuf> {
    let path = beside.join(OsStr::new(service));
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_services_are_meant_unless_some_are_named() {
        assert_eq!(wanted(&[]).unwrap().len(), SERVICES.len());
        assert_eq!(wanted(&["segmenter".to_owned()]).unwrap(), ["segmenter"]);
        assert!(wanted(&["segmenta".to_owned()]).unwrap_err().to_string().contains("segmenter"));
    }
}
