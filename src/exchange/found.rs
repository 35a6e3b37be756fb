//! The trades found so far, each once.

use std::collections::BTreeMap;

use super::{Error, Trade, TradeId};

/// A set of trades by identity that refuses two versions of one.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<TradeId, Trade>);

impl Found {
    /// Counts `trade` in, once.
    pub fn add(&mut self, trade: Trade) -> Result<(), Error> {
        match self.0.insert(trade.id, trade) {
            Some(first) if first != trade => Err(Error::Contradiction {
                first,
                second: trade,
            }),
            _ => Ok(()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, by time, then by id.
    pub fn into_sorted(self) -> Vec<Trade> {
        let mut trades: Vec<Trade> = self.0.into_values().collect();
        trades.sort_by_key(|trade| (trade.time_ms, trade.id));
        trades
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Side;
    use crate::napu::Napu;

    fn sale(trade: u64, order: u64, time_ms: u64, napu: u64) -> Trade {
        Trade {
            id: TradeId { trade, order },
            time_ms,
            side: Side::Sell {
                quantity: Napu::new(napu).unwrap(),
            },
        }
    }

    #[test]
    fn a_trade_is_counted_once_and_both_numbers_are_its_identity() {
        let mut found = Found::default();
        for trade in [
            sale(2, 1, 50, 7),
            sale(2, 1, 50, 7),
            sale(2, 9, 40, 7),
            sale(1, 1, 50, 7),
        ] {
            found.add(trade).unwrap();
        }
        assert_eq!(found.len(), 3);
        assert_eq!(
            found.into_sorted(),
            [sale(2, 9, 40, 7), sale(1, 1, 50, 7), sale(2, 1, 50, 7)]
        );
    }

    #[test]
    fn two_versions_of_a_trade_are_refused() {
        let buy = Trade {
            side: Side::Buy,
            ..sale(2, 1, 50, 7)
        };
        for other in [sale(2, 1, 51, 7), sale(2, 1, 50, 8), buy] {
            let mut found = Found::default();
            found.add(sale(2, 1, 50, 7)).unwrap();
            assert!(matches!(
                found.add(other),
                Err(Error::Contradiction { first, second }) if first == sale(2, 1, 50, 7) && second == other
            ));
        }
    }
}
