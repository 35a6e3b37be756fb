//! Issues exactly as much ndau as was sold on an exchange.
//!
//! Read in this order: `run`, `settle`, `state`, then the room you came for.

pub mod clock;
pub mod error;
pub mod exchange;
pub mod http;
pub mod napu;
pub mod ndau;
pub mod sales;
pub mod secret;
pub mod settle;
pub mod state;
pub mod service;
pub mod signer;
