//! The exchange over its own HTTP.

use super::*;
use serde_json::{Value, json};
use std::time::Duration;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent("sandbox-test/1")
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

/// A signed request for trades, each part of which a test may spoil.
struct Ask {
    key: String,
    memo: String,
    secret: String,
    offset_ms: i64,
    body: String,
}

impl Ask {
    fn new(exchange: &Exchange, body: &Value) -> Ask {
        let settings = exchange.settings();
        Ask {
            key: settings.access.clone(),
            memo: settings.memo.clone(),
            secret: settings.secret.clone(),
            offset_ms: 0,
            body: body.to_string(),
        }
    }

    fn send(&self, exchange: &Exchange) -> (u16, Value) {
        let stamp = exchange.now_ms() + self.offset_ms;
        let message = format!("{stamp}#{}#{}", self.memo, self.body);
        let mut answer = agent()
            .post(format!("{}/spot/v4/query/trades", exchange.url()))
            .header("X-BM-KEY", &self.key)
            .header("X-BM-TIMESTAMP", stamp.to_string())
            .header("X-BM-SIGN", hmac_hex(&self.secret, message.as_bytes()))
            .header("Content-Type", "application/json")
            .send(&self.body)
            .expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().expect("a body");
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

fn trades(exchange: &Exchange, body: &Value) -> (u16, Value) {
    Ask::new(exchange, body).send(exchange)
}

fn code(answer: &(u16, Value)) -> (u16, u64) {
    (answer.0, answer.1["code"].as_u64().unwrap_or(0))
}

#[test]
fn v4_lists_what_was_traded() {
    let exchange = Exchange::start(Settings::default());
    exchange.sell("1.25");
    exchange.buy("0.5");
    let hidden = exchange.sell("0.00000001");
    exchange.hide(hidden);
    let answer = trades(&exchange, &json!({"symbol": "XND_USDT"}));
    assert_eq!(code(&answer), (200, 1000));
    let data = answer.1["data"].as_array().expect("a list");
    assert_eq!(data.len(), 2);
    let sizes: Vec<_> = data.iter().map(|t| (&t["side"], &t["size"])).collect();
    assert!(sizes.contains(&(&json!("sell"), &json!("1.25"))));
    let id = data[0]["tradeId"].as_str().expect("a string");
    assert!(id.parse::<u64>().expect("digits") > 1 << 53);
    assert_eq!(exchange.sold_napu(), 125_000_001);
    exchange.show(hidden);
    let answer = trades(
        &exchange,
        &json!({"start_time": 1, "snake_case": "is ignored"}),
    );
    assert_eq!(answer.1["data"].as_array().map(Vec::len), Some(3));
}

#[test]
fn v4_refuses_in_the_exchange_s_codes() {
    let exchange = Exchange::start(Settings {
        v4_rate_limit: None,
        history_days: Some(90),
        ..Settings::default()
    });
    let now = exchange.now_ms();
    for (body, expected) in [
        (json!({"symbol": "NO_SUCH"}), (400, 50001)),
        (json!({"limit": 201}), (400, 50021)),
        (json!({"limit": 0}), (400, 50021)),
        (json!({"startTime": now, "endTime": now}), (400, 52004)),
        (json!({"startTime": now - 91 * 86_400_000}), (400, 50041)),
        (json!({"recvWindow": 60_001}), (401, 30007)),
        (json!({"recvWindow": 0}), (401, 30007)),
        (json!({"orderMode": "futures"}), (400, 52000)),
        (json!({"limit": 200, "orderMode": "spot"}), (200, 1000)),
    ] {
        assert_eq!(code(&trades(&exchange, &body)), expected, "{body}");
    }
    let ask = || Ask::new(&exchange, &json!({}));
    for (ask, expected) in [
        (
            Ask {
                key: "nobody".into(),
                ..ask()
            },
            (401, 30002),
        ),
        (
            Ask {
                memo: "another".into(),
                ..ask()
            },
            (401, 30005),
        ),
        (
            Ask {
                secret: "another".into(),
                ..ask()
            },
            (401, 30005),
        ),
        (
            Ask {
                body: "not JSON".into(),
                ..ask()
            },
            (503, 30018),
        ),
        (
            Ask {
                offset_ms: 5000,
                ..ask()
            },
            (401, 30007),
        ),
        (
            Ask {
                offset_ms: -6000,
                ..ask()
            },
            (401, 30007),
        ),
        (
            Ask {
                offset_ms: -3000,
                ..ask()
            },
            (200, 1000),
        ),
    ] {
        assert_eq!(code(&ask.send(&exchange)), expected, "{}", ask.body);
    }
    let unsigned = agent()
        .post(format!("{}/spot/v4/query/trades", exchange.url()))
        .send("{}")
        .expect("an answer");
    assert_eq!(unsigned.status(), 401);
}

#[test]
fn v4_bounds_and_cuts_are_settings() {
    let times = |exchange: &Exchange, limit: u32, start: i64, end: i64| -> Vec<i64> {
        let body = json!({"startTime": start, "endTime": end, "limit": limit});
        let answer = trades(exchange, &body);
        let data = answer.1["data"].as_array().expect("a list");
        data.iter()
            .map(|t| t["createTime"].as_i64().expect("a number"))
            .collect()
    };
    for (settings, all, cut) in [
        (Settings::default(), vec![40, 30, 20, 10], vec![40, 30]),
        (
            Settings {
                v4_order: Order::OldestFirst,
                v4_cut_keeps: CutKeeps::Oldest,
                v4_start_inclusive: false,
                ..Settings::default()
            },
            vec![20, 30, 40],
            vec![20, 30],
        ),
        (
            Settings {
                v4_end_inclusive: false,
                ..Settings::default()
            },
            vec![30, 20, 10],
            vec![30, 20],
        ),
    ] {
        let exchange = Exchange::start(settings);
        let base = exchange.now_ms() - 1000;
        for time in [10, 20, 30, 40] {
            exchange.add(NewTrade::sell("1", base + time));
        }
        let from_base = |times: Vec<i64>| -> Vec<i64> { times.iter().map(|t| t - base).collect() };
        assert_eq!(from_base(times(&exchange, 200, base + 10, base + 40)), all);
        assert_eq!(from_base(times(&exchange, 2, base + 10, base + 40)), cut);
    }
}

#[test]
fn v4_counts_requests_and_says_so() {
    let exchange = Exchange::start(Settings::default());
    for _ in 0..12 {
        assert_eq!(code(&trades(&exchange, &json!({}))), (200, 1000));
    }
    assert_eq!(code(&trades(&exchange, &json!({}))), (429, 30013));
    let answer = agent()
        .post(format!("{}/spot/v4/query/trades", exchange.url()))
        .header("X-BM-KEY", &exchange.settings().access)
        .send("{}")
        .expect("an answer");
    assert_eq!(answer.headers()["X-BM-RateLimit-Remaining"], "14");
    assert_eq!(answer.headers()["X-BM-RateLimit-Limit"], "12");
    assert_eq!(answer.headers()["X-BM-RateLimit-Reset"], "2");
}

#[test]
fn the_default_agent_of_a_library_meets_cloudflare() {
    let exchange = Exchange::start(Settings::default());
    let plain: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = plain
        .get(format!("{}/system/time", exchange.url()))
        .call()
        .expect("an answer");
    assert_eq!(answer.status(), 403);
    assert!(
        answer
            .body_mut()
            .read_to_string()
            .expect("a body")
            .contains("Cloudflare")
    );
}

fn token(exchange: &Exchange, secret: &str) -> (u16, Value) {
    let settings = exchange.settings();
    let message = format!("{}:{}:{}", settings.access, secret, settings.memo);
    let mut answer = agent()
        .post(format!("{}/v2/authentication", exchange.url()))
        .send_form([
            ("grant_type", "client_credentials"),
            ("client_id", &settings.access),
            ("client_secret", &hmac_hex(secret, message.as_bytes())),
        ])
        .expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&body).expect("JSON"))
}

fn v2(exchange: &Exchange, token: &str, offset_ms: i64, path: &str) -> (u16, Value) {
    let mut answer = agent()
        .get(format!("{}{path}", exchange.url()))
        .header("X-BM-AUTHORIZATION", format!("Bearer {token}"))
        .header(
            "X-BM-TIMESTAMP",
            (exchange.now_ms() + offset_ms).to_string(),
        )
        .call()
        .expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&body).expect("JSON"))
}

fn good_token(exchange: &Exchange) -> String {
    let (status, answer) = token(exchange, &exchange.settings().secret);
    assert_eq!((status, &answer["expires_in"]), (200, &json!(900)));
    answer["access_token"].as_str().expect("a text").to_owned()
}

#[test]
fn v2_wants_a_token_a_stamp_and_its_parameters() {
    let exchange = Exchange::start(Settings::default());
    assert_eq!(
        token(&exchange, "wrong"),
        (400, json!({"message": "Invalid request"}))
    );
    let good = good_token(&exchange);
    let trades = "/v2/trades?symbol=XND_USDT&offset=0&limit=50";
    let unauthorized = (401, json!({"message": "Unauthorized"}));
    assert_eq!(v2(&exchange, "stale", 0, trades), unauthorized);
    assert_eq!(v2(&exchange, &good, 61_000, trades), unauthorized);
    assert_eq!(v2(&exchange, &good, -59_000, trades).0, 200);
    for (path, message) in [
        (
            "/v2/trades?symbol=XND_USDT&offset=0&limit=51",
            "Invalid limit. limit must be in the range (0, 50]",
        ),
        (
            "/v2/trades?symbol=XND_USDT&limit=50",
            "Required Integer parameter 'offset' is not present",
        ),
        (
            "/v2/trades?offset=0&limit=50",
            "Required String parameter 'symbol' is not present",
        ),
        ("/v2/trades?symbol=NO&offset=0&limit=50", "Unknown symbol"),
    ] {
        assert_eq!(
            v2(&exchange, &good, 0, path),
            (400, json!({"message": message})),
            "{path}"
        );
    }
    assert_eq!(
        v2(&exchange, &good, 0, "/v2/orders/1"),
        (404, json!({"message": "Not found"}))
    );
    exchange.revoke_tokens();
    assert_eq!(v2(&exchange, &good, 0, trades), unauthorized);
    for _ in 0..3 {
        token(&exchange, "wrong");
    }
    assert_eq!(token(&exchange, "wrong").1["code"], -30);
}

#[test]
fn v2_offset_counts_pages_or_rows_and_orders_tell_the_side() {
    for (offset, second) in [(Offset::Page, ["3", "2"]), (Offset::Row, ["4", "3"])] {
        let exchange = Exchange::start(Settings {
            v2_offset: offset,
            ..Settings::default()
        });
        let now = exchange.now_ms();
        for (quantity, age) in [("1", 50_000), ("2", 40_000), ("3", 30_000), ("4", 20_000)] {
            exchange.add(NewTrade::sell(quantity, now - age));
        }
        let bought = exchange.add(NewTrade::buy("5", now - 10_000));
        let token = good_token(&exchange);
        let page = v2(
            &exchange,
            &token,
            0,
            "/v2/trades?symbol=XND_USDT&offset=1&limit=2",
        )
        .1;
        assert_eq!(page["total_trades"], 5);
        let amounts: Vec<_> = page["trades"].as_array().expect("a list").iter().collect();
        assert_eq!([&amounts[0]["amount"], &amounts[1]["amount"]], second);
        assert!(amounts[0].get("side").is_none());
        let path = format!("/v2/orders/{}", bought.order);
        assert_eq!(v2(&exchange, &token, 0, &path).1["side"], "buy");
        let path = "/v2/orders?symbol=XND_USDT&status=3&offset=0&limit=50";
        assert_eq!(v2(&exchange, &token, 0, path).1["total_orders"], 5);
    }
}

/// Each dialect that is not spoken says so in its own way; trouble does too.
#[test]
fn what_is_not_served_is_not_found() {
    let exchange = Exchange::start(Settings {
        speaks_v4: false,
        ..Settings::default()
    });
    assert_eq!(code(&trades(&exchange, &json!({}))), (404, 30000));
    exchange.set_fault(Some(Fault::Maintenance));
    assert_eq!(code(&trades(&exchange, &json!({}))), (200, 30016));
    exchange.set_fault(Some(Fault::RateLimited));
    assert_eq!(code(&trades(&exchange, &json!({}))), (429, 30013));
    let only_v4 = Exchange::start(Settings {
        speaks_v2: false,
        ..Settings::default()
    });
    assert_eq!(
        v2(&only_v4, "any", 0, "/v2/time"),
        (404, json!({"message": "Not found"}))
    );
}

#[test]
fn faults_reach_the_client_and_pass() {
    let exchange = Exchange::start(Settings::default());
    let time = || {
        let mut answer = agent()
            .get(format!("{}/system/time", exchange.url()))
            .call()?;
        answer.body_mut().read_to_string()
    };
    exchange.set_fault(Some(Fault::Down));
    assert!(time().is_err());
    exchange.set_fault(Some(Fault::OnRequest(2, Box::new(Fault::CutOff))));
    assert!(time().is_ok());
    assert!(time().is_err());
    assert!(time().is_ok());
    exchange.set_fault(Some(Fault::Slow(Duration::from_millis(20))));
    assert!(time().is_ok());
    let impatient: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(100)))
        .build()
        .into();
    exchange.set_fault(Some(Fault::Silent));
    assert!(impatient.get(exchange.url()).call().is_err());
    exchange.set_fault(None);
    assert!(time().is_ok());
    let seen = exchange.requests();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[4].status, None);
    assert_eq!(seen[5].status, Some(200));
}

#[test]
fn v2_types_are_a_setting() {
    for (types, amount, id, active) in [
        (Types::Documented, json!("1.50"), false, json!(true)),
        (Types::Strings, json!("1.50"), true, json!("true")),
        (Types::Numbers, json!(1.5), true, json!("true")),
    ] {
        let exchange = Exchange::start(Settings {
            v2_types: types,
            v2_entrust_type: true,
            ..Settings::default()
        });
        let sold = exchange.sell("1.50");
        let token = good_token(&exchange);
        let path = "/v2/trades?symbol=XND_USDT&offset=0&limit=1";
        let trade = v2(&exchange, &token, 0, path).1["trades"][0].clone();
        assert_eq!((&trade["amount"], &trade["active"]), (&amount, &active));
        let expected = match id {
            true => json!(sold.id.to_string()),
            false => json!(sold.id),
        };
        assert_eq!(trade["trade_id"], expected);
        assert_eq!(trade["entrustType"], 1);
    }
}

/// Repeated trades fill an answer at most up to its limit.
#[test]
fn repeated_and_lost_rows_are_faults_of_the_data() {
    let exchange = Exchange::start(Settings::default());
    let sold: Vec<TradeRef> = ["1", "2", "3"].map(|q| exchange.sell(q)).to_vec();
    exchange.set_repeat_trades(true);
    let count = |limit: u32| {
        let answer = trades(&exchange, &json!({"limit": limit}));
        answer.1["data"].as_array().map(Vec::len)
    };
    assert_eq!(
        (count(200), count(5), count(2)),
        (Some(6), Some(5), Some(2))
    );
    let token = good_token(&exchange);
    let path = format!("/v2/orders/{}", sold[0].order);
    assert_eq!(v2(&exchange, &token, 0, &path).0, 200);
    exchange.forget_order(sold[0].order);
    assert_eq!(v2(&exchange, &token, 0, &path).0, 404);
    exchange.set_order_status(sold[1].order, 4);
    let path = "/v2/orders?symbol=XND_USDT&status=4&offset=0&limit=50";
    assert_eq!(v2(&exchange, &token, 0, path).1["total_orders"], 1);
}

/// The clock of the exchange is its own.
#[test]
fn a_clock_that_is_off_is_told_and_judged_by() {
    let exchange = Exchange::start(Settings {
        clock_offset_ms: -3_600_000,
        ..Settings::default()
    });
    let mut answer = agent()
        .get(format!("{}/system/time", exchange.url()))
        .call()
        .expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let told = body["data"]["server_time"].as_i64().expect("a number");
    assert!(told < crate::clock::now_ms() - 3_000_000);
    let ask = Ask {
        offset_ms: 3_600_000,
        ..Ask::new(&exchange, &json!({}))
    };
    assert_eq!(code(&ask.send(&exchange)), (401, 30007));
    assert_eq!(code(&trades(&exchange, &json!({}))), (200, 1000));
}
