//! The APNs dispatcher as a process.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("dispatcher-apns", dispatcher_apns::start)
}
