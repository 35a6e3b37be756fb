//! Keeps the connections of the service going, all of them in one thread.
//!
//! An open connection gets a short look in each round (20 ms at most), so several are served at the same time, also while a
//! person is asked. Dialing blocks the others, for 5 s at most beside what resolving a name takes now and then, and so does
//! a key that takes its time: give connections whose host is often unreachable a service of their own.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use log::{Level, info, log, warn};
use rustix::termios::isatty;

use super::answer::{Asked, Desk, Step};
use super::config::{Config, Connection};
use super::dial::{Addresses, DialError};
use super::question::Question;
use super::session::{Event, Session};
use super::signing_log::SigningLog;
use super::stop::Stop;
use crate::clock::Clock;
use crate::error::{Exit, chain};
use crate::signer::Outcome;
use crate::signer::message::FromSigner;
use crate::terminal;

/// The pause after a refused connection, which is the normal idle state, and after a session.
const IDLE: Duration = Duration::from_secs(1);
/// The longest pause while something is wrong, and between sessions that come thick and fast: each may add a line to the
/// signing log.
const LONGEST: Duration = Duration::from_secs(5);
/// Sessions that begin so far apart are no crowd.
const CALM: Duration = Duration::from_secs(60);
/// How long a service that is about to end because it refused waits for the integration to close.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long any other waits after a refusal, for the others' answers that the integration waits for.
const REFUSED_TIME: Duration = Duration::from_secs(120);
/// How long a service that was told to stop waits for the integrations to see it go.
const FAREWELL: Duration = Duration::from_secs(1);
/// The pause after a question, so that a yes that comes too late for it is not taken for an answer to the next.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(1);

/// When [`run`] returns, beside when it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Forever,
    /// After one session that ended well, or one refusal.
    OneSession,
}

/// What a service needs of the world beside connections and disk.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The time.
    pub clock: &'a dyn Clock,
    /// Whether to end.
    pub stop: &'a Stop,
    /// Where a person types.
    pub input: BorrowedFd<'a>,
}

/// Serves the connections of `config`: [`Exit::Done`] when told to stop, and after a session whose transaction is on the
/// chain or was not needed; [`Exit::Refused`] after a refusal.
pub fn run(config: &Config, log: SigningLog<'_>, world: World<'_>, until: Until) -> Exit {
    let World { clock, stop, .. } = world;
    let now = clock.instant();
    let mut links: Vec<Link<'_>> = config
        .connections
        .iter()
        .map(|connection| Link::new(connection, now))
        .collect();
    info!("policy: {}", config.policy);
    if config.policy.confirm && !isatty(world.input) {
        warn!("a person is to be asked each time, and the input is no terminal");
    }
    for link in &links {
        info!("{}: dialing {}", link.connection.name, link.connection.url);
    }
    let mut desk = Desk::new(config, log, clock, stop);
    let mut turns = Turns {
        is_asked: false,
        next: now,
    };
    loop {
        for link in &mut links {
            // A turn can take long.
            if stop.is_set() {
                break;
            }
            match (link.turn(config, &mut desk, world, until), until) {
                (Some(exit), Until::OneSession) => return exit,
                (Some(_), Until::Forever) | (None, _) => {}
            }
        }
        if stop.is_set() {
            leave(links, &mut desk, clock);
            return Exit::Done;
        }
        consult(&mut links, &mut desk, world, &mut turns);
        // An open connection waits by itself, in its look.
        if links.iter().all(|link| link.open.is_none()) {
            let next = links.iter().map(|link| link.next).min().unwrap_or(now);
            pause(clock, stop, next);
        }
    }
}

/// Waits until `next`, or until the service is to stop.
fn pause(clock: &dyn Clock, stop: &Stop, next: Instant) {
    while !stop.is_set() {
        let left = next.saturating_duration_since(clock.instant());
        if left.is_zero() {
            return;
        }
        clock.sleep(left.min(Stop::LOOK));
    }
}

/// When the next question may be put.
struct Turns {
    /// Whether one was there in the last round.
    is_asked: bool,
    next: Instant,
}

impl Turns {
    /// Whether one may be put in this round. The pause counts from when it is seen that the last one is gone, however it
    /// went and however long ago: a person sees it then.
    fn may_ask(&mut self, is_asked: bool, now: Instant) -> bool {
        if self.is_asked && !is_asked {
            self.next = now + BETWEEN_QUESTIONS;
        }
        self.is_asked = is_asked;
        !is_asked && now >= self.next
    }
}

/// Asks the person about the request that has waited longest in the order of the connections, or looks for the answer.
fn consult<'a>(links: &mut [Link<'a>], desk: &mut Desk<'_>, world: World<'a>, turns: &mut Turns) {
    let is_asked = |link: &Link<'_>| link.open.as_ref().is_some_and(Open::is_asked);
    let is_waiting = |link: &Link<'_>| {
        let open = link.open.as_ref();
        open.is_some_and(|open| open.waiting.is_some())
    };
    let may_ask = turns.may_ask(links.iter().any(is_asked), world.clock.instant());
    if let Some(link) = links.iter_mut().find(|link| is_asked(link)) {
        link.look_for_answer(desk, world);
    } else if may_ask && let Some(link) = links.iter_mut().find(|link| is_waiting(link)) {
        link.ask(desk, world);
    }
}

/// Closes what is open, and waits a moment for the other sides to see it: a connection that is dropped with something
/// unread in it takes with it what was just sent.
fn leave(mut links: Vec<Link<'_>>, desk: &mut Desk<'_>, clock: &dyn Clock) {
    info!("told to stop");
    for link in &mut links {
        if let Some(open) = &mut link.open {
            let reason = "the service was stopped before a person had answered";
            open.withdraw(link.connection, desk, reason);
            open.session.leave();
        }
    }
    let until = clock.instant() + FAREWELL;
    links.retain(|link| link.open.is_some());
    while !links.is_empty() && clock.instant() < until {
        links.retain_mut(|link| match &mut link.open {
            Some(open) => !matches!(
                open.session.look(&link.connection.name),
                Event::Ended | Event::Done(_)
            ),
            None => false,
        });
    }
    info!("stopped");
}

/// One connection, open or to be opened again.
struct Link<'a> {
    connection: &'a Connection,
    addresses: Addresses,
    open: Option<Open<'a>>,
    /// When to dial again.
    next: Instant,
    /// The next pause while something is wrong.
    pause: Duration,
    /// When the last session began in which the integration said something.
    met: Option<Instant>,
    /// The pause after it.
    rest: Duration,
    said: Said,
}

/// A session, and what is to come of it.
struct Open<'a> {
    session: Session,
    /// A request that waits for a person.
    waiting: Option<Waiting<'a>>,
    /// Since when a refusal waits for the integration to close.
    refused: Option<Instant>,
    /// Whether the answer was that none of the keys is held here.
    keyless: bool,
    /// Since when it is open.
    since: Instant,
}

struct Waiting<'a> {
    asked: Box<Asked<'a>>,
    /// The question, once it is shown.
    question: Option<Question<'a>>,
}

impl<'a> Link<'a> {
    fn new(connection: &'a Connection, now: Instant) -> Link<'a> {
        Link {
            connection,
            addresses: Addresses::default(),
            open: None,
            next: now,
            pause: IDLE,
            met: None,
            rest: IDLE,
            said: Said::default(),
        }
    }

    /// Dials if it is time, or looks at the open session; how that session ended, if it ended with a result.
    fn turn(
        &mut self,
        config: &Config,
        desk: &mut Desk<'a>,
        world: World<'_>,
        until: Until,
    ) -> Option<Exit> {
        let now = world.clock.instant();
        let Some(open) = &mut self.open else {
            if now >= self.next {
                self.dial(config, world);
            }
            return None;
        };
        let outcome = match open.session.look(&self.connection.name) {
            Event::Quiet => {
                let patience = match until {
                    Until::OneSession => LAST_WORDS,
                    Until::Forever => REFUSED_TIME,
                };
                if now.saturating_duration_since(open.refused?) < patience {
                    return None;
                }
                None
            }
            Event::Asked(request) => {
                self.said = Said::default();
                match desk.receive(self.connection, *request) {
                    Step::Answer(answer) => {
                        open.answer(&answer, world);
                        if !matches!(answer, FromSigner::Error { .. }) {
                            return None;
                        }
                        // It is the end of the session.
                        None
                    }
                    Step::Ask(asked) => {
                        open.waiting = Some(Waiting {
                            asked,
                            question: None,
                        });
                        return None;
                    }
                }
            }
            Event::Done(outcome) => Some(outcome),
            Event::Ended => None,
        };
        let refused = open.refused.is_some();
        let keyless = open.keyless;
        if open.session.has_spoken() {
            self.rest = rest(self.rest, self.met, open.since);
            self.met = Some(open.since);
            self.next = world.clock.instant() + self.rest;
        } else {
            // It was cut off, as in a crowd of strangers, and left nothing in any log.
            self.next = world.clock.instant() + IDLE;
        }
        // Whatever ended it: a question never outlives the session that asked it.
        let reason = "the integration waited no longer, before a person had answered";
        let withdrawn = open.withdraw(self.connection, desk, reason);
        self.open = None;
        self.say(Level::Info, "the session is over", now);
        match outcome {
            _ if refused => Some(Exit::Refused),
            Some(Outcome::Committed | Outcome::NotNeeded) => Some(Exit::Done),
            Some(Outcome::Failed) | None => (withdrawn || keyless).then_some(Exit::Refused),
        }
    }

    /// Puts the question to the person.
    fn ask(&mut self, desk: &mut Desk<'_>, world: World<'a>) {
        let Some(open) = &mut self.open else { return };
        let Some(waiting) = &mut open.waiting else {
            return;
        };
        match Question::ask(world.input, waiting.asked.question(self.connection)) {
            Ok(question) => waiting.question = Some(question),
            Err(reason) => open.decide(self.connection, Err(reason), desk, world),
        }
    }

    /// Goes on with the request if the person has answered.
    fn look_for_answer(&mut self, desk: &mut Desk<'_>, world: World<'_>) {
        let Some(open) = &mut self.open else { return };
        let question = open
            .waiting
            .as_mut()
            .and_then(|waiting| waiting.question.as_mut());
        if let Some(verdict) = question.and_then(Question::look) {
            open.decide(self.connection, verdict, desk, world);
        }
    }

    fn dial(&mut self, config: &Config, world: World<'_>) {
        let dialed = Session::dial(config, self.connection, &mut self.addresses, world.stop);
        // Dialing takes time, and what follows counts from its end.
        let now = world.clock.instant();
        match dialed {
            Ok(session) => {
                self.say(Level::Info, "connected", now);
                self.open = Some(Open {
                    session,
                    waiting: None,
                    refused: None,
                    keyless: false,
                    since: now,
                });
                self.pause = IDLE;
            }
            Err(_) if world.stop.is_set() => {}
            Err(error) => {
                let level = match error {
                    DialError::Idle => {
                        self.pause = IDLE;
                        self.next = now + IDLE;
                        Level::Info
                    }
                    // In a crowd of strangers that is bad luck, and the next try may have more.
                    DialError::Closed => {
                        self.next = now + IDLE;
                        Level::Warn
                    }
                    DialError::Unreachable(_)
                    | DialError::WebSocket(_)
                    | DialError::Noise(_)
                    | DialError::Slow => {
                        self.next = now + jittered(self.pause);
                        self.pause = self.pause.saturating_mul(2).min(LONGEST);
                        Level::Warn
                    }
                };
                self.say(level, &chain(&error), now);
            }
        }
    }

    /// Logs a change of the connection's state.
    fn say(&mut self, level: Level, line: &str, now: Instant) {
        if self.said.is_news(line, now) {
            log!(level, "{}: {line}", self.connection.name);
        }
    }
}

impl Open<'_> {
    /// Whether a person sees the question.
    fn is_asked(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.question.is_some())
    }

    /// Sends the answer to the request. A failure shows at the next look.
    fn answer(&mut self, answer: &FromSigner, world: World<'_>) {
        let refused = matches!(answer, FromSigner::Refused { .. });
        // The next start may find it otherwise: a key may just have been kept from signing.
        if refused && world.stop.is_set() {
            return;
        }
        if refused {
            self.refused = Some(world.clock.instant());
        }
        if let FromSigner::Signatures { signatures, .. } = answer {
            self.keyless = signatures.is_empty();
        }
        self.session.answer(answer);
    }

    fn decide(
        &mut self,
        connection: &Connection,
        verdict: Result<(), &'static str>,
        desk: &mut Desk<'_>,
        world: World<'_>,
    ) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let answer = match verdict {
            Ok(()) => desk.sign(connection, &waiting.asked),
            Err(reason) => desk.refuse(connection, &waiting.asked, reason),
        };
        self.answer(&answer, world);
    }

    /// Takes back a request that waits for a person, for a `reason`; whether there was one.
    fn withdraw(&mut self, connection: &Connection, desk: &mut Desk<'_>, reason: &str) -> bool {
        if self.is_asked() {
            terminal::tell("\n(the question is withdrawn)");
        }
        match self.waiting.take() {
            // There is nobody left to be told.
            Some(waiting) => {
                let _ = desk.refuse(connection, &waiting.asked, reason);
                true
            }
            None => false,
        }
    }
}

/// The pause after a session that began `now`, when it was `before` after one that began at `met`.
fn rest(before: Duration, met: Option<Instant>, now: Instant) -> Duration {
    match met {
        Some(met) if now.saturating_duration_since(met) < CALM => {
            before.saturating_mul(2).min(LONGEST)
        }
        _ => IDLE,
    }
}

/// What was logged about a connection since its last request. A state that lasts is logged once, and states that alternate
/// once in a while each.
#[derive(Default)]
struct Said {
    now: String,
    before: VecDeque<(String, Instant)>,
}

impl Said {
    /// How long a line is not said again.
    const SILENCE: Duration = Duration::from_secs(600);
    /// How many lines are remembered.
    const MOST: usize = 8;

    /// Whether `line` is worth a line.
    fn is_news(&mut self, line: &str, now: Instant) -> bool {
        if self.now == line {
            return false;
        }
        line.clone_into(&mut self.now);
        self.before
            .retain(|(_, at)| now.saturating_duration_since(*at) < Said::SILENCE);
        if self.before.iter().any(|(said, _)| said == line) {
            return false;
        }
        if self.before.len() >= Said::MOST {
            self.before.pop_front();
        }
        self.before.push_back((line.to_owned(), now));
        true
    }
}

/// Between three quarters of `pause` and all of it, so that many services do not knock in step.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random bytes the pause is whole, which is as good.
    let part = match getrandom::fill(&mut random) {
        Ok(()) => u32::from(random[0]),
        Err(_) => 0,
    };
    pause.saturating_sub(pause / 1024 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_jittered_within_bounds() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST);
            assert!(pause <= LONGEST && pause >= LONGEST * 3 / 4, "{pause:?}");
        }
    }

    /// A yes that comes late for a question must not be taken for an answer to the next.
    #[test]
    fn a_pause_follows_each_question_from_when_it_is_seen_to_be_gone() {
        let start = Instant::now();
        let mut turns = Turns {
            is_asked: false,
            next: start,
        };
        let at = |ms| start + Duration::from_millis(ms);
        assert!(turns.may_ask(false, at(0)));
        assert!(!turns.may_ask(true, at(20)));
        // For five seconds something else had the thread; meanwhile the question was withdrawn.
        assert!(!turns.may_ask(false, at(5020)));
        assert!(!turns.may_ask(false, at(6019)));
        assert!(turns.may_ask(false, at(6020)));
        assert!(!turns.may_ask(true, at(6040)));
        assert!(!turns.may_ask(false, at(6060)));
        assert!(turns.may_ask(false, at(7060)));
    }

    #[test]
    fn sessions_that_come_thick_and_fast_are_spaced() {
        let start = Instant::now();
        let mut sessions = 0;
        let (mut now, mut met, mut last) = (start, None, IDLE);
        // An hour of an integration that is always there, and is done at once.
        while now < start + Duration::from_secs(3600) {
            last = rest(last, met, now);
            met = Some(now);
            sessions += 1;
            now += last;
        }
        assert!(sessions <= 3600 / 5 + 3, "{sessions}");
        assert_eq!(rest(last, met, now + CALM), IDLE);
    }

    #[test]
    fn a_state_is_logged_once_however_often_it_comes_back() {
        let start = Instant::now();
        let mut said = Said::default();
        let mut lines = 0;
        // An hour in which three states take turns every second.
        for second in 0..3600 {
            let line = ["connected", "the session is over", "nobody listens"][second % 3];
            let now = start + Duration::from_secs(second.try_into().unwrap());
            lines += usize::from(said.is_news(line, now));
        }
        assert_eq!(lines, 3 * 6);
        // And one in which each is another.
        let mut most = 0;
        for second in 0..3600_u64 {
            let now = start + Duration::from_secs(3600 + second);
            said.is_news(&second.to_string(), now);
            most = most.max(said.before.len());
        }
        assert_eq!(most, Said::MOST);
    }

    #[test]
    fn a_state_that_lasts_is_logged_once() {
        let start = Instant::now();
        let mut said = Said::default();
        let times = (0..100_000_u64).map(|second| start + Duration::from_secs(second));
        let lines = times.filter(|now| said.is_news("idle", *now)).count();
        assert_eq!(lines, 1);
    }
}
