//! The real programs, run as their users run them, against the sandbox's exchange and chain.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test stops on the spot"
)]

mod chain;
mod cli;
mod crash;
mod refuse;
mod resolve;
mod run;
mod stale;
mod support;
