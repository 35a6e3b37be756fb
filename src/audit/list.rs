//! The list of trades that an account can download from the exchange's web site: CSV, whose columns are nowhere
//! documented. Pure: bytes in, trades or a refusal out.
//!
//! The promise: a column is read only if its name says what it is, and an amount only if it is certain which coin it
//! counts; a name that is not known is refused, since it could change what the others mean.

use std::collections::BTreeSet;
use std::fmt;

use csv::{ReaderBuilder, StringRecord};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::exchange::{Side, Trade, TradeId};
use crate::napu::Napu;
use crate::quote::excerpt;

/// The trades of one pair in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// By time. Without numbers of the exchange's own, a trade's is that of its line.
    pub trades: Vec<Trade>,
    /// Whether trades carry the exchange's numbers of trade and order.
    pub numbered: bool,
    /// How many lines are of other pairs.
    pub others: usize,
    /// Whether no zone is given for the times, so that they were taken for UTC.
    pub zone_assumed: bool,
}

/// Why a list is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListError {
    line: u64,
    /// Its number, from 1, and its name.
    column: Option<(usize, String)>,
    what: String,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the list of trades, line {}", self.line)?;
        if let Some((number, name)) = &self.column {
            write!(f, ", column {number} ({name})")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for ListError {}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    /// When, and how far its clock is ahead of UTC if the name says that.
    Time(Option<Offset>),
    Pair,
    Side,
    /// How much of the coin that is sold. Where neither its name nor that of its unit says that it counts this coin,
    /// each amount must.
    Quantity {
        certain: bool,
    },
    Trade,
    Order,
    NotNeeded,
}

const TIMES: &[&str] = &[
    "time",
    "date",
    "datetime",
    "timestamp",
    "tradetime",
    "tradedate",
    "transactiontime",
    "filledtime",
    "executiontime",
    "createtime",
];
const PAIRS: &[&str] = &["symbol", "pair", "pairs", "tradingpair", "market"];
const SIDES: &[&str] = &["side", "direction", "buysell"];
const QUANTITIES: &[&str] = &[
    "size",
    "quantity",
    "qty",
    "filledsize",
    "filledquantity",
    "filledqty",
    "executedquantity",
    "executedqty",
    "tradequantity",
];
/// Other columns have been called so, too.
const AMOUNTS: &[&str] = &[
    "amount",
    "filledamount",
    "executedamount",
    "tradeamount",
    "filled",
    "executed",
    "volume",
];
const TRADES: &[&str] = &["tradeid", "tradeno", "tradenumber"];
const ORDERS: &[&str] = &["orderid", "orderno", "ordernumber"];
const NOT_NEEDED: &[&str] = &[
    "price",
    "filledprice",
    "executedprice",
    "tradeprice",
    "total",
    "notional",
    "turnover",
    "fee",
    "fees",
    "feecoin",
    "feecoinname",
    "feecurrency",
    "role",
    "traderole",
    "type",
    "ordertype",
    "ordermode",
    "clientorderid",
    "stpmode",
    "updatetime",
    "uid",
    "no",
];

/// The trades of `symbol`, such as `XND_USDT`, in a list.
pub fn parse(bytes: &[u8], symbol: &str) -> Result<List, ListError> {
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let header = reader.headers().map_err(|error| broken(&error))?.clone();
    let base = symbol.split('_').next().unwrap_or(symbol);
    let columns = columns(&header, base)?;
    let mut trades: Vec<Trade> = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut others, mut zone_assumed) = (0, false);
    let numbered = columns.trade.is_some() && columns.order.is_some();
    for record in reader.records() {
        let record = record.map_err(|error| broken(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = Row {
            header: &header,
            record: &record,
            line,
        };
        if !is_pair(row.cell(columns.pair), symbol) {
            others += 1;
            continue;
        }
        let id = match (columns.trade, columns.order) {
            (Some(trade), Some(order)) => TradeId {
                trade: row.number(trade)?,
                order: row.number(order)?,
            },
            _ => TradeId {
                trade: line,
                order: 0,
            },
        };
        if !seen.insert(id) {
            return Err(row.wrong(columns.trade, format!("{id} stands in the list before")));
        }
        let (time_ms, assumed) = row.time(columns.time, columns.offset)?;
        zone_assumed |= assumed;
        let side = row.side(columns.side, |row| {
            row.quantity(columns.quantity, columns.certain, base)
        })?;
        trades.push(Trade { id, time_ms, side });
    }
    trades.sort_by_key(|trade| (trade.time_ms, trade.id));
    Ok(List {
        trades,
        numbered,
        others,
        zone_assumed,
    })
}

/// Where the columns are that are read.
struct Columns {
    time: usize,
    offset: Option<Offset>,
    pair: usize,
    side: usize,
    quantity: usize,
    certain: bool,
    trade: Option<usize>,
    order: Option<usize>,
}

fn columns(header: &StringRecord, base: &str) -> Result<Columns, ListError> {
    let wrong = |index: usize, what: String| ListError {
        line: 1,
        column: Some((index + 1, excerpt(header.get(index).unwrap_or_default()))),
        what,
    };
    let mut found: Vec<(usize, Column)> = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let column = column(name, base).ok_or_else(|| {
            wrong(
                index,
                "no column that this program knows: if it is not needed to tell what was sold, take it out".to_owned(),
            )
        })?;
        let same = |(_, one): &(usize, Column)| {
            std::mem::discriminant(one) == std::mem::discriminant(&column)
        };
        if column != Column::NotNeeded && found.iter().any(same) {
            return Err(wrong(index, "another column says the same".to_owned()));
        }
        found.push((index, column));
    }
    let find = |wanted: &dyn Fn(&Column) -> bool| {
        let column = found.iter().find(|(_, column)| wanted(column));
        column.map(|(index, column)| (*index, *column))
    };
    let needed = |wanted: &dyn Fn(&Column) -> bool, what: &str, names: &[&str]| {
        find(wanted).ok_or_else(|| ListError {
            line: 1,
            column: None,
            what: format!(
                "no column says {what} (such as {:?})",
                names.first().unwrap_or(&"")
            ),
        })
    };
    let (time, offset) = match needed(&|one| matches!(one, Column::Time(_)), "when", TIMES)? {
        (index, Column::Time(offset)) => (index, offset),
        (index, _) => (index, None),
    };
    let (quantity, certain) = match needed(
        &|one| matches!(one, Column::Quantity { .. }),
        "how much",
        QUANTITIES,
    )? {
        (index, Column::Quantity { certain }) => (index, certain),
        (index, _) => (index, false),
    };
    Ok(Columns {
        time,
        offset,
        pair: needed(&|one| *one == Column::Pair, "of which pair", PAIRS)?.0,
        side: needed(&|one| *one == Column::Side, "which way", SIDES)?.0,
        quantity,
        certain,
        trade: find(&|one| *one == Column::Trade).map(|(index, _)| index),
        order: find(&|one| *one == Column::Order).map(|(index, _)| index),
    })
}

/// What a column of that name holds, if that is known. What stands in parentheses is a unit.
fn column(name: &str, base: &str) -> Option<Column> {
    let (name, unit) = match name.split_once('(') {
        Some((name, rest)) => (name, Some(rest.trim().strip_suffix(')')?.trim())),
        None => (name, None),
    };
    let mut plain: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    let mut offset = None;
    if let Some(before) = plain.strip_suffix("utc") {
        plain.truncate(before.len());
        offset = Some(Offset::UTC);
    }
    let is = |names: &[&str]| names.contains(&plain.as_str());
    if is(TIMES) {
        return match unit {
            Some(unit) => Some(Column::Time(Some(zone(unit)?))),
            None => Some(Column::Time(offset)),
        };
    }
    let of_base = unit.is_some_and(|unit| unit.eq_ignore_ascii_case(base));
    match unit {
        _ if offset.is_some() => None,
        _ if is(NOT_NEEDED) => Some(Column::NotNeeded),
        Some(_) if !of_base => None,
        _ if is(QUANTITIES) => Some(Column::Quantity { certain: true }),
        _ if is(AMOUNTS) => Some(Column::Quantity { certain: of_base }),
        Some(_) => None,
        None if is(PAIRS) => Some(Column::Pair),
        None if is(SIDES) => Some(Column::Side),
        None if is(TRADES) => Some(Column::Trade),
        None if is(ORDERS) => Some(Column::Order),
        None => None,
    }
}

/// A zone like `UTC`, `UTC+8`, `GMT+08:00`.
fn zone(text: &str) -> Option<Offset> {
    let upper = text.to_ascii_uppercase();
    let rest = upper
        .strip_prefix("UTC")
        .or_else(|| upper.strip_prefix("GMT"))?
        .trim();
    if rest.is_empty() {
        return Some(Offset::UTC);
    }
    let (ahead, rest) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (None, Some(rest)) => (-1, rest),
        (None, None) => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let part = |text: &str, most: i32| -> Option<i32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|part| digits && *part <= most)
    };
    let seconds = part(hours, 14)? * 3600 + part(minutes, 59)? * 60;
    Offset::from_seconds(ahead * seconds).ok()
}

/// Whether a cell names the pair, however it is joined: `XND_USDT`, `XND/USDT`, `XNDUSDT`.
fn is_pair(cell: &str, symbol: &str) -> bool {
    let joined = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_ascii_alphanumeric());
        letters.map(|c| c.to_ascii_uppercase()).collect()
    };
    joined(cell) == joined(symbol)
}

fn broken(error: &csv::Error) -> ListError {
    let line = error.position().map_or(1, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is no UTF-8 text".to_owned(),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} columns, the first line has {expected_len}"),
        _ => excerpt(&error.to_string()),
    };
    ListError {
        line,
        column: None,
        what,
    }
}

/// One line.
#[derive(Clone, Copy)]
struct Row<'a> {
    header: &'a StringRecord,
    record: &'a StringRecord,
    line: u64,
}

impl<'a> Row<'a> {
    fn cell(&self, index: usize) -> &'a str {
        self.record.get(index).unwrap_or_default().trim()
    }

    fn wrong(&self, index: Option<usize>, what: String) -> ListError {
        let name = |index: usize| excerpt(self.header.get(index).unwrap_or_default());
        ListError {
            line: self.line,
            column: index.map(|index| (index + 1, name(index))),
            what,
        }
    }

    fn number(&self, index: usize) -> Result<u64, ListError> {
        let cell = self.cell(index);
        let number = cell.parse().ok();
        number
            .filter(|number: &u64| number.to_string() == cell)
            .ok_or_else(|| self.wrong(Some(index), format!("{:?} is no number", excerpt(cell))))
    }

    fn side(
        &self,
        index: usize,
        quantity: impl Fn(&Row) -> Result<Napu, ListError>,
    ) -> Result<Side, ListError> {
        match self.cell(index).to_ascii_lowercase().as_str() {
            "buy" => Ok(Side::Buy),
            "sell" => Ok(Side::Sell {
                quantity: quantity(self)?,
            }),
            other => {
                let what = format!("{:?} is neither \"buy\" nor \"sell\"", excerpt(other));
                Err(self.wrong(Some(index), what))
            }
        }
    }

    fn quantity(&self, index: usize, certain: bool, base: &str) -> Result<Napu, ListError> {
        let cell = self.cell(index);
        let quoted = excerpt(cell);
        let named = cell.len().checked_sub(base.len());
        let named = named.and_then(|end| cell.split_at_checked(end));
        let amount = match named.filter(|(_, coin)| coin.eq_ignore_ascii_case(base)) {
            Some((amount, _)) => amount,
            None if certain => cell,
            None => {
                let what = format!("nothing says that {quoted:?} is an amount of {base}");
                return Err(self.wrong(Some(index), what));
            }
        };
        Napu::parse_amount(amount.trim())
            .map_err(|error| self.wrong(Some(index), format!("{quoted:?} is {error}")))
    }

    /// The time in milliseconds since the epoch, and whether its zone was assumed.
    fn time(&self, index: usize, offset: Option<Offset>) -> Result<(u64, bool), ListError> {
        let cell = self.cell(index);
        let (time, assumed) = moment(cell, offset).ok_or_else(|| {
            let what = format!(
                "{:?} is no time like 2026-08-01 12:34:56, and no milliseconds since 1970",
                excerpt(cell)
            );
            self.wrong(Some(index), what)
        })?;
        match u64::try_from(time.as_millisecond()) {
            Ok(time_ms) => Ok((time_ms, assumed)),
            Err(_) => Err(self.wrong(Some(index), format!("{:?} is before 1970", excerpt(cell)))),
        }
    }
}

/// The moment in a cell, and whether its zone was assumed.
fn moment(cell: &str, offset: Option<Offset>) -> Option<(Timestamp, bool)> {
    if cell.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = cell.parse().ok()?;
        let time = match cell.len() {
            10 => Timestamp::from_second(number),
            13 => Timestamp::from_millisecond(number),
            _ => return None,
        };
        return Some((time.ok()?, false));
    }
    // A date alone would be read as its midnight, and what is in brackets as the name of a zone.
    if cell.matches(':').count() < 2 || cell.contains('[') {
        return None;
    }
    let cell = cell.replace('/', "-");
    if let Ok(time) = cell.parse::<Timestamp>() {
        return Some((time, false));
    }
    let (cell, offset) = match cell.strip_suffix("UTC") {
        Some(before) => (before.trim_end(), Some(Offset::UTC)),
        None => (cell.as_str(), offset),
    };
    let time: DateTime = cell.parse().ok()?;
    let time = offset.unwrap_or(Offset::UTC).to_timestamp(time).ok()?;
    Some((time, offset.is_none()))
}
