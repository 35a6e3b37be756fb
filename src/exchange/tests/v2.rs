//! v2: complete whatever the list's order, whatever `offset` counts and while it shifts; each side from its order; and
//! the token.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::error::Exit;
use crate::http::Response;

#[test]
fn v2_is_right_whatever_the_order_and_whatever_offset_counts() {
    let trades = many(230, 10_000, START_MS);
    for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
        for offset in [Offset::Pages, Offset::Rows] {
            for (limit, after) in [
                (50, 0),
                (50, 100),
                (50, 229),
                (7, 150),
                (1, 225),
                (2, 0),
                (300, 17),
            ] {
                let clock = FakeClock::at(START_MS);
                let mut fake = Fake::new(&clock, trades.clone());
                (fake.sorted, fake.offset) = (sorted, offset);
                let since = trades.get(after).map_or(START_MS, |t| t.time_ms);
                let history = v2(&fake, limit, Since::Time(since)).unwrap();
                let wanted: Vec<u64> = (len(after) + 1..=230).collect();
                assert_eq!(
                    ids(&history.trades),
                    wanted,
                    "{sorted:?} {offset:?} {limit} {after}"
                );
                assert_eq!(asked(&fake, "/v2/orders/"), wanted.len());
            }
        }
    }
}

#[test]
fn v2_stops_at_the_cursor_only_when_the_list_is_surely_newest_first() {
    let trades = many(230, 10_000, START_MS);
    for (sorted, pages) in [
        (Sorted::NewestFirst, 1),
        (Sorted::OldestFirst, 5),
        (Sorted::Shuffled, 5),
    ] {
        let clock = FakeClock::at(START_MS);
        let mut fake = Fake::new(&clock, trades.clone());
        fake.sorted = sorted;
        v2(&fake, 50, Since::Time(trades[220].time_ms)).unwrap();
        assert_eq!(asked(&fake, "/v2/trades"), pages, "{sorted:?}");
    }
}

/// `count` trades that are in no other list, shortly before `now_ms`.
fn late(count: u64, now_ms: u64) -> impl Iterator<Item = Held> {
    many(count, 100, now_ms).into_iter().map(|t| Held {
        trade: t.trade + 1000,
        order: t.order + 1000,
        ..t
    })
}

#[test]
fn a_v2_list_that_shifts_while_it_is_read_loses_nothing() {
    for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
        for offset in [Offset::Pages, Offset::Rows] {
            for (limit, arrivals) in [(50, 1), (50, 4), (5, 3), (5, 30), (2, 3), (3, 200)] {
                let clock = FakeClock::at(START_MS);
                let mut fake = Fake::new(&clock, many(60, 10_000, START_MS));
                (fake.sorted, fake.offset) = (sorted, offset);
                fake.arrivals
                    .borrow_mut()
                    .extend(late(arrivals, START_MS + 30_000));
                // It may be refused when it never stands still. What it may not do is miss one of the first 60.
                match v2(&fake, limit, Since::Beginning) {
                    Ok(history) => {
                        let mut got = ids(&history.trades);
                        got.retain(|id| *id <= 60);
                        assert_eq!(
                            got,
                            (1..=60).collect::<Vec<_>>(),
                            "{sorted:?} {offset:?} {limit}"
                        );
                    }
                    Err(error) => {
                        assert!(
                            arrivals >= 30,
                            "{sorted:?} {offset:?} {limit} {arrivals}: {error}"
                        );
                        assert!(matches!(error, Error::Incomplete { .. }));
                    }
                }
            }
        }
    }
}

#[test]
fn a_burst_of_arrivals_does_not_make_pages_look_like_rows() {
    // Four trades arrive between the first two pages of five: page 1 begins with the second row of page 0.
    let clock = FakeClock::at(START_MS);
    let trades = many(60, 10_000, START_MS);
    let fake = Fake::new(&clock, trades.clone());
    struct Burst<'a>(Fake<'a>);
    impl Http for Burst<'_> {
        fn send(&self, request: &crate::http::Request) -> Result<Response, crate::http::Error> {
            if request.url.contains("offset=1&") {
                let late = late(4, START_MS + 10_000);
                self.0.trades.borrow_mut().extend(late);
            }
            self.0.send(request)
        }
    }
    let burst = Burst(fake);
    let since = Since::Time(trades[20].time_ms);
    let history = fetch(&burst, &clock, 5, since, Some(Dialect::V2)).unwrap();
    assert_eq!(ids(&history.trades), (21..=60).collect::<Vec<_>>());
}

#[test]
fn a_v2_list_shorter_than_it_says_is_refused() {
    for offset in [Offset::Pages, Offset::Rows] {
        for count in [0, 3, 50, 120] {
            let clock = FakeClock::at(START_MS);
            let mut fake = Fake::new(&clock, many(count, 10_000, START_MS));
            (fake.offset, fake.total_lies_by) = (offset, 1);
            let error = v2(&fake, 50, Since::Beginning).unwrap_err();
            assert!(
                matches!(error, Error::Incomplete { read, total } if read == count && total == count + 1),
                "{error}"
            );
            assert_eq!(error.exit(), Exit::BadData);
            assert!(asked(&fake, "") <= 6, "it was read again in vain");
        }
    }
}

#[test]
fn an_order_is_asked_for_once_however_many_trades_it_has() {
    let clock = FakeClock::at(START_MS);
    let trades = (1..=40).map(|id| Held {
        order: 7,
        ..held(id, START_MS - 50_000 + id * 1000, true)
    });
    let fake = Fake::new(&clock, trades.collect());
    let history = v2(&fake, 50, Since::Beginning).unwrap();
    assert_eq!(total(&history.trades), 40 * 29_000_000);
    assert_eq!(asked(&fake, ""), 3);
}

#[test]
fn a_trade_whose_side_is_not_certain_is_an_error() {
    let clock = FakeClock::at(START_MS);
    let trades = many(5, 60_000, START_MS);
    let mut fake = Fake::new(&clock, trades.clone());
    fake.missing_order = Some(3);
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(error.to_string().contains("trade 3 (order 3)"), "{error}");
    assert!(matches!(error, Error::OrderNotFound { .. }));
    assert_eq!(error.exit(), Exit::BadData);
    // Behind the cursor it is not needed.
    assert_eq!(
        v2(&fake, 50, Since::Time(trades[3].time_ms))
            .unwrap()
            .trades
            .len(),
        2
    );

    let mut fake = Fake::new(&clock, trades.clone());
    fake.entrust_type = true;
    assert_eq!(v2(&fake, 50, Since::Beginning).unwrap().trades.len(), 5);
    // Two trades of one order that are marked differently: one of the marks is wrong.
    fake.trades.borrow_mut().push(Held {
        sold: true,
        order: 1,
        ..held(9, START_MS - 1000, true)
    });
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(matches!(error, Error::SideDisagrees { .. }), "{error}");
}

/// A list may show a trade before its order can be asked for. That was an answer for a person to look at; it passes.
#[test]
fn an_order_of_a_trade_of_this_minute_may_not_be_known_yet() {
    for (age_ms, exit) in [
        (0, Exit::Unavailable),
        (58_000, Exit::Unavailable),
        (61_000, Exit::BadData),
    ] {
        let clock = FakeClock::at(START_MS);
        let mut fake = Fake::new(&clock, vec![held(2, START_MS - age_ms, true)]);
        fake.missing_order = Some(1);
        let error = v2(&fake, 50, Since::Beginning).unwrap_err();
        assert!(error.to_string().contains("trade 2 (order 1)"), "{error}");
        assert_eq!(error.exit(), exit, "{age_ms}: {error}");
        fake.missing_order = None;
        assert_eq!(v2(&fake, 50, Since::Beginning).unwrap().trades.len(), 1);
    }
}

#[test]
fn an_order_of_another_pair_or_number_is_refused() {
    for body in [
        r#"{"entrust_id":1,"symbol":"BTC_USDT","side":"sell"}"#,
        r#"{"entrust_id":2,"symbol":"XND_USDT","side":"sell"}"#,
    ] {
        let mut answers = BTreeMap::new();
        let page = r#"{"total_trades":1,"trades":[{"trade_id":5,"entrust_id":1,"symbol":"XND_USDT","amount":"1",
            "timestamp":1761955100000}]}"#;
        let token = r#"{"access_token":"m261ae","expires_in":900}"#;
        answers.insert("/v2/authentication".to_owned(), (200, token.to_owned()));
        answers.insert(
            "/v2/trades?symbol=XND_USDT&offset=0&limit=50".to_owned(),
            (200, page.to_owned()),
        );
        answers.insert("/v2/orders/1".to_owned(), (200, body.to_owned()));
        let recorded = Recorded {
            answers,
            asked: RefCell::default(),
        };
        let clock = FakeClock::at(START_MS);
        let error = fetch(&recorded, &clock, 50, Since::Beginning, Some(Dialect::V2)).unwrap_err();
        assert!(matches!(error, Error::WrongOrder { .. }), "{error}");
    }
}

#[test]
fn a_v2_trade_from_the_future_or_another_pair_is_refused() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![held(1, START_MS + 59_000, true)]);
    assert!(v2(&fake, 50, Since::Beginning).is_ok());
    let fake = Fake::new(&clock, vec![held(1, START_MS + 70_000, true)]);
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(matches!(error, Error::Future { .. }), "{error}");
    let mut stranger = held(1, START_MS, true);
    stranger.symbol = "XNDX_USDT".to_owned();
    let fake = Fake::new(&clock, vec![stranger]);
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(matches!(error, Error::FilterIgnored { .. }), "{error}");
}

#[test]
fn a_v2_trade_in_the_wanted_second_is_kept() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![held(1, START_MS - 1300, true)]);
    let history = v2(&fake, 50, Since::Time(START_MS - 1500)).unwrap();
    assert_eq!(history.trades.len(), 1);
}

#[test]
fn a_refused_token_is_replaced_once() {
    let clock = FakeClock::at(START_MS);
    let mut fake = Fake::new(&clock, many(5, 10_000, START_MS));
    fake.token_uses = 3;
    let history = v2(&fake, 50, Since::Beginning).unwrap();
    assert_eq!((history.trades.len(), asked(&fake, "")), (5, 9));
    fake.token_uses = 1;
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Refused);
    assert_eq!(asked(&fake, "/v2/authentication"), 4);
}

#[test]
fn a_token_is_not_used_up_at_midnight() {
    // Two seconds before midnight UTC the run waits; a long run renews its token in time.
    let clock = FakeClock::at(START_MS + DAY_MS - 2000);
    let fake = Fake::new(&clock, many(5, 10_000, START_MS));
    assert!(v2(&fake, 50, Since::Beginning).is_ok());
    assert_eq!(asked(&fake, ""), 7);
    assert_eq!(clock.slept.get(), Duration::from_secs(3));

    let clock = FakeClock::at(START_MS + 1000);
    let mut fake = Fake::new(&clock, many(6000, 10_000, START_MS));
    fake.token_uses = 10_000;
    let history = v2(&fake, 50, Since::Beginning).unwrap();
    assert_eq!(history.trades.len(), 6000);
    assert_eq!(asked(&fake, "/v2/authentication"), 2);
}

#[test]
fn v2_says_too_often_in_a_200_and_its_clock_is_heeded() {
    let clock = FakeClock::at(START_MS);
    let mut fake = Fake::new(&clock, many(5, 10_000, START_MS));
    fake.ahead_ms = 90_000;
    let often =
        r#"{"code":-30,"msg":"Visit too often, please try again later","subMsg":"","data":{}}"#;
    fake.script.borrow_mut().push_back(scripted(200, often));
    let history = v2(&fake, 50, Since::Beginning).unwrap();
    assert_eq!(history.trades.len(), 5);
    assert_eq!(clock.slept.get(), Duration::from_secs(10));
    assert!((START_MS + 89_000..START_MS + 90_000).contains(&history.now_ms));
}

#[test]
fn every_request_to_v2_carries_what_it_needs_and_no_secret_is_told() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    let token = r#"{"access_token":"a-long-token","expires_in":900}"#;
    fake.script.borrow_mut().push_back(scripted(200, token));
    fake.script
        .borrow_mut()
        .push_back(scripted(403, r#"{"message":"Forbidden for a-long-token"}"#));
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(
        error.to_string().contains("Forbidden for [secret]"),
        "{error}"
    );
}
