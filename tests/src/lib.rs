//! The World: a whole platform in a test.
