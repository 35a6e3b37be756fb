//! The wire of the signing protocol, written from its documents and not with the library's own code: what a test needs
//! to speak it as either side, honestly or not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bitmart_issuer::ndau::{PrivateKey, PublicKey};
use snow::{Builder, HandshakeState, TransportState};

/// Longer than any limit of either program on what a stranger may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The X25519 secret of an identity.
fn secret(key: &PrivateKey) -> [u8; 32] {
    let seed = key.ed25519_seed().expect("an ed25519 key");
    ed25519_dalek::SigningKey::from_bytes(seed.expose()).to_scalar_bytes()
}

/// The X25519 form of an identity.
fn public(key: &PublicKey) -> [u8; 32] {
    let bytes = key.key_bytes().try_into().expect("an ed25519 key");
    let point = ed25519_dalek::VerifyingKey::from_bytes(&bytes).expect("a point");
    point.to_montgomery().to_bytes()
}

fn builder(ours: &[u8; 32]) -> Builder<'_> {
    let pattern = "Noise_IK_25519_ChaChaPoly_SHA256".parse().unwrap();
    Builder::new(pattern)
        .prologue(b"ndau-signer/1")
        .and_then(|builder| builder.local_private_key(ours))
        .expect("a handshake")
}

/// The first message of the signer `key` to the integration `server`, and what is to be done with the answer.
fn greet(key: &PrivateKey, server: &PublicKey) -> (HandshakeState, Vec<u8>) {
    let mut state: HandshakeState = builder(&secret(key))
        .remote_public_key(&public(server))
        .and_then(Builder::build_initiator)
        .expect("a handshake");
    let mut message = [0; 1024];
    let name = key.public().as_text().as_bytes();
    let len = state.write_message(name, &mut message).expect("it fits");
    (state, message[..len].to_vec())
}

/// The first message of the signer `key` to the integration `server`.
pub fn hail(key: &PrivateKey, server: &PublicKey) -> Vec<u8> {
    greet(key, server).1
}

/// A session of the signer `key` with the integration `server`, with its `hello` said.
pub fn enter(
    address: SocketAddr,
    key: &PrivateKey,
    server: &PublicKey,
) -> io::Result<(TcpStream, Transport)> {
    let mut stream = connect(address)?;
    if !open(&mut stream, &mut Vec::new()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (mut state, first) = greet(key, server);
    stream.write_all(&frame(2, &first))?;
    let mut reply = [0; 50];
    stream.read_exact(&mut reply)?;
    state
        .read_message(&reply[2..], &mut [0; 16])
        .expect("the answer to it");
    let mut transport = Transport(state.into_transport_mode().expect("it is over"));
    say(
        &mut stream,
        &mut transport,
        r#"{"type":"hello","version":"1","keys":1}"#,
    )?;
    Ok((stream, transport))
}

/// Sends `text` as a signer does.
pub fn say(stream: &mut TcpStream, transport: &mut Transport, text: &str) -> io::Result<()> {
    stream.write_all(&frame(2, &transport.seal(text.as_bytes())))
}

/// What the integration `server` makes of a signer's first message: the connection, its answer, and the name in it.
pub fn answer(server: &PrivateKey, first: &[u8]) -> (Transport, Vec<u8>, String) {
    let mut state = builder(&secret(server))
        .build_responder()
        .expect("a handshake");
    let (mut name, mut reply) = ([0; 1024], [0; 1024]);
    let len = state
        .read_message(first, &mut name)
        .expect("a first message");
    let name = String::from_utf8_lossy(&name[..len]).into_owned();
    let len = state.write_message(&[], &mut reply).expect("it fits");
    let transport = state.into_transport_mode().expect("it is over");
    (Transport(transport), reply[..len].to_vec(), name)
}

/// Either side after the handshake.
pub struct Transport(TransportState);

impl Transport {
    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; text.len() + 16];
        let len = self.0.write_message(text, &mut sealed).expect("it fits");
        sealed[..len].to_vec()
    }

    pub fn open(&mut self, sealed: &[u8]) -> Vec<u8> {
        let mut text = vec![0; sealed.len()];
        let len = self.0.read_message(sealed, &mut text).expect("it opens");
        text[..len].to_vec()
    }
}

/// `payload` in a frame as a client sends it, with a mask of zeros.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A request for a WebSocket at `path`, with these lines beside the usual ones.
pub fn upgrade(path: &str, lines: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
    .into_bytes()
}

/// The line that names the protocol.
pub const PROTOCOL: &str = "Sec-WebSocket-Protocol: ndau-signer.1\r\n";

/// A connection whose reads end some day.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Everything that comes until the other side is gone, or so much that it is not what it should be.
pub fn read_out(stream: &mut TcpStream, heard: &mut Vec<u8>) {
    // What was cut off is read as far as it came.
    let _ = stream.take(1 << 20).read_to_end(heard);
}

/// Sends a request for a WebSocket and reads the head of the answer; `false` when there was none to read.
pub fn open(stream: &mut TcpStream, heard: &mut Vec<u8>) -> bool {
    if stream.write_all(&upgrade("/signer", PROTOCOL)).is_err() {
        return false;
    }
    let mut byte = [0];
    while !heard.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1..) => heard.extend(byte),
            Ok(0) | Err(_) => return false,
        }
    }
    true
}
