//! The JSON of each message, without its `type`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Context, Outcome};

#[derive(Deserialize)]
pub(super) struct Kind {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Serialize)]
pub(super) struct Tagged<'a, T> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(flatten)]
    pub(super) content: T,
}

#[derive(Deserialize)]
pub(super) struct SignTx<'a> {
    pub(super) id: String,
    pub(super) tx_type: String,
    #[serde(borrow)]
    pub(super) tx: &'a RawValue,
    pub(super) signing_keys: Vec<String>,
    pub(super) context: Context,
}

/// The printed form has its `type` inside: a flattened struct cannot hold raw JSON.
#[derive(Serialize)]
pub(super) struct SignTxOut<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) id: &'a str,
    pub(super) tx_type: &'a str,
    pub(super) tx: &'a RawValue,
    pub(super) signing_keys: Vec<&'a str>,
    pub(super) context: &'a Context,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) id: String,
    pub(super) outcome: Outcome,
    pub(super) hash: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Error {
    pub(super) message: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: String,
    pub(super) keys: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Signatures {
    pub(super) id: String,
    pub(super) signatures: Vec<KeyAndSignature>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyAndSignature {
    pub(super) key: String,
    pub(super) signature: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) id: String,
    pub(super) reason: String,
}
