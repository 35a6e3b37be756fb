//! The exchange's JSON as it is. Fields that are not needed are not looked at; needed ones that are missing are errors.

use serde::Deserialize;

use super::class::Call;
use super::error::Error;
use super::field::{Field, Raw, fields_of, objects, text};
use super::{Side, Trade, TradeId};
use crate::napu::Napu;
use crate::quote::excerpt;

/// The outermost fields of any answer of either dialect. They are raw, so that an odd one does not hide the others.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub code: Raw<'a>,
    #[serde(borrow)]
    pub message: Raw<'a>,
    #[serde(borrow)]
    pub msg: Raw<'a>,
    #[serde(borrow)]
    pub trace: Raw<'a>,
    #[serde(borrow)]
    data: Raw<'a>,
    #[serde(borrow)]
    trades: Raw<'a>,
    #[serde(borrow)]
    total_trades: Raw<'a>,
    #[serde(borrow)]
    access_token: Raw<'a>,
    #[serde(borrow)]
    expires_in: Raw<'a>,
    #[serde(borrow)]
    server_time: Raw<'a>,
    #[serde(borrow)]
    entrust_id: Raw<'a>,
    #[serde(borrow)]
    symbol: Raw<'a>,
    #[serde(borrow)]
    side: Raw<'a>,
}

impl<'a> Envelope<'a> {
    /// The field by which the answer to `call` is known.
    pub fn mark_of(&self, call: Call) -> Raw<'a> {
        match call {
            Call::V4Trades | Call::V4Time => self.data,
            Call::V2Token => self.access_token,
            Call::V2Trades => self.trades,
            Call::V2Order => self.entrust_id,
            Call::V2Time => self.server_time,
        }
    }
}

/// The outermost fields of `body`, if it is one JSON object that has none of them twice.
pub(super) fn envelope(body: &[u8]) -> Option<Envelope<'_>> {
    // A list would be read as the fields in their order.
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// Which way a trade went, before its amount is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Buy,
    Sell,
}

impl Way {
    fn read(field: &Field<'_>) -> Result<Way, Error> {
        match field.text()?.as_str() {
            "buy" => Ok(Way::Buy),
            "sell" => Ok(Way::Sell),
            _ => Err(field.wrong("neither \"buy\" nor \"sell\"")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Buy => "buy",
            Way::Sell => "sell",
        }
    }
}

/// A trade as it came. `W` is what the dialect's trades say of their side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row<W> {
    pub id: TradeId,
    pub time_ms: u64,
    pub symbol: String,
    pub side: W,
    /// Read only when the trade turns out to be a sale.
    amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Amount {
    at: &'static str,
    field: &'static str,
    text: Option<String>,
}

impl<W> Row<W> {
    /// The trade, once it is known which way it went.
    pub fn trade(&self, way: Way) -> Result<Trade, Error> {
        let side = match way {
            Way::Buy => Side::Buy,
            Way::Sell => {
                let text = self.amount.text.as_ref().ok_or(Error::Field {
                    at: self.amount.at,
                    field: self.amount.field,
                    problem: "missing or neither a text nor a number",
                })?;
                let quantity = Napu::parse_amount(text).map_err(|source| Error::Amount {
                    trade: self.id,
                    text: excerpt(text),
                    source,
                })?;
                Side::Sell { quantity }
            }
        };
        Ok(Trade {
            id: self.id,
            time_ms: self.time_ms,
            side,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct V4Row<'a> {
    #[serde(borrow)]
    trade_id: Raw<'a>,
    #[serde(borrow)]
    order_id: Raw<'a>,
    #[serde(borrow)]
    symbol: Raw<'a>,
    #[serde(borrow)]
    side: Raw<'a>,
    #[serde(borrow)]
    size: Raw<'a>,
    #[serde(borrow)]
    create_time: Raw<'a>,
}

#[derive(Deserialize)]
struct V2Row<'a> {
    #[serde(borrow)]
    trade_id: Raw<'a>,
    #[serde(borrow)]
    entrust_id: Raw<'a>,
    #[serde(borrow)]
    symbol: Raw<'a>,
    #[serde(borrow)]
    amount: Raw<'a>,
    #[serde(borrow)]
    timestamp: Raw<'a>,
    #[serde(borrow, rename = "entrustType")]
    entrust_type: Raw<'a>,
}

const NOT_AN_OBJECT: Error = Error::Field {
    at: "an answer",
    field: "{}",
    problem: "not a JSON object",
};

const V4_ANSWER: &str = "the answer of /spot/v4/query/trades";
const V4_TRADE: &str = "a trade of /spot/v4/query/trades";
const V2_ANSWER: &str = "the answer of /v2/trades";
const V2_TRADE: &str = "a trade of /v2/trades";

/// The trades of `POST /spot/v4/query/trades`.
pub(crate) fn v4_trades(body: &[u8]) -> Result<Vec<Row<Way>>, Error> {
    let data = envelope(body).ok_or(NOT_AN_OBJECT)?.data;
    let field = fields_of(V4_TRADE);
    objects(&fields_of(V4_ANSWER)("data", data))?
        .into_iter()
        .map(|row: V4Row<'_>| {
            Ok(Row {
                id: TradeId {
                    trade: field("tradeId", row.trade_id).number()?,
                    order: field("orderId", row.order_id).number()?,
                },
                time_ms: field("createTime", row.create_time).number()?,
                symbol: field("symbol", row.symbol).text()?,
                side: Way::read(&field("side", row.side))?,
                amount: Amount {
                    at: V4_TRADE,
                    field: "size",
                    text: row.size.and_then(text),
                },
            })
        })
        .collect()
}

/// A page of `GET /v2/trades`.
pub(crate) struct Page {
    /// How many trades the whole list has.
    pub total: u64,
    /// The trades. What they say of their side, if anything, is the text of the undocumented `entrustType`.
    pub rows: Vec<Row<Option<String>>>,
}

/// Reads a page of `GET /v2/trades`.
pub(crate) fn v2_page(body: &[u8]) -> Result<Page, Error> {
    let envelope = envelope(body).ok_or(NOT_AN_OBJECT)?;
    let answer = fields_of(V2_ANSWER);
    let field = fields_of(V2_TRADE);
    let rows = objects(&answer("trades", envelope.trades))?
        .into_iter()
        .map(|row: V2Row<'_>| {
            Ok(Row {
                id: TradeId {
                    trade: field("trade_id", row.trade_id).number()?,
                    order: field("entrust_id", row.entrust_id).number()?,
                },
                time_ms: field("timestamp", row.timestamp).number()?,
                symbol: field("symbol", row.symbol).text()?,
                side: match row.entrust_type {
                    None => None,
                    mark => Some(field("entrustType", mark).text()?),
                },
                amount: Amount {
                    at: V2_TRADE,
                    field: "amount",
                    text: row.amount.and_then(text),
                },
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Page {
        total: answer("total_trades", envelope.total_trades).number()?,
        rows,
    })
}

/// An order of `GET /v2/orders/<entrust_id>`.
pub(crate) struct Order {
    pub id: u64,
    pub symbol: String,
    pub side: Way,
}

/// Reads the answer of `GET /v2/orders/<entrust_id>`.
pub(crate) fn v2_order(body: &[u8]) -> Result<Order, Error> {
    let envelope = envelope(body).ok_or(NOT_AN_OBJECT)?;
    let field = fields_of("an order of /v2/orders");
    Ok(Order {
        id: field("entrust_id", envelope.entrust_id).number()?,
        symbol: field("symbol", envelope.symbol).text()?,
        side: Way::read(&field("side", envelope.side))?,
    })
}

/// The token of `POST /v2/authentication` and the seconds it lasts.
pub(crate) fn v2_token(body: &[u8]) -> Result<(String, u64), Error> {
    let envelope = envelope(body).ok_or(NOT_AN_OBJECT)?;
    let field = fields_of("the answer of /v2/authentication");
    let access_token = field("access_token", envelope.access_token);
    let token = access_token.text()?;
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        // It goes into a header as it is.
        return Err(access_token.wrong("not visible ASCII characters only"));
    }
    Ok((token, field("expires_in", envelope.expires_in).number()?))
}

/// The time of `GET /system/time` or `GET /v2/time`.
pub(crate) fn server_time(body: &[u8]) -> Result<u64, Error> {
    let outer = envelope(body).ok_or(NOT_AN_OBJECT)?;
    let inner = outer.data.and_then(|data| envelope(data.get().as_bytes()));
    let time = outer
        .server_time
        .or(inner.and_then(|inner| inner.server_time));
    fields_of("the answer of the exchange's clock")("server_time", time).number()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::group;

    /// A row of `fields`, the one called `name` having the value `json`, or missing where that is empty.
    fn row(fields: [(&str, &str); 6], name: &str, json: &str) -> String {
        let mut row = String::from("{");
        for (field, value) in fields {
            let value = if field == name { json } else { value };
            if !value.is_empty() {
                row.push_str(&format!("\"{field}\":{value},"));
            }
        }
        row.push_str("\"fees\":null,\"active\":\"maybe\",\"new\":{\"x\":[1]}}");
        row
    }

    fn v4(row: &str) -> Result<Vec<Row<Way>>, Error> {
        v4_trades(format!(r#"{{"code":1000,"data":[{row}]}}"#).as_bytes())
    }

    fn v4_with(field: &str, json: &str) -> Result<Vec<Row<Way>>, Error> {
        let fields = [
            ("tradeId", "\"1\""),
            ("orderId", "\"2\""),
            ("symbol", "\"A_B\""),
            ("side", "\"sell\""),
            ("size", "\"1.5\""),
            ("createTime", "1000"),
        ];
        v4(&row(fields, field, json))
    }

    fn v2_with(field: &str, json: &str) -> Result<Page, Error> {
        let fields = [
            ("trade_id", "1"),
            ("entrust_id", "2"),
            ("symbol", "\"A_B\""),
            ("amount", "\"1.5\""),
            ("timestamp", "1000"),
            ("entrustType", "1"),
        ];
        let row = row(fields, field, json);
        v2_page(format!(r#"{{"total_trades":"1","trades":[{row}]}}"#).as_bytes())
    }

    #[test]
    fn numbers_come_as_numbers_or_as_strings() {
        for json in [
            "10",
            "\"10\"",
            "\"010\"",
            "\"0000000000000000000000000010\"",
        ] {
            assert_eq!(v4_with("tradeId", json).unwrap()[0].id.trade, 10, "{json}");
            assert_eq!(v4_with("createTime", json).unwrap()[0].time_ms, 10);
            assert_eq!(v2_with("entrust_id", json).unwrap().rows[0].id.order, 10);
            assert_eq!(v2_with("timestamp", json).unwrap().rows[0].time_ms, 10);
        }
        assert_eq!(
            v4_with("orderId", "18446744073709551615").unwrap()[0]
                .id
                .order,
            u64::MAX
        );
    }

    #[test]
    fn an_id_that_is_not_plain_digits_is_refused() {
        for json in [
            "-1",
            "\"+1\"",
            "\" 1\"",
            "1.0",
            "1e3",
            "\"0x10\"",
            "\"\"",
            "true",
            "[]",
            "{}",
            "null",
            "",
            "18446744073709551616",
            "\"１\"",
        ] {
            for field in ["tradeId", "orderId", "createTime"] {
                let error = v4_with(field, json).unwrap_err();
                assert!(
                    matches!(error, Error::Field { field: named, .. } if named == field),
                    "{field} {json}: {error}"
                );
            }
            for field in ["trade_id", "entrust_id", "timestamp"] {
                let Err(error) = v2_with(field, json) else {
                    panic!("{field} {json} was read");
                };
                assert!(matches!(error, Error::Field { field: named, .. } if named == field));
            }
        }
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        for (field, json) in [
            ("symbol", ""),
            ("symbol", "null"),
            ("side", ""),
            ("side", "\"SELL\""),
            ("side", "1"),
        ] {
            let error = v4_with(field, json).unwrap_err();
            assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
        }
        for json in ["1", "[]", "null", "{\"tradeId\":1,\"tradeId\":1}"] {
            assert!(v4(json).is_err(), "{json}");
        }
        assert!(v2_page(br#"{"trades":[]}"#).is_err());
        assert!(v2_page(br#"{"total_trades":null,"trades":[]}"#).is_err());
    }

    #[test]
    fn amounts_are_read_exactly_and_only_of_sales() {
        let cases = group("bitmart.json", "amounts");
        for case in &cases {
            let json = case["json"].as_str().unwrap();
            let expected = case["napu"].as_u64().and_then(Napu::new);
            let v4_row = v4_with("size", json).unwrap().remove(0);
            let v2_row = v2_with("amount", json).unwrap().rows.remove(0);
            for trade in [v4_row.trade(Way::Sell), v2_row.trade(Way::Sell)] {
                match expected {
                    Some(quantity) => {
                        assert_eq!(trade.unwrap().side, Side::Sell { quantity }, "{json}");
                    }
                    None => assert!(trade.is_err(), "{json}"),
                }
            }
            assert_eq!(v4_row.trade(Way::Buy).unwrap().side, Side::Buy);
            assert_eq!(v2_row.trade(Way::Buy).unwrap().side, Side::Buy);
        }
        assert_eq!(cases.len(), 55);
        assert!(v4_with("size", "").unwrap()[0].trade(Way::Sell).is_err());
    }

    #[test]
    fn the_exchange_s_time_is_read_in_both_dialects() {
        let v4 =
            br#"{"code":1000,"message":"OK","trace":"x","data":{"server_time":1527777538000}}"#;
        assert_eq!(server_time(v4).unwrap(), 1_527_777_538_000);
        assert_eq!(
            server_time(br#"{"server_time":"1527777538000"}"#).unwrap(),
            1_527_777_538_000
        );
        assert!(server_time(br#"{"code":1000,"data":{}}"#).is_err());
    }

    #[test]
    fn a_token_that_could_forge_a_header_is_refused() {
        assert!(v2_token(br#"{"access_token":"m261ae","expires_in":"900"}"#).is_ok());
        assert!(v2_token(br#"{"access_token":"a\r\nX: y","expires_in":900}"#).is_err());
        assert!(v2_token(br#"{"access_token":"","expires_in":900}"#).is_err());
        assert!(v2_token(br#"{"access_token":"a"}"#).is_err());
    }
}
