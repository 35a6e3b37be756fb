//! One connection to an integration: its messages, one request at most among them, and the answer.

use std::time::{Duration, Instant};

use log::{info, warn};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;

use super::config::{Config, Connection};
use super::dial::{Addresses, DialError, Line, Socket, greet};
use super::stop::Stop;
use crate::error::chain;
use crate::quote::excerpt;
use crate::signer::message::{FromSigner, Outcome, SignTx, ToSigner};
use crate::signer::noise::Transport;
use crate::signer::{Lost, close, read, write};

/// How long one look at a connection may take.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// A connection that has been silent so long gets a ping: a host that restarted answers that with an end.
const PING_AFTER: Duration = Duration::from_secs(10);
/// The request follows the `hello` at once; without one the connection is of no use.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The outcome follows when the integration has settled it.
const OUTCOME_TIME: Duration = Duration::from_secs(600);

/// How long sending may take, before what is left waits for the next looks: others are served here, too.
const SEND_TIME: Duration = Duration::from_millis(500);

/// What a look at a connection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    Quiet,
    /// A request.
    Asked(Box<SignTx>),
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
    /// Whether the request has come.
    asked: bool,
    /// Whether any message has.
    spoken: bool,
}

impl Session {
    /// Dials, shakes hands, says hello.
    pub(super) fn dial(
        config: &Config,
        connection: &Connection,
        addresses: &mut Addresses,
        stop: &Stop,
    ) -> Result<Session, DialError> {
        let (mut socket, mut transport) = greet(&config.client, connection, addresses, stop)?;
        let own = config.keys.iter();
        let own = own.filter(|key| connection.may_use(key.public())).count();
        let hello = FromSigner::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keys: u64::try_from(own).unwrap_or(u64::MAX),
        };
        let hello = transport.seal(&hello.to_json()).map_err(DialError::Noise)?;
        write(&mut socket, hello).map_err(|Lost| DialError::Closed)?;
        let now = Instant::now();
        Ok(Session {
            socket,
            transport,
            heard: now,
            pinged: now,
            asked: false,
            spoken: false,
        })
    }

    /// Whether the other side has said anything.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoken
    }

    fn line(&mut self) -> Option<&mut Line> {
        match self.socket.get_mut() {
            MaybeTlsStream::Plain(line) => Some(line),
            MaybeTlsStream::Rustls(tls) => Some(&mut tls.sock),
            _ => None,
        }
    }

    /// Ends reads and writes so long from now.
    fn limit(&mut self, time: Duration) {
        if let Some(line) = self.line() {
            line.until = Instant::now() + time;
        }
    }

    pub(super) fn send(&mut self, message: &FromSigner) -> Result<(), Lost> {
        self.limit(SEND_TIME);
        let sealed = self.transport.seal(&message.to_json()).map_err(|_| Lost)?;
        write(&mut self.socket, sealed)
    }

    /// The next message, if one comes within [`LOOK_TIME`].
    pub(super) fn receive(&mut self) -> Result<Option<Vec<u8>>, Lost> {
        let now = Instant::now();
        self.limit(LOOK_TIME);
        // What the other side did not take before; that it still does not shows here again, and as little matters.
        let _ = self.socket.flush();
        if let Some(message) = read(&mut self.socket)? {
            self.heard = now;
            let text = self.transport.open(&message).map_err(|_| Lost)?;
            self.spoken = true;
            return Ok(Some(text));
        }
        let limit = if self.asked {
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
            self.limit(LOOK_TIME);
            let _ = self.socket.send(Message::Ping(Vec::new().into()));
        }
        Ok(None)
    }

    /// Reads one message, if one comes within [`LOOK_TIME`].
    pub(super) fn look(&mut self, name: &str) -> Event {
        let text = match self.receive() {
            Ok(Some(text)) => text,
            Ok(None) => return Event::Quiet,
            Err(Lost) => return Event::Ended,
        };
        match ToSigner::parse(&text) {
            Ok(ToSigner::SignTx(request)) if !self.asked => {
                self.asked = true;
                Event::Asked(Box::new(request))
            }
            // What is written down of requests is bounded by how often a connection can be made.
            Ok(ToSigner::SignTx(_)) => {
                self.complain(name, "a second request in one session".to_owned());
                Event::Ended
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
                self.complain(name, excerpt(&chain(&error)));
                Event::Ended
            }
        }
    }

    /// Ends the session with an error.
    fn complain(&mut self, name: &str, message: String) {
        warn!("{name}: {message}");
        self.answer(&FromSigner::Error { message });
    }

    /// Sends the answer to the request; a failure shows at the next look. An error is the end of the session.
    pub(super) fn answer(&mut self, answer: &FromSigner) {
        let _ = self.send(answer);
        if matches!(answer, FromSigner::Error { .. }) {
            close(&mut self.socket, CloseCode::Policy);
        }
    }

    /// Starts to close, since this service goes away.
    pub(super) fn leave(&mut self) {
        self.limit(SEND_TIME);
        close(&mut self.socket, CloseCode::Away);
    }
}
