//! The client against recorded answers, and against an exchange that is in turn everything the real one may be.

mod fake;
mod record;
mod recorded;
mod refusals;
mod v2;
mod v4;

use self::fake::*;
use super::*;
use crate::clock::Clock;
use crate::http::Http;

fn total(trades: &[Trade]) -> u64 {
    let sales = trades.iter().filter_map(|trade| match trade.side {
        Side::Sell { quantity } => Some(quantity),
        Side::Buy => None,
    });
    Napu::sum(sales).unwrap().get()
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap()
}

fn sales(trades: &[Trade]) -> usize {
    trades
        .iter()
        .filter(|trade| trade.side != Side::Buy)
        .count()
}

/// Asks `http` at the clock's time.
fn fetch(
    http: &dyn Http,
    clock: &FakeClock,
    limit: usize,
    since: Since,
    api: Option<Dialect>,
) -> Result<History, Error> {
    let key = match api {
        Some(api) => key().with_api(api),
        None => key(),
    };
    let now_ms = clock.now_ms();
    Client::new(http, clock, &key, "XND_USDT")
        .with_limit(limit)
        .fetch(since, None, now_ms)
}

fn v4(fake: &Fake<'_>, since_ms: u64) -> Result<History, Error> {
    fake.start_run();
    fetch(
        fake,
        fake.clock,
        200,
        Since::Time(since_ms),
        Some(Dialect::V4),
    )
}

fn v2(fake: &Fake<'_>, limit: usize, since: Since) -> Result<History, Error> {
    fake.start_run();
    fetch(fake, fake.clock, limit, since, Some(Dialect::V2))
}

/// How many of the requests so far went to paths that begin with `path`.
fn asked(fake: &Fake<'_>, path: &str) -> usize {
    let asked = fake.asked.borrow();
    asked.iter().filter(|one| one.starts_with(path)).count()
}

/// `count` trades, one each `step_ms` before `now_ms`, every third one a purchase.
fn many(count: u64, step_ms: u64, now_ms: u64) -> Vec<Held> {
    (0..count)
        .map(|i| held(i + 1, now_ms - (count - i) * step_ms, i % 3 != 0))
        .map(|t| Held {
            order: t.trade,
            ..t
        })
        .collect()
}

fn ids(trades: &[Trade]) -> Vec<u64> {
    trades.iter().map(|trade| trade.id.trade).collect()
}

fn scripted(status: u16, body: &str) -> Scripted {
    Some((status, vec![], body.to_owned()))
}

#[test]
fn dialects_read_back_as_they_print() {
    for dialect in [Dialect::V2, Dialect::V4] {
        assert_eq!(Dialect::parse(&dialect.to_string()), Some(dialect));
    }
    assert_eq!(Dialect::parse("V4"), None);
    let id = TradeId {
        trade: 123,
        order: 456,
    };
    assert_eq!(id.to_string(), "trade 123 (order 456)");
}
