//! Broker and database of the bench's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Where they are. Stopped and deleted when dropped, unless they are to stay.
pub(crate) struct Stack {
    pub(crate) root: PathBuf,
    /// Logs and files of this run.
    pub(crate) directory: PathBuf,
    pub(crate) amqp: String,
    pub(crate) database: String,
    pub(crate) broker_pid: u32,
    pub(crate) postgres_pid: u32,
    keep: bool,
}

impl Stack {
    pub(crate) fn start(keep: bool) -> Result<Self> {
        let root = std::env::current_dir()?;
        ensure!(root.join("deploy/local/stack.sh").exists(), "run it from the root of the repository: `make bench`");
        let directory = root.join("target/bench");
        std::fs::create_dir_all(&directory)?;
        script(&root, &directory, &["start"])?;
        let text = std::fs::read_to_string(directory.join("stack/stack.env"))?;
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned).with_context(|| format!("stack.env has no {name}"))
        };
        Ok(Self {
            amqp: value("CARILLON_AMQP__URL")?,
            database: value("CARILLON_DATABASE__URL")?,
            broker_pid: value("STACK_BROKER_PID")?.parse()?,
            postgres_pid: value("STACK_POSTGRES_PID")?.parse()?,
            root,
            directory,
            keep,
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !self.keep {
            let _ = script(&self.root, &self.directory, &["stop", "--wipe"]);
        }
    }
}

/// What PostgreSQL keeps of its tables: less than the quarter of the memory that its manual recommends, and more than the rows need.
const SHARED_BUFFERS: &str = "2GB";

fn script(root: &Path, directory: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new(root.join("deploy/local/stack.sh"));
    command.env("STACK_SHARED_BUFFERS", SHARED_BUFFERS);
    command.arg(words[0]).arg(directory.join("stack")).args(&words[1..]);
    ensure!(command.status().context("stack.sh")?.success(), "stack.sh {words:?} failed");
    Ok(())
}
