//! What proves to the exchange who asks: signatures, and how long a token lasts. Pure.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{DAY_MS, Key};

/// Hex HMAC-SHA256 with the secret's text as the key; nothing is decoded, trimmed or lowercased.
fn hmac_hex(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// `X-BM-SIGN` of the v4 dialect, over the very bytes that are sent.
pub(crate) fn v4_sign(key: &Key, timestamp_ms: u64, body: &[u8]) -> String {
    let timestamp = timestamp_ms.to_string();
    hmac_hex(
        key.secret(),
        &[
            timestamp.as_bytes(),
            b"#",
            key.memo().as_bytes(),
            b"#",
            body,
        ],
    )
}

/// `client_secret` of the v2 dialect. The original client lowercased the access key and the secret; the document does not.
pub(crate) fn v2_client_secret(key: &Key) -> String {
    hmac_hex(
        key.secret(),
        &[
            key.access().as_bytes(),
            b":",
            key.secret().as_bytes(),
            b":",
            key.memo().as_bytes(),
        ],
    )
}

/// The midnight UTC that comes next, in ms since 1970.
pub(super) fn next_midnight_ms(now_ms: u64) -> u64 {
    (now_ms / DAY_MS).saturating_add(1).saturating_mul(DAY_MS)
}

/// When a v2 token got at `now_ms` stops working: after `expires_in_s`, or at midnight UTC if that comes first.
pub(super) fn v2_token_expiry_ms(now_ms: u64, expires_in_s: u64) -> u64 {
    now_ms
        .saturating_add(expires_in_s.saturating_mul(1000))
        .min(next_midnight_ms(now_ms))
}

/// `text` for a query or a form: all but unreserved characters percent-encoded.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::group;
    use serde_json::Value;

    fn text<'a>(case: &'a Value, field: &str) -> &'a str {
        case[field].as_str().unwrap()
    }

    #[test]
    fn v2_client_secrets_are_those_of_three_other_programs() {
        let cases = group("bitmart.json", "v2");
        for case in &cases {
            let key = Key::for_tests(
                text(case, "access"),
                text(case, "secret"),
                text(case, "memo"),
            );
            assert_eq!(
                v2_client_secret(&key),
                text(case, "client_secret"),
                "{}",
                case["name"]
            );
        }
        assert_eq!(cases.len(), 16);
    }

    #[test]
    fn v4_signatures_are_those_of_five_other_programs() {
        let cases = group("bitmart.json", "v4");
        for case in &cases {
            let key = Key::for_tests("access", text(case, "secret"), text(case, "memo"));
            let timestamp = text(case, "timestamp").parse().unwrap();
            assert_eq!(
                v4_sign(&key, timestamp, text(case, "body").as_bytes()),
                text(case, "sign"),
                "{}",
                case["name"]
            );
        }
        assert_eq!(cases.len(), 18);
    }

    #[test]
    fn a_v2_token_ends_at_midnight_utc() {
        let ms = |text: &str| -> u64 {
            let time: jiff::Timestamp = text.parse().unwrap();
            time.as_millisecond().try_into().unwrap()
        };
        let cases = group("bitmart.json", "v2_token_expiry");
        for case in &cases {
            assert_eq!(
                v2_token_expiry_ms(ms(text(case, "now")), case["expires_in"].as_u64().unwrap()),
                ms(text(case, "expires_at")),
                "{case}"
            );
        }
        assert_eq!(cases.len(), 7);
    }

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        assert_eq!(
            percent_encode("XND_USDT-1.~ &=é"),
            "XND_USDT-1.~%20%26%3D%C3%A9"
        );
    }
}
