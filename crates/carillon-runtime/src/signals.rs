//! SIGTERM and SIGINT: the first one drains, the second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::run::EXIT_FAILURE;

/// Starts to listen; the token fires at the first signal.
pub(crate) fn listen() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = CancellationToken::new();
    let fire = first.clone();
    // Beside the supervised tasks on purpose: it must outlive the drain that it may have to cut.
    #[allow(clippy::disallowed_methods, reason = "this is the runtime itself")]
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        fire.cancel();
        next(&mut terminate, &mut interrupt).await;
        tracing::warn!("second signal, the process ends without draining");
        std::process::exit(i32::from(EXIT_FAILURE));
    });
    Ok(first)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "signal received");
}
