//! `ledger.jsonl`: one line per applied `Issue`, and one per decision that a person took, each with the hash of the line
//! before it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{SaleRecord, all, amount};
use crate::clock::utc;
use crate::exchange::{Dialect, TradeId};
use crate::napu::Napu;
use crate::ndau::{Issue, TxHash};
use crate::sales::{Batch, Sale};

const VERSION: u64 = 1;

/// The kinds of lines.
const ISSUE: &str = "issue";
const DECISION: &str = "decision";

/// What is decided.
const APPLIED: &str = "applied";
const NEVER: &str = "never";
const ADOPTED: &str = "adopted";
const OTHERS: &str = "others";
const SAME_ACCOUNT: &str = "same_account";
const SKIPPED: &str = "skipped";

/// What the first line has in place of the hash of a line before it.
pub(crate) const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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

/// What a person decided, where the program could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When, in milliseconds since the epoch by the host's clock.
    pub recorded_ms: u64,
    /// Who, in their own words.
    pub by: String,
    /// Why, in their own words.
    pub why: String,
    /// What.
    pub verdict: Verdict,
    /// What they were shown.
    pub seen: Vec<String>,
}

/// What a decision says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This `Issue`, which was in flight, is applied, in this block. Its own line follows.
    Applied {
        /// The `Issue`.
        issue: Issue,
        /// Its block.
        height: u64,
    },
    /// None of the batch in flight, up to this sequence, is or can ever be applied.
    Never {
        /// The sequence.
        sequence: u64,
    },
    /// This `Issue` on the chain is for sales that this folder took for not issued. Its own line follows.
    Adopted {
        /// The `Issue`.
        issue: Issue,
        /// Its block.
        height: u64,
    },
    /// So much was issued by others, and none of it for sales that are ours to issue.
    Others {
        /// How much.
        issued: Napu,
    },
    /// The API key of this fingerprint belongs to the same account as the one before.
    SameAccount {
        /// The fingerprint.
        key: String,
    },
    /// What was sold after the one moment and up to the other, both in milliseconds since the epoch, can no longer be read,
    /// and is not issued by this folder.
    Skipped {
        /// After this.
        after_ms: u64,
        /// Up to this.
        until_ms: u64,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Applied { issue, height } => {
                write!(
                    f,
                    "{} in flight is applied, in block {height}",
                    issue.hash()
                )
            }
            Verdict::Never { sequence } => write!(
                f,
                "nothing in flight with sequence {sequence} is or can ever be applied"
            ),
            Verdict::Adopted { issue, height } => write!(
                f,
                "{} in block {height} is for sales that were taken for not issued",
                issue.hash()
            ),
            Verdict::Others { issued } => write!(
                f,
                "others issued {issued} ndau, none of it for sales of this folder"
            ),
            Verdict::SameAccount { key } => {
                write!(f, "API key {key} is of the same account as the one before")
            }
            Verdict::Skipped { after_ms, until_ms } => write!(
                f,
                "what was sold after {} and up to {} is not issued by this folder",
                utc(*after_ms),
                utc(*until_ms)
            ),
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// An applied `Issue`.
    Issue(&'a Entry),
    /// A decision.
    Decision(&'a Decision),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Issue,
    Decision,
}

#[derive(Deserialize)]
struct Kinded {
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionLine {
    version: u64,
    kind: String,
    previous: String,
    recorded: String,
    recorded_ms: u64,
    by: String,
    why: String,
    decided: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quantity_napu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    seen: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueLine {
    version: u64,
    kind: String,
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

/// `line` as it stands in the file, with its end.
fn line(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("numbers and strings are always JSON");
    bytes.push(b'\n');
    bytes
}

impl TryFrom<DecisionLine> for Decision {
    type Error = String;

    fn try_from(line: DecisionLine) -> Result<Self, String> {
        let quantity = line
            .quantity_napu
            .as_deref()
            .map(|text| amount("quantity_napu", text))
            .transpose()?;
        let numbers = (quantity, line.sequence, line.height);
        let span = (line.after_ms, line.until_ms);
        let verdict = match (line.decided.as_str(), numbers, line.key, span) {
            (
                decided @ (APPLIED | ADOPTED),
                (Some(quantity), Some(sequence), Some(height)),
                None,
                (None, None),
            ) => {
                let issue = Issue::new(quantity, sequence).map_err(|error| error.to_string())?;
                match decided {
                    APPLIED => Verdict::Applied { issue, height },
                    _ => Verdict::Adopted { issue, height },
                }
            }
            (NEVER, (None, Some(sequence), None), None, (None, None)) => {
                Verdict::Never { sequence }
            }
            (OTHERS, (Some(issued), None, None), None, (None, None)) => Verdict::Others { issued },
            (SAME_ACCOUNT, (None, None, None), Some(key), (None, None)) => {
                Verdict::SameAccount { key }
            }
            (SKIPPED, (None, None, None), None, (Some(after_ms), Some(until_ms))) => {
                Verdict::Skipped { after_ms, until_ms }
            }
            (decided, ..) => return Err(format!("it decides nothing known: {decided:?}")),
        };
        Ok(Decision {
            recorded_ms: line.recorded_ms,
            by: line.by,
            why: line.why,
            verdict,
            seen: line.seen,
        })
    }
}

/// The hex SHA-256 of a line without its end.
pub(crate) fn hash_of(line: &[u8]) -> String {
    hex::encode(Sha256::digest(line))
}

/// How many bytes of `bytes` are whole lines. A crash can keep the length of an append and lose some of what it wrote, which
/// then reads as zeros: such a last line is torn too.
fn whole_lines(bytes: &[u8]) -> usize {
    let ends = |byte: &u8| *byte == b'\n';
    let whole = bytes.iter().rposition(ends).map_or(0, |end| end + 1);
    let before_last = bytes.get(..whole.saturating_sub(1)).unwrap_or_default();
    let start = before_last.iter().rposition(ends).map_or(0, |end| end + 1);
    let last = before_last.get(start..).unwrap_or_default();
    if last.contains(&0) { start } else { whole }
}

/// Every `Issue` that was applied, and every decision, in order. What a crash tore off while appending is known, but
/// never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
    decisions: Vec<Decision>,
    /// What each line is, and its hash.
    lines: Vec<(Kind, String)>,
    /// How many bytes of the file are whole lines.
    whole: usize,
    torn: bool,
}

impl Ledger {
    /// The ledger in the file's content, with every hash and sum checked.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Ledger, String> {
        let whole = whole_lines(bytes);
        let (lines, rest) = bytes.split_at_checked(whole).unwrap_or((bytes, &[]));
        let mut ledger = Ledger {
            entries: Vec::new(),
            decisions: Vec::new(),
            lines: Vec::new(),
            whole,
            torn: !rest.is_empty(),
        };
        let mut issued = BTreeSet::new();
        for (index, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let kind = ledger
                .read(line, &mut issued)
                .map_err(|what| format!("line {}: {what}", index + 1))?;
            ledger.lines.push((kind, hash_of(line)));
        }
        Ok(ledger)
    }

    /// Reads one more line; `issued` are the sales of the lines before.
    fn read(
        &mut self,
        line: &[u8],
        issued: &mut BTreeSet<(TradeId, Dialect)>,
    ) -> Result<Kind, String> {
        let Kinded { kind } = super::parse_json(line, VERSION)?;
        match kind.as_str() {
            ISSUE => {
                let entry = self.issue(super::parse_json(line, VERSION)?)?;
                if let Some(twice) = entry
                    .sales
                    .iter()
                    .find(|sale| !issued.insert((sale.id, entry.dialect)))
                {
                    return Err(format!("{} was issued before", twice.id));
                }
                self.entries.push(entry);
                Ok(Kind::Issue)
            }
            DECISION => {
                let line: DecisionLine = super::parse_json(line, VERSION)?;
                self.follows(&line.previous)?;
                self.decisions.push(Decision::try_from(line)?);
                Ok(Kind::Decision)
            }
            other => Err(format!("its kind is {other:?}, which is no known one")),
        }
    }

    fn follows(&self, previous: &str) -> Result<(), String> {
        if previous == self.last() {
            Ok(())
        } else {
            Err("it does not carry the hash of the line before: a line was changed, added or removed".to_owned())
        }
    }

    fn issue(&self, line: IssueLine) -> Result<Entry, String> {
        self.follows(&line.previous)?;
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
        if self
            .entries
            .last()
            .is_some_and(|last| last.issue.sequence() >= issue.sequence())
        {
            return Err("its sequence is not above that of the Issue before".to_owned());
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
        line(&IssueLine {
            version: VERSION,
            kind: ISSUE.to_owned(),
            previous: self.last().to_owned(),
            recorded: utc(entry.recorded_ms),
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
        })
    }

    /// The line to append for `decision`, with its end.
    pub(crate) fn print_decision(&self, decision: &Decision) -> Vec<u8> {
        let napu = |amount: Napu| Some(amount.get().to_string());
        let mut record = DecisionLine {
            version: VERSION,
            kind: DECISION.to_owned(),
            previous: self.last().to_owned(),
            recorded: utc(decision.recorded_ms),
            recorded_ms: decision.recorded_ms,
            by: decision.by.clone(),
            why: decision.why.clone(),
            decided: String::new(),
            quantity_napu: None,
            sequence: None,
            height: None,
            key: None,
            after_ms: None,
            until_ms: None,
            seen: decision.seen.clone(),
        };
        let decided = match &decision.verdict {
            Verdict::Applied { issue, height } | Verdict::Adopted { issue, height } => {
                record.quantity_napu = napu(issue.quantity());
                record.sequence = Some(issue.sequence());
                record.height = Some(*height);
                match decision.verdict {
                    Verdict::Applied { .. } => APPLIED,
                    _ => ADOPTED,
                }
            }
            Verdict::Never { sequence } => {
                record.sequence = Some(*sequence);
                NEVER
            }
            Verdict::Others { issued } => {
                record.quantity_napu = napu(*issued);
                OTHERS
            }
            Verdict::SameAccount { key } => {
                record.key = Some(key.clone());
                SAME_ACCOUNT
            }
            Verdict::Skipped { after_ms, until_ms } => {
                (record.after_ms, record.until_ms) = (Some(*after_ms), Some(*until_ms));
                SKIPPED
            }
        };
        decided.clone_into(&mut record.decided);
        line(&record)
    }

    /// The hash of the last line.
    pub fn last(&self) -> &str {
        self.lines.last().map_or(NO_LINE, |(_, hash)| hash)
    }

    /// The hash of the last line once `entry` is appended, unless it is there.
    pub fn last_with(&self, entry: &Entry) -> String {
        if self.entry(&entry.issue).is_some() {
            return self.last().to_owned();
        }
        let line = self.print(entry);
        hash_of(line.strip_suffix(b"\n").unwrap_or(&line))
    }

    /// Whether a cursor that was written beside a last line of this hash belongs to this ledger: whatever came after that
    /// line is a decision, or one `Issue` that is `in_flight`, whose line may just have been appended.
    pub fn belongs_to(&self, last: &str, in_flight: impl Fn(&Issue) -> bool) -> bool {
        let after = match last {
            NO_LINE => 0,
            last => match self.lines.iter().position(|(_, hash)| hash == last) {
                Some(at) => at + 1,
                None => return false,
            },
        };
        let before = self.lines.iter().take(after);
        let known = before.filter(|(kind, _)| *kind == Kind::Issue).count();
        match self.entries.get(known..) {
            Some([]) => true,
            Some([one]) => in_flight(&one.issue),
            Some(_) | None => false,
        }
    }

    /// Every line, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let (mut entries, mut decisions) = (self.entries.iter(), self.decisions.iter());
        self.lines.iter().filter_map(move |(kind, _)| match kind {
            Kind::Issue => entries.next().map(Line::Issue),
            Kind::Decision => decisions.next().map(Line::Decision),
        })
    }

    /// Every decision, oldest first.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
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
