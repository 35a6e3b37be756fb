//! What a run leaves to a person, and `resolve`, which shows it and carries out what was decided.

use std::time::Duration;

use crate::stale::{copy, restore};
use crate::support::{Ended, Place, Plan};
use sandbox::chain::SubmitFault;

/// How long the chain may take: where it is at rest half of this is waited out.
const QUICK: &str = "confirm = \"4s\"";

/// Takes a decision as Ada.
fn decide(place: &Place, choice: &str) -> Ended {
    place.issuer(&[
        "resolve",
        "--decide",
        choice,
        "--by",
        "Ada",
        "--why",
        "the other node shows it",
    ])
}

/// What `resolve` shows, which must end with `code`, offer exactly `choices`, and change nothing.
#[track_caller]
fn shown(place: &Place, code: i32, choices: &[&str]) -> Ended {
    let before = place.files();
    let ended = place.issuer(&["resolve"]);
    assert_eq!(ended.code, code, "{ended:#?}");
    let offered: Vec<&str> = ended
        .stdout
        .lines()
        .filter_map(|line| line.split_once("--decide ")?.1.split_once(' '))
        .map(|(word, _)| word)
        .collect();
    assert_eq!(offered, choices, "{ended:#?}");
    assert_eq!(place.files(), before);
    ended
}

#[track_caller]
fn decided(place: &Place, choice: &str) {
    let ended = decide(place, choice);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let ledger = place.state("ledger.jsonl").unwrap();
    assert!(ledger.contains("\"by\":\"Ada\""), "{ledger}");
}

#[test]
fn where_nothing_needs_a_person_nothing_is_decided() {
    let place = Plan::new().start();
    let ended = shown(&place, 0, &[]);
    assert!(
        ended.stdout.contains("nothing needs a person"),
        "{ended:#?}"
    );
    place.exchange.sell("5");
    place.leave_in_flight();
    let ended = shown(&place, 0, &[]);
    assert!(
        ended
            .stdout
            .contains("a batch is in flight, and it is not applied"),
        "{ended:#?}"
    );
    let before = place.files();
    let ended = decide(&place, "never");
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(place.files(), before);
}

/// The folder was restored from a backup that lacks the last Issue: it is adopted, and nothing is issued twice.
#[test]
fn a_restored_backup_learns_what_it_forgot() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    copy(&place, "backup");
    place.configure("", QUICK, "");
    let mut forgotten = Vec::new();
    for quantity in ["7", "2"] {
        place.exchange.sell(quantity);
        let ended = place.run().expect(0, "issued", quantity);
        forgotten.push(ended.json()["hash"].as_str().unwrap().to_owned());
    }
    restore(&place, "backup");
    place.exchange.sell("1");
    place.run().fails(65, &["bitmart-issuer resolve"]);
    for (hash, quantity) in forgotten.iter().zip(["7", "2"]) {
        let adopt = format!("adopt:{hash}");
        shown(&place, 65, &[&adopt, &format!("others:{quantity}")]);
        decided(&place, &adopt);
        place.run().expect(0, "settled", quantity);
    }
    shown(&place, 0, &[]);
    place.run().expect(0, "issued", "1");
    place.settled();
    assert_eq!(place.chain.issues().len(), 4);
}

/// Two hosts had copies of one folder, and both were in flight; the one that lost gives its batch up, adopts what the
/// other issued, and issues the rest.
#[test]
fn a_copied_folder_is_brought_together_again() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    copy(&place, "second");
    place.exchange.sell("5");
    place.leave_in_flight();
    copy(&place, "first");
    restore(&place, "second");
    place.exchange.sell("7");
    place.leave_in_flight();
    copy(&place, "second");
    restore(&place, "first");
    let issued = place.run().expect(0, "settled", "5");
    restore(&place, "second");
    place.configure("", QUICK, "");
    place.run().fails(75, &["the total issued has grown"]);
    let ended = shown(&place, 75, &["never"]);
    assert!(ended.stdout.contains("no block from"), "{ended:#?}");
    decided(&place, "never");
    place.run().fails(65, &["accounts for 0"]);
    let adopt = format!("adopt:{}", issued.json()["hash"].as_str().unwrap());
    shown(&place, 65, &[&adopt, "others:5"]);
    decided(&place, &adopt);
    place.run().expect(0, "settled", "5");
    place.run().expect(0, "issued", "7");
    place.settled();
}

/// The node lost its index just when the Issue was committed: its block still holds it.
#[test]
fn an_issue_that_no_index_shows_is_found_in_its_block() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place.configure("", "confirm = \"1s\"", "");
    place
        .chain
        .fail_next_submit(SubmitFault::TimeoutThenCommit(Duration::from_secs(3)));
    let ended = place.run();
    let hash = ended.json()["hash"].as_str().unwrap().to_owned();
    ended.fails(75, &[&hash]);
    place.wait_until("the commit", || place.chain.issues().len() == 1);
    place.chain.wait_until_idle();
    place.chain.forget_index();
    place.run().fails(75, &[&hash, "bitmart-issuer resolve"]);
    let applied = format!("applied:{hash}");
    shown(&place, 75, &[&applied]);

    // Only what is offered, and signed with a name and a reason.
    let before = place.files();
    for wrong in ["never", "applied:x", "others:5", ""] {
        let ended = decide(&place, wrong);
        assert_eq!(ended.code, 64, "{ended:#?}");
        assert!(ended.stderr.contains(&applied), "{ended:#?}");
    }
    for unsigned in [
        ["--by", "", "--why", "because"],
        ["--by", "Ada", "--why", " "],
        ["--by", "Ada\n", "--why", "because"],
    ] {
        let mut args = vec!["resolve", "--decide", &applied];
        args.extend(unsigned);
        assert_eq!(place.issuer(&args).code, 64, "{args:?}");
    }
    assert_eq!(place.files(), before);

    decided(&place, &applied);
    place.settled();
    place.run().expect(0, "nothing_new", "0");
}

#[test]
fn a_hash_that_is_taken_has_no_choice_but_a_way_out() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place.leave_in_flight();
    place
        .chain
        .record_price(500_000_000, place.chain.sequence() + 1);
    place.chain.wait_until_idle();
    place.configure("", QUICK, "");
    place.run().fails(75, &["has taken the hash"]);
    let ended = shown(&place, 75, &[]);
    assert!(ended.stdout.contains("any other transaction"), "{ended:#?}");
    place.chain.use_up_sequence();
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn what_others_issued_is_accounted_for_once_a_person_says_so() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    let mut other = Plan::new();
    other.ndau = format!("api = \"{}\"", place.chain.url());
    let other = other.start();
    other.exchange.sell("3");
    other.run().expect(0, "issued", "3");
    place.chain.wait_until_idle();
    place.exchange.sell("5");
    place.configure("", QUICK, "");
    place.run().fails(65, &["has issued 3 ndau"]);
    shown(&place, 65, &["others:3"]);
    decided(&place, "others:3");
    place.run().expect(0, "issued", "5");
    assert_eq!(place.chain.issued_napu(), 800_000_000);
}

/// The cursor was made with another key, and the exchange shows nothing that it knows.
#[test]
fn a_key_that_nothing_proves_is_vouched_for() {
    let place = Plan::new().start();
    place.exchange.buy("5");
    place.run().expect(0, "nothing_new", "0");
    let mut cursor: serde_json::Value =
        serde_json::from_str(&place.state("cursor.json").unwrap()).unwrap();
    cursor["at"]["account"] = "0123456789abcdef".into();
    cursor["seen"][0]["trade"] = "7".into();
    place.write("state/cursor.json", &cursor.to_string(), 0o600);
    place.exchange.sell("5");
    place.run().fails(65, &["another account's key"]);
    shown(&place, 65, &["same-account"]);
    decided(&place, "same-account");
    place.run().expect(0, "issued", "5");
}

/// No run for more than three months: the exchange no longer shows what was sold since.
#[test]
fn a_gap_that_cannot_be_read_is_skipped_on_record() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    let mut cursor: serde_json::Value =
        serde_json::from_str(&place.state("cursor.json").unwrap()).unwrap();
    let long_ago = place.exchange.now_ms() - 100 * 24 * 60 * 60 * 1000;
    cursor["start"]["time_ms"] = long_ago.into();
    cursor["at"]["time_ms"] = long_ago.into();
    place.write("state/cursor.json", &cursor.to_string(), 0o600);
    place.exchange.sell("5");
    place.run().fails(65, &["three months"]);
    shown(&place, 65, &["skip"]);
    decided(&place, "skip");
    place.run().expect(0, "issued", "5");
}

/// The folder is new, and an earlier Issue happens to be of the same sum as its sales.
#[test]
fn a_first_run_that_looks_issued_goes_on_once_a_person_says_that_it_is_not() {
    let other = Plan::new().start();
    other.exchange.sell("5");
    other.run().expect(0, "issued", "5");
    other.chain.wait_until_idle();
    let mut plan = Plan::new();
    plan.from = "beginning";
    plan.ndau = format!("api = \"{}\"", other.chain.url());
    let place = plan.start();
    place.exchange.sell("5");
    place.run().fails(65, &["seem issued already"]);
    shown(&place, 65, &["others:5"]);
    decided(&place, "others:5");
    shown(&place, 0, &[]);
    place.run().expect(0, "issued", "5");
    place.run().expect(0, "nothing_new", "0");
    assert_eq!(other.chain.issued_napu(), 1_000_000_000);
}
