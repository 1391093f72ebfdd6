//! The SMS cascade as a process.

fn main() -> std::process::ExitCode {
    carillon_runtime::run("sms-cascade", sms_cascade::start)
}
