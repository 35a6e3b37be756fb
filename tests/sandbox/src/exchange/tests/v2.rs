//! The dialect v2.

use super::*;

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
