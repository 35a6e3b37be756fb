//! One account's trades in one pair, as the BitMart exchange tells them: completely, or not at all. What cannot be
//! read in full, contradicts itself or comes from a filter that was not understood is an error, never a shorter list.
//! Which trades are settled, counted or issued already is not decided here.
//!
//! [`Key`] is the account's key file (`endpoint` reads the address in it), [`Client`] asks, [`History`] is the answer.
//! Inside, `session` sends (pace, repeats, clock), `class` judges answers and `failure` is one that was no answer, `wire`
//! reads their JSON field by `field`, `v4` and `v2` know what to ask in each dialect, `auth` signs it, and `found` counts
//! each trade once. `record` keeps answers for the time when nobody answers any more. Nothing of BitMart's JSON leaves
//! this room but into that file.

mod auth;
pub(crate) mod class;
mod client;
pub(crate) mod endpoint;
mod error;
mod failure;
mod field;
mod found;
mod key;
mod record;
mod session;
mod v2;
mod v4;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::napu::Napu;

#[cfg(test)]
pub(crate) use auth::{v2_client_secret, v4_sign};
pub use client::Client;
pub use error::Error;
pub use failure::Said;
pub use key::{Key, KeyError};
pub use record::{RecordError, Recording};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Which of the exchange's two APIs is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// 2018 to 2020: bearer tokens, pages, and a side that only the order knows.
    V2,
    /// The current one: signed requests and time windows.
    V4,
}

impl Dialect {
    fn name(self) -> &'static str {
        match self {
            Dialect::V2 => "v2",
            Dialect::V4 => "v4",
        }
    }

    /// The dialect of that name, as `Display` prints it.
    pub fn parse(text: &str) -> Option<Dialect> {
        match text {
            "v2" => Some(Dialect::V2),
            "v4" => Some(Dialect::V4),
            _ => None,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What makes a trade the same trade, however often and wherever it comes. Both numbers are needed: the two sides of
/// a trade with oneself share the first. Neither is an order in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TradeId {
    /// The trade's own number.
    pub trade: u64,
    /// The number of the account's order that it filled.
    pub order: u64,
}

impl fmt::Display for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trade {} (order {})", self.trade, self.order)
    }
}

/// The account's side of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Bought. The amount of a purchase is never read.
    Buy,
    /// Sold.
    Sell {
        /// How much, before fees.
        quantity: Napu,
    },
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Buy => f.write_str("a purchase"),
            Side::Sell { quantity } => write!(f, "a sale of {quantity}"),
        }
    }
}

/// One trade of the account in the pair that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// Its identity.
    pub id: TradeId,
    /// When it happened, by the exchange's clock, in ms since 1970. In `v2` these are whole seconds.
    pub time_ms: u64,
    /// What the account did in it.
    pub side: Side,
}

/// From when on trades are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// All that the exchange still has: in `v2` its whole list, in `v4` 91 days, a day or so more than the three months
    /// that it is said to keep.
    Beginning,
    /// Every trade at or after this time, in ms since 1970.
    Time(u64),
}

/// Every trade since the time asked for.
#[derive(Debug, Clone)]
pub struct History {
    /// Each trade once, by time, then by id. Some may be older than asked for.
    pub trades: Vec<Trade>,
    /// The dialect it was read in. Ids of one dialect mean nothing in the other.
    pub dialect: Dialect,
    /// The run's now; by the exchange's clock (half a second into the past) if ours had to be corrected.
    pub now_ms: u64,
}

impl History {
    /// From when on nothing is missing, if everything was wanted. What is shown proves that what came after it is, too.
    pub fn complete_from_ms(&self) -> u64 {
        let oldest = self.trades.first().map_or(u64::MAX, |trade| trade.time_ms);
        match self.dialect {
            Dialect::V2 => 0,
            Dialect::V4 => oldest.min(self.now_ms.saturating_sub(v4::KEPT_FOR_CERTAIN_MS)),
        }
    }
}
