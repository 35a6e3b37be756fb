//! Which trades are to be issued now: trades, cursor and now become a [`Batch`] and the cursor after it. Pure.
//!
//! The promise: each sale after the cursor's start is in exactly one batch, whatever order trades come in, however
//! often the same one comes, and even when one becomes visible late, up to [`LOOK_BACK_MS`] after its time.

use std::collections::BTreeSet;
use std::fmt;

use crate::clock::utc;
use crate::exchange::{Dialect, History, Side, Since, Trade, TradeId};
use crate::napu::Napu;
use crate::ndau::Address;

/// How far behind its time the cursor still looks for trades that become visible late, or whose time is that of an
/// order that rested long: six days, which with today fit into one question to the exchange.
pub const LOOK_BACK_MS: u64 = 6 * 24 * 60 * 60 * 1000;

/// How far clocks may disagree from one run to the next.
pub const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// However old, so many of the newest decided trades are remembered: they prove that a new API key is of the same
/// account.
const REMEMBERED: usize = 20;

/// Where issuing starts. What was sold at or before it is not ours to issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Everything that the exchange still shows.
    Beginning,
    /// After a moment, in milliseconds since the epoch.
    Time(u64),
    /// After a trade whose time is not known before the exchange was first asked.
    Trade(u64),
    /// After a trade that was found.
    Found {
        /// Its id.
        trade: u64,
        /// Its time, in milliseconds since the epoch.
        time_ms: u64,
    },
}

impl Start {
    /// The moment, in milliseconds since the epoch; 0 for the beginning, and for a trade that was not found yet.
    pub fn time_ms(self) -> u64 {
        match self {
            Start::Time(time_ms) | Start::Found { time_ms, .. } => time_ms,
            Start::Beginning | Start::Trade(_) => 0,
        }
    }
}

/// A trade that was decided: issued, or found to be not ours to issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Its time, in milliseconds since the epoch.
    pub time_ms: u64,
    /// Its identity.
    pub id: TradeId,
}

/// The last-seen-trade cursor. Every trade at or before `time_ms` less [`LOOK_BACK_MS`] is decided; of the later ones,
/// exactly those in `seen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Where issuing starts.
    pub start: Start,
    /// The pair, as `XND_USDT`.
    pub symbol: String,
    /// What the first run learned and the later ones must find again; `None` before the first.
    pub at: Option<At>,
    /// The decided trades that could be met again.
    pub seen: BTreeSet<Seen>,
}

/// Where a cursor stands, and on which systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Up to here every visible trade is decided, in milliseconds since the epoch.
    pub time_ms: u64,
    /// How the exchange was spoken to: the dialects number trades on their own.
    pub dialect: Dialect,
    /// The fingerprint of the API key, and so of the exchange's account.
    pub account: String,
    /// The chain's network.
    pub network: String,
    /// The issuer's account.
    pub issuer: Address,
    /// The chain's total issued, as far as this folder can account for it.
    pub issued: Napu,
    /// The account's sequence when this was written.
    pub sequence: u64,
    /// The hash of the ledger's last line when this was written.
    pub ledger: String,
}

/// A sale to be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sale {
    /// Its time, in milliseconds since the epoch.
    pub time_ms: u64,
    /// Its identity.
    pub id: TradeId,
    /// How much was sold, never nothing.
    pub quantity: Napu,
}

impl Sale {
    fn seen(&self) -> Seen {
        Seen {
            time_ms: self.time_ms,
            id: self.id,
        }
    }
}

/// Sales that are issued together: at least one, each once, oldest first, with their exact sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    sales: Vec<Sale>,
    quantity: Napu,
}

impl Batch {
    /// `sales` as a batch; `None` if there are none, one is there twice, is nothing, or the sum is more than all the
    /// ndau there can be.
    pub fn new(mut sales: Vec<Sale>) -> Option<Batch> {
        sales.sort_unstable();
        let distinct: BTreeSet<TradeId> = sales.iter().map(|sale| sale.id).collect();
        let quantity = Napu::sum(sales.iter().map(|sale| sale.quantity))?;
        let proper = !sales.is_empty()
            && distinct.len() == sales.len()
            && sales.iter().all(|sale| !sale.quantity.is_zero())
            && quantity <= Napu::SUPPLY;
        proper.then_some(Batch { sales, quantity })
    }

    /// The sales, oldest first.
    pub fn sales(&self) -> &[Sale] {
        &self.sales
    }

    /// Their sum.
    pub fn quantity(&self) -> Napu {
        self.quantity
    }

    /// The oldest `count` of them; `None` if that is none, or more than there are.
    pub fn oldest(&self, count: usize) -> Option<Batch> {
        Batch::new(self.sales.get(..count)?.to_vec())
    }
}

/// What a look at the exchange decided, apart from the sales: enough to move the cursor once they are issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The cursor's start, found if it was a trade.
    pub start: Start,
    /// Where the cursor goes.
    pub at: At,
    /// The new trades that are not sales.
    pub others: Vec<Seen>,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// What is to be issued now, if anything.
    pub batch: Option<Batch>,
    /// How the cursor moves.
    pub progress: Progress,
    /// How many trades are new, those of `waiting` and `left` not counted.
    pub trades: usize,
    /// How many are too young and wait for the next run.
    pub waiting: usize,
    /// Sales left for the next batch because this one would be more than all the ndau there can be.
    pub left: Vec<Sale>,
    /// The sales up to the start, oldest first, as far as they are shown: not ours to issue.
    pub before: Vec<Sale>,
}

/// Why trades cannot be told apart into issued and not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The trade that issuing starts after is not in the account's history: `init` was given another account's, or
    /// one older than the history.
    StartNotFound {
        /// The trade.
        trade: u64,
    },
    /// Other trades have the very time of the trade that issuing starts after, and ids that say nothing about which
    /// came first: start after another trade.
    StartNotAlone {
        /// The trade.
        trade: u64,
        /// One at the same time.
        other: TradeId,
    },
    /// The API key is not the one the cursor was made with, and none of the trades it shows is one the cursor knows.
    OtherAccount {
        /// The cursor's key.
        expected: String,
        /// The present key.
        found: String,
    },
    /// The cursor, or the moment that issuing starts at, has not come yet: a clock was wrong when it was made.
    Ahead {
        /// Where it is, in milliseconds since the epoch.
        time_ms: u64,
        /// Now, by the exchange's clock.
        now_ms: u64,
    },
    /// One sale alone is more than all the ndau there can be.
    Absurd {
        /// The sale.
        trade: TradeId,
        /// Its quantity.
        quantity: Napu,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::StartNotFound { trade } => write!(
                f,
                "the trade to start after, {trade}, is not in the account's history: remove state/cursor.json and run \
                 init again with a trade that is"
            ),
            Error::StartNotAlone { trade, other } => write!(
                f,
                "the trade to start after, {trade}, has the same time as {other}, and nothing says which came first: \
                 remove state/cursor.json and run init again with a trade that is alone at its time"
            ),
            Error::OtherAccount { expected, found } => write!(
                f,
                "the cursor was made with API key {expected}, the present one is {found}, and it shows none of the \
                 trades that the cursor knows: this looks like another account's key"
            ),
            Error::Ahead { time_ms, now_ms } => write!(
                f,
                "the cursor is at {}, and now it is {}: what is sold until then would not be issued. Set the host's \
                 clock; if nothing was issued yet, remove state/cursor.json and run init again",
                utc(*time_ms),
                utc(*now_ms)
            ),
            Error::Absurd { trade, quantity } => {
                write!(
                    f,
                    "{trade} sold {quantity} ndau, more than the {} there can be",
                    Napu::SUPPLY
                )
            }
        }
    }
}

impl std::error::Error for Error {}

impl Cursor {
    /// A cursor that has seen nothing yet.
    pub fn new(start: Start, symbol: String) -> Cursor {
        Cursor {
            start,
            symbol,
            at: None,
            seen: BTreeSet::new(),
        }
    }

    /// From when on trades are wanted, with API key `account`. Another key than the cursor's has to show one of the
    /// remembered trades, so the question goes back to the newest of these.
    pub fn since(&self, account: &str) -> Since {
        match (&self.at, self.start) {
            (Some(at), start) => {
                let look_back = at.time_ms.saturating_sub(LOOK_BACK_MS);
                match self.seen.last() {
                    Some(newest) if at.account != account => {
                        Since::Time(newest.time_ms.min(look_back))
                    }
                    _ => Since::Time(look_back.max(start.time_ms())),
                }
            }
            (None, Start::Time(time_ms)) => Since::Time(time_ms),
            (None, _) => Since::Beginning,
        }
    }

    /// The cursor once `issued` is on the chain and what `progress` found not to be sales is done with; `left` are
    /// sales that wait for another batch. Doing this twice is as good as once.
    pub fn after(&self, progress: &Progress, issued: &[Sale], left: &[Sale]) -> Cursor {
        let reached = self.at.as_ref().map_or(0, |at| at.time_ms);
        let before_left = left
            .iter()
            .map(|sale| sale.time_ms.saturating_sub(1))
            .min()
            .unwrap_or(u64::MAX);
        let time_ms = progress.at.time_ms.min(before_left).max(reached);
        let mut seen = self.seen.clone();
        seen.extend(progress.others.iter().copied());
        seen.extend(issued.iter().map(Sale::seen));
        let kept_from = seen
            .iter()
            .rev()
            .nth(REMEMBERED - 1)
            .map_or(0, |seen| seen.time_ms);
        seen.retain(|seen| behind(seen.time_ms, time_ms) || seen.time_ms >= kept_from);
        let at = At {
            time_ms,
            ..progress.at.clone()
        };
        Cursor {
            start: progress.start,
            symbol: self.symbol.clone(),
            at: Some(at),
            seen,
        }
    }
}

/// Whether a trade of `time_ms` is young enough for a cursor at `cursor_ms` to look for it.
pub(crate) fn behind(time_ms: u64, cursor_ms: u64) -> bool {
    time_ms > cursor_ms.saturating_sub(LOOK_BACK_MS)
}

/// The systems that a run found.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The fingerprint of the API key.
    pub account: &'a str,
    /// The chain's network.
    pub network: &'a str,
    /// The issuer's account.
    pub issuer: &'a Address,
    /// The chain's total issued.
    pub issued: Napu,
    /// The account's sequence.
    pub sequence: u64,
    /// The hash of the ledger's last line.
    pub ledger: &'a str,
}

/// Decides what of `history` is to be issued now; trades younger than `settle_ms` wait.
pub fn pick(
    cursor: &Cursor,
    history: &History,
    place: Place,
    settle_ms: u64,
) -> Result<Picked, Error> {
    if let Some(at) = &cursor.at {
        let known = || {
            history
                .trades
                .iter()
                .any(|trade| cursor.seen.contains(&seen(trade)))
        };
        if at.account != place.account && !cursor.seen.is_empty() && !known() {
            return Err(Error::OtherAccount {
                expected: at.account.clone(),
                found: place.account.to_owned(),
            });
        }
    }
    let start = find_start(cursor.start, history)?;
    let reached_ms = cursor.at.as_ref().map_or(0, |at| at.time_ms);
    let time_ms = start.time_ms().max(reached_ms);
    if time_ms > history.now_ms.saturating_add(CLOCK_TOLERANCE_MS) {
        return Err(Error::Ahead {
            time_ms,
            now_ms: history.now_ms,
        });
    }
    let horizon = history.now_ms.saturating_sub(settle_ms);
    let decided: BTreeSet<TradeId> = cursor.seen.iter().map(|seen| seen.id).collect();
    let new: Vec<&Trade> = history
        .trades
        .iter()
        .filter(|trade| counts(start, history.dialect, trade))
        .filter(|trade| {
            cursor
                .at
                .as_ref()
                .is_none_or(|at| behind(trade.time_ms, at.time_ms))
        })
        .filter(|trade| !decided.contains(&trade.id))
        .collect();
    let mut before: Vec<Sale> = history
        .trades
        .iter()
        .filter(|trade| !counts(start, history.dialect, trade))
        .filter_map(sale)
        .collect();
    before.sort_unstable();
    let (settled, waiting): (Vec<&Trade>, Vec<&Trade>) =
        new.into_iter().partition(|trade| trade.time_ms <= horizon);

    let mut others = Vec::new();
    let mut sales: Vec<Sale> = Vec::new();
    for trade in &settled {
        match sale(trade) {
            Some(sale) => sales.push(sale),
            None => others.push(seen(trade)),
        }
    }
    sales.sort_unstable();
    if let Some(absurd) = sales.iter().find(|sale| sale.quantity > Napu::SUPPLY) {
        return Err(Error::Absurd {
            trade: absurd.id,
            quantity: absurd.quantity,
        });
    }
    let mut sum = Napu::ZERO;
    let fits = sales
        .iter()
        .take_while(|sale| {
            let next = sum
                .checked_add(sale.quantity)
                .filter(|next| *next <= Napu::SUPPLY);
            sum = next.unwrap_or(sum);
            next.is_some()
        })
        .count();
    let left = sales.split_off(fits);

    let at = At {
        time_ms: horizon,
        dialect: history.dialect,
        account: place.account.to_owned(),
        network: place.network.to_owned(),
        issuer: place.issuer.clone(),
        issued: place.issued,
        sequence: place.sequence,
        ledger: place.ledger.to_owned(),
    };
    let trades = sales.len() + others.len();
    let batch = Batch::new(sales);
    Ok(Picked {
        batch,
        progress: Progress { start, at, others },
        trades,
        waiting: waiting.len(),
        left,
        before,
    })
}

/// The sale in a trade, if it is one.
pub(crate) fn sale(trade: &Trade) -> Option<Sale> {
    match trade.side {
        Side::Sell { quantity } if !quantity.is_zero() => Some(Sale {
            time_ms: trade.time_ms,
            id: trade.id,
            quantity,
        }),
        Side::Sell { .. } | Side::Buy => None,
    }
}

fn seen(trade: &Trade) -> Seen {
    Seen {
        time_ms: trade.time_ms,
        id: trade.id,
    }
}

/// The start with the time of its trade, if it is a trade. In v2, where times are whole seconds, ids tell which came
/// first; in v4 they do not, so the trade must be alone at its millisecond.
pub(crate) fn find_start(start: Start, history: &History) -> Result<Start, Error> {
    let Start::Trade(trade) = start else {
        return Ok(start);
    };
    let found = history
        .trades
        .iter()
        .find(|one| one.id.trade == trade)
        .ok_or(Error::StartNotFound { trade })?;
    let mut others = history
        .trades
        .iter()
        .filter(|one| one.time_ms == found.time_ms && one.id.trade != trade);
    match (history.dialect, others.next()) {
        (Dialect::V4, Some(other)) => Err(Error::StartNotAlone {
            trade,
            other: other.id,
        }),
        (Dialect::V4, None) | (Dialect::V2, _) => Ok(Start::Found {
            trade,
            time_ms: found.time_ms,
        }),
    }
}

/// Whether a trade is after the start.
pub(crate) fn counts(start: Start, dialect: Dialect, trade: &Trade) -> bool {
    match (start, dialect) {
        (Start::Beginning, _) => true,
        (Start::Time(time_ms), _) => trade.time_ms > time_ms,
        (Start::Found { trade: id, time_ms }, Dialect::V2) => {
            trade.time_ms > time_ms || (trade.time_ms == time_ms && trade.id.trade > id)
        }
        (Start::Found { time_ms, .. }, Dialect::V4) => trade.time_ms > time_ms,
        // Found before anything is counted.
        (Start::Trade(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    const NOW: u64 = 1_700_000_000_000;
    const SETTLE: u64 = 10_000;

    fn id(trade: u64) -> TradeId {
        TradeId { trade, order: 1 }
    }

    fn sell(trade: u64, age_ms: u64, napu: u64) -> Trade {
        let quantity = Napu::new(napu).unwrap();
        Trade {
            id: id(trade),
            time_ms: NOW - age_ms,
            side: Side::Sell { quantity },
        }
    }

    fn buy(trade: u64, age_ms: u64) -> Trade {
        Trade {
            id: id(trade),
            time_ms: NOW - age_ms,
            side: Side::Buy,
        }
    }

    fn history(trades: &[Trade]) -> History {
        History {
            trades: trades.to_vec(),
            dialect: Dialect::V4,
            now_ms: NOW,
        }
    }

    fn fresh() -> Cursor {
        Cursor::new(Start::Beginning, "XND_USDT".to_owned())
    }

    static ISSUER: LazyLock<Address> = LazyLock::new(|| {
        Address::parse("ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y").unwrap()
    });

    fn place(account: &'static str) -> Place<'static> {
        Place {
            account,
            network: "net",
            issuer: &ISSUER,
            issued: Napu::ZERO,
            sequence: 4,
            ledger: "",
        }
    }

    fn take(cursor: &Cursor, trades: &[Trade]) -> Picked {
        pick(cursor, &history(trades), place("key"), SETTLE).unwrap()
    }

    fn issued(picked: &Picked) -> Vec<u64> {
        picked
            .batch
            .iter()
            .flat_map(|batch| batch.sales())
            .map(|sale| sale.id.trade)
            .collect()
    }

    fn after(cursor: &Cursor, picked: &Picked) -> Cursor {
        let sales = picked.batch.as_ref().map_or(&[][..], Batch::sales);
        cursor.after(&picked.progress, sales, &picked.left)
    }

    #[test]
    fn sales_are_summed_and_buys_are_not() {
        let picked = take(
            &fresh(),
            &[
                sell(2, 20_000, 29),
                buy(3, 30_000),
                sell(1, 40_000, 1),
                sell(4, 50_000, 0),
            ],
        );
        assert_eq!(issued(&picked), [1, 2]);
        assert_eq!(picked.batch.unwrap().quantity(), Napu::new(30).unwrap());
        assert_eq!((picked.trades, picked.waiting), (4, 0));
    }

    #[test]
    fn a_trade_seen_once_is_not_counted_again() {
        let trades = [sell(1, 20_000, 5), buy(2, 20_000)];
        let cursor = after(&fresh(), &take(&fresh(), &trades));
        let again = take(&cursor, &trades);
        assert_eq!((again.batch, again.trades), (None, 0));
    }

    #[test]
    fn a_trade_that_becomes_visible_late_is_counted() {
        let cursor = after(&fresh(), &take(&fresh(), &[sell(9, 20_000, 5)]));
        assert_eq!(
            issued(&take(
                &cursor,
                &[sell(9, 20_000, 5), sell(3, LOOK_BACK_MS - 20_000, 7)]
            )),
            [3]
        );
        // Behind the look-back everything is decided, even if an answer holds it.
        assert_eq!(
            issued(&take(&cursor, &[sell(3, LOOK_BACK_MS + 20_000, 7)])),
            Vec::<u64>::new()
        );
    }

    #[test]
    fn young_trades_wait() {
        let picked = take(&fresh(), &[sell(1, 10_000, 5), sell(2, 9_999, 7)]);
        assert_eq!(issued(&picked), [1]);
        assert_eq!(picked.waiting, 1);
    }

    #[test]
    fn what_does_not_fit_waits_without_being_lost() {
        let half = Napu::SUPPLY.get() / 2 + 1;
        let trades = [
            sell(1, 3 * LOOK_BACK_MS, half),
            sell(2, 2 * LOOK_BACK_MS, half),
            buy(3, LOOK_BACK_MS),
        ];
        let first = take(&fresh(), &trades);
        assert_eq!((issued(&first), first.left.len()), (vec![1], 1));
        let cursor = after(&fresh(), &first);
        assert!(cursor.at.as_ref().unwrap().time_ms < NOW - 2 * LOOK_BACK_MS);
        let second = take(&cursor, &trades);
        assert_eq!(issued(&second), [2]);
        assert_eq!(
            issued(&take(&after(&cursor, &second), &trades)),
            Vec::<u64>::new()
        );
    }

    #[test]
    fn a_clock_that_steps_back_moves_no_cursor_back() {
        let trades = [sell(1, 20_000, 5)];
        let cursor = after(&fresh(), &take(&fresh(), &trades));
        let mut earlier = history(&trades);
        earlier.now_ms = NOW - 50_000;
        let picked = pick(&cursor, &earlier, place("key"), SETTLE).unwrap();
        assert_eq!(after(&cursor, &picked), cursor);
    }

    /// A start five minutes ahead of the clock dropped what was sold until then without a word.
    #[test]
    fn a_cursor_that_is_ahead_of_the_clock_is_refused() {
        let trades = [sell(1, 20_000, 5)];
        let start = Cursor::new(Start::Time(NOW + 300_000), "XND_USDT".to_owned());
        let ahead = pick(&start, &history(&trades), place("key"), SETTLE);
        assert!(matches!(ahead, Err(Error::Ahead { .. })));
        let mut cursor = after(&fresh(), &take(&fresh(), &trades));
        cursor.at.as_mut().unwrap().time_ms = NOW + 3_600_000;
        let ahead = pick(&cursor, &history(&trades), place("key"), SETTLE);
        assert!(matches!(ahead, Err(Error::Ahead { .. })));
    }

    #[test]
    fn issuing_starts_after_a_moment() {
        let cursor = Cursor::new(Start::Time(NOW - 30_000), "XND_USDT".to_owned());
        assert_eq!(cursor.since("key"), Since::Time(NOW - 30_000));
        assert_eq!(
            issued(&take(&cursor, &[sell(1, 30_000, 5), sell(2, 29_999, 5)])),
            [2]
        );
    }

    #[test]
    fn issuing_starts_after_a_trade() {
        let cursor = Cursor::new(Start::Trade(5), "XND_USDT".to_owned());
        let trades = [sell(4, 40_000, 1), sell(5, 30_000, 1), sell(6, 29_000, 1)];
        let picked = take(&cursor, &trades);
        assert_eq!(issued(&picked), [6]);
        assert_eq!(
            picked.progress.start,
            Start::Found {
                trade: 5,
                time_ms: NOW - 30_000
            }
        );
        assert_eq!(
            issued(&take(&after(&cursor, &picked), &trades)),
            Vec::<u64>::new()
        );

        let none = pick(&cursor, &history(&[sell(4, 1, 1)]), place("key"), SETTLE);
        assert_eq!(none, Err(Error::StartNotFound { trade: 5 }));

        let same_time = [sell(5, 30_000, 1), sell(6, 30_000, 1), sell(4, 30_000, 1)];
        let refused = pick(&cursor, &history(&same_time), place("key"), SETTLE);
        assert!(matches!(
            refused,
            Err(Error::StartNotAlone { trade: 5, .. })
        ));
        let mut v2 = history(&same_time);
        v2.dialect = Dialect::V2;
        assert_eq!(
            issued(&pick(&cursor, &v2, place("key"), SETTLE).unwrap()),
            [6]
        );
    }

    #[test]
    fn another_accounts_key_is_refused() {
        let trades = [sell(1, 20_000, 5), buy(2, 40_000)];
        let cursor = after(&fresh(), &take(&fresh(), &trades));
        assert!(matches!(
            pick(
                &cursor,
                &history(&[sell(8, 20_000, 5)]),
                place("other"),
                SETTLE
            ),
            Err(Error::OtherAccount { .. })
        ));
        // A new key of the same account shows the same trades.
        assert_eq!(
            cursor.since("other"),
            Since::Time(NOW - SETTLE - LOOK_BACK_MS)
        );
        let quiet = Cursor {
            at: cursor.at.clone().map(|at| At {
                time_ms: NOW + 3 * LOOK_BACK_MS,
                ..at
            }),
            ..cursor.clone()
        };
        assert_eq!(quiet.since("other"), Since::Time(NOW - 20_000));
        let renewed = pick(&cursor, &history(&trades), place("other"), SETTLE).unwrap();
        assert_eq!(after(&cursor, &renewed).at.unwrap().account, "other");
    }

    #[test]
    fn old_trades_are_forgotten_but_for_the_newest() {
        let many: Vec<Trade> = (0..50).map(|n| buy(n, 2 * LOOK_BACK_MS + n)).collect();
        let cursor = after(&fresh(), &take(&fresh(), &many));
        assert_eq!(cursor.seen.len(), REMEMBERED);
    }

    #[test]
    fn a_batch_holds_each_sale_once() {
        let one = Sale {
            time_ms: 1,
            id: id(1),
            quantity: Napu::NDAU,
        };
        assert!(Batch::new(vec![one, one]).is_none());
        assert!(Batch::new(Vec::new()).is_none());
        assert!(
            Batch::new(vec![Sale {
                quantity: Napu::ZERO,
                ..one
            }])
            .is_none()
        );
        let two = Batch::new(vec![Sale { id: id(2), ..one }, one]).unwrap();
        assert_eq!(two.oldest(1).unwrap().sales(), [one]);
        assert!(two.oldest(0).is_none() && two.oldest(3).is_none());
    }

    /// Every history of two trades over four runs, each trade shown or hidden in each of them, and runs that fail: what
    /// is issued is what the plain rule says, which forgets nothing.
    #[test]
    fn what_is_issued_is_what_the_plain_rule_says() {
        const HALF: u64 = LOOK_BACK_MS / 2;
        let base = NOW - 10 * LOOK_BACK_MS;
        // The third is exactly one look-back before the fourth run, the last is too young for the first.
        let times = [base, base + HALF, base + 2 * HALF];
        let nows = [2, 3, 4, 6].map(|halves| base + halves * HALF + SETTLE - 1);
        let sides = |napu| {
            let sell = |napu| Side::Sell {
                quantity: Napu::new(napu).unwrap(),
            };
            [sell(napu), sell(0), Side::Buy]
        };
        let trades = |number: u64| {
            let sides = sides(number);
            times.into_iter().flat_map(move |time_ms| {
                sides.into_iter().flat_map(move |side| {
                    let id = id(number);
                    (0..16u8).map(move |shown| (Trade { id, time_ms, side }, shown))
                })
            })
        };
        let (mut cases, mut batches) = (0, 0);
        for start in [Start::Beginning, Start::Time(base)] {
            for failing in [0b0000u8, 0b0001, 0b0010, 0b0101] {
                for (one, two) in trades(1).flat_map(|one| trades(2).map(move |two| (one, two))) {
                    cases += 1;
                    let mut cursor = Cursor::new(start, "XND_USDT".to_owned());
                    let mut issued_by_rule = BTreeSet::new();
                    let mut reached = None;
                    for (run, now_ms) in nows.into_iter().enumerate() {
                        let mut shown: Vec<Trade> = [one, two]
                            .into_iter()
                            .filter(|(_, shown)| shown >> run & 1 == 1)
                            .map(|(trade, _)| trade)
                            .collect();
                        let horizon = now_ms - SETTLE;
                        let due: BTreeSet<TradeId> = shown
                            .iter()
                            .filter(|trade| matches!(trade.side, Side::Sell { quantity } if !quantity.is_zero()))
                            .filter(|trade| start == Start::Beginning || trade.time_ms > base)
                            .filter(|trade| trade.time_ms <= horizon)
                            .filter(|trade| reached.is_none_or(|at: u64| trade.time_ms > at - LOOK_BACK_MS))
                            .filter(|trade| !issued_by_rule.contains(&trade.id))
                            .map(|trade| trade.id)
                            .collect();
                        if let Since::Time(since) = cursor.since("key") {
                            shown.retain(|trade| trade.time_ms >= since);
                        }
                        let history = History {
                            trades: shown,
                            dialect: Dialect::V4,
                            now_ms,
                        };
                        let picked = pick(&cursor, &history, place("key"), SETTLE).unwrap();
                        let ours: BTreeSet<TradeId> = picked
                            .batch
                            .iter()
                            .flat_map(|batch| batch.sales())
                            .map(|sale| sale.id)
                            .collect();
                        assert_eq!(ours, due, "{start:?} {failing} {one:?} {two:?} run {run}");
                        if failing >> run & 1 == 1 && !due.is_empty() {
                            continue;
                        }
                        batches += usize::from(!due.is_empty());
                        cursor = after(&cursor, &picked);
                        issued_by_rule.extend(due);
                        reached = Some(horizon);
                    }
                }
            }
        }
        println!("pick: {cases} histories, {batches} batches");
        assert!(cases == 165_888 && batches > 60_000, "{cases} {batches}");
    }

    /// Runs over random histories, visibilities and clocks, against a model that is right by inspection: in the end
    /// every sale was issued once.
    #[test]
    fn in_the_end_every_sale_was_issued_once() {
        let mut random = 88_172_645_463_325_252u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..300 {
            let base = NOW - 10 * LOOK_BACK_MS;
            let mut trades: Vec<(Trade, u64)> = Vec::new();
            for n in 0..next(30) {
                let time_ms = base + next(5 * LOOK_BACK_MS);
                let side = if next(3) == 0 {
                    Side::Buy
                } else {
                    Side::Sell {
                        quantity: Napu::new(next(9)).unwrap(),
                    }
                };
                let visible_ms = time_ms + next(LOOK_BACK_MS / 2);
                trades.push((
                    Trade {
                        id: id(n),
                        time_ms,
                        side,
                    },
                    visible_ms,
                ));
            }
            let mut cursor = fresh();
            let mut counted: Vec<TradeId> = Vec::new();
            let mut now = base;
            while now < base + 7 * LOOK_BACK_MS {
                now += next(LOOK_BACK_MS / 3);
                // A clock that now and then runs behind.
                let now_ms = if next(5) == 0 {
                    now - next(CLOCK_TOLERANCE_MS)
                } else {
                    now
                };
                let mut visible: Vec<Trade> = trades
                    .iter()
                    .filter(|(_, visible_ms)| *visible_ms <= now)
                    .map(|(trade, _)| *trade)
                    .collect();
                if let Since::Time(since) = cursor.since("key") {
                    visible.retain(|trade| trade.time_ms >= since);
                }
                let history = History {
                    trades: visible,
                    dialect: Dialect::V4,
                    now_ms,
                };
                let picked = pick(&cursor, &history, place("key"), SETTLE).unwrap();
                if next(4) == 0 && picked.batch.is_some() {
                    continue; // This run failed before it issued.
                }
                counted.extend(
                    picked
                        .batch
                        .iter()
                        .flat_map(|batch| batch.sales())
                        .map(|sale| sale.id),
                );
                cursor = after(&cursor, &picked);
            }
            counted.sort_unstable();
            let sold = |trade: &Trade| matches!(trade.side, Side::Sell { quantity } if !quantity.is_zero());
            let expected: Vec<TradeId> = trades
                .iter()
                .map(|(trade, _)| trade)
                .filter(|trade| sold(trade))
                .map(|trade| trade.id)
                .collect();
            assert_eq!(counted, expected);
        }
    }
}
