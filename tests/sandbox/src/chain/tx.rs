//! Transactions: read from the API's JSON as Go reads it, their signable bytes, their hash.

use crate::address::read_address;
use crate::keys::{Refusal, Signature};
use data_encoding::BASE64URL_NOPAD;
use md5::{Digest, Md5};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Raises the issued total.
    Issue { qty: i64 },
    /// Raises the released total; the issuer's account is its source too.
    Release { destination: String, qty: i64 },
    /// Another account's: states the market price.
    RecordPrice { market_price: i64 },
}

/// A transaction. A trusted one comes from a control method: its account's signatures are taken as
/// given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tx {
    pub(crate) body: Body,
    pub(crate) sequence: u64,
    pub(crate) signatures: Option<Vec<Signature>>,
    pub(crate) trusted: bool,
}

impl Tx {
    pub(crate) fn trusted(body: Body, sequence: u64) -> Tx {
        Tx {
            body,
            sequence,
            signatures: None,
            trusted: true,
        }
    }

    /// Reads a transaction of this type. Type names and field names are case-insensitive, unknown
    /// fields are ignored, the last of several wins, `null` is zero.
    pub(crate) fn parse(kind: &str, json: &[u8]) -> Result<Tx, Refusal> {
        let body = match kind.to_ascii_lowercase().as_str() {
            "issue" => Body::Issue { qty: 0 },
            "recordprice" => Body::RecordPrice { market_price: 0 },
            "releasefromendowment" => Body::Release {
                destination: String::new(),
                qty: 0,
            },
            _ => return Err(Refusal::Says(format!("Unknown transaction: {kind}"))),
        };
        let raw: &RawValue = serde_json::from_slice(json).map_err(|error| syntax(json, &error))?;
        let mut tx = Tx {
            body,
            sequence: 0,
            signatures: None,
            trusted: false,
        };
        if raw.get() == "null" {
            return Ok(tx);
        }
        let Ok(Fields(fields)) = serde_json::from_str(raw.get()) else {
            return Err(Refusal::Says(format!(
                "json: cannot unmarshal {} into Go value of type ndau.{}",
                sort(raw),
                tx.kind()
            )));
        };
        // As in Go, a field that does not fit does not stop the others; the first error is told. A
        // signature that crashes the decoder ends it all.
        let mut first = None;
        for (name, value) in fields {
            match tx.set(&name.to_ascii_lowercase(), &value) {
                Ok(()) => {}
                Err(Refusal::Crash) => return Err(Refusal::Crash),
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        first.map_or(Ok(tx), Err)
    }

    fn set(&mut self, name: &str, value: &RawValue) -> Result<(), Refusal> {
        if value.get() == "null" {
            if name == "signatures" {
                self.signatures = None;
            }
            return Ok(());
        }
        let wrong = |kind: &str, target: &str| {
            Refusal::Says(format!(
                "json: cannot unmarshal {} into Go struct field {kind}.{name} of type {target}",
                sort(value)
            ))
        };
        let kind = self.kind();
        let number = || value.get().parse::<i64>();
        match (name, &mut self.body) {
            ("sequence", _) => {
                self.sequence = value.get().parse().map_err(|_| wrong(kind, "uint64"))?;
            }
            ("signatures", _) => {
                let list: Vec<Box<RawValue>> = serde_json::from_str(value.get())
                    .map_err(|_| wrong(kind, "[]signature.Signature"))?;
                let list: Result<_, _> = list.iter().map(|one| signature(kind, one)).collect();
                self.signatures = Some(list?);
            }
            ("qty", Body::Issue { qty } | Body::Release { qty, .. }) => {
                *qty = number().map_err(|_| wrong(kind, "types.Ndau"))?;
            }
            ("market_price", Body::RecordPrice { market_price }) => {
                *market_price = number().map_err(|_| wrong(kind, "pricecurve.Nanocent"))?;
            }
            ("destination", Body::Release { destination, .. }) => {
                let text: String = serde_json::from_str(value.get())
                    .map_err(|_| wrong(kind, "address.Address"))?;
                *destination = read_address(&text)
                    .ok_or_else(|| Refusal::Says("not a valid ndau address".into()))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The type's name.
    pub(crate) fn kind(&self) -> &'static str {
        match self.body {
            Body::Issue { .. } => "Issue",
            Body::Release { .. } => "ReleaseFromEndowment",
            Body::RecordPrice { .. } => "RecordPrice",
        }
    }

    /// The fields in the order of their names, numbers as eight bytes big endian; no type, no account,
    /// no network. A sequence above the greatest i64 leaves nothing at all.
    pub(crate) fn signable(&self) -> Vec<u8> {
        let Ok(sequence) = i64::try_from(self.sequence) else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        match &self.body {
            Body::Issue { qty } => bytes.extend_from_slice(&qty.to_be_bytes()),
            Body::RecordPrice { market_price } => {
                bytes.extend_from_slice(&market_price.to_be_bytes());
            }
            Body::Release { destination, qty } => {
                bytes.extend_from_slice(destination.as_bytes());
                bytes.extend_from_slice(&qty.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes
    }

    /// MD5 of the signable bytes as base64url without padding: the same whatever the signatures, and
    /// for every type with the same numbers.
    pub(crate) fn hash(&self) -> String {
        BASE64URL_NOPAD.encode(&Md5::digest(self.signable()))
    }
}

fn signature(kind: &str, value: &RawValue) -> Result<Signature, Refusal> {
    if value.get() == "null" {
        return Ok(Signature::null());
    }
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => Signature::parse(&text),
        Err(_) => Err(Refusal::Says(format!(
            "json: cannot unmarshal {} into Go struct field {kind}.signatures of type \
             signature.Signature",
            sort(value).split(' ').next().unwrap_or_default()
        ))),
    }
}

/// What Go calls a JSON value in its errors; numbers with their text.
fn sort(value: &RawValue) -> String {
    match value.get().as_bytes().first() {
        Some(b'"') => "string".into(),
        Some(b'[') => "array".into(),
        Some(b'{') => "object".into(),
        Some(b't' | b'f') => "bool".into(),
        _ => format!("number {}", value.get()),
    }
}

/// Go's words for a syntax error, as far as the parser's own tell which it is.
fn syntax(json: &[u8], error: &serde_json::Error) -> Refusal {
    if error.classify() == Category::Eof {
        return Refusal::Says("unexpected end of JSON input".into());
    }
    let line = json
        .split(|&byte| byte == b'\n')
        .nth(error.line().max(1) - 1);
    let place = error.column().saturating_sub(1);
    let found = line
        .and_then(|line| line.get(place))
        .copied()
        .unwrap_or(b' ');
    let text = error.to_string();
    let state = [
        ("trailing characters", "after top-level value"),
        (
            "key must be a string",
            "looking for beginning of object key string",
        ),
        (
            "trailing comma",
            "looking for beginning of object key string",
        ),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
    ]
    .into_iter()
    .find_map(|(ours, go)| text.starts_with(ours).then_some(go))
    .unwrap_or("looking for beginning of value");
    let found = char::from(found).escape_default();
    Refusal::Says(format!("invalid character '{found}' {state}"))
}

/// The members of an object in their order, duplicates and all.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Serialize for Tx {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Tx", 3)?;
        match &self.body {
            Body::Issue { qty } => fields.serialize_field("qty", qty)?,
            Body::RecordPrice { market_price } => {
                fields.serialize_field("market_price", market_price)?;
            }
            Body::Release { destination, qty } => {
                fields.serialize_field("destination", destination)?;
                fields.serialize_field("qty", qty)?;
            }
        }
        fields.serialize_field("sequence", &self.sequence)?;
        let texts: Option<Vec<String>> = self
            .signatures
            .as_ref()
            .map(|list| list.iter().map(Signature::text).collect());
        fields.serialize_field("signatures", &texts)?;
        fields.end()
    }
}
