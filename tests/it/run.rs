//! What a run does when all is well.

use crate::support::{Plan, key};
use sandbox::exchange::{NewTrade, Offset, Order, Types};

#[test]
fn sales_become_one_issue_and_are_not_issued_again() {
    let place = Plan::new().start();
    place.exchange.sell("0.29");
    place.exchange.buy("7");
    place.exchange.sell("1234.56789012");
    let issued = place.run().expect(0, "issued", "1234.85789012");
    let json = issued.json();
    assert_eq!(
        (json["trades"].as_u64(), json["sales"].as_u64()),
        (Some(3), Some(2))
    );
    assert_eq!(json["quantity_napu"], "123485789012");
    assert_eq!(json["issue"]["qty"], 123_485_789_012_u64);
    assert_eq!(json["sequence"], json["issue"]["sequence"]);
    assert_eq!(
        json["hash"].as_str(),
        place
            .chain
            .issues()
            .first()
            .map(|issue| issue.hash.as_str())
    );
    assert_eq!(json["cursor"]["dialect"], "v4");
    place.settled();

    place.run().expect(0, "nothing_new", "0");
    place.exchange.sell("0.00000001");
    place.run().expect(0, "issued", "0.00000001");
    place.settled();
    assert_eq!(place.chain.issues().len(), 2);
}

#[test]
fn nothing_new_moves_the_cursor_and_nothing_else() {
    let place = Plan::new().start();
    let before = place.state("cursor.json");
    place.run().expect(0, "nothing_new", "0");
    assert_ne!(place.state("cursor.json"), before);
    place.settled();
    assert_eq!(place.chain.issues(), []);
}

#[test]
fn buys_alone_are_nothing_to_issue() {
    let place = Plan::new().start();
    place.exchange.buy("5");
    // What was bought need not be a whole number of napu: it is nobody's to issue.
    place.exchange.buy("0.123456789");
    let ended = place.run().expect(0, "nothing_new", "0");
    assert_eq!(ended.json()["trades"], 2);
    assert_eq!(place.chain.issues(), []);
}

/// `count` sales a second apart, the newest an hour ago, every third order with several trades.
fn many(place: &crate::support::Place, count: usize) {
    let newest = place.exchange.now_ms() - 3_600_000;
    for number in 0..count {
        let time_ms = newest - i64::try_from(number).unwrap() * 1000;
        let order = Some(5_000_000 + u64::try_from(number / 3).unwrap());
        place.exchange.add(NewTrade {
            order,
            ..NewTrade::sell("0.00000003", time_ms)
        });
    }
}

#[test]
fn every_number_of_trades_is_issued_whole() {
    for count in [1, 200, 201, 5000] {
        let place = Plan {
            from: "beginning",
            ..Plan::new()
        }
        .start();
        many(&place, count);
        let ended = place.run();
        assert_eq!(ended.json()["sales"], count, "{:#?}", ended.json());
        place.settled();
    }
}

#[test]
fn v2_is_right_however_it_counts_and_asks_for_each_order_once() {
    // 50 trades are a page.
    let cases = [
        (Offset::Page, Types::Documented, 201),
        (Offset::Row, Types::Numbers, 120),
        (Offset::Row, Types::Strings, 51),
        (Offset::Page, Types::Mixed, 50),
    ];
    for (offset, types, count) in cases {
        let mut plan = Plan {
            api: Some("v2"),
            from: "beginning",
            ..Plan::new()
        };
        plan.exchange.v2_offset = offset;
        plan.exchange.v2_types = types;
        let place = plan.start();
        let newest = place.exchange.now_ms() - 3_600_000;
        for number in 0..count {
            let sale = NewTrade::sell("0.00000003", newest - number * 1000);
            place.exchange.add(NewTrade {
                order: Some(number as u64 % 9),
                ..sale
            });
        }
        let ended = place.run();
        assert_eq!(
            (ended.code, ended.json()["sales"].as_i64()),
            (0, Some(count)),
            "{ended:#?}"
        );
        assert_eq!(ended.json()["cursor"]["dialect"], "v2");
        place.settled();
        let seen = place.exchange.requests();
        assert_eq!(
            seen.iter()
                .filter(|seen| seen.path.starts_with("/v2/orders/"))
                .count(),
            9
        );
    }
}

#[test]
fn an_exchange_that_knows_no_v4_is_spoken_to_in_v2() {
    let mut plan = Plan::new();
    plan.exchange.speaks_v4 = false;
    let place = plan.start();
    place.exchange.sell("3");
    // v2 has whole seconds: the trade's time is the start of its second, before `init`.
    let ended = place.run();
    assert_eq!(
        (ended.code, ended.json()["cursor"]["dialect"].as_str()),
        (0, Some("v2")),
        "{ended:#?}"
    );
    let sells = || place.exchange.sell("2.5");
    let now = place.exchange.now_ms();
    place.wait_until("the next second", || {
        place.exchange.now_ms() / 1000 > now / 1000
    });
    sells();
    place.run().expect(0, "issued", "2.5");
}

#[test]
fn trades_in_any_order_and_twice_are_counted_once() {
    for order in [Order::NewestFirst, Order::OldestFirst, Order::Shuffled] {
        for inclusive in [true, false] {
            let mut plan = Plan {
                from: "beginning",
                ..Plan::new()
            };
            plan.exchange.v4_order = order;
            plan.exchange.v4_start_inclusive = inclusive;
            plan.exchange.v4_end_inclusive = inclusive;
            let place = plan.start();
            place.exchange.set_repeat_trades(true);
            many(&place, 30);
            place.run().expect(0, "issued", "0.0000009");
            place.settled();
        }
    }
}

#[test]
fn a_trade_that_becomes_visible_late_is_issued_then() {
    let place = Plan::new().start();
    let late = place.exchange.sell("5");
    place.exchange.hide(late);
    place.exchange.sell("1");
    place.run().expect(0, "issued", "1");
    place.exchange.show(late);
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn issuing_starts_after_the_trade_that_is_named() {
    let plan = Plan::new();
    let place = Plan {
        from: "125277182593099999",
        ..plan
    }
    .start();
    let now = place.exchange.now_ms();
    for (id, age, quantity) in [
        (125_277_182_593_099_998, 3000, "1"),
        (125_277_182_593_099_999, 2000, "2"),
    ] {
        place.exchange.add(NewTrade {
            id: Some(id),
            ..NewTrade::sell(quantity, now - age)
        });
    }
    place.exchange.add(NewTrade::sell("4", now - 1000));
    place.run().expect(0, "issued", "4");
    place.run().expect(0, "nothing_new", "0");
}

#[test]
fn young_trades_wait_for_a_later_run() {
    let place = Plan {
        top: String::new(),
        ..Plan::new()
    }
    .start();
    place.exchange.sell("5");
    let toml = std::fs::read_to_string(place.path("bitmart/issuer.toml")).unwrap();
    place.write(
        "bitmart/issuer.toml",
        &toml.replace("settle = \"0s\"", "settle = \"1h\""),
        0o644,
    );
    let waits = place.run().expect(0, "nothing_new", "0");
    assert_eq!(waits.json()["waiting"], 1);
    place.write("bitmart/issuer.toml", &toml, 0o644);
    place.run().expect(0, "issued", "5");
}

#[test]
fn several_keys_of_both_kinds_sign() {
    let secp = "npvta8jaftbbeb78estamd4c4bz5vvci87uxh4wdgkrtuvnc86mijmgqfnzkh9dd7nchr5remgse";
    let secp = bitmart_issuer::ndau::PrivateKey::parse(secp).unwrap();
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![
        key(1).public().to_string(),
        secp.public().to_string(),
        key(3).public().to_string(),
    ];
    plan.chain.required_signatures = Some(2);
    plan.ndau = "signatures = 2".to_owned();
    plan.held = vec![key(3), secp];
    let place = plan.start();
    place.exchange.sell("8");
    let issued = place.run().expect(0, "issued", "8");
    assert_eq!(
        issued.json()["issue"]["signatures"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    place.settled();
}

#[test]
fn two_signers_each_with_one_key_sign_together() {
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    plan.signer = format!(
        "allowed = [\"{}\", \"{}\"]",
        key(100).public(),
        key(101).public()
    );
    let place = plan.start();
    place.exchange.sell("8");
    let mut second = None;
    let ended = place.run_with(|place, url| {
        second = Some(place.signer_as(&key(101), url, &[key(2)]));
        Some(place.signer(url, &[key(1)]))
    });
    ended.expect(0, "issued", "8");
    place.settled();
}

#[test]
fn the_human_report_says_what_happened() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    let quiet = place.issuer(&["run"]);
    assert_eq!(quiet.code, 0, "{quiet:#?}");
    assert!(
        quiet
            .stdout
            .starts_with("nothing to issue; 0 new trades\n  cursor "),
        "{quiet:#?}"
    );
    let status = place.issuer(&["status"]);
    assert!(
        status.stdout.contains("issued    5 ndau in 1 Issue\n"),
        "{status:#?}"
    );
    let json = place.issuer(&["status", "--json"]).json();
    assert_eq!(
        (json["issued_ndau"].as_str(), json["pending"].is_null()),
        (Some("5"), true)
    );
}
