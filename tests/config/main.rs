//! The configuration as an operator meets it: sources, precedence, and everything that can be wrong at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod deployment;
mod mistakes;
mod outboxes;
mod relations;
mod showing;
mod sources;
