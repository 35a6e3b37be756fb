//! The client against recorded answers, and against an exchange that is in turn everything the real one may be.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::class::{Call, Class, judge};
use super::fake::*;
use super::found::Found;
use super::*;
use crate::error::Exit;
use crate::http::{Http, Response};
use crate::napu::Napu;

fn total(trades: &[Trade]) -> u64 {
    let sales = trades.iter().filter_map(|trade| match trade.side {
        Side::Sell { quantity } => Some(quantity),
        Side::Buy => None,
    });
    Napu::sum(sales).unwrap().get()
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap()
}

fn sales(trades: &[Trade]) -> usize {
    trades
        .iter()
        .filter(|trade| trade.side != Side::Buy)
        .count()
}

/// Asks `http` at the clock's time.
fn fetch(
    http: &dyn Http,
    clock: &FakeClock,
    limit: usize,
    since: Since,
    api: Option<Dialect>,
) -> Result<History, Error> {
    let key = match api {
        Some(api) => key().with_api(api),
        None => key(),
    };
    let now_ms = crate::clock::Clock::now_ms(clock);
    Client::new(http, clock, &key, "XND_USDT")
        .with_limit(limit)
        .fetch(since, None, now_ms)
}

fn v4(fake: &Fake<'_>, since_ms: u64) -> Result<History, Error> {
    fake.start_run();
    fetch(
        fake,
        fake.clock,
        200,
        Since::Time(since_ms),
        Some(Dialect::V4),
    )
}

fn v2(fake: &Fake<'_>, limit: usize, since: Since) -> Result<History, Error> {
    fake.start_run();
    fetch(fake, fake.clock, limit, since, Some(Dialect::V2))
}

/// `count` trades, one each `step_ms` before `now_ms`, every third one a purchase.
fn many(count: u64, step_ms: u64, now_ms: u64) -> Vec<Held> {
    (0..count)
        .map(|i| held(i + 1, now_ms - (count - i) * step_ms, i % 3 != 0))
        .map(|t| Held {
            order: t.trade,
            ..t
        })
        .collect()
}

fn ids(trades: &[Trade]) -> Vec<u64> {
    trades.iter().map(|trade| trade.id.trade).collect()
}

// --- The vectors ---

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/bitmart.json")).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Checks what came of a set against what is expected of it.
fn compare(set: &Value, outcome: Result<Vec<Trade>, Error>) {
    let (name, expect) = (text(set, "name"), &set["expect"]);
    match (expect["total_napu"].as_u64(), outcome) {
        (Some(napu), Ok(trades)) => {
            assert_eq!(total(&trades), napu, "{name}");
            assert_eq!(
                Some(len(sales(&trades))),
                expect["sales"].as_u64(),
                "{name}"
            );
            assert_eq!(
                Some(len(trades.len())),
                expect["unique_trades"].as_u64(),
                "{name}"
            );
            let mut expected: Vec<u64> = expect["sale_ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().parse().unwrap())
                .collect();
            let mut sold: Vec<u64> = trades
                .iter()
                .filter(|t| t.side != Side::Buy)
                .map(|t| t.id.trade)
                .collect();
            expected.sort_unstable();
            sold.sort_unstable();
            assert_eq!(sold, expected, "{name}");
        }
        (Some(_), Err(error)) => panic!("{name}: {error}"),
        (None, Ok(trades)) => panic!("{name} gave {}", total(&trades)),
        (None, Err(Error::Amount { .. })) => assert_eq!(expect["reject"], true, "{name}"),
        (None, Err(error)) => assert_eq!(expect["error"], true, "{name}: {error}"),
    }
}

#[test]
fn recorded_v2_answers_give_the_exact_totals() {
    let vectors = vectors();
    let sets: Vec<&Value> = vectors["trades"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|set| set["dialect"] == "v2")
        .collect();
    for set in &sets {
        let mut answers = BTreeMap::new();
        let answer = |value: &Value| {
            (
                u16::try_from(value["status"].as_u64().unwrap()).unwrap(),
                text(value, "body").to_owned(),
            )
        };
        for page in set["pages"].as_array().unwrap() {
            let path = text(page, "request").strip_prefix("GET ").unwrap();
            answers.insert(path.to_owned(), answer(page));
        }
        for (order, value) in set["orders"].as_object().unwrap() {
            answers.insert(format!("/v2/orders/{order}"), answer(value));
        }
        let token = r#"{"access_token":"m261ae","expires_in":900}"#;
        answers.insert("/v2/authentication".to_owned(), (200, token.to_owned()));
        let limit = text(&set["pages"][0], "request")
            .rsplit_once('=')
            .unwrap()
            .1;
        let clock = FakeClock::at(1_567_200_000_000);
        let recorded = Recorded {
            answers,
            asked: RefCell::default(),
        };
        let after = set["after_trade_id"]
            .as_str()
            .map(|id| id.parse::<u64>().unwrap());
        let since = match after {
            None => Since::Beginning,
            Some(after) => {
                // The time of the cursor's own trade.
                let row = recorded
                    .answers
                    .values()
                    .filter_map(|(_, body)| wire::v2_page(body.as_bytes()).ok())
                    .flat_map(|page| page.rows)
                    .find(|row| row.id.trade == after);
                Since::Time(row.unwrap().time_ms)
            }
        };
        let outcome = fetch(
            &recorded,
            &clock,
            limit.parse().unwrap(),
            since,
            Some(Dialect::V2),
        );
        let kept = outcome.map(|history| {
            let mut trades = history.trades;
            trades.retain(|trade| after.is_none_or(|after| trade.id.trade > after));
            trades
        });
        compare(set, kept);
        let mut asked = recorded.asked.into_inner();
        if after.is_some() {
            assert!(
                !asked.iter().any(|path| path.contains("offset=2")),
                "{asked:?}"
            );
        }
        if set["expect"]["error"] != true {
            asked.sort_unstable();
            let before = asked.len();
            asked.dedup();
            assert_eq!(asked.len(), before, "something was asked for twice");
        }
    }
    assert_eq!(sets.len(), 11);
}

/// What the parts of the client make of the recorded pages as they are.
fn merge(set: &Value) -> Result<Vec<Trade>, Error> {
    let mut found = Found::default();
    for page in set["pages"].as_array().unwrap() {
        let response = Response {
            status: page["status"].as_u64().unwrap().try_into().unwrap(),
            headers: Vec::new(),
            body: text(page, "body").as_bytes().to_vec(),
        };
        let verdict = judge(Call::V4Trades, &response);
        if verdict.class != Class::Ok {
            return Err(Error::Incomplete { read: 0, total: 0 });
        }
        for row in wire::v4_trades(&response.body)? {
            if row.symbol == text(set, "symbol") {
                found.add(row.trade(row.side)?)?;
            }
        }
    }
    Ok(found.into_sorted())
}

/// The trades on the pages of a v4 set that can be read.
fn trades_of(set: &Value) -> Vec<Held> {
    let mut trades = Vec::new();
    for page in set["pages"].as_array().unwrap() {
        let Ok(body) = serde_json::from_str::<Value>(text(page, "body")) else {
            continue;
        };
        for row in body["data"].as_array().into_iter().flatten() {
            let trade = Held {
                trade: text(row, "tradeId").parse().unwrap(),
                order: text(row, "orderId").parse().unwrap(),
                time_ms: row["createTime"].as_u64().unwrap(),
                symbol: text(row, "symbol").to_owned(),
                sold: row["side"] == "sell",
                size: row["size"].to_string(),
            };
            if !trades.contains(&trade) {
                trades.push(trade);
            }
        }
    }
    trades
}

#[test]
fn recorded_v4_answers_give_the_exact_totals() {
    let vectors = vectors();
    let sets: Vec<&Value> = vectors["trades"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|set| set["dialect"] == "v4")
        .collect();
    for set in &sets {
        compare(set, merge(set));
        // The same trades through the whole client, whose windows are others than the recorded ones.
        let trades = trades_of(set);
        let first = trades.iter().map(|t| t.time_ms).min().unwrap();
        let last = trades.iter().map(|t| t.time_ms).max().unwrap();
        for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
            let clock = FakeClock::at(last + 1000);
            let mut fake = Fake::new(&clock, trades.clone());
            fake.sorted = sorted;
            if set["expect"]["error"] == true {
                let bad = set["pages"].as_array().unwrap().iter().find_map(|page| {
                    let body = text(page, "body");
                    let whole = body.starts_with("{\"code\":1000") && body.ends_with('}');
                    (!whole).then(|| body.to_owned())
                });
                for _ in 0..3 {
                    fake.script
                        .borrow_mut()
                        .push_back(Some((200, vec![], bad.clone().unwrap())));
                }
            }
            let outcome = fetch(&fake, &clock, 5, Since::Time(first), Some(Dialect::V4));
            compare(set, outcome.map(|history| history.trades));
        }
    }
    assert_eq!(sets.len(), 12);
}

// --- v4 ---

#[test]
fn v4_is_right_whatever_the_order_the_bounds_and_the_cut() {
    let clock = FakeClock::at(START_MS);
    let trades = many(1000, 700_000, START_MS);
    for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
        for cut in [Cut::Newest, Cut::Oldest] {
            for inclusive in [(true, true), (true, false), (false, true), (false, false)] {
                let mut fake = Fake::new(&clock, trades.clone());
                (fake.sorted, fake.cut, fake.inclusive) = (sorted, cut, inclusive);
                let since = trades[300].time_ms;
                let history = v4(&fake, since).unwrap();
                let wanted: Vec<u64> = (301..=1000).collect();
                let mut got = ids(&history.trades);
                got.retain(|id| *id > 300);
                assert_eq!(got, wanted, "{sorted:?} {cut:?} {inclusive:?}");
                assert!(history.trades.len() <= 701);
            }
        }
    }
}

#[test]
fn five_thousand_trades_are_read_and_the_pace_is_kept() {
    // The fake exchange stops the test at 13 requests in 2 s.
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, many(5000, 10_000, START_MS));
    let history = v4(&fake, START_MS - DAY_MS).unwrap();
    assert_eq!(ids(&history.trades), (1..=5000).collect::<Vec<_>>());
    assert_eq!(history.dialect, Dialect::V4);
    assert_eq!(history.requests, len(fake.asked.borrow().len()));
    assert!(clock.slept.get() > Duration::from_secs(5));
}

#[test]
fn an_answer_that_may_be_cut_is_asked_again() {
    for (count, expected) in [(199, 1), (200, 3), (201, 3)] {
        let clock = FakeClock::at(START_MS);
        let fake = Fake::new(&clock, many(count, 1000, START_MS));
        let history = v4(&fake, START_MS - 201_000).unwrap();
        assert_eq!(len(history.trades.len()), count);
        assert_eq!(history.requests, expected, "{count}");
    }
}

#[test]
fn a_millisecond_fuller_than_an_answer_is_refused() {
    let crowd = |count: u64| -> Vec<Held> {
        (1..=count)
            .map(|id| held(id, START_MS - 5000, true))
            .collect()
    };
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, crowd(199));
    assert_eq!(v4(&fake, START_MS - DAY_MS).unwrap().trades.len(), 199);
    for cut in [Cut::Newest, Cut::Oldest] {
        let mut fake = Fake::new(&clock, crowd(201));
        fake.cut = cut;
        let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
        assert!(
            matches!(error, Error::Crowded { time_ms, .. } if time_ms.abs_diff(START_MS - 5000) < 2)
        );
        assert_eq!(error.exit(), Exit::BadData);
    }
}

#[test]
fn a_filter_that_is_not_understood_is_noticed() {
    let clock = FakeClock::at(START_MS);
    let mut stranger = held(7, START_MS - 1000, true);
    stranger.symbol = "BTC_USDT".to_owned();
    for trade in [held(1, START_MS - 3 * DAY_MS, true), stranger] {
        let mut fake = Fake::new(&clock, vec![trade]);
        fake.understands_filter = false;
        let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
        assert!(matches!(error, Error::FilterIgnored { .. }), "{error}");
        assert_eq!(error.exit(), Exit::BadData);
    }
}

#[test]
fn a_trade_in_two_versions_is_refused() {
    let clock = FakeClock::at(START_MS);
    let one = held(1, START_MS - 1000, true);
    let mut other = one.clone();
    other.size = "\"0.30\"".to_owned();
    let fake = Fake::new(&clock, vec![one.clone(), other]);
    let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
    assert!(matches!(error, Error::Contradiction { .. }), "{error}");
    // The same amount written differently is no contradiction.
    let mut same = one.clone();
    same.size = "0.2900".to_owned();
    let fake = Fake::new(&clock, vec![one, same]);
    assert_eq!(v4(&fake, START_MS - DAY_MS).unwrap().trades.len(), 1);
}

#[test]
fn a_cursor_older_than_the_history_is_refused_before_anything_is_asked() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    let error = v4(&fake, START_MS - 86 * DAY_MS).unwrap_err();
    assert!(matches!(error, Error::HistoryGone { .. }), "{error}");
    assert_eq!(error.exit(), Exit::BadData);
    assert!(fake.asked.borrow().is_empty());
}

#[test]
fn history_gone_is_an_error_and_never_no_trades() {
    let clock = FakeClock::at(START_MS);
    let mut fake = Fake::new(&clock, vec![]);
    fake.history_starts_ms = START_MS - 20 * DAY_MS;
    let error = v4(&fake, START_MS - 30 * DAY_MS).unwrap_err();
    assert!(matches!(error, Error::HistoryGone { .. }), "{error}");
    // Nor when everything is wanted but far less is there than the exchange is known to keep.
    let error = fetch(&fake, &clock, 200, Since::Beginning, None).unwrap_err();
    assert!(matches!(error, Error::HistoryGone { .. }), "{error}");
}

#[test]
fn from_the_beginning_the_edge_of_history_is_found() {
    let clock = FakeClock::at(START_MS);
    let trades = many(90, DAY_MS, START_MS);
    for (kept_days, most) in [(92, 13), (91, 30), (90, 30), (86, 30)] {
        let mut fake = Fake::new(&clock, trades.clone());
        fake.history_starts_ms = START_MS - kept_days * DAY_MS;
        let history = fetch(&fake, &clock, 200, Since::Beginning, None).unwrap();
        // All but what lies within an hour of the edge.
        let expected = trades
            .iter()
            .filter(|t| t.time_ms > fake.history_starts_ms + DAY_MS / 20)
            .count();
        assert!(history.trades.len() >= expected, "{kept_days}");
        assert!(
            history.requests <= most,
            "{kept_days}: {}",
            history.requests
        );
    }
}

#[test]
fn a_clock_that_is_off_is_corrected_once_or_refused() {
    for ahead_ms in [30_000, -30_000, 9 * 60_000, -9 * 60_000, -1001] {
        let clock = FakeClock::at(START_MS);
        let real_now = START_MS.saturating_add_signed(ahead_ms);
        let mut fake = Fake::new(&clock, many(300, 1000, real_now));
        fake.ahead_ms = ahead_ms;
        let history = v4(&fake, START_MS - DAY_MS).unwrap();
        // The newest trade is a second old by the exchange's clock.
        assert_eq!(history.trades.len(), 300, "{ahead_ms}");
        assert!(history.now_ms <= real_now + 1 && real_now - history.now_ms < 700);
        let asked = fake.asked.borrow();
        assert_eq!(
            asked
                .iter()
                .filter(|a| a.starts_with("/system/time"))
                .count(),
            1
        );
    }
    for ahead_ms in [11 * 60_000, -11 * 60_000] {
        let clock = FakeClock::at(START_MS);
        let mut fake = Fake::new(&clock, vec![]);
        fake.ahead_ms = ahead_ms;
        let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
        assert!(matches!(error, Error::HostClock { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
}

#[test]
fn the_fake_exchange_accepts_the_times_that_the_real_one_is_documented_to() {
    let vectors = vectors();
    let cases = vectors["v4_timestamp_window"].as_array().unwrap();
    for case in cases {
        let number = |field: &str| case[field].as_u64();
        assert_eq!(
            is_in_time(
                number("timestamp").unwrap(),
                number("server_time").unwrap(),
                number("recvWindow").unwrap_or(5000)
            ),
            case["accepted"].as_bool().unwrap(),
            "{case}"
        );
    }
    assert_eq!(cases.len(), 10);
}

#[test]
fn a_right_clock_is_left_alone() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    let history = v4(&fake, START_MS).unwrap();
    assert_eq!((history.now_ms, history.requests), (START_MS, 1));
}

#[test]
fn a_cursor_in_the_future_is_refused_and_a_little_slow_clock_is_not() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    assert_eq!(v4(&fake, START_MS + 2000).unwrap().requests, 1);
    let error = v4(&fake, START_MS + DAY_MS).unwrap_err();
    assert!(matches!(error, Error::CursorAhead { .. }), "{error}");
}

// --- Refusals, repeats and dialects ---

fn scripted(status: u16, body: &str) -> Scripted {
    Some((status, vec![], body.to_owned()))
}

#[test]
fn what_may_pass_is_asked_three_times() {
    for trouble in [
        None,
        scripted(502, "<html>502 Bad Gateway</html>"),
        scripted(400, r#"{"code":50022,"message":"Service unavailable"}"#),
        scripted(200, ""),
        scripted(
            200,
            r#"{"code":1000,"message":"success","data":[{"tradeId":"#,
        ),
        scripted(200, r#"{"code":1000,"message":"success"}"#),
    ] {
        let clock = FakeClock::at(START_MS);
        let fake = Fake::new(&clock, many(3, 1000, START_MS));
        fake.script
            .borrow_mut()
            .extend([trouble.clone(), trouble.clone()]);
        let history = v4(&fake, START_MS - DAY_MS).unwrap();
        assert_eq!((history.trades.len(), history.requests), (3, 3));
        assert_eq!(clock.slept.get(), Duration::from_secs(3));

        fake.script
            .borrow_mut()
            .extend([trouble.clone(), trouble.clone(), trouble]);
        let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
        assert_eq!(error.exit(), Exit::Unavailable, "{error}");
        assert!(fake.script.borrow().is_empty());
    }
}

#[test]
fn a_rate_limit_is_waited_for_three_times_and_never_for_long() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, many(3, 1000, START_MS));
    let busy = |reset| {
        let body = r#"{"code":30013,"message":"Request too many requests"}"#;
        Some((429, vec![("x-bm-ratelimit-reset", reset)], body.to_owned()))
    };
    fake.script
        .borrow_mut()
        .extend([busy("2"), busy("99999"), busy("x")]);
    assert_eq!(v4(&fake, START_MS - DAY_MS).unwrap().requests, 4);
    assert_eq!(clock.slept.get(), Duration::from_secs(2 + 10 + 2));
    fake.script
        .borrow_mut()
        .extend([busy("2"), busy("2"), busy("2"), busy("2")]);
    let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Unavailable);
}

#[test]
fn the_exchange_s_own_count_of_our_requests_is_heeded() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    let used = |used| {
        let headers = vec![
            ("x-bm-ratelimit-remaining", used),
            ("x-bm-ratelimit-limit", "12"),
            ("x-bm-ratelimit-reset", "2"),
        ];
        Some((200, headers, r#"{"code":1000,"data":[]}"#.to_owned()))
    };
    fake.script.borrow_mut().extend([used("11"), used("12")]);
    v4(&fake, START_MS - 20 * DAY_MS).unwrap();
    assert_eq!(clock.slept.get(), Duration::from_secs(2));
}

#[test]
fn what_will_not_pass_is_asked_once_and_says_what_to_do() {
    for (status, body, exit, told) in [
        (
            401,
            r#"{"code":30005,"message":"Header X-BM-SIGN is wrong"}"#,
            Exit::Refused,
            "`memo`",
        ),
        (
            401,
            r#"{"code":30002,"message":"not found"}"#,
            Exit::Refused,
            "check `access`",
        ),
        (
            403,
            r#"{"code":30010,"message":"IP is forbidden"}"#,
            Exit::Refused,
            "whitelist",
        ),
        (
            403,
            r#"{"code":30011,"message":"over expire time"}"#,
            Exit::Refused,
            "expired",
        ),
        (
            403,
            r#"{"code":53000,"message":"frozen"}"#,
            Exit::Refused,
            "its owner",
        ),
        (
            400,
            r#"{"code":50001,"message":"Symbol not found"}"#,
            Exit::Config,
            "configured symbol",
        ),
        (
            400,
            r#"{"code":50040,"message":"Symbol Not Available"}"#,
            Exit::Config,
            "configured symbol",
        ),
        (
            400,
            r#"{"code":50000,"message":"Bad\nRequest","trace":"f9d4"}"#,
            Exit::BadData,
            "code 50000, \"Bad Request\" (trace f9d4)",
        ),
        (
            401,
            r#"{"code":30007,"message":"Param recvWindow must be less than 60000"}"#,
            Exit::BadData,
            "30007",
        ),
        (
            200,
            r#"{"code":39999,"message":"something new"}"#,
            Exit::BadData,
            "39999",
        ),
        (
            200,
            r#"{"code":30016,"message":"Service maintenance"}"#,
            Exit::Unavailable,
            "maintenance",
        ),
        (
            418,
            r#"{"code":30017,"message":"rejected"}"#,
            Exit::Unavailable,
            "blocked",
        ),
        (
            403,
            "<html>Cloudflare</html>",
            Exit::Unavailable,
            "Cloudflare",
        ),
    ] {
        let clock = FakeClock::at(START_MS);
        let fake = Fake::new(&clock, vec![]);
        fake.script.borrow_mut().push_back(scripted(status, body));
        let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
        assert_eq!(error.exit(), exit, "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(fake.asked.borrow().len(), 1, "{error}");
        assert_eq!(clock.slept.get(), Duration::ZERO);
    }
}

#[test]
fn what_is_sent_back_of_our_credentials_is_not_repeated() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    let body =
        r#"{"code":30002,"message":"no key accessaccess, secretsecret","trace":"accessaccess"}"#;
    fake.script.borrow_mut().push_back(scripted(401, body));
    let error = v4(&fake, START_MS - DAY_MS).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains("no key [secret], [secret]"), "{told}");
    assert!(
        !told.contains("accessaccess") && !told.contains("secretsecret"),
        "{told}"
    );
}

#[test]
fn an_endpoint_without_v4_is_spoken_to_in_v2_unless_someone_decided() {
    let clock = FakeClock::at(START_MS);
    let mut fake = Fake::new(&clock, many(5, 1000, START_MS));
    fake.knows_v4 = false;
    let fetch_with = |fake: &Fake<'_>, api: Option<Dialect>, known| {
        fake.start_run();
        let key = match api {
            Some(api) => key().with_api(api),
            None => key(),
        };
        Client::new(fake, &clock, &key, "XND_USDT").fetch(
            Since::Time(START_MS - DAY_MS),
            known,
            crate::clock::Clock::now_ms(&clock),
        )
    };
    let history = fetch_with(&fake, None, None).unwrap();
    assert_eq!((history.dialect, history.trades.len()), (Dialect::V2, 5));
    assert_eq!(
        fetch_with(&fake, None, Some(Dialect::V2)).unwrap().dialect,
        Dialect::V2
    );
    for (api, known) in [(None, Some(Dialect::V4)), (Some(Dialect::V4), None)] {
        let error = fetch_with(&fake, api, known).unwrap_err();
        assert!(matches!(error, Error::NoApi { tried: "v4", .. }), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
    let error = fetch_with(&fake, Some(Dialect::V4), Some(Dialect::V2)).unwrap_err();
    assert!(matches!(error, Error::DialectChanged { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Config);
    fake.knows_v2 = false;
    let error = fetch_with(&fake, None, None).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoApi {
                tried: "v4 or v2",
                ..
            }
        ),
        "{error}"
    );
    let error = fetch_with(&fake, Some(Dialect::V2), None).unwrap_err();
    assert!(matches!(error, Error::NoApi { tried: "v2", .. }), "{error}");
}

// --- v2 ---

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
                let asked = fake.asked.borrow();
                let orders = asked
                    .iter()
                    .filter(|a| a.starts_with("/v2/orders/"))
                    .count();
                assert_eq!(orders, wanted.len());
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
        let asked = fake.asked.borrow();
        assert_eq!(
            asked.iter().filter(|a| a.starts_with("/v2/trades")).count(),
            pages,
            "{sorted:?}"
        );
    }
}

#[test]
fn a_v2_list_that_shifts_while_it_is_read_loses_nothing() {
    for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
        for offset in [Offset::Pages, Offset::Rows] {
            for (limit, arrivals) in [(50, 1), (50, 4), (5, 3), (5, 30), (2, 3), (3, 200)] {
                let clock = FakeClock::at(START_MS);
                let mut fake = Fake::new(&clock, many(60, 10_000, START_MS));
                (fake.sorted, fake.offset) = (sorted, offset);
                let late = many(arrivals, 100, START_MS + 30_000);
                fake.arrivals
                    .borrow_mut()
                    .extend(late.into_iter().map(|t| Held {
                        trade: t.trade + 1000,
                        order: t.order + 1000,
                        ..t
                    }));
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
                let late = many(4, 100, START_MS + 10_000);
                self.0
                    .trades
                    .borrow_mut()
                    .extend(late.into_iter().map(|t| Held {
                        trade: t.trade + 1000,
                        order: t.order + 1000,
                        ..t
                    }));
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
            let asked = fake.asked.borrow();
            assert!(asked.len() <= 6, "it was read again in vain: {asked:?}");
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
    assert_eq!(history.requests, 3);
}

#[test]
fn a_trade_whose_side_is_not_certain_is_an_error() {
    let clock = FakeClock::at(START_MS);
    let trades = many(5, 10_000, START_MS);
    let mut fake = Fake::new(&clock, trades.clone());
    fake.missing_order = Some(3);
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(error.to_string().contains("trade 3 (order 3)"), "{error}");
    assert!(matches!(error, Error::OrderNotFound { .. }));
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
    assert_eq!((history.trades.len(), history.requests), (5, 9));
    fake.token_uses = 1;
    let error = v2(&fake, 50, Since::Beginning).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Refused);
    let tokens = |fake: &Fake<'_>| {
        let asked = fake.asked.borrow();
        asked
            .iter()
            .filter(|a| a.starts_with("/v2/authentication"))
            .count()
    };
    assert_eq!(tokens(&fake), 4);
}

#[test]
fn a_token_is_not_used_up_at_midnight() {
    // Two seconds before midnight UTC the run waits; a long run renews its token in time.
    let clock = FakeClock::at(START_MS + DAY_MS - 2000);
    let fake = Fake::new(&clock, many(5, 10_000, START_MS));
    assert_eq!(v2(&fake, 50, Since::Beginning).unwrap().requests, 7);
    assert_eq!(clock.slept.get(), Duration::from_secs(3));

    let clock = FakeClock::at(START_MS + 1000);
    let mut fake = Fake::new(&clock, many(6000, 10_000, START_MS));
    fake.token_uses = 10_000;
    let history = v2(&fake, 50, Since::Beginning).unwrap();
    assert_eq!(history.trades.len(), 6000);
    let asked = fake.asked.borrow();
    assert_eq!(
        asked
            .iter()
            .filter(|a| a.starts_with("/v2/authentication"))
            .count(),
        2
    );
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

#[test]
fn dialects_read_back_as_they_print() {
    for dialect in [Dialect::V2, Dialect::V4] {
        assert_eq!(Dialect::parse(&dialect.to_string()), Some(dialect));
    }
    assert_eq!(Dialect::parse("V4"), None);
    let id = TradeId {
        trade: 123,
        order: 456,
    };
    assert_eq!(id.to_string(), "trade 123 (order 456)");
}
