//! Generates the messages and services of `proto/` with protox, so that no protoc is needed.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a build script talks to cargo by printing and by variables"
)]

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let public = ["carillon/v1/notifications.proto", "carillon/v1/devices.proto"];
    let internal = ["carillon/internal/v1/ledger.proto", "carillon/events/v1/events.proto"];
    let all = protox::compile(public.iter().chain(&internal), ["../../proto"])?;

    // Reflection shows the public services only.
    let reflected = protox::compile(public, ["../../proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("public_descriptor.bin"), reflected.encode_to_vec())?;

    tonic_prost_build::configure()
        // In the order of their keys: equal messages are equal bytes.
        .btree_map(".")
        .bytes(".carillon.events.v1.NotificationBody")
        .bytes(".carillon.events.v1.SealedCredential")
        .bytes(".carillon.events.v1.Variant")
        .compile_fds(all)?;
    Ok(())
}
