//! What travels and where: protobuf messages, gRPC services, and the broker's topology.
//!
//! The only crate that knows protobuf. Everything else speaks domain words; the conversions are here, so that a field
//! cannot mean one thing to a sender and another to a receiver.

mod draft;
mod event;
mod ledger;
mod names;
pub mod topology;

pub use draft::{draft_from_request, request_from_notification};
pub use event::{chunk_len, decode_body, encode_body, into_body, target_len};
pub use ledger::{outcome_from_wire, outcome_to_wire};

/// Generated from `proto/`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the proto files are documented")]
mod generated {
    /// `carillon.v1`: the public gRPC.
    pub mod carillon {
        pub mod v1 {
            tonic::include_proto!("carillon.v1");
        }
        pub mod internal {
            pub mod v1 {
                tonic::include_proto!("carillon.internal.v1");
            }
        }
        pub mod events {
            pub mod v1 {
                tonic::include_proto!("carillon.events.v1");
            }
        }
    }
}

pub use generated::carillon::events::v1 as events;
pub use generated::carillon::internal::v1 as internal;
pub use generated::carillon::v1 as public;

/// The encoded descriptor set of the public services, for reflection.
pub const PUBLIC_DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public_descriptor.bin"));
