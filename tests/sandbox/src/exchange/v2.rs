//! The dialect v2: a token from a signed form, then plain GETs. A trade does not tell its side; its
//! order does.

use super::book::{Book, PRICE, Side, Trade, times};
use super::style::Style;
use super::{Offset, Shop, hmac_hex, json};
use crate::clock::DAY_MS;
use crate::server::{Request, Response, form};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long a token lasts, in seconds, if midnight UTC does not come first.
const TOKEN_SECONDS: i64 = 900;
/// Token requests in a minute.
const TOKEN_REQUESTS: usize = 5;
/// How far a request's timestamp may be from the exchange's clock.
const STAMP_MS: u64 = 60_000;

pub(super) fn answer(shop: &Shop, request: &Request) -> Response {
    let result = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/v2/time") => Ok(time(shop)),
        ("POST", "/v2/authentication") => authenticate(shop, request),
        ("GET", "/v2/trades") => authorized(shop, request, trades),
        ("GET", "/v2/orders") => authorized(shop, request, orders),
        ("GET", path) if path.starts_with("/v2/orders/") => authorized(shop, request, order),
        _ => Err(error(404, "Not found")),
    };
    result.unwrap_or_else(|refusal| refusal)
}

#[derive(Serialize)]
struct Failure<'a> {
    message: &'a str,
}

pub(super) fn error(status: u16, message: &str) -> Response {
    json(status, &Failure { message })
}

/// The other shape of an error; the status it came with is not known, 200 is the harder one.
pub(super) fn visit_too_often() -> Response {
    let body =
        r#"{"code":-30,"msg":"Visit too often, please try again later","subMsg":"","data":{}}"#;
    Response::json(200, body)
}

fn time(shop: &Shop) -> Response {
    #[derive(Serialize)]
    struct Time {
        server_time: i64,
    }
    let server_time = shop.book().now_ms();
    json(200, &Time { server_time })
}

fn authenticate(shop: &Shop, request: &Request) -> Result<Response, Response> {
    #[derive(Serialize)]
    struct Token {
        access_token: String,
        expires_in: i64,
    }
    let mut book = shop.book();
    let now = Instant::now();
    book.token_requests
        .retain(|&at| now.duration_since(at) < Duration::from_secs(60));
    book.token_requests.push_back(now);
    if book.token_requests.len() > TOKEN_REQUESTS {
        return Err(visit_too_often());
    }
    let is_form = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let fields = form(&String::from_utf8_lossy(&request.body));
    let field = |name| {
        fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    let settings = &shop.settings;
    let (access, secret, memo) = (&settings.access, &settings.secret, &settings.memo);
    let client_secret = hmac_hex(secret, format!("{access}:{secret}:{memo}").as_bytes());
    if !is_form
        || field("grant_type") != Some("client_credentials")
        || field("client_id") != Some(access)
        || field("client_secret") != Some(client_secret.as_str())
    {
        return Err(error(400, "Invalid request"));
    }
    let now = book.now_ms();
    let number = book.next_answer();
    let seed = format!("{secret}{now}{number}");
    let access_token = format!("m{}", hex::encode(Sha256::digest(seed)));
    book.tokens.insert(access_token.clone(), expiry(now));
    Ok(json(
        200,
        &Token {
            access_token,
            expires_in: TOKEN_SECONDS,
        },
    ))
}

/// A token ends after its seconds, or at the next midnight UTC if that comes first.
fn expiry(now: i64) -> i64 {
    let midnight = (now.div_euclid(DAY_MS) + 1) * DAY_MS;
    midnight.min(now + TOKEN_SECONDS * 1000)
}

type Answer = Result<Response, Response>;

fn authorized(
    shop: &Shop,
    request: &Request,
    then: fn(&Shop, &mut Book, &Request) -> Answer,
) -> Answer {
    let mut book = shop.book();
    let now = book.now_ms();
    let token = request
        .header("x-bm-authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let valid = token
        .and_then(|token| book.tokens.get(token))
        .is_some_and(|&end| now < end);
    let stamp = request
        .header("x-bm-timestamp")
        .and_then(|value| value.parse::<i64>().ok());
    if !valid || stamp.is_none_or(|stamp| stamp.abs_diff(now) > STAMP_MS) {
        return Err(error(401, "Unauthorized"));
    }
    then(shop, &mut book, request)
}

fn required<T: std::str::FromStr>(
    request: &Request,
    kind: &str,
    name: &str,
) -> Result<T, Response> {
    let missing = || {
        let text = format!("Required {kind} parameter '{name}' is not present");
        error(400, &text)
    };
    let value = request.query_field(name).ok_or_else(missing)?;
    value.parse().map_err(|_| error(400, "Invalid request"))
}

fn symbol(book: &Book, request: &Request) -> Result<String, Response> {
    let symbol: String = required(request, "String", "symbol")?;
    if book.knows_symbol(&symbol) {
        Ok(symbol)
    } else {
        Err(error(400, "Unknown symbol"))
    }
}

/// The part of a list that `offset` and `limit` ask for, and how many pages it has.
fn page<T: Clone>(
    shop: &Shop,
    request: &Request,
    all: &[T],
) -> Result<(Vec<T>, u64, u64), Response> {
    let offset: u64 = required(request, "Integer", "offset")?;
    let limit: u64 = required(request, "Integer", "limit")?;
    let max = shop.settings.v2_max_limit;
    if limit == 0 || limit > max {
        let text = format!("Invalid limit. limit must be in the range (0, {max}]");
        return Err(error(400, &text));
    }
    let (skip, current) = match shop.settings.v2_offset {
        Offset::Page => (offset.saturating_mul(limit), offset),
        Offset::Row => (offset, offset / limit),
    };
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let part = all.iter().skip(size(skip)).take(size(limit)).cloned();
    let pages = u64::try_from(all.len()).unwrap_or(0).div_ceil(limit);
    Ok((part.collect(), pages, current))
}

fn trades(shop: &Shop, book: &mut Book, request: &Request) -> Answer {
    #[derive(Serialize)]
    struct Page {
        total_trades: Box<RawValue>,
        total_pages: Box<RawValue>,
        current_page: Box<RawValue>,
        trades: Vec<Row>,
    }
    let symbol = symbol(book, request)?;
    let mut all = book.visible();
    all.retain(|trade| trade.symbol == symbol);
    if shop.settings.v2_newest_first {
        all.reverse();
    }
    let (mut part, pages, current) = match request.query_field("entrust_id") {
        // One order's trades: offset and limit are ignored.
        Some(order) => {
            all.retain(|trade| trade.order.to_string() == order);
            (all.clone(), 1, 0)
        }
        None => page(shop, request, &all)?,
    };
    if book.repeat_trades {
        let again: Vec<Trade> = part.iter().take(2).cloned().collect();
        part.extend(again);
    }
    let number = book.next_answer();
    let style = |seed| Style::new(shop.settings.v2_types, seed);
    let total = u64::try_from(all.len()).unwrap_or(0);
    Ok(json(
        200,
        &Page {
            total_trades: style(number).id(total),
            total_pages: style(number).id(pages),
            current_page: style(number).id(current),
            trades: part
                .iter()
                .map(|trade| Row::new(trade, style(number ^ trade.id), shop))
                .collect(),
        },
    ))
}

/// A trade as v2 writes it. Times have whole seconds.
#[derive(Serialize)]
struct Row {
    symbol: String,
    amount: Box<RawValue>,
    fees: Box<RawValue>,
    trade_id: Box<RawValue>,
    price: Box<RawValue>,
    active: Box<RawValue>,
    entrust_id: Box<RawValue>,
    timestamp: Box<RawValue>,
    #[serde(rename = "entrustType", skip_serializing_if = "Option::is_none")]
    entrust_type: Option<u8>,
}

impl Row {
    fn new(trade: &Trade, mut style: Style, shop: &Shop) -> Row {
        Row {
            symbol: trade.symbol.clone(),
            amount: style.decimal(&trade.quantity),
            fees: style.decimal(&fees(trade)),
            trade_id: style.id(trade.id),
            price: style.decimal(&format!("{PRICE}.00000")),
            active: style.truth(),
            entrust_id: style.id(trade.order),
            timestamp: style.id(whole_seconds(trade.time_ms)),
            entrust_type: shop
                .settings
                .v2_entrust_type
                .then_some(u8::from(trade.side == Side::Sell)),
        }
    }
}

/// A sale's fee is in the quote coin, a purchase's in the base coin.
fn fees(trade: &Trade) -> String {
    match trade.side {
        Side::Sell => times(&trade.quantity, PRICE, 1000, 10),
        Side::Buy => times(&trade.quantity, 1, 1000, 10),
    }
}

fn whole_seconds(time_ms: i64) -> u64 {
    u64::try_from(time_ms.div_euclid(1000) * 1000).unwrap_or(0)
}

fn order(shop: &Shop, book: &mut Book, request: &Request) -> Answer {
    let id = request.path.trim_start_matches("/v2/orders/");
    let found = all_orders(shop, book)
        .into_iter()
        .find(|order| order.id.to_string() == id);
    match found {
        Some(order) => Ok(json(200, &order.body)),
        None => Err(error(404, "Not found")),
    }
}

fn orders(shop: &Shop, book: &mut Book, request: &Request) -> Answer {
    #[derive(Serialize)]
    struct Page {
        orders: Vec<OrderBody>,
        total_pages: u64,
        total_orders: usize,
        current_page: u64,
    }
    let symbol = symbol(book, request)?;
    let status: u8 = required(request, "Integer", "status")?;
    // 5 stands for 1 and 2; 6 was withdrawn.
    if !(1..=5).contains(&status) {
        return Err(error(400, "Invalid status"));
    }
    let mut all = all_orders(shop, book);
    all.retain(|order| {
        let fits = order.status == status || status == 5 && order.status <= 2;
        fits && order.body.symbol == symbol
    });
    let (part, total_pages, current_page) = page(shop, request, &all)?;
    Ok(json(
        200,
        &Page {
            orders: part.into_iter().map(|order| order.body).collect(),
            total_pages,
            total_orders: all.len(),
            current_page,
        },
    ))
}

#[derive(Clone)]
struct FoundOrder {
    id: u64,
    status: u8,
    body: OrderBody,
}

#[derive(Clone, Serialize)]
struct OrderBody {
    entrust_id: Box<RawValue>,
    symbol: String,
    timestamp: Box<RawValue>,
    side: &'static str,
    price: Box<RawValue>,
    fees: Box<RawValue>,
    original_amount: Box<RawValue>,
    executed_amount: Box<RawValue>,
    remaining_amount: Box<RawValue>,
    status: Box<RawValue>,
}

/// Orders as their trades tell of them, newest first. Amounts are those of the order's first trade:
/// nobody should sum orders.
fn all_orders(shop: &Shop, book: &Book) -> Vec<FoundOrder> {
    let mut found: Vec<FoundOrder> = Vec::new();
    let mut known = HashSet::new();
    for trade in book.visible() {
        if !known.insert(trade.order) || book.lost_orders.contains(&trade.order) {
            continue;
        }
        let status = book.order_status.get(&trade.order).copied().unwrap_or(3);
        let mut style = Style::new(shop.settings.v2_types, trade.order);
        found.push(FoundOrder {
            id: trade.order,
            status,
            body: OrderBody {
                entrust_id: style.id(trade.order),
                symbol: trade.symbol.clone(),
                timestamp: style.id(whole_seconds(trade.time_ms)),
                side: trade.side.word(),
                price: style.decimal(&format!("{PRICE}.00000")),
                fees: style.decimal(&fees(&trade)),
                original_amount: style.decimal(&trade.quantity),
                executed_amount: style.decimal(&trade.quantity),
                remaining_amount: style.decimal("0.00000000"),
                status: style.id(u64::from(status)),
            },
        });
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_client_secret_comes_out() {
        let (access, secret) = (
            "6591f7c2491db0a23a1d8ad6911c825e",
            "8c08d9d5c3d15b105dbddaf96e427ac6",
        );
        assert_eq!(
            hmac_hex(secret, format!("{access}:{secret}:mymemo").as_bytes()),
            "18b9beb027d9ee75202655f37344ea5829c5c0d66a0781bf642bb3e944cf5019"
        );
    }

    /// 2019-06-20T23:44:59Z and the second after it: from then on midnight comes first.
    #[test]
    fn a_token_does_not_outlive_the_day() {
        let midnight = 1_561_075_200_000;
        assert_eq!(expiry(midnight - 901_000), midnight - 1000);
        assert_eq!(expiry(midnight - 900_000), midnight);
        assert_eq!(expiry(midnight - 1000), midnight);
        assert_eq!(expiry(midnight), midnight + 900_000);
    }
}
