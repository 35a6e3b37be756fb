//! One connection to an integration: dialing, the handshake, and the answer to each message.
//!
//! What is signed is computed here, from the transaction itself, and only an `Issue` is a transaction here.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use log::{info, warn};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::http::Uri;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{HandshakeError, Message, WebSocket, client_tls_with_config};

use super::config::{Config, Connection, Policy};
use crate::http::excerpt;
use crate::ndau::{Issue, PrivateKey};
use crate::signer::message::{FromSigner, ISSUE, Outcome, SignTx, ToSigner};
use crate::signer::noise::{Initiator, NoiseError, Transport};
use crate::signer::{Lost, SUB_PROTOCOL, close, read, websocket_config, write};

/// From resolving the name to an encrypted connection, in total, beside what resolving takes.
const DIAL_TIME: Duration = Duration::from_secs(5);
/// How long each attempt to connect may take. While strangers crowd the listener, its host drops some attempts
/// unseen, and repeats of one come late; fresh ones come soon.
const KNOCKS: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(500),
    DIAL_TIME,
];
/// How long one look at a connection may take.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// A connection that has been silent so long gets a ping: a host that restarted answers that with an end.
const PING_AFTER: Duration = Duration::from_secs(10);
/// The request follows the `hello` at once; without one the connection is of no use.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The outcome follows when the integration has settled it.
const OUTCOME_TIME: Duration = Duration::from_secs(600);

/// A TCP stream whose reads end at a time, however slowly the other side sends.
pub(super) struct Line {
    tcp: TcpStream,
    until: Instant,
}

impl Line {
    fn remaining(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        // A limit of zero would mean none.
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(left.max(Duration::from_millis(1)))
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.remaining()?;
        self.tcp.set_read_timeout(Some(left))?;
        self.tcp.read(buffer)
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.tcp.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Why a connection did not come to be.
#[derive(Debug)]
pub(super) enum DialError {
    /// Nobody listens: the normal state while the integration has nothing to sign.
    Idle,
    /// The host does not answer or its name is not known.
    Unreachable(io::Error),
    /// Something answered that is not a WebSocket of this protocol, or too slowly.
    WebSocket(Box<tungstenite::Error>),
    /// The other side closed instead of answering the handshake: it does not know this service's identity.
    Closed,
    /// The other side does not hold the identity in `server_key`.
    Noise(NoiseError),
    /// It did not answer in time.
    Slow,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DialError::Idle => "nobody listens there now, as is normal between requests",
            DialError::Unreachable(_) => "it cannot be reached",
            DialError::WebSocket(_) => "it does not speak this protocol there",
            DialError::Closed => {
                "it closed the connection: is this service's identity on its list, and server_key its identity?"
            }
            DialError::Noise(_) => "it did not prove the identity in server_key",
            DialError::Slow => "it did not answer in time",
        })
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            DialError::Unreachable(source) => Some(source),
            DialError::WebSocket(source) => Some(source),
            DialError::Noise(source) => Some(source),
            DialError::Idle | DialError::Closed | DialError::Slow => None,
        }
    }
}

/// Connects to the first of the host's addresses that answers.
fn connect(uri: &Uri, until: Instant) -> Result<TcpStream, DialError> {
    let default = if uri.scheme_str() == Some("wss") {
        443
    } else {
        80
    };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(default);
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(DialError::Unreachable)?
        .collect();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for patience in KNOCKS {
        for address in &addresses {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(DialError::Unreachable(failure));
            }
            match TcpStream::connect_timeout(address, left.min(patience)) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        if failure.kind() != io::ErrorKind::TimedOut {
            break;
        }
    }
    Err(match failure.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Idle,
        _ => DialError::Unreachable(failure),
    })
}

/// Whether the other side was gone before its answer was whole.
fn left_early(error: &tungstenite::Error) -> bool {
    use tungstenite::error::ProtocolError::HandshakeIncomplete;
    match error {
        tungstenite::Error::Protocol(HandshakeIncomplete) => true,
        tungstenite::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

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
    socket: WebSocket<MaybeTlsStream<Line>>,
    transport: Transport,
    heard: Instant,
    pinged: Instant,
    answered: bool,
}

impl Session {
    /// Dials, shakes hands, says hello.
    pub(super) fn dial(config: &Config, connection: &Connection) -> Result<Session, DialError> {
        let until = Instant::now() + DIAL_TIME;
        let uri: Uri =
            connection
                .url
                .parse()
                .map_err(|error: tungstenite::http::uri::InvalidUri| {
                    DialError::WebSocket(Box::new(error.into()))
                })?;
        let tcp = connect(&uri, until)?;
        let prepare = || {
            tcp.set_nodelay(true)?;
            tcp.set_write_timeout(Some(DIAL_TIME))
        };
        prepare().map_err(DialError::Unreachable)?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUB_PROTOCOL);
        let line = Line { tcp, until };
        let handshake = client_tls_with_config(request, line, Some(websocket_config()), None);
        let (mut socket, _) = handshake.map_err(|error| match error {
            HandshakeError::Interrupted(_) => DialError::Slow,
            HandshakeError::Failure(error) if left_early(&error) => DialError::Closed,
            HandshakeError::Failure(error) => DialError::WebSocket(Box::new(error)),
        })?;

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
                let message = crate::error::chain(&error);
                warn!("{name}: {message}");
                // The session ends in any case.
                let _ = self.send(&FromSigner::Error { message });
                close(&mut self.socket, CloseCode::Policy);
                Event::Ended
            }
        }
    }
}

/// The answer to a request: signatures by those of its keys that are held here, or why not.
pub(super) fn answer(
    request: &SignTx,
    keys: &[PrivateKey],
    policy: Policy,
    name: &str,
) -> FromSigner {
    let issue = match read_issue(request) {
        Ok(issue) => issue,
        Err(message) => {
            warn!("{name}: {message}");
            return FromSigner::Error { message };
        }
    };
    let context = &request.context;
    let what = format!(
        "Issue of {} ndau, sequence {}, hash {}, for {} trades of {} ({} to {})",
        issue.quantity(),
        issue.sequence(),
        issue.hash(),
        context.trades,
        excerpt(&context.symbol),
        excerpt(&context.first_trade_id),
        excerpt(&context.last_trade_id),
    );
    match sign(&issue, request, keys, policy) {
        Ok(signatures) => {
            let signers: Vec<&str> = signatures.iter().map(|(key, _)| key.as_text()).collect();
            info!("{name}: {what}: signed with {}", signers.join(", "));
            FromSigner::Signatures {
                id: request.id.clone(),
                signatures,
            }
        }
        Err(reason) => {
            warn!("{name}: {what}: refused: {reason}");
            FromSigner::Refused {
                id: request.id.clone(),
                reason,
            }
        }
    }
}

fn read_issue(request: &SignTx) -> Result<Issue, String> {
    if request.tx_type != ISSUE {
        return Err(format!(
            "only {ISSUE} transactions are signed here, not `{}`",
            excerpt(&request.tx_type)
        ));
    }
    // The reader of JSON would take a list for a struct's fields in order.
    if !request.tx.starts_with('{') {
        return Err("the transaction is not a JSON object".to_owned());
    }
    Issue::parse_unsigned(&request.tx).map_err(|error| crate::error::chain(&error))
}

type KeyAndSignature = (crate::ndau::PublicKey, crate::ndau::Signature);

fn sign(
    issue: &Issue,
    request: &SignTx,
    keys: &[PrivateKey],
    policy: Policy,
) -> Result<Vec<KeyAndSignature>, String> {
    if let Some(most) = policy.max_issue_per_tx
        && issue.quantity() > most
    {
        return Err(format!(
            "{} ndau is above the limit of {most} ndau in one transaction",
            issue.quantity()
        ));
    }
    let held: Vec<&PrivateKey> = keys
        .iter()
        .filter(|key| request.signing_keys.contains(key.public()))
        .collect();
    if held.is_empty() {
        return Err("none of the keys asked for is held here".to_owned());
    }
    let bytes = issue.signable_bytes();
    Ok(held
        .into_iter()
        .map(|key| (key.public().clone(), key.sign(&bytes)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::napu::Napu;
    use crate::signer::Context;
    use crate::signer::message::RequestId;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_ed25519_seed(&[seed; 32])
    }

    fn request(keys: &[&PrivateKey]) -> SignTx {
        SignTx::new(
            RequestId::new([7; 16]),
            &Issue::new(Napu::NDAU, 5).unwrap(),
            keys.iter().map(|key| key.public().clone()).collect(),
            Context {
                symbol: "NDAU_USDT".to_owned(),
                trades: 1,
                first_trade_id: "1".to_owned(),
                last_trade_id: "1".to_owned(),
            },
        )
    }

    #[test]
    fn signatures_are_by_the_held_ones_of_the_requested_keys() {
        let (a, b, c) = (key(1), key(2), key(3));
        let wanted = request(&[&a, &c, &a]);
        let FromSigner::Signatures { signatures, .. } =
            answer(&wanted, &[b, a], Policy::default(), "test")
        else {
            panic!("not signed");
        };
        let issue = Issue::new(Napu::NDAU, 5).unwrap();
        assert_eq!(signatures.len(), 1);
        let (by, signature) = &signatures[0];
        assert!(issue.verify(&wanted.signing_keys, by, signature).is_ok());
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_its_reason() {
        let refused = |request: &SignTx, policy| match answer(request, &[key(1)], policy, "test") {
            FromSigner::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        let none = Policy::default();
        assert!(refused(&request(&[&key(2)]), none).contains("none of the keys"));
        assert!(refused(&request(&[]), none).contains("none of the keys"));
        let less = Policy {
            max_issue_per_tx: Some(Napu::new(99_999_999).unwrap()),
        };
        assert_eq!(
            refused(&request(&[&key(1)]), less),
            "1 ndau is above the limit of 0.99999999 ndau in one transaction"
        );
        let exact = Policy {
            max_issue_per_tx: Some(Napu::NDAU),
        };
        assert!(matches!(
            answer(&request(&[&key(1)]), &[key(1)], exact, "test"),
            FromSigner::Signatures { .. }
        ));
    }

    #[test]
    fn nothing_but_an_unsigned_issue_is_signed() {
        for (tx_type, tx) in [
            ("Transfer", r#"{"qty":1,"sequence":1,"signatures":[]}"#),
            ("issue", r#"{"qty":1,"sequence":1,"signatures":[]}"#),
            ("Issue", r#"{"qty":1,"sequence":1,"signatures":["a"]}"#),
            (
                "Issue",
                r#"{"qty":1,"sequence":1,"signatures":[],"destination":"nd"}"#,
            ),
            ("Issue", r#"{"qty":1,"qty":2,"sequence":1,"signatures":[]}"#),
            ("Issue", r#"{"qty":0,"sequence":1,"signatures":[]}"#),
            ("Issue", r#"[1,1,[]]"#),
            ("Issue", "null"),
        ] {
            let mut request = request(&[&key(1)]);
            request.tx_type = tx_type.to_owned();
            request.tx = tx.to_owned();
            let answer = answer(&request, &[key(1)], Policy::default(), "test");
            assert!(
                matches!(answer, FromSigner::Error { .. }),
                "{tx_type} {tx}: {answer:?}"
            );
        }
    }
}
