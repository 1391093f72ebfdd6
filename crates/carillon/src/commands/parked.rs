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

/// Said where no database is named, so that what is set aside is not taken for nothing.
const LEDGER_NOT_ASKED: &str =
    "carillon: the ledger was not asked for what it has set aside: CARILLON_DATABASE__URL names no database";

/// What the broker keeps, and what the ledger has set aside, where the settings name its database.
async fn list(options: &ParkedList) -> Outcome {
    let store = settings::store_if_named(options.config.as_deref())?;
    let (broker, stop) = settings::broker(options.config.as_deref())?;
    // One more than is shown tells whether there are more.
    let messages = broker.inspector().parked(options.limit.saturating_add(1)).await;
    stop.cancel();
    let _ = broker.drained().await;
    let mut messages = messages?;
    let mut more = messages.len() > options.limit;
    messages.truncate(options.limit);
    for message in &messages {
        println!("{}", line(message));
    }
    let mut aside = Vec::new();
    match &store {
        Some(store) => aside = store.set_aside_messages(chunks(options.limit.saturating_add(1))).await?,
        None => eprintln!("{LEDGER_NOT_ASKED}"),
    }
    more |= aside.len() > options.limit;
    aside.truncate(options.limit);
    for message in &aside {
        println!("{}", line_of_set_aside(message));
    }
    eprintln!("{}", summary(messages.len(), aside.len(), more));
    Ok(ExitCode::SUCCESS)
}

fn summary(parked: usize, set_aside: usize, more: bool) -> String {
    let more = if more { ", and more: --limit N shows them" } else { "" };
    format!("{parked} parked, {set_aside} set aside{more}")
}

/// A chunk has one message at least.
fn chunks(messages: usize) -> i64 {
    i64::try_from(messages).unwrap_or(i64::MAX)
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
    let everything = options.queue.is_none() && options.message_id.is_none();
    let store = if everything { settings::store_if_named(options.config.as_deref())? } else { None };
    let (broker, stop) = settings::broker(options.config.as_deref())?;
    let filter = ParkedFilter { origin: options.queue, message_id: options.message_id };
    let moved = broker.inspector().replay(&filter, options.limit).await;
    stop.cancel();
    let _ = broker.drained().await;
    let moved = moved?;
    // Said before the ledger is asked: what has moved has moved, whatever becomes of the rest.
    println!("{} sent back, {} left", moved.moved, moved.left);
    match &store {
        Some(store) => {
            let aside = store.send_back_set_aside(chunks(options.limit)).await?;
            println!("{aside} set aside by the ledger, to be tried again");
        }
        None if everything => eprintln!("{LEDGER_NOT_ASKED}"),
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_cut_says_so() {
        assert_eq!(summary(2, 1, false), "2 parked, 1 set aside");
        assert_eq!(summary(100, 0, true), "100 parked, 0 set aside, and more: --limit N shows them");
    }

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
