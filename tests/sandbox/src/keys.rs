//! The chain's texts for keys and signatures, and how it verifies. As lax as the original:
//! what it takes is taken, where it crashes we say [`Refusal::Crash`].

use data_encoding::{Encoding, Specification};
use k256::ecdsa::signature::Verifier as _;
use sha2::{Digest, Sha224};
use std::sync::LazyLock;

/// RFC 4648 bit order; no l, o, 0 and 1. Decoding takes capitals and skips line ends.
pub(crate) static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijkmnpqrstuvwxyz23456789");
    spec.padding = Some('=');
    spec.check_trailing_bits = false;
    spec.ignore.push_str("\r\n");
    spec.translate.from.push_str("ABCDEFGHIJKMNPQRSTUVWXYZ");
    spec.translate.to.push_str("abcdefghijkmnpqrstuvwxyz");
    spec.encoding()
        .expect("the alphabet has 32 different characters")
});

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The original's error text.
    Says(String),
    /// The original panics, and the connection closes without an answer.
    Crash,
}

fn says<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Says(text.into()))
}

/// A signature as it was decoded: algorithm 0 (null), 1 (ed25519) or 2 (secp256k1), and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    algorithm: u8,
    bytes: Vec<u8>,
}

impl Signature {
    /// What a JSON `null` inside the list of signatures becomes: it never verifies.
    pub(crate) fn null() -> Signature {
        Signature {
            algorithm: 0,
            bytes: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn ed25519(bytes: [u8; 64]) -> Signature {
        Signature {
            algorithm: 1,
            bytes: bytes.to_vec(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Signature, Refusal> {
        let (algorithm, bytes) = decode(text, "signature unmarshal failure")?;
        let wanted = match algorithm {
            0 => Some(0),
            1 => Some(64),
            _ => None,
        };
        if let Some(wanted) = wanted
            && wanted != bytes.len()
        {
            return says(format!(
                "Wrong size signature: expect len {wanted}, have {}",
                bytes.len()
            ));
        }
        Ok(Signature { algorithm, bytes })
    }

    /// The canonical text, whatever text it was read from.
    pub(crate) fn text(&self) -> String {
        encode(self.algorithm, &self.bytes)
    }
}

/// A validation key: algorithm and key bytes. Extra bytes of an extended key do not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    algorithm: u8,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// A key that nobody has: it verifies nothing.
    pub(crate) fn nobody() -> PublicKey {
        PublicKey {
            algorithm: 0,
            bytes: Vec::new(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<PublicKey, Refusal> {
        // Only the prefix is compared case-sensitively.
        let Some(body) = text.strip_prefix("npub") else {
            let got: String = text.chars().take(4).collect();
            return says(format!(
                "public key must begin with \"npub\"; got \"{got}\""
            ));
        };
        let (algorithm, data) = decode(body, "key unmarshal failure")?;
        let size = match algorithm {
            1 => 32,
            2 => 33,
            _ => 0,
        };
        // One length byte, the key, then any number of extra bytes.
        match data.split_first() {
            Some((&length, rest)) if usize::from(length) == size && rest.len() >= size => {
                Ok(PublicKey {
                    algorithm,
                    bytes: rest[..size].to_vec(),
                })
            }
            _ => says("Wrong size key"),
        }
    }

    /// Whether this key made this signature over these bytes, by the original's lax rules.
    pub(crate) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        if self.algorithm != signature.algorithm {
            return false;
        }
        match self.algorithm {
            1 => self.verifies_ed25519(message, &signature.bytes),
            2 => self.verifies_secp256k1(message, &signature.bytes),
            _ => false,
        }
    }

    /// RFC 8032 over the message itself; small-order keys are not refused.
    fn verifies_ed25519(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = <[u8; 32]>::try_from(self.bytes.as_slice()) else {
            return false;
        };
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&key) else {
            return false;
        };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else {
            return false;
        };
        key.verify(message, &signature).is_ok()
    }

    /// Over SHA-256 of the message (the verifier hashes once); a high S is as good as a low one.
    fn verifies_secp256k1(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = k256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes) else {
            return false;
        };
        let Some((r, s)) = read_der(signature) else {
            return false;
        };
        let Ok(signature) = k256::ecdsa::Signature::from_scalars(r, s) else {
            return false;
        };
        key.verify(message, &signature.normalize_s()).is_ok()
    }
}

/// R and S of a DER sequence, leniently: extra leading zeros, a missing sign byte and bytes after the
/// sequence are taken.
fn read_der(der: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let [0x30, length, rest @ ..] = der else {
        return None;
    };
    let body = rest.get(..usize::from(*length))?;
    let (r, body) = read_integer(body)?;
    let (s, _) = read_integer(body)?;
    Some((r, s))
}

fn read_integer(body: &[u8]) -> Option<([u8; 32], &[u8])> {
    let [0x02, length, rest @ ..] = body else {
        return None;
    };
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    let zeros = digits.iter().take_while(|&&digit| digit == 0).count();
    let digits = &digits[zeros..];
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(digits.len())?;
    padded[start..].copy_from_slice(digits);
    Some((padded, rest))
}

/// Base32, checksum and msgpack container taken off: the algorithm and its data.
fn decode(text: &str, what: &str) -> Result<(u8, Vec<u8>), Refusal> {
    let raw = match BASE32.decode(text.as_bytes()) {
        Ok(raw) => raw,
        Err(error) => {
            return says(format!(
                "illegal base32 data at input byte {}",
                error.position
            ));
        }
    };
    let bad = || Refusal::Says(format!("{what}: bad checksum"));
    // The width byte is taken at face value: 0 is no checksum at all, above 28 the original crashes.
    let (&width, rest) = raw.split_first().ok_or_else(bad)?;
    let width = usize::from(width);
    let payload = rest.len().checked_sub(width).ok_or_else(bad)?;
    let (payload, sum) = rest.split_at(payload);
    let digest = Sha224::digest(payload);
    let tail = digest.len().checked_sub(width).ok_or(Refusal::Crash)?;
    if digest[tail..] != *sum {
        return Err(bad());
    }
    read_container(payload).ok_or(Refusal::Crash)
}

/// A msgpack array of two: algorithm id, binary data; nothing after it. Anything else crashes the
/// original, as does an unknown algorithm.
fn read_container(payload: &[u8]) -> Option<(u8, Vec<u8>)> {
    let rest = match payload {
        [0x92, rest @ ..] | [0xdc, 0, 2, rest @ ..] => rest,
        _ => return None,
    };
    let (algorithm, rest) = match rest {
        [0xcc, id, rest @ ..] | [id @ 0..=0x7f, rest @ ..] => (*id, rest),
        _ => return None,
    };
    let (length, rest) = match rest {
        [0xc4, length, rest @ ..] => (usize::from(*length), rest),
        [0xc5, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    (algorithm <= 2 && length == rest.len()).then(|| (algorithm, rest.to_vec()))
}

/// The canonical text of a container: `[algorithm, data]`, checksum, base32.
fn encode(algorithm: u8, data: &[u8]) -> String {
    let mut payload = vec![
        0x92,
        algorithm,
        0xc4,
        u8::try_from(data.len()).unwrap_or(255),
    ];
    payload.extend_from_slice(data);
    // The width makes the whole a multiple of five bytes, so the text is never padded.
    let mut width = 5 - (payload.len() + 1) % 5;
    if width < 3 {
        width += 5;
    }
    let digest = Sha224::digest(&payload);
    let mut raw = vec![u8::try_from(width).unwrap_or(0)];
    raw.extend_from_slice(&payload);
    raw.extend_from_slice(&digest[digest.len() - width..]);
    BASE32.encode(&raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the original: the message, then key, signature and whether they fit.
    const MESSAGE: &str = "7902973d1ae4ee8ab18d05a752a86d88";
    const ED: &str = "npuba8jadtbbebjkxbgpzkkhce3nr3jhwckzpmtubsk2ujx7qx8ujay8qpa6pqrau4ij86hb59uw";
    const SK: &str = "npuba4jaftbceeby8tjuv95yanram8r6w8bsbwnvb5brbrppb4z9d85agzgued3hu7x9y6everpw";
    const IDENTITY: &str =
        "npuba8jadtbbeaasaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabyvrb22isr8n";
    const SIGNED: [(&str, &str, &str, bool); 12] = [
        (
            "ed25519",
            ED,
            "a4jadtcaaahe6wjyzbpcwfh8pkjsyzav4s3ertp9neh4gpt6wpyurtnhjtkhu8edn9fxb82g28z9pce2bhzvn95zgx32edvuksgzdk5ezsbykahimefpaqxy",
            true,
        ),
        (
            "ed25519, a bit of R",
            ED,
            "a4jadtcaaehe6wjyzbpcwfh8pkjsyzav4s3ertp9neh4gpt6wpyurtnhjtkhu8edn9fxb82g28z9pce2bhzvn95zgx32edvuksgzdk5ezsbykad2f87ersc3",
            false,
        ),
        (
            "ed25519, S + L",
            ED,
            "a4jadtcaaahe6wjyzbpcwfh8pkjsyzav4s3ertp9neh4gpt6wpyurtnhjtkgnvd32vu5gdk9vxgq6k5zarhey95zgx32edvuksgzdk5ezsbyked4kp92phkn",
            false,
        ),
        (
            "ed25519, key of small order",
            IDENTITY,
            "a4jadtcaaeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaahgggvw8a9y",
            true,
        ),
        (
            "another algorithm",
            SK,
            "a4jadtcaaahe6wjyzbpcwfh8pkjsyzav4s3ertp9neh4gpt6wpyurtnhjtkhu8edn9fxb82g28z9pce2bhzvn95zgx32edvuksgzdk5ezsbykahimefpaqxy",
            false,
        ),
        (
            "secp256k1",
            SK,
            "ayjaftcggbcaeibyrtbbgm6792srtuj522xm6uhq8mtvxpv7ysz5amcjf6873gbxy2bca8bgpgp5bn5iipyaf7iv997rcstr25r9zpuzmhfbwd5qnq985zwikrhfzv5h",
            true,
        ),
        (
            "secp256k1, a bit of S",
            SK,
            "ayjaftcggbcaeibyrtbbgm6792srtuj522xm6uhq8mtvxpv7ysz5amcjf6873gbxy2bca8bgpgp5bn5iipyaf7iv997rcstr25r9zpuzmhfbwd5qnq983zwink98hcjx",
            false,
        ),
        (
            "secp256k1, high S",
            SK,
            "aujaftchgbcseibyrtbbgm6792srtuj522xm6uhq8mtvxpv7ysz5amcjf6873gbxy2bccaeh5gmgiv4nu88jh9ik7saakdx6tmv934z28fdhdjqc8awtaudczfwkrwyu",
            true,
        ),
        (
            "secp256k1, a byte more",
            SK,
            "aujaftchgbcaeibyrtbbgm6792srtuj522xm6uhq8mtvxpv7ysz5amcjf6873gbxy2bca8bgpgp5bn5iipyaf7iv997rcstr25r9zpuzmhfbwd5qnq985zwiad3d8w53",
            true,
        ),
        (
            "secp256k1, zeros more",
            SK,
            "aqjaftcigbdaeiiag38eee3rvz9cb8gjhrdcxrui753qgqxyry4c9nbnjezv5ze2gy5aeiiaravgvg7sypweg5ac8wj998ztiiz6pz95y3mxvus4b7zghr9p54ebn868",
            true,
        ),
        (
            "secp256k1, compact",
            SK,
            "a4jaftcag38eee3rvz9cb8gjhrdcxrui753qgqxyry4c9nbnjezv5ze2gy5hsjvjvq2mg4cdpsbrke999m2wem8g5975nx433ipa85vdz9y77cftkzkcszhm",
            false,
        ),
        ("secp256k1, empty", SK, "ayjaftaagt478cpz", false),
    ];

    #[test]
    fn verifying_is_as_lax_as_the_original() {
        let message = hex::decode(MESSAGE).expect("hex");
        for (what, key, signature, fits) in SIGNED {
            let key = PublicKey::parse(key).expect(what);
            let decoded = Signature::parse(signature).expect(what);
            assert_eq!(key.verifies(&message, &decoded), fits, "{what}");
            assert_eq!(decoded.text(), signature, "{what}");
        }
    }

    #[test]
    fn texts_are_refused_in_the_original_s_words() {
        let says = |text: &str| Err(Refusal::Says(text.into()));
        for (text, refusal) in [
            ("", says("signature unmarshal failure: bad checksum")),
            (
                "a4jadtcaed1afhpb",
                says("illegal base32 data at input byte 10"),
            ),
            (
                "ayjadtaa4empj249",
                says("Wrong size signature: expect len 64, have 0"),
            ),
            ("avc5h3br", Err(Refusal::Crash)),
            ("a7wgk5dnp6yca75rqjygi6c49yzsd83h", Err(Refusal::Crash)),
        ] {
            assert_eq!(Signature::parse(text), refusal, "{text:?}");
        }
        assert_eq!(Signature::null().text(), "ayjabtaa4jy3fgp6");
        assert_eq!(
            PublicKey::parse(&ED.to_uppercase()),
            Err(Refusal::Says(
                "public key must begin with \"npub\"; got \"NPUB\"".into()
            ))
        );
    }

    /// The 40 extra bytes of an extended key do not take part.
    #[test]
    fn an_extended_key_is_its_key() {
        let text = "npuba4jaftckeebyefnkkbxs35g7v559xvae62ehk8v3tubcrme4qjvp39e2rpc9nhaesu5snaaaaaa7mjrmjgj7hdfhqhf4hk9byrx93ra3vb9gbpt6g7jddatx9w88qvcf3uevx4ns";
        let key = PublicKey::parse(text).expect("an extended key");
        assert_eq!((key.algorithm, key.bytes.len()), (2, 33));
    }
}
