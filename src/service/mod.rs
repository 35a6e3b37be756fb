//! The signing service: it holds keys, dials out to the integration, and signs `Issue` transactions within its policy.
//! The issuing side never imports it.
//!
//! `config` reads `sigconfig.toml`. `answer` decides what is signed. `dial` opens a connection, `session` is one,
//! encrypted, until its end, and `run` keeps them going. `keygen` makes keys.

pub(crate) mod answer;
pub(crate) mod config;
mod dial;
mod keygen;
mod run;
mod session;

pub use config::{Config, ConfigError, Connection, Policy};
pub use keygen::keygen;
pub use run::{Until, run};

#[cfg(test)]
mod tests;
