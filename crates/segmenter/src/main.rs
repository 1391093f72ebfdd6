//! The segmenter's process.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("segmenter", segmenter::start)
}
