//! The private broker and database: `deploy/local/stack.sh` does the work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use super::layout::Layout;

/// The first start may install packages.
const START: Duration = Duration::from_secs(1_200);
/// Everything else.
const STEP: Duration = Duration::from_secs(180);

/// Quorum queues publish their counts every 5 s; their leaders know them now. Gives `[{<<"queue">>,ready,unacked},...]`.
const COUNT_NOW: &str = "[begin
    {resource, _, queue, Name} = amqqueue:get_name(Queue),
    Leader = amqqueue:get_pid(Queue),
    {ok, {_, Ready}, _} = ra:local_query(Leader, fun rabbit_fifo:query_messages_ready/1),
    {ok, {_, Unacked}, _} = ra:local_query(Leader, fun rabbit_fifo:query_messages_checked_out/1),
    {Name, Ready, Unacked}
end || Queue <- rabbit_amqqueue:list()].";

/// How full a queue is, as the broker itself counts.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct QueueDepth {
    pub(crate) name: String,
    /// Waits to be handed out.
    #[serde(rename = "messages_ready")]
    pub(crate) ready: u64,
    /// Handed out and not acknowledged.
    #[serde(rename = "messages_unacknowledged")]
    pub(crate) unacked: u64,
}

/// A stack of our own.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    script: PathBuf,
    directory: PathBuf,
}

impl Stack {
    /// Not started yet.
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { script: layout.stack_script.clone(), directory: layout.stack.clone() }
    }

    /// Starts what does not run; `fresh` deletes what an earlier run left.
    ///
    /// # Errors
    /// What the script says, already on standard error.
    pub(crate) async fn start(&self, fresh: bool) -> Result<BTreeMap<String, String>> {
        if fresh {
            self.verb("stop", &["--wipe"], STEP).await?;
        }
        self.verb("start", &[], START).await?;
        let path = self.directory.join("stack.env");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Ok(parse(&text))
    }

    /// Stops it; the data stays.
    ///
    /// # Errors
    /// If something does not stop.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.verb("stop", &[], STEP).await
    }

    /// SIGTERM to the broker, then a start on the same port and data.
    ///
    /// # Errors
    /// If it does not come back.
    pub(crate) async fn restart_broker(&self) -> Result<()> {
        self.verb("restart-broker", &[], STEP).await
    }

    /// Every queue, as its leader counts at this moment; where it cannot be asked that way, as the broker's own listing
    /// has it, which may be 5 s old.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub(crate) async fn queues(&self) -> Result<Vec<QueueDepth>> {
        if let Ok(text) = self.ctl(&["eval", COUNT_NOW]).await
            && let Some(depths) = parse_terms(&text)
        {
            return Ok(depths);
        }
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let listing = ["--formatter", "json", "list_queues"].into_iter().chain(columns);
        let text = self.ctl(&listing.collect::<Vec<_>>()).await?;
        serde_json::from_str(&text).context("rabbitmqctl list_queues")
    }

    async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("ctl");
        command.arg("--quiet").args(arguments).stderr(Stdio::null());
        let output = tokio::time::timeout(STEP, command.output()).await.context("rabbitmqctl hangs")??;
        if !output.status.success() {
            bail!("rabbitmqctl {} failed", arguments.first().unwrap_or(&""));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(verb).arg(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn verb(&self, verb: &str, options: &[&str], limit: Duration) -> Result<()> {
        let mut child = self.command(verb).args(options).spawn().context("stack.sh cannot be started")?;
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => bail!("stack.sh {verb} failed"),
            Err(_) => bail!("stack.sh {verb} took longer than {} s", limit.as_secs()),
        }
    }
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Reads what [`COUNT_NOW`] prints; None if it is anything else.
fn parse_terms(text: &str) -> Option<Vec<QueueDepth>> {
    let text = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let read = |term: &str| {
        let (name, counts) = term.split_once("\">>,")?;
        let (ready, unacked) = counts.split_once('}')?.0.split_once(',')?;
        Some(QueueDepth { name: name.to_owned(), ready: ready.parse().ok()?, unacked: unacked.parse().ok()? })
    };
    text.split("{<<\"").skip(1).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaders_counts_are_read_from_erlang_terms() {
        let text = "[{<<\"dispatcher-apns.bulk\">>,18,6},\n {<<\"parked\">>,0,0}]\n";
        let depths = parse_terms(text).unwrap();
        assert_eq!((depths.len(), depths[0].name.as_str()), (2, "dispatcher-apns.bulk"));
        assert_eq!((depths[0].ready, depths[0].unacked), (18, 6));
        assert!(parse_terms("{error,badarg}").is_none() && parse_terms("[{<<\"a\">>,x,1}]").is_none());
    }

    #[test]
    fn a_value_may_hold_further_equals_signs() {
        let read = parse("A=1\nCARILLON_AMQP__URL=amqp://x?a=b\n\n");
        assert_eq!(read["CARILLON_AMQP__URL"], "amqp://x?a=b");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn queue_depths_are_read_as_rabbitmqctl_writes_them() {
        let text = r#"[{"name":"dispatcher-apns.bulk","messages_ready":3,"messages_unacknowledged":5}]"#;
        let depths: Vec<QueueDepth> = serde_json::from_str(text).unwrap();
        assert_eq!((depths[0].ready, depths[0].unacked), (3, 5));
    }
}
