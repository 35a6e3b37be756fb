//! v4: complete whatever the real one's undocumented choices are, and right about time.

use std::time::Duration;

use super::*;
use crate::error::Exit;
use crate::vectors::group;

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
    assert!(clock.slept.get() > Duration::from_secs(5));
}

#[test]
fn an_answer_that_may_be_cut_is_asked_again() {
    for (count, expected) in [(199, 1), (200, 3), (201, 3)] {
        let clock = FakeClock::at(START_MS);
        let fake = Fake::new(&clock, many(count, 1000, START_MS));
        let history = v4(&fake, START_MS - 201_000).unwrap();
        assert_eq!(len(history.trades.len()), count);
        assert_eq!(asked(&fake, ""), expected, "{count}");
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
        let requests = asked(&fake, "");
        assert!(requests <= most, "{kept_days}: {requests}");
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
        assert_eq!(asked(&fake, "/system/time"), 1);
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
    let cases = group("bitmart.json", "v4_timestamp_window");
    for case in &cases {
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
    assert_eq!((history.now_ms, asked(&fake, "")), (START_MS, 1));
}

#[test]
fn a_cursor_in_the_future_is_refused_and_a_little_slow_clock_is_not() {
    let clock = FakeClock::at(START_MS);
    let fake = Fake::new(&clock, vec![]);
    assert!(v4(&fake, START_MS + 2000).is_ok());
    assert_eq!(asked(&fake, ""), 1);
    let error = v4(&fake, START_MS + DAY_MS).unwrap_err();
    assert!(matches!(error, Error::CursorAhead { .. }), "{error}");
}
