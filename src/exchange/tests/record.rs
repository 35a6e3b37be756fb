//! What was recorded gives the same history again, from the file alone; and no other file does.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::error::{Exit, chain};

fn record(fake: &Fake<'_>, api: Option<Dialect>) -> Result<(Recording, History), RecordError> {
    let key = match api {
        Some(api) => key().with_api(api),
        None => key(),
    };
    Recording::fetch(fake, fake.clock, &key, "XND_USDT", None)
}

/// Records, and reads the file's content again.
#[track_caller]
fn read_back(fake: &Fake<'_>, api: Option<Dialect>) -> Recording {
    let (recording, history) = record(fake, api).unwrap();
    let read = Recording::parse(&recording.print()).unwrap();
    assert_eq!(read, recording);
    let again = read.history().unwrap();
    assert_eq!(again.trades, history.trades);
    assert_eq!(again.dialect, history.dialect);
    assert_eq!(total(&again.trades), recording.sold().get());
    read
}

/// Some hundred trades over three weeks, in both dialects.
fn some(clock: &FakeClock) -> Fake<'_> {
    Fake::new(clock, many(430, 4_000_000, START_MS))
}

#[test]
fn a_history_is_read_back_from_its_answers_in_both_dialects() {
    for api in [Dialect::V4, Dialect::V2] {
        for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
            let clock = FakeClock::at(START_MS);
            let mut fake = some(&clock);
            fake.sorted = sorted;
            let read = read_back(&fake, Some(api));
            assert_eq!((read.dialect, read.now_ms), (api, START_MS));
            assert_eq!(read.account, key().fingerprint());
        }
    }
}

#[test]
fn a_clock_that_is_off_is_corrected_before_the_first_answer_on_file() {
    for ahead_ms in [30_000, -30_000, 9 * 60_000] {
        let clock = FakeClock::at(START_MS);
        let mut fake = some(&clock);
        fake.ahead_ms = ahead_ms;
        let read = read_back(&fake, Some(Dialect::V4));
        let theirs = START_MS.saturating_add_signed(ahead_ms);
        assert!(read.now_ms.abs_diff(theirs) < 10_000, "{ahead_ms}");
        let file = String::from_utf8(read.print()).unwrap();
        assert!(!file.contains("/system/time") && !file.contains("30007"));
    }
}

#[test]
fn a_dialect_that_is_not_known_leaves_nothing_on_file() {
    let clock = FakeClock::at(START_MS);
    let mut fake = some(&clock);
    fake.knows_v4 = false;
    let read = read_back(&fake, None);
    assert_eq!(read.dialect, Dialect::V2);
    let file = String::from_utf8(read.print()).unwrap();
    assert!(!file.contains("/spot/") && !file.contains("page not found"));
}

#[test]
fn answers_that_were_asked_for_again_do_not_disturb_the_reading() {
    let clock = FakeClock::at(START_MS);
    let fake = some(&clock);
    let busy = || {
        scripted(
            429,
            r#"{"code":30013,"message":"Request too many requests"}"#,
        )
    };
    *fake.script.borrow_mut() = [None, busy(), scripted(200, "{\"code\":10")].into();
    read_back(&fake, Some(Dialect::V4));

    let clock = FakeClock::at(START_MS);
    let mut fake = some(&clock);
    fake.token_uses = 300;
    fake.arrivals = many(3, 1000, START_MS)
        .into_iter()
        .map(|one| Held {
            trade: one.trade + 1000,
            order: one.order + 1000,
            ..one
        })
        .collect::<std::collections::VecDeque<_>>()
        .into();
    read_back(&fake, Some(Dialect::V2));
}

#[test]
fn what_the_exchange_no_longer_shows_is_no_gap() {
    let clock = FakeClock::at(START_MS);
    let mut fake = Fake::new(&clock, many(100, DAY_MS * 9 / 10, START_MS));
    fake.history_starts_ms = START_MS - 88 * DAY_MS;
    let read = read_back(&fake, Some(Dialect::V4));
    let history = read.history().unwrap();
    let oldest = history.trades.first().unwrap().time_ms;
    assert!(oldest < START_MS - 87 * DAY_MS);
    assert_eq!(history.complete_from_ms(), oldest);
    let few = History {
        trades: Vec::new(),
        ..history.clone()
    };
    assert_eq!(few.complete_from_ms(), START_MS - 85 * DAY_MS);
    let v2 = History {
        dialect: Dialect::V2,
        ..history
    };
    assert_eq!(v2.complete_from_ms(), 0);
}

/// Everything that a request carries to open the account, searched for in the file.
#[test]
fn nothing_on_file_opens_the_account() {
    for api in [Dialect::V4, Dialect::V2] {
        let clock = FakeClock::at(START_MS);
        let (recording, _) = record(&some(&clock), Some(api)).unwrap();
        let file = String::from_utf8(recording.print()).unwrap();
        for secret in [
            "accessaccess",
            "secretsecret",
            "my memo",
            "token-",
            "authentication",
            "X-BM",
            auth::v2_client_secret(&key()).as_str(),
        ] {
            assert!(!file.contains(secret), "{secret}");
        }
    }
}

#[test]
fn an_answer_that_repeats_a_credential_is_not_written() {
    for (api, body) in [
        (
            Dialect::V4,
            r#"{"code":1000,"data":[],"for":"accessaccess"}"#,
        ),
        (
            Dialect::V4,
            r#"{"code":1000,"data":[],"for":"secretsecret"}"#,
        ),
        (
            Dialect::V2,
            r#"{"total_trades":0,"trades":[],"for":"token-1"}"#,
        ),
    ] {
        let clock = FakeClock::at(START_MS);
        let fake = Fake::new(&clock, Vec::new());
        let mut script = vec![scripted(200, body)];
        if api == Dialect::V2 {
            let mut token = fake.script.borrow_mut();
            token.push_back(scripted(
                200,
                r#"{"access_token":"token-1-long","expires_in":900}"#,
            ));
            script = vec![scripted(200, &body.replace("token-1", "token-1-long"))];
        }
        fake.script.borrow_mut().extend(script);
        let error = record(&fake, Some(api)).unwrap_err();
        assert!(matches!(error, RecordError::Repeated { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Refused);
        assert!(!chain(&error).contains("secretsecret"));
    }
}

fn lines(recording: &Recording) -> Vec<String> {
    let file = String::from_utf8(recording.print()).unwrap();
    file.lines().map(str::to_owned).collect()
}

fn parse(lines: &[String]) -> Result<Recording, RecordError> {
    Recording::parse((lines.join("\n") + "\n").as_bytes())
}

#[test]
fn a_file_that_was_changed_or_cut_anywhere_is_refused() {
    let clock = FakeClock::at(START_MS);
    let few = Fake::new(&clock, many(12, DAY_MS, START_MS));
    let (recording, _) = record(&few, Some(Dialect::V4)).unwrap();
    let whole = lines(&recording);
    assert_eq!(parse(&whole).unwrap(), recording);
    let count = whole.len();
    let told = |lines: &[String], parts: &[&str]| {
        let error = parse(lines).unwrap_err();
        assert_eq!(error.exit(), Exit::BadData);
        let told = chain(&error);
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
    };
    for cut in 1..count {
        told(&whole[..cut], &["cut off"]);
    }
    for gone in 1..count - 1 {
        let mut lines = whole.clone();
        lines.remove(gone);
        told(&lines, &["hash of the line before"]);
        let mut lines = whole.clone();
        lines.swap(gone, if gone + 2 < count { gone + 1 } else { 1 });
        told(&lines, &["hash of the line before"]);
    }
    // Every digit and letter, one at a time, in every line; what is still an export says so.
    for (number, line) in whole.iter().enumerate() {
        for at in (0..line.len()).step_by(7) {
            let mut bytes = line.clone().into_bytes();
            bytes[at] = match bytes[at] {
                b'9' => b'8',
                b'a' => b'b',
                b'0'..=b'8' | b'b'..=b'z' | b'A'..=b'Z' => bytes[at] + 1,
                other => other ^ 1,
            };
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            let mut lines = whole.clone();
            lines[number] = changed;
            let read = parse(&lines).and_then(|read| read.history().map(|_| ()));
            assert!(read.is_err(), "line {}, byte {at}", number + 1);
        }
    }
    let file = recording.print();
    for cut in [0, 1, file.len() / 2, file.len() - 1] {
        assert!(Recording::parse(&file[..cut]).is_err(), "{cut}");
    }
}

/// Changes the lines, and gives each the hash that it should have: what only a forger does.
fn forge(recording: &Recording, change: impl Fn(&mut Value)) -> Vec<String> {
    let lines = values(recording).into_iter().map(|mut line| {
        let before = line["body"].clone();
        change(&mut line);
        if let (Some(body), true) = (line["body"].as_str(), line["body"] != before) {
            line["sha256"] = sha256(body).into();
        }
        line
    });
    seal(lines.collect())
}

fn values(recording: &Recording) -> Vec<Value> {
    let lines = lines(recording);
    let parse = |line: &String| serde_json::from_str(line).unwrap();
    lines.iter().map(parse).collect()
}

fn seal(lines: Vec<Value>) -> Vec<String> {
    let mut sealed: Vec<String> = Vec::new();
    for mut line in lines {
        if let Some(before) = sealed.last() {
            line["previous"] = sha256(before).into();
        }
        sealed.push(line.to_string());
    }
    sealed
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[test]
fn a_forged_file_must_still_be_a_whole_history_that_was_asked_for() {
    let clock = FakeClock::at(START_MS);
    let (recording, _) = record(&some(&clock), Some(Dialect::V4)).unwrap();
    let read = |lines: Vec<String>| parse(&lines).and_then(|read| read.history());
    assert!(read(forge(&recording, |_| {})).is_ok());
    let body = |line: &Value| line["body"].as_str().unwrap_or_default().to_owned();
    // A trade of another pair, an amount, a purchase that becomes a sale.
    for (from, to, expected) in [
        ("XND_USDT", "BTC_USDT", "filter"),
        ("\"0.29\"", "\"0.39\"", "and it holds"),
        ("\"buy\"", "\"sell\"", "and it holds"),
        ("\"0.29\"", "\"one\"", "not a whole history"),
        ("\"code\":1000", "\"code\":1001", "not a whole history"),
    ] {
        let lines = forge(&recording, |line| {
            if line["kind"] == "answer" {
                line["body"] = body(line).replacen(from, to, 1).into();
            }
        });
        let told = chain(&read(lines).unwrap_err());
        assert!(told.contains(expected) || to == "BTC_USDT", "{told}");
    }
    for (name, value) in [
        ("now_ms", serde_json::json!(START_MS + 1)),
        ("now_ms", serde_json::json!(u64::MAX)),
        ("now_ms", serde_json::json!(0)),
        ("symbol", "BTC_USDT".into()),
        ("dialect", "v2".into()),
        ("dialect", "v3".into()),
        ("version", 2.into()),
        ("endpoint", "https://elsewhere.test\u{1b}[2J".into()),
        ("account", "\u{202e}".into()),
    ] {
        let lines = forge(&recording, |line| {
            if line["kind"] == "export" {
                line[name] = value.clone();
                let now = crate::clock::utc(line["now_ms"].as_u64().unwrap());
                line["now"] = now.into();
            }
        });
        let error = read(lines).unwrap_err();
        assert_eq!(error.exit(), Exit::BadData, "{name}");
        assert!(!chain(&error).contains(char::is_control));
    }
    let lines = forge(&recording, |line| {
        if line["kind"] == "answer" {
            line["sha256"] = sha256("another body").into();
        }
    });
    let told = chain(&read(lines).unwrap_err());
    assert!(told.contains("its body is not the one"), "{told}");
    // Answers that nobody asks for, and fewer than are said to be there.
    let mut values = values(&recording);
    let again = values[values.len() - 2].clone();
    values.insert(values.len() - 1, again);
    let last = values.last_mut().unwrap();
    last["answers"] = (last["answers"].as_u64().unwrap() + 1).into();
    let told = chain(&read(seal(values)).unwrap_err());
    assert!(told.contains("answers are needed"), "{told}");
    for name in ["answers", "trades"] {
        let lines = forge(&recording, |line| {
            if line["kind"] == "end" {
                line[name] = (line[name].as_u64().unwrap() - 1).into();
            }
        });
        assert!(read(lines).is_err(), "{name}");
    }
}
