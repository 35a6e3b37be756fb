//! The exchange: one account's trades, `POST /spot/v4/query/trades`, and `GET /system/time`.

use serde_json::{Value, json};

/// The pair.
pub const SYMBOL: &str = "XND_USDT";

/// Above 2^53, as the real ones are.
const FIRST_ID: u64 = 125_277_182_593_091_639;

/// How old a request may be.
const RECEIVE_MS: u64 = 5000;

/// The most that one answer holds.
const LIMIT: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Buy,
    Sell,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trade {
    pub id: u64,
    pub order: u64,
    pub time_ms: u64,
    pub side: Side,
    pub napu: u64,
    /// Whether the account is shown it yet.
    pub visible: bool,
}

/// In which order an answer has its trades, and how often each; neither is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    OldestFirst,
    /// Newest first, and each twice.
    Twice,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exchange {
    pub trades: Vec<Trade>,
    pub style: Style,
}

impl Exchange {
    pub fn new() -> Exchange {
        Exchange {
            trades: Vec::new(),
            style: Style::OldestFirst,
        }
    }

    /// Adds a visible trade.
    pub fn trade(&mut self, time_ms: u64, side: Side, napu: u64) -> &mut Trade {
        let id = FIRST_ID + self.trades.len() as u64;
        self.trades.push(Trade {
            id,
            order: id - 64,
            time_ms,
            side,
            napu,
            visible: true,
        });
        self.trades.last_mut().unwrap()
    }

    /// The sales that the account is shown.
    pub fn sales(&self) -> impl Iterator<Item = &Trade> {
        let shown = self.trades.iter().filter(|trade| trade.visible);
        shown.filter(|trade| trade.side == Side::Sell)
    }

    /// What was sold, as far as the account is shown it.
    pub fn sold(&self) -> u64 {
        self.sales().map(|trade| trade.napu).sum()
    }

    /// What time it is.
    pub fn time(&self, now_ms: u64) -> (u16, String) {
        let data = json!({"server_time": now_ms});
        let answer = json!({"code": 1000, "message": "OK", "trace": "N/A", "data": data});
        (200, answer.to_string())
    }

    /// The answer to a question for trades that was stamped and arrived then.
    pub fn answer(&self, body: &[u8], stamp_ms: u64, now_ms: u64) -> (u16, String) {
        if stamp_ms >= now_ms + 1000 || stamp_ms + RECEIVE_MS < now_ms {
            let message = "Header X-BM-TIMESTAMP range. Within a minute";
            let answer = json!({"code": 30007, "message": message, "trace": "N/A", "data": {}});
            return (401, answer.to_string());
        }
        let asked: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(asked["symbol"], SYMBOL);
        let bound = |name: &str| asked[name].as_u64().unwrap();
        let (first, last) = (bound("startTime"), bound("endTime"));
        let mut rows: Vec<Value> = self
            .trades
            .iter()
            .filter(|trade| trade.visible && (first..=last).contains(&trade.time_ms))
            .map(row)
            .collect();
        if self.style != Style::OldestFirst {
            rows.reverse();
        }
        if self.style == Style::Twice {
            rows.extend(rows.clone());
        }
        rows.truncate(LIMIT);
        let answer = json!({"code": 1000, "message": "success", "trace": "N/A", "data": rows});
        (200, answer.to_string())
    }
}

fn row(trade: &Trade) -> Value {
    let Trade {
        id, order, time_ms, ..
    } = trade;
    json!({
        "tradeId": id.to_string(),
        "orderId": order.to_string(),
        "clientOrderId": "",
        "symbol": SYMBOL,
        "side": if trade.side == Side::Buy { "buy" } else { "sell" },
        "orderMode": "spot",
        "type": "limit",
        "stpMode": "none",
        "price": "2.00",
        "size": format!("{}.{:08}", trade.napu / 100_000_000, trade.napu % 100_000_000),
        "notional": "2.00000000",
        "fee": "0.00500000",
        "feeCoinName": "USDT",
        "tradeRole": "maker",
        "createTime": time_ms,
        "updateTime": time_ms,
    })
}
