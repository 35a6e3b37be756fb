//! The signing service: it holds keys, dials out to the integration, and signs `Issue` transactions within its policy.
//! The issuing side never imports it.
//!
//! `config` reads `sigconfig.toml`. `answer` decides what is signed, `key` signs it. `dial` opens a connection, `session`
//! is one, encrypted, until its end, and `run` keeps them going. `keygen` makes keys, `check` looks whether all is in
//! order.

pub(crate) mod answer;
mod check;
pub(crate) mod config;
mod dial;
pub(crate) mod key;
mod keygen;
pub(crate) mod policy;
mod question;
mod run;
mod session;
pub(crate) mod signing_log;
mod stop;

pub use check::{Report, check};
pub use config::{Config, ConfigError, Connection, log_path};
#[cfg(feature = "yubihsm")]
pub use key::HsmError;
pub use key::{Ask, Key, KeyError, OpenError, ProgramError};
pub use keygen::keygen;
pub use policy::Policy;
pub use run::{Until, World, run};
pub use signing_log::{Form, IfMissing, LogError, SigningLog, show};
pub use stop::Stop;

#[cfg(test)]
mod tests;
