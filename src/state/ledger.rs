//! `ledger.jsonl`: one line per applied `Issue`, each with the hash of the line before it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{SaleRecord, all, amount};
use crate::exchange::{Dialect, TradeId};
use crate::napu::Napu;
use crate::ndau::{Issue, TxHash};
use crate::sales::{Batch, Sale};

const VERSION: u64 = 1;

/// What the first line has in place of the hash of a line before it.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One applied `Issue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The `Issue`.
    pub issue: Issue,
    /// Its block.
    pub height: u64,
    /// The sales that it issued; their sum is its quantity.
    pub sales: Vec<Sale>,
    /// When it was written, in milliseconds since the epoch by the host's clock.
    pub recorded_ms: u64,
    /// The pair.
    pub symbol: String,
    /// The chain's network.
    pub network: String,
    /// The exchange's dialect, which numbered the trades.
    pub dialect: Dialect,
    /// The fingerprint of the API key.
    pub account: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    version: u64,
    previous: String,
    recorded: String,
    recorded_ms: u64,
    network: String,
    sequence: u64,
    hash: String,
    height: u64,
    quantity_napu: String,
    symbol: String,
    dialect: String,
    account: String,
    trades: Vec<SaleRecord>,
}

/// The hex SHA-256 of a line without its end.
fn hash_of(line: &[u8]) -> String {
    hex::encode(Sha256::digest(line))
}

/// Every `Issue` that was applied, in order. What a crash tore off while appending is known, but never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
    last: String,
    /// The hash of the line before the last.
    before_last: String,
    /// How many bytes of the file are whole lines.
    whole: usize,
    torn: bool,
}

impl Ledger {
    /// The ledger in the file's content, with every hash and sum checked.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Ledger, String> {
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let (lines, rest) = bytes.split_at_checked(whole).unwrap_or((bytes, &[]));
        let mut ledger = Ledger {
            entries: Vec::new(),
            last: NO_LINE.to_owned(),
            before_last: NO_LINE.to_owned(),
            whole,
            torn: !rest.is_empty(),
        };
        let mut issued = BTreeSet::new();
        for (index, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let entry = ledger
                .read(line)
                .map_err(|what| format!("line {}: {what}", index + 1))?;
            if let Some(twice) = entry
                .sales
                .iter()
                .find(|sale| !issued.insert((sale.id, entry.dialect.to_string())))
            {
                return Err(format!(
                    "line {}: {} was issued before",
                    index + 1,
                    twice.id
                ));
            }
            if ledger
                .entries
                .last()
                .is_some_and(|last| last.issue.sequence() >= entry.issue.sequence())
            {
                return Err(format!(
                    "line {}: its sequence is not above that of the line before",
                    index + 1
                ));
            }
            ledger.before_last = std::mem::replace(&mut ledger.last, hash_of(line));
            ledger.entries.push(entry);
        }
        Ok(ledger)
    }

    fn read(&self, line: &[u8]) -> Result<Entry, String> {
        let line: Line = super::parse_json(line, VERSION)?;
        if line.previous != self.last {
            return Err("it does not carry the hash of the line before: a line was changed, added or removed".to_owned());
        }
        let quantity = amount("quantity_napu", &line.quantity_napu)?;
        let issue = Issue::new(quantity, line.sequence).map_err(|error| error.to_string())?;
        if issue.hash().as_str() != line.hash {
            return Err(format!(
                "its hash is {}, its numbers give {}",
                line.hash,
                issue.hash()
            ));
        }
        let batch = Batch::new(all(line.trades)?).ok_or("its trades are not a batch")?;
        if batch.quantity() != quantity {
            return Err("its quantity is not the sum of its trades".to_owned());
        }
        Ok(Entry {
            issue,
            height: line.height,
            sales: batch.sales().to_vec(),
            recorded_ms: line.recorded_ms,
            symbol: line.symbol,
            network: line.network,
            dialect: super::record::dialect(&line.dialect)?,
            account: line.account,
        })
    }

    /// The line to append for `entry`, with its end.
    pub(crate) fn print(&self, entry: &Entry) -> Vec<u8> {
        let line = Line {
            version: VERSION,
            previous: self.last.clone(),
            recorded: crate::clock::utc(entry.recorded_ms),
            recorded_ms: entry.recorded_ms,
            network: entry.network.clone(),
            sequence: entry.issue.sequence(),
            hash: entry.issue.hash().to_string(),
            height: entry.height,
            quantity_napu: entry.issue.quantity().get().to_string(),
            symbol: entry.symbol.clone(),
            dialect: entry.dialect.to_string(),
            account: entry.account.clone(),
            trades: entry.sales.iter().map(SaleRecord::from).collect(),
        };
        let mut bytes = serde_json::to_vec(&line).expect("numbers and strings are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// The hash of the last line.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// The hash of the last line once `entry` is appended, unless it is there.
    pub fn last_with(&self, entry: &Entry) -> String {
        if self.entry(&entry.issue).is_some() {
            return self.last.clone();
        }
        let line = self.print(entry);
        hash_of(line.strip_suffix(b"\n").unwrap_or(&line))
    }

    /// Whether a cursor that was written beside a last line of this hash belongs to this ledger: to the whole of it, or,
    /// while a batch is in flight whose line may just have been appended, to all but that.
    pub fn belongs_to(&self, last: &str, in_flight: bool) -> bool {
        last == self.last || (in_flight && last == self.before_last)
    }

    /// Every applied `Issue`, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether an append was cut off at the end of the file.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// How many bytes of the file are whole lines.
    pub(crate) fn whole(&self) -> usize {
        self.whole
    }

    /// The entry of this `Issue`.
    pub fn entry(&self, issue: &Issue) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.issue == *issue)
    }

    /// The first of `sales`, numbered in `dialect`, that was issued before, and by which `Issue`.
    pub fn issued_already(&self, sales: &[Sale], dialect: Dialect) -> Option<(TradeId, TxHash)> {
        let new: BTreeSet<TradeId> = sales.iter().map(|sale| sale.id).collect();
        self.entries
            .iter()
            .filter(|entry| entry.dialect == dialect)
            .find_map(|entry| {
                let twice = entry.sales.iter().find(|sale| new.contains(&sale.id))?;
                Some((twice.id, entry.issue.hash()))
            })
    }

    /// Everything that was ever issued; `None` if that is more than can be.
    pub fn total(&self) -> Option<Napu> {
        Napu::sum(self.entries.iter().map(|entry| entry.issue.quantity()))
    }
}
