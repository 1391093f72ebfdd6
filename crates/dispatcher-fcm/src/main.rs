//! The FCM dispatcher as a process.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("dispatcher-fcm", dispatcher_fcm::start)
}
