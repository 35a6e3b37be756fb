//! The listening side: its sockets, who may come in, and the wait for signatures. One thread, nothing that blocks.
//!
//! Strangers are let in and forgotten cheaply: each has 5 s, all together have 64 places, and when all are taken the
//! oldest makes room. They never lengthen the wait. Allowed signers are all asked at once, so that one of them that is
//! silent, or whose person takes time, delays no other.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use tungstenite::protocol::frame::coding::CloseCode;

use super::endpoint::Endpoint;
use super::identity::{Identity, IdentityError, x25519_public};
use super::message::{Context, FromSigner, Outcome, RequestId, SignTx, ToSigner};
use super::session::{Allowed, Ended, Gate, Session, Step, Stranger, Turned};
use crate::clock::{Clock, SystemClock};
use crate::error::Exit;
use crate::http::excerpt;
use crate::ndau::issue::SignatureError;
use crate::ndau::{Issue, PublicKey, TxHash, Verified};

/// Connections at a time, signers included.
const MAX_CONNECTIONS: usize = 64;
/// Places that strangers keep however many signers are connected.
const MIN_STRANGERS: usize = 8;
/// New connections taken before those that are open get their turn again.
const ACCEPTS_PER_TURN: usize = 16;
/// The pause when nothing happens.
const PAUSE: Duration = Duration::from_millis(3);
/// How often the wait shows in the log.
const PROGRESS: Duration = Duration::from_secs(10);
/// The time that a signer has to take leave in.
const FAREWELL: Duration = Duration::from_secs(2);
/// The same when the wait is over already and the run goes on to fail.
const SHORT_FAREWELL: Duration = Duration::from_millis(500);
/// Warnings about keys that are not allowed, in one wait.
const MAX_WARNINGS: usize = 8;

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

/// Why there are not enough signatures. `strangers` counts the connections that were turned away meanwhile.
#[derive(Debug)]
pub enum Error {
    /// The address cannot be listened at: another program uses it, or it is not this host's.
    Bind {
        /// The address.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// No signer is allowed, so none could ever come: give at least one.
    NobodyAllowed,
    /// An allowed identity cannot be used.
    Allowed(IdentityError),
    /// This key both names a side and signs transactions: make a key pair for the identity alone.
    KeyOfTwoUses {
        /// The key.
        key: Box<PublicKey>,
    },
    /// More signatures are needed than there are different keys to give them, or none at all.
    Impossible {
        /// How many are needed.
        needed: usize,
        /// How many different keys there are.
        keys: usize,
    },
    /// The system gave no random bytes.
    Random(getrandom::Error),
    /// A signer said no. Its log and its policy tell more.
    Refused {
        /// Its identity.
        signer: Box<PublicKey>,
        /// The reason that it gave.
        reason: String,
    },
    /// A signer's signature was not what was asked for. Look at its keys and its version.
    Wrong {
        /// Its identity.
        signer: Box<PublicKey>,
        /// What was wrong.
        source: SignatureError,
    },
    /// A signer's answer is not in the protocol. Look at its log and its version.
    Garbled {
        /// Its identity.
        signer: Box<PublicKey>,
        /// What it said.
        problem: String,
    },
    /// A signer was asked and had not answered when the time was over: a person may have to confirm.
    Silent {
        /// Its identity.
        signer: Box<PublicKey>,
        /// How long was waited.
        within: Duration,
        /// Connections turned away.
        strangers: u64,
    },
    /// All signers that came hold fewer of the keys than are needed.
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many different keys signed.
        given: usize,
        /// Connections turned away.
        strangers: u64,
    },
    /// No allowed signer came in time. Is the signing service running, and does it know this address and identity?
    Nobody {
        /// How long was waited.
        within: Duration,
        /// Connections turned away.
        strangers: u64,
    },
}

impl Error {
    /// How the run ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Bind { source, .. } => match source.kind() {
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => Exit::Config,
                _ => Exit::Unavailable,
            },
            Error::NobodyAllowed
            | Error::Allowed(_)
            | Error::KeyOfTwoUses { .. }
            | Error::Impossible { .. } => Exit::Config,
            Error::Random(_) | Error::Nobody { .. } | Error::Silent { .. } => Exit::Unavailable,
            Error::Refused { .. } | Error::Wrong { .. } | Error::TooFew { .. } => Exit::Refused,
            Error::Garbled { .. } => Exit::BadData,
        }
    }
}

fn turned_away(f: &mut fmt::Formatter<'_>, strangers: u64) -> fmt::Result {
    match strangers {
        0 => Ok(()),
        1 => f.write_str(" (1 other connection was turned away)"),
        more => write!(f, " ({more} other connections were turned away)"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { url, .. } => write!(f, "cannot listen at {url}"),
            Error::NobodyAllowed => f.write_str("no signer is allowed to connect"),
            Error::Allowed(_) => f.write_str("an allowed signer's identity cannot be used"),
            Error::KeyOfTwoUses { key } => write!(
                f,
                "{key} is used both as an identity and to sign transactions: make a key pair for the identity alone"
            ),
            Error::Impossible { needed, keys } => {
                write!(f, "{needed} signatures cannot come from {keys} keys")
            }
            Error::Random(_) => f.write_str("no random bytes from the system"),
            Error::Refused { signer, reason } => {
                write!(f, "the signer {signer} refused to sign: {reason}")
            }
            Error::Wrong { signer, .. } => write!(f, "the signer {signer} answered wrongly"),
            Error::Garbled { signer, problem } => {
                write!(
                    f,
                    "the signer {signer} did not keep to the protocol: {problem}"
                )
            }
            Error::Silent {
                signer,
                within,
                strangers,
            } => {
                write!(
                    f,
                    "the signer {signer} was asked and did not answer within {} s",
                    within.as_secs_f32()
                )?;
                turned_away(f, *strangers)
            }
            Error::TooFew {
                needed,
                given,
                strangers,
            } => {
                write!(f, "{given} of the {needed} signatures needed")?;
                turned_away(f, *strangers)
            }
            Error::Nobody { within, strangers } => {
                write!(
                    f,
                    "no allowed signer connected within {} s",
                    within.as_secs_f32()
                )?;
                turned_away(f, *strangers)
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Bind { source, .. } => Some(source),
            Error::Allowed(source) => Some(source),
            Error::Random(source) => Some(source),
            Error::Wrong { source, .. } => Some(source),
            Error::NobodyAllowed
            | Error::KeyOfTwoUses { .. }
            | Error::Impossible { .. }
            | Error::Refused { .. }
            | Error::Garbled { .. }
            | Error::Silent { .. }
            | Error::TooFew { .. }
            | Error::Nobody { .. } => None,
        }
    }
}

/// An open listening socket. It is closed when [`Listener::collect`] returns.
pub struct Listener<'a> {
    socket: TcpListener,
    endpoint: Endpoint,
    gate: Gate<'a>,
}

impl<'a> Listener<'a> {
    /// Listens at `url` as `identity`, for signers whose identity is one of `allowed`.
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
    /// The most telling one: a refusal before a wrong signature before too few before nobody.
    pub fn collect(
        self,
        clock: &dyn Clock,
        request: &Request,
        within: Duration,
    ) -> Result<Signed, Error> {
        self.check(request)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let start = clock.instant();
        let mut wait = Wait {
            answers: self.gate.allowed.iter().map(|_| None).collect(),
            listener: self,
            request,
            id: RequestId::new(random),
            verified: Vec::new(),
            strangers: Vec::new(),
            sessions: Vec::new(),
            leaving: Vec::new(),
            turned_away: 0,
            warned: Vec::new(),
        };
        let mut said = start;
        loop {
            let now = clock.instant();
            let waited = now.saturating_duration_since(start);
            let busy = wait.turn(now);
            if wait.verified.len() >= request.needed {
                return Ok(wait.finish());
            }
            if wait.answers.iter().all(Option::is_some) || waited >= within {
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
    fn check(&self, request: &Request) -> Result<(), Error> {
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

/// What an allowed signer said in the end.
enum Answer {
    Signed,
    Refused(String),
    Wrong(SignatureError),
    Garbled(String),
}

/// One wait for signatures.
struct Wait<'a> {
    listener: Listener<'a>,
    request: &'a Request,
    id: RequestId,
    verified: Vec<Verified>,
    /// By place in the list of the allowed. Whoever answered is not asked again.
    answers: Vec<Option<Answer>>,
    /// Oldest first.
    strangers: Vec<Stranger<TcpStream>>,
    /// At most one of each allowed identity.
    sessions: Vec<Session<TcpStream>>,
    /// Told to go, with the time at which they are dropped.
    leaving: Vec<(Session<TcpStream>, Instant)>,
    turned_away: u64,
    warned: Vec<PublicKey>,
}

impl Wait<'_> {
    /// Looks once at every connection and at the listening socket; whether anything happened.
    fn turn(&mut self, now: Instant) -> bool {
        let mut busy = false;
        for stranger in std::mem::take(&mut self.strangers) {
            if stranger.is_overdue(now) {
                self.turned_away += 1;
                busy = true;
            } else {
                busy |= self.look_at(stranger);
            }
        }
        for session in std::mem::take(&mut self.sessions) {
            busy |= self.serve(session, now);
        }
        self.leaving
            .retain_mut(|(session, until)| now < *until && !session.has_left());
        busy | self.accept(now)
    }

    /// Takes new connections. Each is looked at before an older one makes room for it, so that those who left again
    /// at once displace nobody.
    fn accept(&mut self, now: Instant) -> bool {
        for taken in 0..ACCEPTS_PER_TURN {
            let stream = match self.listener.socket.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken > 0,
                Err(error) => {
                    debug!("a connection was not accepted: {error}");
                    return taken > 0;
                }
            };
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                self.turned_away += 1;
                continue;
            }
            self.look_at(Stranger::new(stream, &self.listener.gate, now));
            let places = MAX_CONNECTIONS
                .saturating_sub(self.sessions.len())
                .max(MIN_STRANGERS);
            while self.strangers.len() > places {
                self.strangers.remove(0);
                self.turned_away += 1;
            }
        }
        true
    }

    /// Reads what a stranger sent; whether it is one no longer.
    fn look_at(&mut self, stranger: Stranger<TcpStream>) -> bool {
        match stranger.advance(&self.listener.gate) {
            Step::Waiting(stranger) => {
                self.strangers.push(stranger);
                return false;
            }
            Step::Known(session) => self.welcome(session),
            Step::Gone(turned) => {
                self.turned_away += 1;
                debug!("a stranger was turned away: {turned:?}");
                if let Turned::NotAllowed(Some(key)) = turned {
                    self.warn_once(key);
                }
            }
        }
        true
    }

    fn warn_once(&mut self, key: PublicKey) {
        if !self.warned.contains(&key) && self.warned.len() < MAX_WARNINGS {
            warn!("a signer that is not allowed was turned away; its identity is {key}");
            self.warned.push(key);
        }
    }

    fn name(&self, who: usize) -> Option<&PublicKey> {
        self.listener
            .gate
            .allowed
            .get(who)
            .map(|allowed| &allowed.key)
    }

    /// Takes in a signer, in place of its older connection if it has one, and asks it.
    fn welcome(&mut self, mut session: Session<TcpStream>) {
        let who = session.who;
        if let Some(name) = self.name(who) {
            info!("signer {name} connected ({})", session.greeting);
        }
        self.sessions.retain(|older| older.who != who);
        // Whoever answered has nothing to add, and hears how it ended.
        if self.answers.get(who).is_some_and(Option::is_none) {
            let wanted = self.wanted();
            let message = ToSigner::SignTx(SignTx::new(
                self.id.clone(),
                &self.request.issue,
                wanted,
                self.request.context.clone(),
            ));
            session.asked = true;
            if session.send(&message).is_err() {
                return;
            }
        }
        self.sessions.push(session);
    }

    /// The keys that have not signed yet.
    fn wanted(&self) -> Vec<PublicKey> {
        let signed = |key| self.verified.iter().any(|verified| verified.key() == key);
        let mut wanted: Vec<PublicKey> = Vec::new();
        for key in &self.request.keys {
            if !signed(key) && !wanted.contains(key) {
                wanted.push(key.clone());
            }
        }
        wanted
    }

    /// Reads what a signer sent; whether it was anything.
    fn serve(&mut self, mut session: Session<TcpStream>, now: Instant) -> bool {
        let answer = match session.receive() {
            Ok(None) => {
                self.sessions.push(session);
                return false;
            }
            Ok(Some(message)) => self.answer(&session, message),
            Err(Ended::Lost) => {
                if let Some(name) = self.name(session.who) {
                    info!("signer {name} left");
                }
                return true;
            }
            Err(Ended::Garbled(error)) => Answer::Garbled(crate::error::chain(&error)),
        };
        let complaint = match &answer {
            Answer::Signed | Answer::Refused(_) => None,
            Answer::Wrong(error) => Some(error.to_string()),
            Answer::Garbled(problem) => Some(problem.clone()),
        };
        let who = session.who;
        match complaint {
            None => self.sessions.push(session),
            Some(message) => {
                if let Some(name) = self.name(who) {
                    warn!("signer {name}: {message}");
                }
                // The session ends in any case.
                let _ = session.send(&ToSigner::Error { message });
                session.close(CloseCode::Policy);
                self.leaving.push((session, now + FAREWELL));
            }
        }
        if let Some(slot) = self.answers.get_mut(who).filter(|slot| slot.is_none()) {
            *slot = Some(answer);
        }
        true
    }

    /// What a message means. Signatures are used when all of an answer's are right.
    fn answer(&mut self, session: &Session<TcpStream>, message: FromSigner) -> Answer {
        let expected = |id: &RequestId| {
            session.asked
                && *id == self.id
                && self.answers.get(session.who).is_some_and(Option::is_none)
        };
        match message {
            FromSigner::Signatures { id, signatures } if expected(&id) => {
                let mut fresh = Vec::new();
                for (key, signature) in &signatures {
                    match self
                        .request
                        .issue
                        .verify(&self.request.keys, key, signature)
                    {
                        Ok(verified) => fresh.push(verified),
                        Err(error) => return Answer::Wrong(error),
                    }
                }
                for verified in fresh {
                    let has_signed = |one: &Verified| one.key() == verified.key();
                    if !self.verified.iter().any(has_signed) {
                        self.verified.push(verified);
                    }
                }
                if let Some(name) = self.name(session.who) {
                    info!(
                        "signer {name} gave {} signatures; {} of {} are there",
                        signatures.len(),
                        self.verified.len(),
                        self.request.needed
                    );
                }
                Answer::Signed
            }
            FromSigner::Refused { id, reason } if expected(&id) => {
                let reason = excerpt(&reason);
                if let Some(name) = self.name(session.who) {
                    warn!("signer {name} refused: {reason}");
                }
                Answer::Refused(reason)
            }
            FromSigner::Signatures { .. } | FromSigner::Refused { .. } => {
                Answer::Garbled("an answer to a request that was not made".to_owned())
            }
            FromSigner::Hello { .. } => Answer::Garbled("a second hello".to_owned()),
            FromSigner::Error { message } => {
                Answer::Garbled(format!("it says: {}", excerpt(&message)))
            }
        }
    }

    fn progress(&self, left: Duration) {
        info!(
            "waiting for signatures: {} of {}; {} signers connected, {} others turned away, {} s left",
            self.verified.len(),
            self.request.needed,
            self.sessions.len(),
            self.turned_away,
            left.as_secs()
        );
    }

    fn finish(self) -> Signed {
        Signed {
            verified: self.verified,
            sessions: self.sessions,
            id: self.id,
        }
    }

    /// Takes leave of the signers, and picks the error that tells most.
    fn fail(mut self, within: Duration) -> Error {
        let done = ToSigner::Done {
            id: self.id.clone(),
            outcome: Outcome::Failed,
            hash: self.request.issue.hash().to_string(),
        };
        let silent = self
            .sessions
            .iter()
            .map(|session| session.who)
            .find(|who| self.answers.get(*who).is_some_and(Option::is_none));
        let silent = silent.and_then(|who| self.name(who)).cloned();
        let mut sessions = std::mem::take(&mut self.sessions);
        for session in &mut sessions {
            // Best effort: the error that is returned matters more.
            let _ = session.send(&done);
            session.close(CloseCode::Normal);
        }
        sessions.extend(self.leaving.drain(..).map(|(session, _)| session));
        farewell(sessions, SHORT_FAREWELL);

        let strangers = self.turned_away;
        let given = self.verified.len();
        let allowed = &self.listener.gate.allowed;
        let rank = |answer: &Answer| match answer {
            Answer::Refused(_) => 0,
            Answer::Wrong(_) => 1,
            Answer::Garbled(_) => 2,
            Answer::Signed => 3,
        };
        let telling = allowed
            .iter()
            .zip(self.answers)
            .filter_map(|(allowed, answer)| Some((Box::new(allowed.key.clone()), answer?)))
            .min_by_key(|(_, answer)| rank(answer));
        match (telling, silent) {
            (Some((signer, Answer::Refused(reason))), _) => Error::Refused { signer, reason },
            (Some((signer, Answer::Wrong(source))), _) => Error::Wrong { signer, source },
            (Some((signer, Answer::Garbled(problem))), _) => Error::Garbled { signer, problem },
            (_, Some(signer)) => Error::Silent {
                signer: Box::new(signer),
                within,
                strangers,
            },
            (Some((_, Answer::Signed)), None) => Error::TooFew {
                needed: self.request.needed,
                given,
                strangers,
            },
            (None, None) => Error::Nobody { within, strangers },
        }
    }
}

/// Waits until each of `sessions` has left, `limit` at most.
fn farewell(mut sessions: Vec<Session<TcpStream>>, limit: Duration) {
    let clock = SystemClock;
    let start = clock.instant();
    loop {
        sessions.retain_mut(|session| !session.has_left());
        if sessions.is_empty() || clock.instant().saturating_duration_since(start) >= limit {
            return;
        }
        clock.sleep(PAUSE);
    }
}

/// Enough signatures, each verified over the requested `Issue`, and the sessions of the signers, still open.
pub struct Signed {
    verified: Vec<Verified>,
    sessions: Vec<Session<TcpStream>>,
    id: RequestId,
}

impl Signed {
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
