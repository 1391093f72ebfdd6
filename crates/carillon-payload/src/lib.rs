//! From content to a platform's bytes with splice points: pure.
