//! Issues exactly as much ndau as was sold on an exchange.
//!
//! Read in this order: `run`, `settle`, `state`, then the room you came for.

pub mod args;
pub mod clock;
pub mod config;
pub mod error;
pub mod exchange;
pub mod http;
pub mod init;
pub mod logging;
pub mod napu;
pub mod ndau;
pub mod report;
pub mod run;
pub mod sales;
pub mod secret;
pub mod service;
pub mod settle;
pub mod signer;
pub mod state;
pub mod status;
