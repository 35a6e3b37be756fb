//! The chain over its own HTTP, with keys and numbers that the original has signed and hashed.

use super::*;
use crate::fault::NodeTrouble;
use crate::keys::Signature;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;

mod flow;

/// Test keys, published with the golden vectors: two ed25519 ones with their private halves.
const KEYS: [&str; 3] = [
    "npuba8jadtbbebjkxbgpzkkhce3nr3jhwckzpmtubsk2ujx7qx8ujay8qpa6pqrau4ij86hb59uw",
    "npuba4jaftbceeby8tjuv95yanram8r6w8bsbwnvb5brbrppb4z9d85agzgued3hu7x9y6everpw",
    "npuba8jadtbbea5uuzgje334rdnz8xehtyjkyr8s7w3qs5unvhhcxadbzgkzzqzh5t876aadw3ib",
];
const SEED: &str = "b8c1ba392b5c8f79762d5583b99f194d42d91f61305bba7f54569f4b201a8dc3";

fn settings() -> Settings {
    Settings {
        validation_keys: KEYS.map(String::from).to_vec(),
        released_napu: 100_000_000_000,
        fee_napu: 0,
        balance_napu: 0,
        block_time: Duration::from_millis(10),
        ..Settings::default()
    }
}

fn signed_by(seed: &str, qty: i64, sequence: u64) -> String {
    let tx = Tx::trusted(Body::Issue { qty }, sequence);
    let seed = hex::decode(seed).expect("hex");
    let key = SigningKey::from_bytes(&seed.try_into().expect("32 bytes"));
    Signature::ed25519(key.sign(&tx.signable()).to_bytes()).text()
}

fn issue(qty: i64, sequence: u64) -> String {
    let signature = signed_by(SEED, qty, sequence);
    format!("{{\"qty\":{qty},\"sequence\":{sequence},\"signatures\":[\"{signature}\"]}}")
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

/// Status and body, none if there was no answer.
fn call(url: &str, body: Option<&str>) -> Option<(u16, String)> {
    let answer = match body {
        Some(body) => agent().post(url).send(body),
        None => agent().get(url).call(),
    };
    let mut answer = answer.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.body_mut().read_to_string().ok()?))
}

fn get(chain: &Chain, path: &str) -> (u16, String) {
    call(&format!("{}{path}", chain.url()), None).expect("an answer")
}

fn post(chain: &Chain, path: &str, body: &str) -> (u16, String) {
    call(&format!("{}{path}", chain.url()), Some(body)).expect("an answer")
}

fn submit(chain: &Chain, body: &str) -> (u16, String) {
    post(chain, "/tx/submit/Issue", body)
}

fn detail(chain: &Chain, hash: &str) -> Value {
    let (status, body) = get(chain, &format!("/transaction/detail/{hash}"));
    assert_eq!(status, 200);
    serde_json::from_str(&body).expect("JSON")
}

fn issue_hash(qty: i64, sequence: u64) -> String {
    Tx::trusted(Body::Issue { qty }, sequence).hash()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(std::time::Instant::now() < end, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn hashes_and_signable_bytes_are_the_original_s() {
    for (qty, sequence, signable, hash) in [
        (
            100_000_000,
            1,
            "0000000005f5e1000000000000000001",
            "p26i1AXX30ZGYgv-t0BhoQ",
        ),
        (
            293_319_268_611_653,
            2,
            "00010ac5b6cfb6450000000000000002",
            "MePPYwaqNH15liysKHIEyw",
        ),
        (
            -1,
            1,
            "ffffffffffffffff0000000000000001",
            "9yKJbTTJ899RbTnbsIPC9Q",
        ),
        (5, (1 << 63) + 1, "", "1B2M2Y8AsgTpgAmY7PhCfg"),
    ] {
        let tx = Tx::trusted(Body::Issue { qty }, sequence);
        assert_eq!(hex::encode(tx.signable()), signable);
        assert_eq!(tx.hash(), hash);
    }
    let price = Body::RecordPrice {
        market_price: 100_000_000,
    };
    assert_eq!(Tx::trusted(price, 9).hash(), issue_hash(100_000_000, 9));
}

#[test]
fn bodies_are_read_as_go_reads_them() {
    let refusal = |body: &str| match Tx::parse("Issue", body.as_bytes()) {
        Err(Refusal::Says(text)) => text,
        other => panic!("{body}: {other:?}"),
    };
    for (body, text) in [
        ("", "unexpected end of JSON input"),
        ("{\"qty\":1", "unexpected end of JSON input"),
        ("{}x", "invalid character 'x' after top-level value"),
        (
            "{not json",
            "invalid character 'n' looking for beginning of object key string",
        ),
        (
            "[]",
            "json: cannot unmarshal array into Go value of type ndau.Issue",
        ),
        (
            "{\"qty\":\"1\"}",
            "json: cannot unmarshal string into Go struct field Issue.qty of type types.Ndau",
        ),
        (
            "{\"qty\":1.0}",
            "json: cannot unmarshal number 1.0 into Go struct field Issue.qty of type types.Ndau",
        ),
        (
            "{\"qty\":1e8}",
            "json: cannot unmarshal number 1e8 into Go struct field Issue.qty of type types.Ndau",
        ),
        (
            "{\"sequence\":-1}",
            "json: cannot unmarshal number -1 into Go struct field Issue.sequence of type uint64",
        ),
        (
            "{\"signatures\":[\"\"]}",
            "signature unmarshal failure: bad checksum",
        ),
    ] {
        assert_eq!(refusal(body), text, "{body}");
    }
    let numbers = |body: &str| match Tx::parse("ISSUE", body.as_bytes()) {
        Ok(tx) => (tx.body, tx.sequence),
        other => panic!("{body}: {other:?}"),
    };
    for (body, qty, sequence) in [
        ("null", 0, 0),
        ("{}", 0, 0),
        ("{\"Qty\":1,\"SEQUENCE\":9,\"memo\":\"x\"}\n ", 1, 9),
        ("{\"qty\":1,\"qty\":2,\"sequence\":9}", 2, 9),
        ("{\"qty\":1,\"sequence\":18446744073709551615}", 1, u64::MAX),
    ] {
        assert_eq!(numbers(body), (Body::Issue { qty }, sequence), "{body}");
    }
    assert!(matches!(
        Tx::parse("Isue", b"{}"),
        Err(Refusal::Says(text)) if text == "Unknown transaction: Isue"
    ));
}

/// Every rule's message, at prevalidation and at the door.
#[test]
fn each_rule_refuses_in_the_chain_s_words() {
    let chain = Chain::start(settings());
    let unsigned = |qty: i64| format!("{{\"qty\":{qty},\"sequence\":3,\"signatures\":null}}");
    let twice = signed_by(SEED, 5, 3);
    let cases = [
        (issue(0, 3), "Issue qty may not be \\u003c= 0"),
        (issue(-5, 3), "Issue qty may not be \\u003c= 0"),
        (
            issue(100_000_000_001, 3),
            "cannot issue more ndau than have been RFE'd",
        ),
        (issue(5, 2), "sequence too low"),
        (issue(5, 131), "sequence too high"),
        (unsigned(5), "invalid signature(s): []"),
        (
            format!("{{\"qty\":5,\"sequence\":3,\"signatures\":[\"{twice}\",\"{twice}\"]}}"),
            "invalid signature(s): [1]",
        ),
    ];
    for (body, reason) in cases {
        let (status, answer) = post(&chain, "/tx/prevalidate/Issue", &body);
        assert_eq!(status, 400, "{answer}");
        let start = format!(
            "{{\"fee_napu\":0,\"sib_napu\":0,\"err\":\"validating transactable: {reason}\",\
             \"err_code\":-1,\"hash\":\""
        );
        assert!(answer.starts_with(&start), "{answer}");
        assert!(answer.ends_with("\",\"code\":1001}"), "{answer}");
        let refused = format!(
            "{{\"msg\":\"error from commit (failed to broadcast transaction: InvalidTransaction)\",\
             \"log\":\"{reason}\"}}"
        );
        assert_eq!(submit(&chain, &body), (400, refused));
    }
    chain.set_required_signatures(Some(2));
    let (_, answer) = submit(&chain, &issue(5, 3));
    assert!(
        answer.contains("validation script exited with non-0 exit code"),
        "{answer}"
    );
    assert_eq!(chain.issues(), []);
}

/// A quantity near the greatest i64 wraps around and passes: the chain does not protect its client.
#[test]
fn the_release_check_wraps_around() {
    let chain = Chain::start(Settings {
        issued_napu: 10,
        ..settings()
    });
    let (status, answer) = post(&chain, "/tx/prevalidate/Issue", &issue(i64::MAX, 3));
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn an_account_that_cannot_pay_is_told_so_in_json() {
    let chain = Chain::start(Settings {
        fee_napu: 10_000_000,
        balance_napu: 30_000_000,
        holds_napu: vec![20_000_001],
        ..settings()
    });
    let (status, answer) = submit(&chain, &issue(200_000_000, 28));
    let log = format!(
        "{{\"address\":\"{}\",\"available balance\":9999999,\"balance\":30000000,\
         \"msg\":\"insufficient available balance to pay for tx\",\"qty holds\":20000001,\
         \"tx cost\":10000000,\"tx hash\":\"C_CKfCy7xtlhMuyyome9mw\"}}",
        chain.address()
    );
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((status, answer["log"].as_str()), (400, Some(log.as_str())));
}

#[test]
fn trouble_behind_a_node_has_the_original_s_words() {
    let chain = Chain::start(settings());
    chain.set_fault(Some(Fault::Node(NodeTrouble::TendermintDown)));
    assert_eq!(get(&chain, "/price/current"), (200, String::new()));
    let refused = "Post \\\"http://127.0.0.1:46670\\\": dial tcp 127.0.0.1:46670: connect: connection refused";
    assert_eq!(
        submit(&chain, &issue(5, 3)),
        (
            500,
            format!(
                "{{\"msg\":\"txhash search failed (performing query: ABCIQuery: {refused})\"}}"
            )
        )
    );
    chain.set_fault(Some(Fault::Node(NodeTrouble::ApplicationDown)));
    assert_eq!(get(&chain, "/node/health").0, 200);
    assert_eq!(
        get(&chain, "/system/get/ReleaseFromEndowmentAddress").0,
        500
    );
    chain.set_fault(Some(Fault::Node(NodeTrouble::IndexDown)));
    assert_eq!(get(&chain, "/transaction/detail/x").0, 500);
    chain.set_fault(None);
    assert_eq!(get(&chain, "/transaction/detail/x"), (200, "null".into()));
}

#[test]
fn paths_are_answered_as_by_the_original() {
    let chain = Chain::start(settings());
    let address = chain.address();
    assert!(address.starts_with("ndn"));
    for (path, status, body) in [
        ("/no/such/path", 404, "404 page not found\n"),
        ("/tx/submit/Issue", 405, ""),
        ("/account/account/x/", 302, ""),
        (
            "/transaction/detail/",
            400,
            "{\"msg\":\"txhash parameter required\"}",
        ),
        (
            "/account/account/x",
            400,
            "{\"msg\":\"could not validate addresses: [x]\"}",
        ),
        (
            "/account/account/ndadprx764ciigti8d8whtw2kct733r85qvjukhqhke3dka4",
            200,
            "{}",
        ),
        ("/system/get/NoSuchVar", 200, "{\"NoSuchVar\":\"\"}"),
        ("/node/health", 200, "{\"Ndau\":{\"Status\":\"Ok\"}}"),
    ] {
        assert_eq!(get(&chain, path), (status, body.into()), "{path}");
    }
    let (_, account) = get(
        &chain,
        &format!("/account/account/{}", address.to_uppercase()),
    );
    let account: Value = serde_json::from_str(&account).expect("JSON");
    assert_eq!(account[&address]["sequence"], 2);
    assert_eq!(account[&address]["validationKeys"][1], KEYS[1]);
    let (_, status) = get(&chain, "/node/status");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["sync_info"]["latest_block_height"], 5);
    assert_eq!(status["node_info"]["network"], "sandbox-net");
}

/// Bytes that are not what anyone should send are refused, and the node lives on.
#[test]
fn hostile_requests_do_no_harm() {
    use std::io::{Read, Write};
    let chain = Chain::start(settings());
    let address = chain.url().trim_start_matches("http://").to_owned();
    for hostile in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / FTP/1.0\r\n\r\n",
        "POST /tx/submit/Issue HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /tx/submit/Issue HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        "POST /tx/submit/Issue HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /%ff%/../\u{e9} HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /tx/submit/%00 HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\u{0}\u{1}\u{2}",
    ] {
        let mut stream = std::net::TcpStream::connect(&address).expect("a connection");
        stream.write_all(hostile.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.1 4"), "{hostile:?}: {answer:?}");
    }
    // What crashes the original's decoder closes the connection.
    let url = format!("{}/tx/submit/Issue", chain.url());
    let crash = r#"{"qty":1,"sequence":9,"signatures":["a7wgk5dnp6yca75rqjygi6c49yzsd83h"]}"#;
    assert_eq!(call(&url, Some(crash)), None);
    assert_eq!(get(&chain, "/node/health").0, 200);
}
