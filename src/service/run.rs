//! Keeps the connections of the service going, all of them in one thread.
//!
//! An open connection gets a short look in each round (20 ms at most), so several are served at the same time. Dialing
//! blocks the others, for 5 s at most beside what resolving a name takes: give connections whose host is often
//! unreachable a service of their own.

use std::time::{Duration, Instant};

use log::{Level, info, log};

use super::config::{Config, Connection};
use super::dial::DialError;
use super::session::{Event, Session};
use crate::clock::Clock;
use crate::error::{Exit, chain};
use crate::signer::Outcome;

/// The pause after a refused connection, which is the normal idle state, and after a session.
const IDLE: Duration = Duration::from_secs(1);
/// The longest pause while something is wrong.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a service that is about to end because it refused waits for the integration to close.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// When [`run`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Forever,
    /// After one session that ended well, or one refusal.
    OneSession,
}

/// Serves the connections of `config`: [`Exit::Done`] after a session whose transaction is on the chain or was not
/// needed, [`Exit::Refused`] after a refusal.
pub fn run(config: &Config, clock: &dyn Clock, until: Until) -> Exit {
    let now = clock.instant();
    let mut links: Vec<Link<'_>> = config
        .connections
        .iter()
        .map(|connection| Link::new(connection, now))
        .collect();
    for link in &links {
        info!("{}: dialing {}", link.connection.name, link.connection.url);
    }
    loop {
        for link in &mut links {
            match (link.turn(config, clock.instant()), until) {
                (Some(exit), Until::OneSession) => return exit,
                (Some(_), Until::Forever) | (None, _) => {}
            }
        }
        // An open connection waits by itself, in its look.
        if links.iter().all(|link| link.session.is_none()) {
            let now = clock.instant();
            let next = links.iter().map(|link| link.next).min().unwrap_or(now);
            clock.sleep(next.saturating_duration_since(now));
        }
    }
}

/// One connection, open or to be opened again.
struct Link<'a> {
    connection: &'a Connection,
    session: Option<Session>,
    /// When to dial again.
    next: Instant,
    /// The next pause while something is wrong.
    pause: Duration,
    /// The last line that was logged about dialing, so that each state is logged once.
    said: String,
    /// Since when a refusal waits for the integration to close.
    refused: Option<Instant>,
}

impl<'a> Link<'a> {
    fn new(connection: &'a Connection, now: Instant) -> Link<'a> {
        Link {
            connection,
            session: None,
            next: now,
            pause: IDLE,
            said: String::new(),
            refused: None,
        }
    }

    /// Dials if it is time, or looks at the open session; how that session ended, if it ended with a result.
    fn turn(&mut self, config: &Config, now: Instant) -> Option<Exit> {
        let name = self.connection.name.as_str();
        let Some(session) = &mut self.session else {
            if now >= self.next {
                self.dial(config, now);
            }
            return None;
        };
        let result = match session.look(config, name) {
            Event::Quiet => {
                let since = self.refused?;
                if now.saturating_duration_since(since) < LAST_WORDS {
                    return None;
                }
                Some(Exit::Refused)
            }
            Event::Signed => return None,
            Event::Refused => {
                self.refused = Some(now);
                return None;
            }
            _ if self.refused.is_some() => Some(Exit::Refused),
            Event::Done(Outcome::Committed | Outcome::NotNeeded) => Some(Exit::Done),
            Event::Done(Outcome::Failed) | Event::Ended => None,
        };
        info!("{name}: the session is over");
        self.session = None;
        self.refused = None;
        self.said.clear();
        self.next = now + IDLE;
        result
    }

    fn dial(&mut self, config: &Config, now: Instant) {
        match Session::dial(config, self.connection) {
            Ok(session) => {
                info!("{}: connected", self.connection.name);
                self.session = Some(session);
                self.pause = IDLE;
                self.said.clear();
            }
            Err(error) => {
                let line = chain(&error);
                let level = if matches!(error, DialError::Idle) {
                    self.pause = IDLE;
                    self.next = now + IDLE;
                    Level::Info
                } else {
                    self.next = now + jittered(self.pause);
                    self.pause = self.pause.saturating_mul(2).min(LONGEST);
                    Level::Warn
                };
                if line != self.said {
                    log!(level, "{}: {line}", self.connection.name);
                    self.said = line;
                }
            }
        }
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
}
