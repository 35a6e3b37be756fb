//! Exactly once, on the real code: `run` between a disk, a chain, an exchange and a clock that are plain values. It dies
//! at each of its effects, the disk loses what a disk may lose, and whatever was left is run on until it is calm.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test stops on the spot"
)]

mod explore;
mod scenario;
mod smoke;
mod sweep;
mod syncs;
mod world;
