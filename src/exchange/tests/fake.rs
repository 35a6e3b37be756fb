//! A small exchange made of values, and a clock that only moves when someone waits. For tests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{DAY_MS, Key, auth};
use crate::clock::Clock;
use crate::http::{Error, Http, Request, Response};

/// 2025-11-01T00:00:00Z.
pub(super) const START_MS: u64 = 1_761_955_200_000;

/// A clock that moves by what is slept, and by a millisecond each time the exchange is asked.
pub(super) struct FakeClock {
    start: Instant,
    start_ms: u64,
    passed: Cell<Duration>,
    pub slept: Cell<Duration>,
}

impl FakeClock {
    pub fn at(start_ms: u64) -> FakeClock {
        FakeClock {
            start: Instant::now(),
            start_ms,
            passed: Cell::default(),
            slept: Cell::default(),
        }
    }

    fn tick(&self) {
        self.passed
            .set(self.passed.get() + Duration::from_millis(1));
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.start_ms + u64::try_from(self.passed.get().as_millis()).unwrap()
    }

    fn instant(&self) -> Instant {
        self.start + self.passed.get()
    }

    fn sleep(&self, pause: Duration) {
        self.passed.set(self.passed.get() + pause);
        self.slept.set(self.slept.get() + pause);
    }
}

pub(super) fn key() -> Key {
    Key::for_tests("accessaccess", "secretsecret", "my memo")
}

/// A trade as the exchange has it: the amounts are texts of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub trade: u64,
    pub order: u64,
    pub time_ms: u64,
    pub symbol: String,
    pub sold: bool,
    pub size: String,
}

pub(super) fn held(trade: u64, time_ms: u64, sold: bool) -> Held {
    Held {
        trade,
        order: trade / 2,
        time_ms,
        symbol: "XND_USDT".to_owned(),
        sold,
        size: "\"0.29\"".to_owned(),
    }
}

/// The order of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sorted {
    NewestFirst,
    OldestFirst,
    Shuffled,
}

/// Which trades an answer that is too long keeps.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Newest,
    Oldest,
}

/// What `offset` counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offset {
    Pages,
    Rows,
}

/// An answer made beforehand: status, headers and body; or none, which is a connection that fails.
pub(super) type Scripted = Option<(u16, Vec<(&'static str, &'static str)>, String)>;

/// The exchange. The fields are the ways in which the real one may be.
pub(super) struct Fake<'a> {
    pub clock: &'a FakeClock,
    pub trades: RefCell<Vec<Held>>,
    pub knows_v4: bool,
    pub knows_v2: bool,
    pub sorted: Sorted,
    pub cut: Cut,
    pub offset: Offset,
    pub inclusive: (bool, bool),
    pub understands_filter: bool,
    /// Its clock less ours.
    pub ahead_ms: i64,
    /// Trades that arrive, one before each page after the first.
    pub arrivals: RefCell<VecDeque<Held>>,
    /// Windows that begin before this are refused.
    pub history_starts_ms: u64,
    /// What is answered instead, request by request.
    pub script: RefCell<VecDeque<Scripted>>,
    pub missing_order: Option<u64>,
    pub entrust_type: bool,
    /// Tokens stop working after so many uses.
    pub token_uses: u32,
    pub total_lies_by: u64,
    token: RefCell<(u32, u32)>,
    /// Each request as method, path and body.
    pub asked: RefCell<Vec<String>>,
    sent: RefCell<Vec<Duration>>,
}

impl<'a> Fake<'a> {
    pub fn new(clock: &'a FakeClock, trades: Vec<Held>) -> Fake<'a> {
        Fake {
            clock,
            trades: RefCell::new(trades),
            knows_v4: true,
            knows_v2: true,
            sorted: Sorted::NewestFirst,
            cut: Cut::Newest,
            offset: Offset::Pages,
            inclusive: (true, true),
            understands_filter: true,
            ahead_ms: 0,
            arrivals: RefCell::default(),
            history_starts_ms: 0,
            script: RefCell::default(),
            missing_order: None,
            entrust_type: false,
            token_uses: 1000,
            total_lies_by: 0,
            token: RefCell::default(),
            asked: RefCell::default(),
            sent: RefCell::default(),
        }
    }

    /// Forgets when it was asked: runs are apart.
    pub fn start_run(&self) {
        self.sent.borrow_mut().clear();
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms().saturating_add_signed(self.ahead_ms)
    }

    fn arranged(&self) -> Vec<Held> {
        let mut trades = self.trades.borrow().clone();
        match self.sorted {
            Sorted::OldestFirst => trades.sort_by_key(|t| (t.time_ms, t.trade)),
            Sorted::NewestFirst => {
                trades.sort_by_key(|t| std::cmp::Reverse((t.time_ms, t.trade)));
            }
            Sorted::Shuffled => trades.sort_by_key(|t| t.trade.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
        trades
    }

    fn v4_trades(&self, request: &Request) -> (u16, String) {
        let header = |name| &request.headers.iter().find(|(n, _)| *n == name).unwrap().1;
        let body = request.body.as_ref().unwrap();
        let timestamp: u64 = header("X-BM-TIMESTAMP").parse().unwrap();
        assert_eq!(header("X-BM-KEY"), "accessaccess");
        assert_eq!(header("X-BM-SIGN"), &auth::v4_sign(&key(), timestamp, body));
        let query: Value = serde_json::from_slice(body).unwrap();
        let number = |name: &str| query[name].as_u64().unwrap();
        if !is_in_time(timestamp, self.now_ms(), number("recvWindow")) {
            let message = "Header X-BM-TIMESTAMP range. Timestamp for this request is outside of the recvWindow.";
            return (
                401,
                format!(r#"{{"code":30007,"message":"{message}","data":{{}}}}"#),
            );
        }
        let (start, end) = (number("startTime"), number("endTime"));
        assert!(start < end && end - start <= 7 * DAY_MS);
        if start < self.history_starts_ms {
            let body = r#"{"code":50041,"message":"Out of query time range","data":{}}"#;
            return (400, body.to_owned());
        }
        let limit = usize::try_from(number("limit")).unwrap();
        let wanted = |t: &Held| {
            !self.understands_filter
                || (t.symbol == query["symbol"]
                    && (t.time_ms > start || self.inclusive.0 && t.time_ms == start)
                    && (t.time_ms < end || self.inclusive.1 && t.time_ms == end))
        };
        let mut kept: Vec<Held> = self
            .trades
            .borrow()
            .iter()
            .filter(|t| wanted(t))
            .cloned()
            .collect();
        kept.sort_by_key(|t| (t.time_ms, t.trade));
        if let Cut::Newest = self.cut {
            kept.reverse();
        }
        kept.truncate(limit);
        let rows: Vec<String> = self
            .arranged()
            .iter()
            .filter(|t| kept.contains(t))
            .map(|t| {
                let side = if t.sold { "sell" } else { "buy" };
                format!(
                    r#"{{"tradeId":"{}","orderId":"{}","symbol":"{}","side":"{side}","size":{},"createTime":{}}}"#,
                    t.trade, t.order, t.symbol, t.size, t.time_ms
                )
            })
            .collect();
        (
            200,
            format!(
                r#"{{"code":1000,"message":"OK","data":[{}]}}"#,
                rows.join(",")
            ),
        )
    }

    fn v2(&self, path: &str, request: &Request) -> (u16, String) {
        if path == "/v2/time" {
            return (200, format!(r#"{{"server_time":{}}}"#, self.now_ms()));
        }
        if path == "/v2/authentication" {
            let body = String::from_utf8(request.body.clone().unwrap()).unwrap();
            let secret = auth::v2_client_secret(&key());
            assert_eq!(
                body,
                format!(
                    "grant_type=client_credentials&client_id=accessaccess&client_secret={secret}"
                )
            );
            let mut token = self.token.borrow_mut();
            *token = (token.0 + 1, 0);
            return (
                200,
                format!(r#"{{"access_token":"token-{}","expires_in":900}}"#, token.0),
            );
        }
        let header = |name| &request.headers.iter().find(|(n, _)| *n == name).unwrap().1;
        let mut token = self.token.borrow_mut();
        token.1 += 1;
        if header("X-BM-AUTHORIZATION") != &format!("Bearer token-{}", token.0)
            || token.1 > self.token_uses
        {
            return (401, r#"{"message":"Unauthorized"}"#.to_owned());
        }
        let stamp: u64 = header("X-BM-TIMESTAMP").parse().unwrap();
        if stamp.abs_diff(self.now_ms()) > 60_000 {
            return (403, r#"{"message":"Invalid timestamp"}"#.to_owned());
        }
        if let Some(order) = path.strip_prefix("/v2/orders/") {
            let order: u64 = order.parse().unwrap();
            let trades = self.trades.borrow();
            return match trades.iter().find(|t| t.order == order) {
                Some(t) if self.missing_order != Some(order) => {
                    let side = if t.sold { "sell" } else { "buy" };
                    (
                        200,
                        format!(
                            r#"{{"entrust_id":{order},"symbol":"{}","side":"{side}"}}"#,
                            t.symbol
                        ),
                    )
                }
                _ => (404, r#"{"message":"Not found"}"#.to_owned()),
            };
        }
        let query = path
            .strip_prefix("/v2/trades?symbol=XND_USDT&offset=")
            .unwrap();
        let (offset, limit) = query.split_once("&limit=").unwrap();
        let (offset, limit): (usize, usize) = (offset.parse().unwrap(), limit.parse().unwrap());
        if offset > 0 {
            self.trades
                .borrow_mut()
                .extend(self.arrivals.borrow_mut().pop_front());
        }
        let trades = self.arranged();
        let skip = match self.offset {
            Offset::Pages => offset * limit,
            Offset::Rows => offset,
        };
        let rows: Vec<String> = trades
            .iter()
            .skip(skip)
            .take(limit)
            .map(|t| {
                let mark = match (self.entrust_type, t.sold) {
                    (false, _) => "",
                    (true, true) => r#","entrustType":"1""#,
                    (true, false) => r#","entrustType":0"#,
                };
                format!(
                    r#"{{"trade_id":{},"entrust_id":"{}","symbol":"{}","amount":{},"timestamp":"{}","active":1{mark}}}"#,
                    t.trade, t.order, t.symbol, t.size, t.time_ms / 1000 * 1000
                )
            })
            .collect();
        let total = u64::try_from(trades.len()).unwrap() + self.total_lies_by;
        (
            200,
            format!(
                r#"{{"total_trades":"{total}","trades":[{}]}}"#,
                rows.join(",")
            ),
        )
    }
}

impl Http for Fake<'_> {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        self.clock.tick();
        let passed = self.clock.passed.get();
        let mut sent = self.sent.borrow_mut();
        sent.push(passed);
        // The exchange's own rule: 12 in 2 s.
        if let Some(earlier) = sent.len().checked_sub(13).map(|i| sent[i]) {
            assert!(
                passed - earlier > Duration::from_secs(2),
                "too many requests"
            );
        }
        let path = request.url.strip_prefix("https://exchange.test").unwrap();
        let body = String::from_utf8(request.body.clone().unwrap_or_default()).unwrap();
        self.asked.borrow_mut().push(format!("{path} {body}"));
        if let Some(scripted) = self.script.borrow_mut().pop_front() {
            return match scripted {
                Some((status, headers, body)) => Ok(Response {
                    status,
                    headers: headers
                        .into_iter()
                        .map(|(n, v)| (n.to_owned(), v.to_owned()))
                        .collect(),
                    body: body.into_bytes(),
                }),
                None => Err(Error::TooLarge {
                    url: request.url.clone(),
                    max_bytes: 0,
                }),
            };
        }
        let (status, body) = match path {
            "/spot/v4/query/trades" if self.knows_v4 => self.v4_trades(request),
            "/system/time" if self.knows_v4 => (
                200,
                format!(
                    r#"{{"code":1000,"data":{{"server_time":{}}}}}"#,
                    self.now_ms()
                ),
            ),
            _ if path.starts_with("/v2/") && self.knows_v2 => self.v2(path, request),
            _ => (404, "404 page not found".to_owned()),
        };
        Ok(Response {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        })
    }
}

/// The documented rule for time stamps.
pub(super) fn is_in_time(timestamp_ms: u64, server_ms: u64, recv_window_ms: u64) -> bool {
    timestamp_ms < server_ms + 1000 && server_ms.saturating_sub(timestamp_ms) <= recv_window_ms
}

/// Answers each request with what was recorded for it, and nothing else.
pub(super) struct Recorded {
    pub answers: BTreeMap<String, (u16, String)>,
    pub asked: RefCell<Vec<String>>,
}

impl Http for Recorded {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let path = request.url.strip_prefix("https://exchange.test").unwrap();
        self.asked.borrow_mut().push(path.to_owned());
        let (status, body) = self
            .answers
            .get(path)
            .unwrap_or_else(|| panic!("nothing was recorded for {path}"));
        Ok(Response {
            status: *status,
            headers: Vec::new(),
            body: body.clone().into_bytes(),
        })
    }
}
