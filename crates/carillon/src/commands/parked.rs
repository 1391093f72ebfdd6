//! `carillon parked list` and `carillon parked replay`.

use std::process::ExitCode;

use carillon_broker::{ParkedFilter, ParkedMessage};
use carillon_store::SetAside;

use crate::cli::{ParkedCommand, ParkedList, ParkedReplay};
use crate::{Outcome, settings};

/// Dispatches.
pub(crate) async fn run(command: ParkedCommand) -> Outcome {
    match command {
        ParkedCommand::List(options) => list(&options).await,
        ParkedCommand::Replay(options) => replay(options).await,
    }
}

/// What the broker keeps, and what the ledger has set aside, where the settings name its database.
async fn list(options: &ParkedList) -> Outcome {
    let (broker, stop) = settings::broker(options.config.as_deref())?;
    let messages = broker.inspector().parked(options.limit).await;
    stop.cancel();
    let _ = broker.drained().await;
    let messages = messages?;
    for message in &messages {
        println!("{}", line(message));
    }
    let mut aside = Vec::new();
    if let Ok(store) = settings::store(options.config.as_deref()) {
        aside = store.set_aside_messages(i64::try_from(options.limit).unwrap_or(i64::MAX)).await?;
    }
    for message in &aside {
        println!("{}", line_of_set_aside(message));
    }
    eprintln!("{} parked", messages.len() + aside.len());
    Ok(ExitCode::SUCCESS)
}

fn line(message: &ParkedMessage) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let seconds = message.parked_at.and_then(|seconds| i64::try_from(seconds).ok());
    let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let at = at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let (id, origin, detail) = (or(&message.message_id), or(&message.origin), or(&message.detail));
    format!("{at}  {origin}  {id}  {} bytes  crc32 {}  {}: {detail}", message.bytes, message.crc32, message.reason)
}

fn line_of_set_aside(message: &SetAside) -> String {
    let SetAside { chunk, position, notification, tenant, platform } = message;
    let platform = platform.map_or("-", |platform| platform.as_str());
    format!(
        "-  ledger  {}:{}:{position}  notification {}  tenant {tenant}  {platform}  no_progress: three claims of it alone came to no end",
        chunk.run.0, chunk.number, notification.0
    )
}

async fn replay(options: ParkedReplay) -> Outcome {
    let (broker, stop) = settings::broker(options.config.as_deref())?;
    let everything = options.queue.is_none() && options.message_id.is_none();
    let filter = ParkedFilter { origin: options.queue, message_id: options.message_id };
    let moved = broker.inspector().replay(&filter, options.limit).await;
    stop.cancel();
    let _ = broker.drained().await;
    let moved = moved?;
    let mut aside = 0;
    if everything && let Ok(store) = settings::store(options.config.as_deref()) {
        aside = store.send_back_set_aside(i64::try_from(options.limit).unwrap_or(i64::MAX)).await?;
    }
    println!("{} sent back, {} left", moved.moved + aside, moved.left);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_message_is_told_in_one_line_and_without_its_body() {
        let message = ParkedMessage {
            message_id: Some("m-1".into()),
            origin: Some("segmenter.runs.bulk".into()),
            reason: "undecodable".into(),
            detail: None,
            crc32: "00ff00ff".into(),
            parked_at: Some(1_790_000_000),
            bytes: 17,
        };
        let text = "2026-09-21T14:13:20Z  segmenter.runs.bulk  m-1  17 bytes  crc32 00ff00ff  undecodable: -";
        assert_eq!(line(&message), text);
    }
}
