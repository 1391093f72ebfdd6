//! What is done to the platform, and the schedule that a seed makes of it.

use crate::dice::Dice;
use crate::fleet::{Replica, SERVICES};
use crate::observe::{Sight, catch, look};
use crate::platform::{Platform, Way};
use crate::proxy::Cut;
use crate::report::Row;
use crate::stack::Server;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Results that a dispatcher may not have reported yet, of one chunk (ledger, section 4).
const UNREPORTED: u64 = 64;
/// Chunks that one process has in work at most.
const MOST_CHUNKS: u64 = 8;
/// How long a black hole swallows.
pub(crate) const BLACK_HOLE: Duration = Duration::from_secs(30);
/// How long a stopped process stands still.
const STANDSTILL: Duration = Duration::from_secs(10);

/// What is done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL of one replica, and another process in its place a moment later.
    Kill(&'static str),
    /// SIGSTOP of one replica for ten seconds.
    Stop(&'static str),
    /// SIGKILL of a server, and its restart.
    Restart(Server),
    /// RST to every connection of one replica on one way.
    Reset(&'static str, Way),
    /// Those connections stay open and carry nothing for thirty seconds.
    BlackHole(&'static str, Way),
    /// Those connections never carry anything again, and nobody is told.
    HalfOpen(&'static str, Way),
}

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amounts {
    pub(crate) kills: usize,
    /// Of the broker, and of the database.
    pub(crate) restarts: usize,
    pub(crate) cuts: usize,
    pub(crate) stops: usize,
}

/// Places where a connection can be cut.
const CUTS: [(&str, Way); 10] = [
    ("dispatcher-apns", Way::Ledger),
    ("status-collector", Way::Database),
    ("dispatcher-fcm", Way::Broker),
    ("segmenter", Way::Broker),
    ("ingest-api", Way::Database),
    ("dispatcher-apns", Way::Provider),
    ("segmenter", Way::Database),
    ("dispatcher-fcm", Way::Ledger),
    ("ingest-api", Way::Broker),
    ("dispatcher-fcm", Way::Provider),
];

/// The order that a seed makes of them.
pub(crate) fn schedule(amounts: Amounts, dice: &mut Dice) -> Vec<Fault> {
    let mut places = CUTS;
    dice.shuffle(&mut places);
    let mut services = SERVICES;
    dice.shuffle(&mut services);
    let mut all: Vec<Fault> = (0..amounts.kills).map(|n| Fault::Kill(services[n % services.len()])).collect();
    all.extend((0..amounts.stops).map(|n| Fault::Stop(services[(n + 3) % services.len()])));
    all.extend((0..amounts.cuts).map(|n| {
        let (service, way) = places[n % places.len()];
        match n % 3 {
            0 => Fault::Reset(service, way),
            1 => Fault::BlackHole(service, way),
            _ => Fault::HalfOpen(service, way),
        }
    }));
    for server in [Server::Broker, Server::Postgres] {
        all.extend((0..amounts.restarts).map(|_| Fault::Restart(server)));
    }
    dice.shuffle(&mut all);
    all
}

/// How many duplicates the faults so far excuse, by provider.
#[derive(Debug, Default)]
pub(crate) struct Excused(pub(crate) BTreeMap<&'static str, u64>);

impl Excused {
    /// What a dispatcher in this state may not have reported: at most 64 of each chunk in work, and what is in flight. One more
    /// chunk, and as much in flight again, for what moves between the look and the strike.
    fn add(&mut self, replica: &Replica, sight: &Sight) {
        if let Some(provider) = provider_of(replica.service) {
            // Small chunks travel in groups and count as one.
            let chunks = UNREPORTED * (sight.victim_chunks + 1).min(MOST_CHUNKS);
            *self.0.entry(provider).or_default() += chunks + sight.victim_open.max(UNREPORTED);
        }
    }
}

fn provider_of(service: &str) -> Option<&'static str> {
    ["apns", "fcm", "webpush"].into_iter().find(|name| service.strip_prefix("dispatcher-") == Some(name))
}

/// Does it. Returns when it is over, but for black holes and standstills: these end by `wounds`.
///
/// # Errors
/// If a process had ended by itself, or cannot be started again.
pub(crate) async fn strike<'a>(
    platform: &'a Platform,
    fault: Fault,
    dice: &mut Dice,
    excused: &mut Excused,
    wounds: &Wounds<'a>,
    row: &mut Row,
) -> Result<Sight> {
    let wait = dice.between(200, 1_500);
    let sight = match fault {
        Fault::Kill(service) => {
            let victim = busiest(platform, service, dice).await?;
            let sight = catch(platform, Some(victim)).await;
            excused.add(victim, &sight);
            victim.kill().await?;
            row.kills += 1;
            row.strike(&format!("SIGKILL {}", victim.name()), &sight);
            tokio::time::sleep(wait).await;
            victim.respawn(&[])?;
            sight
        }
        Fault::Stop(service) => {
            let victim = busiest(platform, service, dice).await?;
            let sight = catch(platform, Some(victim)).await;
            excused.add(victim, &sight);
            victim.signal(Signal::STOP);
            row.strike(&format!("SIGSTOP {} for {} s", victim.name(), STANDSTILL.as_secs()), &sight);
            wounds.add(STANDSTILL, Heal::Continue(victim));
            sight
        }
        Fault::Restart(server) => {
            let sight = catch(platform, None).await;
            for replica in &platform.replicas {
                if provider_of(replica.service).is_some() {
                    excused.add(replica, &look(platform, Some(replica)).await);
                }
            }
            platform.stack.kill(server).await?;
            row.restarts += 1;
            row.strike(&format!("SIGKILL {}", server.name()), &sight);
            tokio::time::sleep(wait).await;
            platform.stack.revive(server).await?;
            sight
        }
        Fault::Reset(service, way) => {
            let victim = busiest(platform, service, dice).await?;
            let sight = cut(platform, victim, way, Some(Cut::Reset), excused, row).await;
            row.strike(&format!("reset {} to {}", victim.name(), way.name()), &sight);
            sight
        }
        Fault::HalfOpen(service, way) => {
            let victim = busiest(platform, service, dice).await?;
            let sight = cut(platform, victim, way, Some(Cut::HalfOpen), excused, row).await;
            row.strike(&format!("half-open {} to {}", victim.name(), way.name()), &sight);
            sight
        }
        Fault::BlackHole(service, way) => {
            let victim = busiest(platform, service, dice).await?;
            let sight = cut(platform, victim, way, None, excused, row).await;
            row.strike(&format!("black hole {} to {}, {} s", victim.name(), way.name(), BLACK_HOLE.as_secs()), &sight);
            wounds.add(BLACK_HOLE, Heal::Flow(victim, way));
            sight
        }
    };
    Ok(sight)
}

async fn cut(
    platform: &Platform,
    victim: &Replica,
    way: Way,
    how: Option<Cut>,
    excused: &mut Excused,
    row: &mut Row,
) -> Sight {
    let sight = catch(platform, Some(victim)).await;
    excused.add(victim, &sight);
    let mut open = 0;
    for proxy in platform.ways(victim, way) {
        open += proxy.open();
        match how {
            Some(cut) => {
                proxy.cut(cut);
            }
            None => proxy.stall(true),
        }
    }
    row.cuts += 1;
    row.say(format!("{open} connections of {} to {} are cut", victim.name(), way.name()));
    sight
}

/// What ends a fault that lasts.
enum Heal<'a> {
    /// SIGCONT.
    Continue(&'a Replica),
    /// Bytes pass again.
    Flow(&'a Replica, Way),
}

impl Heal<'_> {
    fn end(&self, platform: &Platform) {
        match self {
            Self::Continue(victim) => victim.signal(Signal::CONT),
            Self::Flow(victim, way) => platform.ways(victim, *way).iter().for_each(|proxy| proxy.stall(false)),
        }
    }
}

/// Faults that last, and when each ends.
#[derive(Default)]
pub(crate) struct Wounds<'a>(Mutex<Vec<(Instant, Heal<'a>)>>);

impl<'a> Wounds<'a> {
    fn add(&self, lasting: Duration, heal: Heal<'a>) {
        self.open().push((Instant::now() + lasting, heal));
    }

    /// Ends each in its time, whatever is done meanwhile: the next fault may wait for something that lasting ones keep from happening.
    pub(crate) async fn heal(&self, platform: &Platform) -> Infallible {
        loop {
            self.open().retain(|(due, heal)| {
                let lasts = Instant::now() < *due;
                if !lasts {
                    heal.end(platform);
                }
                lasts
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether nothing lasts.
    pub(crate) fn are_healed(&self) -> bool {
        self.open().is_empty()
    }

    fn open(&self) -> MutexGuard<'_, Vec<(Instant, Heal<'a>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dispatcher that holds most; of the others, one by chance.
pub(crate) async fn busiest<'a>(platform: &'a Platform, service: &str, dice: &mut Dice) -> Result<&'a Replica> {
    let running: Vec<&Replica> = platform.of(service).filter(|replica| replica.end().is_none()).collect();
    let chance = dice.below(running.len());
    if provider_of(service).is_some() {
        let mut best: Option<(u64, &Replica)> = None;
        for replica in &running {
            let open = crate::observe::streams(replica).await.unwrap_or(0);
            if best.is_none_or(|(most, _)| open > most) {
                best = Some((open, replica));
            }
        }
        if let Some((_, replica)) = best {
            return Ok(replica);
        }
    }
    running.get(chance).copied().with_context(|| format!("a {service} runs"))
}
