//! What was sold, what the ledger says was issued, and what the chain holds: three accounts of the same thing become
//! the sums in which they agree, and each difference. Pure.
//!
//! The promise: every sale that the exchange shows, every sale in the ledger and every `Issue` on the chain is counted
//! in exactly one [`Lot`] of its account, or named in a [`Difference`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::findings::{Difference, Findings, Lot};
use crate::exchange::{History, Trade, TradeId};
use crate::napu::Napu;
use crate::ndau::{Issue, TxHash};
use crate::sales::{At, Cursor, Sale, Start, behind, counts, sale};
use crate::state::{Decision, Entry, Pending, Verdict};

/// What the exchange shows, or showed when it was asked.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The trades.
    pub history: History,
    /// Whether the trades carry the exchange's own numbers, those of the history's dialect.
    pub numbered: bool,
    /// From when on nothing is missing, in milliseconds since the epoch.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// What is younger waits for a later run.
    pub settled_ms: u64,
}

/// What is on the chain under a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// This `Issue`.
    Issue(Issue),
    /// What has the hash of this `Issue`, with a neighbour's body: only the total shows that it is one.
    Hidden(Issue),
    /// A transaction of another type with the same numbers.
    Foreign,
    /// Another type, or one whose body the node shows a neighbour's for: it cannot be told.
    Other,
}

/// An applied transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its hash.
    pub hash: String,
    /// Its block.
    pub height: u64,
    /// What it is.
    pub what: What,
}

/// What the chain shows of the issuer's account since the folder's first `Issue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnChain {
    /// The account's transactions, those of the ledger and those in flight among them, each once.
    pub standing: Vec<Standing>,
    /// Hashes that the index does not show, though the block that the ledger names holds them.
    pub held: BTreeSet<String>,
    /// The total issued.
    pub issued: Napu,
}

/// All that is compared.
#[derive(Clone, Copy)]
pub struct Books<'a> {
    /// The exchange's.
    pub shown: &'a Shown,
    /// Where issuing starts, its trade found.
    pub start: Start,
    /// The state folder's: how far everything is decided,
    pub cursor: &'a Cursor,
    /// the batch in flight,
    pub pending: Option<&'a Pending>,
    /// what was issued,
    pub entries: &'a [Entry],
    /// and what people decided.
    pub decisions: &'a [Decision],
    /// The chain's.
    pub chain: &'a OnChain,
    /// Whether nobody else issues on this network.
    pub sole_issuer: bool,
}

/// Compares.
pub fn compare(books: Books) -> Findings {
    let sales = Sales::new(&books);
    let mut findings = Findings::default();
    findings.by_number = sales.by_number;
    sales.compare(&mut findings);
    compare_issues(&books, &mut findings);
    compare_totals(&books, &mut findings);
    findings
}

impl<'a> Books<'a> {
    /// The systems that the folder was used with, if it was used.
    fn at(&self) -> Option<&'a At> {
        let in_flight = self.pending.map(|pending| &pending.progress.at);
        in_flight.or(self.cursor.at.as_ref())
    }

    fn is_in_flight(&self, issue: &Issue) -> bool {
        let candidates = self.pending.into_iter().flat_map(|one| &one.candidates);
        candidates.into_iter().any(|one| one.issue == *issue)
    }
}

/// By what a sale is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(TradeId),
    Look { second: u64, quantity: Napu },
}

/// The sales of the books.
struct Sales<'a> {
    books: &'a Books<'a>,
    /// Whether they are found again by the exchange's own numbers.
    by_number: bool,
    /// What the cursor remembers as decided.
    decided: BTreeSet<TradeId>,
}

impl<'a> Sales<'a> {
    fn new(books: &'a Books<'a>) -> Sales<'a> {
        // Numbers of one dialect mean nothing in the other.
        let dialect = books.shown.history.dialect;
        let by_number = books.shown.numbered
            && books.at().is_none_or(|at| at.dialect == dialect)
            && books.entries.iter().all(|entry| entry.dialect == dialect);
        Sales {
            books,
            by_number,
            decided: books.cursor.seen.iter().map(|seen| seen.id).collect(),
        }
    }

    fn key(&self, sale: &Sale) -> Key {
        if self.by_number {
            Key::Number(sale.id)
        } else {
            Key::Look {
                second: sale.time_ms / 1000,
                quantity: sale.quantity,
            }
        }
    }

    /// The latest that a trade can have happened: without numbers its time may be cut to the second.
    fn latest_ms(&self, trade: &Trade) -> u64 {
        if self.by_number {
            trade.time_ms
        } else {
            trade.time_ms.saturating_add(999)
        }
    }

    fn is_ours(&self, trade: &Trade) -> bool {
        let start = self.books.start;
        if self.by_number {
            counts(start, self.books.shown.history.dialect, trade)
        } else {
            start == Start::Beginning || self.latest_ms(trade) > start.time_ms()
        }
    }

    /// Where a sale of ours that is neither in the ledger nor in flight belongs, unless that is wrong.
    fn why_not_issued(&self, trade: &Trade) -> Option<Lot> {
        let given_up = |one: &Decision| match one.verdict {
            Verdict::Skipped { after_ms, until_ms } => {
                trade.time_ms > after_ms && trade.time_ms <= until_ms
            }
            _ => false,
        };
        if self.books.decisions.iter().any(given_up) {
            return Some(Lot::GivenUp);
        }
        let waits = match &self.books.cursor.at {
            None => true,
            Some(at) if self.by_number => {
                behind(trade.time_ms, at.time_ms) && !self.decided.contains(&trade.id)
            }
            Some(at) => self.latest_ms(trade) > at.time_ms,
        };
        match waits {
            true if trade.time_ms > self.books.shown.settled_ms => Some(Lot::Young),
            true => Some(Lot::Waiting),
            false => None,
        }
    }

    fn compare(&self, findings: &mut Findings) {
        let books = self.books;
        let mut recorded: BTreeMap<Key, VecDeque<(Sale, &Entry)>> = BTreeMap::new();
        for entry in books.entries {
            for sale in &entry.sales {
                findings.add(Lot::Recorded, sale.quantity);
                let same = recorded.entry(self.key(sale)).or_default();
                match same.front() {
                    Some((_, first)) if self.by_number => findings.differ(Difference::Twice {
                        sale: *sale,
                        first: first.issue.hash(),
                        second: entry.issue.hash(),
                    }),
                    _ => same.push_back((*sale, entry)),
                }
            }
        }
        let mut waiting: BTreeMap<Key, Vec<Lot>> = BTreeMap::new();
        if let Some(pending) = books.pending {
            let of = |lot| move |sale| (sale, lot);
            let in_flight = pending.batch.sales().iter().map(of(Lot::InFlight));
            for (sale, lot) in in_flight.chain(pending.left.iter().map(of(Lot::Left))) {
                waiting.entry(self.key(sale)).or_default().push(lot);
            }
        }
        for trade in &books.shown.history.trades {
            let sold = sale(trade);
            let key = match sold {
                Some(sale) => self.key(&sale),
                None if self.by_number => Key::Number(trade.id),
                None => continue,
            };
            let issued = recorded.get_mut(&key).and_then(VecDeque::pop_front);
            match (issued, sold) {
                (Some((as_recorded, entry)), sold) => {
                    if let Some(sale) = sold {
                        findings.add(Lot::Sold, sale.quantity);
                    }
                    let same = match sold {
                        Some(sale) if self.by_number => sale == as_recorded,
                        Some(_) => true,
                        None => false,
                    };
                    if same {
                        findings.add(Lot::Issued, as_recorded.quantity);
                        findings.add(Lot::Confirmed, as_recorded.quantity);
                    } else {
                        findings.differ(Difference::Altered {
                            sale: as_recorded,
                            shown: *trade,
                            by: entry.issue.hash(),
                        });
                    }
                }
                (None, Some(sale)) if !self.is_ours(trade) => {
                    findings.add(Lot::BeforeStart, sale.quantity);
                }
                (None, Some(sale)) => {
                    findings.add(Lot::Sold, sale.quantity);
                    let in_flight = waiting.get_mut(&key).and_then(Vec::pop);
                    match in_flight.or_else(|| self.why_not_issued(trade)) {
                        Some(lot) => findings.add(lot, sale.quantity),
                        None => findings.differ(Difference::NotIssued { sale }),
                    }
                }
                (None, None) => {}
            }
        }
        for (sale, entry) in recorded.into_values().flatten() {
            if sale.time_ms / 1000 < books.shown.from_ms / 1000 {
                findings.add(Lot::Older, sale.quantity);
            } else if sale.time_ms > books.shown.until_ms {
                findings.add(Lot::Newer, sale.quantity);
            } else {
                findings.differ(Difference::NotShown {
                    sale,
                    by: entry.issue.hash(),
                });
            }
        }
    }
}

fn compare_issues(books: &Books, findings: &mut Findings) {
    let standing: BTreeMap<&str, &Standing> = books
        .chain
        .standing
        .iter()
        .map(|one| (one.hash.as_str(), one))
        .collect();
    for entry in books.entries {
        let (issue, height) = (entry.issue, entry.height);
        let hash = issue.hash();
        match standing.get(hash.as_str()) {
            None => findings.differ(Difference::NotOnChain {
                issue,
                height,
                held: books.chain.held.contains(hash.as_str()),
            }),
            Some(found) if found.what == What::Foreign => {
                findings.differ(Difference::Foreign {
                    issue,
                    height: found.height,
                });
            }
            Some(found) if found.height != height => findings.differ(Difference::OtherHeight {
                issue,
                ledger: height,
                chain: found.height,
            }),
            Some(found) if found.what == What::Hidden(issue) && !books.sole_issuer => {
                findings.add(Lot::Hidden, issue.quantity());
            }
            Some(_) => findings.add(Lot::InLedger, issue.quantity()),
        }
    }
    let ledger: BTreeSet<TxHash> = books.entries.iter().map(|one| one.issue.hash()).collect();
    let mut unknown: Vec<(Issue, u64)> = Vec::new();
    for found in &books.chain.standing {
        match found.what {
            What::Issue(issue) | What::Hidden(issue) => {
                findings.add(Lot::OnChain, issue.quantity());
                if ledger.contains(&issue.hash()) {
                    continue;
                }
                if books.is_in_flight(&issue) {
                    findings.add(Lot::AppliedInFlight, issue.quantity());
                } else {
                    unknown.push((issue, found.height));
                }
            }
            What::Foreign | What::Other => findings.other_transactions += 1,
        }
    }
    unknown.sort_by_key(|(issue, _)| issue.sequence());
    let by_others = if books.sole_issuer {
        let quantities: Vec<Napu> = unknown.iter().map(|(issue, _)| issue.quantity()).collect();
        explained(&quantities, books.decisions)
    } else {
        vec![true; unknown.len()]
    };
    for ((issue, height), by_others) in unknown.into_iter().zip(by_others) {
        if by_others {
            findings.add(Lot::ByOthers, issue.quantity());
        } else {
            findings.differ(Difference::NotInLedger { issue, height });
        }
    }
}

/// Which of `issued`, oldest first, decisions say were issued by others. A decision is about the oldest one that was
/// not known then, or about all of these.
fn explained(issued: &[Napu], decisions: &[Decision]) -> Vec<bool> {
    let mut explained = vec![false; issued.len()];
    for decision in decisions {
        let Verdict::Others { issued: decided } = decision.verdict else {
            continue;
        };
        let next = explained.iter().take_while(|one| **one).count();
        let mut sum = Some(Napu::ZERO);
        let run = issued.iter().skip(next).position(|one| {
            sum = sum.and_then(|sum| sum.checked_add(*one));
            sum == Some(decided)
        });
        if let Some(last) = run {
            let covered = explained.iter_mut().skip(next).take(last + 1);
            covered.for_each(|one| *one = true);
        }
    }
    explained
}

fn compare_totals(books: &Books, findings: &mut Findings) {
    let (Some(at), true) = (books.at(), books.sole_issuer) else {
        return;
    };
    let applied = findings.lot(Lot::AppliedInFlight).sum;
    // A crash may have come after its line was written and before the cursor was.
    let (in_flight, others): (Vec<&Entry>, Vec<&Entry>) = books
        .entries
        .iter()
        .partition(|entry| books.is_in_flight(&entry.issue));
    let sum = |entries: &[&Entry]| Napu::sum(entries.iter().map(|entry| entry.issue.quantity()));
    let accounted = [Some(at.issued), applied, sum(&in_flight)];
    let accounted = accounted
        .into_iter()
        .try_fold(Napu::ZERO, |sum, part| sum.checked_add(part?));
    findings.accounted = accounted;
    let found = books.chain.issued;
    if accounted != Some(found) {
        findings.differ(Difference::Total { found, accounted });
    }
    let recorded = sum(&others);
    if recorded.is_none_or(|recorded| recorded > at.issued) {
        findings.differ(Difference::Cursor {
            accounted: at.issued,
            recorded,
        });
    }
}
