//! Words and rules of push notifications: pure, no IO, no async, no serialisation.
