//! `carillon parked list` and `carillon parked replay`.

use std::process::ExitCode;

use carillon_broker::{ParkedFilter, ParkedMessage};

use crate::cli::{ParkedCommand, ParkedList, ParkedReplay};
use crate::{Outcome, settings};

/// Dispatches.
pub(crate) async fn run(command: ParkedCommand) -> Outcome {
    match command {
        ParkedCommand::List(options) => list(&options).await,
        ParkedCommand::Replay(options) => replay(options).await,
    }
}

async fn list(options: &ParkedList) -> Outcome {
    let (broker, stop) = settings::broker(options.config.as_deref())?;
    let messages = broker.inspector().parked(options.limit).await;
    stop.cancel();
    let _ = broker.drained().await;
    let messages = messages?;
    for message in &messages {
        println!("{}", line(message));
    }
    eprintln!("{} parked", messages.len());
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

async fn replay(options: ParkedReplay) -> Outcome {
    let (broker, stop) = settings::broker(options.config.as_deref())?;
    let filter = ParkedFilter { origin: options.queue, message_id: options.message_id };
    let moved = broker.inspector().replay(&filter, options.limit).await;
    stop.cancel();
    let _ = broker.drained().await;
    let moved = moved?;
    println!("{} sent back, {} left", moved.moved, moved.left);
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
