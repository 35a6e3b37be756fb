//! The real programs, run as their users run them, against the sandbox's exchange and chain.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test stops on the spot"
)]

mod allowed;
mod audit;
mod chain;
mod cli;
mod crash;
mod crowd;
mod hosts;
mod keys;
mod kill;
mod lying;
mod peer;
mod python;
mod refuse;
mod resolve;
mod rogue;
mod rolling;
mod run;
mod samples;
mod signer;
mod stale;
mod strangers;
mod support;
mod tunnel;
