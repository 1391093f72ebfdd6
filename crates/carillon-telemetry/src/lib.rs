//! Logs, traces and metrics: set-up, propagation, every name, redaction.
