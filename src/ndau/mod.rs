//! The ndau chain: its keys and signatures, its addresses, the `Issue` transaction, and its REST API.
//!
//! The formats (`text`, `key`, `address`, `issue`) are values in, values out; `wire` is the API's JSON as it is; only
//! `client` asks a server.

pub mod address;
pub mod client;
pub mod issue;
pub mod key;
pub(crate) mod text;
pub mod wire;

pub use address::Address;
pub use client::Node;
pub use issue::{Issue, SignedIssue, TxHash, Verified};
pub use key::{Algorithm, PrivateKey, PublicKey, Signature};
