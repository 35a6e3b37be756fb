//! The parts that the state files share. Ids and amounts are texts, so that no reader takes them for floats.

use serde::{Deserialize, Serialize};

use crate::exchange::{Dialect, TradeId};
use crate::napu::Napu;
use crate::ndau::Address;
use crate::sales::{At, Sale, Seen, Start};

/// A number as its decimal text.
fn number(name: &str, text: &str) -> Result<u64, String> {
    let number: u64 = text
        .parse()
        .map_err(|_| format!("{name} is not a number: {text:?}"))?;
    // One number, one text: "+5" and "05" are nobody's.
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(format!("{name} is not a plain number: {text:?}"))
    }
}

/// An amount as the decimal text of its napu.
pub(super) fn amount(name: &str, text: &str) -> Result<Napu, String> {
    Napu::new(number(name, text)?).ok_or_else(|| format!("{name} is too large: {text}"))
}

pub(super) fn dialect(text: &str) -> Result<Dialect, String> {
    Dialect::parse(text).ok_or_else(|| format!("dialect is neither v2 nor v4: {text:?}"))
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct SaleRecord {
    trade: String,
    order: String,
    time_ms: u64,
    quantity_napu: String,
}

impl From<&Sale> for SaleRecord {
    fn from(sale: &Sale) -> Self {
        SaleRecord {
            trade: sale.id.trade.to_string(),
            order: sale.id.order.to_string(),
            time_ms: sale.time_ms,
            quantity_napu: sale.quantity.get().to_string(),
        }
    }
}

impl TryFrom<SaleRecord> for Sale {
    type Error = String;

    fn try_from(record: SaleRecord) -> Result<Self, String> {
        Ok(Sale {
            time_ms: record.time_ms,
            id: TradeId {
                trade: number("trade", &record.trade)?,
                order: number("order", &record.order)?,
            },
            quantity: amount("quantity_napu", &record.quantity_napu)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenRecord {
    time_ms: u64,
    trade: String,
    order: String,
}

impl From<&Seen> for SeenRecord {
    fn from(seen: &Seen) -> Self {
        SeenRecord {
            time_ms: seen.time_ms,
            trade: seen.id.trade.to_string(),
            order: seen.id.order.to_string(),
        }
    }
}

impl TryFrom<SeenRecord> for Seen {
    type Error = String;

    fn try_from(record: SeenRecord) -> Result<Self, String> {
        let id = TradeId {
            trade: number("trade", &record.trade)?,
            order: number("order", &record.order)?,
        };
        Ok(Seen {
            time_ms: record.time_ms,
            id,
        })
    }
}

/// `{"from":"beginning"}`, `{"from":"time","time_ms":…}`, `{"from":"trade","trade":"…"}`, the last with `time_ms` once
/// the trade was found.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartRecord {
    from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trade: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
}

impl From<Start> for StartRecord {
    fn from(start: Start) -> Self {
        let (from, trade, time_ms) = match start {
            Start::Beginning => ("beginning", None, None),
            Start::Time(time_ms) => ("time", None, Some(time_ms)),
            Start::Trade(trade) => ("trade", Some(trade), None),
            Start::Found { trade, time_ms } => ("trade", Some(trade), Some(time_ms)),
        };
        StartRecord {
            from: from.to_owned(),
            trade: trade.map(|trade| trade.to_string()),
            time_ms,
        }
    }
}

impl TryFrom<StartRecord> for Start {
    type Error = String;

    fn try_from(record: StartRecord) -> Result<Self, String> {
        let trade = record
            .trade
            .as_deref()
            .map(|trade| number("start.trade", trade))
            .transpose()?;
        match (record.from.as_str(), trade, record.time_ms) {
            ("beginning", None, None) => Ok(Start::Beginning),
            ("time", None, Some(time_ms)) => Ok(Start::Time(time_ms)),
            ("trade", Some(trade), None) => Ok(Start::Trade(trade)),
            ("trade", Some(trade), Some(time_ms)) => Ok(Start::Found { trade, time_ms }),
            (from, _, _) => Err(format!("start is no known one: {from:?}")),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtRecord {
    time_ms: u64,
    dialect: String,
    account: String,
    network: String,
    issuer: String,
    issued_napu: String,
    sequence: u64,
    ledger: String,
}

impl From<&At> for AtRecord {
    fn from(at: &At) -> Self {
        AtRecord {
            time_ms: at.time_ms,
            dialect: at.dialect.to_string(),
            account: at.account.clone(),
            network: at.network.clone(),
            issuer: at.issuer.to_string(),
            issued_napu: at.issued.get().to_string(),
            sequence: at.sequence,
            ledger: at.ledger.clone(),
        }
    }
}

impl TryFrom<AtRecord> for At {
    type Error = String;

    fn try_from(record: AtRecord) -> Result<Self, String> {
        Ok(At {
            time_ms: record.time_ms,
            dialect: dialect(&record.dialect)?,
            account: record.account,
            network: record.network,
            issuer: Address::parse(&record.issuer).map_err(|error| format!("issuer: {error}"))?,
            issued: amount("issued_napu", &record.issued_napu)?,
            sequence: record.sequence,
            ledger: record.ledger,
        })
    }
}

/// `records` as what they stand for.
pub(super) fn all<R, T: TryFrom<R, Error = String>>(records: Vec<R>) -> Result<Vec<T>, String> {
    records.into_iter().map(T::try_from).collect()
}
