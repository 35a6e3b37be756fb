//! The `Issue` transaction: its bounds, its signable bytes, its hash, its JSON, and the signatures that make it
//! ready to submit. From ndau's `pkg/ndau/{transactions,tx_issue,signable_bytes_gen}.go`.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::key::{PublicKey, Signature};
use crate::napu::Napu;

/// The chain counts at most so many signatures on one transaction.
pub const MAX_SIGNATURES: usize = 16;

/// The largest sequence that has signable bytes; above it they are empty and sign nothing.
const MAX_SEQUENCE: u64 = i64::MAX.unsigned_abs();

/// An `Issue` within all bounds that the chain does not check, or checks too late: a quantity above nothing and at
/// most all the ndau there can be, and a sequence from 1 to `i64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Issue {
    quantity: Napu,
    sequence: u64,
}

/// Why numbers are not an `Issue`, or a text not its JSON.
#[derive(Debug)]
pub enum IssueError {
    /// Nothing, or more than all the ndau there can be.
    Quantity {
        /// The quantity found.
        quantity: Napu,
    },
    /// 0, or too large to be signed.
    Sequence {
        /// The sequence found.
        sequence: u64,
    },
    /// The JSON is not that of an unsigned `Issue`.
    Json(serde_json::Error),
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IssueError::Quantity { quantity } => write!(
                f,
                "{quantity} ndau cannot be issued at once: it must be more than 0 and at most {}",
                Napu::SUPPLY
            ),
            IssueError::Sequence { sequence } => {
                write!(
                    f,
                    "sequence {sequence} cannot be signed: it must be from 1 to {MAX_SEQUENCE}"
                )
            }
            IssueError::Json(_) => f.write_str("not the JSON of an unsigned Issue"),
        }
    }
}

impl std::error::Error for IssueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IssueError::Json(source) => Some(source),
            IssueError::Quantity { .. } | IssueError::Sequence { .. } => None,
        }
    }
}

/// The name of a transaction on the chain: 22 characters of base64url. It covers quantity and sequence alone; any
/// transaction of any type and account with the same two numbers has the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TxHash(String);

impl TxHash {
    fn of(signable: &[u8]) -> TxHash {
        TxHash(BASE64URL_NOPAD.encode(&Md5::digest(signable)))
    }

    /// The text, usable in a path as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TxHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two numbers as the chain's `SignableBytes` writes them, in the order of their JSON names.
fn signable_bytes(quantity: i64, sequence: i64) -> [u8; 16] {
    let joined =
        (u128::from(quantity.cast_unsigned()) << 64) | u128::from(sequence.cast_unsigned());
    joined.to_be_bytes()
}

/// The JSON of an `Issue`, fields in the chain's order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    qty: u64,
    sequence: u64,
    signatures: Vec<String>,
}

impl Issue {
    /// An `Issue` of `quantity` with `sequence`, if both are in bounds.
    pub fn new(quantity: Napu, sequence: u64) -> Result<Issue, IssueError> {
        if quantity.is_zero() || quantity > Napu::SUPPLY {
            return Err(IssueError::Quantity { quantity });
        }
        if sequence == 0 || sequence > MAX_SEQUENCE {
            return Err(IssueError::Sequence { sequence });
        }
        Ok(Issue { quantity, sequence })
    }

    /// Reads the JSON of an `Issue` without signatures, and nothing else: no other field, no other type of number.
    pub fn parse_unsigned(json: &str) -> Result<Issue, IssueError> {
        // A derived reader takes a list for its fields in order; the API does not.
        if !json.trim_start().starts_with('{') {
            return Err(IssueError::Json(serde::de::Error::custom(
                "it is no JSON object",
            )));
        }
        let body: Body = serde_json::from_str(json).map_err(IssueError::Json)?;
        if !body.signatures.is_empty() {
            return Err(IssueError::Json(serde::de::Error::custom(
                "it carries signatures already",
            )));
        }
        let quantity = Napu::new(body.qty).ok_or_else(|| {
            IssueError::Json(serde::de::Error::custom(
                "its qty is more than the chain has a number for",
            ))
        })?;
        Issue::new(quantity, body.sequence)
    }

    /// How much is issued.
    pub fn quantity(&self) -> Napu {
        self.quantity
    }

    /// The number that makes it unique within the issuer's account.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What is signed: quantity and sequence, 8 bytes each, big endian.
    pub fn signable_bytes(&self) -> [u8; 16] {
        let sequence = i64::try_from(self.sequence).expect("the sequence is in bounds");
        signable_bytes(self.quantity.to_i64(), sequence)
    }

    /// Its name on the chain, known before anyone signs.
    pub fn hash(&self) -> TxHash {
        TxHash::of(&self.signable_bytes())
    }

    /// The JSON that the API takes, without signatures.
    pub fn unsigned_body(&self) -> String {
        self.body(&[])
    }

    fn body(&self, signatures: &[Verified]) -> String {
        let signatures = signatures
            .iter()
            .map(|verified| verified.signature.as_text().to_owned())
            .collect();
        let body = Body {
            qty: self.quantity.get(),
            sequence: self.sequence,
            signatures,
        };
        serde_json::to_string(&body).expect("numbers and strings are always JSON")
    }

    /// Takes `signature` as `key`'s, if `key` is one of `wanted` and the signature is over this `Issue`.
    pub fn verify(
        &self,
        wanted: &[PublicKey],
        key: &PublicKey,
        signature: &Signature,
    ) -> Result<Verified, SignatureError> {
        // The key as we know it, whatever extra bytes the answer's text carries.
        let Some(key) = wanted.iter().find(|known| *known == key) else {
            return Err(SignatureError::Foreign {
                key: Box::new(key.clone()),
            });
        };
        if !key.verifies(&self.signable_bytes(), signature) {
            return Err(SignatureError::Invalid {
                key: Box::new(key.clone()),
            });
        }
        Ok(Verified {
            issue: *self,
            key: key.clone(),
            signature: signature.clone(),
        })
    }
}

/// A signature that was checked, over the `Issue` it was checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    issue: Issue,
    key: PublicKey,
    signature: Signature,
}

impl Verified {
    /// Who signed.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// Why signatures are not used.
#[derive(Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// By a key that was not asked.
    Foreign {
        /// The key named.
        key: Box<PublicKey>,
    },
    /// It is not that key's signature over this `Issue`.
    Invalid {
        /// The key named.
        key: Box<PublicKey>,
    },
    /// Fewer than are needed.
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many different keys signed.
        given: usize,
    },
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::Foreign { key } => {
                write!(f, "a signature by a key that was not asked to sign, {key}")
            }
            SignatureError::Invalid { key } => {
                write!(f, "the signature by {key} does not verify over this Issue")
            }
            SignatureError::TooFew { needed, given } => {
                write!(f, "{given} of the {needed} signatures needed")
            }
        }
    }
}

impl std::error::Error for SignatureError {}

/// An `Issue` with enough verified signatures by different keys: what may be submitted, and nothing less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIssue {
    issue: Issue,
    signatures: Vec<Verified>,
}

impl SignedIssue {
    /// `issue` with the signatures over it, each key counted once, if there are at least `needed`.
    pub fn new(
        issue: Issue,
        verified: &[Verified],
        needed: usize,
    ) -> Result<SignedIssue, SignatureError> {
        let mut signatures: Vec<Verified> = Vec::new();
        for one in verified.iter().filter(|one| one.issue == issue) {
            if signatures.iter().all(|have| have.key != one.key) {
                signatures.push(one.clone());
            }
        }
        if signatures.is_empty() || signatures.len() < needed {
            return Err(SignatureError::TooFew {
                needed: needed.max(1),
                given: signatures.len(),
            });
        }
        signatures.truncate(MAX_SIGNATURES);
        Ok(SignedIssue { issue, signatures })
    }

    /// The `Issue` that is signed.
    pub fn issue(&self) -> Issue {
        self.issue
    }

    /// The signatures, at most [`MAX_SIGNATURES`].
    pub fn signatures(&self) -> &[Verified] {
        &self.signatures
    }

    /// The JSON that the API takes.
    pub fn body(&self) -> String {
        self.issue.body(&self.signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndau::PrivateKey;
    use crate::vectors::group;
    use serde_json::Value;

    fn issue(case: &Value) -> Option<Issue> {
        let quantity = Napu::new(case["qty"].as_u64()?)?;
        Issue::new(quantity, case["sequence"].as_u64()?).ok()
    }

    #[test]
    fn signable_bytes_hashes_and_json_are_the_chains() {
        let pairs = group("ndau.json", "keys.pairs");
        let mut variants = 0;
        for case in group("ndau.json", "issue_txs.txs") {
            let (quantity, sequence) = (
                case["qty"].as_i64().unwrap(),
                case["sequence"].as_i64().unwrap(),
            );
            let signable = signable_bytes(quantity, sequence);
            assert_eq!(
                hex::encode(signable),
                case["signable_bytes_hex"].as_str().unwrap()
            );
            assert_eq!(
                TxHash::of(&signable).as_str(),
                case["hash"].as_str().unwrap()
            );
            // Above all the ndau there can be, only the formats are compared.
            let Some(issue) = issue(&case) else { continue };
            assert_eq!(issue.hash().as_str(), case["hash"].as_str().unwrap());
            for variant in case["variants"].as_array().unwrap() {
                let verified: Vec<Verified> = variant["signers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|signer| {
                        let pair = pairs.iter().find(|pair| pair["id"] == *signer).unwrap();
                        let key = PrivateKey::parse(pair["npvt"].as_str().unwrap()).unwrap();
                        let signature = key.sign(&signable);
                        issue
                            .verify(&[key.public().clone()], key.public(), &signature)
                            .unwrap()
                    })
                    .collect();
                // Go writes an absent list as null.
                let ours = issue.body(&verified).replace("[]", "null");
                assert_eq!(ours, variant["json"].as_str().unwrap());
                variants += 1;
            }
        }
        assert!(variants > 60, "{variants}");
    }

    #[test]
    fn numbers_out_of_bounds_are_no_issue() {
        for case in group("ndau.json", "issue_txs.edge") {
            assert!(issue(&case).is_none(), "{case}");
        }
        assert!(Issue::new(Napu::SUPPLY, MAX_SEQUENCE).is_ok());
        assert!(Issue::new(Napu::new(Napu::SUPPLY.get() + 1).unwrap(), 1).is_err());
    }

    #[test]
    fn published_issues_of_2019_verify() {
        for case in group("ndau.json", "historical_issue_txs.txs") {
            let Some(issue) = issue(&case) else {
                panic!("{case}")
            };
            assert_eq!(issue.hash().as_str(), case["hash"].as_str().unwrap());
            let body: Value = serde_json::from_str(case["json"].as_str().unwrap()).unwrap();
            let signatures = body["signatures"].as_array().unwrap();
            let keys = case["verified_by_npub"].as_array().unwrap();
            for (signature, key) in signatures.iter().zip(keys) {
                let key = PublicKey::parse(key.as_str().unwrap()).unwrap();
                let signature = Signature::parse(signature.as_str().unwrap()).unwrap();
                assert!(
                    issue
                        .verify(std::slice::from_ref(&key), &key, &signature)
                        .is_ok(),
                    "{case}"
                );
            }
        }
    }

    #[test]
    fn a_foreign_transaction_with_our_numbers_has_our_hash() {
        let case = &group("ndau.json", "issue_txs.hash_collisions")[0];
        assert_eq!(case["issue_hash"], case["recordprice_hash"]);
        let ours = Issue::new(Napu::NDAU, 9).unwrap();
        assert_eq!(ours.hash().as_str(), case["issue_hash"].as_str().unwrap());
    }

    /// The chain's own reader is lax: names in any case, unknown fields, the last of two. Where ours reads a body at
    /// all, it reads what the chain reads.
    #[test]
    fn a_body_is_read_as_the_chain_reads_it_or_not_at_all() {
        let mut read = 0;
        for case in group("ndau.json", "issue_json_decode.vectors") {
            if let Ok(ours) = Issue::parse_unsigned(case["body"].as_str().unwrap()) {
                assert_eq!(case["outcome"], "ok", "{case}");
                let theirs: Value =
                    serde_json::from_str(case["decoded_json"].as_str().unwrap()).unwrap();
                assert_eq!(Some(ours), issue(&theirs), "{case}");
                assert_eq!(ours.hash().as_str(), case["hash"].as_str().unwrap());
                read += 1;
            }
        }
        assert_eq!(read, 1);
    }

    #[test]
    fn only_an_unsigned_issue_is_read() {
        let issue = Issue::new(Napu::NDAU, 7).unwrap();
        assert_eq!(
            Issue::parse_unsigned(&issue.unsigned_body()).unwrap(),
            issue
        );
        for json in [
            r#"{"qty":1,"sequence":1,"signatures":["a"]}"#,
            r#"{"qty":1,"sequence":1,"signatures":null}"#,
            r#"{"qty":1.0,"sequence":1,"signatures":[]}"#,
            r#"{"qty":"1","sequence":1,"signatures":[]}"#,
            r#"{"qty":1e8,"sequence":1,"signatures":[]}"#,
            r#"{"qty":1,"qty":2,"sequence":1,"signatures":[]}"#,
            r#"{"qty":1,"sequence":1,"signatures":[],"destination":"nd"}"#,
            r#"{"qty":-1,"sequence":1,"signatures":[]}"#,
            r#"{"qty":0,"sequence":1,"signatures":[]}"#,
            r#"{"qty":1,"sequence":9223372036854775808,"signatures":[]}"#,
            r#"{"qty":1,"sequence":1}"#,
            "[1,1,[]]",
            "null",
            "",
        ] {
            assert!(Issue::parse_unsigned(json).is_err(), "{json}");
        }
    }

    #[test]
    fn too_few_wrong_and_foreign_signatures_are_refused() {
        let issue = Issue::new(Napu::NDAU, 7).unwrap();
        let other = Issue::new(Napu::NDAU, 8).unwrap();
        let keys: Vec<PrivateKey> = (1..4)
            .map(|seed| PrivateKey::from_ed25519_seed(&[seed; 32]))
            .collect();
        let wanted: Vec<PublicKey> = keys
            .iter()
            .take(2)
            .map(|key| key.public().clone())
            .collect();
        let sign = |key: &PrivateKey, issue: &Issue| key.sign(&issue.signable_bytes());
        let first = issue
            .verify(&wanted, keys[0].public(), &sign(&keys[0], &issue))
            .unwrap();
        let second = issue
            .verify(&wanted, keys[1].public(), &sign(&keys[1], &issue))
            .unwrap();
        assert!(matches!(
            issue.verify(&wanted, keys[2].public(), &sign(&keys[2], &issue)),
            Err(SignatureError::Foreign { .. })
        ));
        assert!(matches!(
            issue.verify(&wanted, keys[0].public(), &sign(&keys[0], &other)),
            Err(SignatureError::Invalid { .. })
        ));
        let twice = [first.clone(), first.clone()];
        assert!(matches!(
            SignedIssue::new(issue, &twice, 2),
            Err(SignatureError::TooFew {
                needed: 2,
                given: 1
            })
        ));
        assert!(SignedIssue::new(other, &twice, 1).is_err());
        assert!(SignedIssue::new(issue, &[], 0).is_err());
        assert_eq!(
            SignedIssue::new(issue, &[first, second], 2)
                .unwrap()
                .signatures()
                .len(),
            2
        );
    }
}
