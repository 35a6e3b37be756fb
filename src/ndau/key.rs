//! Public keys, private keys and signatures of the ndau chain, in their text forms, signing and verifying as the
//! chain does. From ndaumath's `pkg/signature`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ed25519_dalek::Verifier;
use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::text::{decode, encode};
use crate::secret::Secret;

pub use super::text::TextError;

/// The signature algorithms of the chain. Its null algorithm (0), which never verifies, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 8032 over the message itself.
    Ed25519,
    /// ECDSA over the SHA-256 of the message, in DER.
    Secp256k1,
}

impl Algorithm {
    pub(super) fn id(self) -> u8 {
        match self {
            Algorithm::Ed25519 => 1,
            Algorithm::Secp256k1 => 2,
        }
    }

    pub(super) fn from_id(id: u8) -> Result<Algorithm, TextError> {
        match id {
            1 => Ok(Algorithm::Ed25519),
            2 => Ok(Algorithm::Secp256k1),
            id => Err(TextError::Algorithm { id }),
        }
    }

    fn public_len(self) -> usize {
        match self {
            Algorithm::Ed25519 => 32,
            Algorithm::Secp256k1 => 33,
        }
    }

    fn private_len(self) -> usize {
        match self {
            Algorithm::Ed25519 => 64,
            Algorithm::Secp256k1 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::Secp256k1 => "secp256k1",
        })
    }
}

/// A key as it stands inside its container: one length byte, the key, and any extra bytes (40 in an extended key).
fn split_key(data: &[u8], expected: usize) -> Result<(&[u8], &[u8]), TextError> {
    let (len, rest) = data
        .split_first()
        .ok_or(TextError::Length { expected, found: 0 })?;
    let (key, extra) = rest
        .split_at_checked(usize::from(*len))
        .ok_or(TextError::Container)?;
    if key.len() != expected {
        return Err(TextError::Length {
            expected,
            found: key.len(),
        });
    }
    Ok((key, extra))
}

fn join_key(key: &[u8], extra: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut data = Zeroizing::new(Vec::with_capacity(1 + key.len() + extra.len()));
    data.push(u8::try_from(key.len()).expect("keys are shorter than 256 bytes"));
    data.extend_from_slice(key);
    data.extend_from_slice(extra);
    data
}

/// A public key, `npub…`. The bytes that extend an HD key are kept in its text and otherwise ignored, as the chain
/// ignores them: two keys are equal when algorithm and key bytes are.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    key: Vec<u8>,
    text: String,
}

impl PublicKey {
    /// Reads the text form. The prefix is in lower case; the rest may be in either.
    pub fn parse(text: &str) -> Result<PublicKey, TextError> {
        let body = text
            .strip_prefix("npub")
            .ok_or(TextError::Prefix { expected: "npub" })?;
        let (algorithm, data) = decode(body)?;
        let (key, _) = split_key(&data, algorithm.public_len())?;
        let text = format!("npub{}", body.to_ascii_lowercase());
        Ok(PublicKey {
            algorithm,
            key: key.to_vec(),
            text,
        })
    }

    fn new(algorithm: Algorithm, key: &[u8], extra: &[u8]) -> PublicKey {
        let text = format!("npub{}", encode(algorithm, &join_key(key, extra)).as_str());
        PublicKey {
            algorithm,
            key: key.to_vec(),
            text,
        }
    }

    /// The algorithm that its signatures use.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw key: 32 bytes (ed25519) or 33 (secp256k1, compressed).
    pub fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    /// The whole text form, `npub…`.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Whether `signature` is this key's over `message`, by the chain's own rules: for ed25519 a canonical S, R
    /// compared as bytes, no cofactor; for secp256k1 also a high S and a lax DER. A key that is no point of its curve
    /// verifies nothing.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        match (self.algorithm, signature.algorithm) {
            (Algorithm::Ed25519, Algorithm::Ed25519) => self
                .verifies_ed25519(message, &signature.bytes)
                .unwrap_or(false),
            (Algorithm::Secp256k1, Algorithm::Secp256k1) => self
                .verifies_secp256k1(message, &signature.bytes)
                .unwrap_or(false),
            (Algorithm::Ed25519, Algorithm::Secp256k1)
            | (Algorithm::Secp256k1, Algorithm::Ed25519) => false,
        }
    }

    fn verifies_ed25519(&self, message: &[u8], signature: &[u8]) -> Option<bool> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(self.key.as_slice().try_into().ok()?).ok()?;
        let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
        Some(key.verify(message, &signature).is_ok())
    }

    fn verifies_secp256k1(&self, message: &[u8], signature: &[u8]) -> Option<bool> {
        let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&self.key).ok()?;
        let (r, s) = lax_der(signature)?;
        let signature = k256::ecdsa::Signature::from_scalars(r, s).ok()?;
        // (r, s) and (r, n - s) verify alike; this library insists on the lower one.
        let signature = signature.normalize_s();
        Some(
            key.verify_prehash(&Sha256::digest(message), &signature)
                .is_ok(),
        )
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.key == other.key
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.algorithm.hash(state);
        self.key.hash(state);
    }
}

impl FromStr for PublicKey {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        PublicKey::parse(text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// R and S of an ECDSA signature as btcec's `ParseSignature` of 2019 reads them: bytes after the sequence are
/// ignored, leading zeros are too, and a number with its highest bit set is not negative.
fn lax_der(signature: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let [0x30, len, rest @ ..] = signature else {
        return None;
    };
    let rest = rest.get(..usize::from(*len))?;
    let (r, rest) = lax_integer(rest)?;
    let (s, rest) = lax_integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn lax_integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let [0x02, len, rest @ ..] = der else {
        return None;
    };
    let (number, rest) = rest.split_at_checked(usize::from(*len))?;
    let start = number.iter().position(|byte| *byte != 0)?;
    let significant = number.get(start..)?;
    let mut padded = [0; 32];
    let offset = padded.len().checked_sub(significant.len())?;
    padded.get_mut(offset..)?.copy_from_slice(significant);
    Some((padded, rest))
}

/// A private key, `npvt…`. It never prints itself.
pub struct PrivateKey {
    algorithm: Algorithm,
    key: Zeroizing<Vec<u8>>,
    /// What an extended key has after it.
    extra: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl PrivateKey {
    /// Reads the text form, and refuses an ed25519 key whose public half is not that of its seed.
    pub fn parse(text: &str) -> Result<PrivateKey, TextError> {
        let body = text
            .strip_prefix("npvt")
            .ok_or(TextError::Prefix { expected: "npvt" })?;
        let (algorithm, data) = decode(body)?;
        let (key, extra) = split_key(&data, algorithm.private_len())?;
        PrivateKey::new(algorithm, key, extra)
    }

    /// The ed25519 key of a 32-byte seed.
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> PrivateKey {
        let pair = Zeroizing::new(ed25519_dalek::SigningKey::from_bytes(seed).to_keypair_bytes());
        PrivateKey::new(Algorithm::Ed25519, pair.as_slice(), &[])
            .expect("a seed makes a consistent pair")
    }

    /// The secp256k1 key of this number; `None` for the few numbers that are none.
    pub fn from_secp256k1(number: &[u8; 32]) -> Option<PrivateKey> {
        PrivateKey::new(Algorithm::Secp256k1, number, &[]).ok()
    }

    fn new(algorithm: Algorithm, key: &[u8], extra: &[u8]) -> Result<PrivateKey, TextError> {
        let public = match algorithm {
            Algorithm::Ed25519 => {
                let pair = key.try_into().map_err(|_| TextError::Inconsistent)?;
                let pair = ed25519_dalek::SigningKey::from_keypair_bytes(pair)
                    .map_err(|_| TextError::Inconsistent)?;
                PublicKey::new(algorithm, pair.verifying_key().as_bytes(), extra)
            }
            Algorithm::Secp256k1 => {
                let secret = k256::ecdsa::SigningKey::from_slice(key)
                    .map_err(|_| TextError::Inconsistent)?;
                // The public half is a byte longer, and a container holds 255.
                if algorithm.public_len() + extra.len() >= 255 {
                    return Err(TextError::Container);
                }
                PublicKey::new(algorithm, &secret.verifying_key().to_sec1_bytes(), extra)
            }
        };
        Ok(PrivateKey {
            algorithm,
            key: Zeroizing::new(key.to_vec()),
            extra: Zeroizing::new(extra.to_vec()),
            public,
        })
    }

    /// The key that its signatures verify with. Of an extended key it holds the same extra bytes.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The whole text form, `npvt…`, for the one file that keeps it.
    pub fn text(&self) -> Secret<String> {
        let body = encode(self.algorithm, &join_key(&self.key, &self.extra));
        Secret::new(format!("npvt{}", body.as_str()))
    }

    /// The seed of an ed25519 key; `None` for secp256k1.
    pub fn ed25519_seed(&self) -> Option<Secret<[u8; 32]>> {
        match self.algorithm {
            Algorithm::Ed25519 => self.key.first_chunk().map(|seed| Secret::new(*seed)),
            Algorithm::Secp256k1 => None,
        }
    }

    /// Signs as the chain's own tools do: deterministically, for secp256k1 with RFC 6979, a low S and strict DER.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let bytes = match self.algorithm {
            Algorithm::Ed25519 => {
                use ed25519_dalek::Signer;
                let seed = self
                    .key
                    .first_chunk()
                    .expect("an ed25519 key was checked to have 64 bytes");
                ed25519_dalek::SigningKey::from_bytes(seed)
                    .sign(message)
                    .to_bytes()
                    .to_vec()
            }
            Algorithm::Secp256k1 => {
                let key = k256::ecdsa::SigningKey::from_slice(&self.key)
                    .expect("the key was checked when read");
                let signature: k256::ecdsa::Signature = key
                    .sign_prehash(&Sha256::digest(message))
                    .expect("a 32-byte digest can always be signed");
                signature.normalize_s().to_der().as_bytes().to_vec()
            }
        };
        Signature::new(self.algorithm, bytes)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[private key of {}]", self.public)
    }
}

/// A signature, in the text form that a transaction's JSON carries. That it has the form says nothing about whether
/// it verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    text: String,
}

impl Signature {
    /// Reads the text form, in either case.
    pub fn parse(text: &str) -> Result<Signature, TextError> {
        let (algorithm, data) = decode(text)?;
        if algorithm == Algorithm::Ed25519 && data.len() != 64 {
            return Err(TextError::Length {
                expected: 64,
                found: data.len(),
            });
        }
        Ok(Signature {
            algorithm,
            bytes: data.to_vec(),
            text: text.to_ascii_lowercase(),
        })
    }

    /// The signature of these raw bytes: 64 (ed25519) or DER (secp256k1).
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Signature, TextError> {
        let found = bytes.len();
        let (expected, fits) = match algorithm {
            Algorithm::Ed25519 => (64, found == 64),
            // DER of the longest numbers; the chain takes longer forms, and its container holds no more.
            Algorithm::Secp256k1 => (72, (1..=255).contains(&found)),
        };
        if fits {
            Ok(Signature::new(algorithm, bytes.to_vec()))
        } else {
            Err(TextError::Length { expected, found })
        }
    }

    fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Signature {
        let text = encode(algorithm, &bytes).to_string();
        Signature {
            algorithm,
            bytes,
            text,
        }
    }

    /// The text form.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// The raw signature: 64 bytes (ed25519) or DER (secp256k1).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The algorithm that it says it is of.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{bytes, group, message};
    use serde_json::Value;

    /// The public half is a byte longer than the private one; the longest container of a private key once had none to put
    /// it into, and stopped the program.
    #[test]
    fn extra_bytes_that_leave_no_room_for_the_public_half_are_refused() {
        let mut number = [0; 32];
        number[31] = 1;
        let sealed = |extra: usize| {
            let data = join_key(&number, &vec![7; extra]);
            format!("npvt{}", encode(Algorithm::Secp256k1, &data).as_str())
        };
        let key = PrivateKey::parse(&sealed(221)).unwrap();
        assert_eq!(
            PublicKey::parse(key.public().as_text()).unwrap(),
            *key.public()
        );
        assert_eq!(
            PrivateKey::parse(&sealed(222)).unwrap_err(),
            TextError::Container
        );
    }

    #[test]
    fn pairs_have_the_chains_texts_and_sign_as_the_chain_signs() {
        let mut signatures = 0;
        for pair in group("ndau.json", "keys.pairs") {
            let id = pair["id"].as_str().unwrap();
            let private = PrivateKey::parse(pair["npvt"].as_str().unwrap()).unwrap();
            assert_eq!(
                private.text().expose(),
                pair["npvt"].as_str().unwrap(),
                "{id}"
            );
            assert_eq!(
                private.public().as_text(),
                pair["npub"].as_str().unwrap(),
                "{id}"
            );
            assert_eq!(
                private.public().key_bytes(),
                bytes(&pair["public_hex"]),
                "{id}"
            );
            for signature in pair["signatures"].as_array().unwrap() {
                let message = message(signature["message"].as_str().unwrap());
                let ours = private.sign(&message);
                assert_eq!(ours.bytes(), bytes(&signature["signature_hex"]), "{id}");
                assert!(private.public().verifies(&message, &ours), "{id}");
                signatures += 1;
            }
        }
        assert!(signatures >= 30, "{signatures}");
    }

    #[test]
    fn der_lengths_are_the_chains() {
        let pairs = group("ndau.json", "keys.pairs");
        for case in group("ndau.json", "keys.secp256k1_der_lengths") {
            let pair = pairs.iter().find(|pair| pair["id"] == case["key"]).unwrap();
            let private = PrivateKey::parse(pair["npvt"].as_str().unwrap()).unwrap();
            let signature = private.sign(&bytes(&case["message_hex"]));
            assert_eq!(
                signature.as_text(),
                case["signature_text"].as_str().unwrap()
            );
            let again = Signature::from_bytes(signature.algorithm(), signature.bytes());
            assert_eq!(again.unwrap(), signature);
        }
    }

    #[test]
    fn signatures_verify_exactly_when_the_chain_verifies_them() {
        let cases = group("ndau.json", "keys.verify");
        for case in &cases {
            let description = case["desc"].as_str().unwrap();
            let key = PublicKey::parse(case["npub"].as_str().unwrap()).unwrap();
            let algorithm = Algorithm::from_id(
                case["signature_algorithm_id"]
                    .as_u64()
                    .unwrap()
                    .try_into()
                    .unwrap(),
            );
            let signature = Signature::new(algorithm.unwrap(), bytes(&case["signature_hex"]));
            let verifies = key.verifies(&bytes(&case["message_hex"]), &signature);
            assert_eq!(verifies, case["verify"].as_bool().unwrap(), "{description}");
        }
        assert_eq!(cases.len(), 34);
    }

    /// What the original refuses is refused. What only its lax decoder takes (never written by an encoder) may be.
    fn texts_are_read_strictly(
        cases: &[Value],
        canonical: impl Fn(&str) -> Result<String, TextError>,
    ) -> usize {
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let ours = canonical(text);
            match (
                case["accept"].as_bool().unwrap(),
                case["class"].as_str().unwrap(),
            ) {
                (true, "canonical") => assert_eq!(ours.as_deref(), Ok(text), "{case}"),
                (true, _) => {
                    if let Ok(ours) = ours {
                        assert_eq!(ours, case["canonical_text"].as_str().unwrap(), "{case}");
                    }
                }
                (false, _) => assert!(ours.is_err(), "{case}"),
            }
        }
        cases.len()
    }

    #[test]
    fn public_keys_are_read_strictly() {
        let read = texts_are_read_strictly(&group("ndau.json", "keys.parse_public"), |text| {
            Ok(PublicKey::parse(text)?.as_text().to_owned())
        });
        assert_eq!(read, 57);
    }

    #[test]
    fn private_keys_are_read_strictly() {
        let read = texts_are_read_strictly(&group("ndau.json", "keys.parse_private"), |text| {
            Ok(PrivateKey::parse(text)?.text().expose().clone())
        });
        assert_eq!(read, 57);
    }

    #[test]
    fn signatures_are_read_strictly() {
        let read = texts_are_read_strictly(&group("ndau.json", "keys.parse_signature"), |text| {
            Ok(Signature::parse(text)?.as_text().to_owned())
        });
        assert_eq!(read, 34);
    }

    #[test]
    fn the_readmes_keys_have_the_readmes_texts() {
        for case in group("ndau.json", "keys.readme_examples") {
            let algorithm = match case["algorithm"].as_str().unwrap() {
                "ed25519" => Algorithm::Ed25519,
                _ => Algorithm::Secp256k1,
            };
            let prefix = if case["kind"] == "public" {
                "npub"
            } else {
                "npvt"
            };
            let text = encode(algorithm, &join_key(&bytes(&case["raw_hex"]), &[]));
            assert_eq!(
                format!("{prefix}{}", text.as_str()),
                case["text"].as_str().unwrap()
            );
        }
    }

    #[test]
    fn extended_keys_equal_the_keys_that_they_extend() {
        for pair in group("ndau.json", "keys.pairs") {
            if let Some(short) = pair["npub_truncated"].as_str() {
                let extended = PublicKey::parse(pair["npub"].as_str().unwrap()).unwrap();
                assert_eq!(extended, PublicKey::parse(short).unwrap());
                assert_ne!(extended.as_text(), short);
            }
        }
    }

    /// Keys are not derived here, but derived ones are met: each is read, keeps its text, and is the pair it says.
    #[test]
    fn derived_keys_are_read() {
        let pairs = group("ndau.json", "keys.pairs");
        for case in group("ndau.json", "keys.hd_derivation") {
            let pair = pairs.iter().find(|pair| pair["id"] == case["id"]).unwrap();
            let private = PrivateKey::parse(pair["npvt"].as_str().unwrap()).unwrap();
            assert_eq!(private.public().as_text(), pair["npub"].as_str().unwrap());
        }
    }

    #[test]
    fn a_private_key_does_not_print_itself() {
        let key = PrivateKey::from_ed25519_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains("npvt"));
    }
}
