//! One peer, from its first byte to its last, as a state machine over any stream that never blocks.
//!
//! A [`Stranger`] becomes a [`Session`] with the first message that only an allowed signer, present now, can have
//! written. Until then nothing but the handshakes' own answers is sent to it.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::{HeaderValue, StatusCode, header};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{HandshakeError, WebSocket};

use super::SUB_PROTOCOL;
use super::identity::Identity;
use super::message::{FromSigner, MessageError, ToSigner};
use super::noise::{Hail, Transport};
use super::socket::{Lost, close, read, websocket_config, write};
use crate::ndau::PublicKey;
use crate::quote::excerpt;

/// From accept to `hello`, in total.
pub(super) const STRANGER_TIME: Duration = Duration::from_secs(5);
/// How long the older ones of a crowd are left alone at each point of the way: longer than a round trip to the other side
/// of the world.
const UNDISTURBED: Duration = Duration::from_millis(300);
/// All that a stranger has to say fits in this: an HTTP request with a proxy's headers and two short messages.
const STRANGER_BYTES: usize = 16 * 1024;
/// What one peer may send before the others get their turn.
const TURN_BYTES: usize = 128 * 1024;

/// Who may come in, and by which path.
pub(super) struct Gate<'a> {
    pub(super) identity: &'a Identity,
    pub(super) path: String,
    pub(super) allowed: Vec<Allowed>,
}

/// A signer's identity in both its forms.
pub(super) struct Allowed {
    pub(super) key: PublicKey,
    pub(super) x25519: [u8; 32],
}

/// A stream that pretends to be empty after so many bytes, so that no peer keeps the one thread to itself.
pub(super) struct Metered<S> {
    inner: S,
    turn: usize,
    total: usize,
}

impl<S: Read> Read for Metered<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.total == 0 {
            return Err(io::Error::other("a stranger sent too much"));
        }
        let room = self.turn.min(self.total).min(buffer.len());
        if room == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(buffer) = buffer.get_mut(..room) else {
            return Ok(0);
        };
        let len = self.inner.read(buffer)?;
        self.turn = self.turn.saturating_sub(len);
        self.total = self.total.saturating_sub(len);
        Ok(len)
    }
}

impl<S: Write> Write for Metered<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What a stranger's HTTP request must ask for.
struct Door {
    path: String,
}

impl Callback for Door {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        let refusal = |status| {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = status;
            let headers = refusal.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            refusal
        };
        if request.uri().path() != self.path {
            return Err(refusal(StatusCode::NOT_FOUND));
        }
        let offered = request
            .headers()
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim() == SUB_PROTOCOL);
        if !offered {
            return Err(refusal(StatusCode::BAD_REQUEST));
        }
        let mut response = response;
        response.headers_mut().insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUB_PROTOCOL),
        );
        Ok(response)
    }
}

/// A peer that has not said `hello` yet.
pub(super) struct Stranger<S: Read + Write> {
    since: Instant,
    /// Since when it is where it is.
    waiting_since: Instant,
    stage: Stage<S>,
}

enum Stage<S: Read + Write> {
    /// Its HTTP request is on the way.
    Http(Box<MidHandshake<ServerHandshake<Metered<S>, Door>>>),
    /// A WebSocket is open; the first Noise message is on the way.
    Hail(Box<WebSocket<Metered<S>>>),
    /// It may be an allowed signer, or somebody who repeats what one said; its `hello` is on the way.
    Hello {
        socket: Box<WebSocket<Metered<S>>>,
        transport: Box<Transport>,
        who: usize,
    },
}

/// What a stranger has to say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Its HTTP request.
    Http,
    /// The first Noise message.
    Hail,
    /// The proof that it was no replay.
    Hello,
}

/// What became of a stranger that was looked at.
pub(super) enum Step<S: Read + Write> {
    /// Still a stranger.
    Waiting(Stranger<S>),
    /// It is an allowed signer.
    Known(Session<S>),
    /// It was turned away, or left.
    Gone(Turned),
}

/// Why a stranger is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turned {
    /// It asked for another path or protocol and got this HTTP status.
    Http(u16),
    /// It speaks the protocol with a key that is not on the list; its ndau form, if it gave one.
    NotAllowed(Option<PublicKey>),
    /// It left, or what it said is not this protocol.
    Lost,
}

impl<S: Read + Write> Stranger<S> {
    pub(super) fn new(stream: S, gate: &Gate<'_>, since: Instant) -> Stranger<S> {
        let stream = Metered {
            inner: stream,
            turn: TURN_BYTES,
            total: STRANGER_BYTES,
        };
        let door = Door {
            path: gate.path.clone(),
        };
        let handshake = ServerHandshake::start(stream, door, Some(websocket_config()));
        Stranger {
            since,
            waiting_since: since,
            stage: Stage::Http(Box::new(handshake)),
        }
    }

    /// What it is waited for.
    pub(super) fn awaited(&self) -> Awaited {
        match &self.stage {
            Stage::Http(_) => Awaited::Http,
            Stage::Hail(_) => Awaited::Hail,
            Stage::Hello { .. } => Awaited::Hello,
        }
    }

    /// Whether its time is over.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= STRANGER_TIME
    }

    /// Whether it has had time enough for its next word, and so makes room before those that have not.
    pub(super) fn had_its_turn(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.waiting_since) >= UNDISTURBED
    }

    /// Reads what has arrived and answers it.
    pub(super) fn advance(self, gate: &Gate<'_>, now: Instant) -> Step<S> {
        let since = self.since;
        let waiting = |waiting_since, stage| {
            Step::Waiting(Stranger {
                since,
                waiting_since,
                stage,
            })
        };
        let mut waiting_since = self.waiting_since;
        let mut stage = self.stage;
        loop {
            stage = match stage {
                Stage::Http(handshake) => match handshake.handshake() {
                    Ok(socket) => {
                        waiting_since = now;
                        Stage::Hail(Box::new(socket))
                    }
                    Err(HandshakeError::Interrupted(handshake)) => {
                        return waiting(waiting_since, Stage::Http(Box::new(handshake)));
                    }
                    Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                        return Step::Gone(Turned::Http(response.status().as_u16()));
                    }
                    Err(HandshakeError::Failure(_)) => return Step::Gone(Turned::Lost),
                },
                Stage::Hail(mut socket) => {
                    let message = match read(&mut socket) {
                        Ok(Some(message)) => message,
                        Ok(None) => return waiting(waiting_since, Stage::Hail(socket)),
                        Err(Lost) => return Step::Gone(Turned::Lost),
                    };
                    match answer_hail(&mut socket, gate, &message) {
                        Ok((transport, who)) => {
                            waiting_since = now;
                            Stage::Hello {
                                socket,
                                transport: Box::new(transport),
                                who,
                            }
                        }
                        Err(turned) => {
                            close(&mut socket, CloseCode::Policy);
                            return Step::Gone(turned);
                        }
                    }
                }
                Stage::Hello {
                    mut socket,
                    mut transport,
                    who,
                } => {
                    let message = match read(&mut socket) {
                        Ok(Some(message)) => message,
                        Ok(None) => {
                            let stage = Stage::Hello {
                                socket,
                                transport,
                                who,
                            };
                            return waiting(waiting_since, stage);
                        }
                        Err(Lost) => return Step::Gone(Turned::Lost),
                    };
                    let hello = transport
                        .open(&message)
                        .ok()
                        .and_then(|text| FromSigner::parse(&text).ok());
                    let Some(FromSigner::Hello { version, keys }) = hello else {
                        close(&mut socket, CloseCode::Policy);
                        return Step::Gone(Turned::Lost);
                    };
                    let stream = socket.get_mut();
                    stream.total = usize::MAX;
                    return Step::Known(Session {
                        socket,
                        transport,
                        who,
                        asked: false,
                        greeting: format!("version {}, keys: {keys}", excerpt(&version)),
                    });
                }
            };
        }
    }
}

/// Opens the first Noise message, and answers it if its sender is on the list.
fn answer_hail<S: Read + Write>(
    socket: &mut WebSocket<Metered<S>>,
    gate: &Gate<'_>,
    message: &[u8],
) -> Result<(Transport, usize), Turned> {
    let hail = Hail::receive(gate.identity, message).map_err(|_| Turned::Lost)?;
    let Some(who) = gate
        .allowed
        .iter()
        .position(|allowed| allowed.x25519 == *hail.remote())
    else {
        return Err(Turned::NotAllowed(hail.named().cloned()));
    };
    let (transport, reply) = hail.reply().map_err(|_| Turned::Lost)?;
    write(socket, reply).map_err(|Lost| Turned::Lost)?;
    Ok((transport, who))
}

/// An allowed signer, present and encrypted.
pub(super) struct Session<S: Read + Write> {
    socket: Box<WebSocket<Metered<S>>>,
    transport: Box<Transport>,
    /// Its place in the list of the allowed.
    pub(super) who: usize,
    /// Whether the request was sent to it.
    pub(super) asked: bool,
    /// What its `hello` said.
    pub(super) greeting: String,
}

/// Why an allowed signer's session ends early.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection broke, or somebody on the way tampered with it: it may come again.
    Lost,
    /// The signer itself said something that is not in the protocol.
    Garbled(MessageError),
}

impl<S: Read + Write> Session<S> {
    pub(super) fn send(&mut self, message: &ToSigner) -> Result<(), Lost> {
        let sealed = self.transport.seal(&message.to_json()).map_err(|_| Lost)?;
        write(&mut self.socket, sealed)
    }

    /// The signer's next message, if one is there.
    pub(super) fn receive(&mut self) -> Result<Option<FromSigner>, Ended> {
        self.socket.get_mut().turn = TURN_BYTES;
        let Some(message) = read(&mut self.socket).map_err(|Lost| Ended::Lost)? else {
            // What an earlier write left over. A closed socket shows at the next read.
            let _ = self.socket.flush();
            return Ok(None);
        };
        let text = self.transport.open(&message).map_err(|_| Ended::Lost)?;
        match FromSigner::parse(&text) {
            Ok(message) => Ok(Some(message)),
            Err(error) => Err(Ended::Garbled(error)),
        }
    }

    /// Starts to close, after what was sent before.
    pub(super) fn close(&mut self, code: CloseCode) {
        close(&mut self.socket, code);
    }

    /// Whether the closing that was started is over.
    pub(super) fn has_left(&mut self) -> bool {
        self.socket.get_mut().turn = TURN_BYTES;
        loop {
            match read(&mut self.socket) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(Lost) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that has something to read at every read: one of `first` each, then `then` again and again.
    struct Flood {
        first: &'static [&'static [u8]],
        then: &'static [u8],
    }

    impl Read for Flood {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let chunk = match self.first {
                [chunk, rest @ ..] => {
                    self.first = rest;
                    chunk
                }
                [] => self.then,
            };
            let len = buffer.len().min(chunk.len());
            buffer[..len].copy_from_slice(&chunk[..len]);
            Ok(len)
        }
    }

    impl Write for Flood {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Whether a peer that sends this is turned away after a bounded number of bytes.
    fn ends(flood: Flood) -> bool {
        let identity = Identity::generate().unwrap();
        let gate = Gate {
            identity: &identity,
            path: "/signer".to_owned(),
            allowed: Vec::new(),
        };
        let now = Instant::now();
        let stranger = Stranger::new(flood, &gate, now);
        matches!(stranger.advance(&gate, now), Step::Gone(Turned::Lost))
    }

    /// A peer that never stops sending empty frames is gone after a bounded number of bytes: the library's own read
    /// would not return as long as it sends.
    #[test]
    fn a_flood_of_empty_frames_ends() {
        assert!(ends(Flood {
            first: &[
                // A read of its own, so that the frames are no junk after it.
                b"GET /signer HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                  Sec-WebSocket-Protocol: ndau-signer.1\r\n\r\n",
                // An unfinished binary message, masked and empty; then empty continuations without end.
                &[0x02, 0x80, 0, 0, 0, 0],
            ],
            then: &[0x00, 0x80, 0, 0, 0, 0],
        }));
    }

    #[test]
    fn an_endless_request_ends() {
        assert!(ends(Flood {
            first: &[b"GET /signer HTTP/1.1\r\n"],
            then: b"a: b\r\n",
        }));
    }
}
