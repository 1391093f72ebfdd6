//! `carillon topology`.

use std::process::ExitCode;

use crate::Outcome;
use crate::cli::Topology;

/// Prints the table or the definitions. Services declare all of it themselves at every connect; this is for people, and for
/// the policies, which only an operator may set.
pub(crate) fn run(options: &Topology) -> Outcome {
    let topology = carillon_wire::topology::topology();
    let text = if options.definitions { topology.definitions(&options.vhost) } else { topology.table() };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
