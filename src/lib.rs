//! Issues exactly as much ndau as was sold on an exchange, exactly once.
//!
//! Two programs share this library: `bitmart-issuer`, which cron starts, and `ndau-signer`, which holds the keys. Both are
//! synchronous and single-threaded.
//!
//! ```text
//! run/        one run as a story: the numbered steps of docs/exactly-once.md, and the rooms it sees
//! sales       pure: trades, cursor and now become a batch and the cursor after it
//! settle      pure: what is in flight and what the chain shows become the next step
//! resolve     pure: what a person has to decide, and what can be decided
//! state/      the files of a run, and the only code that touches them
//!
//! exchange/   BitMart, in both dialects: gives out trades, all of them or an error
//! ndau/       the chain: keys, addresses, the Issue transaction, the REST API
//! signer/     the issuing side of the signing protocol: gives out verified signatures only
//! service/    the other side, `ndau-signer`; the issuing side never imports it
//!
//! audit/      shows that sales, ledger and chain agree, or where they do not
//! export      the exchange's answers on file   history  the whole ledger
//! init        writes what is missing        status   what is known offline
//! report      what a run did, for people and programs
//! args        the command line as typed     config   the settings, checked
//! error       the top-level error, and the table of exit codes
//!
//! napu        exact amounts                 secret   what must not be printed
//! http        one request, one answer       clock    the time
//! quote       others' words in our lines
//! logging     what is logged                terminal what both programs do with arguments and streams
//! ```
//!
//! Read in this order: `run`, `settle`, `state`, then the room you came for. Imports point downwards, and only `run` sees
//! all rooms. The seams where tests get in are `http::Http`, `state::Disk`, `clock::Clock` and `signer::Signers`, and any
//! stream under the signing protocol.

pub mod args;
pub mod audit;
pub mod clock;
pub mod config;
#[cfg(test)]
mod documented;
pub mod error;
pub mod exchange;
pub mod export;
pub mod history;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod http;
pub mod init;
pub mod logging;
pub mod napu;
pub mod ndau;
pub mod quote;
pub mod report;
pub mod resolve;
pub mod run;
pub mod sales;
pub mod secret;
pub mod service;
pub mod settle;
pub mod signer;
pub mod state;
pub mod status;
pub mod terminal;
#[cfg(test)]
mod vectors;
