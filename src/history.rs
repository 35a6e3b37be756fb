//! `history`: the whole ledger, oldest line first, without asking anyone.

use std::fmt;

use serde_json::{Value, json};

use crate::clock::utc;
use crate::config::Config;
use crate::error::Error;
use crate::napu::Napu;
use crate::report::counted;
use crate::resolve::word;
use crate::state::{Decision, Disk, Entry, Folder, Ledger, Line};

/// What the ledger says.
pub struct History {
    ledger: Ledger,
    total: Napu,
}

/// Reads the state folder.
pub fn history(config: &Config, disk: &dyn Disk) -> Result<History, Error> {
    let ledger = Folder::new(disk, &config.state_dir).load()?.ledger;
    let total = ledger.total().ok_or(Error::LedgerOverflows)?;
    Ok(History { ledger, total })
}

impl History {
    /// One object a line of the ledger.
    pub fn json(&self) -> String {
        let lines = self.ledger.lines().map(|line| match line {
            Line::Issue(entry) => entry_json(entry),
            Line::Decision(decision) => decision_json(decision),
        });
        lines.map(|line| line.to_string() + "\n").collect()
    }

    /// One row a trade, after a row of names. Decisions have no trades, and so no rows.
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut write = |row: [String; 10]| writer.write_record(row).expect("memory takes it");
        write(
            [
                "recorded",
                "sequence",
                "hash",
                "height",
                "trade",
                "order",
                "time",
                "quantity_ndau",
                "quantity_napu",
                "symbol",
            ]
            .map(str::to_owned),
        );
        for entry in self.ledger.entries() {
            for sale in &entry.sales {
                write([
                    utc(entry.recorded_ms),
                    entry.issue.sequence().to_string(),
                    entry.issue.hash().to_string(),
                    entry.height.to_string(),
                    sale.id.trade.to_string(),
                    sale.id.order.to_string(),
                    utc(sale.time_ms),
                    sale.quantity.to_string(),
                    sale.quantity.get().to_string(),
                    entry.symbol.clone(),
                ]);
            }
        }
        let bytes = writer.into_inner().expect("memory takes it");
        String::from_utf8(bytes).expect("what was text is text")
    }
}

fn entry_json(entry: &Entry) -> Value {
    let trades = entry.sales.iter().map(|sale| {
        json!({
            "trade": sale.id.trade.to_string(),
            "order": sale.id.order.to_string(),
            "time": utc(sale.time_ms),
            "time_ms": sale.time_ms,
            "quantity_ndau": sale.quantity.to_string(),
            "quantity_napu": sale.quantity.get().to_string(),
        })
    });
    json!({
        "kind": "issue",
        "recorded": utc(entry.recorded_ms),
        "recorded_ms": entry.recorded_ms,
        "network": entry.network,
        "sequence": entry.issue.sequence(),
        "hash": entry.issue.hash().to_string(),
        "height": entry.height,
        "quantity_ndau": entry.issue.quantity().to_string(),
        "quantity_napu": entry.issue.quantity().get().to_string(),
        "symbol": entry.symbol,
        "dialect": entry.dialect.to_string(),
        "account": entry.account,
        "trades": trades.collect::<Vec<_>>(),
    })
}

fn decision_json(decision: &Decision) -> Value {
    json!({
        "kind": "decision",
        "recorded": utc(decision.recorded_ms),
        "recorded_ms": decision.recorded_ms,
        "by": decision.by,
        "why": decision.why,
        "decided": word(&decision.verdict),
        "what": decision.verdict.to_string(),
        "seen": decision.seen,
    })
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}  {:>8}  {:<22}  {:>9}  {:>6}  {:>18}",
            "recorded", "sequence", "hash", "block", "sales", "ndau"
        )?;
        for line in self.ledger.lines() {
            match line {
                Line::Issue(entry) => writeln!(
                    f,
                    "{:<24}  {:>8}  {:<22}  {:>9}  {:>6}  {:>18}",
                    utc(entry.recorded_ms),
                    entry.issue.sequence(),
                    entry.issue.hash().to_string(),
                    entry.height,
                    entry.sales.len(),
                    entry.issue.quantity().to_string()
                )?,
                Line::Decision(decision) => writeln!(
                    f,
                    "{:<24}  decided: {}; by {}: {}",
                    utc(decision.recorded_ms),
                    decision.verdict,
                    decision.by,
                    decision.why
                )?,
            }
        }
        let issues = counted(self.ledger.entries().len(), "Issue");
        writeln!(f, "{} ndau in {issues}", self.total)
    }
}
