//! The dialect v4.

use super::*;

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
