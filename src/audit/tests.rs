//! The comparison and the list, as values.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::*;
use super::findings::*;
use super::list::parse;
use crate::exchange::{Dialect, History, Side, Trade, TradeId};
use crate::napu::Napu;
use crate::ndau::{Address, Issue};
use crate::sales::{At, Batch, Cursor, LOOK_BACK_MS, Progress, Sale, Seen, Start};
use crate::settle::{Base, Candidate};
use crate::state::{Decision, Entry, Pending, Verdict};

const NOW: u64 = 1_700_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;
const HOUR: u64 = 60 * 60 * 1000;

fn napu(napu: u64) -> Napu {
    Napu::new(napu).unwrap()
}

fn id(trade: u64) -> TradeId {
    TradeId {
        trade,
        order: trade + 1000,
    }
}

fn sale(trade: u64, age_ms: u64, quantity: u64) -> Sale {
    Sale {
        time_ms: NOW - age_ms,
        id: id(trade),
        quantity: napu(quantity),
    }
}

fn shown(sale: Sale) -> Trade {
    Trade {
        id: sale.id,
        time_ms: sale.time_ms,
        side: Side::Sell {
            quantity: sale.quantity,
        },
    }
}

fn issue(quantity: u64, sequence: u64) -> Issue {
    Issue::new(napu(quantity), sequence).unwrap()
}

/// A world in which everything agrees: one sale a ledger line, the first `issued` of three.
struct World {
    shown: Shown,
    start: Start,
    cursor: Cursor,
    pending: Option<Pending>,
    entries: Vec<Entry>,
    decisions: Vec<Decision>,
    chain: OnChain,
    sole_issuer: bool,
}

/// Three days old, two and one.
const SALES: [(u64, u64, u64); 3] = [(1, 3 * DAY, 50), (2, 2 * DAY, 70), (3, DAY, 110)];

fn at(time_ms: u64, issued: u64) -> At {
    At {
        time_ms,
        dialect: Dialect::V4,
        account: "key".to_owned(),
        network: "net".to_owned(),
        issuer: Address::parse("ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y").unwrap(),
        issued: napu(issued),
        sequence: 9,
        ledger: String::new(),
    }
}

fn entry(sales: &[Sale], sequence: u64) -> Entry {
    let quantity = Napu::sum(sales.iter().map(|sale| sale.quantity)).unwrap();
    Entry {
        issue: Issue::new(quantity, sequence).unwrap(),
        height: 100 + sequence,
        sales: sales.to_vec(),
        recorded_ms: NOW,
        symbol: "XND_USDT".to_owned(),
        network: "net".to_owned(),
        dialect: Dialect::V4,
        account: "key".to_owned(),
    }
}

fn standing(issue: Issue, height: u64) -> Standing {
    Standing {
        hash: issue.hash().to_string(),
        height,
        what: What::Issue(issue),
    }
}

impl World {
    /// What was issued before is 1000 napu.
    fn new() -> World {
        let sales: Vec<Sale> = SALES
            .iter()
            .map(|(id, age, napu)| sale(*id, *age, *napu))
            .collect();
        let entries: Vec<Entry> = (3..)
            .zip(&sales)
            .map(|(sequence, sale)| entry(&[*sale], sequence))
            .collect();
        let mut world = World {
            shown: Shown {
                history: History {
                    trades: sales.iter().copied().map(shown).collect(),
                    dialect: Dialect::V4,
                    now_ms: NOW,
                },
                numbered: true,
                from_ms: NOW - 85 * DAY,
                until_ms: NOW,
                settled_ms: NOW - 10_000,
            },
            start: Start::Beginning,
            cursor: Cursor::new(Start::Beginning, "XND_USDT".to_owned()),
            pending: None,
            chain: OnChain {
                standing: entries
                    .iter()
                    .map(|one| standing(one.issue, one.height))
                    .collect(),
                held: BTreeSet::new(),
                issued: napu(1230),
            },
            entries,
            decisions: Vec::new(),
            sole_issuer: true,
        };
        world.cursor.at = Some(at(NOW - HOUR, 1230));
        let seen = |sale: &Sale| Seen {
            time_ms: sale.time_ms,
            id: sale.id,
        };
        world.cursor.seen = sales.iter().map(seen).collect();
        world
    }

    fn decide(&mut self, verdict: Verdict) {
        self.decisions.push(Decision {
            recorded_ms: NOW,
            by: "Ada".to_owned(),
            why: "so".to_owned(),
            verdict,
            seen: Vec::new(),
        });
    }

    fn sell(&mut self, sale: Sale) {
        self.shown.history.trades.push(shown(sale));
    }

    fn found(&self) -> Findings {
        compare(Books {
            shown: &self.shown,
            start: self.start,
            cursor: &self.cursor,
            pending: self.pending.as_ref(),
            entries: &self.entries,
            decisions: &self.decisions,
            chain: &self.chain,
            sole_issuer: self.sole_issuer,
        })
    }

    /// The names of the differences.
    fn names(&self) -> Vec<&'static str> {
        let found = self.found();
        found.differences.iter().map(Difference::name).collect()
    }
}

fn tally(count: usize, sum: u64) -> Tally {
    Tally {
        count,
        sum: Napu::new(sum),
    }
}

#[test]
fn what_agrees_is_counted_three_times_over() {
    let found = World::new().found();
    assert_eq!(found.differences, []);
    assert!(found.by_number && !found.may_pass());
    for lot in [
        Lot::Sold,
        Lot::Issued,
        Lot::Recorded,
        Lot::Confirmed,
        Lot::OnChain,
        Lot::InLedger,
    ] {
        assert_eq!(found.lot(lot), tally(3, 230), "{lot:?}");
    }
    assert_eq!(found.accounted, Napu::new(1230));
}

#[test]
fn each_difference_is_found_and_named() {
    type Spoil = fn(&mut World);
    let cases: [(&str, Spoil, &[&str], &str); 19] = [
        (
            "sold behind the cursor",
            |world| world.sell(sale(9, HOUR + LOOK_BACK_MS, 5)),
            &["not_issued"],
            "sold, but not in the ledger: trade 9 (order 1009), 2023-11-08T21:13:20Z, 0.00000005 ndau",
        ),
        (
            "sold, and decided without being issued",
            |world| {
                world.sell(sale(9, HOUR / 2, 5));
                world.cursor.seen.insert(Seen {
                    time_ms: NOW - HOUR / 2,
                    id: id(9),
                });
            },
            &["not_issued"],
            "trade 9",
        ),
        (
            "not shown",
            |world| {
                world.shown.history.trades.remove(1);
            },
            &["not_shown"],
            "in the ledger, but not shown by the exchange: trade 2 (order 1002), 2023-11-12T22:13:20Z, 0.0000007 ndau, \
             issued by",
        ),
        (
            "another amount",
            |world| world.shown.history.trades[1] = shown(sale(2, 2 * DAY, 71)),
            &["altered"],
            "the exchange shows trade 2 (order 1002), 2023-11-12T22:13:20Z, a sale of 0.00000071 ndau",
        ),
        (
            "another time",
            |world| world.shown.history.trades[1] = shown(sale(2, 2 * DAY + 1, 70)),
            &["altered"],
            "2023-11-12T22:13:19.999Z",
        ),
        (
            "a purchase",
            |world| world.shown.history.trades[1].side = Side::Buy,
            &["altered"],
            "a purchase",
        ),
        (
            "nothing sold",
            |world| {
                world.shown.history.trades[1].side = Side::Sell {
                    quantity: Napu::ZERO,
                }
            },
            &["altered"],
            "a sale of 0 ndau",
        ),
        (
            "the same trade with another order",
            |world| world.shown.history.trades[1].id.order = 7,
            &["not_shown"],
            "trade 2 (order 1002)",
        ),
        (
            "twice in the ledger, and on the chain",
            |world| {
                let again = entry(&[sale(3, DAY, 110)], 6);
                world.chain.standing.push(standing(again.issue, 106));
                world.chain.issued = napu(1340);
                world.cursor.at = Some(at(NOW - HOUR, 1340));
                world.entries.push(again);
            },
            &["twice"],
            "issued twice: trade 3 (order 1003), 2023-11-13T22:13:20Z, 0.0000011 ndau, by",
        ),
        (
            "not on the chain",
            |world| {
                world.chain.standing.remove(1);
            },
            &["not_on_chain"],
            "in the ledger, but not on the chain: T2WQAOi87etW1jLUAaS0Sg, sequence 4, 0.0000007 ndau, block 104",
        ),
        (
            "not in the index",
            |world| {
                let gone = world.chain.standing.remove(1);
                world.chain.held.insert(gone.hash);
            },
            &["not_on_chain"],
            "that block holds its hash",
        ),
        (
            "at another height",
            |world| world.chain.standing[1].height = 99,
            &["other_height"],
            "in block 104 by the ledger and 99 by the chain",
        ),
        (
            "another type under its hash",
            |world| world.chain.standing[1].what = What::Foreign,
            &["foreign"],
            "another transaction has its hash",
        ),
        (
            "issued by somebody",
            |world| {
                world.chain.standing.push(standing(issue(40, 7), 120));
                world.chain.issued = napu(1270);
            },
            &["not_in_ledger", "total"],
            "on the chain, but not in the ledger:",
        ),
        (
            "issued by others, and decided less",
            |world| {
                world.chain.standing.push(standing(issue(40, 7), 120));
                world.chain.standing.push(standing(issue(41, 8), 121));
                world.chain.issued = napu(1311);
                world.cursor.at = Some(at(NOW - HOUR, 1270));
                world.decide(Verdict::Others { issued: napu(40) });
            },
            &["not_in_ledger", "total"],
            "sequence 8, 0.00000041 ndau, block 121",
        ),
        (
            "a total that is too large",
            |world| world.chain.issued = napu(1231),
            &["total"],
            "the chain has issued 0.00001231 ndau, this folder accounts for 0.0000123",
        ),
        (
            "a total that is too small",
            |world| world.chain.issued = napu(1229),
            &["total"],
            "0.00001229",
        ),
        (
            "a cursor below its ledger",
            |world| {
                world.cursor.at = Some(at(NOW - HOUR, 229));
                world.chain.issued = napu(229);
            },
            &["cursor"],
            "the cursor accounts for 0.00000229 ndau, the ledger alone adds up to 0.0000023",
        ),
        (
            "nothing shown at all",
            |world| world.shown.history.trades.clear(),
            &["not_shown", "not_shown", "not_shown"],
            "trade 1",
        ),
    ];
    for (case, spoil, expected, told) in cases {
        let mut world = World::new();
        spoil(&mut world);
        assert_eq!(world.names(), expected, "{case}");
        let all: Vec<String> = world
            .found()
            .differences
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            all.iter().any(|one| one.contains(told)),
            "{case}: {told:?} is not in {all:#?}"
        );
    }
}

#[test]
fn what_is_rightly_not_issued_is_counted_apart() {
    type Change = fn(&mut World);
    let cases: [(&str, Change, Lot, Tally); 15] = [
        (
            "newer than the cursor",
            |world| world.sell(sale(9, HOUR - 1, 5)),
            Lot::Waiting,
            tally(1, 5),
        ),
        (
            "shown late",
            |world| world.sell(sale(9, HOUR + LOOK_BACK_MS - 1, 5)),
            Lot::Waiting,
            tally(1, 5),
        ),
        (
            "too young",
            |world| world.sell(sale(9, 9_999, 5)),
            Lot::Young,
            tally(1, 5),
        ),
        (
            "before the start",
            |world| {
                world.sell(sale(9, 10 * DAY, 5));
                world.start = Start::Time(NOW - 10 * DAY);
            },
            Lot::BeforeStart,
            tally(1, 5),
        ),
        (
            "given up by a decision",
            |world| {
                world.sell(sale(9, 10 * DAY, 5));
                world.decide(Verdict::Skipped {
                    after_ms: NOW - 10 * DAY - 1,
                    until_ms: NOW - 10 * DAY,
                });
            },
            Lot::GivenUp,
            tally(1, 5),
        ),
        (
            "in flight",
            |world| fly(world, &[sale(9, HOUR / 2, 5)], &[sale(8, HOUR / 3, 6)]),
            Lot::InFlight,
            tally(1, 5),
        ),
        (
            "left for the next batch",
            |world| fly(world, &[sale(9, HOUR / 2, 5)], &[sale(8, HOUR / 3, 6)]),
            Lot::Left,
            tally(1, 6),
        ),
        (
            "in flight, and on the chain",
            |world| {
                fly(world, &[sale(9, HOUR / 2, 5)], &[]);
                world.chain.standing.push(standing(issue(5, 7), 120));
                world.chain.issued = napu(1235);
            },
            Lot::AppliedInFlight,
            tally(1, 5),
        ),
        (
            "in flight, and written down already",
            |world| {
                fly(world, &[sale(9, HOUR / 2, 5)], &[]);
                world.entries.push(entry(&[sale(9, HOUR / 2, 5)], 7));
                world.chain.standing.push(standing(issue(5, 7), 107));
                world.chain.issued = napu(1235);
            },
            Lot::InLedger,
            tally(4, 235),
        ),
        (
            "older than the exchange shows",
            |world| {
                world.shown.history.trades.remove(0);
                world.shown.from_ms = NOW - 2 * DAY;
            },
            Lot::Older,
            tally(1, 50),
        ),
        (
            "newer than the export",
            |world| {
                world.shown.history.trades.pop();
                world.shown.until_ms = NOW - DAY - 1;
            },
            Lot::Newer,
            tally(1, 110),
        ),
        (
            "issued by others, as was decided once and then again",
            |world| {
                for (number, quantity) in [(7, 40), (8, 41), (10, 42)] {
                    let one = standing(issue(quantity, number), 110 + number);
                    world.chain.standing.push(one);
                }
                world.chain.issued = napu(1353);
                world.cursor.at = Some(at(NOW - HOUR, 1353));
                // The first is older than the folder's first Issue.
                world.decide(Verdict::Others { issued: napu(7) });
                world.decide(Verdict::Others { issued: napu(40) });
                world.decide(Verdict::Others { issued: napu(83) });
            },
            Lot::ByOthers,
            tally(3, 123),
        ),
        (
            "hidden by a neighbour's body, and proven by the total",
            |world| world.chain.standing[1].what = What::Hidden(issue(70, 4)),
            Lot::InLedger,
            tally(3, 230),
        ),
        (
            "hidden by a neighbour's body, where the total proves nothing",
            |world| {
                world.chain.standing[1].what = What::Hidden(issue(70, 4));
                world.sole_issuer = false;
            },
            Lot::Hidden,
            tally(1, 70),
        ),
        (
            "issued by others, as the configuration says",
            |world| {
                world.chain.standing.push(standing(issue(40, 7), 120));
                world.chain.issued = napu(9999);
                world.sole_issuer = false;
            },
            Lot::ByOthers,
            tally(1, 40),
        ),
    ];
    for (case, change, lot, expected) in cases {
        let mut world = World::new();
        change(&mut world);
        let found = world.found();
        assert_eq!(found.differences, [], "{case}");
        assert_eq!(found.lot(lot), expected, "{case}");
        // Nothing falls between the lots.
        let whole = |whole: Lot, parts: &[Lot]| {
            let parts = parts.iter().map(|lot| found.lot(*lot));
            let all = parts.fold(tally(0, 0), |all, one| Tally {
                count: all.count + one.count,
                sum: all.sum.unwrap().checked_add(one.sum.unwrap()),
            });
            assert_eq!(found.lot(whole), all, "{case}: {whole:?}");
        };
        whole(
            Lot::Sold,
            &[
                Lot::Issued,
                Lot::InFlight,
                Lot::Left,
                Lot::Young,
                Lot::Waiting,
                Lot::GivenUp,
            ],
        );
        whole(Lot::Recorded, &[Lot::Confirmed, Lot::Older, Lot::Newer]);
        whole(
            Lot::OnChain,
            &[
                Lot::InLedger,
                Lot::Hidden,
                Lot::AppliedInFlight,
                Lot::ByOthers,
            ],
        );
    }
}

fn fly(world: &mut World, batch: &[Sale], left: &[Sale]) {
    batch.iter().chain(left).for_each(|sale| world.sell(*sale));
    let batch = Batch::new(batch.to_vec()).unwrap();
    let at = at(NOW - 1000, 1230);
    world.pending = Some(Pending {
        candidates: vec![Candidate {
            issue: Issue::new(batch.quantity(), 7).unwrap(),
            sales: batch.sales().len(),
            base: Base {
                sequence: 6,
                height: 106,
                issued: at.issued,
            },
            signatures: Vec::new(),
        }],
        batch,
        progress: Progress {
            start: Start::Beginning,
            at,
            others: Vec::new(),
        },
        left: left.to_vec(),
    });
}

#[test]
fn a_folder_that_never_ran_has_nothing_issued_and_nothing_wrong() {
    let mut world = World::new();
    world.cursor = Cursor::new(Start::Beginning, "XND_USDT".to_owned());
    world.entries.clear();
    world.chain.standing.clear();
    let found = world.found();
    assert_eq!(found.differences, []);
    assert_eq!(found.lot(Lot::Waiting), tally(3, 230));
    assert_eq!(found.accounted, None);
}

#[test]
fn what_the_chain_may_still_show_is_looked_for_again() {
    let mut world = World::new();
    world.chain.issued = napu(1229);
    assert!(world.found().may_pass());
    let mut world = World::new();
    world.chain.standing.pop();
    assert!(world.found().may_pass());
    let mut world = World::new();
    world.shown.history.trades.pop();
    assert!(!world.found().may_pass());
}

#[test]
fn sums_beyond_all_ndau_are_told_and_do_not_wrap() {
    let mut world = World::new();
    for (number, age) in [(7, 1), (8, 2), (9, 3)] {
        world.sell(sale(number, age * 20_000, i64::MAX.unsigned_abs()));
    }
    let found = world.found();
    assert_eq!(
        found.lot(Lot::Waiting),
        Tally {
            count: 3,
            sum: None
        }
    );
    assert_eq!(found.differences, []);
}

/// The same world, by second and amount: numbers of another dialect, or none.
#[test]
fn without_common_numbers_sales_are_compared_by_second_and_amount() {
    let unnumbered = || {
        let mut world = World::new();
        world.shown.numbered = false;
        world.shown.settled_ms = u64::MAX;
        for (line, trade) in (2..).zip(&mut world.shown.history.trades) {
            trade.id = TradeId {
                trade: line,
                order: 0,
            };
            trade.time_ms -= trade.time_ms % 1000;
        }
        world
    };
    let found = unnumbered().found();
    assert_eq!((found.differences, found.by_number), (Vec::new(), false));
    let mut other_dialect = World::new();
    other_dialect.shown.history.dialect = Dialect::V2;
    assert!(!other_dialect.found().by_number);
    assert_eq!(other_dialect.names(), Vec::<&str>::new());

    let mut twice_shown = unnumbered();
    let again = twice_shown.shown.history.trades[0];
    twice_shown.shown.history.trades.push(again);
    assert_eq!(twice_shown.names(), ["not_issued"]);
    let mut newer = unnumbered();
    newer.sell(sale(9, HOUR - 1000, 5));
    assert_eq!(newer.names(), Vec::<&str>::new());
    assert_eq!(newer.found().lot(Lot::Waiting), tally(1, 5));
    let mut altered = unnumbered();
    altered.shown.history.trades[1] = shown(sale(2, 2 * DAY, 71));
    assert_eq!(altered.names(), ["not_issued", "not_shown"]);
    // A purchase is no counterpart, whatever it is called.
    let mut bought = unnumbered();
    bought.shown.history.trades[1].side = Side::Buy;
    assert_eq!(bought.names(), ["not_shown"]);
    // In the very second in which issuing starts.
    let mut start = unnumbered();
    start.start = Start::Time(NOW - 20 * DAY + 500);
    for (age, quantity) in [(20 * DAY, 1), (20 * DAY + 1000, 2)] {
        start.sell(sale(9, age, quantity));
    }
    assert_eq!(start.names(), ["not_issued"]);
    assert_eq!(start.found().lot(Lot::BeforeStart), tally(1, 2));
}

/// Every subset of what three sales can be, against a count that is right by inspection.
#[test]
fn every_sale_is_in_one_lot_or_named() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Agrees,
        Hidden,
        Unwritten,
        Altered,
    }
    use Fate::{Agrees, Altered, Hidden, Unwritten};
    const FATES: [Fate; 4] = [Agrees, Hidden, Unwritten, Altered];
    for first in FATES {
        for second in FATES {
            for third in FATES {
                let fates = [first, second, third];
                let mut world = World::new();
                let (mut trades, mut entries, mut standing) = (vec![], vec![], vec![]);
                for (index, fate) in fates.iter().enumerate() {
                    let mut trade = world.shown.history.trades[index];
                    if *fate == Altered {
                        trade.side = Side::Buy;
                    }
                    if *fate != Hidden {
                        trades.push(trade);
                    }
                    if *fate != Unwritten {
                        entries.push(world.entries[index].clone());
                        standing.push(world.chain.standing[index].clone());
                    }
                }
                world.shown.history.trades = trades;
                world.entries = entries;
                world.chain.standing = standing;
                let total = 1000
                    + world
                        .entries
                        .iter()
                        .map(|one| one.issue.quantity().get())
                        .sum::<u64>();
                world.chain.issued = napu(total);
                world.cursor.at = Some(at(NOW - HOUR, total));

                let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
                for (fate, name) in [
                    (Hidden, "not_shown"),
                    (Unwritten, "not_issued"),
                    (Altered, "altered"),
                ] {
                    let count = fates.iter().filter(|one| **one == fate).count();
                    if count > 0 {
                        expected.insert(name, count);
                    }
                }
                let mut found: BTreeMap<&str, usize> = BTreeMap::new();
                for name in world.names() {
                    *found.entry(name).or_default() += 1;
                }
                assert_eq!(found, expected, "{fates:?}");
                let agree = fates.iter().filter(|one| **one == Agrees).count();
                assert_eq!(world.found().lot(Lot::Issued).count, agree, "{fates:?}");
            }
        }
    }
}

const LIST: &str = "Time,Symbol,Side,Price,Filled Quantity,Total,Fee\n";

fn trades(list: &str) -> Result<Vec<(u64, Option<u64>)>, String> {
    let list = parse(list.as_bytes(), "XND_USDT").map_err(|error| error.to_string())?;
    let napu = |trade: &Trade| match trade.side {
        Side::Sell { quantity } => Some(quantity.get()),
        Side::Buy => None,
    };
    Ok(list
        .trades
        .iter()
        .map(|trade| (trade.time_ms, napu(trade)))
        .collect())
}

#[test]
fn a_list_is_read_exactly() {
    let list = format!(
        "{LIST}2026-08-01 12:34:56,XND/USDT,SELL,0.25,0.29,0.07,0.0001\n\
         2026-08-01 12:34:55,XND_USDT,buy,0.25,whatever,0.07,\n\
         2026-08-01 12:34:57,BTC_USDT,sell,0.25,1.123456789123,0.07,0.0001\n"
    );
    let read = parse(list.as_bytes(), "XND_USDT").unwrap();
    assert_eq!(
        (read.others, read.numbered, read.zone_assumed),
        (1, false, true)
    );
    let base = 1_785_587_696_000;
    assert_eq!(
        trades(&list).unwrap(),
        [(base - 1000, None), (base, Some(29_000_000))]
    );
    // A mark at the start, carriage returns, quotes, tabs that keep a spreadsheet from reading numbers.
    let decorated = "\u{feff}\"Time(UTC)\",Pair,Direction,\"Amount(XND)\",Trade ID,Order No.\r\n\
         \"2026-08-01 12:34:56.789\",XNDUSDT,Sell,\"0.29\",\t18446744073709551615,\t5\r\n";
    let read = parse(decorated.as_bytes(), "XND_USDT").unwrap();
    assert!(read.numbered && !read.zone_assumed);
    assert_eq!(read.trades[0].time_ms, base + 789);
    assert_eq!(
        read.trades[0].id,
        TradeId {
            trade: u64::MAX,
            order: 5
        }
    );
}

#[test]
fn times_are_read_in_their_zone() {
    let base = 1_785_587_696_000;
    for (name, cell, expected) in [
        ("Time", "2026-08-01T12:34:56Z", Some(base)),
        ("Time", "2026-08-01 20:34:56+08:00", Some(base)),
        ("Time", "2026-08-01 12:34:56 UTC", Some(base)),
        ("Time(UTC+8)", "2026-08-01 20:34:56", Some(base)),
        ("Trade Time (UTC-03:30)", "2026/08/01 09:04:56", Some(base)),
        ("Date(GMT)", "2026-08-01 12:34:56", Some(base)),
        ("Date UTC", "2026-08-01 12:34:56", Some(base)),
        ("Time", "1785587696", Some(base)),
        ("Time", "1785587696000", Some(base)),
        ("Time(UTC+99)", "2026-08-01 20:34:56", None),
        ("Time(local)", "2026-08-01 20:34:56", None),
        ("Time", "2026-08-01", None),
        ("Time", "2026-08-01 12:34", None),
        ("Time", "01/08/2026 12:34:56", None),
        ("Time", "1969-12-31 23:59:59", None),
        ("Time", "17855876960", None),
        ("Time", "", None),
        ("Time", "2026-08-01T12:34:56[Europe/Paris]", None),
        ("Time", "2026-08-01 25:34:56", None),
    ] {
        let list = format!("{name},Symbol,Side,Size\n{cell},XND_USDT,sell,1\n");
        let read = trades(&list)
            .ok()
            .and_then(|trades| Some(trades.first()?.0));
        assert_eq!(read, expected, "{name}: {cell}");
    }
}

#[test]
fn amounts_are_read_only_where_it_is_certain_of_which_coin() {
    for (name, cell, expected) in [
        ("Size", "0.29", Some(29_000_000)),
        ("Size", "0.29 XND", Some(29_000_000)),
        ("Size", "0.29xnd", Some(29_000_000)),
        ("Amount", "0.29 XND", Some(29_000_000)),
        ("Amount(XND)", "0.29", Some(29_000_000)),
        ("Executed Amount", "1e-8 XND", Some(1)),
        ("Amount", "0.29", None),
        ("Amount(USDT)", "0.29", None),
        ("Amount", "0.29 USDT", None),
        ("Size", "0.29 USDT", None),
        ("Size", "1,000.5", None),
        ("Size", "0.123456789", None),
        ("Size", "-1", None),
        ("Size", "", None),
        ("Size", "NaN", None),
        ("Size", "92233720368.54775808", None),
    ] {
        let list =
            format!("Time,Symbol,Side,{name}\n2026-08-01 12:34:56,XND_USDT,sell,\"{cell}\"\n");
        let read = trades(&list).ok().and_then(|trades| trades.first()?.1);
        assert_eq!(read, expected, "{name}: {cell}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let row = "2026-08-01 12:34:56,XND_USDT,sell,1\n";
    for (list, told) in [
        ("", "line 1: no column says when"),
        ("Time,Symbol,Side\n", "line 1: no column says how much"),
        ("Time,Symbol,Size\n", "line 1: no column says which way"),
        ("Time,Side,Size\n", "line 1: no column says of which pair"),
        (
            "Time,Symbol,Side,Size,Status\n",
            "line 1, column 5 (Status): no column that this program knows",
        ),
        (
            "Time,Symbol,Side,Size,Quantity\n",
            "line 1, column 5 (Quantity): another column says the same",
        ),
        (
            "Time;Symbol;Side;Size\n",
            "line 1, column 1 (Time;Symbol;Side;Size): no column",
        ),
        (
            &format!("Time,Symbol,Side,Size\n{row}2026-08-01 12:34:56,XND_USDT,sell,one\n"),
            "line 3, column 4 (Size): \"one\" is not a decimal number",
        ),
        (
            &format!("Time,Symbol,Side,Size\n{row}2026-08-01 12:34:56,XND_USDT,sold,1\n"),
            "line 3, column 3 (Side): \"sold\" is neither",
        ),
        (
            &format!("Time,Symbol,Side,Size\n{row}yesterday,XND_USDT,sell,1\n"),
            "line 3, column 1 (Time): \"yesterday\" is no time",
        ),
        (
            &format!("Time,Symbol,Side,Size\n{row}2026-08-01 12:34:56,XND_USDT\n"),
            "line 3: it has 2 columns, the first line has 4",
        ),
        (
            "Trade ID,Order ID,Time,Symbol,Side,Size\n1,2,2026-08-01 12:34:56,XND_USDT,sell,1\n\
             1,2,2026-08-01 12:34:56,XND_USDT,sell,1\n",
            "line 3, column 1 (Trade ID): trade 1 (order 2) stands in the list before",
        ),
        (
            "Trade ID,Order ID,Time,Symbol,Side,Size\n1.2e17,2,2026-08-01 12:34:56,XND_USDT,sell,1\n",
            "line 2, column 1 (Trade ID): \"1.2e17\" is no number",
        ),
    ] {
        let error = trades(list).unwrap_err();
        assert!(error.contains(told), "{told:?} is not in {error:?}");
    }
    let error = parse(
        b"Time,Symbol,Side,Size\n\xff\xfe,XND_USDT,sell,1\n",
        "XND_USDT",
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("line 2: it is no UTF-8 text"), "{error}");
}
