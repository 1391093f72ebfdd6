//! The status collector's process.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("status-collector", status_collector::start)
}
