//! The command line, the same for every service.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// A TOML file below the environment.
    pub(crate) config: Option<PathBuf>,
    /// Judge the configuration and exit.
    pub(crate) check: bool,
    /// Ask the running process whether it is ready and exit.
    pub(crate) healthy: bool,
}

pub(crate) fn parse(
    service: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, clap::Error> {
    let matches = Command::new(service)
        .version(env!("CARGO_PKG_VERSION"))
        .about(format!("{service}, a service of Carillon"))
        .after_help(
            "Settings: defaults, then --config, then variables CARILLON_<SECTION>__<KEY>; see docs/configuration.md.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE.toml")
                .value_parser(value_parser!(PathBuf))
                .help("Settings from a file; the environment wins over it"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Judge the configuration, name all faults and exit (0 or 64)"),
        )
        .arg(
            Arg::new("healthy")
                .long("healthy")
                .action(ArgAction::SetTrue)
                .conflicts_with("check")
                .help("Ask the process that runs with the same settings whether it is ready and exit (0 or 1)"),
        )
        .try_get_matches_from(arguments)?;
    Ok(Arguments {
        config: matches.get_one("config").cloned(),
        check: matches.get_flag("check"),
        healthy: matches.get_flag("healthy"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<const N: usize>(words: [&str; N]) -> impl Iterator<Item = OsString> {
        words.map(OsString::from).into_iter()
    }

    #[test]
    fn the_file_and_the_check_are_taken_from_the_command_line() {
        let parsed = parse("segmenter", words(["segmenter", "--config", "a.toml", "--check"])).unwrap();
        assert_eq!(parsed, Arguments { config: Some("a.toml".into()), check: true, healthy: false });
        let parsed = parse("segmenter", words(["segmenter", "--healthy"])).unwrap();
        assert_eq!(parsed, Arguments { config: None, check: false, healthy: true });
    }

    #[test]
    fn an_unknown_argument_is_refused() {
        assert!(parse("segmenter", words(["segmenter", "--chek"])).unwrap_err().use_stderr());
    }
}
