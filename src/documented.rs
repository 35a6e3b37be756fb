//! The worked examples of `docs/formats.md`, computed again from their inputs.

use std::collections::BTreeMap;

use data_encoding::Specification;
use sha2::{Digest, Sha224, Sha256, Sha512};

use crate::napu::Napu;
use crate::ndau::{Issue, PrivateKey, PublicKey, Signature, SignedIssue};
use crate::signer::message::{FromSigner, ToSigner};

const FORMATS: &str = include_str!("../docs/formats.md");

/// One example: its name, its lines, and those of them that are `name: value`.
struct Example<'a> {
    name: &'a str,
    body: Vec<&'a str>,
    fields: BTreeMap<&'a str, &'a str>,
}

fn examples() -> Vec<Example<'static>> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in FORMATS.lines() {
        if let Some(name) = line.strip_prefix("```example ") {
            inside = true;
            examples.push(Example {
                name,
                body: Vec::new(),
                fields: BTreeMap::new(),
            });
        } else if line == "```" {
            inside = false;
        } else if inside {
            let example = examples.last_mut().unwrap();
            example.body.push(line);
            if let Some((name, value)) = line.split_once(": ") {
                example.fields.insert(name, value);
            }
        }
    }
    examples
}

impl Example<'_> {
    fn text(&self, field: &str) -> &str {
        self.fields
            .get(field)
            .unwrap_or_else(|| panic!("{} has no {field}", self.name))
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        hex::decode(self.text(field)).unwrap()
    }

    fn array(&self, field: &str) -> [u8; 32] {
        self.bytes(field).try_into().unwrap()
    }

    fn number(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap()
    }

    fn issue(&self) -> Issue {
        Issue::new(
            Napu::new(self.number("quantity")).unwrap(),
            self.number("sequence"),
        )
        .unwrap()
    }

    fn ed25519(&self) -> PrivateKey {
        PrivateKey::from_ed25519_seed(&self.array("seed"))
    }

    fn secp256k1(&self) -> PrivateKey {
        PrivateKey::from_secp256k1(&self.array("number")).unwrap()
    }
}

fn base32(bytes: &[u8]) -> String {
    let mut alphabet = Specification::new();
    alphabet
        .symbols
        .push_str("abcdefghijkmnpqrstuvwxyz23456789");
    alphabet.encoding().unwrap().encode(bytes)
}

fn key(key: &PrivateKey) -> Vec<(&'static str, String)> {
    vec![
        ("public", hex::encode(key.public().key_bytes())),
        ("npub", key.public().to_string()),
        ("npvt", key.text().expose().clone()),
    ]
}

fn signature(key: &PrivateKey, message: &[u8]) -> Vec<(&'static str, String)> {
    let signature = key.sign(message);
    assert!(key.public().verifies(message, &signature));
    assert_eq!(
        Signature::parse(signature.as_text()).as_ref(),
        Ok(&signature)
    );
    vec![
        ("signature", hex::encode(signature.bytes())),
        ("text", signature.to_string()),
    ]
}

/// What the example's results must be.
fn results(example: &Example) -> Vec<(&'static str, String)> {
    match example.name {
        "base32" => vec![("text", base32(&example.bytes("bytes")))],
        "container" => {
            let data = example.bytes("data");
            let algorithm = u8::try_from(example.number("algorithm")).unwrap();
            let payload = [
                &[0x92, algorithm, 0xc4, u8::try_from(data.len()).unwrap()],
                &data[..],
            ]
            .concat();
            let sha224 = Sha224::digest(&payload);
            let n = match 5 - (payload.len() + 1) % 5 {
                n if n < 3 => n + 5,
                n => n,
            };
            let sealed = [
                &[u8::try_from(n).unwrap()],
                &payload[..],
                &sha224[sha224.len() - n..],
            ]
            .concat();
            let text = base32(&sealed);
            assert!(PublicKey::parse(&format!("npub{text}")).is_ok());
            vec![
                ("payload", hex::encode(payload)),
                ("sha224", hex::encode(sha224)),
                ("sealed", hex::encode(sealed)),
                ("text", text),
            ]
        }
        "ed25519 key" => key(&example.ed25519()),
        "secp256k1 key" => key(&example.secp256k1()),
        "extended key" => {
            let extended = PublicKey::parse(example.text("npub")).unwrap();
            let plain = PublicKey::parse(example.text("npub without extra bytes"));
            assert!(plain.is_err() || plain.unwrap() == extended);
            let data = [&[0x92, 2, 0xc4, 34, 33], extended.key_bytes()].concat();
            let sha224 = Sha224::digest(&data);
            let plain = base32(&[&[6], &data[..], &sha224[22..]].concat());
            vec![
                ("public", hex::encode(extended.key_bytes())),
                ("npub without extra bytes", format!("npub{plain}")),
            ]
        }
        "ed25519 signature" => signature(&example.ed25519(), &example.bytes("message")),
        "secp256k1 signature" => signature(&example.secp256k1(), &example.bytes("message")),
        "address" => {
            let bytes =
                crate::ndau::address::made(example.text("kind"), &example.bytes("public")).unwrap();
            let address = base32(&bytes);
            assert!(crate::ndau::Address::parse(&address).is_ok());
            vec![("bytes", hex::encode(bytes)), ("address", address)]
        }
        "amount" => {
            let amount = Napu::new(example.number("napu")).unwrap();
            assert_eq!(Napu::parse_ndau(example.text("ndau")), Ok(amount));
            vec![("ndau", amount.to_string())]
        }
        "issue" => {
            let issue = example.issue();
            vec![
                ("signable", hex::encode(issue.signable_bytes())),
                ("hash", issue.hash().to_string()),
                ("unsigned body", issue.unsigned_body()),
            ]
        }
        "signed issue" => {
            let (issue, key) = (example.issue(), example.ed25519());
            let public = key.public();
            let signature = key.sign(&issue.signable_bytes());
            let verified = issue
                .verify(std::slice::from_ref(public), public, &signature)
                .unwrap();
            vec![(
                "body",
                SignedIssue::new(issue, &[verified], 1).unwrap().body(),
            )]
        }
        "v4 sign" => {
            let key =
                crate::exchange::Key::for_tests("", example.text("secret"), example.text("memo"));
            let sign = crate::exchange::v4_sign(
                &key,
                example.number("timestamp"),
                example.text("body").as_bytes(),
            );
            vec![("X-BM-SIGN", sign)]
        }
        "v2 client_secret" => {
            let key = crate::exchange::Key::for_tests(
                example.text("access"),
                example.text("secret"),
                example.text("memo"),
            );
            vec![("client_secret", crate::exchange::v2_client_secret(&key))]
        }
        "identity" => {
            let identity = crate::signer::Identity::new(example.ed25519()).unwrap();
            let mut secret: [u8; 32] = Sha512::digest(example.bytes("seed"))[..32]
                .try_into()
                .unwrap();
            // X25519 clamps by itself, so that the secret is kept as the digest has it.
            assert_eq!(identity.x25519_secret().expose(), &secret);
            secret[0] &= 248;
            secret[31] = secret[31] & 127 | 64;
            let public = crate::signer::x25519_public(identity.public()).unwrap();
            vec![
                ("x25519 secret", hex::encode(secret)),
                ("x25519 public", hex::encode(public)),
            ]
        }
        "handshake" => handshake(example),
        "ledger" => {
            let line = example.text("first");
            crate::state::Ledger::parse(format!("{line}\n").as_bytes()).unwrap();
            vec![("previous of the second", hex::encode(Sha256::digest(line)))]
        }
        "sign_tx" | "done" | "error to signer" => {
            let message = ToSigner::parse(example.body[0].as_bytes()).unwrap();
            same_json(&message.to_json(), example.body[0]);
            vec![]
        }
        "hello" | "signatures" | "refused" | "error from signer" => {
            let message = FromSigner::parse(example.body[0].as_bytes()).unwrap();
            same_json(&message.to_json(), example.body[0]);
            vec![]
        }
        other => panic!("no test computes the example {other}"),
    }
}

fn same_json(ours: &str, documented: &str) {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(ours), parse(documented));
}

/// The handshake by the Noise library itself, and our own side of it on what that wrote.
fn handshake(example: &Example) -> Vec<(&'static str, String)> {
    let identity = |field: &str| {
        crate::signer::Identity::new(PrivateKey::from_ed25519_seed(&example.array(field))).unwrap()
    };
    let (signer, integration) = (identity("signer seed"), identity("integration seed"));
    let remote = crate::signer::x25519_public(integration.public()).unwrap();
    let (signer_secret, integration_secret) = (signer.x25519_secret(), integration.x25519_secret());
    let (first_ephemeral, second_ephemeral) = (
        example.bytes("signer ephemeral"),
        example.bytes("integration ephemeral"),
    );
    let builder = || {
        snow::Builder::new("Noise_IK_25519_ChaChaPoly_SHA256".parse().unwrap())
            .prologue(b"ndau-signer/1")
            .unwrap()
    };
    let mut initiator = builder()
        .local_private_key(signer_secret.expose())
        .unwrap()
        .remote_public_key(&remote)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&first_ephemeral)
        .build_initiator()
        .unwrap();
    let mut responder = builder()
        .local_private_key(integration_secret.expose())
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&second_ephemeral)
        .build_responder()
        .unwrap();
    let mut buffer = vec![0; 65_535];
    let mut opened = vec![0; 65_535];
    let length = initiator
        .write_message(signer.public().as_text().as_bytes(), &mut buffer)
        .unwrap();
    let first = buffer[..length].to_vec();
    let length = responder.read_message(&first, &mut opened).unwrap();
    assert_eq!(&opened[..length], signer.public().as_text().as_bytes());
    let length = responder.write_message(&[], &mut buffer).unwrap();
    let answer = buffer[..length].to_vec();
    initiator.read_message(&answer, &mut opened).unwrap();
    let mut transport = initiator.into_transport_mode().unwrap();
    let length = transport
        .write_message(example.text("hello").as_bytes(), &mut buffer)
        .unwrap();
    let sealed = buffer[..length].to_vec();

    let hail = crate::signer::noise::Hail::receive(&integration, &first).unwrap();
    assert_eq!(
        hail.remote(),
        &crate::signer::x25519_public(signer.public()).unwrap()
    );
    assert_eq!(hail.named(), Some(signer.public()));
    vec![
        ("first message", hex::encode(first)),
        ("answer", hex::encode(answer)),
        ("sealed hello", hex::encode(sealed)),
    ]
}

#[test]
fn every_example_is_computed_from_its_inputs() {
    let examples = examples();
    let mut wrong = Vec::new();
    for example in &examples {
        for (field, result) in results(example) {
            if example.text(field) != result {
                wrong.push(format!("{}\t{field}\t{result}", example.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/formats.md is wrong:\n{}",
        wrong.join("\n")
    );
    println!("examples: {}", examples.len());
    assert_eq!(examples.len(), 23);
}
