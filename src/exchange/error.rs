//! Why there is no history. Every variant says what was found and what the reader can do.

use std::error::Error as StdError;
use std::fmt;

use super::failure::Said;
use super::{DAY_MS, Dialect, Trade, TradeId};
use crate::clock::utc;
use crate::error::Exit;
use crate::http;
use crate::napu::ParseNapuError;

/// Why there is no history. Where a variant is about what the exchange says of the trades themselves, nothing can be
/// issued until the exchange says otherwise or a person has found out what is true: compare the trades it names with the
/// account's statements and ask the exchange.
#[derive(Debug)]
pub enum Error {
    /// The key file and the cursor name different dialects. Ids of one mean nothing in the other: put the key file back
    /// as it was, or start anew from a time that a person has checked.
    DialectChanged {
        /// What the key file says.
        key: Dialect,
        /// What the cursor was made with.
        cursor: Dialect,
    },
    /// The endpoint does not know the API. Look at `endpoint` and `api` in the key file, and whether the exchange
    /// still runs.
    NoApi {
        /// The endpoint.
        endpoint: String,
        /// What was tried there.
        tried: &'static str,
        /// Why nothing else was tried.
        because: &'static str,
    },
    /// The host's clock is plainly wrong: set it.
    HostClock {
        /// The exchange's time less ours, in ms.
        offset_ms: i64,
    },
    /// Trades are wanted from a time that has not come yet: the host's clock is behind, or the cursor is not ours.
    CursorAhead {
        /// From when on trades are wanted.
        since_ms: u64,
        /// Now.
        now_ms: u64,
    },
    /// The exchange no longer has everything since the cursor. A person must account for what was sold meanwhile from the
    /// account's own statements before a newer starting point is set.
    HistoryGone {
        /// From when on trades are wanted.
        since_ms: u64,
        /// Now.
        now_ms: u64,
    },
    /// Nobody answered. The next run tries again.
    Unreachable {
        /// How many times it was asked.
        tries: u32,
        /// What happened the last time.
        source: http::Error,
    },
    /// It answered, but nothing that can be used. The next run tries again.
    Unavailable {
        /// The last answer.
        said: Box<Said>,
        /// How many times it was asked.
        tries: u32,
    },
    /// Our timestamp was refused even after it was corrected: a slow network, or another program that moves the clock.
    Timestamp {
        /// The answer.
        said: Box<Said>,
    },
    /// Too many requests, ours or others' with the same key or address. The next run tries again.
    Busy {
        /// The last answer.
        said: Box<Said>,
    },
    /// Blocked for asking too much. Pause cron for a while if it repeats.
    Banned {
        /// The answer.
        said: Box<Said>,
    },
    /// The exchange is being maintained. The next run tries again.
    Maintenance {
        /// The answer.
        said: Box<Said>,
    },
    /// Turned away by the exchange's front. The next run tries again.
    Cloudflare {
        /// The answer.
        said: Box<Said>,
    },
    /// The key is not accepted, or not for this: the message says what to look at.
    Denied {
        /// The answer.
        said: Box<Said>,
    },
    /// The exchange does not know the pair: look at the configured symbol.
    Symbol {
        /// The answer.
        said: Box<Said>,
    },
    /// The exchange refuses the request, or says what no document explains: a person reads what it says.
    Rejected {
        /// The answer.
        said: Box<Said>,
    },
    /// An answer lacks something we need, or has it in a form that we do not know: the exchange's API has changed, and
    /// this program must follow.
    Field {
        /// Which answer.
        at: &'static str,
        /// The field, as the exchange calls it.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The amount of a sale is not a whole number of napu. Nothing is rounded.
    Amount {
        /// The sale.
        trade: TradeId,
        /// What the exchange wrote.
        text: String,
        /// Why it is no amount.
        source: ParseNapuError,
    },
    /// The same trade came twice, with different content.
    Contradiction {
        /// How it came first.
        first: Trade,
        /// How it came later.
        second: Trade,
    },
    /// The trade and its order do not agree on who sold.
    SideDisagrees {
        /// The trade.
        trade: TradeId,
        /// The trade's own mark.
        mark: String,
        /// The order's side.
        side: &'static str,
    },
    /// A trade came that was not asked for, so our filter was not understood, and what is missing is unknown.
    FilterIgnored {
        /// The trade.
        trade: TradeId,
        /// Its symbol.
        symbol: String,
        /// Its time.
        time_ms: u64,
    },
    /// A trade is later than now. With a clock that far off nothing can be called settled: set the host's clock; if it
    /// is right, ask the exchange.
    Future {
        /// The trade.
        trade: TradeId,
        /// Its time.
        time_ms: u64,
        /// Now.
        now_ms: u64,
    },
    /// More trades at one moment than one answer can hold: the exchange has no way to list them all.
    Crowded {
        /// The moment.
        time_ms: u64,
        /// What one answer can hold.
        limit: usize,
    },
    /// The history does not end. No honest one is as long.
    Endless {
        /// How many requests were sent.
        requests: u64,
    },
    /// The list ended before all the trades that it says it has had come. Run again; ask the exchange if it repeats.
    Incomplete {
        /// How many different trades came.
        read: u64,
        /// How many there are.
        total: u64,
    },
    /// The exchange has listed a trade of less than a minute ago and does not know its order yet. The next run asks
    /// again.
    OrderNotYetKnown {
        /// The trade.
        trade: TradeId,
        /// The answer.
        said: Box<Said>,
    },
    /// The order that would tell the side of a trade cannot be had. Ask the exchange for it.
    OrderNotFound {
        /// The trade.
        trade: TradeId,
        /// The answer.
        said: Box<Said>,
    },
    /// The order that came is not the trade's: another number or another pair.
    WrongOrder {
        /// The trade.
        trade: TradeId,
        /// The number that came.
        order: u64,
        /// Its symbol.
        symbol: String,
    },
}

impl Error {
    /// How the run ends.
    pub fn exit(&self) -> Exit {
        match self {
            Error::DialectChanged { .. }
            | Error::NoApi { .. }
            | Error::HostClock { .. }
            | Error::CursorAhead { .. }
            | Error::Symbol { .. } => Exit::Config,
            Error::Unreachable { .. }
            | Error::Unavailable { .. }
            | Error::Timestamp { .. }
            | Error::Busy { .. }
            | Error::Banned { .. }
            | Error::Maintenance { .. }
            | Error::Cloudflare { .. }
            | Error::OrderNotYetKnown { .. } => Exit::Unavailable,
            Error::Denied { .. } => Exit::Refused,
            Error::HistoryGone { .. }
            | Error::Rejected { .. }
            | Error::Field { .. }
            | Error::Amount { .. }
            | Error::Contradiction { .. }
            | Error::SideDisagrees { .. }
            | Error::FilterIgnored { .. }
            | Error::Future { .. }
            | Error::Crowded { .. }
            | Error::Endless { .. }
            | Error::Incomplete { .. }
            | Error::OrderNotFound { .. }
            | Error::WrongOrder { .. } => Exit::BadData,
        }
    }
}

/// What to look at when the exchange does not let us in.
fn what_to_look_at(said: &Said) -> &'static str {
    match said.code {
        Some(30001 | 30002) => "check `access` in the key file, and that the key still exists",
        Some(30003) => "the key is frozen: unfreeze or replace it in the account's settings",
        Some(30004 | 30005) => {
            "check `secret` and `memo` in the key file (the memo counts to the letter)"
        }
        Some(30010) => "add this host's public address to the key's IP whitelist",
        Some(30011) => "the key has expired: make a new read-only key",
        Some(30012) => "the key may not read trades: make a new read-only key",
        Some(30019 | 53000..=53999) => {
            "the account itself is restricted: its owner must ask the exchange"
        }
        _ => {
            "check `access`, `secret` and `memo` in the key file, the key's IP whitelist and expiry, and the host's clock"
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::DialectChanged { key, cursor } => write!(
                f,
                "the key file asks for the exchange's {key} API, but the cursor was made with {cursor}, whose trade ids \
                 cannot be compared: put `api` back to {cursor}, or start anew from a time checked by a person"
            ),
            Error::NoApi {
                endpoint,
                tried,
                because,
            } => write!(
                f,
                "{endpoint} does not know the exchange's {tried} API (HTTP 404), {because}: check `endpoint` and `api` \
                 in the key file, and whether the exchange still runs"
            ),
            Error::HostClock { offset_ms } => write!(
                f,
                "the host's clock is {} s {} the exchange's: set it (is NTP running?)",
                offset_ms.unsigned_abs() / 1000,
                if *offset_ms > 0 { "behind" } else { "ahead of" }
            ),
            Error::CursorAhead { since_ms, now_ms } => write!(
                f,
                "trades are wanted from {}, but it is only {} by the host's clock: set the clock; if it is right, the \
                 cursor is not from this account",
                utc(*since_ms),
                utc(*now_ms)
            ),
            Error::HistoryGone { since_ms, now_ms } => write!(
                f,
                "trades are wanted from {}, {} days ago by the host's clock, and the exchange keeps about three months: sales \
                 since then may be gone from its API, which is not the same as no sales; account for them from the account's \
                 statements, then set a newer starting point",
                utc(*since_ms),
                now_ms.saturating_sub(*since_ms) / DAY_MS
            ),
            Error::Unreachable { tries, .. } => {
                write!(f, "the exchange cannot be reached ({tries} tries)")
            }
            Error::Unavailable { said, tries } => write!(
                f,
                "the exchange gives no usable answer ({tries} tries; the next run tries again): {said}"
            ),
            Error::Timestamp { said } => write!(
                f,
                "the exchange refuses our time even after correcting it by its own (check the host's clock and the \
                 network): {said}"
            ),
            Error::Busy { said } => write!(
                f,
                "the exchange wants fewer requests (does another program use this key or address? the next run tries \
                 again): {said}"
            ),
            Error::Banned { said } => write!(
                f,
                "the exchange has blocked us for too many requests (stop the cron job for an hour if this repeats): \
                 {said}"
            ),
            Error::Maintenance { said } => write!(
                f,
                "the exchange is under maintenance (the next run tries again): {said}"
            ),
            Error::Cloudflare { said } => write!(
                f,
                "Cloudflare turned us away before the exchange saw the request (the next run tries again; if this \
                 repeats, this host's address is being blocked): {said}"
            ),
            Error::Denied { said } => write!(
                f,
                "the exchange does not let us in ({}): {said}",
                what_to_look_at(said)
            ),
            Error::Symbol { said } => write!(
                f,
                "the exchange does not know the pair (check the configured symbol): {said}"
            ),
            Error::Rejected { said } => write!(
                f,
                "the exchange refuses the request (look its code up, or ask its support with the trace): {said}"
            ),
            Error::Field { at, field, problem } => write!(
                f,
                "`{field}` of {at} is {problem} (has the exchange's API changed? look for a newer version)"
            ),
            Error::Amount { trade, text, .. } => {
                write!(
                    f,
                    "the amount {text:?} of {trade}, a sale, cannot be issued exactly (ask the exchange)"
                )
            }
            Error::Contradiction { first, second } => write!(
                f,
                "{} came twice with different content, as {} at {}, and as {} at {}: compare it with the account's \
                 statements",
                first.id,
                first.side,
                utc(first.time_ms),
                second.side,
                utc(second.time_ms)
            ),
            Error::SideDisagrees { trade, mark, side } => write!(
                f,
                "{trade} has `entrustType` {mark:?}, but the side of its order is {side}: compare it with the \
                 account's statements"
            ),
            Error::FilterIgnored {
                trade,
                symbol,
                time_ms,
            } => write!(
                f,
                "{trade} ({symbol:?}, {}) was not asked for: the exchange did not understand our filter, so its \
                 answers cannot be trusted to be complete",
                utc(*time_ms)
            ),
            Error::Future {
                trade,
                time_ms,
                now_ms,
            } => write!(
                f,
                "{trade} is of {}, but it is only {} by the host's clock: set the clock; if it is right, ask the exchange",
                utc(*time_ms),
                utc(*now_ms)
            ),
            Error::Crowded { time_ms, limit } => write!(
                f,
                "there are {limit} trades or more around {}, as many as one answer can hold, so some may be missing: \
                 account for them from the account's statements",
                utc(*time_ms)
            ),
            Error::Endless { requests } => write!(
                f,
                "the history does not end: {requests} requests brought only part of it (ask the exchange)"
            ),
            Error::Incomplete { read, total } => write!(
                f,
                "the exchange says that {total} trades are there and gave {read} different ones (run again, and ask the \
                 exchange if it repeats)"
            ),
            Error::OrderNotYetKnown { trade, said } => write!(
                f,
                "whether {trade}, which is less than a minute old, is a sale is not known yet (the next run asks \
                 again): {said}"
            ),
            Error::OrderNotFound { trade, said } => write!(
                f,
                "whether {trade} is a sale cannot be learnt (ask the exchange for the order): {said}"
            ),
            Error::WrongOrder {
                trade,
                order,
                symbol,
            } => write!(
                f,
                "asked for the order of {trade}, the exchange gave order {order} in {symbol:?} (ask the exchange)"
            ),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Unreachable { source, .. } => Some(source),
            Error::Amount { source, .. } => Some(source),
            _ => None,
        }
    }
}
