//! `history`, `export` and `audit`: what shows, to somebody else, that what was sold was issued.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use sandbox::chain::Chain;
use sandbox::exchange::{Exchange, NewTrade, TradeRef};
use serde_json::Value;

use crate::stale::{copy, restore};
use crate::support::{Ended, Place, Plan};

/// Where the chain does not agree, this long is looked again.
const QUICK: &str = "confirm = \"1s\"";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A folder that issues from the beginning.
fn place(api: &'static str) -> Place {
    Plan {
        from: "beginning",
        api: Some(api),
        ndau: QUICK.to_owned(),
        ..Plan::new()
    }
    .start()
}

/// A sale so many milliseconds ago, at a whole second.
fn sold(place: &Place, quantity: &str, age_ms: i64) -> TradeRef {
    let time_ms = (place.exchange.now_ms() - age_ms) / 1000 * 1000;
    place.exchange.add(NewTrade::sell(quantity, time_ms))
}

/// The audit's exit code and what it prints; nothing in the folder changes by it.
#[track_caller]
fn audit(place: &Place, args: &[&str]) -> Ended {
    let before = place.files();
    let mut all = vec!["audit"];
    all.extend(args);
    let ended = place.issuer(&all);
    assert!(place.files() == before, "the audit changed something");
    ended
}

/// The audit, as an object, with this exit code and these kinds of differences.
#[track_caller]
fn finds(place: &Place, args: &[&str], expected: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(args);
    let ended = audit(place, &all);
    let json = ended.json();
    let kinds: Vec<&str> = json["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    let code = if expected.is_empty() { 0 } else { 65 };
    assert_eq!(
        (kinds.as_slice(), ended.code),
        (expected, code),
        "{ended:#?}"
    );
    assert_eq!(json["agree"], expected.is_empty());
    json
}

fn sum<'a>(json: &'a Value, lot: &str) -> &'a str {
    json["sums"][lot]["ndau"].as_str().unwrap()
}

fn told(json: &Value) -> String {
    let differences = json["differences"].as_array().unwrap();
    let told = differences.iter().map(|one| one["told"].as_str().unwrap());
    told.collect::<Vec<_>>().join("\n")
}

/// Two Issues of three sales, and a purchase.
fn issued(place: &Place) {
    sold(place, "5", 4 * DAY_MS);
    sold(place, "0.29", 3 * DAY_MS);
    place.run().expect(0, "issued", "5.29");
    sold(place, "1.00000001", DAY_MS);
    let time_ms = (place.exchange.now_ms() - DAY_MS) / 1000 * 1000;
    place.exchange.add(NewTrade::buy("77", time_ms));
    place.run().expect(0, "issued", "1.00000001");
    place.chain.wait_until_idle();
}

#[test]
fn what_agrees_is_shown_napu_for_napu_in_both_dialects() {
    for api in ["v4", "v2"] {
        let place = place(api);
        issued(&place);
        let json = finds(&place, &[], &[]);
        for lot in [
            "sold",
            "sold_issued",
            "ledger",
            "ledger_shown",
            "chain",
            "chain_in_ledger",
        ] {
            assert_eq!(sum(&json, lot), "6.29000001", "{lot}: {json:#}");
        }
        assert_eq!(json["total_issued_napu"], "629000001");
        assert_eq!(json["accounted_napu"], "629000001");
        assert_eq!(
            (&json["dialect"], &json["trades"]),
            (&api.into(), &4.into())
        );

        let ended = audit(&place, &[]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        let document = ended.stdout;
        for part in [
            "Audit of ",
            &format!("in {api}, API key "),
            "2 Issues, 0 decisions, ",
            "network sandbox-net",
            "6.29000001  3 sales     shown by the exchange, and ours to issue",
            "6.29000001  3 sales     of these in the ledger, with the same time and amount",
            "6.29000001  2 Issues    of these in the ledger, in the same block",
            "6.29000001              the chain's total issued",
            "Differences\n  none\n",
        ] {
            assert!(document.contains(part), "{part:?} is not in {document}");
        }
        let verdict = document.trim_end().lines().last().unwrap();
        assert!(
            verdict.starts_with("Verdict: they agree, napu for napu: everything"),
            "{verdict}"
        );
    }
}

#[test]
fn what_waits_rightly_is_no_difference() {
    let place = place("v4");
    // No run yet: there is no ledger, and nothing is wrong.
    sold(&place, "5", DAY_MS);
    let json = finds(&place, &[], &[]);
    assert_eq!(sum(&json, "sold_not_issued_yet"), "5");
    place.run().expect(0, "issued", "5");
    sold(&place, "7", DAY_MS / 24);
    let json = finds(&place, &[], &[]);
    assert_eq!(json["still_to_issue"]["ndau"], "7");
    let ended = audit(&place, &[]);
    assert!(
        ended
            .stdout
            .contains("Verdict: they agree, napu for napu; not issued yet: 1 sale, 7 ndau"),
        "{ended:#?}"
    );
    place.leave_in_flight();
    place.configure("", QUICK, "");
    let json = finds(&place, &[], &[]);
    assert_eq!(sum(&json, "sold_in_flight"), "7");
    place.run().expect(0, "settled", "7");
    finds(&place, &[], &[]);
}

/// As a run does, one that starts late leaves earlier sales alone.
#[test]
fn what_was_sold_before_the_start_is_not_ours() {
    let place = Plan {
        ndau: QUICK.to_owned(),
        ..Plan::new()
    }
    .start();
    sold(&place, "5", DAY_MS);
    place.exchange.sell("7");
    place.run().expect(0, "issued", "7");
    let json = finds(&place, &[], &[]);
    assert_eq!(
        (sum(&json, "sold"), sum(&json, "sold_before_start")),
        ("7", "5")
    );
}

#[test]
fn sales_that_the_ledger_lacks_or_has_otherwise_are_named() {
    let place = place("v4");
    issued(&place);
    let late = sold(&place, "3", 8 * DAY_MS);
    let json = finds(&place, &[], &["not_issued"]);
    let trade = format!("trade {} (order {})", late.id, late.order);
    assert!(
        told(&json).contains(&trade) && told(&json).contains(", 3 ndau"),
        "{json:#}"
    );
    let ended = audit(&place, &[]);
    assert_eq!(ended.code, 65);
    for part in [
        "1. sold, but not in the ledger: ",
        "Verdict: they do NOT agree: 1 difference",
    ] {
        assert!(ended.stdout.contains(part), "{ended:#?}");
    }
    assert!(
        ended
            .stderr
            .contains("do not agree: the audit names 1 difference"),
        "{ended:#?}"
    );

    place.exchange.hide(late);
    finds(&place, &[], &[]);
}

/// A line of a ledger.
fn line(place: &Place, ledger: &str, index: usize) -> Value {
    let ledger = fs::read_to_string(place.path(ledger)).unwrap();
    serde_json::from_str(ledger.lines().nth(index).unwrap()).unwrap()
}

/// Makes the exchange tell the trades of a ledger line.
fn tell(place: &Place, line: &Value) {
    for trade in line["trades"].as_array().unwrap() {
        let number = |name: &str| trade[name].as_str().unwrap().parse().unwrap();
        place.exchange.add(NewTrade {
            id: Some(number("trade")),
            order: Some(number("order")),
            ..NewTrade::sell(&ndau(trade), trade["time_ms"].as_i64().unwrap())
        });
    }
}

/// The amount of a ledger's trade, as an exchange writes it.
fn ndau(trade: &Value) -> String {
    let napu: u64 = trade["quantity_napu"].as_str().unwrap().parse().unwrap();
    format!("{}.{:08}", napu / 100_000_000, napu % 100_000_000)
}

/// The exchange tells something else than it told the runs.
#[test]
fn an_exchange_that_tells_otherwise_is_noticed() {
    let mut place = place("v4");
    let first = sold(&place, "5", 4 * DAY_MS);
    sold(&place, "2", 3 * DAY_MS);
    place.run().expect(0, "issued", "7");
    place.chain.wait_until_idle();
    place.exchange.hide(first);
    let json = finds(&place, &[], &["not_shown"]);
    let trade = format!("trade {} (order {})", first.id, first.order);
    assert!(told(&json).contains(&trade), "{json:#}");

    // Another key, which proves by its trades that it is of the same account.
    let mut settings = place.exchange.settings().clone();
    settings.access = "11112222333344445555666677778888aaaabbbb".to_owned();
    let mut line = line(&place, "state/ledger.jsonl", 0);
    place.exchange = Exchange::start(settings.clone());
    place.write_key(Some("v4"), 0o600);
    tell(&place, &line);
    finds(&place, &[], &[]);
    line["trades"][1]["quantity_napu"] = "250000000".into();
    place.exchange = Exchange::start(settings);
    place.write_key(Some("v4"), 0o600);
    tell(&place, &line);
    let json = finds(&place, &[], &["altered"]);
    assert!(told(&json).contains("a sale of 2.5 ndau"), "{json:#}");
}

#[test]
fn issues_that_the_chain_lacks_or_has_elsewhere_are_named() {
    let mut place = place("v4");
    issued(&place);
    // The node lost its index: its blocks still hold what it does not show.
    place.chain.forget_index();
    let json = finds(&place, &[], &["not_on_chain", "not_on_chain"]);
    assert!(
        told(&json).contains("that block holds its hash"),
        "{json:#}"
    );

    // Another chain of the same name, on which the first was issued in another block, and the second never.
    let mut settings = Plan::new().chain;
    settings.height = 20;
    copy(&place, "saved");
    place.chain = Chain::start(settings);
    place.configure("", QUICK, "");
    restore(&place, "saved");
    let json = finds(&place, &[], &["not_on_chain", "not_on_chain", "total"]);
    assert!(!told(&json).contains("holds its hash"), "{json:#}");
    copy(&place, "saved");
    fs::remove_file(place.path("state/ledger.jsonl")).unwrap();
    fs::remove_file(place.path("state/cursor.json")).unwrap();
    let init = place.issuer(&["init", "--from", "beginning"]);
    assert_eq!(init.code, 0, "{init:#?}");
    place.configure("", QUICK, "");
    // The younger sale is not there for this run.
    let first = line(&place, "saved/ledger.jsonl", 0);
    let all = std::mem::replace(&mut place.exchange, Exchange::start(Plan::new().exchange));
    tell(&place, &first);
    place.write_key(Some("v4"), 0o600);
    place.run().expect(0, "issued", "5.29");
    place.chain.wait_until_idle();
    place.exchange = all;
    place.write_key(Some("v4"), 0o600);
    restore(&place, "saved");
    let json = finds(&place, &[], &["other_height", "not_on_chain", "total"]);
    assert!(told(&json).contains("at another height"), "{json:#}");
}

#[test]
fn what_others_issue_is_named_until_somebody_decides() {
    let place = place("v4");
    let mut other = Plan::new();
    other.ndau = format!("api = \"{}\"\nsole_issuer = false", place.chain.url());
    let other = other.start();
    other.run().expect(0, "nothing_new", "0");
    issued(&place);
    other.exchange.sell("3");
    other.run().expect(0, "issued", "3");
    place.chain.wait_until_idle();

    let json = finds(&place, &[], &["not_in_ledger", "total"]);
    assert!(told(&json).contains(", 3 ndau, block "), "{json:#}");
    assert!(
        told(&json)
            .contains("the chain has issued 9.29000001 ndau, this folder accounts for 6.29000001"),
        "{json:#}"
    );
    let args = [
        "resolve",
        "--decide",
        "others:3",
        "--by",
        "Ada",
        "--why",
        "the treasury's own",
    ];
    let decided = place.issuer(&args);
    assert_eq!(decided.code, 0, "{decided:#?}");
    let json = finds(&place, &[], &[]);
    assert_eq!(sum(&json, "chain_by_others"), "3");
    let document = audit(&place, &[]).stdout;
    assert!(
        document.contains(
            "others issued 3 ndau, none of it for sales of this folder; by Ada: the treasury's own"
        ),
        "{document}"
    );
    place.configure("", &format!("{QUICK}\nsole_issuer = false"), "");
    other.exchange.sell("4");
    other.run().expect(0, "issued", "4");
    place.chain.wait_until_idle();
    let json = finds(&place, &[], &[]);
    assert_eq!(sum(&json, "chain_by_others"), "7");
}

/// The body that the node shows for a transaction can be a neighbour's, and says nothing about it.
#[test]
fn a_neighbours_body_is_no_difference() {
    let place = place("v4");
    place.chain.release(7);
    sold(&place, "5", DAY_MS);
    place.chain.shift_offset_of_next_submit();
    place.run().expect(0, "issued", "5");
    sold(&place, "6", DAY_MS / 2);
    place.run().expect(0, "issued", "6");
    place.chain.release(7);
    place.chain.wait_until_idle();
    let json = finds(&place, &[], &[]);
    assert_eq!(
        (sum(&json, "chain_in_ledger"), &json["other_transactions"]),
        ("11", &1.into())
    );
}

/// The total issued trails by a block, and the index by its delay: what may still come is waited for.
#[test]
fn a_chain_that_is_late_is_looked_at_again() {
    let place = place("v4");
    sold(&place, "5", DAY_MS);
    place.run().expect(0, "issued", "5");
    place.configure("", "confirm = \"60s\"", "");
    finds(&place, &[], &[]);
}

#[track_caller]
fn export(place: &Place, name: &str) -> String {
    let ended = place.issuer(&["export", name]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    fs::read_to_string(place.path(name)).unwrap()
}

/// After the exchange has closed, its answers on file show the same.
#[test]
fn an_export_shows_the_same_when_the_exchange_is_gone() {
    for api in ["v4", "v2"] {
        let mut place = place(api);
        issued(&place);
        sold(&place, "2", DAY_MS / 24);
        let live = finds(&place, &[], &[]);
        let before = place.files();
        let ended = place.issuer(&["export", "exchange.jsonl"]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        for part in ["5 trades of XND_USDT", "8.29000001 ndau in all", "SHA-256"] {
            assert!(ended.stdout.contains(part), "{part:?}: {ended:#?}");
        }
        let path = place.path("exchange.jsonl");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut after = place.files();
        assert!(after.remove(&path).is_some());
        assert!(after == before, "the export changed something else");

        // Issued meanwhile, the exchange closes, the API key is thrown away.
        place.run().expect(0, "issued", "2");
        place.chain.wait_until_idle();
        place.exchange = Exchange::start(Plan::new().exchange);
        fs::remove_file(place.path("bitmart/test.apikey.json")).unwrap();
        assert_eq!(audit(&place, &[]).code, 78);
        let json = finds(&place, &["--from", "exchange.jsonl"], &[]);
        assert_eq!(
            (sum(&json, "sold"), sum(&live, "sold")),
            ("8.29000001", "8.29000001")
        );
        assert_eq!(sum(&json, "sold_issued"), "8.29000001");
        assert_eq!(json["still_to_issue"]["count"], 0);
        assert_eq!(json["exchange"]["from"], "export");
        let ended = audit(&place, &["--from", "exchange.jsonl"]);
        let verdict = ended.stdout.trim_end().lines().last().unwrap();
        assert!(
            verdict.contains("they agree, napu for napu: everything"),
            "{ended:#?}"
        );
        assert_eq!(place.exchange.requests().len(), 0);
    }
}

#[test]
fn an_export_overwrites_nothing_and_is_whole_or_not_there() {
    let place = place("v4");
    issued(&place);
    place.write("exchange.jsonl", "mine", 0o644);
    let ended = place.issuer(&["export", "exchange.jsonl"]);
    assert_eq!(ended.code, 64, "{ended:#?}");
    assert!(ended.stderr.contains("is there already"), "{ended:#?}");
    assert_eq!(
        fs::read_to_string(place.path("exchange.jsonl")).unwrap(),
        "mine"
    );
    assert_eq!(place.issuer(&["export", "."]).code, 64);

    place.exchange.set_fault(Some(sandbox::Fault::Status(
        401,
        r#"{"message":"Header X-BM-KEY not found","code":30002,"trace":"t","data":{}}"#.to_owned(),
    )));
    let before = place.files();
    let ended = place.issuer(&["export", "new.jsonl"]);
    assert_eq!(ended.code, 77, "{ended:#?}");
    assert!(place.files() == before, "something was left behind");
}

/// The exchange may close before anybody finds out what is wrong with the folder.
#[test]
fn an_export_needs_no_sound_state_folder() {
    let place = place("v4");
    sold(&place, "5", DAY_MS);
    fs::write(place.path("state/cursor.json"), "{").unwrap();
    let ended = place.issuer(&["export", "exchange.jsonl"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(
        ended.stderr.contains("exporting without the state folder"),
        "{ended:#?}"
    );
}

/// Every credential there is, searched for in the export and in everything that is printed about it.
#[test]
fn no_export_holds_a_secret() {
    for api in ["v4", "v2"] {
        let mut place = place(api);
        issued(&place);
        let settings = place.exchange.settings().clone();
        let ended = place.issuer(&["export", "exchange.jsonl"]);
        let file = fs::read_to_string(place.path("exchange.jsonl")).unwrap();
        let printed = format!("{}{}{file}", ended.stdout, ended.stderr);
        let mut secrets = vec![
            settings.access.clone(),
            settings.secret.clone(),
            settings.memo.clone(),
        ];
        for seen in place.exchange.requests() {
            let headers = seen.headers.iter().filter(|(name, _)| {
                ["x-bm-authorization", "x-bm-sign", "x-bm-key"]
                    .contains(&name.to_lowercase().as_str())
            });
            secrets.extend(headers.map(|(_, value)| value.replace("Bearer ", "")));
            if let Some((_, secret)) = seen.body.split_once("client_secret=") {
                secrets.push(secret.to_owned());
            }
        }
        assert!(secrets.len() > 10);
        for secret in secrets {
            assert!(!printed.contains(&secret), "{secret}");
        }
        assert!(!file.contains("/v2/authentication"));
        place.exchange = Exchange::start(Plan::new().exchange);
        finds(&place, &["--from", "exchange.jsonl"], &[]);
    }
}

#[test]
fn exports_that_are_cut_changed_or_anothers_are_refused() {
    let place = place("v4");
    issued(&place);
    let whole = export(&place, "exchange.jsonl");
    let refused = |content: &str, code: i32, part: &str| {
        fs::write(place.path("other.jsonl"), content).unwrap();
        let ended = audit(&place, &["--from", "other.jsonl"]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (code, ""),
            "{ended:#?}"
        );
        assert!(ended.stderr.contains(part), "{part:?}: {ended:#?}");
    };
    let lines: Vec<&str> = whole.lines().collect();
    let without_end = lines[..lines.len() - 1].join("\n") + "\n";
    refused(&without_end, 65, "cut off");
    refused(&whole[..whole.len() / 2], 65, "cut off");
    refused(&whole[..1], 65, "cut off");
    refused("", 65, "no column says when");
    refused(
        &whole.replacen("0.29", "0.39", 1),
        65,
        "its body is not the one that its hash is of",
    );
    refused(
        &whole.replacen("629000001", "629000002", 1),
        65,
        "it holds 4 trades",
    );
    refused(&whole.replace('\n', "\r\n"), 65, "hash of the line before");
    refused(&"[".repeat(100_000), 65, "line 1, column 1");
    refused("{\"version\":1,\"kind\":\"ledger\"}\n{}\n", 65, "line 1");

    let mut other = Plan::new();
    other.exchange.access = "11112222333344445555666677778888aaaabbbb".to_owned();
    let other = other.start();
    for hours in 1..3 {
        // The numbers of the sandbox's first trades are those of any other's.
        other.exchange.add(NewTrade {
            id: Some(999_000 + hours),
            ..NewTrade::sell(
                "1",
                other.exchange.now_ms() - i64::try_from(hours).unwrap() * 3_600_000,
            )
        });
    }
    let foreign = export(&other, "exchange.jsonl");
    let toml = fs::read_to_string(other.path("bitmart/issuer.toml")).unwrap();
    let other_pair = toml.replace("XND_USDT", "BTC_USDT");
    other.write("bitmart/issuer.toml", &other_pair, 0o644);
    let pair = export(&other, "pair.jsonl");
    refused(
        &pair,
        65,
        "is of BTC_USDT, the configuration is for XND_USDT",
    );
    refused(&foreign, 65, "this looks like another account's key");

    for (path, code, part) in [
        ("nowhere.jsonl", 64, "cannot read nowhere.jsonl"),
        ("state", 64, "it is not a regular file"),
        ("/dev/null", 64, "it is not a regular file"),
    ] {
        let ended = audit(&place, &["--from", path]);
        assert_eq!(ended.code, code, "{ended:#?}");
        assert!(ended.stderr.contains(part), "{ended:#?}");
    }
    let sparse = fs::File::create(place.path("large.jsonl")).unwrap();
    sparse.set_len(3 * 1024 * 1024 * 1024).unwrap();
    let ended = place.issuer(&["audit", "--from", "large.jsonl"]);
    assert_eq!(ended.code, 64, "{ended:#?}");
    assert!(ended.stderr.contains("larger than"), "{ended:#?}");
}

fn second(time_ms: &Value) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms.as_i64().unwrap()).unwrap();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The list of the web site has no numbers, and times of whole seconds.
#[test]
fn a_list_of_trades_is_compared_by_second_and_amount() {
    let place = place("v4");
    issued(&place);
    let mut list = "Time(UTC),Symbol,Side,Price,Filled Quantity,Total,Fee\n".to_owned();
    for line in place.state("ledger.jsonl").unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for trade in line["trades"].as_array().unwrap() {
            let (time, quantity) = (second(&trade["time_ms"]), ndau(trade));
            list += &format!("{time},XND/USDT,Sell,15,{quantity},1,0.1\n");
        }
    }
    list += "2026-08-01 12:34:56,BTC/USDT,Sell,15,1,1,0.1\n";
    place.write("trades.csv", &list, 0o644);
    let json = finds(&place, &["--from", "trades.csv"], &[]);
    assert_eq!(
        (sum(&json, "sold_issued"), &json["by_number"]),
        ("6.29000001", &false.into())
    );
    assert_eq!(json["exchange"]["other_pairs"], 1);
    let document = audit(&place, &["--from", "trades.csv"]).stdout;
    for part in [
        "without common numbers sales are compared by second and amount",
        "whether the list is complete cannot be told from it; 1 line of other pairs not looked at",
    ] {
        assert!(document.contains(part), "{document}");
    }
    place.write("no-zone.csv", &list.replace("(UTC)", ""), 0o644);
    let document = audit(&place, &["--from", "no-zone.csv"]).stdout;
    assert!(document.contains("UTC is assumed"), "{document}");

    place.write(
        "other.csv",
        &list.replace("0.29000000", "0.28999999"),
        0o644,
    );
    finds(
        &place,
        &["--from", "other.csv"],
        &["not_issued", "not_shown"],
    );
    place.write("strange.csv", &list.replacen("Sell", "Sold", 1), 0o644);
    let ended = audit(&place, &["--from", "strange.csv"]);
    assert_eq!(ended.code, 65);
    assert!(
        ended
            .stderr
            .contains("line 2, column 3 (Side): \"sold\" is neither"),
        "{ended:#?}"
    );
}

#[test]
fn the_history_is_the_whole_ledger_for_people_and_programs() {
    let place = place("v4");
    let empty = place.issuer(&["history", "--json"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (0, ""), "{empty:#?}");
    issued(&place);
    let before = place.files();
    let table = place.issuer(&["history"]);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!((table.code, lines.len()), (0, 4), "{table:#?}");
    assert!(lines[0].starts_with("recorded"), "{table:#?}");
    assert!(
        lines[1].ends_with("5.29") && lines[2].ends_with("1.00000001"),
        "{table:#?}"
    );
    assert_eq!(lines[3], "6.29000001 ndau in 2 Issues");

    let json = place.issuer(&["history", "--json"]);
    let ledger = place.state("ledger.jsonl").unwrap();
    for (told, kept) in json.stdout.lines().zip(ledger.lines()) {
        let told: Value = serde_json::from_str(told).unwrap();
        let kept: Value = serde_json::from_str(kept).unwrap();
        for field in [
            "kind",
            "hash",
            "sequence",
            "height",
            "quantity_napu",
            "recorded",
            "network",
            "account",
        ] {
            assert_eq!(told[field], kept[field], "{field}");
        }
        let trades = |one: &Value| one["trades"].as_array().unwrap().len();
        assert_eq!(trades(&told), trades(&kept));
    }
    assert_eq!(json.stdout.lines().count(), 2);

    let csv = place.issuer(&["history", "--csv"]).stdout;
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(
        rows[0],
        [
            "recorded",
            "sequence",
            "hash",
            "height",
            "trade",
            "order",
            "time",
            "quantity_ndau",
            "quantity_napu",
            "symbol"
        ]
    );
    assert_eq!(rows[2][7..], ["0.29", "29000000", "XND_USDT"]);

    let both = place.issuer(&["history", "--csv", "--json"]);
    assert_eq!((both.code, both.stdout.as_str()), (64, ""), "{both:#?}");
    assert!(place.files() == before);
}

/// `history | head -1`: the reader goes before everything is written.
#[test]
fn a_reader_that_goes_is_no_panic() {
    let place = place("v4");
    issued(&place);
    for args in [&["history"][..], &["history", "--csv"], &["audit"]] {
        let mut command = place.command(args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(Stdio::from(writer));
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{stderr}");
        assert!(
            stderr.contains("could not be printed") && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
}
