//! The encryption of both sides: `Noise_IK_25519_ChaChaPoly_SHA256`, one message in, one message out. No I/O.
//!
//! The signer starts and must know the integration's identity beforehand; that is what IK proves. Its own goes inside
//! the first message. What the first message carries beside it is the signer's `npub…`, as a name for a refused peer
//! in the log: of a key's X25519 form alone, two ed25519 keys could be meant.

use std::fmt;

use snow::{Builder, HandshakeState, TransportState};

use super::identity::{Identity, IdentityError, x25519_public};
use crate::ndau::PublicKey;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"ndau-signer/1";

/// The longest Noise message, and so the longest WebSocket message.
pub(crate) const MAX_MESSAGE: usize = 65_535;
/// The authentication tag at the end of each.
const TAG: usize = 16;

/// Why a message was not sealed or opened.
#[derive(Debug)]
pub(crate) enum NoiseError {
    /// The other side's identity cannot be used.
    Identity(IdentityError),
    /// The handshake or a message failed: not for this key, not this protocol, tampered with, or too long.
    Failed(snow::Error),
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoiseError::Identity(_) => f.write_str("the other side's identity cannot be used"),
            NoiseError::Failed(_) => f.write_str("the Noise protocol failed"),
        }
    }
}

impl std::error::Error for NoiseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NoiseError::Identity(source) => Some(source),
            NoiseError::Failed(source) => Some(source),
        }
    }
}

impl From<snow::Error> for NoiseError {
    fn from(source: snow::Error) -> Self {
        NoiseError::Failed(source)
    }
}

fn handshake(
    identity: &Identity,
    remote: Option<&[u8; 32]>,
) -> Result<HandshakeState, snow::Error> {
    let secret = identity.x25519_secret();
    let mut builder = Builder::new(PATTERN.parse()?)
        .prologue(PROLOGUE)?
        .local_private_key(secret.expose())?;
    if let Some(remote) = remote {
        builder = builder.remote_public_key(remote)?;
        builder.build_initiator()
    } else {
        builder.build_responder()
    }
}

/// The part of `buffer` that was written to.
fn written(mut buffer: Vec<u8>, len: usize) -> Vec<u8> {
    buffer.truncate(len);
    buffer
}

/// The signer's side before the answer.
pub(crate) struct Initiator(HandshakeState);

impl Initiator {
    /// The state, and the first message to send.
    pub(crate) fn start(
        identity: &Identity,
        server: &PublicKey,
    ) -> Result<(Initiator, Vec<u8>), NoiseError> {
        let server = x25519_public(server).map_err(NoiseError::Identity)?;
        let mut state = handshake(identity, Some(&server))?;
        let mut message = vec![0; 1024];
        let len = state.write_message(identity.public().as_text().as_bytes(), &mut message)?;
        Ok((Initiator(state), written(message, len)))
    }

    /// Takes the integration's answer. That it opens proves who sent it.
    pub(crate) fn finish(mut self, reply: &[u8]) -> Result<Transport, NoiseError> {
        let mut payload = vec![0; MAX_MESSAGE];
        self.0.read_message(reply, &mut payload)?;
        Ok(Transport(self.0.into_transport_mode()?))
    }
}

/// The integration's side after the first message, which may be a replay of an old one.
pub(crate) struct Hail {
    state: HandshakeState,
    remote: [u8; 32],
    named: Option<PublicKey>,
}

impl Hail {
    /// Opens a first message to `identity`.
    pub(crate) fn receive(identity: &Identity, message: &[u8]) -> Result<Hail, NoiseError> {
        let mut state = handshake(identity, None)?;
        let mut payload = vec![0; MAX_MESSAGE];
        let len = state.read_message(message, &mut payload)?;
        payload.truncate(len);
        let remote = state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .ok_or(snow::Error::Input)?;
        let named = std::str::from_utf8(&payload)
            .ok()
            .and_then(|text| PublicKey::parse(text).ok())
            .filter(|key| x25519_public(key).is_ok_and(|x25519| x25519 == remote));
        Ok(Hail {
            state,
            remote,
            named,
        })
    }

    /// The X25519 identity of the sender.
    pub(crate) fn remote(&self) -> &[u8; 32] {
        &self.remote
    }

    /// The ndau form of it, if the sender gave one that fits.
    pub(crate) fn named(&self) -> Option<&PublicKey> {
        self.named.as_ref()
    }

    /// The transport, and the answer to send.
    pub(crate) fn reply(mut self) -> Result<(Transport, Vec<u8>), NoiseError> {
        let mut message = vec![0; 256];
        let len = self.state.write_message(&[], &mut message)?;
        let message = written(message, len);
        Ok((Transport(self.state.into_transport_mode()?), message))
    }
}

/// Either side after the handshake.
pub(crate) struct Transport(TransportState);

impl Transport {
    /// `text` as the next message of this side.
    pub(crate) fn seal(&mut self, text: &str) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; text.len() + TAG];
        let len = self.0.write_message(text.as_bytes(), &mut message)?;
        Ok(written(message, len))
    }

    /// The content of the other side's next message.
    pub(crate) fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut payload = vec![0; message.len()];
        let len = self.0.read_message(message, &mut payload)?;
        Ok(written(payload, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndau::PrivateKey;

    fn identity(seed: u8) -> Identity {
        Identity::new(PrivateKey::from_ed25519_seed(&[seed; 32])).unwrap()
    }

    fn connected() -> (Transport, Transport) {
        let (signer, server) = (identity(1), identity(2));
        let (initiator, first) = Initiator::start(&signer, server.public()).unwrap();
        let hail = Hail::receive(&server, &first).unwrap();
        let (theirs, reply) = hail.reply().unwrap();
        (initiator.finish(&reply).unwrap(), theirs)
    }

    #[test]
    fn both_sides_agree_and_know_each_other() {
        let (signer, server) = (identity(1), identity(2));
        let (initiator, first) = Initiator::start(&signer, server.public()).unwrap();
        let hail = Hail::receive(&server, &first).unwrap();
        assert_eq!(hail.named(), Some(signer.public()));
        assert_eq!(*hail.remote(), x25519_public(signer.public()).unwrap());
        let (mut theirs, reply) = hail.reply().unwrap();
        let mut ours = initiator.finish(&reply).unwrap();
        let sealed = ours.seal("hello").unwrap();
        assert_eq!(theirs.open(&sealed).unwrap(), b"hello");
        let sealed = theirs.seal("hi").unwrap();
        assert_eq!(ours.open(&sealed).unwrap(), b"hi");
    }

    #[test]
    fn x25519_forms_of_a_pair_belong_together() {
        // The public form that libsodium gives for the same pair: crypto_sign_ed25519_{sk,pk}_to_curve25519 agree.
        for seed in 1..50 {
            let ours = identity(seed);
            let secret = ours.x25519_secret();
            let base = {
                let mut u = [0; 32];
                u[0] = 9;
                u
            };
            let mut dh = snow::resolvers::CryptoResolver::resolve_dh(
                &snow::resolvers::DefaultResolver,
                &snow::params::DHChoice::Curve25519,
            )
            .unwrap();
            dh.set(secret.expose());
            assert_eq!(dh.pubkey(), x25519_public(ours.public()).unwrap());
            let mut out = [0; 32];
            dh.dh(&base, &mut out).unwrap();
            assert_eq!(out, x25519_public(ours.public()).unwrap());
        }
    }

    #[test]
    fn points_of_small_order_are_known_as_weak() {
        // The neutral element, and a point of order 2.
        for hex in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let bytes: [u8; 32] = hex::decode(hex).unwrap().try_into().unwrap();
            let point = ed25519_dalek::VerifyingKey::from_bytes(&bytes).unwrap();
            assert!(point.is_weak());
        }
    }

    #[test]
    fn a_hail_for_another_server_does_not_open() {
        let (_, first) = Initiator::start(&identity(1), identity(3).public()).unwrap();
        assert!(Hail::receive(&identity(2), &first).is_err());
    }

    #[test]
    fn a_changed_byte_anywhere_in_the_handshake_is_noticed() {
        let (signer, server) = (identity(1), identity(2));
        let (_, first) = Initiator::start(&signer, server.public()).unwrap();
        for index in 0..first.len() {
            let mut changed = first.clone();
            changed[index] ^= 1;
            assert!(Hail::receive(&server, &changed).is_err(), "{index}");
        }
        for len in 0..first.len() {
            assert!(Hail::receive(&server, &first[..len]).is_err(), "{len}");
        }
        let reply_len = {
            let hail = Hail::receive(&server, &first).unwrap();
            hail.reply().unwrap().1.len()
        };
        for index in 0..reply_len {
            let (initiator, first) = Initiator::start(&signer, server.public()).unwrap();
            let (_, mut reply) = Hail::receive(&server, &first).unwrap().reply().unwrap();
            reply[index] ^= 1;
            assert!(initiator.finish(&reply).is_err(), "{index}");
        }
    }

    #[test]
    fn a_changed_repeated_or_reordered_message_is_noticed() {
        let (mut ours, mut theirs) = connected();
        let first = ours.seal("first").unwrap();
        let second = ours.seal("second").unwrap();
        assert!(theirs.open(&second).is_err());
        let mut changed = first.clone();
        changed[2] ^= 0x80;
        assert!(theirs.open(&changed).is_err());
        assert_eq!(theirs.open(&first).unwrap(), b"first");
        assert!(theirs.open(&first).is_err());
        assert_eq!(theirs.open(&second).unwrap(), b"second");
        assert!(theirs.open(&[]).is_err());
    }

    /// Whoever saw a first message can send it again, and gets an answer; what follows it they cannot repeat.
    #[test]
    fn a_replayed_hail_cannot_say_hello() {
        let (signer, server) = (identity(1), identity(2));
        let (initiator, first) = Initiator::start(&signer, server.public()).unwrap();
        let (mut theirs, reply) = Hail::receive(&server, &first).unwrap().reply().unwrap();
        let hello = initiator.finish(&reply).unwrap().seal("hello").unwrap();
        assert!(theirs.open(&hello).is_ok());
        let (mut replayed, _) = Hail::receive(&server, &first).unwrap().reply().unwrap();
        assert!(replayed.open(&hello).is_err());
    }

    #[test]
    fn a_false_name_is_no_name() {
        let (signer, server) = (identity(1), identity(2));
        let remote = x25519_public(server.public()).unwrap();
        for payload in [identity(3).public().as_text(), "npub", "", "\u{fffd}"] {
            let mut state = handshake(&signer, Some(&remote)).unwrap();
            let mut message = vec![0; 1024];
            let len = state
                .write_message(payload.as_bytes(), &mut message)
                .unwrap();
            let hail = Hail::receive(&server, &message[..len]).unwrap();
            assert_eq!(hail.named(), None);
        }
    }
}
