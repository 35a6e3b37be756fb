//! What a run refuses: the right exit code, a message that says what to do, and nothing touched.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Place, Plan, Running, key};
use bitmart_issuer::ndau::PrivateKey;
use sandbox::{Fault, Html};

/// Runs with a sale waiting to be issued, and checks that it fails with `code`, says all of `parts`, and touched
/// nothing.
#[track_caller]
fn fails(place: &Place, code: i32, parts: &[&str]) {
    let cursor = place.state("cursor.json");
    place.run().fails(code, parts);
    place.untouched(&cursor);
}

fn with_a_sale(plan: Plan) -> Place {
    let place = plan.start();
    place.exchange.sell("5");
    place
}

/// The key file with one of its fields changed.
fn change_key(place: &Place, field: &str, value: &str) {
    let path = place.path("bitmart/test.apikey.json");
    let mut file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file[field] = value.into();
    place.write("bitmart/test.apikey.json", &file.to_string(), 0o600);
}

#[test]
fn a_wrong_access_key_secret_or_memo() {
    for api in ["v2", "v4"] {
        for field in ["access", "secret", "memo"] {
            let place = with_a_sale(Plan {
                api: Some(api),
                ..Plan::new()
            });
            change_key(&place, field, "0123456789abcdef0123456789abcdef");
            fails(&place, 77, &["the exchange: "]);
        }
    }
}

#[test]
fn a_clock_that_is_a_little_off_is_corrected_and_a_wrong_one_is_named() {
    for offset_ms in [-90_000, 90_000] {
        let mut plan = Plan {
            from: "beginning",
            ..Plan::new()
        };
        plan.exchange.clock_offset_ms = offset_ms;
        let place = plan.start();
        place.exchange.sell("5");
        let now = place.exchange.now_ms();
        place.wait_until("the next second", || place.exchange.now_ms() > now + 1000);
        place.run().expect(0, "issued", "5");
        place.settled();

        place.exchange.set_clock_offset_ms(offset_ms * 60);
        place.exchange.sell("5");
        let cursor = place.state("cursor.json");
        place.run().fails(78, &["clock"]);
        assert_eq!(place.state("cursor.json"), cursor);
        assert_eq!(place.chain.issues().len(), 1);
    }
}

#[test]
fn an_exchange_that_is_down_or_answers_something_else() {
    let maintenance = [
        Fault::Maintenance,
        Fault::Html(Html::Cloudflare),
        Fault::Html(Html::CloudflareChallenge),
    ];
    let down = [
        Fault::Down,
        Fault::CutOff,
        Fault::Html(Html::BadGateway),
        Fault::Status(503, "{}".to_owned()),
    ];
    for fault in maintenance.into_iter().chain(down) {
        let place = with_a_sale(Plan {
            api: Some("v4"),
            ..Plan::new()
        });
        place.exchange.set_fault(Some(fault));
        fails(&place, 69, &["the exchange: "]);
        place.exchange.set_fault(None);
        place.run().expect(0, "issued", "5");
    }
}

#[test]
fn an_exchange_that_fails_once_is_asked_again() {
    for fault in [
        Fault::Silent,
        Fault::Slow(Duration::from_secs(2)),
        Fault::CutOff,
        Fault::RateLimited,
    ] {
        let place = with_a_sale(Plan::new());
        place
            .exchange
            .set_fault(Some(Fault::Times(1, Box::new(fault))));
        place.run().expect(0, "issued", "5");
        place.settled();
    }
}

#[test]
fn an_error_on_a_later_page_is_not_a_shorter_history() {
    let place = Plan {
        from: "beginning",
        ..Plan::new()
    }
    .start();
    place.exchange.sell("5");
    let maintenance = Fault::OnRequest(9, Box::new(Fault::Maintenance));
    place.exchange.set_fault(Some(maintenance));
    fails(&place, 69, &["maintenance"]);
}

#[test]
fn a_sale_that_is_no_whole_number_of_napu_is_named() {
    for (quantity, why) in [
        ("0.123456789", "not a whole number of napu"),
        ("-1", "negative"),
        ("92233720368.54775808", "larger"),
        ("1,5", "not a decimal number"),
    ] {
        let place = Plan::new().start();
        let id = place
            .exchange
            .add(sandbox::exchange::NewTrade::sell(
                quantity,
                place.exchange.now_ms(),
            ))
            .id;
        fails(&place, 65, &[why, &id.to_string()]);
    }
}

#[test]
fn more_than_a_response_holds_in_one_millisecond() {
    let place = Plan::new().start();
    let now = place.exchange.now_ms();
    for _ in 0..201 {
        place
            .exchange
            .add(sandbox::exchange::NewTrade::sell("1", now));
    }
    fails(&place, 65, &["the exchange: "]);
}

#[test]
fn a_chain_that_is_down_or_answers_something_else() {
    for fault in [
        Fault::Down,
        Fault::CutOff,
        Fault::Html(Html::BadGateway),
        Fault::Node(sandbox::NodeTrouble::ApplicationDown),
    ] {
        let place = with_a_sale(Plan::new());
        place.chain.set_fault(Some(fault));
        fails(&place, 69, &["the chain: "]);
    }
    let place = with_a_sale(Plan::new());
    place
        .chain
        .set_fault(Some(Fault::Status(200, "[1,2]".to_owned())));
    fails(&place, 65, &["does not understand"]);
}

#[test]
fn a_second_node_is_used_when_the_first_is_down() {
    let place = with_a_sale(Plan::new());
    let api = format!("api = [\"http://127.0.0.1:1\", \"{}\"]", place.chain.url());
    place.configure("", &api, "");
    let ended = place.run().expect(0, "issued", "5");
    assert!(
        ended.stderr.contains("passing over http://127.0.0.1:1"),
        "{ended:#?}"
    );
}

#[test]
fn more_than_was_released() {
    let mut plan = Plan::new();
    plan.chain.released_napu = 700_000_000;
    plan.chain.issued_napu = 300_000_000;
    let place = with_a_sale(plan);
    fails(
        &place,
        77,
        &["only 4 of what was released", "release 1 more"],
    );
    assert_eq!(place.state("pending.json"), None);
    place.chain.release(100_000_000);
    let ended = place.run();
    assert_eq!(ended.code, 0, "{ended:#?}");
}

#[test]
fn no_balance_for_the_fee() {
    let mut plan = Plan::new();
    plan.chain.balance_napu = 600_000;
    plan.chain.holds_napu = vec![200_000];
    let place = with_a_sale(plan);
    fails(&place, 77, &["the fee is 0.005 ndau", "has 0.004 to spend"]);
}

#[test]
fn no_signer_in_time() {
    let place = with_a_sale(Plan {
        signer: "timeout = \"1s\"".to_owned(),
        ..Plan::new()
    });
    let cursor = place.state("cursor.json");
    let ended = place.run_with(|_, _| None);
    ended.fails(69, &["the signing service: ", "within 1 s"]);
    place.untouched(&cursor);
    // The batch is in flight; the next run has it signed.
    let status = place.issuer(&["status", "--json"]).json();
    assert_eq!(status["pending"]["candidates"][0]["signatures"], 0);
    place.configure("", "", "");
    place.run().expect(0, "settled", "5");
    place.settled();
}

#[test]
fn a_stranger_instead_of_the_signer() {
    let place = with_a_sale(Plan {
        signer: "timeout = \"3s\"".to_owned(),
        ..Plan::new()
    });
    let cursor = place.state("cursor.json");
    let ended = place.run_with(|place, url| {
        let address = url.trim_start_matches("ws://").trim_end_matches("/signer");
        let mut plain = TcpStream::connect(address).unwrap();
        plain
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        // A signing service that nobody allowed.
        Some(place.signer_as(&key(66), url, &[key(1)]))
    });
    ended.fails(69, &["the signing service: "]);
    place.untouched(&cursor);
}

#[test]
fn a_signer_with_the_wrong_key() {
    // It holds another key than the account's: it refuses.
    let place = with_a_sale(Plan {
        held: vec![key(2)],
        ..Plan::new()
    });
    fails(&place, 77, &["the signing service: "]);
}

#[test]
fn a_signer_that_refuses_by_its_policy() {
    let place = with_a_sale(Plan {
        policy: "[policy]\nmax_issue_per_tx = \"4.99999999\"\n".to_owned(),
        ..Plan::new()
    });
    fails(&place, 77, &["the signing service: ", "4.99999999"]);
    assert!(place.state("pending.json").is_some());
}

#[test]
fn fewer_signatures_than_wanted() {
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    let place = with_a_sale(plan);
    fails(&place, 77, &["the signing service: "]);
}

#[test]
fn a_key_that_the_account_does_not_have() {
    let ndau = format!("signing_keys = [\"{}\"]", key(9).public());
    let place = with_a_sale(Plan {
        ndau,
        ..Plan::new()
    });
    fails(
        &place,
        78,
        &[key(9).public().as_text(), "no validation key"],
    );
}

#[test]
fn an_identity_that_can_sign_transactions() {
    let place = with_a_sale(Plan::new());
    let identity = std::fs::read_to_string(place.path("bitmart/identity.toml")).unwrap();
    let own = identity.split('"').nth(1).unwrap();
    for (key, remedy) in [
        (own, "remove its file"),
        (key(100).public().as_text(), "ndau-signer keygen"),
    ] {
        place.chain.set_validation_keys(&[key]);
        fails(&place, 78, &[key, "can sign transactions", remedy]);
    }
}

#[test]
fn two_runs_at_once() {
    let place = with_a_sale(Plan::new());
    let cursor = place.state("cursor.json");
    let mut first = Running::start(place.command(&["run", "--json"]));
    assert!(first.line().contains("listening"));
    place
        .issuer(&["run", "--json"])
        .fails(69, &["another run is at work"]);
    place.untouched(&cursor);
    let _ = first.kill();
    place.run().expect(0, "settled", "5");
}

#[test]
fn key_files_that_others_can_read() {
    for (file, mode) in [
        ("bitmart/test.apikey.json", 0o640),
        ("bitmart/identity.toml", 0o604),
    ] {
        let place = with_a_sale(Plan::new());
        let content = std::fs::read_to_string(place.path(file)).unwrap();
        place.write(file, &content, mode);
        fails(&place, 78, &[file, "chmod 600"]);
    }
}

#[test]
fn settings_that_are_missing_or_unknown() {
    let place = with_a_sale(Plan::new());
    change_key(&place, "passphrase", "x");
    fails(&place, 78, &["test.apikey.json", "passphrase"]);
    place.write_key(None, 0o600);

    place.configure("polling = 5", "", "");
    fails(&place, 78, &["issuer.toml", "polling"]);
    place.configure("", "", "allowed = []");
    fails(&place, 78, &["signer.allowed"]);
    place.configure("", "", "");

    place.write("bitmart/other.apikey.json", "{}", 0o600);
    fails(
        &place,
        78,
        &["several API keys", "test.apikey.json", "other.apikey.json"],
    );
    std::fs::remove_file(place.path("bitmart/other.apikey.json")).unwrap();
    std::fs::remove_file(place.path("bitmart/test.apikey.json")).unwrap();
    fails(&place, 78, &["there is no API key"]);
    std::fs::remove_file(place.path("bitmart/issuer.toml")).unwrap();
    fails(&place, 78, &["bitmart-issuer init"]);
}

#[test]
fn another_exchange_account_pair_dialect_or_network_than_before() {
    let place = Plan {
        api: Some("v4"),
        ..Plan::new()
    }
    .start();
    place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    let cursor = place.state("cursor.json");
    let refused = |code: i32, parts: &[&str]| {
        place.run().fails(code, parts);
        assert_eq!(place.state("cursor.json"), cursor);
    };

    place.write_key(Some("v2"), 0o600);
    refused(78, &["v2", "v4"]);
    place.write_key(Some("v4"), 0o600);

    let toml = std::fs::read_to_string(place.path("bitmart/issuer.toml")).unwrap();
    place.write(
        "bitmart/issuer.toml",
        &toml.replace("XND_USDT", "NDAU_USDT"),
        0o644,
    );
    refused(78, &["XND_USDT", "NDAU_USDT"]);
    place.write("bitmart/issuer.toml", &toml, 0o644);

    let mut plan = Plan::new();
    plan.chain.network = "testnet".to_owned();
    let other = plan.start();
    place.configure("", &format!("api = \"{}\"", other.chain.url()), "");
    refused(78, &["sandbox-net", "testnet"]);
    place.write("bitmart/issuer.toml", &toml, 0o644);

    // Another account's key: nothing that it shows is known here.
    let endpoint = other.exchange.url();
    change_key(&place, "endpoint", &endpoint);
    change_key(&place, "access", &other.exchange.settings().access);
    place.run().expect(0, "nothing_new", "0");
}

#[test]
fn state_that_is_damaged_or_gone() {
    let place = with_a_sale(Plan::new());
    place.run().expect(0, "issued", "5");
    place.exchange.sell("7");
    for (file, says) in [
        ("cursor.json", "cursor.json"),
        ("ledger.jsonl", "the ledger's last line is cut off"),
    ] {
        let path = place.path("state").join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() / 2]).unwrap();
        place.run().fails(65, &[says]);
        std::fs::write(&path, &good).unwrap();
    }
    let cursor = place.state("cursor.json").unwrap();
    std::fs::remove_file(place.path("state/cursor.json")).unwrap();
    place.run().fails(78, &["there is no cursor"]);
    let again = place.issuer(&["init", "--from", "beginning"]);
    assert_eq!(again.code, 65, "{again:#?}");
    assert!(
        again.stderr.contains("from its newest backup"),
        "{again:#?}"
    );
    place.write("state/cursor.json", &cursor, 0o600);
    place.run().expect(0, "issued", "7");
    place.settled();
}

#[test]
fn a_cursor_older_than_the_ledger_or_without_it_issues_nothing_twice() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    let old = place.state("cursor.json").unwrap();
    place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    let new = place.state("cursor.json").unwrap();
    place.write("state/cursor.json", &old, 0o600);
    place
        .run()
        .fails(65, &["the cursor was not written beside this ledger"]);
    place.write("state/cursor.json", &new, 0o600);
    std::fs::remove_file(place.path("state/ledger.jsonl")).unwrap();
    place
        .run()
        .fails(65, &["the cursor was not written beside this ledger"]);
    assert_eq!(place.chain.issues().len(), 1);
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    for (file, code) in [
        ("bitmart/test.apikey.json", 78),
        ("bitmart/identity.toml", 78),
        ("bitmart/issuer.toml", 78),
        ("state/pending.json", 74),
        ("state/cursor.json", 74),
    ] {
        let place = Plan::new().start();
        let _ = std::fs::remove_file(place.path(file));
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(place.path(file))
            .status();
        assert!(made.unwrap().success());
        place.run().fails(code, &["not a regular file"]);
    }
}

#[test]
fn an_allowed_signer_that_can_be_none_is_found_by_a_dry_run_too() {
    let place = with_a_sale(Plan::new());
    let identity = std::fs::read_to_string(place.path("bitmart/identity.toml")).unwrap();
    let own = identity.split('"').nth(1).unwrap();
    let secp256k1 = PrivateKey::from_secp256k1(&[7; 32]).unwrap();
    for (allowed, says) in [
        (String::new(), "it names nobody"),
        (format!("\"{own}\""), "this side's own identity"),
        (
            format!("\"{}\", \"{}\"", key(100).public(), secp256k1.public()),
            "is a secp256k1 key",
        ),
    ] {
        place.configure("", "", &format!("allowed = [{allowed}]"));
        let dry = place.issuer(&["run", "--dry-run", "--json"]);
        dry.fails(78, &["signer.allowed", says]);
        fails(&place, 78, &["signer.allowed", says]);
        assert_eq!(place.state("pending.json"), None);
    }
}

#[test]
fn a_state_folder_that_is_not_there() {
    let place = Plan::new().start();
    std::fs::remove_dir_all(place.path("state")).unwrap();
    place
        .run()
        .fails(78, &["there is no state folder", "mounted"]);
}
