//! The way in: which dialect to speak, and one history from it.

use super::error::Error;
use super::failure::Failure;
use super::found::Found;
use super::session::{LARGEST_OFFSET_MS, Session};
use super::{Dialect, History, Key, Since, v2, v4};
use crate::clock::Clock;
use crate::http::Http;

/// One account in one pair on the exchange.
pub struct Client<'a> {
    http: &'a dyn Http,
    clock: &'a dyn Clock,
    key: &'a Key,
    symbol: &'a str,
    /// The most trades in an answer: smaller only in tests.
    limit_v4: usize,
    limit_v2: usize,
}

/// Why a dialect is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    KeyFile,
    Cursor,
    Guess,
}

impl<'a> Client<'a> {
    /// A client for the pair `symbol`, such as `XND_USDT`. Nothing is sent yet.
    pub fn new(
        http: &'a dyn Http,
        clock: &'a dyn Clock,
        key: &'a Key,
        symbol: &'a str,
    ) -> Client<'a> {
        Client {
            http,
            clock,
            key,
            symbol,
            limit_v4: v4::LIMIT,
            limit_v2: v2::LIMIT,
        }
    }

    #[cfg(test)]
    pub(super) fn with_limit(mut self, limit: usize) -> Client<'a> {
        self.limit_v4 = limit;
        self.limit_v2 = limit;
        self
    }

    /// Every trade from `since` to `now_ms`, the run's now by the host's clock. `known` is the dialect that earlier runs
    /// spoke. Without it and without `api` in the key file v4 is tried, and v2 where v4 is not known.
    ///
    /// # Errors
    /// Whenever it is not certain that all trades came, each exactly as the exchange has it.
    pub fn fetch(
        &self,
        since: Since,
        known: Option<Dialect>,
        now_ms: u64,
    ) -> Result<History, Error> {
        let (dialect, reason) = match (self.key.api(), known) {
            (Some(key), Some(cursor)) if key != cursor => {
                return Err(Error::DialectChanged { key, cursor });
            }
            (Some(dialect), _) => (dialect, Reason::KeyFile),
            (None, Some(dialect)) => (dialect, Reason::Cursor),
            (None, None) => (Dialect::V4, Reason::Guess),
        };
        let since = match since {
            Since::Time(since_ms) if since_ms > now_ms.saturating_add(LARGEST_OFFSET_MS) => {
                return Err(Error::CursorAhead { since_ms, now_ms });
            }
            // A clock that is a little behind is corrected on the way; something must be asked for that.
            Since::Time(since_ms) => Since::Time(since_ms.min(now_ms)),
            Since::Beginning => Since::Beginning,
        };
        let mut session = Session::new(self.http, self.clock, self.key, now_ms);
        let mut spoken = dialect;
        let mut answer = self.speak(&mut session, spoken, since);
        if reason == Reason::Guess && is_unknown_api(&session, &answer) {
            log::info!(
                "{} does not know the exchange's v4 API; speaking v2 with it",
                self.key.endpoint()
            );
            spoken = Dialect::V2;
            answer = self.speak(&mut session, spoken, since);
        }
        if is_unknown_api(&session, &answer) {
            return Err(self.no_api(dialect, reason));
        }
        let found = answer?;
        Ok(History {
            trades: found.into_sorted(),
            dialect: spoken,
            // The host's clock can have stepped back since the run began.
            now_ms: session.run_now_ms().min(session.moment_ms()),
        })
    }

    fn speak(
        &self,
        session: &mut Session<'_>,
        dialect: Dialect,
        since: Since,
    ) -> Result<Found, Failure> {
        match dialect {
            Dialect::V4 => {
                v4::refuse_gone(since, session.run_now_ms())?;
                v4::fetch(session, self.symbol, self.limit_v4, since)
            }
            Dialect::V2 => v2::fetch(session, self.symbol, self.limit_v2, since),
        }
    }

    fn no_api(&self, dialect: Dialect, reason: Reason) -> Error {
        let (tried, because) = match reason {
            Reason::KeyFile => (dialect.name(), "which the key file insists on"),
            Reason::Cursor => (
                dialect.name(),
                "with which the cursor was made, and the ids of another one cannot be compared",
            ),
            Reason::Guess => ("v4 or v2", "and there is no other"),
        };
        Error::NoApi {
            endpoint: self.key.endpoint().to_owned(),
            tried,
            because,
        }
    }
}

/// Whether the very first answer says that the endpoint does not know what we speak.
fn is_unknown_api(session: &Session<'_>, answer: &Result<Found, Failure>) -> bool {
    matches!(answer, Err(Failure::Rejected(no)) if no.said.status == 404) && !session.was_answered()
}
