//! From an address to an encrypted connection with who is meant to be there, within a time.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use tungstenite::client::ClientRequestBuilder;
use tungstenite::http::Uri;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{HandshakeError, WebSocket, client_tls_with_config};

use super::config::Connection;
use super::stop::Stop;
use crate::signer::noise::{Initiator, NoiseError, Transport};
use crate::signer::{Identity, Lost, SUB_PROTOCOL, read, websocket_config, write};

/// From resolving the name to an encrypted connection, in total, beside what resolving takes.
const DIAL_TIME: Duration = Duration::from_secs(5);
/// How long each attempt to connect may take. While strangers crowd the listener, its host drops some attempts
/// unseen, and repeats of one come late; fresh ones come soon. Each is also how long a wish to stop may go unnoticed.
const KNOCKS: [Duration; 6] = [
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// A WebSocket of the protocol, over TLS or not.
pub(super) type Socket = WebSocket<MaybeTlsStream<Line>>;

/// A TCP stream whose reads and writes end at a time, however slowly the other side sends or takes what is sent. Reads also
/// end when the service is to stop.
pub(super) struct Line {
    tcp: TcpStream,
    stop: Stop,
    /// When reads begin to say that nothing is there, and writes that nothing is taken.
    pub(super) until: Instant,
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
        loop {
            let left = self.remaining()?;
            self.tcp.set_read_timeout(Some(left.min(Stop::LOOK)))?;
            match self.tcp.read(buffer) {
                Err(error) if is_nothing_yet(&error) && !self.stop.is_set() => {}
                read => return read,
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let left = self.remaining()?;
        self.tcp.set_write_timeout(Some(left))?;
        self.tcp.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Whether a read ended by its time limit, or by a signal.
fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
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

/// Where a host is. It is remembered, since finding out can take long, and nobody else is served meanwhile: who keeps
/// answers of a name server back delays the other connections now and then, and not at each dial.
#[derive(Default)]
pub(super) struct Addresses {
    known: Vec<SocketAddr>,
    /// Why it could not be found out when it was last tried.
    failure: String,
    /// When that was.
    tried: Option<Instant>,
    /// Whether the last dial found who is meant, or at least a host where nobody listens.
    reached: bool,
}

impl Addresses {
    /// How long they are believed while that is so.
    const BELIEVED: Duration = Duration::from_secs(120);
    /// And while it is not.
    const DOUBTED: Duration = Duration::from_secs(30);

    /// The addresses of `host`, which `find` finds out.
    fn of(
        &mut self,
        clock: impl Fn() -> Instant,
        find: impl FnOnce() -> io::Result<Vec<SocketAddr>>,
    ) -> io::Result<&[SocketAddr]> {
        let patience = if self.reached {
            Addresses::BELIEVED
        } else {
            Addresses::DOUBTED
        };
        let is_over = |tried| clock().saturating_duration_since(tried) >= patience;
        if self.tried.is_none_or(is_over) {
            match find() {
                Ok(found) => self.known = found,
                // What was known is the best there is.
                Err(error) => self.failure = error.to_string(),
            }
            // From its end: it may have taken longer than that.
            self.tried = Some(clock());
        }
        if self.known.is_empty() {
            return Err(io::Error::other(self.failure.clone()));
        }
        Ok(&self.known)
    }
}

/// Asks the system where the host of `uri` is.
fn find(uri: &Uri) -> io::Result<Vec<SocketAddr>> {
    let default = if uri.scheme_str() == Some("wss") {
        443
    } else {
        80
    };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(default);
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

/// Connects to the first of `addresses` that answers.
fn knock(addresses: &[SocketAddr], until: Instant, stop: &Stop) -> Result<TcpStream, DialError> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for patience in KNOCKS {
        for address in addresses {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_set() {
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

/// Dials and shakes hands: whoever is there has the identity in `server_key`, and let this one in. It sends no request
/// before it has a `hello`.
pub(super) fn greet(
    client: &Identity,
    connection: &Connection,
    addresses: &mut Addresses,
    stop: &Stop,
) -> Result<(Socket, Transport), DialError> {
    let greeted = shake_hands(client, connection, addresses, stop);
    addresses.reached = matches!(greeted, Ok(_) | Err(DialError::Idle));
    greeted
}

fn shake_hands(
    client: &Identity,
    connection: &Connection,
    addresses: &mut Addresses,
    stop: &Stop,
) -> Result<(Socket, Transport), DialError> {
    let mut socket = open(&connection.url, addresses, stop)?;
    let (initiator, first) =
        Initiator::start(client, &connection.server_key).map_err(DialError::Noise)?;
    write(&mut socket, first).map_err(|Lost| DialError::Closed)?;
    let reply = match read(&mut socket) {
        Ok(Some(reply)) => reply,
        Ok(None) => return Err(DialError::Slow),
        Err(Lost) => return Err(DialError::Closed),
    };
    let transport = initiator.finish(&reply).map_err(DialError::Noise)?;
    Ok((socket, transport))
}

/// Opens a WebSocket to `url`. Its reads and writes end [`DIAL_TIME`] after the start, unless [`Line::until`] is set anew.
fn open(url: &Uri, addresses: &mut Addresses, stop: &Stop) -> Result<Socket, DialError> {
    let known = addresses.of(Instant::now, || find(url));
    let known = known.map_err(DialError::Unreachable)?;
    let until = Instant::now() + DIAL_TIME;
    let tcp = knock(known, until, stop)?;
    tcp.set_nodelay(true).map_err(DialError::Unreachable)?;
    let request = ClientRequestBuilder::new(url.clone()).with_sub_protocol(SUB_PROTOCOL);
    let line = Line {
        tcp,
        stop: stop.clone(),
        until,
    };
    let handshake = client_tls_with_config(request, line, Some(websocket_config()), None);
    let (socket, _) = handshake.map_err(|error| match error {
        HandshakeError::Interrupted(_) => DialError::Slow,
        HandshakeError::Failure(error) if left_early(&error) => DialError::Closed,
        HandshakeError::Failure(error) => DialError::WebSocket(Box::new(error)),
    })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_name_is_not_looked_up_at_each_dial() {
        let start = Instant::now();
        let mut addresses = Addresses::default();
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mut lookups = 0;
        // An hour of idle dials.
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            let known = addresses.of(
                || now,
                || {
                    lookups += 1;
                    Ok(vec![address])
                },
            );
            assert_eq!(known.unwrap(), [address]);
            addresses.reached = true;
        }
        assert_eq!(lookups, 30);
    }

    #[test]
    fn a_name_that_is_not_found_is_not_looked_up_at_each_dial_either() {
        let start = Instant::now();
        let mut addresses = Addresses::default();
        let mut lookups = 0;
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            let failure = addresses.of(
                || now,
                || {
                    lookups += 1;
                    Err(io::Error::other("no such name"))
                },
            );
            assert_eq!(failure.unwrap_err().to_string(), "no such name");
        }
        assert_eq!(lookups, 2);
    }

    #[test]
    fn a_name_server_that_takes_its_time_is_not_asked_at_each_dial_either() {
        let now = Cell::new(Instant::now());
        let mut addresses = Addresses::default();
        let mut lookups = 0;
        for _ in 0..16 {
            let failure = addresses.of(
                || now.get(),
                || {
                    lookups += 1;
                    now.set(now.get() + 2 * Addresses::DOUBTED);
                    Err(io::ErrorKind::TimedOut.into())
                },
            );
            assert!(failure.is_err());
            now.set(now.get() + Duration::from_secs(5));
        }
        assert_eq!(lookups, 3);
    }

    #[test]
    fn what_was_known_is_used_while_it_cannot_be_found_out() {
        let start = Instant::now();
        let mut addresses = Addresses::default();
        let [old, new]: [SocketAddr; 2] =
            ["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap());
        let later = |times: u32| start + Addresses::DOUBTED * times;
        assert_eq!(addresses.of(|| start, || Ok(vec![old])).unwrap(), [old]);
        // It does not answer there, and its new address comes with the next lookup that does.
        let no = || Err(io::ErrorKind::TimedOut.into());
        assert_eq!(addresses.of(|| later(1), no).unwrap(), [old]);
        assert_eq!(addresses.of(|| later(2), || Ok(vec![new])).unwrap(), [new]);
    }
}
