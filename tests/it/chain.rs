//! What a run makes of a chain that answers one thing and does another.

use std::time::Duration;

use crate::support::{Place, Plan, free_port, key};
use sandbox::Fault;
use sandbox::chain::{SubmitFault, Taken};

fn with_a_sale() -> Place {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place
}

#[test]
fn answers_that_are_lost_or_late_end_in_one_issue() {
    let short = Duration::from_millis(300);
    for fault in [
        SubmitFault::TimeoutThenCommit(short),
        SubmitFault::GatewayTimeoutThenCommit(short),
        SubmitFault::DropConnectionThenCommit(short),
        SubmitFault::CommitThenDropConnection,
        SubmitFault::CommitThenCutAnswer,
    ] {
        let place = with_a_sale();
        place.chain.fail_next_submit(fault);
        place.run().expect(0, "issued", "5");
        place.settled();
        place.run().expect(0, "nothing_new", "0");
    }
}

#[test]
fn what_was_never_committed_is_submitted_again_by_the_next_run() {
    for fault in [
        SubmitFault::TimeoutAndDrop,
        SubmitFault::NodeDied,
        SubmitFault::DropConnectionBefore,
    ] {
        let place = with_a_sale();
        let cursor = place.state("cursor.json");
        place.configure("", "confirm = \"2s\"", "");
        place.chain.fail_next_submit(fault);
        let ended = place.run();
        let hash = ended.json()["hash"].as_str().unwrap().to_owned();
        ended.fails(75, &[&hash, "the next run settles it"]);
        place.untouched(&cursor);
        // It is signed already: nobody needs to sign again.
        place
            .run_with(|_, _| panic!("it listens"))
            .expect(0, "settled", "5");
        place.settled();
    }
}

#[test]
fn a_commit_after_the_run_gave_up_is_found_by_the_next() {
    let place = with_a_sale();
    place.configure("", "confirm = \"200ms\"", "");
    place
        .chain
        .fail_next_submit(SubmitFault::TimeoutThenCommit(Duration::from_secs(5)));
    place.run().fails(75, &["Timed out waiting for tx"]);
    place.wait_until("the commit", || place.chain.issues().len() == 1);
    place.configure("", "", "");
    place.run().expect(0, "settled", "5");
    place.settled();
}

#[test]
fn an_index_that_is_late_is_waited_for() {
    let mut plan = Plan::new();
    plan.chain.index_delay = Duration::from_secs(1);
    let place = plan.start();
    place.exchange.sell("5");
    place
        .chain
        .fail_next_submit(SubmitFault::CommitThenDropConnection);
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_sequence_that_others_use_up_costs_no_sale() {
    for taken in [Taken::BeforeAdmission, Taken::AfterAdmission] {
        let place = with_a_sale();
        place.chain.take_sequence_before_next_submit(taken);
        // The batch is built anew in the same run, so the signer comes twice, to the same address.
        let url = format!("ws://127.0.0.1:{}/signer", free_port());
        place.configure("", "confirm = \"4s\"", &format!("listen = \"{url}\""));
        let signer = place.signer(&url, &[key(1)]);
        let ended = place.issuer(&["run", "--json"]).expect(0, "issued", "5");
        assert!(ended.stderr.contains("used up the sequence"), "{ended:#?}");
        let _ = signer.kill();
        place.settled();
        assert_eq!(place.chain.issues().len(), 1);
    }
}

#[test]
fn a_sequence_used_up_long_ago_frees_the_batch() {
    let place = with_a_sale();
    place.leave_in_flight();
    place.chain.use_up_sequence();
    place.chain.wait_until_idle();
    place.configure("", "confirm = \"4s\"", "");
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_neighbours_body_under_our_hash_is_seen_through() {
    let place = with_a_sale();
    place.chain.shift_offset_of_next_submit();
    place.run().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_foreign_transaction_with_our_hash_before_is_passed_by() {
    let place = with_a_sale();
    let next = place.chain.sequence() + 1;
    place.chain.record_price(500_000_000, next);
    let ended = place.run().expect(0, "issued", "5");
    assert_eq!(ended.json()["sequence"], next + 1);
    place.settled();
}

#[test]
fn a_foreign_transaction_that_takes_our_hash_meanwhile_costs_no_sale() {
    let place = Plan::new().start();
    for quantity in ["5", "6", "7"] {
        place.exchange.sell(quantity);
        let now = place.exchange.now_ms();
        place.wait_until("the next millisecond", || place.exchange.now_ms() > now);
    }
    place.leave_in_flight();
    place
        .chain
        .record_price(1_800_000_000, place.chain.sequence() + 1);
    place.chain.wait_until_idle();
    // One sale fewer has another hash with the same sequence; the one left over is issued next.
    place.run().expect(0, "settled", "11");
    place.run().expect(0, "issued", "7");
    place.settled();

    // A single sale cannot be made smaller: a person looks.
    let place = with_a_sale();
    place.leave_in_flight();
    place
        .chain
        .record_price(500_000_000, place.chain.sequence() + 1);
    place.chain.wait_until_idle();
    place
        .run()
        .fails(75, &["foreign transaction", "single sale"]);
}

#[test]
fn a_node_that_lost_its_index_is_not_believed() {
    let place = with_a_sale();
    place.configure("", "confirm = \"200ms\"", "");
    place
        .chain
        .fail_next_submit(SubmitFault::TimeoutThenCommit(Duration::from_secs(5)));
    place.run().fails(75, &[]);
    place.wait_until("the commit", || place.chain.issues().len() == 1);
    place.chain.wait_until_idle();
    place.chain.forget_index();
    place.configure("", "confirm = \"2s\"", "");
    place.run().fails(75, &["total issued has grown"]);
    assert_eq!(place.chain.issues().len(), 1);
}

#[test]
fn a_refusal_by_the_accounts_script_is_told_in_the_chains_words() {
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    plan.chain.required_signatures = Some(2);
    plan.ndau = "signatures = 1".to_owned();
    let place = plan.start();
    place.exchange.sell("5");
    place
        .run()
        .fails(77, &["validation script exited with non-0 exit code"]);
    assert_eq!(place.chain.issues(), []);
}

#[test]
fn a_chain_that_dies_after_the_submission_leaves_it_in_doubt() {
    let place = with_a_sale();
    place.configure("", "confirm = \"1s\"", "");
    let dies = Fault::OnPath("/tx/submit".to_owned(), Box::new(Fault::Down));
    place.chain.set_fault(Some(dies));
    place.run().fails(75, &["no clear answer"]);
    place.chain.set_fault(None);
    place.run().expect(0, "settled", "5");
    place.settled();
}
