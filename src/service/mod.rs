//! The signing service: it holds keys, dials out to the integration, and signs `Issue` transactions within its policy.
//! The issuing side never imports it.
//!
//! `config` reads `sigconfig.toml`. `session` is one connection: it computes what is signed from the transaction itself,
//! decides, answers. `run` keeps the connections going.

mod config;
mod keygen;
mod run;
mod session;

pub use config::{Config, ConfigError, Connection, Policy};
pub use keygen::keygen;
pub use run::{Until, run};

#[cfg(test)]
mod tests;
