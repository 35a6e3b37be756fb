//! Fresh key pairs.

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
            // All but one in 2^128 numbers are keys.
            if let Some(key) = PrivateKey::from_secp256k1(&key) {
                return Ok(pair_toml(&key));
            }
        },
    }
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
