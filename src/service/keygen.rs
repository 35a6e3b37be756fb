//! Fresh key pairs.

use data_encoding::Specification;
use sha2::{Digest, Sha224};
use zeroize::Zeroizing;

use crate::ndau::{Algorithm, PrivateKey};
use crate::secret::Secret;
use crate::signer::{Identity, IdentityError, pair_toml};

/// A fresh pair as the two TOML lines of a key file or of a table of `sigconfig.toml`.
pub fn keygen(algorithm: Algorithm) -> Result<Secret<String>, IdentityError> {
    match algorithm {
        Algorithm::Ed25519 => Ok(Identity::generate()?.to_toml()),
        Algorithm::Secp256k1 => loop {
            let mut key = Zeroizing::new([0; 32]);
            getrandom::fill(key.as_mut_slice()).map_err(IdentityError::Random)?;
            // All but one in 2^128 numbers are keys. The reader checks that, and the text below.
            if let Ok(key) = PrivateKey::parse(&secp256k1_text(&key)) {
                return Ok(pair_toml(&key));
            }
        },
    }
}

/// The `npvt…` text of a secp256k1 key: msgpack, 7 bytes of checksum, base32.
fn secp256k1_text(key: &[u8; 32]) -> Zeroizing<String> {
    const CHECKSUM: usize = 7;
    let mut bytes = Zeroizing::new(Vec::with_capacity(45));
    bytes.extend_from_slice(&[7, 0x92, 2, 0xc4, 33, 32]);
    bytes.extend_from_slice(key);
    let digest = Sha224::digest(bytes.get(1..).unwrap_or_default());
    bytes.extend(digest.iter().skip(digest.len() - CHECKSUM));
    let mut alphabet = Specification::new();
    alphabet
        .symbols
        .push_str("abcdefghijkmnpqrstuvwxyz23456789");
    let encoding = alphabet
        .encoding()
        .expect("32 distinct ASCII symbols are an encoding");
    let body = Zeroizing::new(encoding.encode(&bytes));
    Zeroizing::new(format!("npvt{}", body.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_pairs_of_both_kinds_are_read_back() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Secp256k1] {
            let pair = keygen(algorithm).unwrap();
            let lines: Vec<&str> = pair.expose().lines().collect();
            let [public, private] = lines[..] else {
                panic!("two lines");
            };
            let text = private
                .strip_prefix("priv_key = \"")
                .unwrap()
                .strip_suffix('"')
                .unwrap();
            let key = PrivateKey::parse(text).unwrap();
            assert_eq!(key.public().algorithm(), algorithm);
            assert_eq!(public, format!("pub_key = \"{}\"", key.public()));
            assert_ne!(keygen(algorithm).unwrap().expose(), pair.expose());
        }
    }
}
