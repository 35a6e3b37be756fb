//! What is signed and what is not. It is computed from the transaction itself, and only an `Issue` is a transaction
//! here. No I/O but the log.

use log::{info, warn};

use super::config::Policy;
use crate::error::chain;
use crate::http::excerpt;
use crate::ndau::{Issue, PrivateKey, PublicKey, Signature};
use crate::signer::message::{FromSigner, ISSUE, SignTx};

/// The answer to a request: signatures by those of its keys that are held here, or why not.
pub(crate) fn answer(
    request: &SignTx,
    keys: &[PrivateKey],
    policy: Policy,
    name: &str,
) -> FromSigner {
    let issue = match read_issue(request) {
        Ok(issue) => issue,
        Err(message) => {
            warn!("{name}: {message}");
            return FromSigner::Error { message };
        }
    };
    let context = &request.context;
    let what = format!(
        "Issue of {} ndau, sequence {}, hash {}, for trades of {} ({} to {}, {} in all)",
        issue.quantity(),
        issue.sequence(),
        issue.hash(),
        excerpt(&context.symbol),
        excerpt(&context.first_trade_id),
        excerpt(&context.last_trade_id),
        context.trades,
    );
    match sign(&issue, request, keys, policy) {
        Ok(signatures) => {
            let signers: Vec<&str> = signatures.iter().map(|(key, _)| key.as_text()).collect();
            info!("{name}: {what}: signed with {}", signers.join(", "));
            FromSigner::Signatures {
                id: request.id.clone(),
                signatures,
            }
        }
        Err(reason) => {
            warn!("{name}: {what}: refused: {reason}");
            FromSigner::Refused {
                id: request.id.clone(),
                reason,
            }
        }
    }
}

fn read_issue(request: &SignTx) -> Result<Issue, String> {
    if request.tx_type != ISSUE {
        return Err(format!(
            "only {ISSUE} transactions are signed here, not `{}`",
            excerpt(&request.tx_type)
        ));
    }
    // The reader of JSON would take a list for a struct's fields in order.
    if !request.tx.starts_with('{') {
        return Err("the transaction is not a JSON object".to_owned());
    }
    Issue::parse_unsigned(&request.tx).map_err(|error| chain(&error))
}

fn sign(
    issue: &Issue,
    request: &SignTx,
    keys: &[PrivateKey],
    policy: Policy,
) -> Result<Vec<(PublicKey, Signature)>, String> {
    if let Some(most) = policy.max_issue_per_tx
        && issue.quantity() > most
    {
        return Err(format!(
            "{} ndau is above the limit of {most} ndau in one transaction",
            issue.quantity()
        ));
    }
    let held: Vec<&PrivateKey> = keys
        .iter()
        .filter(|key| request.signing_keys.contains(key.public()))
        .collect();
    if held.is_empty() {
        return Err("none of the keys asked for is held here".to_owned());
    }
    let bytes = issue.signable_bytes();
    Ok(held
        .into_iter()
        .map(|key| (key.public().clone(), key.sign(&bytes)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::napu::Napu;
    use crate::signer::Context;
    use crate::signer::message::RequestId;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_ed25519_seed(&[seed; 32])
    }

    fn request(keys: &[&PrivateKey]) -> SignTx {
        SignTx::new(
            RequestId::new([7; 16]),
            &Issue::new(Napu::NDAU, 5).unwrap(),
            keys.iter().map(|key| key.public().clone()).collect(),
            Context {
                symbol: "NDAU_USDT".to_owned(),
                trades: 1,
                first_trade_id: "1".to_owned(),
                last_trade_id: "1".to_owned(),
            },
        )
    }

    #[test]
    fn signatures_are_by_the_held_ones_of_the_requested_keys() {
        let (a, b, c) = (key(1), key(2), key(3));
        let wanted = request(&[&a, &c, &a]);
        let FromSigner::Signatures { signatures, .. } =
            answer(&wanted, &[b, a], Policy::default(), "test")
        else {
            panic!("not signed");
        };
        let issue = Issue::new(Napu::NDAU, 5).unwrap();
        assert_eq!(signatures.len(), 1);
        let (by, signature) = &signatures[0];
        assert!(issue.verify(&wanted.signing_keys, by, signature).is_ok());
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_its_reason() {
        let refused = |request: &SignTx, policy| match answer(request, &[key(1)], policy, "test") {
            FromSigner::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        let none = Policy::default();
        assert!(refused(&request(&[&key(2)]), none).contains("none of the keys"));
        assert!(refused(&request(&[]), none).contains("none of the keys"));
        let less = Policy {
            max_issue_per_tx: Some(Napu::new(99_999_999).unwrap()),
        };
        assert_eq!(
            refused(&request(&[&key(1)]), less),
            "1 ndau is above the limit of 0.99999999 ndau in one transaction"
        );
        let exact = Policy {
            max_issue_per_tx: Some(Napu::NDAU),
        };
        assert!(matches!(
            answer(&request(&[&key(1)]), &[key(1)], exact, "test"),
            FromSigner::Signatures { .. }
        ));
    }

    #[test]
    fn nothing_but_an_unsigned_issue_is_signed() {
        for (tx_type, tx) in [
            ("Transfer", r#"{"qty":1,"sequence":1,"signatures":[]}"#),
            ("issue", r#"{"qty":1,"sequence":1,"signatures":[]}"#),
            ("Issue", r#"{"qty":1,"sequence":1,"signatures":["a"]}"#),
            (
                "Issue",
                r#"{"qty":1,"sequence":1,"signatures":[],"destination":"nd"}"#,
            ),
            ("Issue", r#"{"qty":1,"qty":2,"sequence":1,"signatures":[]}"#),
            ("Issue", r#"{"qty":0,"sequence":1,"signatures":[]}"#),
            ("Issue", r#"[1,1,[]]"#),
            ("Issue", "null"),
        ] {
            let mut request = request(&[&key(1)]);
            request.tx_type = tx_type.to_owned();
            request.tx = tx.to_owned();
            let answer = answer(&request, &[key(1)], Policy::default(), "test");
            assert!(
                matches!(answer, FromSigner::Error { .. }),
                "{tx_type} {tx}: {answer:?}"
            );
        }
    }
}
