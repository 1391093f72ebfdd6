//! Sealing and opening secrets: AES-256-GCM with a key per kind, and rotation.
