//! The chart in helm/relay, rendered by Helm's own engine and validated against the schemas of Kubernetes (dev/chart), and
//! held against the program: its settings, ports, paths and grace. Needs no server and no cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod container;
mod image;
mod monitoring;
mod objects;
mod pods;
mod program;
mod report;
mod values;
