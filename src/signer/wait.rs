//! One wait for signatures: the connections, who of them may come in, and what the signers have answered so far.
//!
//! Strangers are let in and forgotten cheaply: each has 5 s, all together have 512 places, and when all are taken one of
//! the largest crowd makes room. They never lengthen the wait. Allowed signers are all asked at once, so that one
//! of them that is silent, or whose person takes time, delays no other.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use tungstenite::protocol::frame::coding::CloseCode;

use super::error::{Error, Lack, Shortfall};
use super::listener::{Listener, PAUSE, Request, Signed};
use super::message::{FromSigner, Outcome, RequestId, SignTx, ToSigner};
use super::session::{Awaited, Ended, Session, Step, Stranger, Turned};
use crate::clock::{Clock, SystemClock};
use crate::ndau::{PublicKey, Verified};
use crate::quote::excerpt;
use crate::report::counted;

/// Strangers at a time. Few enough for a process's usual 1024 file descriptors, and each costs some 10 kB.
const MAX_STRANGERS: usize = 512;
/// New connections taken before those that are open get their turn again.
const ACCEPTS_PER_TURN: usize = 64;
/// The time that a signer has to take leave in.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);
/// The same when the wait is over already and the run goes on to fail.
const SHORT_FAREWELL: Duration = Duration::from_millis(500);
/// Warnings about keys that are not allowed, in one wait.
const MAX_WARNINGS: usize = 8;
/// Visits of one allowed signer that are logged, in one wait.
const MAX_VISITS: u32 = 8;

/// What an allowed signer said in the end: signatures, or why there are none.
type Answer = Result<(), Lack>;

/// One wait for signatures.
pub(super) struct Wait<'a> {
    listener: Listener<'a>,
    request: &'a Request,
    id: RequestId,
    verified: Vec<Verified>,
    /// By place in the list of the allowed. Whoever answered is not asked again.
    answers: Vec<Option<Answer>>,
    /// How often each of them came.
    visits: Vec<u32>,
    /// Oldest first.
    strangers: Vec<Stranger<TcpStream>>,
    /// At most one of each allowed identity.
    sessions: Vec<Session<TcpStream>>,
    /// Told to go, with the time at which they are dropped. At most one of each allowed identity.
    leaving: Vec<(Session<TcpStream>, Instant)>,
    turned_away: u64,
    warned: Vec<PublicKey>,
}

impl<'a> Wait<'a> {
    pub(super) fn new(listener: Listener<'a>, request: &'a Request, id: RequestId) -> Wait<'a> {
        Wait {
            answers: listener.gate.allowed.iter().map(|_| None).collect(),
            visits: listener.gate.allowed.iter().map(|_| 0).collect(),
            listener,
            request,
            id,
            verified: Vec::new(),
            strangers: Vec::new(),
            sessions: Vec::new(),
            leaving: Vec::new(),
            turned_away: 0,
            warned: Vec::new(),
        }
    }

    /// Whether there are enough signatures.
    pub(super) fn is_enough(&self) -> bool {
        self.verified.len() >= self.request.needed
    }

    /// Whether nobody is left who could give more.
    pub(super) fn is_exhausted(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }

    /// Looks once at every connection and at the listening socket; whether anything happened.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        let mut busy = false;
        for stranger in std::mem::take(&mut self.strangers) {
            if stranger.is_overdue(now) {
                self.turned_away += 1;
                busy = true;
            } else {
                busy |= self.look_at(stranger, now);
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
                    // Where this process may not have so many, each one less lets another in.
                    debug!("a connection was not accepted: {error}");
                    self.make_room(now);
                    return taken > 0;
                }
            };
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                self.turned_away += 1;
                continue;
            }
            self.look_at(Stranger::new(stream, &self.listener.gate, now), now);
            while self.strangers.len() > MAX_STRANGERS {
                self.make_room(now);
            }
        }
        true
    }

    fn make_room(&mut self, now: Instant) {
        let standing = |one: &Stranger<TcpStream>| (one.awaited(), one.had_its_turn(now));
        let places: Vec<(Awaited, bool)> = self.strangers.iter().map(standing).collect();
        if let Some(place) = who_makes_room(&places, random()) {
            self.strangers.remove(place);
            self.turned_away += 1;
        }
    }

    /// Reads what a stranger sent; whether it is one no longer.
    fn look_at(&mut self, stranger: Stranger<TcpStream>, now: Instant) -> bool {
        match stranger.advance(&self.listener.gate, now) {
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

    fn name(&self, who: usize) -> &PublicKey {
        let allowed = self.listener.gate.allowed.get(who);
        &allowed.expect("`who` is a place in this list").key
    }

    fn has_answered(&self, who: usize) -> bool {
        self.answers.get(who).is_some_and(Option::is_some)
    }

    /// Whether what a signer does is worth a line: what it does after its answer changes nothing, and one that comes again
    /// and again must not fill the log.
    fn is_news(&self, who: usize) -> bool {
        let few = |visits: &u32| *visits <= MAX_VISITS;
        !self.has_answered(who) && self.visits.get(who).is_some_and(few)
    }

    /// Takes in a signer, in place of its older connection if it has one, and asks it.
    fn welcome(&mut self, mut session: Session<TcpStream>) {
        let who = session.who;
        if let Some(visits) = self.visits.get_mut(who) {
            *visits = visits.saturating_add(1);
        }
        if self.is_news(who) {
            info!("signer {} connected ({})", self.name(who), session.greeting);
        }
        self.sessions.retain(|older| older.who != who);
        // Whoever answered has nothing to add, and hears how it ended.
        if !self.has_answered(who) {
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
                if self.is_news(session.who) {
                    info!("signer {} left", self.name(session.who));
                }
                return true;
            }
            Err(Ended::Garbled(error)) => Err(Lack::Garbled(excerpt(&crate::error::chain(&error)))),
        };
        let complaint = match &answer {
            Err(Lack::Wrong(error)) => Some(error.to_string()),
            Err(Lack::Garbled(problem)) => Some(problem.clone()),
            Ok(()) | Err(_) => None,
        };
        let who = session.who;
        match complaint {
            None => self.sessions.push(session),
            Some(message) => {
                if !self.has_answered(who) {
                    warn!("signer {}: {message}", self.name(who));
                }
                // The session ends in any case.
                let _ = session.send(&ToSigner::Error { message });
                session.close(CloseCode::Policy);
                // It may come again at once, and each that leaves takes a descriptor.
                self.leaving.retain(|(older, _)| older.who != who);
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
        let who = session.who;
        let expected = |id: &RequestId| session.asked && *id == self.id && !self.has_answered(who);
        match message {
            FromSigner::Signatures { id, signatures } if expected(&id) => {
                if signatures.is_empty() {
                    info!("signer {} holds none of the keys asked for", self.name(who));
                    return Err(Lack::Keyless);
                }
                let mut fresh = Vec::new();
                for (key, signature) in &signatures {
                    match self
                        .request
                        .issue
                        .verify(&self.request.keys, key, signature)
                    {
                        Ok(verified) => fresh.push(verified),
                        Err(error) => return Err(Lack::Wrong(error)),
                    }
                }
                for verified in fresh {
                    let has_signed = |one: &Verified| one.key() == verified.key();
                    if !self.verified.iter().any(has_signed) {
                        self.verified.push(verified);
                    }
                }
                info!(
                    "signer {} signed with {}; signatures so far: {} of {}",
                    self.name(who),
                    counted(signatures.len(), "key"),
                    self.verified.len(),
                    self.request.needed
                );
                Ok(())
            }
            FromSigner::Refused { id, reason } if expected(&id) => {
                let reason = excerpt(&reason);
                warn!("signer {} refused: {reason}", self.name(who));
                Err(Lack::Refused(reason))
            }
            FromSigner::Signatures { .. } | FromSigner::Refused { .. } => Err(Lack::Garbled(
                "an answer to a request that was not made".to_owned(),
            )),
            FromSigner::Hello { .. } => Err(Lack::Garbled("a second hello".to_owned())),
            FromSigner::Error { message } => {
                Err(Lack::Garbled(format!("it says: {}", excerpt(&message))))
            }
        }
    }

    pub(super) fn progress(&self, left: Duration) {
        info!(
            "waiting for signatures: {} of {}; {} connected, {} others turned away, {} s left",
            self.verified.len(),
            self.request.needed,
            counted(self.sessions.len(), "signer"),
            self.turned_away,
            left.as_secs()
        );
    }

    /// The signatures, with the sessions that are open.
    pub(super) fn finish(self) -> Signed {
        Signed {
            verified: self.verified,
            sessions: self.sessions,
            id: self.id,
        }
    }

    /// Takes leave of the signers, and picks the error that tells most.
    pub(super) fn fail(mut self, within: Duration) -> Error {
        let done = ToSigner::Done {
            id: self.id.clone(),
            outcome: Outcome::Failed,
            hash: self.request.issue.hash().to_string(),
        };
        let here: Vec<usize> = self.sessions.iter().map(|session| session.who).collect();
        let mut sessions = std::mem::take(&mut self.sessions);
        for session in &mut sessions {
            // Best effort: the error that is returned matters more.
            let _ = session.send(&done);
            session.close(CloseCode::Normal);
        }
        sessions.extend(self.leaving.drain(..).map(|(session, _)| session));
        farewell(sessions, SHORT_FAREWELL);

        let nobody_came = self.visits.iter().all(|visits| *visits == 0);
        let lack = |who, answer: Option<Answer>, visits| match answer {
            Some(answer) => answer.err(),
            None if here.contains(&who) => Some(Lack::Silent),
            None if visits > 0 => Some(Lack::Left),
            None => Some(Lack::Absent),
        };
        let answers = self.answers.into_iter().zip(self.visits).enumerate();
        let lacking = answers
            .zip(&self.listener.gate.allowed)
            .filter_map(|((who, (answer, visits)), allowed)| {
                Some((allowed.key.clone(), lack(who, answer, visits)?))
            })
            .collect();
        let shortfall = Shortfall {
            needed: self.request.needed,
            given: self.verified.len(),
            nobody_came,
            lacking,
            within,
            strangers: self.turned_away,
        };
        shortfall.error()
    }
}

/// Who makes room, of strangers of which is known what they are waited for and whether they had their turn: one of those
/// that wait where most do. Wherever a crowd sits, in whatever numbers, it displaces itself, and not a signer on its way past it.
///
/// It is the oldest that had its turn. Where a crowd comes back so fast that none had it yet, a signer some way off
/// is one of that crowd for a round trip: so the older half is left alone, and the younger draws lots.
fn who_makes_room(oldest_first: &[(Awaited, bool)], random: usize) -> Option<usize> {
    let crowd = |at: Awaited| {
        let all = oldest_first.iter().enumerate();
        all.filter(move |(_, one)| one.0 == at)
    };
    let largest = [Awaited::Hello, Awaited::Hail, Awaited::Http]
        .into_iter()
        .max_by_key(|at| crowd(*at).count())?;
    if let Some((place, _)) = crowd(largest).find(|(_, one)| one.1) {
        return Some(place);
    }
    let older = crowd(largest).count() / 2;
    let younger: Vec<usize> = crowd(largest).skip(older).map(|(place, _)| place).collect();
    let drawn = random.checked_rem(younger.len())?;
    younger.get(drawn).copied()
}

/// A lot. Without random bytes it is always the same one, and the crowd's own haste is all the chance there is.
fn random() -> usize {
    let mut bytes = [0; size_of::<usize>()];
    match getrandom::fill(&mut bytes) {
        Ok(()) => usize::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}

/// Waits until each of `sessions` has left, `limit` at most.
pub(super) fn farewell(mut sessions: Vec<Session<TcpStream>>, limit: Duration) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_largest_crowd_that_had_its_turn_makes_room() {
        use Awaited::{Hail, Hello, Http};
        for (oldest_first, expected) in [
            (&[][..], None),
            (&[Http], Some(0)),
            (&[Hello, Hail, Http, Http], Some(2)),
            (&[Http, Hail, Hail, Hello], Some(1)),
            (&[Http, Hail, Hello, Hello], Some(2)),
            // Whoever has come least far, where crowds are alike.
            (&[Hello, Hail, Http], Some(2)),
            (&[Hello, Hail, Hello, Hail], Some(1)),
        ] {
            let places: Vec<_> = oldest_first.iter().map(|at| (*at, true)).collect();
            assert_eq!(who_makes_room(&places, 1), expected);
        }
        let places = [(Hail, false), (Http, true), (Hail, true), (Hail, true)];
        assert_eq!(who_makes_room(&places, 1), Some(2));
    }

    #[test]
    fn of_those_that_had_no_turn_yet_the_younger_half_draws_lots() {
        use Awaited::{Hail, Hello, Http};
        for (oldest_first, expected) in [
            (&[Http][..], &[0][..]),
            (&[Http, Http], &[1]),
            (&[Hail, Http, Hail, Hello, Hail, Hail, Http], &[4, 5]),
            (&[Hail, Hail, Hail], &[1, 2]),
        ] {
            let places: Vec<_> = oldest_first.iter().map(|at| (*at, false)).collect();
            let mut drawn: Vec<_> = (0..100)
                .filter_map(|random| who_makes_room(&places, random))
                .collect();
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn, expected);
        }
        assert_eq!(who_makes_room(&[], 0), None);
    }
}
