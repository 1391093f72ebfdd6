//! The process of the ingest API.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("ingest-api", ingest_api::start)
}
