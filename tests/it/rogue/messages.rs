//! Messages that are encrypted as they should be, and hostile inside.

use serde_json::{Value, json};

use super::{HIDDEN, Service, TERMINAL, is_strange, request};
use crate::support::key;

/// The usual request, with another value at one of its places.
pub(super) fn with(place: &str, value: Value) -> String {
    let mut request = request();
    *request.pointer_mut(place).unwrap() = value;
    request.to_string()
}

/// The usual request without one of its fields.
fn without(field: &str) -> String {
    let mut request = request();
    request.as_object_mut().unwrap().remove(field).unwrap();
    request.to_string()
}

/// The usual request, with another text for one of its parts.
fn text(part: &str, other: &str) -> String {
    let request = request().to_string();
    assert_eq!(request.matches(part).count(), 1, "{part} in {request}");
    request.replace(part, other)
}

/// What each message that is properly encrypted, and hostile inside, gets.
#[test]
fn a_hostile_message_gets_a_reason_and_no_signature() {
    let named = |seed| key(seed).public().to_string();
    let long = "x".repeat(60_000);
    let tx = |field: &str| {
        let mut tx = request()["tx"].take();
        tx[field] = json!(1);
        with("/tx", tx)
    };
    let not_json = "error: not a JSON object";
    let no_message = "error: not a message of this protocol";
    let unknown = "error: unknown message type";
    let no_id = "error: the message's field `id`";
    let no_keys = "error: the message's field `signing_keys`";
    let only_issues = "error: only Issue transactions are signed here";
    let no_object = "error: the transaction is not a JSON object";
    let no_issue = "error: not the JSON of an unsigned Issue";
    let not_held = "no signatures";
    let above =
        "refused: 1000000.00000001 ndau is above the limit of 1000000 ndau in one transaction";
    let done =
        r#"{"type":"done","id":"000102030405060708090a0b0c0d0e0f","hash":"\u001b[2J","outcome":"#;
    // A line a case.
    #[rustfmt::skip]
    let cases = [
        ("nothing", String::new(), not_json),
        ("a list", r#"["sign_tx"]"#.into(), not_json),
        ("a number", "1".into(), not_json),
        ("an object without an end", r#"{"type":"sign_tx""#.into(), no_message),
        ("60,000 lists in each other", format!(r#"{{"type":{}"#, "[".repeat(60_000)), no_message),
        ("something after the end", request().to_string() + "{}", no_message),
        ("no type", without("type"), no_message),
        ("two types", text(r#""type":"#, r#""type":"error","type":"#), no_message),
        ("an unknown type", with("/type", json!("sign")), unknown),
        ("a type in another case", with("/type", json!("Sign_tx")), unknown),
        ("a type that only signers use", r#"{"type":"hello","version":"1","keys":1}"#.into(), unknown),
        ("a type for the terminal", with("/type", json!(TERMINAL)), unknown),
        ("no id", without("id"), no_message),
        ("an id that is a number", with("/id", json!(1)), no_message),
        ("an id that is too short", with("/id", json!("00")), no_id),
        ("an id of 60,000 letters", with("/id", json!(long)), no_id),
        ("an id in capitals", with("/id", json!("0A".repeat(16))), no_id),
        ("another transaction", with("/tx_type", json!("Transfer")), only_issues),
        ("Issue in another case", with("/tx_type", json!("issue")), only_issues),
        ("Issue and a zero", with("/tx_type", json!("Issue\0")), only_issues),
        ("a transaction for the terminal", with("/tx_type", json!(TERMINAL)), only_issues),
        ("a transaction of no type", with("/tx_type", Value::Null), no_message),
        ("a transaction in a text", with("/tx", json!("{}")), no_object),
        ("a list as transaction", with("/tx", json!([1, 1, []])), no_object),
        ("null as transaction", with("/tx", Value::Null), no_object),
        ("two transactions", text(r#""tx":"#, r#""tx":{},"tx":"#), no_message),
        ("another field", tx("destination"), no_issue),
        ("a field for the terminal", tx(TERMINAL), no_issue),
        ("a field of 60,000 letters", tx(&long), no_issue),
        ("two quantities", text(r#""qty":"#, r#""qty":1,"qty":"#), no_issue),
        ("two quantities, one in escapes", text(r#""qty":"#, r#""q\u0074y":1,"qty":"#), no_issue),
        ("two quantities, one in capitals", text(r#""qty":"#, r#""QTY":1,"qty":"#), no_issue),
        ("quantity 0", with("/tx/qty", json!(0)), "error: 0 ndau cannot be issued"),
        ("quantity -1", with("/tx/qty", json!(-1)), no_issue),
        ("quantity 1.0", text("100000000", "1.0"), no_issue),
        ("quantity 1e8", text("100000000", "1e8"), no_issue),
        ("quantity as text", with("/tx/qty", json!("1")), no_issue),
        ("quantity for the terminal", with("/tx/qty", json!(TERMINAL)), no_issue),
        ("quantity of 60,000 letters", with("/tx/qty", json!(long)), no_issue),
        ("quantity of 1,000 digits", text("100000000", &"9".repeat(1000)), no_issue),
        ("more than all ndau", text("100000000", "3000000000000001"), "error: 30000000.00000001 ndau"),
        ("quantity 2^63", text("100000000", "9223372036854775808"), "error: "),
        ("quantity 2^64", text("100000000", "18446744073709551616"), no_issue),
        ("sequence 0", with("/tx/sequence", json!(0)), "error: sequence 0 cannot be signed"),
        ("sequence -1", with("/tx/sequence", json!(-1)), no_issue),
        ("sequence 2^63 - 1", with("/tx/sequence", json!(i64::MAX)), "signed of the last sequence"),
        ("sequence 2^63", with("/tx/sequence", json!(1_u64 << 63)), "error: sequence 9223372036854775808"),
        ("signatures in it", with("/tx/signatures", json!(["a"])), no_issue),
        ("null for signatures", with("/tx/signatures", Value::Null), no_issue),
        ("no signatures", with("/tx", json!({ "qty": 1, "sequence": 1 })), no_issue),
        ("more than the policy allows", text("100000000", "100000000000001"), above),
        ("no keys", with("/signing_keys", json!([])), not_held),
        ("another's key", with("/signing_keys", json!([named(2)])), not_held),
        ("the service's identity", with("/signing_keys", json!([named(100)])), not_held),
        ("a key that is none", with("/signing_keys", json!(["npub"])), no_keys),
        ("a key for the terminal", with("/signing_keys", json!([TERMINAL])), no_keys),
        ("null as a key", with("/signing_keys", json!([null])), no_message),
        ("one key 750 times", with("/signing_keys", json!(vec![named(1); 750])), "signed"),
        ("no context", without("context"), no_message),
        ("-1 trades", with("/context/trades", json!(-1)), no_message),
        ("a symbol of 60,000 letters", with("/context/symbol", json!(long)), "signed"),
        ("a symbol for the terminal", with("/context/symbol", json!(TERMINAL)), "signed"),
        ("a trade for the terminal", with("/context/last_trade_id", json!(TERMINAL)), "signed"),
        ("a field that nobody knows", text(r#""id":"#, r#""x":[[{}]],"id":"#), "signed"),
        ("what became of nothing", format!(r#"{done}"committed"}}"#), "gone"),
        ("an outcome that is none", format!(r#"{done}"stolen"}}"#), no_message),
        ("an outcome for the terminal", format!("{done}{}}}", json!(TERMINAL)), no_message),
        ("a complaint for the terminal", json!({ "type": "error", "message": TERMINAL }).to_string(), "gone"),
    ];
    for (name, message, expected) in cases {
        let service = Service::start();
        let mut session = service.session();
        session.say(message.as_bytes());
        let heard = session.hear();
        println!("{name}: {}", heard.get(..200).unwrap_or(&heard));
        assert!(heard.starts_with(expected), "{name}: {heard}");
        assert!(!heard.contains(is_strange), "{name}: {heard:?}");
        if expected.starts_with("error") {
            assert!(heard.ends_with(", close 1008, gone"), "{name}: {heard}");
        }
        let signed = usize::from(expected.starts_with("signed"));
        assert_eq!(service.signed(), signed, "{name}");
        service.is_well(name);
    }
}

/// Nor does what is no control character and deceives all the same.
#[test]
fn what_turns_or_hides_a_text_reaches_no_log() {
    for message in [
        with("/type", json!(HIDDEN)),
        with("/tx_type", json!(HIDDEN)),
        with("/context/symbol", json!(HIDDEN)),
        with(
            "/tx",
            json!({ "qty": 1, "sequence": 1, "signatures": [], HIDDEN: 1 }),
        ),
    ] {
        let service = Service::start();
        let mut session = service.session();
        session.say(message.as_bytes());
        session.hear();
        service.is_well(&message);
    }
}
