//! The account's trades, and the little else the exchange remembers.

use super::Settings;
use crate::clock;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

/// One napu is the eighth decimal.
const NAPU_PLACES: usize = 8;
/// Every trade is made at this price, in the quote coin.
pub(super) const PRICE: u128 = 15;

/// The account's side of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It sold the base coin.
    Sell,
    /// It bought the base coin.
    Buy,
}

impl Side {
    pub(super) fn word(self) -> &'static str {
        match self {
            Side::Sell => "sell",
            Side::Buy => "buy",
        }
    }
}

/// A trade to be added.
#[derive(Clone, Debug)]
pub struct NewTrade {
    /// The account's side.
    pub side: Side,
    /// Decimal text, sent verbatim.
    pub quantity: String,
    /// When it was made, by the exchange's clock.
    pub time_ms: i64,
    /// Its order; a new one if none. Many trades may share an order.
    pub order: Option<u64>,
    /// Its pair; that of the settings if none.
    pub symbol: Option<String>,
    /// Its id; the next one if none.
    pub id: Option<u64>,
}

impl NewTrade {
    /// A sale.
    pub fn sell(quantity: &str, time_ms: i64) -> NewTrade {
        NewTrade {
            side: Side::Sell,
            quantity: quantity.into(),
            time_ms,
            order: None,
            symbol: None,
            id: None,
        }
    }

    /// A purchase.
    pub fn buy(quantity: &str, time_ms: i64) -> NewTrade {
        NewTrade {
            side: Side::Buy,
            ..NewTrade::sell(quantity, time_ms)
        }
    }
}

/// What identifies a trade: both sides of a trade with oneself may have one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TradeRef {
    /// The trade's id.
    pub id: u64,
    /// Its order's id.
    pub order: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Trade {
    pub(super) id: u64,
    pub(super) order: u64,
    pub(super) symbol: String,
    pub(super) side: Side,
    pub(super) quantity: String,
    pub(super) time_ms: i64,
    hidden: bool,
}

pub(super) struct Book {
    symbol: String,
    trades: Vec<Trade>,
    next_id: u64,
    next_order: u64,
    pub(super) clock_offset_ms: i64,
    pub(super) age_ms: i64,
    pub(super) repeat_trades: bool,
    /// v2: tokens and when they end, by the exchange's clock.
    pub(super) tokens: HashMap<String, i64>,
    /// v2: when tokens were asked for.
    pub(super) token_requests: VecDeque<Instant>,
    pub(super) order_status: HashMap<u64, u8>,
    pub(super) lost_orders: BTreeSet<u64>,
    /// v4: the requests of the last two seconds.
    pub(super) used: VecDeque<Instant>,
    answers: u64,
}

impl Book {
    pub(super) fn new(settings: &Settings) -> Book {
        // v4 ids have 18 digits and lie above 2^53; those of v2's time had nine.
        let (next_id, next_order) = if settings.speaks_v4 {
            (125_277_182_593_091_639, 125_213_058_731_346_053)
        } else {
            (320_945_022, 962_837_707)
        };
        Book {
            symbol: settings.symbol.clone(),
            trades: Vec::new(),
            next_id,
            next_order,
            clock_offset_ms: settings.clock_offset_ms,
            age_ms: settings.age_ms,
            repeat_trades: false,
            tokens: HashMap::new(),
            token_requests: VecDeque::new(),
            order_status: HashMap::new(),
            lost_orders: BTreeSet::new(),
            used: VecDeque::new(),
            answers: 0,
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        clock::now_ms() + self.clock_offset_ms
    }

    /// A number that differs from answer to answer.
    pub(super) fn next_answer(&mut self) -> u64 {
        self.answers += 1;
        self.answers
    }

    pub(super) fn add(&mut self, new: NewTrade) -> TradeRef {
        // Ids rise by small, uneven steps.
        let id = new.id.unwrap_or_else(|| {
            self.next_id += 1 + self.next_id % 3;
            self.next_id
        });
        let order = new.order.unwrap_or_else(|| {
            self.next_order += 1 + self.next_order % 5;
            self.next_order
        });
        self.trades.push(Trade {
            id,
            order,
            symbol: new.symbol.unwrap_or_else(|| self.symbol.clone()),
            side: new.side,
            quantity: new.quantity,
            time_ms: new.time_ms,
            hidden: false,
        });
        TradeRef { id, order }
    }

    pub(super) fn set_hidden(&mut self, trade: TradeRef, hidden: bool) {
        for known in &mut self.trades {
            if (known.id, known.order) == (trade.id, trade.order) {
                known.hidden = hidden;
            }
        }
    }

    /// The visible trades, oldest first.
    pub(super) fn visible(&self) -> Vec<Trade> {
        let mut trades: Vec<Trade> = self.trades.iter().filter(|t| !t.hidden).cloned().collect();
        trades.sort_by_key(|trade| (trade.time_ms, trade.id, trade.order));
        trades
    }

    pub(super) fn knows_symbol(&self, symbol: &str) -> bool {
        symbol == self.symbol
            || symbol == "BTC_USDT"
            || self.trades.iter().any(|trade| trade.symbol == symbol)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let ours = self.trades.iter().filter(|t| t.symbol == self.symbol);
        let sales = ours.clone().filter(|t| t.side == Side::Sell).count();
        (ours.count(), sales)
    }

    pub(super) fn sold_napu(&self) -> u64 {
        let sales = self
            .trades
            .iter()
            .filter(|trade| trade.side == Side::Sell && trade.symbol == self.symbol);
        sales.fold(0, |sum: u64, sale| {
            let napu = napu(&sale.quantity)
                .unwrap_or_else(|| panic!("{:?} is not a whole number of napu", sale.quantity));
            sum.checked_add(napu)
                .expect("the sales should fit 64 bits of napu")
        })
    }
}

/// Digits without their point, and how many of them followed it.
fn digits(text: &str) -> Option<(u128, usize)> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let all = format!("{whole}{decimals}");
    if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((all.parse().ok()?, decimals.len()))
}

/// The exact number of napu of a decimal text.
pub(crate) fn napu(text: &str) -> Option<u64> {
    let (digits, places) = digits(text)?;
    let scale = |places: usize| 10_u128.checked_pow(u32::try_from(places).ok()?);
    let exact = if places <= NAPU_PLACES {
        digits.checked_mul(scale(NAPU_PLACES - places)?)?
    } else {
        let divisor = scale(places - NAPU_PLACES)?;
        if digits % divisor != 0 {
            return None;
        }
        digits / divisor
    };
    u64::try_from(exact).ok()
}

/// A quantity times `numerator / denominator`, cut to this many places; `0` for a text that is none.
pub(super) fn times(text: &str, numerator: u128, denominator: u128, places: u32) -> String {
    let exact = || {
        let (digits, decimals) = digits(text)?;
        let divisor = 10_u128
            .checked_pow(u32::try_from(decimals).ok()?)?
            .checked_mul(denominator)?;
        let unit = 10_u128.checked_pow(places)?;
        let scaled = digits.checked_mul(numerator)?.checked_mul(unit)? / divisor;
        let width = usize::try_from(places).ok()?;
        Some(format!("{}.{:0width$}", scaled / unit, scaled % unit))
    };
    exact().unwrap_or_else(|| "0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn napu_are_counted_exactly_or_not_at_all() {
        for (text, expected) in [
            ("1.25", Some(125_000_000)),
            ("0.29", Some(29_000_000)),
            ("0.00000001", Some(1)),
            ("1.0000000000", Some(100_000_000)),
            ("0.000000001", None),
            ("1.000000001", None),
            ("", None),
            (".5", None),
            ("1e3", None),
            ("-1", None),
            ("184467440737.09551616", None),
        ] {
            assert_eq!(napu(text), expected, "{text:?}");
        }
    }

    #[test]
    fn products_are_cut_to_their_places() {
        assert_eq!(times("0.29", PRICE, 1, 8), "4.35000000");
        assert_eq!(times("0.29", PRICE, 1000, 10), "0.0043500000");
        assert_eq!(times("no number", PRICE, 1, 8), "0");
    }
}
