//! Account addresses: 48 characters of base32 with a kind and a checksum. From ndaumath's `pkg/address`.

use std::fmt;

/// The address of an account, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address(String);

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Not 48 characters of ndau's base32.
    Form,
    /// It does not start with `nd`, or its third character is no kind of account.
    Kind,
    /// Its checksum is wrong.
    Checksum,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Form => "not 48 characters of ndau base32",
            AddressError::Kind => "not an address of a known kind (nd, then a, n, e, x, b or m)",
            AddressError::Checksum => "its checksum is wrong",
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Reads an address in either case. Unlike the original, it demands the prefix `nd`, which every generated
    /// address has, and no line breaks.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let lower = text.to_ascii_lowercase();
        let bytes = super::text::base32(&lower).ok_or(AddressError::Form)?;
        let Some((body, [high, low])) = bytes.split_last_chunk::<2>() else {
            return Err(AddressError::Form);
        };
        if body.len() != 28 {
            return Err(AddressError::Form);
        }
        if !matches!(
            lower.as_bytes(),
            [b'n', b'd', b'a' | b'n' | b'e' | b'x' | b'b' | b'm', ..]
        ) {
            return Err(AddressError::Kind);
        }
        if crc16(body) != u16::from_be_bytes([*high, *low]) {
            return Err(AddressError::Checksum);
        }
        Ok(Address(lower))
    }

    /// The 48 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// CRC-16/AUG-CCITT: polynomial 0x1021, start 0x1d0f, not reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0x1d0f, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// The bytes of an address as the chain makes one; the programs only read them.
#[cfg(test)]
pub(crate) fn made(kind: &str, data: &[u8]) -> Option<Vec<u8>> {
    use sha2::{Digest, Sha256};

    let alphabet = "abcdefghijkmnpqrstuvwxyz23456789";
    let letter = |letter: &str| alphabet.find(letter).and_then(|at| u16::try_from(at).ok());
    if data.len() < 12 || !["a", "n", "e", "x", "b", "m"].contains(&kind) {
        return None;
    }
    let header = (letter("n")? << 11) | (letter("d")? << 6) | (letter(kind)? << 1);
    let mut bytes = header.to_be_bytes().to_vec();
    bytes.extend(Sha256::digest(data).iter().skip(6));
    let crc = crc16(&bytes);
    bytes.extend(crc.to_be_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndau::text::encode_base32;
    use crate::vectors::group;

    #[test]
    fn addresses_are_read_as_the_chain_reads_them_or_more_strictly() {
        let cases = group("ndau.json", "addresses.validate");
        for case in &cases {
            let ours = Address::parse(case["text"].as_str().unwrap());
            let starts_nd = case["text"]
                .as_str()
                .unwrap()
                .to_ascii_lowercase()
                .starts_with("nd");
            let one_line = !case["text"].as_str().unwrap().contains('\n');
            if case["valid"].as_bool().unwrap() && starts_nd && one_line {
                assert_eq!(ours.unwrap().as_str(), case["canonical"].as_str().unwrap());
            } else {
                assert!(ours.is_err(), "{case}");
            }
        }
        assert_eq!(cases.len(), 48);
    }

    #[test]
    fn addresses_are_made_as_the_chain_makes_them() {
        for case in group("ndau.json", "addresses.generate") {
            let data = hex::decode(case["data_hex"].as_str().unwrap()).unwrap();
            let ours = made(case["kind"].as_str().unwrap_or_default(), &data)
                .map(|bytes| encode_base32(&bytes));
            assert_eq!(ours.as_deref(), case["address"].as_str(), "{case}");
            assert!(
                ours.is_none_or(|ours| Address::parse(&ours).is_ok()),
                "{case}"
            );
        }
    }

    #[test]
    fn the_checksum_is_the_chains() {
        for case in group("ndau.json", "crc16.vectors") {
            let input = hex::decode(case["input_hex"].as_str().unwrap()).unwrap();
            assert_eq!(
                format!("{:04x}", crc16(&input)),
                case["crc_hex"].as_str().unwrap()
            );
        }
    }
}
