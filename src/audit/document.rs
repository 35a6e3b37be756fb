//! An audit in words: what was compared, from when to when, the sums, what people decided, the differences, and the
//! verdict last.

use std::fmt;

use serde_json::{Map, Value, json};

use super::findings::{Difference, Lot, Tally, told_sum};
use super::{Audit, Source};
use crate::clock::utc;
use crate::exchange::{Side, Trade};
use crate::ndau::Issue;
use crate::report::{counted, start};
use crate::sales::Sale;
use crate::state::Decision;

impl Lot {
    const ALL: [Lot; 17] = [
        Lot::Sold,
        Lot::Issued,
        Lot::InFlight,
        Lot::Left,
        Lot::Young,
        Lot::Waiting,
        Lot::GivenUp,
        Lot::BeforeStart,
        Lot::Recorded,
        Lot::Confirmed,
        Lot::Older,
        Lot::Newer,
        Lot::OnChain,
        Lot::InLedger,
        Lot::Hidden,
        Lot::AppliedInFlight,
        Lot::ByOthers,
    ];

    /// Its name, for programs.
    fn name(self) -> &'static str {
        match self {
            Lot::Sold => "sold",
            Lot::Issued => "sold_issued",
            Lot::InFlight => "sold_in_flight",
            Lot::Left => "sold_left_for_next_batch",
            Lot::Young => "sold_too_young",
            Lot::Waiting => "sold_not_issued_yet",
            Lot::GivenUp => "sold_given_up",
            Lot::BeforeStart => "sold_before_start",
            Lot::Recorded => "ledger",
            Lot::Confirmed => "ledger_shown",
            Lot::Older => "ledger_older_than_shown",
            Lot::Newer => "ledger_newer_than_shown",
            Lot::OnChain => "chain",
            Lot::InLedger => "chain_in_ledger",
            Lot::Hidden => "chain_in_ledger_body_hidden",
            Lot::AppliedInFlight => "chain_in_flight",
            Lot::ByOthers => "chain_by_others",
        }
    }

    /// What is in it, in words.
    fn words(self) -> &'static str {
        match self {
            Lot::Sold => "shown by the exchange, and ours to issue",
            Lot::Issued => "in the ledger, with the same time and amount",
            Lot::InFlight => "in the batch in flight",
            Lot::Left => "left for the batch after it",
            Lot::Young => "too young: left for a later run",
            Lot::Waiting => "newer than the cursor: left for a later run",
            Lot::GivenUp => "not issued by a decision",
            Lot::BeforeStart => "sold before issuing starts: not ours",
            Lot::Recorded => "in the ledger",
            Lot::Confirmed => "shown by the exchange, with the same time and amount",
            Lot::Older => "older than what the exchange shows: on the chain, see below",
            Lot::Newer => "newer than what the exchange showed",
            Lot::OnChain => "issued on the chain since this folder's first Issue",
            Lot::InLedger => "in the ledger, in the same block",
            Lot::Hidden => {
                "in the ledger, in the same block, but shown with a neighbour's body: ask another node"
            }
            Lot::AppliedInFlight => "in flight here; the next run writes it down",
            Lot::ByOthers => "issued by others",
        }
    }

    /// What is counted.
    fn thing(self) -> &'static str {
        match self {
            Lot::OnChain | Lot::InLedger | Lot::Hidden | Lot::AppliedInFlight | Lot::ByOthers => {
                "Issue"
            }
            _ => "sale",
        }
    }
}

/// What is sold and not issued, and no difference.
const STILL_TO_ISSUE: [Lot; 4] = [Lot::InFlight, Lot::Left, Lot::Young, Lot::Waiting];

impl Audit {
    /// How many sales are still to be issued, and how much that is.
    fn still_to_issue(&self) -> Tally {
        let lots = STILL_TO_ISSUE.map(|lot| self.findings.lot(lot));
        lots.into_iter().fold(Tally::NOTHING, |all, lot| Tally {
            count: all.count + lot.count,
            sum: all.sum.and_then(|sum| sum.checked_add(lot.sum?)),
        })
    }

    fn verdict(&self) -> String {
        let differences = self.differences().len();
        if differences > 0 {
            let differences = counted(differences, "difference");
            return format!("they do NOT agree: {differences}, named above; a person has to look");
        }
        let shown = match self.source {
            Source::Exchange { .. } | Source::Export { .. } => "the exchange",
            Source::List { .. } => "the list",
        };
        let waiting = self.still_to_issue();
        let mut verdict = "they agree, napu for napu".to_owned();
        verdict += &match waiting.count {
            0 if self.findings.lot(Lot::GivenUp).count > 0 => String::new(),
            0 => format!(
                ": everything that {shown} shows as sold, and that is ours to issue, is issued, once"
            ),
            count => format!(
                "; not issued yet: {}, {} ndau",
                counted(count, "sale"),
                told_sum(waiting.sum)
            ),
        };
        let given_up = self.findings.lot(Lot::GivenUp);
        if given_up.count > 0 {
            let (sales, sum) = (counted(given_up.count, "sale"), told_sum(given_up.sum));
            verdict += &format!("; not issued by a decision: {sales}, {sum} ndau");
        }
        let hidden = self.findings.lot(Lot::Hidden);
        if hidden.count > 0 {
            let hidden = counted(hidden.count, "Issue");
            verdict += &format!("; this node proves all but the type of {hidden}");
        }
        verdict
    }

    /// One object on one line.
    pub fn json(&self) -> String {
        let differences = self.differences();
        let mut lots = Map::new();
        for lot in Lot::ALL {
            lots.insert(lot.name().to_owned(), tally_json(self.findings.lot(lot)));
        }
        let trades = &self.shown.history.trades;
        json!({
            "agree": differences.is_empty(),
            "made": utc(self.made_ms),
            "symbol": self.state.cursor.symbol,
            "start": start(self.start),
            "cursor": self.state.cursor.at.as_ref().map(|at| utc(at.time_ms)),
            "exchange": source_json(&self.source),
            "dialect": self.shown.numbered.then(|| self.shown.history.dialect.to_string()),
            "shown_from": utc(self.shown.from_ms),
            "shown_until": utc(self.shown.until_ms),
            "trades": trades.len(),
            "by_number": self.findings.by_number,
            "issues": self.state.ledger.entries().len(),
            "node": self.place.node,
            "network": self.place.status.network,
            "height": self.place.status.height,
            "issuer": self.place.issuer.as_str(),
            "since_height": self.place.since,
            "other_transactions": self.findings.other_transactions,
            "total_issued_napu": self.onchain.issued.get().to_string(),
            "accounted_napu": self.findings.accounted.map(|sum| sum.get().to_string()),
            "sums": lots,
            "still_to_issue": tally_json(self.still_to_issue()),
            "decisions": self.decisions().iter().map(decision_json).collect::<Vec<_>>(),
            "differences": differences.iter().map(difference_json).collect::<Vec<_>>(),
            "verdict": self.verdict(),
        })
        .to_string()
    }
}

fn tally_json(tally: Tally) -> Value {
    json!({
        "count": tally.count,
        "napu": tally.sum.map(|sum| sum.get().to_string()),
        "ndau": tally.sum.map(|sum| sum.to_string()),
    })
}

fn source_json(source: &Source) -> Value {
    match source {
        Source::Exchange { endpoint, account } => {
            json!({ "from": "exchange", "endpoint": endpoint, "account": account })
        }
        Source::Export {
            path,
            sha256,
            recording,
        } => json!({
            "from": "export",
            "path": path.display().to_string(),
            "sha256": sha256,
            "endpoint": recording.endpoint,
            "account": recording.account,
            "made": utc(recording.now_ms),
            "answers": recording.answers(),
        }),
        Source::List {
            path,
            sha256,
            others,
            zone_assumed,
        } => json!({
            "from": "list",
            "path": path.display().to_string(),
            "sha256": sha256,
            "other_pairs": others,
            "zone_assumed": zone_assumed,
        }),
    }
}

/// A decision, for programs.
fn decision_json(decision: &Decision) -> Value {
    json!({
        "recorded": utc(decision.recorded_ms),
        "by": decision.by,
        "why": decision.why,
        "what": decision.verdict.to_string(),
    })
}

fn sale_json(sale: &Sale) -> Value {
    json!({
        "trade": sale.id.trade.to_string(),
        "order": sale.id.order.to_string(),
        "time": utc(sale.time_ms),
        "quantity_napu": sale.quantity.get().to_string(),
    })
}

fn trade_json(trade: &Trade) -> Value {
    let (side, quantity) = match trade.side {
        Side::Buy => ("buy", None),
        Side::Sell { quantity } => ("sell", Some(quantity.get().to_string())),
    };
    json!({
        "trade": trade.id.trade.to_string(),
        "order": trade.id.order.to_string(),
        "time": utc(trade.time_ms),
        "side": side,
        "quantity_napu": quantity,
    })
}

fn issue_json(issue: &Issue) -> Value {
    json!({
        "hash": issue.hash().to_string(),
        "sequence": issue.sequence(),
        "quantity_napu": issue.quantity().get().to_string(),
    })
}

fn difference_json(difference: &Difference) -> Value {
    let details = match difference {
        Difference::NotIssued { sale } => json!({ "sale": sale_json(sale) }),
        Difference::NotShown { sale, by } => {
            json!({ "sale": sale_json(sale), "by": by.to_string() })
        }
        Difference::Altered { sale, shown, by } => json!({
            "sale": sale_json(sale), "shown": trade_json(shown), "by": by.to_string(),
        }),
        Difference::Twice {
            sale,
            first,
            second,
        } => json!({
            "sale": sale_json(sale), "by": [first.to_string(), second.to_string()],
        }),
        Difference::NotOnChain {
            issue,
            height,
            held,
        } => json!({ "issue": issue_json(issue), "height": height, "held": held }),
        Difference::Foreign { issue, height } | Difference::NotInLedger { issue, height } => {
            json!({ "issue": issue_json(issue), "height": height })
        }
        Difference::OtherHeight {
            issue,
            ledger,
            chain,
        } => json!({ "issue": issue_json(issue), "ledger": ledger, "chain": chain }),
        Difference::Total { found, accounted } => json!({
            "found_napu": found.get().to_string(),
            "accounted_napu": accounted.map(|sum| sum.get().to_string()),
        }),
        Difference::Cursor {
            accounted,
            recorded,
        } => json!({
            "accounted_napu": accounted.get().to_string(),
            "recorded_napu": recorded.map(|sum| sum.get().to_string()),
        }),
    };
    json!({
        "kind": difference.name(),
        "told": difference.to_string(),
        "details": details,
    })
}

/// The first and the last of some times.
fn span(times: impl Iterator<Item = u64> + Clone) -> String {
    match (times.clone().min(), times.max()) {
        (Some(first), Some(last)) => format!(", {} to {}", utc(first), utc(last)),
        _ => String::new(),
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Audit of {}", utc(self.made_ms))?;
        self.compared(f)?;
        self.sums(f)?;
        if !self.decisions().is_empty() {
            writeln!(f, "\nWhat people decided")?;
        }
        for decision in self.decisions() {
            writeln!(
                f,
                "  {} {}; by {}: {}",
                utc(decision.recorded_ms),
                decision.verdict,
                decision.by,
                decision.why
            )?;
        }
        writeln!(f, "\nDifferences")?;
        if self.differences().is_empty() {
            writeln!(f, "  none")?;
        }
        for (index, difference) in self.differences().iter().enumerate() {
            writeln!(f, "  {}. {difference}", index + 1)?;
        }
        writeln!(f, "\nVerdict: {}", self.verdict())
    }
}

impl Audit {
    fn compared(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cursor = &self.state.cursor;
        let stands = match &cursor.at {
            Some(at) => format!("the cursor stands at {}", utc(at.time_ms)),
            None => "no run has read the exchange yet".to_owned(),
        };
        writeln!(
            f,
            "  pair      {}; issued is what was sold {}; {stands}",
            cursor.symbol,
            start(self.start)
        )?;
        let trades = &self.shown.history.trades;
        let dialect = self.shown.history.dialect;
        match &self.source {
            Source::Exchange { endpoint, account } => writeln!(
                f,
                "  exchange  {endpoint} in {dialect}, API key {account}, asked {}",
                utc(self.shown.until_ms)
            )?,
            Source::Export {
                path,
                sha256,
                recording,
            } => {
                writeln!(
                    f,
                    "  exchange  {} in {dialect}, API key {}, asked {}",
                    recording.endpoint,
                    recording.account,
                    utc(recording.now_ms)
                )?;
                writeln!(f, "            from {}, SHA-256 {sha256}", path.display())?;
            }
            Source::List {
                path,
                sha256,
                others,
                zone_assumed,
            } => {
                writeln!(
                    f,
                    "  exchange  the list of trades in {}, SHA-256 {sha256}",
                    path.display()
                )?;
                writeln!(
                    f,
                    "            whether the list is complete cannot be told from it; {} of other pairs not looked at",
                    counted(*others, "line")
                )?;
                if *zone_assumed {
                    writeln!(
                        f,
                        "            no zone is given for its times: UTC is assumed"
                    )?;
                }
            }
        }
        let times = span(trades.iter().map(|trade| trade.time_ms));
        write!(f, "            {}{times}", counted(trades.len(), "trade"))?;
        match (&self.source, self.shown.from_ms) {
            (Source::List { .. }, _) | (_, 0) => writeln!(f)?,
            (_, from_ms) => writeln!(f, "; complete since {}", utc(from_ms))?,
        }
        if !self.findings.by_number {
            writeln!(
                f,
                "            without common numbers sales are compared by second and amount: two alike cannot be told apart"
            )?;
        }
        let entries = self.state.ledger.entries();
        writeln!(
            f,
            "  ledger    {}, {}{}",
            counted(entries.len(), "Issue"),
            counted(self.decisions().len(), "decision"),
            span(entries.iter().map(|entry| entry.recorded_ms))
        )?;
        let place = &self.place;
        writeln!(
            f,
            "  chain     {}, network {}, block {}, account {}",
            place.node, place.status.network, place.status.height, place.issuer
        )?;
        match place.since {
            Some(since) => writeln!(
                f,
                "            {} of the account above block {since}, {} of them no Issue or not to be told",
                counted(self.onchain.standing.len(), "transaction"),
                self.findings.other_transactions
            ),
            None => writeln!(f, "            nothing is issued by this folder yet"),
        }
    }

    fn sums(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: [(&str, Lot, &[Lot]); 4] = [
            (
                "Sold",
                Lot::Sold,
                &[
                    Lot::Issued,
                    Lot::InFlight,
                    Lot::Left,
                    Lot::Waiting,
                    Lot::Young,
                    Lot::GivenUp,
                ],
            ),
            ("", Lot::BeforeStart, &[]),
            (
                "Issued, by the ledger",
                Lot::Recorded,
                &[Lot::Confirmed, Lot::Older, Lot::Newer],
            ),
            (
                "Issued, by the chain",
                Lot::OnChain,
                &[
                    Lot::InLedger,
                    Lot::Hidden,
                    Lot::AppliedInFlight,
                    Lot::ByOthers,
                ],
            ),
        ];
        for (title, whole, of_these) in parts {
            if !title.is_empty() {
                writeln!(f, "\n{title}, in ndau")?;
            }
            let all = self.findings.lot(whole);
            if !title.is_empty() || all.count > 0 {
                line(f, whole, all, "")?;
            }
            for lot in of_these {
                let tally = self.findings.lot(*lot);
                if tally.count > 0 {
                    line(f, *lot, tally, "of these ")?;
                }
            }
        }
        let issued = self.onchain.issued;
        row(f, &issued.to_string(), "", "the chain's total issued")?;
        if let Some(accounted) = self.findings.accounted {
            row(
                f,
                &accounted.to_string(),
                "",
                "what this folder accounts for of it",
            )?;
        } else if !self.sole_issuer {
            row(f, "", "", "others issue too: the total is not compared")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, lot: Lot, tally: Tally, of: &str) -> fmt::Result {
    let sum = told_sum(tally.sum);
    let count = counted(tally.count, lot.thing());
    row(f, &sum, &count, &format!("{of}{}", lot.words()))
}

fn row(f: &mut fmt::Formatter<'_>, sum: &str, count: &str, words: &str) -> fmt::Result {
    writeln!(f, "  {sum:>24}  {count:<12}{words}")
}
