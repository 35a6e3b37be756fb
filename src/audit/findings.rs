//! What a comparison finds: lots, which are counted, and differences, which are named.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::utc;
use crate::exchange::Trade;
use crate::napu::Napu;
use crate::ndau::{Issue, TxHash};
use crate::sales::Sale;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lot {
    /// Shown by the exchange, and ours to issue.
    Sold,
    /// Of these: in the ledger, with the same time and amount.
    Issued,
    /// Of these: in the batch in flight.
    InFlight,
    /// Of these: left for the batch after it, because it is as large as one can be.
    Left,
    /// Of these: too young.
    Young,
    /// Of these: newer than the cursor, or shown only after it had passed.
    Waiting,
    /// Of these: given up by a decision.
    GivenUp,
    /// Shown by the exchange, sold before issuing starts.
    BeforeStart,
    /// In the ledger.
    Recorded,
    /// Of these: shown by the exchange.
    Confirmed,
    /// Of these: older than what the exchange shows.
    Older,
    /// Of these: newer than that.
    Newer,
    /// `Issue`s on the chain.
    OnChain,
    /// Of these: in the ledger, with the same block.
    InLedger,
    /// Of these: in the ledger, with the same block, but a neighbour's body, where others issue too.
    Hidden,
    /// Of these: in flight here.
    AppliedInFlight,
    /// Of these: by others, as a decision or the configuration says.
    ByOthers,
}

/// How many, and how much in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    /// How much; `None` if it is more than can be.
    pub sum: Option<Napu>,
}

impl Tally {
    pub(super) const NOTHING: Tally = Tally {
        count: 0,
        sum: Some(Napu::ZERO),
    };
}

/// Where two of the three do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Sold, and not in the ledger, though the cursor is past it.
    NotIssued {
        /// The sale.
        sale: Sale,
    },
    /// In the ledger, and not shown by the exchange, though within what it shows.
    NotShown {
        /// The sale, as the ledger has it.
        sale: Sale,
        /// By which `Issue`.
        by: TxHash,
    },
    /// In the ledger with another time, amount or side than the exchange shows.
    Altered {
        /// The sale, as the ledger has it.
        sale: Sale,
        /// As the exchange shows it.
        shown: Trade,
        /// By which `Issue`.
        by: TxHash,
    },
    /// Issued twice.
    Twice {
        /// The sale.
        sale: Sale,
        /// By which `Issue`.
        first: TxHash,
        /// And by which other.
        second: TxHash,
    },
    /// In the ledger, and not on the chain.
    NotOnChain {
        /// The `Issue`.
        issue: Issue,
        /// Its block, by the ledger.
        height: u64,
        /// Whether that block holds its hash, though the node's index does not show it as applied.
        held: bool,
    },
    /// In the ledger, and on the chain under its hash is another transaction.
    Foreign {
        /// The `Issue`.
        issue: Issue,
        /// The block.
        height: u64,
    },
    /// In the ledger and on the chain, at different heights.
    OtherHeight {
        /// The `Issue`.
        issue: Issue,
        /// By the ledger.
        ledger: u64,
        /// By the chain.
        chain: u64,
    },
    /// On the chain, and not in the ledger.
    NotInLedger {
        /// The `Issue`.
        issue: Issue,
        /// Its block.
        height: u64,
    },
    /// The chain's total issued is not what this folder accounts for.
    Total {
        /// The chain's.
        found: Napu,
        /// The folder's; `None` if that is more than can be.
        accounted: Option<Napu>,
    },
    /// The cursor accounts for less than the ledger's own sum.
    Cursor {
        /// The cursor's.
        accounted: Napu,
        /// The ledger's; `None` if that is more than can be.
        recorded: Option<Napu>,
    },
}

impl Difference {
    /// Its name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Difference::NotIssued { .. } => "not_issued",
            Difference::NotShown { .. } => "not_shown",
            Difference::Altered { .. } => "altered",
            Difference::Twice { .. } => "twice",
            Difference::NotOnChain { .. } => "not_on_chain",
            Difference::Foreign { .. } => "foreign",
            Difference::OtherHeight { .. } => "other_height",
            Difference::NotInLedger { .. } => "not_in_ledger",
            Difference::Total { .. } => "total",
            Difference::Cursor { .. } => "cursor",
        }
    }

    /// Whether another look at the chain could end it: its index and its totals trail its blocks.
    fn may_pass(&self) -> bool {
        match self {
            Difference::NotOnChain { .. }
            | Difference::NotInLedger { .. }
            | Difference::Total { .. } => true,
            Difference::NotIssued { .. }
            | Difference::NotShown { .. }
            | Difference::Altered { .. }
            | Difference::Twice { .. }
            | Difference::Foreign { .. }
            | Difference::OtherHeight { .. }
            | Difference::Cursor { .. } => false,
        }
    }
}

/// A sale in words.
fn told(sale: &Sale) -> String {
    let (id, time, quantity) = (sale.id, utc(sale.time_ms), sale.quantity);
    format!("{id}, {time}, {quantity} ndau")
}

fn told_issue(issue: &Issue) -> String {
    let (hash, sequence, quantity) = (issue.hash(), issue.sequence(), issue.quantity());
    format!("{hash}, sequence {sequence}, {quantity} ndau")
}

/// A sum in words.
pub(super) fn told_sum(sum: Option<Napu>) -> String {
    sum.map_or_else(
        || "more than there can be".to_owned(),
        |sum| sum.to_string(),
    )
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::NotIssued { sale } => {
                write!(f, "sold, but not in the ledger: {}", told(sale))
            }
            Difference::NotShown { sale, by } => write!(
                f,
                "in the ledger, but not shown by the exchange: {}, issued by {by}",
                told(sale)
            ),
            Difference::Altered { sale, shown, by } => write!(
                f,
                "in the ledger otherwise than the exchange shows it: {}, issued by {by}; the exchange shows {}, {}, {} ndau",
                told(sale),
                shown.id,
                utc(shown.time_ms),
                shown.side
            ),
            Difference::Twice {
                sale,
                first,
                second,
            } => write!(
                f,
                "issued twice: {}, by {first} and by {second}",
                told(sale)
            ),
            Difference::NotOnChain {
                issue,
                height,
                held,
            } => {
                write!(
                    f,
                    "in the ledger, but not on the chain: {}, block {height}",
                    told_issue(issue)
                )?;
                match held {
                    true => f.write_str(
                        " (that block holds its hash: this node's index may be lost; ask another node)",
                    ),
                    false => Ok(()),
                }
            }
            Difference::Foreign { issue, height } => write!(
                f,
                "in the ledger, but another transaction has its hash on the chain, in block {height}: {}",
                told_issue(issue)
            ),
            Difference::OtherHeight {
                issue,
                ledger,
                chain,
            } => write!(
                f,
                "at another height: {}, in block {ledger} by the ledger and {chain} by the chain",
                told_issue(issue)
            ),
            Difference::NotInLedger { issue, height } => write!(
                f,
                "on the chain, but not in the ledger: {}, block {height}",
                told_issue(issue)
            ),
            Difference::Total { found, accounted } => write!(
                f,
                "the chain has issued {found} ndau, this folder accounts for {}",
                told_sum(*accounted)
            ),
            Difference::Cursor {
                accounted,
                recorded,
            } => write!(
                f,
                "the cursor accounts for {accounted} ndau, the ledger alone adds up to {}",
                told_sum(*recorded)
            ),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    lots: BTreeMap<Lot, Tally>,
    /// Where they do not agree: sales, then `Issue`s, then totals.
    pub differences: Vec<Difference>,
    /// Whether sales were matched by the exchange's own numbers, and not by second and amount.
    pub by_number: bool,
    /// How many of the account's transactions are no `Issue`s, or cannot be told.
    pub other_transactions: usize,
    /// What the folder accounts for of the chain's total; `None` where it does not.
    pub accounted: Option<Napu>,
}

impl Findings {
    /// What is in a lot.
    pub fn lot(&self, lot: Lot) -> Tally {
        self.lots.get(&lot).copied().unwrap_or(Tally::NOTHING)
    }

    /// Whether another look at the chain could find less.
    pub fn may_pass(&self) -> bool {
        self.differences.iter().any(Difference::may_pass)
    }

    pub(super) fn add(&mut self, lot: Lot, quantity: Napu) {
        let tally = self.lots.entry(lot).or_insert(Tally::NOTHING);
        tally.count += 1;
        tally.sum = tally.sum.and_then(|sum| sum.checked_add(quantity));
    }

    pub(super) fn differ(&mut self, difference: Difference) {
        self.differences.push(difference);
    }
}
