//! The only crate that knows SQL: migrations, and one file per aggregate.
