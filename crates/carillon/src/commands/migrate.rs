//! `carillon migrate`.

use std::process::ExitCode;

use crate::cli::Configured;
use crate::{Outcome, settings};

/// Applies what is missing and says what it was.
pub(crate) async fn run(options: &Configured) -> Outcome {
    let applied = settings::store(options.config.as_deref())?.migrate().await?;
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    for name in applied {
        println!("applied {name}");
    }
    Ok(ExitCode::SUCCESS)
}
