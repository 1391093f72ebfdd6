//! `carillon demo`: a scenario from nothing to a report, judged by what the providers saw.

mod broadcast;
mod cascade;
mod checks;
mod intakes;
mod interruptions;
mod judge;
mod onboarding;
mod people;
mod receipts;
mod registration;
mod report;
mod schedule;
mod troubles;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::Outcome;
use crate::cli::Demo;
use crate::dev::{Layout, Options, Platform, Told};
use checks::Checks;
use report::{Report, Totals};
use world::World;

/// Recipients of a chunk during the demonstration: small, so that a queue holds many of them.
const CHUNK: &str = "25";

/// The steps that everything after them needs.
const FOUNDATION: usize = 2;

/// Brings everything up, runs the steps, reports.
pub(crate) async fn run(options: Demo) -> Outcome {
    let layout = Layout::for_demo(&options.directory)?;
    let chunk = ("CARILLON_SEGMENTER__CHUNK_RECIPIENTS".to_owned(), CHUNK.to_owned());
    let platform = Platform::new(Options { layout, fresh: true, replicas: 2, extra: vec![chunk] })?;
    let mut show = Show { world: World::new(platform), report: Report::new(), began: Instant::now() };
    let mut told = Told::listen()?;
    let ended = Box::pin(show.play(&mut told)).await;
    if let Err(error) = &ended {
        eprintln!("carillon: {error:#}");
        show.report.abort(&format!("{error:#}"));
    }
    show.world.platform.stop().await;
    let path = std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")).join(&options.report);
    show.report.close(show.began.elapsed());
    show.report.write(&path)?;
    show.report.print();
    println!("report: {}", path.display());
    Ok(if show.report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Show {
    world: World,
    report: Report,
    began: Instant,
}

impl Show {
    /// The scenario, unless a signal or a process that dies ends it.
    async fn play(&mut self, told: &mut Told) -> Result<()> {
        tokio::select! {
            started = self.world.platform.start() => started?,
            () = told.ended() => return Err(anyhow!("interrupted")),
        }
        let death = self.world.platform.death();
        tokio::select! {
            played = Box::pin(self.scenario()) => played,
            death = death => Err(death),
            () = told.ended() => Err(anyhow!("interrupted")),
        }
    }

    async fn scenario(&mut self) -> Result<()> {
        self.world.restart_clock();
        for number in 1..=report::STEPS.len() {
            let passed = Box::pin(self.step(number)).await;
            if !passed && number <= FOUNDATION {
                return Err(anyhow!("step {number} failed, and all others need it"));
            }
        }
        println!("\ncounting everything once more");
        self.report.totals = self.totals().await?;
        self.report.provider_requests = self.world.provider_requests().await?;
        Ok(())
    }

    async fn step(&mut self, number: usize) -> bool {
        let step = &report::STEPS[number - 1];
        println!("\n[{number}/{}] {}", report::STEPS.len(), step.title);
        let began = Instant::now();
        let mut checks = Checks::default();
        let (world, checks_) = (&mut self.world, &mut checks);
        let outcome = match number {
            1 => Box::pin(onboarding::run(world, checks_)).await,
            2 => Box::pin(registration::run(world, checks_)).await,
            3 => Box::pin(intakes::run(world, checks_)).await,
            4 => Box::pin(broadcast::run(world, checks_)).await,
            5 => Box::pin(troubles::run(world, checks_)).await,
            6 => Box::pin(receipts::run(world, checks_)).await,
            7 => Box::pin(cascade::run(world, checks_)).await,
            8 => Box::pin(schedule::run(world, checks_)).await,
            _ => Box::pin(interruptions::run(world, checks_)).await,
        };
        if let Err(error) = outcome {
            checks.fail(format!("{error:#}"));
        }
        let seconds = began.elapsed().as_secs_f64();
        let passed = checks.passed();
        println!("      {} after {seconds:.1} s: {}", if passed { "passed" } else { "FAILED" }, checks.detail());
        self.report.step(step, passed, checks.detail(), seconds);
        passed
    }

    /// Every notification of the demonstration, counted anew from the API and judged anew by the ledgers.
    async fn totals(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        for id in &self.world.sent {
            let notification = self.world.api()?.notification(id).await?;
            totals.add(&notification["counts"]);
            let verdict = self.world.judge(id).await?;
            totals.duplicates += verdict.duplicates as i64;
            totals.lost += verdict.lost.len() as i64;
        }
        Ok(totals)
    }
}
