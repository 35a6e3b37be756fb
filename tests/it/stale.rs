//! State that is not the newest, or not the only one, and nodes that are not the newest: noticed before anything is
//! issued twice.

use std::fs;
use std::time::Duration;

use crate::support::{Place, Plan};
use sandbox::Fault;
use sandbox::chain::SubmitFault;

pub fn copy(place: &Place, to: &str) {
    let to = place.path(to);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(place.path("state")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub fn restore(place: &Place, from: &str) {
    fs::remove_dir_all(place.path("state")).unwrap();
    fs::rename(place.path(from), place.path("state")).unwrap();
}

/// A backup of the state folder was restored after a newer batch had been issued; the run issued that again. With slow
/// blocks the total issued, which trails by one, does not show that batch yet when the run begins.
#[test]
fn a_restored_backup_is_noticed_even_while_the_totals_trail() {
    for block_time in [Duration::from_millis(20), Duration::from_secs(3)] {
        let mut plan = Plan::new();
        plan.chain.block_time = block_time;
        let place = plan.start();
        place.exchange.sell("5");
        place.run().expect(0, "issued", "5");
        copy(&place, "backup");
        place.exchange.sell("7");
        place.run().expect(0, "issued", "7");
        restore(&place, "backup");
        place
            .run()
            .fails(65, &["has issued 12 ndau", "accounts for 5", "restored"]);
        assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
    }
}

/// Two hosts had copies of one folder, and each a batch in flight with the same sequence; the one that lost took its
/// batch for dead and issued it anew, the sales that both had in common included.
#[test]
fn a_copied_folder_is_noticed() {
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
    place.run().expect(0, "settled", "5");
    restore(&place, "second");
    place.configure("", "confirm = \"2s\"", "");
    place.run().fails(75, &["the total issued has grown"]);
    assert_eq!(place.chain.issued_napu(), 500_000_000);
}

#[test]
fn others_that_issue_are_a_mistake_unless_they_are_expected() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    let mut other = Plan::new();
    other.ndau = format!("api = \"{}\"", place.chain.url());
    let other = other.start();
    other.exchange.sell("3");
    other.run().expect(0, "issued", "3");
    // The totals trail by a block.
    place.chain.wait_until_idle();

    place.exchange.sell("5");
    place
        .run()
        .fails(65, &["has issued 3 ndau", "accounts for 0", "sole_issuer"]);
    place.configure("", "sole_issuer = false", "");
    place.run().expect(0, "issued", "5");
    assert_eq!(place.chain.issued_napu(), 800_000_000);
}

/// A crash came between the ledger's line and the cursor, and then the node lost its index: the line is proof enough.
#[test]
fn a_line_in_the_ledger_needs_no_second_proof() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place.leave_in_flight();
    let (pending, cursor) = (
        place.state("pending.json").unwrap(),
        place.state("cursor.json").unwrap(),
    );
    place.run().expect(0, "settled", "5");
    place.write("state/pending.json", &pending, 0o600);
    place.write("state/cursor.json", &cursor, 0o600);
    place.chain.forget_index();
    place.run().expect(0, "settled", "5");
    place.settled();
    place.run().expect(0, "nothing_new", "0");
}

#[test]
fn a_frozen_node_is_passed_over_for_a_newer_one() {
    let place = Plan::new().start();
    let frozen = place.chain.lagging_node();
    frozen.freeze();
    place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    place.exchange.sell("7");
    let api = format!("api = [\"{}\", \"{}\"]", frozen.url(), place.chain.url());
    place.configure("", &api, "");
    place.run().expect(0, "issued", "7");
    place.settled();
}

#[test]
fn what_a_frozen_node_has_not_seen_is_found_on_a_newer_one() {
    let place = Plan::new().start();
    let frozen = place.chain.lagging_node();
    frozen.freeze();
    place.exchange.sell("5");
    place.configure("", "confirm = \"200ms\"", "");
    place
        .chain
        .fail_next_submit(SubmitFault::TimeoutThenCommit(Duration::from_secs(5)));
    place.run().fails(75, &[]);
    place.wait_until("the commit", || place.chain.issues().len() == 1);
    let api = format!("api = [\"{}\", \"{}\"]", frozen.url(), place.chain.url());
    place.configure("", &format!("{api}\nconfirm = \"20s\""), "");
    place.run().expect(0, "settled", "5");
    place.settled();
}

/// The sequence was read before the exchange, which took its time; another transaction took it meanwhile.
#[test]
fn a_sequence_used_up_while_the_exchange_is_read_is_not_tried() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place
        .exchange
        .set_fault(Some(Fault::Slow(Duration::from_secs(1))));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            place.wait_until("the request", || !place.exchange.requests().is_empty());
            place.chain.use_up_sequence();
        });
        place.run().expect(0, "issued", "5");
    });
    place.settled();
}

#[test]
fn an_issuers_account_that_changed_is_refused() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    let cursor = place.state("cursor.json").unwrap();
    let other = cursor.replace(
        &place.chain.address(),
        "ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y",
    );
    assert_ne!(cursor, other);
    place.write("state/cursor.json", &other, 0o600);
    place.exchange.sell("5");
    place.run().fails(78, &["the issuer's account"]);
    assert_eq!(place.chain.issues(), []);
}

/// The state folder was lost and begun anew from too early a moment: what it would have issued was issued already.
#[test]
fn a_lost_folder_that_is_begun_anew_too_early_is_noticed() {
    let place = Plan::new().start();
    for quantities in [&["5", "2"][..], &["1", "7", "4"]] {
        for quantity in quantities {
            place.exchange.sell(quantity);
            let now = place.exchange.now_ms();
            place.wait_until("the next millisecond", || place.exchange.now_ms() > now);
        }
        let sum: u64 = quantities.iter().map(|q| q.parse::<u64>().unwrap()).sum();
        place.run().expect(0, "issued", &sum.to_string());
    }
    let ledger = place.state("ledger.jsonl").unwrap();
    let last: serde_json::Value = serde_json::from_str(ledger.lines().last().unwrap()).unwrap();
    let last = last["trades"][2]["trade"].as_str().unwrap().to_owned();
    fs::remove_dir_all(place.path("state")).unwrap();
    let begin = |from: &str| {
        let _ = fs::remove_file(place.path("state/cursor.json"));
        assert_eq!(place.issuer(&["init", "--from", from]).code, 0);
    };

    begin("beginning");
    place.exchange.sell("3");
    let advice = format!("init --from {last}");
    let before = place.files();
    for args in [&["run", "--json"][..], &["run", "--dry-run", "--json"]] {
        place
            .issuer(args)
            .fails(65, &["seem issued already", &advice]);
    }
    assert_eq!(place.files(), before);
    begin(&last);
    place.run().expect(0, "issued", "3");
    assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
}
