//! Strict simulators of push providers and SMS gateways on their real protocols.
