//! The messages of the signing protocol as values, and their JSON. Pure.
//!
//! Unknown fields are ignored; an unknown `type`, a missing or repeated field, and a field of another kind are not.

mod wire;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ndau::{Issue, PublicKey, Signature};
use crate::quote::excerpt;

/// The one transaction type that is ever signed.
pub(crate) const ISSUE: &str = "Issue";

/// What a request is about, for a person to read. It is never signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The traded pair.
    pub symbol: String,
    /// How many trades were summed.
    pub trades: u64,
    /// The first of them.
    pub first_trade_id: String,
    /// The last of them.
    pub last_trade_id: String,
}

/// What became of a signed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is on the chain.
    Committed,
    /// Nothing had to be submitted.
    NotNeeded,
    /// It was not submitted, or its fate is not known yet.
    Failed,
}

/// A request's name: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(crate) fn new(random: [u8; 16]) -> RequestId {
        RequestId(hex::encode(random))
    }

    fn parse(text: String) -> Result<RequestId, MessageError> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 32 && text.bytes().all(digit) {
            Ok(RequestId(text))
        } else {
            Err(MessageError::Field { field: "id" })
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Integration to signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToSigner {
    /// Sign it.
    SignTx(SignTx),
    /// What became of it.
    Done {
        /// The request.
        id: RequestId,
        /// What became of it.
        outcome: Outcome,
        /// The transaction.
        hash: String,
    },
    /// The session ends here.
    Error {
        /// Why.
        message: String,
    },
}

/// A request for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignTx {
    pub(crate) id: RequestId,
    pub(crate) tx_type: String,
    /// The transaction's JSON, byte for byte as it came.
    pub(crate) tx: String,
    pub(crate) signing_keys: Vec<PublicKey>,
    pub(crate) context: Context,
}

impl SignTx {
    /// A request to sign `issue`.
    pub(crate) fn new(
        id: RequestId,
        issue: &Issue,
        signing_keys: Vec<PublicKey>,
        context: Context,
    ) -> SignTx {
        SignTx {
            id,
            tx_type: ISSUE.to_owned(),
            tx: issue.unsigned_body(),
            signing_keys,
            context,
        }
    }
}

/// Signer to integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromSigner {
    /// The first message: proof that the handshake was no replay.
    Hello {
        /// Of the program.
        version: String,
        /// How many keys it holds.
        keys: u64,
    },
    /// One per requested key that it holds.
    Signatures {
        /// The request.
        id: RequestId,
        /// Key and signature.
        signatures: Vec<(PublicKey, Signature)>,
    },
    /// A policy or a person said no.
    Refused {
        /// The request.
        id: RequestId,
        /// Why.
        reason: String,
    },
    /// The session ends here.
    Error {
        /// Why.
        message: String,
    },
}

/// Why bytes are not a message. An unknown type is quoted as an excerpt, and a cause may quote any length of what stands in
/// a field's place: print it as an excerpt, too.
#[derive(Debug)]
pub(crate) enum MessageError {
    /// Not one JSON object in UTF-8.
    NotAnObject,
    /// Not JSON, or a field is missing, repeated or of another kind.
    Json(serde_json::Error),
    /// A type that this side does not know.
    Type {
        /// As it was given.
        found: String,
    },
    /// A field whose content is not what it should be.
    Field {
        /// Which.
        field: &'static str,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::NotAnObject => f.write_str("not a JSON object"),
            MessageError::Json(_) => f.write_str("not a message of this protocol"),
            MessageError::Type { found } => {
                write!(f, "unknown message type `{}`", excerpt(found))
            }
            MessageError::Field { field } => {
                write!(f, "the message's field `{field}` is not what it should be")
            }
        }
    }
}

impl std::error::Error for MessageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MessageError::Json(source) => Some(source),
            MessageError::NotAnObject | MessageError::Type { .. } | MessageError::Field { .. } => {
                None
            }
        }
    }
}

impl From<serde_json::Error> for MessageError {
    fn from(source: serde_json::Error) -> Self {
        MessageError::Json(source)
    }
}

/// The text of a message, and its type. A struct is always an object here: JSON arrays are refused, which the
/// deserializer alone would take as a struct's fields in order.
fn open(bytes: &[u8]) -> Result<(&str, String), MessageError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MessageError::NotAnObject)?;
    if !text.trim_start().starts_with('{') {
        return Err(MessageError::NotAnObject);
    }
    let kind: wire::Kind = serde_json::from_str(text)?;
    Ok((text, kind.kind))
}

fn print<T: Serialize>(kind: &str, content: T) -> String {
    serde_json::to_string(&wire::Tagged { kind, content })
        .expect("strings and numbers are always JSON")
}

impl ToSigner {
    pub(crate) fn parse(bytes: &[u8]) -> Result<ToSigner, MessageError> {
        let (text, kind) = open(bytes)?;
        match kind.as_str() {
            "sign_tx" => {
                let wire: wire::SignTx<'_> = serde_json::from_str(text)?;
                let mut signing_keys = Vec::with_capacity(wire.signing_keys.len());
                for key in &wire.signing_keys {
                    let key = PublicKey::parse(key).map_err(|_| MessageError::Field {
                        field: "signing_keys",
                    })?;
                    signing_keys.push(key);
                }
                Ok(ToSigner::SignTx(SignTx {
                    id: RequestId::parse(wire.id)?,
                    tx_type: wire.tx_type,
                    tx: wire.tx.get().to_owned(),
                    signing_keys,
                    context: wire.context,
                }))
            }
            "done" => {
                let wire: wire::Done = serde_json::from_str(text)?;
                Ok(ToSigner::Done {
                    id: RequestId::parse(wire.id)?,
                    outcome: wire.outcome,
                    hash: wire.hash,
                })
            }
            "error" => {
                let wire: wire::Error = serde_json::from_str(text)?;
                Ok(ToSigner::Error {
                    message: wire.message,
                })
            }
            _ => Err(MessageError::Type { found: kind }),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        match self {
            ToSigner::SignTx(request) => {
                let tx = RawValue::from_string(request.tx.clone())
                    .expect("an Issue's own body is always JSON");
                serde_json::to_string(&wire::SignTxOut {
                    kind: "sign_tx",
                    id: &request.id.0,
                    tx_type: &request.tx_type,
                    tx: &tx,
                    signing_keys: request
                        .signing_keys
                        .iter()
                        .map(PublicKey::as_text)
                        .collect(),
                    context: &request.context,
                })
                .expect("strings and numbers are always JSON")
            }
            ToSigner::Done { id, outcome, hash } => print(
                "done",
                wire::Done {
                    id: id.0.clone(),
                    outcome: *outcome,
                    hash: hash.clone(),
                },
            ),
            ToSigner::Error { message } => print(
                "error",
                wire::Error {
                    message: message.clone(),
                },
            ),
        }
    }
}

impl FromSigner {
    pub(crate) fn parse(bytes: &[u8]) -> Result<FromSigner, MessageError> {
        let (text, kind) = open(bytes)?;
        match kind.as_str() {
            "hello" => {
                let wire: wire::Hello = serde_json::from_str(text)?;
                Ok(FromSigner::Hello {
                    version: wire.version,
                    keys: wire.keys,
                })
            }
            "signatures" => {
                let wire: wire::Signatures = serde_json::from_str(text)?;
                let bad = |_| MessageError::Field {
                    field: "signatures",
                };
                let mut signatures = Vec::with_capacity(wire.signatures.len());
                for one in &wire.signatures {
                    let key = PublicKey::parse(&one.key).map_err(bad)?;
                    signatures.push((key, Signature::parse(&one.signature).map_err(bad)?));
                }
                Ok(FromSigner::Signatures {
                    id: RequestId::parse(wire.id)?,
                    signatures,
                })
            }
            "refused" => {
                let wire: wire::Refused = serde_json::from_str(text)?;
                Ok(FromSigner::Refused {
                    id: RequestId::parse(wire.id)?,
                    reason: wire.reason,
                })
            }
            "error" => {
                let wire: wire::Error = serde_json::from_str(text)?;
                Ok(FromSigner::Error {
                    message: wire.message,
                })
            }
            _ => Err(MessageError::Type { found: kind }),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        match self {
            FromSigner::Hello { version, keys } => print(
                "hello",
                wire::Hello {
                    version: version.clone(),
                    keys: *keys,
                },
            ),
            FromSigner::Signatures { id, signatures } => print(
                "signatures",
                wire::Signatures {
                    id: id.0.clone(),
                    signatures: signatures
                        .iter()
                        .map(|(key, signature)| wire::KeyAndSignature {
                            key: key.as_text().to_owned(),
                            signature: signature.as_text().to_owned(),
                        })
                        .collect(),
                },
            ),
            FromSigner::Refused { id, reason } => print(
                "refused",
                wire::Refused {
                    id: id.0.clone(),
                    reason: reason.clone(),
                },
            ),
            FromSigner::Error { message } => print(
                "error",
                wire::Error {
                    message: message.clone(),
                },
            ),
        }
    }
}

#[cfg(test)]
mod tests;
