//! The dialect v4: JSON in, JSON out, every request signed.

use super::book::{Book, PRICE, Trade, times};
use super::{CutKeeps, Order, Shop, hmac_hex, json};
use crate::clock::DAY_MS;
use crate::fault::Html;
use crate::server::{Request, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// The greatest `limit`, and its default.
const LIMIT: usize = 200;
/// The window of the rate limit.
const RATE_WINDOW: Duration = Duration::from_secs(2);

pub(super) fn answer(shop: &Shop, request: &Request) -> Response {
    // Default user agents of HTTP libraries do not pass Cloudflare.
    let agent = request.header("user-agent").unwrap_or_default();
    if agent.is_empty() || agent.to_ascii_lowercase().starts_with("ureq") {
        return Response::html(Html::Cloudflare);
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/system/time") => time(shop),
        ("POST", "/spot/v4/query/trades") => limited(shop, request),
        _ => error(404, 30000, "Not found"),
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    message: &'a str,
    code: u32,
    trace: String,
    data: Map<String, Value>,
}

pub(super) fn error(status: u16, code: u32, message: &str) -> Response {
    let body = Failure {
        message,
        code,
        trace: trace(u64::from(code)),
        data: Map::new(),
    };
    json(status, &body)
}

fn trace(number: u64) -> String {
    format!(
        "5e1c9f98d761443ea559c7af71ca57fa.61.{}",
        16_819_603_026_240_455 + number
    )
}

/// `Remaining` is the number already used; `Reset` the length of the window in seconds.
fn with_rate(response: Response, used: usize, limit: usize) -> Response {
    response
        .with("X-BM-RateLimit-Remaining", used.to_string())
        .with("X-BM-RateLimit-Limit", limit.to_string())
        .with("X-BM-RateLimit-Reset", RATE_WINDOW.as_secs().to_string())
        .with("X-BM-RateLimit-Mode", "UID")
}

pub(super) fn too_many(used: usize, limit: usize) -> Response {
    with_rate(error(429, 30013, "Request too many requests"), used, limit)
}

fn time(shop: &Shop) -> Response {
    #[derive(Serialize)]
    struct Time {
        server_time: i64,
    }
    let server_time = shop.book().now_ms();
    success("OK", trace(0), &Time { server_time })
}

#[derive(Serialize)]
struct Success<'a, T> {
    code: u32,
    message: &'a str,
    trace: String,
    data: &'a T,
}

fn success<T: Serialize>(message: &str, trace: String, data: &T) -> Response {
    let body = Success {
        code: 1000,
        message,
        trace,
        data,
    };
    json(200, &body)
}

/// Requests are counted by key, before anything else about them is looked at.
fn limited(shop: &Shop, request: &Request) -> Response {
    let (status, code, message) = match request.header("x-bm-key") {
        None => (401, 30001, "Header X-BM-KEY is empty"),
        Some(key) if key != shop.settings.access => (401, 30002, "Header X-BM-KEY not found"),
        Some(_) => {
            let mut book = shop.book();
            let Some(limit) = shop.settings.v4_rate_limit else {
                return trades(shop, &mut book, request);
            };
            let now = Instant::now();
            book.used.retain(|&at| now.duration_since(at) < RATE_WINDOW);
            book.used.push_back(now);
            let used = book.used.len();
            if used > limit {
                return too_many(used, limit);
            }
            return with_rate(trades(shop, &mut book, request), used, limit);
        }
    };
    error(status, code, message)
}

/// The fields we know of a request's body; an unknown one is ignored, a misspelt one too.
struct Query {
    symbol: Option<String>,
    spot: bool,
    start: i64,
    end: i64,
    limit: usize,
}

fn trades(shop: &Shop, book: &mut Book, request: &Request) -> Response {
    let query = match check(shop, book, request) {
        Ok(query) => query,
        Err(refusal) => return refusal,
    };
    let settings = &shop.settings;
    let mut found: Vec<Trade> = book
        .visible()
        .into_iter()
        .filter(|trade| {
            let after = if settings.v4_start_inclusive {
                trade.time_ms >= query.start
            } else {
                trade.time_ms > query.start
            };
            let before = if settings.v4_end_inclusive {
                trade.time_ms <= query.end
            } else {
                trade.time_ms < query.end
            };
            let symbol = query.symbol.as_ref().is_none_or(|s| *s == trade.symbol);
            query.spot && after && before && symbol
        })
        .collect();
    if found.len() > query.limit {
        match settings.v4_cut_keeps {
            CutKeeps::Oldest => found.truncate(query.limit),
            CutKeeps::Newest => drop(found.drain(..found.len() - query.limit)),
        }
    }
    let number = book.next_answer();
    match settings.v4_order {
        Order::OldestFirst => {}
        Order::NewestFirst => found.reverse(),
        Order::Shuffled => found.sort_by_key(|trade| {
            (trade.id ^ trade.order.rotate_left(17) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }),
    }
    if book.repeat_trades {
        let room = query.limit - found.len();
        let again: Vec<Trade> = found.iter().take(room.min(3)).cloned().collect();
        found.extend(again);
    }
    let rows: Vec<Row> = found.iter().map(Row::from).collect();
    // Both messages occur; only the code tells success.
    let message = if number.is_multiple_of(2) {
        "OK"
    } else {
        "success"
    };
    success(message, trace(number), &rows)
}

/// Every check of a signed request. The order of those that are not about one another is ours.
fn check(shop: &Shop, book: &Book, request: &Request) -> Result<Query, Response> {
    let refuse = |status, code, message| Err(error(status, code, message));
    let Some(timestamp) = request.header("x-bm-timestamp") else {
        return refuse(401, 30006, "Header X-BM-TIMESTAMP is empty");
    };
    let Some(stamp) = milliseconds(timestamp) else {
        return refuse(401, 30008, "Header X-BM-TIMESTAMP invalid format");
    };
    let Some(sign) = request.header("x-bm-sign") else {
        return refuse(401, 30004, "Header X-BM-SIGN is empty");
    };
    let is_json = request.header("content-type").is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    let body = serde_json::from_slice::<Map<String, Value>>(&request.body);
    let (true, Ok(body)) = (is_json, body) else {
        return refuse(503, 30018, "Request Body requires JSON format");
    };
    let window = whole(&body, "recvWindow", 5000)?;
    if window <= 0 || window > 60_000 {
        return refuse(
            401,
            30007,
            "Param recvWindow must be less than 60000 and greater than 0",
        );
    }
    let now = book.now_ms();
    // A clock that is ahead fails whatever the window.
    let early = stamp >= now.saturating_add(1000);
    if early || now.saturating_sub(stamp) > window {
        return refuse(
            401,
            30007,
            "Header X-BM-TIMESTAMP range. \
             Timestamp for this request is outside of the recvWindow.",
        );
    }
    // The very bytes that were sent are signed, and the header's text, not its number.
    let mut message = format!("{timestamp}#{}#", shop.settings.memo).into_bytes();
    message.extend_from_slice(&request.body);
    if hmac_hex(&shop.settings.secret, &message) != sign {
        return refuse(401, 30005, "Header X-BM-SIGN is wrong");
    }
    read_query(shop, book, &body, now)
}

fn read_query(
    shop: &Shop,
    book: &Book,
    body: &Map<String, Value>,
    now: i64,
) -> Result<Query, Response> {
    let refuse = |code, message| Err(error(400, code, message));
    let symbol = words(body, "symbol")?;
    if symbol.as_ref().is_some_and(|s| !book.knows_symbol(s)) {
        return refuse(50001, "Symbol not found");
    }
    let spot = match words(body, "orderMode")?.as_deref() {
        None | Some("spot") => true,
        Some("iso_margin") => false,
        Some(_) => return refuse(52000, "Unsupported OrderMode Type"),
    };
    let limit = whole(body, "limit", 200)?;
    let Ok(limit @ 1..=LIMIT) = usize::try_from(limit) else {
        return refuse(50021, "Invalid limit");
    };
    // Without times: the last seven days. With one of them, 'starting from this timestamp' is said of
    // both; here a lone end has seven days before it.
    let end = whole(body, "endTime", now)?;
    let start = whole(body, "startTime", end.saturating_sub(7 * DAY_MS))?;
    if end <= start {
        return refuse(
            52004,
            "End time must be greater than or equal to Start time",
        );
    }
    if let Some(days) = shop.settings.history_days
        && start < now.saturating_sub(i64::from(days) * DAY_MS)
    {
        return refuse(50041, "Out of query time range");
    }
    Ok(Query {
        symbol,
        spot,
        start,
        end,
        limit,
    })
}

fn milliseconds(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn whole(body: &Map<String, Value>, field: &str, default: i64) -> Result<i64, Response> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_i64().ok_or_else(|| invalid(field)),
    }
}

fn words(body: &Map<String, Value>, field: &str) -> Result<Option<String>, Response> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(field)),
    }
}

fn invalid(field: &str) -> Response {
    error(400, 50021, &format!("Invalid {field}"))
}

/// A trade as v4 writes it: ids are decimal strings, because 64 bits are too many for JavaScript.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    trade_id: String,
    order_id: String,
    client_order_id: String,
    symbol: String,
    side: &'static str,
    order_mode: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stp_mode: Option<&'static str>,
    price: String,
    size: String,
    notional: String,
    fee: String,
    fee_coin_name: &'static str,
    trade_role: &'static str,
    create_time: i64,
    update_time: i64,
}

impl From<&Trade> for Row {
    fn from(trade: &Trade) -> Row {
        // What does not matter varies from trade to trade.
        let even = trade.id.is_multiple_of(2);
        Row {
            trade_id: trade.id.to_string(),
            order_id: trade.order.to_string(),
            client_order_id: if even {
                trade.order.to_string()
            } else {
                String::new()
            },
            symbol: trade.symbol.clone(),
            side: trade.side.word(),
            order_mode: "spot",
            kind: if even { "limit" } else { "market" },
            stp_mode: even.then_some("none"),
            price: format!("{PRICE}.00000"),
            size: trade.quantity.clone(),
            notional: times(&trade.quantity, PRICE, 1, 8),
            fee: times(&trade.quantity, PRICE, 1000, 8),
            fee_coin_name: "USDT",
            trade_role: if even { "maker" } else { "taker" },
            create_time: trade.time_ms,
            update_time: trade.time_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hmac_hex;

    #[test]
    fn the_documented_signature_comes_out() {
        let message =
            b"1589793796145#test001#{\"symbol\":\"BTC_USDT\",\"price\":\"8600\",\"count\":\"100\"}";
        assert_eq!(
            hmac_hex(
                "6c6c98544461bbe71db2bca4c6d7fd0021e0ba9efc215f9c6ad41852df9d9df9",
                message
            ),
            "c31dc326bf87f38bfb49a3f8494961abfa291bd549d0d98d9578e87516cee46d"
        );
    }
}
