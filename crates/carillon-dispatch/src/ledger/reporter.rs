//! Reports on their way to the ledger. What was handed over is told until it is committed, whatever becomes of the handler
//! that handed it over: a result that is lost is a message that is sent twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::backoff::full_jitter;
use carillon_wire::internal::{ChunkReport, ReportAnswer};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use uuid::Uuid;

use super::client::{Ledger, is_passing};

/// Reports that wait; each chunk in work has at most one, and one more when its handler is cut.
const WAITING: usize = 1024;
/// Calls at once. Whatever comes while they are under way goes into the next one, together.
const CALLS: usize = 2;
/// Chunks and outcomes of one call.
const CHUNKS: usize = 64;
const OUTCOMES: usize = 4096;
/// Waits between tries.
const RETRY: (Duration, Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1), Duration::from_millis(20));
/// How long an absent ledger is asked after all chunks are done and the process wants to end.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// What the ledger said to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// New sends may start until then.
    Go { until: Instant },
    /// Start nothing more.
    Stop,
}

struct Item {
    report: ChunkReport,
    answer: oneshot::Sender<Answer>,
}

/// Hands reports over. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter(mpsc::Sender<Item>);

/// The task behind [`Reporter`]; it ends when all reporters are dropped and everything is told.
pub(crate) struct Reports {
    ledger: Arc<Ledger>,
    items: mpsc::Receiver<Item>,
}

impl Reporter {
    pub(crate) fn new(ledger: Arc<Ledger>) -> (Self, Reports) {
        let (sender, items) = mpsc::channel(WAITING);
        (Self(sender), Reports { ledger, items })
    }

    /// Hands a report over; what comes back resolves when it is committed. Waits while too many wait. The receiver fails only
    /// if the process ends with the ledger away.
    pub(crate) async fn report(&self, report: ChunkReport) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        // Fails only when the task is gone; the receiver then says so.
        let _ = self.0.send(Item { report, answer }).await;
        receiver
    }

    /// Hands a report over from where nobody can wait. False if there is no room: the positions are then sent again by
    /// whoever claims the chunk next.
    pub(crate) fn report_now(&self, report: ChunkReport) -> bool {
        let (answer, _) = oneshot::channel();
        self.0.try_send(Item { report, answer }).is_ok()
    }
}

impl Reports {
    /// Tells what it is given until all reporters are dropped and everything is told.
    pub(crate) async fn run(mut self) {
        let mut waiting = VecDeque::new();
        let mut calls: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut open = true;
        while open || !waiting.is_empty() {
            while calls.len() < CALLS && !waiting.is_empty() {
                calls.push(Box::pin(tell(Arc::clone(&self.ledger), batch(&mut waiting))));
            }
            tokio::select! {
                item = self.items.recv(), if open && waiting.len() < WAITING => match item {
                    Some(item) => {
                        waiting.push_back(item);
                        while let Ok(item) = self.items.try_recv() {
                            waiting.push_back(item);
                        }
                    }
                    None => open = false,
                },
                Some(()) = calls.next(), if !calls.is_empty() => {}
            }
        }
        let last = async { while calls.next().await.is_some() {} };
        if timeout(LAST_TRIES, last).await.is_err() {
            tracing::error!("the ledger stayed away; what it was not told will be sent again");
        }
    }
}

/// What goes into one call: as much as is there, within the bounds of a call.
fn batch(waiting: &mut VecDeque<Item>) -> Vec<Item> {
    let mut outcomes = 0;
    let mut taken = Vec::new();
    while let Some(item) = waiting.front() {
        outcomes += item.report.outcomes.len();
        if !taken.is_empty() && (outcomes > OUTCOMES || taken.len() == CHUNKS) {
            break;
        }
        taken.extend(waiting.pop_front());
    }
    taken
}

/// Tells a batch until the ledger has it. A report that the ledger does not understand is told alone, so that it takes no
/// other with it, and then given up.
async fn tell(ledger: Arc<Ledger>, items: Vec<Item>) {
    let Err((status, mut items)) = tell_together(&ledger, items).await else { return };
    if items.len() == 1 {
        return give_up(&status, items);
    }
    for item in items.drain(..) {
        if let Err((status, items)) = tell_together(&ledger, vec![item]).await {
            give_up(&status, items);
        }
    }
}

fn give_up(status: &Status, items: Vec<Item>) {
    tracing::error!(code = ?status.code(), "the ledger does not understand a report");
    for item in items {
        // A handler that was cut does not listen any more.
        let _ = item.answer.send(Answer::Stop);
    }
}

async fn tell_together(ledger: &Ledger, items: Vec<Item>) -> Result<(), (Status, Vec<Item>)> {
    let (mut reports, answers): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.report, item.answer)).unzip();
    let mut failures = 0u8;
    loop {
        match ledger.report(reports.clone()).await {
            Ok((asked, response)) => {
                for (answer, said) in answers.into_iter().zip(response.answers) {
                    // A handler that was cut does not listen any more.
                    let _ = answer.send(read(asked, said));
                }
                return Ok(());
            }
            Err(status) if is_passing(status.code()) => {
                if failures == 0 {
                    tracing::warn!(code = ?status.code(), chunks = reports.len(), "a report is not committed yet");
                }
                let (base, cap, floor) = RETRY;
                sleep(full_jitter(failures, base, cap, floor, Uuid::new_v4().as_u128() as u32)).await;
                failures = failures.saturating_add(1);
            }
            Err(status) => {
                let items = reports.drain(..).zip(answers).map(|(report, answer)| Item { report, answer }).collect();
                return Err((status, items));
            }
        }
    }
}

fn read(asked: Instant, said: ReportAnswer) -> Answer {
    match said.lease_ms {
        0 => Answer::Stop,
        ms => Answer::Go { until: asked + Duration::from_millis(ms.into()) },
    }
}
