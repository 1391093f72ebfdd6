//! Platform tests.
