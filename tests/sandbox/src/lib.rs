//! An honest simulator of the two systems that `bitmart-issuer` stands between: the exchange's REST
//! API ([`exchange`]) and the ndau chain's REST API ([`chain`]).
//!
//! Each is a real HTTP server on a loopback port, checks what the real one checks (signatures,
//! sequences, limits, clocks) with code of its own, and refuses in the real one's words. Both are
//! steered from the outside while they run: trades are added, blocks are raced, faults are set.
//!
//! ```text
//! server      one thread per connection over std; the only code that touches sockets
//! http        requests in, answers out
//! fault       what can go wrong between a server and its client, the same for both systems
//! keys        npub and signature texts, verifying
//! address     the chain's addresses
//! clock       the wall clock, calendar days, timestamps as text
//! exchange/   the trades of one account; the dialects v2 and v4
//! chain/      the ledger: rules, blocks, index; the node's REST API
//! control     the loopback endpoint by which `sandbox sell` reaches a running `sandbox serve`
//! ```

mod address;
pub mod chain;
mod clock;
pub mod control;
pub mod exchange;
mod fault;
mod http;
mod keys;
mod server;

pub use fault::{Fault, Html, NodeTrouble};
pub use server::Seen;
