//! Where things are: the checkout, the run directory, the binaries.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Places of one run.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// `.run`: dev.json, logs, the simulators' certificate.
    pub(crate) run: PathBuf,
    /// Broker and database; inside `run`.
    pub(crate) stack: PathBuf,
    /// `deploy/local/stack.sh` of the checkout.
    pub(crate) stack_script: PathBuf,
    /// Where the services' binaries are: beside this one.
    pub(crate) binaries: PathBuf,
}

impl Layout {
    /// For a run that stays: data is kept from run to run.
    ///
    /// # Errors
    /// If the working directory is no checkout, or the directory cannot be made.
    pub(crate) fn for_dev(directory: &Path) -> Result<Self> {
        Self::new(directory, "")
    }

    /// For a demonstration: data of its own, so that a developer's is left alone.
    ///
    /// # Errors
    /// As [`Layout::for_dev`].
    pub(crate) fn for_demo(directory: &Path) -> Result<Self> {
        Self::new(directory, "demo")
    }

    fn new(directory: &Path, stack: &str) -> Result<Self> {
        let here = std::env::current_dir().context("the working directory")?;
        let stack_script = here.join("deploy/local/stack.sh");
        if !stack_script.is_file() {
            bail!("{} is not there: run this in the root of a checkout", stack_script.display());
        }
        let run = here.join(directory);
        std::fs::create_dir_all(run.join("logs")).with_context(|| format!("{} cannot be made", run.display()))?;
        let own = std::env::current_exe().context("where this program is")?;
        let binaries = own.parent().context("where this program is")?.to_path_buf();
        Ok(Self { stack: run.join(stack), run, stack_script, binaries })
    }

    /// The binary of a service or of the simulators.
    ///
    /// # Errors
    /// If it was not built.
    pub(crate) fn binary(&self, name: &str) -> Result<PathBuf> {
        let path = self.binaries.join(name);
        if !path.is_file() {
            bail!("{} is not built: cargo build --workspace --bins", path.display());
        }
        Ok(path)
    }

    /// The log of a child process.
    pub(crate) fn log(&self, service: &str, index: usize) -> PathBuf {
        self.run.join("logs").join(format!("{service}-{index}.log"))
    }

    /// `dev.json`.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.run.join("dev.json")
    }
}
