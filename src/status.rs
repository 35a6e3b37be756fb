//! `status`: what is known without asking anyone.

use std::fmt;

use serde_json::{Value, json};

use crate::clock::utc;
use crate::config::Config;
use crate::error::Error;
use crate::napu::Napu;
use crate::report::{counted, cursor_json, place, start};
use crate::settle::Candidate;
use crate::state::{Disk, Entry, Folder, State};

/// How many of the last issues are shown.
const SHOWN: usize = 5;

/// What the state folder says.
pub struct Status {
    state: State,
    total: Napu,
}

/// Reads the state folder.
pub fn status(config: &Config, disk: &dyn Disk) -> Result<Status, Error> {
    let state = Folder::new(disk, &config.state_dir).load()?;
    let total = state.ledger.total().ok_or(Error::LedgerOverflows)?;
    Ok(Status { state, total })
}

impl Status {
    fn last(&self) -> &[Entry] {
        let entries = self.state.ledger.entries();
        entries
            .get(entries.len().saturating_sub(SHOWN)..)
            .unwrap_or(entries)
    }

    fn candidates(&self) -> &[Candidate] {
        self.state
            .pending
            .as_ref()
            .map_or(&[], |pending| &pending.candidates)
    }

    /// One object on one line.
    pub fn json(&self) -> String {
        let candidates: Vec<Value> = self.candidates().iter().map(candidate_json).collect();
        let pending = match &self.state.pending {
            Some(pending) => {
                json!({ "sales": pending.batch.sales().len(), "candidates": candidates })
            }
            None => Value::Null,
        };
        json!({
            "cursor": cursor_json(&self.state.cursor),
            "pending": pending,
            "issues": self.state.ledger.entries().len(),
            "issued_napu": self.total.get().to_string(),
            "issued_ndau": self.total.to_string(),
            "last": self.last().iter().map(entry_json).collect::<Vec<_>>(),
        })
        .to_string()
    }
}

fn candidate_json(candidate: &Candidate) -> Value {
    json!({
        "quantity_napu": candidate.issue.quantity().get().to_string(),
        "sequence": candidate.issue.sequence(),
        "hash": candidate.issue.hash().to_string(),
        "sales": candidate.sales,
        "signatures": candidate.signatures.len(),
    })
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "recorded": utc(entry.recorded_ms),
        "quantity_napu": entry.issue.quantity().get().to_string(),
        "sequence": entry.issue.sequence(),
        "hash": entry.issue.hash().to_string(),
        "height": entry.height,
        "sales": entry.sales.len(),
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cursor = &self.state.cursor;
        writeln!(
            f,
            "cursor    {} {}; issues what was sold {}",
            cursor.symbol,
            place(cursor),
            start(cursor.start)
        )?;
        if let Some(at) = &cursor.at {
            writeln!(
                f,
                "          exchange API {}, network {}, API key {}",
                at.dialect, at.network, at.account
            )?;
        }
        if self.candidates().is_empty() {
            writeln!(f, "in flight nothing")?;
        }
        for one in self.candidates() {
            let signed = if one.signatures.is_empty() {
                "not signed"
            } else {
                "signed"
            };
            let (issue, sales) = (&one.issue, counted(one.sales, "sale"));
            writeln!(
                f,
                "in flight {} ndau for {sales}, sequence {}, {}, {signed}; the next run goes on with it",
                issue.quantity(),
                issue.sequence(),
                issue.hash()
            )?;
        }
        let issues = counted(self.state.ledger.entries().len(), "Issue");
        writeln!(f, "issued    {} ndau in {issues}", self.total)?;
        for entry in self.last() {
            writeln!(
                f,
                "          {} {} ndau for {}, sequence {}, {}, block {}",
                utc(entry.recorded_ms),
                entry.issue.quantity(),
                counted(entry.sales.len(), "sale"),
                entry.issue.sequence(),
                entry.issue.hash(),
                entry.height
            )?;
        }
        Ok(())
    }
}
