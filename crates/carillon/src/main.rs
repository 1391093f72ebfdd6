//! The operator's command: what people type to run, look at and demonstrate an installation.
//!
//! `dev` and `demo` bring up everything from nothing as child processes; the other commands work on an installation that is
//! there. Nothing here is used by a service.

#![allow(clippy::disallowed_macros, reason = "this program talks to people: printing is its output")]
#![allow(
    clippy::disallowed_methods,
    reason = "a command at the rim: it reads its environment and has no Scope to spawn in"
)]

mod api;
mod cli;
mod commands;
mod demo;
mod dev;
mod http;
mod random;
mod settings;
mod sim;
mod waiting;

use std::process::ExitCode;

use clap::Parser as _;

/// Exit code on bad arguments or a bad configuration (`EX_USAGE` of sysexits.h), as the services have it.
const EXIT_USAGE: u8 = 64;

/// What a command came to: 0, or another code without more words.
type Outcome = anyhow::Result<ExitCode>;

fn main() -> ExitCode {
    let command = match cli::Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(&anyhow::Error::new(error)),
    };
    let outcome = runtime.block_on(Box::pin(run(command)));
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| say(&error))
}

async fn run(command: cli::Command) -> Outcome {
    match command {
        cli::Command::Dev(options) => Box::pin(dev::run(options)).await,
        cli::Command::Demo(options) => Box::pin(demo::run(options)).await,
        cli::Command::Migrate(options) => commands::migrate::run(&options).await,
        cli::Command::Topology(options) => commands::topology::run(&options),
        cli::Command::Config { command: cli::ConfigCommand::Check(options) } => commands::config_check::run(&options),
        cli::Command::Parked { command } => commands::parked::run(command).await,
        cli::Command::OperatorKey { command: cli::OperatorKeyCommand::Create(options) } => {
            commands::operator_key::create(&options).await
        }
        cli::Command::KindKeys(options) => commands::kind_keys::run(&options),
        cli::Command::Send(options) => commands::send::run(*options).await,
    }
}

/// The error with its causes; a refused configuration has its own exit code.
fn say(error: &anyhow::Error) -> ExitCode {
    if let Some(faults) = error.downcast_ref::<carillon_runtime::config::Faults>() {
        eprintln!("carillon: the configuration is refused\n{faults}");
        return ExitCode::from(EXIT_USAGE);
    }
    eprintln!("carillon: {error:#}");
    ExitCode::FAILURE
}
