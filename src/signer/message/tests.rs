//! Both directions, and what a hostile peer may send.

use super::*;
use crate::napu::Napu;
use crate::ndau::PrivateKey;

const ID: &str = "000102030405060708090a0b0c0d0e0f";

fn id() -> RequestId {
    RequestId::parse(ID.to_owned()).unwrap()
}

fn context() -> Context {
    Context {
        symbol: "NDAU_USDT".to_owned(),
        trades: 3,
        first_trade_id: "a\"\n".to_owned(),
        last_trade_id: "c".to_owned(),
    }
}

#[test]
fn every_message_reads_back_as_it_was_written() {
    let key = PrivateKey::from_ed25519_seed(&[7; 32]);
    let issue = Issue::new(Napu::NDAU, 9).unwrap();
    let signature = key.sign(&issue.signable_bytes());
    for message in [
        ToSigner::SignTx(SignTx::new(
            id(),
            &issue,
            vec![key.public().clone()],
            context(),
        )),
        ToSigner::Done {
            id: id(),
            outcome: Outcome::NotNeeded,
            hash: issue.hash().to_string(),
        },
        ToSigner::Error {
            message: "no".to_owned(),
        },
    ] {
        assert_eq!(
            ToSigner::parse(message.to_json().as_bytes()).unwrap(),
            message
        );
    }
    for message in [
        FromSigner::Hello {
            version: "1".to_owned(),
            keys: 2,
        },
        FromSigner::Signatures {
            id: id(),
            signatures: vec![(key.public().clone(), signature)],
        },
        FromSigner::Refused {
            id: id(),
            reason: "too much".to_owned(),
        },
        FromSigner::Error {
            message: "no".to_owned(),
        },
    ] {
        assert_eq!(
            FromSigner::parse(message.to_json().as_bytes()).unwrap(),
            message
        );
    }
}

#[test]
fn a_request_has_the_documents_form() {
    let key = PrivateKey::from_ed25519_seed(&[7; 32]).public().clone();
    let issue = Issue::new(Napu::NDAU, 9).unwrap();
    let text = ToSigner::SignTx(SignTx::new(id(), &issue, vec![key.clone()], context())).to_json();
    assert_eq!(
        text,
        format!(
            "{{\"type\":\"sign_tx\",\"id\":\"{ID}\",\"tx_type\":\"Issue\",\
             \"tx\":{{\"qty\":100000000,\"sequence\":9,\"signatures\":[]}},\"signing_keys\":[\"{key}\"],\
             \"context\":{{\"symbol\":\"NDAU_USDT\",\"trades\":3,\"first_trade_id\":\"a\\\"\\n\",\
             \"last_trade_id\":\"c\"}}}}"
        )
    );
    let done = ToSigner::Done {
        id: id(),
        outcome: Outcome::Committed,
        hash: "h".to_owned(),
    };
    assert_eq!(
        done.to_json(),
        format!(r#"{{"type":"done","id":"{ID}","outcome":"committed","hash":"h"}}"#)
    );
}

#[test]
fn unknown_fields_are_ignored_and_the_transaction_is_kept_as_it_came() {
    let text = format!(
        r#" {{"x":[[]],"type":"sign_tx","id":"{ID}","tx_type":"Issue","tx":{{"qty": 1 ,"qty":2}},
        "signing_keys":[],"context":{{"symbol":"","trades":0,"first_trade_id":"","last_trade_id":"","y":1}}}}"#
    );
    let Ok(ToSigner::SignTx(request)) = ToSigner::parse(text.as_bytes()) else {
        panic!("{text}");
    };
    // Both quantities reach the reader of the transaction, which refuses them.
    assert_eq!(request.tx, r#"{"qty": 1 ,"qty":2}"#);
    assert!(Issue::parse_unsigned(&request.tx).is_err());
}

#[test]
fn hostile_json_is_refused() {
    let deep = format!(
        "{{\"type\":\"hello\",\"version\":\"\",\"keys\":{}1{}}}",
        "[".repeat(9_000),
        "]".repeat(9_000)
    );
    let many = format!(
        r#"{{"type":"signatures","id":"{ID}","signatures":[{{"key":"npub","signature":"a"}}]}}"#
    );
    for text in [
        "",
        "null",
        "[]",
        "[\"hello\"]",
        "\"hello\"",
        "{}",
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","version":"1","keys":-1}"#,
        r#"{"type":"hello","version":"1","keys":1.5}"#,
        r#"{"type":"hello","version":1,"keys":1}"#,
        r#"{"type":"hello","version":"1","keys":18446744073709551616}"#,
        r#"{"type":"hello","version":"1","keys":1,"keys":2}"#,
        r#"{"type":"hello","type":"error","version":"1","keys":1,"message":""}"#,
        r#"{"type":"hello","version":"1","keys":1} {}"#,
        r#"{"type":"Hello","version":"1","keys":1}"#,
        r#"{"type":"sign_tx"}"#,
        r#"{"type":null}"#,
        r#"{"type":"refused","id":"1","reason":""}"#,
        r#"{"type":"refused","id":"000102030405060708090A0B0C0D0E0F","reason":""}"#,
        r#"{"type":"refused","id":"000102030405060708090a0b0c0d0e0f"}"#,
        r#"{"type":"signatures","id":"000102030405060708090a0b0c0d0e0f","signatures":[["a","b"]]}"#,
        r#"{"type":"signatures","id":"000102030405060708090a0b0c0d0e0f","signatures":null}"#,
        "{\"type\":\"error\",\"message\":\"\u{0}\"}",
        &deep,
        &many,
    ] {
        assert!(FromSigner::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(FromSigner::parse(b"{\"type\":\"error\",\"message\":\"\xff\"}").is_err());
}

#[test]
fn an_unknown_type_is_named_on_one_short_line() {
    let text = serde_json::json!({ "type": format!("a\nb{}", "x".repeat(900)) }).to_string();
    let error = FromSigner::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(!error.contains('\n') && error.len() < 300, "{error}");
}
