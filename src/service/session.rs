//! One connection to an integration: the Noise handshake, and the answer to each message.

use std::time::{Duration, Instant};

use log::{info, warn};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;

use super::answer::answer;
use super::config::{Config, Connection};
use super::dial::{DialError, Line, Socket, open};
use crate::error::chain;
use crate::http::excerpt;
use crate::signer::message::{FromSigner, Outcome, ToSigner};
use crate::signer::noise::{Initiator, Transport};
use crate::signer::{Lost, close, read, write};

/// How long one look at a connection may take.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// A connection that has been silent so long gets a ping: a host that restarted answers that with an end.
const PING_AFTER: Duration = Duration::from_secs(10);
/// The request follows the `hello` at once; without one the connection is of no use.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The outcome follows when the integration has settled it.
const OUTCOME_TIME: Duration = Duration::from_secs(600);

/// What a look at a connection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    Quiet,
    /// A request was answered with signatures.
    Signed,
    /// A request was refused.
    Refused,
    /// The integration told what became of it.
    Done(Outcome),
    /// The connection is over.
    Ended,
}

/// An encrypted connection to an integration that proved who it is.
pub(super) struct Session {
    socket: Socket,
    transport: Transport,
    heard: Instant,
    pinged: Instant,
    answered: bool,
}

impl Session {
    /// Dials, shakes hands, says hello.
    pub(super) fn dial(config: &Config, connection: &Connection) -> Result<Session, DialError> {
        let mut socket = open(&connection.url)?;
        let (initiator, first) =
            Initiator::start(&config.client, &connection.server_key).map_err(DialError::Noise)?;
        write(&mut socket, first).map_err(|Lost| DialError::Closed)?;
        let reply = match read(&mut socket) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Err(DialError::Slow),
            Err(Lost) => return Err(DialError::Closed),
        };
        let mut transport = initiator.finish(&reply).map_err(DialError::Noise)?;
        let hello = FromSigner::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keys: u64::try_from(config.keys.len()).unwrap_or(u64::MAX),
        };
        let hello = transport.seal(&hello.to_json()).map_err(DialError::Noise)?;
        write(&mut socket, hello).map_err(|Lost| DialError::Closed)?;
        let now = Instant::now();
        Ok(Session {
            socket,
            transport,
            heard: now,
            pinged: now,
            answered: false,
        })
    }

    fn line(&mut self) -> Option<&mut Line> {
        match self.socket.get_mut() {
            MaybeTlsStream::Plain(line) => Some(line),
            MaybeTlsStream::Rustls(tls) => Some(&mut tls.sock),
            _ => None,
        }
    }

    pub(super) fn send(&mut self, message: &FromSigner) -> Result<(), Lost> {
        let sealed = self.transport.seal(&message.to_json()).map_err(|_| Lost)?;
        write(&mut self.socket, sealed)
    }

    /// The next message, if one comes within [`LOOK_TIME`].
    pub(super) fn receive(&mut self) -> Result<Option<Vec<u8>>, Lost> {
        let now = Instant::now();
        if let Some(line) = self.line() {
            line.until = now + LOOK_TIME;
        }
        if let Some(message) = read(&mut self.socket)? {
            self.heard = now;
            return self.transport.open(&message).map(Some).map_err(|_| Lost);
        }
        let limit = if self.answered {
            OUTCOME_TIME
        } else {
            REQUEST_TIME
        };
        if now.saturating_duration_since(self.heard) >= limit {
            return Err(Lost);
        }
        if now.saturating_duration_since(self.pinged) >= PING_AFTER {
            self.pinged = now;
            // A broken connection shows at the next read.
            let _ = self.socket.send(Message::Ping(Vec::new().into()));
        }
        Ok(None)
    }

    /// Reads and answers one message, if one comes within [`LOOK_TIME`].
    pub(super) fn look(&mut self, config: &Config, name: &str) -> Event {
        let text = match self.receive() {
            Ok(Some(text)) => text,
            Ok(None) => return Event::Quiet,
            Err(Lost) => return Event::Ended,
        };
        match ToSigner::parse(&text) {
            Ok(ToSigner::SignTx(request)) => {
                let answer = answer(&request, &config.keys, config.policy, name);
                let event = match &answer {
                    FromSigner::Signatures { .. } => Event::Signed,
                    FromSigner::Refused { .. } => Event::Refused,
                    FromSigner::Hello { .. } | FromSigner::Error { .. } => Event::Ended,
                };
                self.answered = true;
                let sent = self.send(&answer);
                if event == Event::Ended {
                    close(&mut self.socket, CloseCode::Policy);
                }
                if sent.is_err() { Event::Ended } else { event }
            }
            Ok(ToSigner::Done { outcome, hash, .. }) => {
                let what = match outcome {
                    Outcome::Committed => "is on the chain",
                    Outcome::NotNeeded => "was not needed",
                    Outcome::Failed => "was not submitted, or its fate is not known yet",
                };
                info!("{name}: transaction {} {what}", excerpt(&hash));
                Event::Done(outcome)
            }
            Ok(ToSigner::Error { message }) => {
                warn!("{name}: the integration complains: {}", excerpt(&message));
                Event::Ended
            }
            Err(error) => {
                let message = chain(&error);
                warn!("{name}: {message}");
                // The session ends in any case.
                let _ = self.send(&FromSigner::Error { message });
                close(&mut self.socket, CloseCode::Policy);
                Event::Ended
            }
        }
    }
}
