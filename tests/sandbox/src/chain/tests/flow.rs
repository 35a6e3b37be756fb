//! What becomes of submitted transactions.

use super::*;

#[test]
fn an_issue_is_applied_once_and_known_afterwards() {
    let chain = Chain::start(Settings {
        fee_napu: 10_000_000,
        balance_napu: 100_000_000,
        ..settings()
    });
    let body = issue(500_000_000, 3);
    let hash = "5q1jqafoXj5QjZ4e8Smn_Q";
    let (status, answer) = submit(&chain, &body);
    assert_eq!(
        (status, answer),
        (200, format!("{{\"hash\":\"{hash}\",\"code\":0}}"))
    );
    let known = format!("{{\"hash\":\"{hash}\",\"msg\":\"tx already committed\",\"code\":1002}}");
    assert_eq!(submit(&chain, &body), (202, known));
    let found = detail(&chain, hash);
    assert_eq!(found["BlockHeight"], 6);
    assert_eq!(found["Fee"], 10_000_000);
    assert_eq!(found["TxData"]["qty"], 500_000_000);
    assert_eq!((chain.issued_napu(), chain.sequence()), (500_000_000, 3));
    assert_eq!(chain.balance_napu(), 90_000_000);
    let issues = chain.issues();
    assert_eq!(issues.len(), 1);
    assert_eq!((issues[0].qty, issues[0].height), (500_000_000, 6));
}

/// The first of two equal submits in one block is applied, both are answered 200.
#[test]
fn two_equal_submits_in_flight_are_both_answered_200() {
    let chain = Chain::start(Settings {
        block_time: Duration::from_millis(500),
        ..settings()
    });
    let body = issue(33, 3);
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| submit(&chain, &body)));
        for one in both {
            assert_eq!(one.join().expect("no panic").0, 200);
        }
    });
    assert_eq!(chain.issued_napu(), 33);
    let hash = issue_hash(33, 3);
    assert_eq!(
        get(&chain, "/block/transactions/6"),
        (200, format!("[\"{hash}\",\"{hash}\"]"))
    );
}

#[test]
fn a_200_may_have_failed_in_its_block() {
    let chain = Chain::start(settings());
    chain.take_sequence_before_next_submit(Taken::AfterAdmission);
    assert_eq!(submit(&chain, &issue(77, 3)).0, 200);
    assert_eq!((chain.issued_napu(), chain.sequence()), (0, 3));
    assert_eq!(detail(&chain, &issue_hash(77, 3)), Value::Null);
}

#[test]
fn a_200_may_have_failed_in_its_block_and_left_the_sequence() {
    let chain = Chain::start(Settings {
        fee_napu: 10_000_000,
        balance_napu: 100_000_000,
        ..settings()
    });
    chain.fail_next_submit(SubmitFault::FailInBlock);
    assert_eq!(submit(&chain, &issue(77, 3)).0, 200);
    assert_eq!((chain.issued_napu(), chain.sequence()), (0, 2));
    assert_eq!(detail(&chain, &issue_hash(77, 3)), Value::Null);
    assert_eq!(submit(&chain, &issue(77, 3)).0, 200);
    assert_eq!((chain.issued_napu(), chain.sequence()), (77, 3));
}

#[test]
fn a_sequence_taken_before_the_door_is_too_low() {
    let chain = Chain::start(settings());
    chain.take_sequence_before_next_submit(Taken::BeforeAdmission);
    let (status, answer) = submit(&chain, &issue(77, 3));
    assert_eq!(status, 400);
    assert!(
        answer.ends_with("\"log\":\"sequence too low\"}"),
        "{answer}"
    );
    assert_eq!(chain.use_up_sequence(), 4);
}

/// Hash and height are right, type and data are those of a transaction that failed.
#[test]
fn a_failed_neighbour_shifts_what_the_detail_shows() {
    let chain = Chain::start(settings());
    chain.shift_offset_of_next_submit();
    assert_eq!(submit(&chain, &issue(88, 3)).0, 200);
    let found = detail(&chain, &issue_hash(88, 3));
    assert_eq!(found["TxHash"], issue_hash(88, 3).as_str());
    assert_eq!(
        (&found["BlockHeight"], &found["TxOffset"]),
        (&6.into(), &1.into())
    );
    assert_eq!(
        (&found["TxType"], &found["TxData"]["sequence"]),
        (&"RecordPrice".into(), &1.into())
    );
    assert_eq!(chain.issued_napu(), 88);
}

/// The total of an Issue shows with the next block, which is empty and follows by itself.
#[test]
fn the_issued_total_lags_one_block() {
    let chain = Chain::start(Settings {
        block_time: Duration::from_millis(700),
        ..settings()
    });
    let issued = || {
        let (_, body) = get(&chain, "/price/current");
        serde_json::from_str::<Value>(&body).expect("JSON")["totalIssued"].clone()
    };
    assert_eq!(issued(), 0);
    assert_eq!(submit(&chain, &issue(300, 3)).0, 200);
    assert_eq!((issued(), chain.height()), (0.into(), 6));
    until("the empty block", || chain.height() == 7);
    assert_eq!(issued(), 300);
    assert!(chain.wait_until_idle());
    assert_eq!(chain.height(), 7);
}

/// The sequence moves with the execution; height, index and answer come with the commit.
#[test]
fn the_index_follows_the_sequence() {
    let chain = Chain::start(Settings {
        index_delay: Duration::from_secs(1),
        ..settings()
    });
    std::thread::scope(|scope| {
        let submitted = scope.spawn(|| submit(&chain, &issue(9, 3)));
        until("the execution", || chain.sequence() == 3);
        assert_eq!(detail(&chain, &issue_hash(9, 3)), Value::Null);
        assert_eq!(chain.height(), 5);
        assert_eq!(submitted.join().expect("no panic").0, 200);
    });
    assert_eq!(detail(&chain, &issue_hash(9, 3))["BlockHeight"], 6);
}

#[test]
fn another_type_with_the_same_numbers_hides_an_issue() {
    let chain = Chain::start(settings());
    let hash = chain.record_price(12_345, 3);
    assert_eq!(submit(&chain, &issue(12_345, 3)).0, 202);
    assert_eq!(detail(&chain, &hash)["TxType"], "RecordPrice");
    assert_eq!((chain.sequence(), chain.issues().len()), (2, 0));
}

/// Tendermint's own patience: the answer is a timeout, the transaction is in the next block.
#[test]
fn a_submit_may_time_out_and_commit_later() {
    let chain = Chain::start(Settings {
        block_time: Duration::from_millis(300),
        commit_timeout: Duration::from_millis(20),
        ..settings()
    });
    let (status, answer) = submit(&chain, &issue(123, 3));
    assert_eq!(status, 400);
    assert!(answer.contains("Timed out waiting for tx to be included in a block)\"}"));
    assert_eq!(post(&chain, "/tx/prevalidate/Issue", &issue(123, 3)).0, 200);
    until("the commit", || chain.issued_napu() == 123);
    until("the index", || submit(&chain, &issue(123, 3)).0 == 202);
}

#[test]
fn a_price_is_recorded_by_its_own_key() {
    let chain = Chain::start(Settings {
        price_key: Some(KEYS[0].into()),
        ..settings()
    });
    let signature = signed_by(SEED, 777, 1);
    let body = format!("{{\"market_price\":777,\"sequence\":1,\"signatures\":[\"{signature}\"]}}");
    assert_eq!(post(&chain, "/tx/submit/RecordPrice", &body).0, 200);
    assert_eq!(chain.sequence(), 2);
    let path = format!("/account/history/{}", chain.address());
    let moves = || {
        let (_, history) = get(&chain, &path);
        let history: Value = serde_json::from_str(&history).expect("JSON");
        history["Items"].as_array().map(Vec::len)
    };
    // The release, from before.
    assert_eq!(moves(), Some(1));
    chain.use_up_sequence();
    assert_eq!(moves(), Some(2));
}

#[test]
fn submit_faults_do_what_they_say() {
    let chain = Chain::start(settings());
    let url = format!("{}/tx/submit/Issue", chain.url());
    let soon = Duration::from_millis(50);
    let committed = [
        SubmitFault::TimeoutThenCommit(soon),
        SubmitFault::GatewayTimeoutThenCommit(soon),
        SubmitFault::DropConnectionThenCommit(soon),
        SubmitFault::CommitThenDropConnection,
        SubmitFault::CommitThenCutAnswer,
    ];
    for (fault, sequence) in committed.into_iter().zip(3..) {
        chain.fail_next_submit(fault);
        let answer = call(&url, Some(&issue(7, sequence)));
        assert!(answer.is_none_or(|(status, _)| status >= 400), "{fault:?}");
        until("the commit", || chain.sequence() == sequence);
    }
    assert_eq!(chain.issued_napu(), 35);
    let lost = [
        SubmitFault::TimeoutAndDrop,
        SubmitFault::NodeDied,
        SubmitFault::DropConnectionBefore,
    ];
    for fault in lost {
        chain.fail_next_submit(fault);
        let answer = call(&url, Some(&issue(7, 8)));
        assert!(answer.is_none_or(|(status, _)| status == 400), "{fault:?}");
    }
    assert!(chain.wait_until_idle());
    assert_eq!(chain.issued_napu(), 35);
    assert_eq!(submit(&chain, &issue(7, 8)).0, 200);
}

#[test]
fn a_wiped_index_forgets_and_a_lagging_node_misjudges() {
    let chain = Chain::start(settings());
    let lagging = chain.lagging_node();
    lagging.freeze();
    assert_eq!(submit(&chain, &issue(7, 3)).0, 200);
    chain.forget_index();
    assert_eq!(detail(&chain, &issue_hash(7, 3)), Value::Null);
    let (status, answer) = submit(&chain, &issue(7, 3));
    assert_eq!(status, 400);
    assert!(answer.contains("sequence too low"), "{answer}");
    // It admits what is stale, and says 200 to it.
    let url = format!("{}/tx/submit/Issue", lagging.url());
    assert_eq!(call(&url, Some(&issue(8, 3))).expect("an answer").0, 200);
    lagging.thaw();
    assert_eq!(call(&url, Some(&issue(9, 3))).expect("an answer").0, 400);
    assert_eq!(chain.issued_napu(), 7);
}
