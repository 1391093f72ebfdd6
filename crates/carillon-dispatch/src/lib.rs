//! The dispatch engine, written once for every provider: claim, send, report, pace.
