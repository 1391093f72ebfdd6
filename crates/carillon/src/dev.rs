//! `carillon dev`: everything on one machine, from nothing, as child processes.

mod children;
mod environment;
mod fleet;
mod hello;
mod keys;
mod layout;
mod manifest;
pub(crate) mod onboard;
mod platform;
mod ports;
mod simulators;
mod stack;

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use fleet::SERVICES;
pub(crate) use layout::Layout;
pub(crate) use platform::{Options, Platform};
pub(crate) use stack::QueueDepth;

use crate::Outcome;
use crate::cli::{Demo, Dev};

/// Brings everything up, says hello, stays.
pub(crate) async fn run(options: Dev) -> Outcome {
    if options.demo {
        let report = "target/demo.json".into();
        return Box::pin(crate::demo::run(Demo { directory: options.directory, report })).await;
    }
    let layout = Layout::for_dev(&options.directory)?;
    let platform = Options { layout, fresh: options.fresh, replicas: options.replicas, extra: Vec::new() };
    let platform = Platform::new(platform)?;
    Box::pin(stay(platform)).await
}

async fn stay(mut platform: Platform) -> Outcome {
    let mut told = Told::listen()?;
    let outcome = tokio::select! {
        outcome = up(&mut platform) => outcome,
        () = told.ended() => Err(anyhow::anyhow!("interrupted while starting")),
    };
    let outcome = match outcome {
        Ok(()) => tokio::select! {
            () = told.ended() => {
                println!("\nstopping");
                Ok(())
            }
            death = platform.death() => Err(death),
        },
        failed => failed,
    };
    platform.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn up(platform: &mut Platform) -> Result<()> {
    platform.start().await?;
    let hello = tokio::select! {
        hello = Box::pin(hello::say(platform)) => hello?,
        death = platform.death() => return Err(death),
    };
    platform.announce(&hello.tenant)?;
    hello.print(platform);
    Ok(())
}

/// SIGINT and SIGTERM.
pub(crate) struct Told {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Told {
    /// From now on the two signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Until one of them comes.
    pub(crate) async fn ended(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
