//! An exchange and a chain that show one thing and then another: no sale is lost, none is issued twice, and what cannot
//! be told ends with 75 and the hash.

use std::thread;
use std::time::Duration;

use crate::support::{Ended, Place, Plan, free_port, key};
use sandbox::chain::SubmitFault;
use sandbox::exchange::{NewTrade, Order};
use sandbox::{Fault, NodeTrouble};

fn with_a_sale() -> Place {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place
}

/// The same with a chain whose blocks take this long.
fn with_a_sale_and_slow_blocks(block_time: Duration) -> Place {
    let mut plan = Plan::new();
    plan.chain.block_time = block_time;
    let place = plan.start();
    place.exchange.sell("5");
    place
}

/// How many submissions the chain has seen.
fn submissions(place: &Place) -> usize {
    let requests = place.chain.requests();
    let submissions = requests
        .iter()
        .filter(|one| one.path.starts_with("/tx/submit/"));
    submissions.count()
}

/// It ended with 75, said `parts`, and named the hash of the batch in flight.
#[track_caller]
fn in_doubt(place: &Place, ended: Ended, parts: &[&str]) {
    let status = place.issuer(&["status", "--json"]).json();
    let hash = status["pending"]["candidates"][0]["hash"].as_str().unwrap();
    ended.fails(75, &[&[hash], parts].concat());
}

#[test]
fn trades_that_come_and_go_in_any_order_and_twice_are_each_issued_once() {
    let mut plan = Plan {
        from: "beginning",
        ..Plan::new()
    };
    plan.exchange.v4_order = Order::Shuffled;
    plan.exchange.v4_rate_limit = None;
    let place = plan.start();
    place.exchange.set_repeat_trades(true);
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) % below
    };
    let mut trades = Vec::new();
    let mut issues = 0;
    for round in 0..15 {
        for _ in 0..next(4) {
            // Some are five days old when they show up.
            let age_ms = i64::try_from(next(5 * 24 * 3_600_000)).unwrap();
            let quantity = format!("0.0000{:04}", next(9999) + 1);
            let time_ms = place.exchange.now_ms() - age_ms;
            trades.push(place.exchange.add(NewTrade::sell(&quantity, time_ms)));
        }
        for trade in &trades {
            match next(3) {
                0 => place.exchange.hide(*trade),
                _ => place.exchange.show(*trade),
            }
        }
        let ended = place.run();
        assert_eq!(ended.code, 0, "round {round}: {ended:#?}");
        assert!(place.chain.issued_napu() <= place.exchange.sold_napu());
        issues += usize::from(ended.json()["outcome"] == "issued");
        assert_eq!(place.chain.issues().len(), issues);
    }
    for trade in &trades {
        place.exchange.show(*trade);
    }
    assert_eq!(place.run().code, 0);
    place.settled();
    place.run().expect(0, "nothing_new", "0");
}

#[test]
fn a_sale_that_is_retracted_after_it_was_issued_is_not_issued_again_when_it_comes_back() {
    let place = Plan::new().start();
    let sale = place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    place.exchange.hide(sale);
    place.run().expect(0, "nothing_new", "0");
    place.exchange.sell("7");
    place.run().expect(0, "issued", "7");
    place.exchange.show(sale);
    place.run().expect(0, "nothing_new", "0");
    place.settled();
}

#[test]
fn a_sale_that_is_retracted_while_it_is_in_flight_is_issued_once() {
    let place = Plan::new().start();
    let sale = place.exchange.sell("5");
    place.leave_in_flight();
    place.exchange.hide(sale);
    place.run().expect(0, "settled", "5");
    place.run().expect(0, "nothing_new", "0");
    place.exchange.show(sale);
    place.run().expect(0, "nothing_new", "0");
    place.settled();
}

/// Its batch could never be applied and was dropped, and then the exchange did not show it.
#[test]
fn a_sale_that_is_retracted_when_its_batch_is_built_anew_waits_until_it_shows_again() {
    let place = Plan::new().start();
    let sale = place.exchange.sell("5");
    place.leave_in_flight();
    place.chain.use_up_sequence();
    place.exchange.hide(sale);
    place.configure("", "confirm = \"2s\"", "");
    place.run().expect(0, "nothing_new", "0");
    assert_eq!(place.chain.issues(), []);
    place.exchange.show(sale);
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_sale_that_was_too_young_and_is_retracted_is_issued_when_it_shows_again() {
    let place = Plan::new().start();
    let sale = place.exchange.sell("5");
    let toml = std::fs::read_to_string(place.path("bitmart/issuer.toml")).unwrap();
    let patient = toml.replace("settle = \"0s\"", "settle = \"1h\"");
    place.write("bitmart/issuer.toml", &patient, 0o644);
    let ended = place.run().expect(0, "nothing_new", "0");
    assert_eq!(ended.json()["waiting"], 1);
    place.write("bitmart/issuer.toml", &toml, 0o644);
    place.exchange.hide(sale);
    place.run().expect(0, "nothing_new", "0");
    assert_eq!(place.chain.issues(), []);
    place.exchange.show(sale);
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_trade_that_becomes_visible_late_with_an_old_time_is_issued_then() {
    let mut plan = Plan {
        from: "beginning",
        ..Plan::new()
    };
    plan.exchange.v4_rate_limit = None;
    let place = plan.start();
    place.exchange.sell("5");
    place.run().expect(0, "issued", "5");
    let day = 24 * 3_600_000;
    for age_ms in [1, day, 6 * day - 60_000] {
        let time_ms = place.exchange.now_ms() - age_ms;
        place.exchange.add(NewTrade::sell("3", time_ms));
        place.run().expect(0, "issued", "3");
        place.settled();
    }
    place.run().expect(0, "nothing_new", "0");
}

/// It used up no sequence: it is not applied, and still could be.
#[test]
fn a_200_for_an_issue_that_failed_in_its_block_is_in_doubt_and_submitted_again_by_the_next_run() {
    let place = with_a_sale();
    place.configure("", "confirm = \"1s\"", "");
    place.chain.fail_next_submit(SubmitFault::FailInBlock);
    in_doubt(&place, place.run(), &["the next run settles it"]);
    assert_eq!(place.chain.issues(), []);
    place
        .run_with(|_, _| panic!("it listens"))
        .expect(0, "settled", "5");
    place.settled();
}

#[test]
fn a_400_for_an_issue_that_commits_later_is_one_issue_however_often_it_is_submitted_meanwhile() {
    let place = with_a_sale();
    place.configure("", "confirm = \"200ms\"", "");
    let mut doubts = 0;
    loop {
        let late = SubmitFault::TimeoutThenCommit(Duration::from_secs(4));
        place.chain.fail_next_submit(late);
        let ended = place.run();
        if ended.code == 0 {
            ended.expect(0, "settled", "5");
            break;
        }
        in_doubt(&place, ended, &[]);
        doubts += 1;
    }
    assert!(doubts > 0 && submissions(&place) >= doubts);
    // The copies that wait behind it come to nothing.
    assert!(place.chain.wait_until_idle());
    place.run().expect(0, "nothing_new", "0");
    place.settled();
    assert_eq!(place.chain.issues().len(), 1);
}

/// It appears between the building of the `Issue` and its submission, which is answered 202.
#[test]
fn a_202_for_a_foreign_transaction_is_not_taken_for_ours() {
    let place = with_a_sale();
    let ended = place.run_with(|place, url| {
        let next = place.chain.sequence() + 1;
        place.chain.record_price(500_000_000, next);
        Some(place.signer(url, &[key(1)]))
    });
    in_doubt(&place, ended, &["foreign transaction", "single sale"]);
    assert_eq!(place.chain.issues(), []);
    in_doubt(&place, place.run(), &["foreign transaction"]);
    assert_eq!(submissions(&place), 0);

    // Of several sales one is left for the next batch. What is built instead is signed in the same run.
    let place = with_a_sale();
    place.exchange.sell("7");
    let fixed = format!("ws://127.0.0.1:{}/signer", free_port());
    place.configure("", "", &format!("listen = \"{fixed}\""));
    let ended = thread::scope(|scope| {
        let signer = scope.spawn(|| {
            place.wait_until("the batch", || place.state("pending.json").is_some());
            let next = place.chain.sequence() + 1;
            place.chain.record_price(1_200_000_000, next);
            place.signer(&fixed, &[key(1)])
        });
        let ended = place.issuer(&["run", "--json"]);
        let _ = signer.join().unwrap().kill();
        ended
    });
    ended.expect(0, "issued", "5");
    assert_eq!(submissions(&place), 1);
    place.configure("", "", "");
    place.run().expect(0, "issued", "7");
    place.settled();
}

/// Only the totals could tell, and they trail a block.
#[test]
fn a_neighbours_body_is_not_taken_for_ours_before_the_totals_have_grown() {
    let place = with_a_sale_and_slow_blocks(Duration::from_secs(3));
    place.configure("", "confirm = \"200ms\"", "");
    place.chain.shift_offset_of_next_submit();
    let body = "another transaction's body under our hash";
    in_doubt(&place, place.run(), &[body]);
    assert!(place.chain.wait_until_idle());
    place.run().expect(0, "settled", "5");
    place.settled();
}

/// The index was lost, and is filled again from there on: it shows what used up a later sequence, and nothing of ours.
#[test]
fn an_index_with_a_hole_does_not_make_an_applied_issue_dead() {
    let place = with_a_sale();
    place.configure("", "confirm = \"1s\"", "");
    place
        .chain
        .fail_next_submit(SubmitFault::TimeoutThenCommit(Duration::from_secs(4)));
    in_doubt(&place, place.run(), &["Timed out waiting for tx"]);
    place.wait_until("the commit", || place.chain.issues().len() == 1);
    assert!(place.chain.wait_until_idle());
    place.chain.forget_index();
    place.chain.use_up_sequence();
    assert!(place.chain.wait_until_idle());
    for _ in 0..2 {
        in_doubt(&place, place.run(), &["total issued has grown"]);
    }
    assert_eq!(place.chain.issues().len(), 1);
}

#[test]
fn not_found_and_then_found_after_the_runs_gave_up_is_settled_by_a_later_one() {
    let place = with_a_sale();
    place.chain.set_index_delay(Duration::from_secs(3600));
    place.configure("", "confirm = \"500ms\"", "");
    let lost = SubmitFault::DropConnectionThenCommit(Duration::ZERO);
    place.chain.fail_next_submit(lost);
    in_doubt(&place, place.run(), &[]);
    place.wait_until("the block", || place.chain.sequence() > 2);
    for _ in 0..2 {
        in_doubt(&place, place.run(), &["no node shows by which transaction"]);
    }
    place.chain.set_index_delay(Duration::ZERO);
    assert!(place.chain.wait_until_idle());
    place.run().expect(0, "settled", "5");
    place.settled();
    assert_eq!(submissions(&place), 1);
}

#[test]
fn a_lagging_node_alone_neither_settles_nor_loses_what_others_have_applied() {
    let place = with_a_sale();
    let lagging = place.chain.lagging_node();
    lagging.freeze();
    let (only, all) = (
        format!("api = \"{}\"\nconfirm = \"1s\"", lagging.url()),
        format!("api = [\"{}\", \"{}\"]", lagging.url(), place.chain.url()),
    );
    // It hands on what it admits, and never learns what became of it.
    place.configure("", &only, "");
    in_doubt(&place, place.run(), &["the next run settles it"]);
    place.wait_until("the commit", || place.chain.issues().len() == 1);
    in_doubt(&place, place.run(), &["the next run settles it"]);
    place.configure("", &all, "");
    place.run().expect(0, "settled", "5");
    place.settled();
    // With nothing in flight it is known to be behind.
    place.exchange.sell("7");
    place.configure("", &only, "");
    place.run().fails(69, &[&lagging.url(), "behind"]);
    place.configure("", &all, "");
    place.run().expect(0, "issued", "7");
    place.settled();
}

#[test]
fn a_node_whose_parts_fail_after_the_submission_leaves_it_in_doubt() {
    for trouble in [
        NodeTrouble::IndexDown,
        NodeTrouble::TendermintDown,
        NodeTrouble::ApplicationDown,
    ] {
        let place = with_a_sale_and_slow_blocks(Duration::from_secs(1));
        place.configure("", "confirm = \"1s\"", "");
        place
            .chain
            .fail_next_submit(SubmitFault::CommitThenDropConnection);
        let ended = thread::scope(|scope| {
            scope.spawn(|| {
                place.wait_until("the submission", || submissions(&place) == 1);
                place.chain.set_fault(Some(Fault::Node(trouble)));
            });
            place.run()
        });
        in_doubt(&place, ended, &["the next run settles it"]);
        assert_eq!(place.chain.issues().len(), 1);
        place.chain.set_fault(None);
        place.run().expect(0, "settled", "5");
        place.settled();
    }
}
