//! The v4 dialect: trades by time window. Neither the order of an answer, nor whether its bounds are inclusive, nor which
//! trades a full answer leaves out is documented. So windows overlap, each trade is counted once, and a full answer's
//! window is asked again in halves.

use serde::Serialize;

use super::class::Call;
use super::error::Error;
use super::failure::Failure;
use super::found::Found;
use super::session::Session;
use super::wire::{self, Row, Way};
use super::{DAY_MS, Since, auth};
use crate::clock::utc;
use crate::quote::excerpt;

const PATH: &str = "/spot/v4/query/trades";

/// The most that one answer holds.
pub(super) const LIMIT: usize = 200;
/// The exchange's default; how old a request may be when it arrives, in ms.
const RECV_WINDOW_MS: u64 = 5000;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// What one window brings forward. With the two milliseconds of overlap a request spans the 7 days that are the
/// exchange's own default, so no widest window can be narrower.
const STEP_MS: u64 = 7 * DAY_MS - 1;
/// 13 windows, 91 days. The exchange is documented, weakly, to keep three months; these are 92 days at most, and asking
/// further back may be refused or silently clipped.
const BEGINNING_MS: u64 = 13 * STEP_MS;
/// Older than this, a window may reach over the edge of what is kept.
pub(super) const KEPT_FOR_CERTAIN_MS: u64 = 85 * DAY_MS;

/// 'Out of query time range'.
const OUT_OF_RANGE: i64 = 50041;

/// The milliseconds from `first` to `last`, both wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    first: u64,
    last: u64,
}

impl Window {
    /// The next window: from `first`, not beyond `now_ms`.
    fn from(first: u64, now_ms: u64) -> Window {
        Window {
            first,
            last: first.saturating_add(STEP_MS - 1).min(now_ms),
        }
    }

    /// The bounds to ask for so that all of it comes whether they are inclusive or not.
    fn asked(self) -> (u64, u64) {
        (self.first.saturating_sub(1), self.last.saturating_add(1))
    }

    /// The older and the newer half, or `None` for a single millisecond.
    fn halves(self) -> Option<(Window, Window)> {
        let middle = self.first + (self.last - self.first) / 2;
        (self.first < self.last).then_some((
            Window {
                last: middle,
                ..self
            },
            Window {
                first: middle + 1,
                ..self
            },
        ))
    }
}

/// Parameters that are misspelt are ignored without an error.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Query<'a> {
    symbol: &'a str,
    start_time: u64,
    end_time: u64,
    limit: usize,
    recv_window: u64,
}

/// What became of a window.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// All its trades are found.
    Read,
    /// It begins before what the exchange keeps.
    OutOfRange,
}

/// Refuses a start that lies outside what the exchange is sure to have.
pub(super) fn refuse_gone(since: Since, now_ms: u64) -> Result<(), Error> {
    match since {
        Since::Time(since_ms) if since_ms < now_ms.saturating_sub(KEPT_FOR_CERTAIN_MS) => {
            Err(Error::HistoryGone { since_ms, now_ms })
        }
        _ => Ok(()),
    }
}

/// All trades since `since`.
pub(super) fn fetch(
    session: &mut Session<'_>,
    symbol: &str,
    limit: usize,
    since: Since,
) -> Result<Found, Failure> {
    let first = match since {
        Since::Time(time_ms) => time_ms,
        Since::Beginning => (session.run_now_ms() + 1).saturating_sub(BEGINNING_MS),
    };
    let mut reader = Reader {
        session,
        symbol,
        limit,
        since,
        found: Found::default(),
        any_read: false,
    };
    let mut next = first;
    // The run's now may be corrected by the first answer; it is looked at anew for each window.
    while next <= reader.session.run_now_ms() {
        let window = Window::from(next, reader.session.run_now_ms());
        if reader.read(window)? == Outcome::OutOfRange {
            reader.read_from_the_edge(window)?;
        }
        next = window.last.saturating_add(1);
    }
    Ok(reader.found)
}

struct Reader<'s, 'a> {
    session: &'s mut Session<'a>,
    symbol: &'s str,
    limit: usize,
    since: Since,
    found: Found,
    /// Whether any window was read: what is out of range after that is no edge of history.
    any_read: bool,
}

impl Reader<'_, '_> {
    /// Reads `window`, in parts as small as it takes.
    fn read(&mut self, window: Window) -> Result<Outcome, Failure> {
        let mut parts = vec![window];
        while let Some(part) = parts.pop() {
            let rows = match self.ask(part) {
                Err(Failure::Rejected(no)) if no.said.code == Some(OUT_OF_RANGE) => {
                    if part == window {
                        return Ok(Outcome::OutOfRange);
                    }
                    return Err(self.gone(part).into());
                }
                rows => rows?,
            };
            // All rows are counted, also those of a full answer: they are trades, whatever else is missing.
            for row in &rows {
                self.found.add(row.trade(row.side)?)?;
            }
            self.session.report(self.found.len());
            if rows.len() >= self.limit {
                let (older, newer) = part.halves().ok_or(Error::Crowded {
                    time_ms: part.first,
                    limit: self.limit,
                })?;
                parts.extend([newer, older]);
            }
        }
        self.any_read = true;
        Ok(Outcome::Read)
    }

    /// Reads what the exchange still has of a `window` that begins before what it keeps: halves it down to an hour
    /// around the edge. Only where everything is wanted is that an answer and not a loss.
    fn read_from_the_edge(&mut self, window: Window) -> Result<(), Failure> {
        let certain = self
            .session
            .run_now_ms()
            .saturating_sub(KEPT_FOR_CERTAIN_MS);
        let may_be_gone = |window: Window| {
            self.since == Since::Beginning && !self.any_read && window.first < certain
        };
        if !may_be_gone(window) {
            return Err(self.gone(window).into());
        }
        let mut gone = window;
        while gone.last - gone.first > HOUR_MS {
            let Some((older, newer)) = gone.halves() else {
                break;
            };
            gone = match self.read(newer)? {
                Outcome::Read => older,
                Outcome::OutOfRange if newer.first < certain => newer,
                Outcome::OutOfRange => return Err(self.gone(newer).into()),
            };
        }
        log::warn!(
            "the exchange's history of this account starts about {}",
            utc(gone.last)
        );
        Ok(())
    }

    fn gone(&self, window: Window) -> Error {
        Error::HistoryGone {
            since_ms: window.first,
            now_ms: self.session.run_now_ms(),
        }
    }

    /// The answer for one window, which may be cut.
    fn ask(&mut self, window: Window) -> Result<Vec<Row<Way>>, Failure> {
        let (start_time, end_time) = window.asked();
        let body = serde_json::to_vec(&Query {
            symbol: self.symbol,
            start_time,
            end_time,
            limit: self.limit,
            recv_window: RECV_WINDOW_MS,
        })
        .expect("a text and four numbers are JSON");
        let response = self.session.ask(Call::V4Trades, &|session, timestamp_ms| {
            let key = session.key();
            let headers = vec![
                ("Content-Type", "application/json".to_owned()),
                ("X-BM-KEY", key.access().to_owned()),
                ("X-BM-TIMESTAMP", timestamp_ms.to_string()),
                ("X-BM-SIGN", auth::v4_sign(key, timestamp_ms, &body)),
            ];
            session.request(PATH, headers, Some(body.clone()))
        })?;
        let rows = wire::v4_trades(&response.body)?;
        let stranger = rows.iter().find(|row| {
            row.symbol != self.symbol || row.time_ms < start_time || row.time_ms > end_time
        });
        match stranger {
            Some(row) => Err(Error::FilterIgnored {
                trade: row.id,
                symbol: excerpt(&row.symbol),
                time_ms: row.time_ms,
            }
            .into()),
            None => Ok(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_millisecond_and_span_seven_days_at_most() {
        let now = 1_762_560_000_000;
        for (since, expected) in [
            (now, 1),
            (now - STEP_MS + 1, 1),
            (now - STEP_MS, 2),
            (now - BEGINNING_MS + 1, 13),
            (now - 85 * DAY_MS, 13),
        ] {
            let (mut next, mut count) = (since, 0);
            while next <= now {
                let window = Window::from(next, now);
                let (start, end) = window.asked();
                assert!(start < window.first && end > window.last);
                assert!(end - start <= 7 * DAY_MS);
                next = window.last + 1;
                count += 1;
            }
            assert_eq!((next, count), (now + 1, expected));
        }
    }

    #[test]
    fn halves_leave_nothing_out_and_end_at_one_millisecond() {
        for last in 5..40u64 {
            let mut parts = vec![Window { first: 5, last }];
            let mut covered = Vec::new();
            while let Some(part) = parts.pop() {
                match part.halves() {
                    Some((older, newer)) => parts.extend([newer, older]),
                    None => covered.push(part.first),
                }
            }
            assert_eq!(covered, (5..=last).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_start_that_may_be_gone_is_refused() {
        let now = 100 * DAY_MS;
        assert!(refuse_gone(Since::Time(15 * DAY_MS), now).is_ok());
        assert!(matches!(
            refuse_gone(Since::Time(15 * DAY_MS - 1), now),
            Err(Error::HistoryGone { .. })
        ));
        assert!(refuse_gone(Since::Beginning, now).is_ok());
    }
}
