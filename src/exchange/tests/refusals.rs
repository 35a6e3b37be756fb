//! Answers that are none: what is repeated, what ends the run and how, and which dialect is spoken next.

use std::time::Duration;

use super::*;
use crate::error::Exit;

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
        assert_eq!((history.trades.len(), asked(&fake, "")), (3, 3));
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
    assert!(v4(&fake, START_MS - DAY_MS).is_ok());
    assert_eq!(asked(&fake, ""), 4);
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
        assert_eq!(asked(&fake, ""), 1, "{error}");
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
            clock.now_ms(),
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
