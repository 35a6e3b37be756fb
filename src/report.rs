//! What a run did, for people and for programs.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::clock::utc;
use crate::error::{self, Error};
use crate::napu::Napu;
use crate::ndau::{Issue, SignedIssue};
use crate::sales::{Cursor, Sale, Start};
use crate::state::Pending;

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new batch is on the chain.
    Issued,
    /// No sale was new; the cursor moved.
    NothingNew,
    /// Nothing was changed.
    DryRun,
    /// A batch that an earlier run left is on the chain.
    Settled,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Outcome::Issued => "issued",
            Outcome::NothingNew => "nothing_new",
            Outcome::DryRun => "dry_run",
            Outcome::Settled => "settled",
        }
    }
}

/// What a run found and did, as far as it came.
#[derive(Debug, Default)]
pub struct Report {
    /// How many trades were new.
    pub trades: usize,
    /// How many are too young and wait.
    pub waiting: usize,
    /// The sales of the batch.
    pub sales: Vec<Sale>,
    /// The `Issue`.
    pub issue: Option<Issue>,
    /// The JSON of the `Issue`, with its signatures once there are any.
    pub body: Option<String>,
    /// The signers' keys.
    pub signed_by: Vec<String>,
    /// The block that holds it.
    pub height: Option<u64>,
    /// The cursor before.
    pub before: Option<Cursor>,
    /// The cursor after.
    pub after: Option<Cursor>,
    /// Whether the exchange was left alone, because a batch is in flight.
    pub exchange_not_asked: bool,
    /// What a dry run has to say beside that.
    pub notes: Vec<String>,
}

impl Report {
    /// Notes the `Issue` and the sales that it covers.
    pub fn issue(&mut self, issue: Issue, sales: Vec<Sale>) {
        self.body = Some(issue.unsigned_body());
        self.issue = Some(issue);
        self.sales = sales;
    }

    /// Notes the newest `Issue` of a batch in flight.
    pub fn in_flight(&mut self, pending: &Pending) {
        if let Some(last) = pending.candidates.last() {
            let (issue, (issued, _)) = (last.issue, pending.split(last));
            log::info!(
                "in flight: {} ndau, sequence {}, {}",
                issue.quantity(),
                issue.sequence(),
                issue.hash()
            );
            self.issue(issue, issued);
        }
    }

    /// Notes which `Issue` is on the chain: not always the newest that was built.
    pub fn committed(&mut self, issue: Issue, sales: Vec<Sale>, height: u64) {
        if self.issue != Some(issue) {
            self.issue(issue, sales);
        }
        self.height = Some(height);
    }

    /// Notes the signatures.
    pub fn signed(&mut self, signed: &SignedIssue) {
        self.body = Some(signed.body());
        self.signed_by = signed
            .signatures()
            .iter()
            .map(|one| one.key().to_string())
            .collect();
    }

    fn quantity(&self) -> Napu {
        self.issue.map_or(Napu::ZERO, |issue| issue.quantity())
    }

    fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// One object on one line.
    pub fn json(&self, result: &Result<Outcome, Error>) -> String {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        match result {
            Ok(outcome) => {
                put("outcome", json!(outcome.name()));
                put("exit_code", json!(0));
            }
            Err(error) => {
                put("outcome", json!("failed"));
                put("exit_code", json!(error.exit().code()));
                put("error", json!(error::chain(error)));
            }
        }
        put("trades", json!(self.trades));
        put("waiting", json!(self.waiting));
        put("sales", json!(self.sales.len()));
        put("quantity_napu", json!(self.quantity().get().to_string()));
        put("quantity_ndau", json!(self.quantity().to_string()));
        put("sequence", json!(self.issue.map(|issue| issue.sequence())));
        put(
            "hash",
            json!(self.issue.map(|issue| issue.hash().to_string())),
        );
        put("height", json!(self.height));
        put(
            "issue",
            self.body
                .as_deref()
                .and_then(|body| serde_json::from_str(body).ok())
                .unwrap_or(Value::Null),
        );
        put("cursor", self.cursor().map_or(Value::Null, cursor_json));
        put("notes", json!(self.notes));
        if matches!(result, Ok(Outcome::DryRun)) {
            put(
                "signable_bytes",
                json!(self.issue.map(|issue| hex::encode(issue.signable_bytes()))),
            );
            put("batch", self.sales.iter().map(sale_json).collect());
        }
        Value::Object(object).to_string()
    }
}

/// A cursor, for programs.
pub fn cursor_json(cursor: &Cursor) -> Value {
    json!({
        "symbol": cursor.symbol,
        "start": start(cursor.start),
        "time_ms": cursor.at.as_ref().map(|at| at.time_ms),
        "time": cursor.at.as_ref().map(|at| utc(at.time_ms)),
        "dialect": cursor.at.as_ref().map(|at| at.dialect.to_string()),
        "network": cursor.at.as_ref().map(|at| at.network.clone()),
    })
}

fn sale_json(sale: &Sale) -> Value {
    json!({
        "trade": sale.id.trade.to_string(),
        "order": sale.id.order.to_string(),
        "time_ms": sale.time_ms,
        "quantity_napu": sale.quantity.get().to_string(),
    })
}

/// Where issuing starts, in words.
pub fn start(start: Start) -> String {
    match start {
        Start::Beginning => "from the beginning".to_owned(),
        Start::Time(time_ms) => format!("after {}", utc(time_ms)),
        Start::Trade(trade) => format!("after trade {trade}"),
        Start::Found { trade, time_ms } => format!("after trade {trade} of {}", utc(time_ms)),
    }
}

/// Where a cursor stands, in words.
pub fn place(cursor: &Cursor) -> String {
    match &cursor.at {
        Some(at) => utc(at.time_ms),
        None => start(cursor.start),
    }
}

/// `count` things, in the singular or plural.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}

/// The report of a run that did not fail, on a few lines.
pub struct Story<'a>(pub &'a Report, pub Outcome);

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story(report, outcome) = self;
        let sales = counted(report.sales.len(), "sale");
        let quantity = report.quantity();
        match (outcome, report.issue) {
            (Outcome::Issued, _) => write!(f, "issued {quantity} ndau for {sales}")?,
            (Outcome::Settled, _) => write!(
                f,
                "settled what an earlier run left: {quantity} ndau for {sales}"
            )?,
            (Outcome::NothingNew, _) => f.write_str("nothing to issue")?,
            (Outcome::DryRun, Some(_)) => {
                write!(f, "dry run: would issue {quantity} ndau for {sales}")?
            }
            (Outcome::DryRun, None) => f.write_str("dry run: nothing to issue")?,
        }
        if report.exchange_not_asked {
            f.write_str("; the exchange was not asked")?;
        } else if *outcome != Outcome::Settled {
            write!(f, "; {}", counted(report.trades, "new trade"))?;
            if report.waiting > 0 {
                write!(f, ", {} too young", report.waiting)?;
            }
        }
        writeln!(f)?;
        for note in &report.notes {
            writeln!(f, "  note        {note}")?;
        }
        if let Some(issue) = report.issue {
            if *outcome == Outcome::DryRun {
                for sale in &report.sales {
                    writeln!(
                        f,
                        "  sale        {} ndau, {}, {}",
                        sale.quantity,
                        utc(sale.time_ms),
                        sale.id
                    )?;
                }
                writeln!(f, "  signable    {}", hex::encode(issue.signable_bytes()))?;
            }
            writeln!(
                f,
                "  issue       {}",
                report.body.as_deref().unwrap_or_default()
            )?;
            writeln!(f, "  quantity    {} napu", issue.quantity().get())?;
            writeln!(f, "  sequence    {}", issue.sequence())?;
            writeln!(f, "  hash        {}", issue.hash())?;
        }
        for key in &report.signed_by {
            writeln!(f, "  signed by   {key}")?;
        }
        if let Some(height) = report.height {
            writeln!(f, "  committed   in block {height}")?;
        }
        match (&report.before, &report.after) {
            (Some(before), Some(after)) => {
                writeln!(f, "  cursor      {} -> {}", place(before), place(after))
            }
            (Some(before), None) => writeln!(f, "  cursor      {} (unchanged)", place(before)),
            (None, _) => Ok(()),
        }
    }
}
