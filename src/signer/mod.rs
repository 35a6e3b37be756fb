//! The issuing side of the signing protocol `ndau-signer/1`: a listener that is open for a moment, and the signing
//! service that dials in. It gives out signatures that were verified, and nothing else that a peer said.
//!
//! `message` is pure: JSON to values and back. `noise` is the encryption, one message at a time, and `socket` carries
//! such messages; both sides use these three. `session` is one peer, from its first byte to its last, over any stream.
//! `listener` is what the rest of the program sees; `wait` owns the connections while it is open and decides who may
//! come in. Another format would be another `message` and `noise`.

mod endpoint;
mod error;
pub(crate) mod identity;
pub(crate) mod keyfile;
mod listener;
pub(crate) mod message;
pub(crate) mod noise;
mod session;
mod socket;
mod wait;

pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, Others};
pub use identity::{Identity, IdentityError};
pub use keyfile::KeyFileError;
pub use listener::{Callers, Door, Listener, Request, Signed, Signers};
pub use message::{Context, Outcome};

// What the two sides share, for the signing service's room.
pub(crate) use identity::pair_toml;
#[cfg(test)]
pub(crate) use identity::x25519_public;
pub(crate) use socket::{Lost, close, read, websocket_config, write};

/// The WebSocket sub-protocol that both sides name.
pub(crate) const SUB_PROTOCOL: &str = "ndau-signer.1";
