//! The text form shared by keys and signatures: a two-element msgpack array, with a checksum, in base32.
//!
//! From ndaumath's `pkg/b32` and `pkg/signature/{checksum,container,keybase}.go`. The original decoder is lax (a width
//! byte of 0 means no checksum at all); this one takes only what the encoder writes, which is all that ever was written.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use sha2::{Digest, Sha224};
use zeroize::Zeroizing;

use super::key::Algorithm;

/// RFC 4648 bit order with ndau's alphabet: no `l`, `o`, `0` or `1`.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("abcdefghijkmnpqrstuvwxyz23456789");
    specification
        .encoding()
        .expect("32 distinct ASCII symbols are an encoding")
});

/// Longer than any text form (an extended key has 136 characters), so that nothing large is decoded.
const MAX_CHARS: usize = 512;

/// Why a text is not a key or a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextError {
    /// It does not start with the prefix of its kind.
    Prefix {
        /// `npub` or `npvt`.
        expected: &'static str,
    },
    /// It holds a character outside ndau's base32 alphabet, or has an impossible length.
    Base32,
    /// The checksum does not match: a character was changed, lost or added.
    Checksum,
    /// The checksum matches but the content is not one algorithm and its data, canonically encoded.
    Container,
    /// An algorithm other than ed25519 (1) and secp256k1 (2).
    Algorithm {
        /// The id found.
        id: u8,
    },
    /// Data of the wrong length for its algorithm.
    Length {
        /// The length in bytes that the algorithm has.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A private key whose public half is not its own, or which is out of range.
    Inconsistent,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextError::Prefix { expected } => write!(f, "it does not start with {expected}"),
            TextError::Base32 => f.write_str("it is not ndau base32 (a-z and 2-9 without l and o)"),
            TextError::Checksum => {
                f.write_str("its checksum is wrong: a character was changed, lost or added")
            }
            TextError::Container => f.write_str("its content is not a key or signature"),
            TextError::Algorithm { id } => write!(f, "its algorithm {id} is not known"),
            TextError::Length { expected, found } => {
                write!(
                    f,
                    "it holds {found} bytes where its algorithm has {expected}"
                )
            }
            TextError::Inconsistent => f.write_str("it is not a consistent private key"),
        }
    }
}

impl std::error::Error for TextError {}

/// `bytes`, a multiple of 5 of them, as text.
#[cfg(test)]
pub(super) fn encode_base32(bytes: &[u8]) -> String {
    BASE32.encode(bytes)
}

/// How many bytes of SHA-224 follow a payload of `len` bytes: 3 to 7, to fill the last base32 group.
fn checksum_width(len: usize) -> usize {
    let width = 5 - (len + 1) % 5;
    if width < 3 { width + 5 } else { width }
}

/// The canonical text of one algorithm and its data.
pub(crate) fn encode(algorithm: Algorithm, data: &[u8]) -> Zeroizing<String> {
    let len = u8::try_from(data.len()).expect("keys and signatures are shorter than 256 bytes");
    let mut payload = Zeroizing::new(vec![0x92, algorithm.id(), 0xc4, len]);
    payload.extend_from_slice(data);
    let digest = Sha224::digest(&payload[..]);
    let width = checksum_width(payload.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + payload.len() + width));
    bytes.push(u8::try_from(width).expect("a width is at most 7"));
    bytes.extend_from_slice(&payload);
    bytes.extend(digest.iter().skip(digest.len() - width));
    Zeroizing::new(BASE32.encode(&bytes))
}

/// The bytes of `text`, which is in lower case and, as all that the chain writes, a whole number of 8-letter groups.
pub(super) fn base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() > MAX_CHARS || !text.len().is_multiple_of(8) {
        return None;
    }
    BASE32.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

/// The algorithm and data in `text`, which may be in upper or lower case.
pub(crate) fn decode(text: &str) -> Result<(Algorithm, Zeroizing<Vec<u8>>), TextError> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let bytes = base32(&lower).ok_or(TextError::Base32)?;
    let (width, rest) = bytes.split_first().ok_or(TextError::Checksum)?;
    let payload_len = rest
        .len()
        .checked_sub(usize::from(*width))
        .ok_or(TextError::Checksum)?;
    if checksum_width(payload_len) != usize::from(*width) {
        return Err(TextError::Checksum);
    }
    let (payload, checksum) = rest
        .split_at_checked(payload_len)
        .ok_or(TextError::Checksum)?;
    let digest = Sha224::digest(payload);
    if !digest.ends_with(checksum) {
        return Err(TextError::Checksum);
    }
    match payload {
        [0x92, id, 0xc4, len, data @ ..] if usize::from(*len) == data.len() => {
            Ok((Algorithm::from_id(*id)?, Zeroizing::new(data.to_vec())))
        }
        _ => Err(TextError::Container),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{bytes, group};

    /// Padding, line breaks and capital letters are what the original takes beside what it writes; here only a
    /// container's reader lower-cases, and the rest is refused.
    #[test]
    fn base32_is_the_chains() {
        for case in group("ndau.json", "base32.encode") {
            let text = case["text"].as_str().unwrap();
            assert_eq!(
                BASE32.encode(&bytes(&case["hex"])),
                text.trim_end_matches('=')
            );
        }
        for case in group("ndau.json", "base32.decode") {
            let ours = base32(case["text"].as_str().unwrap());
            let padded = case["text"].as_str().unwrap().contains('=');
            match (case["class"].as_str().unwrap(), ours) {
                ("canonical", ours) if !padded => {
                    assert_eq!(ours.unwrap().to_vec(), bytes(&case["hex"]), "{case}")
                }
                ("hostile", None) | (_, None) => {}
                (_, Some(ours)) => assert_eq!(
                    Some(hex::encode(&*ours).as_str()),
                    case["hex"].as_str(),
                    "{case}"
                ),
            }
        }
    }

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let width = checksum_width(payload.len());
        let digest = Sha224::digest(payload);
        let width_byte = u8::try_from(width).unwrap();
        [&[width_byte], payload, &digest[digest.len() - width..]].concat()
    }

    #[test]
    fn checksums_are_the_chains() {
        for case in group("ndau.json", "checksum.add") {
            let payload = bytes(&case["input_hex"]);
            assert_eq!(
                checksum_width(payload.len()),
                usize::try_from(case["width"].as_u64().unwrap()).unwrap()
            );
            assert_eq!(sealed(&payload), bytes(&case["output_hex"]));
            assert_eq!(
                BASE32.encode(&sealed(&payload)),
                case["text"].as_str().unwrap()
            );
        }
        for case in group("ndau.json", "checksum.check") {
            // A container that passes is one that sealing its payload gives again.
            let input = bytes(&case["input_hex"]);
            let canonical = input.first().and_then(|width| {
                let end = input.len().checked_sub(usize::from(*width))?;
                input.get(1..end).filter(|payload| sealed(payload) == input)
            });
            match case["class"].as_str().unwrap() {
                "canonical" => {
                    assert_eq!(canonical, Some(&bytes(&case["message_hex"])[..]), "{case}")
                }
                _ => assert_eq!(canonical, None, "{case}"),
            }
        }
    }
}
