//! The listening side as the rest of the program sees it: open, collect, finish. One thread, nothing that blocks.

use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use log::{info, warn};
use tungstenite::protocol::frame::coding::CloseCode;

use super::endpoint::Endpoint;
use super::error::Error;
use super::identity::{Identity, x25519_public};
use super::message::{Context, Outcome, RequestId, ToSigner};
use super::session::{Allowed, Gate, Session};
use super::wait::{FAREWELL, Wait, farewell};
use crate::clock::Clock;
use crate::ndau::{Issue, PublicKey, TxHash, Verified};

/// The pause when nothing happens.
pub(super) const PAUSE: Duration = Duration::from_millis(3);
/// How often the wait shows in the log.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is to be signed, by whom.
#[derive(Debug, Clone)]
pub struct Request {
    /// The transaction.
    pub issue: Issue,
    /// The keys that may sign it.
    pub keys: Vec<PublicKey>,
    /// How many different ones of them must.
    pub needed: usize,
    /// What it is about, for a person to read.
    pub context: Context,
}

/// An open listening socket. It is closed when [`Listener::collect`] returns.
pub struct Listener<'a> {
    pub(super) socket: TcpListener,
    endpoint: Endpoint,
    pub(super) gate: Gate<'a>,
}

impl<'a> Listener<'a> {
    /// Listens at `url` as `identity`, for signers whose identity is one of `allowed`.
    ///
    /// # Errors
    /// When nobody is allowed, an identity cannot be one, or the address cannot be listened at.
    pub fn open(
        url: &Endpoint,
        identity: &'a Identity,
        allowed: &[PublicKey],
    ) -> Result<Listener<'a>, Error> {
        let mut known: Vec<Allowed> = Vec::new();
        for key in allowed {
            if key == identity.public() {
                return Err(Error::KeyOfTwoUses {
                    key: Box::new(key.clone()),
                });
            }
            let x25519 = x25519_public(key).map_err(Error::Allowed)?;
            if known.iter().all(|one| one.x25519 != x25519) {
                let key = key.clone();
                known.push(Allowed { key, x25519 });
            }
        }
        if known.is_empty() {
            return Err(Error::NobodyAllowed);
        }
        if !url.address().ip().is_loopback() {
            warn!(
                "{url} can be reached from other hosts; the signing service needs no more than localhost"
            );
        }
        let bind = || {
            let socket = TcpListener::bind(url.address())?;
            socket.set_nonblocking(true)?;
            let endpoint = url.with_port(socket.local_addr()?.port());
            Ok((socket, endpoint))
        };
        let (socket, endpoint) = bind().map_err(|source| Error::Bind {
            url: url.to_string(),
            source,
        })?;
        info!("listening for the signing service at {endpoint}");
        Ok(Listener {
            socket,
            gate: Gate {
                identity,
                path: endpoint.path().to_owned(),
                allowed: known,
            },
            endpoint,
        })
    }

    /// The address, with the port that was taken.
    pub fn url(&self) -> String {
        self.endpoint.to_string()
    }

    /// Asks every allowed signer that comes for signatures, until there are enough, nobody is left who could give
    /// more, or `within` is over.
    ///
    /// # Errors
    /// The most telling one: a refusal before a wrong signature before what is not in the protocol, before a signer that was
    /// silent, left or did not come, before too few keys.
    pub fn collect(
        self,
        clock: &dyn Clock,
        request: &Request,
        within: Duration,
    ) -> Result<Signed, Error> {
        self.refuse_impossible(request)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let start = clock.instant();
        let mut wait = Wait::new(self, request, RequestId::new(random));
        let mut said = start;
        loop {
            let now = clock.instant();
            let waited = now.saturating_duration_since(start);
            let busy = wait.turn(now);
            if wait.is_enough() {
                return Ok(wait.finish());
            }
            if wait.is_exhausted() || waited >= within {
                return Err(wait.fail(within));
            }
            if now.saturating_duration_since(said) >= PROGRESS {
                said = now;
                wait.progress(within.saturating_sub(waited));
            }
            if !busy {
                clock.sleep(PAUSE.min(within.saturating_sub(waited)));
            }
        }
    }

    /// Refuses what could never end well.
    fn refuse_impossible(&self, request: &Request) -> Result<(), Error> {
        let mut distinct: Vec<&PublicKey> = Vec::new();
        for key in &request.keys {
            if !distinct.contains(&key) {
                distinct.push(key);
            }
        }
        if request.needed == 0 || request.needed > distinct.len() {
            return Err(Error::Impossible {
                needed: request.needed,
                keys: distinct.len(),
            });
        }
        let identities = self.gate.allowed.iter().map(|allowed| &allowed.key);
        for key in identities.chain([self.gate.identity.public()]) {
            if distinct.contains(&key) {
                return Err(Error::KeyOfTwoUses {
                    key: Box::new(key.clone()),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[listener at {}]", self.endpoint)
    }
}

/// Where and for whom the door is opened, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// The address to listen at.
    pub url: &'a Endpoint,
    /// Who this side is.
    pub identity: &'a Identity,
    /// Who is let in.
    pub allowed: &'a [PublicKey],
    /// How long is waited for signatures.
    pub within: Duration,
}

/// Who is asked to sign: the seam between a run and whoever holds the keys.
pub trait Signers {
    /// Enough signatures for `request`, each verified.
    ///
    /// # Errors
    /// When there are not enough; nothing was submitted, so that asking again is harmless.
    fn sign(&self, door: &Door, clock: &dyn Clock, request: &Request) -> Result<Signed, Error>;
}

/// The signing services that dial in.
pub struct Callers<'a> {
    /// Told the listener's address when it took a free port.
    pub listening: &'a dyn Fn(&str),
}

impl Signers for Callers<'_> {
    fn sign(&self, door: &Door, clock: &dyn Clock, request: &Request) -> Result<Signed, Error> {
        let listener = Listener::open(door.url, door.identity, door.allowed)?;
        if door.url.address().port() == 0 {
            (self.listening)(&listener.url());
        }
        listener.collect(clock, request, door.within)
    }
}

/// Enough signatures, each verified over the requested `Issue`, and the sessions of the signers, still open.
pub struct Signed {
    pub(super) verified: Vec<Verified>,
    pub(super) sessions: Vec<Session<TcpStream>>,
    pub(super) id: RequestId,
}

impl Signed {
    /// Signatures of signers that do not wait to hear what becomes of them.
    pub fn new(verified: Vec<Verified>) -> Signed {
        Signed {
            verified,
            sessions: Vec::new(),
            id: RequestId::new([0; 16]),
        }
    }

    /// The signatures, one of each key, at least as many as were needed.
    pub fn verified(&self) -> &[Verified] {
        &self.verified
    }

    /// Tells each signer that is still connected what became of the transaction, and closes. Best effort, within 2 s.
    pub fn finish(mut self, outcome: Outcome, hash: &TxHash) {
        let done = ToSigner::Done {
            id: self.id.clone(),
            outcome,
            hash: hash.to_string(),
        };
        for session in &mut self.sessions {
            // Best effort: what was submitted does not depend on who heard of it.
            let _ = session.send(&done);
            session.close(CloseCode::Normal);
        }
        farewell(self.sessions, FAREWELL);
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("verified", &self.verified)
            .field("sessions", &self.sessions.len())
            .finish()
    }
}
