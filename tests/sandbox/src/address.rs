//! The chain's addresses: 48 characters of base32 that end in a CRC.

use crate::keys::BASE32;
use sha2::{Digest, Sha256};

/// The address of this kind for these bytes: header, the end of their SHA-256, a CRC.
pub(crate) fn address(kind: char, data: &[u8]) -> String {
    let digit = |letter: char| {
        let place = BASE32
            .specification()
            .symbols
            .find(letter)
            .unwrap_or_default();
        u16::try_from(place).unwrap_or_default()
    };
    let header = digit('n') << 11 | digit('d') << 6 | digit(kind) << 1;
    let mut raw = header.to_be_bytes().to_vec();
    raw.extend_from_slice(&Sha256::digest(data)[6..]);
    raw.extend_from_slice(&crc16(&raw).to_be_bytes());
    BASE32.encode(&raw)
}

/// The address in lower case if it is one: 48 characters, a known kind, a good CRC. As in the
/// original, the prefix is not looked at.
pub(crate) fn read_address(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let known = text
        .chars()
        .nth(2)
        .is_some_and(|kind| "anexbm".contains(kind));
    if text.len() != 48 || !known {
        return None;
    }
    let raw = BASE32.decode(text.as_bytes()).ok()?;
    let (body, sum) = raw.split_at_checked(raw.len().checked_sub(2)?)?;
    (crc16(body).to_be_bytes() == *sum).then_some(text)
}

/// CRC-16/AUG-CCITT.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0x1d0f, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_made_and_read_as_by_the_original() {
        for (kind, data, text) in [
            (
                'a',
                "52aa84cdba9471132c7e527a09576ae320c158926bd757d2482de7341c6b9e09",
                "ndadmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgcsba",
            ),
            (
                'n',
                "37295cc92673a78d97f54878d92ab3fd0ed32e86e4c99ce2a8061b9957bbae7d",
                "ndnq6xnzeiq4rciuhrh8p72yyrjvmeytkpkuh6hmfqcjfz5c",
            ),
        ] {
            assert_eq!(address(kind, &hex::decode(data).expect("hex")), text);
        }
        for (text, valid) in [
            ("ndadmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgcsba", true),
            ("NDADMX9DNY8X8RVGSYMHSST7NDMXN5W38Z6IW8FNJ5JGCSBA", true),
            ("tnadmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgchbn", true),
            ("ndzdmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgcggg", false),
            ("ndxdmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgcsba", false),
            ("ndadmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgcsbb", false),
            ("ndadmx9dny8x8rvgsymhsst7ndmxn5w38z6iw8fnj5jgcsb", false),
            ("ndadmx9dny8x8rvgsymhét7ndmxn5w38z6iw8fnj5jgcsba", false),
            ("", false),
        ] {
            assert_eq!(read_address(text).is_some(), valid, "{text}");
        }
    }
}
