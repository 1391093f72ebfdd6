//! The Web Push dispatcher as a process.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("dispatcher-webpush", dispatcher_webpush::start)
}
