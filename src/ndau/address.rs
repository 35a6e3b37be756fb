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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn addresses_are_read_as_the_chain_reads_them_or_more_strictly() {
        let file: Value =
            serde_json::from_str(include_str!("../../tests/vectors/ndau.json")).unwrap();
        let cases = file["addresses"]["validate"].as_array().unwrap();
        for case in cases {
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
    fn every_generated_address_is_one() {
        let file: Value =
            serde_json::from_str(include_str!("../../tests/vectors/ndau.json")).unwrap();
        let cases = file["addresses"]["generate"].as_array().unwrap();
        let generated: Vec<&str> = cases
            .iter()
            .filter_map(|case| case["address"].as_str())
            .collect();
        assert!(generated.iter().all(|text| Address::parse(text).is_ok()));
        assert!(generated.len() > 15);
    }

    #[test]
    fn the_checksum_is_the_chains() {
        let file: Value =
            serde_json::from_str(include_str!("../../tests/vectors/ndau.json")).unwrap();
        for case in file["crc16"]["vectors"].as_array().unwrap() {
            let input = hex::decode(case["input_hex"].as_str().unwrap()).unwrap();
            assert_eq!(
                format!("{:04x}", crc16(&input)),
                case["crc_hex"].as_str().unwrap()
            );
        }
    }
}
