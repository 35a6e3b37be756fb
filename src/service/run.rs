//! Keeps the connections of the service going, all of them in one thread.
//!
//! An open connection gets a short look in each round (20 ms at most), so several are served at the same time, also while a
//! person is asked. Dialing blocks the others, for 5 s at most beside what resolving a name takes, and so does a key that
//! takes its time: give connections whose host is often unreachable a service of their own.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use log::{Level, info, log};

use super::answer::{Asked, Desk, Step};
use super::config::{Config, Connection};
use super::dial::DialError;
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
/// The longest pause while something is wrong.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a service that is about to end because it refused waits for the integration to close.
const LAST_WORDS: Duration = Duration::from_secs(5);
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
    for link in &links {
        info!("{}: dialing {}", link.connection.name, link.connection.url);
    }
    let mut desk = Desk::new(config, log, clock, stop);
    let mut next_question = now;
    loop {
        for link in &mut links {
            // A turn can take long.
            if stop.is_set() {
                break;
            }
            match (link.turn(config, &mut desk, world), until) {
                (Some(exit), Until::OneSession) => return exit,
                (Some(_), Until::Forever) | (None, _) => {}
            }
        }
        if stop.is_set() {
            leave(links, &mut desk, clock);
            return Exit::Done;
        }
        consult(&mut links, &mut desk, world, &mut next_question);
        // An open connection waits by itself, in its look.
        if links.iter().all(|link| link.session.is_none()) {
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

/// Asks the person about the request that has waited longest in the order of the connections, or looks for the answer.
fn consult<'a>(
    links: &mut [Link<'a>],
    desk: &mut Desk<'_>,
    world: World<'a>,
    next_question: &mut Instant,
) {
    let now = world.clock.instant();
    let waiting = |link: &Link<'_>| (link.waiting.is_some(), link.is_shown());
    if let Some(link) = links.iter_mut().find(|link| waiting(link).1) {
        *next_question = now + BETWEEN_QUESTIONS;
        link.look_for_answer(desk, world);
    } else if now >= *next_question
        && let Some(link) = links.iter_mut().find(|link| waiting(link).0)
    {
        link.ask(desk, world);
    }
}

/// Closes what is open, and waits a moment for the other sides to see it: a connection that is dropped with something
/// unread in it takes with it what was just sent.
fn leave(mut links: Vec<Link<'_>>, desk: &mut Desk<'_>, clock: &dyn Clock) {
    info!("told to stop");
    for link in &mut links {
        link.withdraw(desk, "the service was stopped before a person had answered");
        if let Some(session) = &mut link.session {
            session.leave();
        }
    }
    let until = clock.instant() + FAREWELL;
    links.retain(|link| link.session.is_some());
    while !links.is_empty() && clock.instant() < until {
        links.retain_mut(|link| match &mut link.session {
            Some(session) => !matches!(
                session.look(&link.connection.name),
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
    session: Option<Session>,
    /// When to dial again.
    next: Instant,
    /// The next pause while something is wrong.
    pause: Duration,
    said: Said,
    /// A request that waits for a person.
    waiting: Option<Waiting<'a>>,
    /// Since when a refusal waits for the integration to close.
    refused: Option<Instant>,
}

struct Waiting<'a> {
    asked: Box<Asked>,
    /// The question, once it is shown.
    question: Option<Question<'a>>,
}

impl<'a> Link<'a> {
    fn new(connection: &'a Connection, now: Instant) -> Link<'a> {
        Link {
            connection,
            session: None,
            next: now,
            pause: IDLE,
            said: Said::default(),
            waiting: None,
            refused: None,
        }
    }

    /// Dials if it is time, or looks at the open session; how that session ended, if it ended with a result.
    fn turn(&mut self, config: &Config, desk: &mut Desk<'_>, world: World<'_>) -> Option<Exit> {
        let now = world.clock.instant();
        let Some(session) = &mut self.session else {
            if now >= self.next {
                self.dial(config, world);
            }
            return None;
        };
        let result = match session.look(&self.connection.name) {
            Event::Quiet => {
                let since = self.refused?;
                if now.saturating_duration_since(since) < LAST_WORDS {
                    return None;
                }
                Some(Exit::Refused)
            }
            Event::Asked(request) => {
                self.said = Said::default();
                match desk.receive(self.connection, *request) {
                    Step::Answer(answer) => {
                        self.answer(&answer, world);
                        if !matches!(answer, FromSigner::Error { .. }) {
                            return None;
                        }
                        // It is the end of the session.
                        None
                    }
                    Step::Ask(asked) => {
                        self.waiting = Some(Waiting {
                            asked,
                            question: None,
                        });
                        return None;
                    }
                }
            }
            Event::Done(Outcome::Committed | Outcome::NotNeeded) if self.refused.is_none() => {
                Some(Exit::Done)
            }
            Event::Done(_) | Event::Ended => {
                let withdrawn =
                    self.withdraw(desk, "the integration left before a person had answered");
                (withdrawn || self.refused.is_some()).then_some(Exit::Refused)
            }
        };
        self.say(Level::Info, "the session is over", now);
        self.session = None;
        self.refused = None;
        self.next = world.clock.instant() + IDLE;
        result
    }

    /// Sends the answer to the request of the open session. A failure shows at the next look.
    fn answer(&mut self, answer: &FromSigner, world: World<'_>) {
        let refused = matches!(answer, FromSigner::Refused { .. });
        // The next start may find it otherwise: a key may just have been kept from signing.
        if refused && world.stop.is_set() {
            return;
        }
        if refused {
            self.refused = Some(world.clock.instant());
        }
        if let Some(session) = &mut self.session {
            session.answer(answer);
        }
    }

    fn is_shown(&self) -> bool {
        let question = self.waiting.as_ref().map(|waiting| &waiting.question);
        question.is_some_and(Option::is_some)
    }

    /// Puts the question to the person.
    fn ask(&mut self, desk: &mut Desk<'_>, world: World<'a>) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        match Question::ask(world.input, waiting.asked.question(self.connection)) {
            Ok(question) => waiting.question = Some(question),
            Err(reason) => self.decide(Err(reason), desk, world),
        }
    }

    /// Goes on with the request if the person has answered.
    fn look_for_answer(&mut self, desk: &mut Desk<'_>, world: World<'_>) {
        let question = self
            .waiting
            .as_mut()
            .and_then(|waiting| waiting.question.as_mut());
        if let Some(verdict) = question.and_then(Question::look) {
            self.decide(verdict, desk, world);
        }
    }

    fn decide(&mut self, verdict: Result<(), &'static str>, desk: &mut Desk<'_>, world: World<'_>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let answer = match verdict {
            Ok(()) => desk.sign(self.connection, &waiting.asked),
            Err(reason) => desk.refuse(self.connection, &waiting.asked, reason),
        };
        self.answer(&answer, world);
    }

    /// Takes back a request that waits for a person, for a `reason`; whether there was one.
    fn withdraw(&mut self, desk: &mut Desk<'_>, reason: &str) -> bool {
        if self.is_shown() {
            terminal::tell("\n(the question is withdrawn)");
        }
        match self.waiting.take() {
            // There is nobody left to be told.
            Some(waiting) => {
                let _ = desk.refuse(self.connection, &waiting.asked, reason);
                true
            }
            None => false,
        }
    }

    fn dial(&mut self, config: &Config, world: World<'_>) {
        let dialed = Session::dial(config, self.connection, world.stop);
        // Dialing takes time, and what follows counts from its end.
        let now = world.clock.instant();
        match dialed {
            Ok(session) => {
                self.say(Level::Info, "connected", now);
                self.session = Some(session);
                self.pause = IDLE;
            }
            Err(_) if world.stop.is_set() => {}
            Err(error) => {
                let level = if matches!(error, DialError::Idle) {
                    self.pause = IDLE;
                    self.next = now + IDLE;
                    Level::Info
                } else {
                    self.next = now + jittered(self.pause);
                    self.pause = self.pause.saturating_mul(2).min(LONGEST);
                    Level::Warn
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
