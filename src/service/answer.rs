//! What is signed and what is not, and that all of it is written down. It is decided by the transaction itself, and only an
//! `Issue` is a transaction here.

use std::fmt;

use log::{error, info, warn};

use super::config::{Config, Connection};
use super::key::Key;
use super::policy::Policy;
use super::signing_log::{Entry, SigningLog, Verdict};
use super::stop::Stop;
use crate::clock::Clock;
use crate::error::chain;
use crate::ndau::{Issue, PublicKey, Signature};
use crate::quote::excerpt;
use crate::report::counted;
use crate::signer::Context;
use crate::signer::message::{FromSigner, ISSUE, SignTx};

/// Where requests are decided.
pub(crate) struct Desk<'a> {
    keys: &'a [Key],
    policy: Policy,
    log: SigningLog<'a>,
    clock: &'a dyn Clock,
    stop: &'a Stop,
}

/// A request that the policy allows, as far as it can without a person.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    request: SignTx,
    issue: Issue,
    /// Those that are to sign.
    keys: Vec<&'a Key>,
}

/// What follows on a request.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// This answer.
    Answer(FromSigner),
    /// A person is asked, and then [`Desk::sign`] or [`Desk::refuse`] has the answer.
    Ask(Box<Asked<'a>>),
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        config: &'a Config,
        log: SigningLog<'a>,
        clock: &'a dyn Clock,
        stop: &'a Stop,
    ) -> Desk<'a> {
        Desk {
            keys: &config.keys,
            policy: config.policy,
            log,
            clock,
            stop,
        }
    }

    /// Decides about a request, as far as no person is needed.
    pub(crate) fn receive(&mut self, connection: &Connection, request: SignTx) -> Step<'a> {
        let issue = match read_issue(&request) {
            Ok(issue) => issue,
            Err(message) => {
                // It may quote what was asked for.
                let message = excerpt(&message);
                warn!("{}: {message}", connection.name);
                let verdict = Verdict::Refused(message.clone());
                self.note(connection, &request, None, verdict);
                return Step::Answer(FromSigner::Error { message });
            }
        };
        let own = self.keys.iter();
        let own = own.filter(|key| connection.may_use(key.public()));
        let asked = Asked {
            keys: asked_for(own, &request),
            request,
            issue,
        };
        if asked.keys.is_empty() {
            return Step::Answer(self.pass(connection, &asked));
        }
        match self.judge(&asked) {
            Ok(()) if self.policy.confirm => Step::Ask(Box::new(asked)),
            Ok(()) => Step::Answer(self.sign_judged(connection, &asked)),
            Err(reason) => Step::Answer(self.refuse(connection, &asked, &reason)),
        }
    }

    /// The answer once a person said yes: signatures by those of the request's keys that are held here, or why not.
    pub(crate) fn sign(&mut self, connection: &Connection, asked: &Asked<'_>) -> FromSigner {
        // While the person thought, others may have used up the day's limit.
        match self.judge(asked) {
            Ok(()) => self.sign_judged(connection, asked),
            Err(reason) => self.refuse(connection, asked, &reason),
        }
    }

    /// The answer that says no.
    pub(crate) fn refuse(
        &mut self,
        connection: &Connection,
        asked: &Asked<'_>,
        reason: &str,
    ) -> FromSigner {
        let reason = excerpt(reason);
        warn!("{}: {asked}: refused: {reason}", connection.name);
        let verdict = Verdict::Refused(reason.clone());
        self.note(connection, &asked.request, Some(asked.issue), verdict);
        FromSigner::Refused {
            id: asked.request.id.clone(),
            reason,
        }
    }

    /// The answer where there is nothing to decide: no signatures, and no no either, since others may hold the keys.
    fn pass(&mut self, connection: &Connection, asked: &Asked<'_>) -> FromSigner {
        let reason = "none of the keys asked for is held here for this connection";
        warn!("{}: {asked}: {reason}", connection.name);
        let verdict = Verdict::Refused(reason.to_owned());
        self.note(connection, &asked.request, Some(asked.issue), verdict);
        FromSigner::Signatures {
            id: asked.request.id.clone(),
            signatures: Vec::new(),
        }
    }

    fn judge(&mut self, asked: &Asked<'_>) -> Result<(), String> {
        // Nobody is bothered for what could not be written down.
        self.log.check().map_err(|error| untold(&error))?;
        let keys = asked.keys.iter();
        let keys = keys.map(|key| key.public().to_string()).collect();
        let now_ms = self.clock.now_ms();
        let signed = self.log.signed(now_ms, self.clock.instant());
        let signed = signed.map_err(|error| untold(&error))?;
        self.policy
            .judge(&asked.issue, keys, &signed, now_ms)
            .map_err(|refusal| refusal.to_string())
    }

    fn sign_judged(&mut self, connection: &Connection, asked: &Asked<'_>) -> FromSigner {
        let stop = || self.stop.is_set();
        let signatures = match sign(&asked.issue, &asked.keys, &stop) {
            Ok(signatures) => signatures,
            Err(reason) => return self.refuse(connection, asked, &reason),
        };
        let keys: Vec<String> = signatures.iter().map(|(key, _)| key.to_string()).collect();
        let told = keys.join(", ");
        let entry = self.entry(
            connection,
            &asked.request,
            Some(asked.issue),
            Verdict::Signed(keys),
        );
        // From here on the signatures may leave; before, nobody has seen them.
        match self.log.append(&entry, self.clock.instant()) {
            Ok(()) => {
                info!("{}: {asked}: signed with {told}", connection.name);
                FromSigner::Signatures {
                    id: asked.request.id.clone(),
                    signatures,
                }
            }
            Err(error) => self.refuse(connection, asked, &untold(&error)),
        }
    }

    /// Writes down a refusal. One that cannot be written down remains one.
    fn note(
        &mut self,
        connection: &Connection,
        request: &SignTx,
        issue: Option<Issue>,
        verdict: Verdict,
    ) {
        let entry = self.entry(connection, request, issue, verdict);
        if let Err(problem) = self.log.append(&entry, self.clock.instant()) {
            error!("{}", chain(&problem));
        }
    }

    fn entry(
        &self,
        connection: &Connection,
        request: &SignTx,
        issue: Option<Issue>,
        verdict: Verdict,
    ) -> Entry {
        let context = &request.context;
        Entry {
            time_ms: self.clock.now_ms(),
            connection: connection.name.clone(),
            peer: connection.server_key.to_string(),
            request: request.id.to_string(),
            tx_type: excerpt(&request.tx_type),
            issue,
            context: Context {
                symbol: excerpt(&context.symbol),
                trades: context.trades,
                first_trade_id: excerpt(&context.first_trade_id),
                last_trade_id: excerpt(&context.last_trade_id),
            },
            verdict,
        }
    }
}

/// What the other side is told of a failure that is this side's alone.
fn untold(problem: &super::LogError) -> String {
    error!("{}", chain(problem));
    "it cannot write its signing log, without which it signs nothing; its own messages say why"
        .to_owned()
}

impl Asked<'_> {
    /// What a person is asked about it.
    pub(crate) fn question(&self, connection: &Connection) -> String {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name()).collect();
        let context = &self.request.context;
        format!(
            "\n{name} ({peer}) asks to sign:\n  \
             an Issue of {quantity} ndau\n  \
             sequence {sequence}, hash {hash}\n  \
             with {names}\n  \
             for {trades} of {symbol}, {first} to {last} (as it says)\n\
             Type yes to sign it: ",
            name = connection.name,
            peer = connection.server_key,
            quantity = self.issue.quantity(),
            sequence = self.issue.sequence(),
            hash = self.issue.hash(),
            names = names.join(", "),
            trades = trades(context),
            symbol = plain(&context.symbol),
            first = plain(&context.first_trade_id),
            last = plain(&context.last_trade_id),
        )
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = &self.request.context;
        write!(
            f,
            "Issue of {} ndau, sequence {}, hash {}, for {} of {}, {} to {}",
            self.issue.quantity(),
            self.issue.sequence(),
            self.issue.hash(),
            trades(context),
            excerpt(&context.symbol),
            excerpt(&context.first_trade_id),
            excerpt(&context.last_trade_id),
        )
    }
}

/// What a request says, for a person: no letters that other scripts write from right to left, or that look like others.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_ascii() { c } else { '?' };
    excerpt(&text.chars().map(plain).collect::<String>())
}

fn trades(context: &Context) -> String {
    counted(
        usize::try_from(context.trades).unwrap_or(usize::MAX),
        "trade",
    )
}

/// The transaction of a request, or what else it is.
pub(crate) fn read_issue(request: &SignTx) -> Result<Issue, String> {
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

/// Those of `keys` that a request names.
pub(crate) fn asked_for<'k>(keys: impl Iterator<Item = &'k Key>, request: &SignTx) -> Vec<&'k Key> {
    keys.filter(|key| request.signing_keys.contains(key.public()))
        .collect()
}

/// Signatures by `keys`, or why there is not even one.
pub(crate) fn sign(
    issue: &Issue,
    keys: &[&Key],
    stop: &dyn Fn() -> bool,
) -> Result<Vec<(PublicKey, Signature)>, String> {
    let bytes = issue.signable_bytes();
    let mut signatures = Vec::new();
    let mut failures = Vec::new();
    for key in keys {
        match key.sign(&bytes, stop) {
            Ok(signature) => signatures.push((key.public().clone(), signature)),
            Err(error) => {
                // What a program said on its stderr stays here.
                warn!("{}", chain(&error));
                failures.push(error.to_string());
            }
        }
    }
    // Others may be enough without the keys that failed; the integration counts.
    if signatures.is_empty() {
        return Err(failures.join("; "));
    }
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::napu::Napu;
    use crate::ndau::PrivateKey;
    use crate::service::IfMissing;
    use crate::signer::message::RequestId;
    use crate::state::HostDisk;

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

    fn connection() -> Connection {
        Connection {
            name: "test".to_owned(),
            url: "ws://localhost".parse().unwrap(),
            server_key: key(9).public().clone(),
            keys: None,
        }
    }

    /// What follows on a request to a desk that holds `keys`, and the text of its signing log after that.
    fn receive<const N: usize>(
        request: &SignTx,
        keys: [Key; N],
        policy: Policy,
    ) -> (Step<'static>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut desk = Desk {
            // What follows refers to them.
            keys: Vec::from(keys).leak(),
            policy,
            log: SigningLog::open(&HostDisk, &path, 0, IfMissing::Begin).unwrap(),
            clock: &SystemClock,
            stop: Box::leak(Box::default()),
        };
        let step = desk.receive(&connection(), request.clone());
        (step, std::fs::read_to_string(path).unwrap())
    }

    #[test]
    fn signatures_are_by_the_held_ones_of_the_requested_keys() {
        let (a, b, c) = (key(1), key(2), key(3));
        let wanted = request(&[&a, &c, &a]);
        let by = a.public().to_string();
        let (step, log) = receive(&wanted, [b.into(), a.into()], Policy::default());
        let Step::Answer(FromSigner::Signatures { signatures, .. }) = step else {
            panic!("not signed");
        };
        let issue = Issue::new(Napu::NDAU, 5).unwrap();
        assert_eq!(signatures.len(), 1);
        let (key, signature) = &signatures[0];
        assert!(issue.verify(&wanted.signing_keys, key, signature).is_ok());
        let said = format!("\"keys\":[\"{by}\"],\"verdict\":\"signed\",\"reason\":null}}\n");
        assert!(log.ends_with(&said), "{log}");
        assert!(log.contains("\"connection\":\"test\""), "{log}");
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_its_reason_and_written_down() {
        let refused = |request: &SignTx, policy| match receive(request, [key(1).into()], policy) {
            (Step::Answer(FromSigner::Refused { reason, .. }), log) => {
                let said =
                    format!("\"keys\":[],\"verdict\":\"refused\",\"reason\":\"{reason}\"}}\n");
                assert!(log.ends_with(&said), "{log}");
                assert!(log.contains("\"quantity_napu\":\"100000000\",\"sequence\":5"));
                reason
            }
            other => panic!("{other:?}"),
        };
        let none = Policy::default();
        let less = Napu::new(99_999_999);
        let per_tx = Policy {
            max_issue_per_tx: less,
            ..none
        };
        assert_eq!(
            refused(&request(&[&key(1)]), per_tx),
            "1 ndau is above the limit of 0.99999999 ndau in one transaction"
        );
        let per_day = Policy {
            max_issue_per_day: less,
            ..none
        };
        assert!(refused(&request(&[&key(1)]), per_day).contains("0.99999999 ndau a day"));
        let exact = Policy {
            max_issue_per_tx: Some(Napu::NDAU),
            max_issue_per_day: Some(Napu::NDAU),
            ..none
        };
        assert!(matches!(
            receive(&request(&[&key(1)]), [key(1).into()], exact),
            (Step::Answer(FromSigner::Signatures { .. }), _)
        ));
    }

    #[test]
    fn without_any_of_its_keys_a_request_gets_no_signatures_and_no_refusal() {
        for wanted in [request(&[&key(2)]), request(&[])] {
            for confirm in [false, true] {
                let policy = Policy {
                    confirm,
                    ..Policy::default()
                };
                let (step, log) = receive(&wanted, [key(1).into()], policy);
                let Step::Answer(FromSigner::Signatures { signatures, .. }) = step else {
                    panic!("{step:?}");
                };
                assert_eq!(signatures, []);
                assert!(
                    log.contains("none of the keys asked for is held here"),
                    "{log}"
                );
            }
        }
    }

    #[test]
    fn a_person_is_asked_only_about_what_the_limits_allow() {
        let ask = Policy {
            confirm: true,
            ..Policy::default()
        };
        let (step, log) = receive(&request(&[&key(1)]), [key(1).into()], ask);
        let Step::Ask(asked) = step else {
            panic!("{step:?}");
        };
        assert_eq!(log, "");
        let question = asked.question(&connection());
        for part in [
            "test (npub",
            "1 ndau",
            "sequence 5",
            asked.issue.hash().as_str(),
            "with keys.test\n",
            "1 trade of NDAU_USDT",
        ] {
            assert!(question.contains(part), "{question}");
        }
        let less = Policy {
            max_issue_per_tx: Some(Napu::ONE),
            ..ask
        };
        let (step, _) = receive(&request(&[&key(1)]), [key(1).into()], less);
        assert!(matches!(step, Step::Answer(FromSigner::Refused { .. })));
    }

    #[test]
    fn what_a_request_says_cannot_write_lines_of_its_own() {
        let mut wanted = request(&[&key(1)]);
        wanted.context.symbol = format!("A\n\u{1b}[2J\u{202e}{}", "x".repeat(5000));
        wanted
            .context
            .first_trade_id
            .clone_from(&wanted.context.symbol);
        let ask = Policy {
            confirm: true,
            ..Policy::default()
        };
        let (Step::Ask(asked), _) = receive(&wanted, [key(1).into()], ask) else {
            panic!("not asked");
        };
        let question = asked.question(&connection());
        assert_eq!(question.lines().count(), 7, "{question}");
        assert!(!question.contains('\u{1b}') && !question.contains('\u{202e}'));
        let (_, log) = receive(&wanted, [key(1).into()], Policy::default());
        assert!(log.lines().count() == 1 && log.len() < 3000, "{log}");
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
            let (step, log) = receive(&request, [key(1).into()], Policy::default());
            assert!(
                matches!(step, Step::Answer(FromSigner::Error { .. })),
                "{tx_type} {tx}: {step:?}"
            );
            assert!(log.contains(&format!("\"tx_type\":\"{tx_type}\",\"quantity_napu\":null")));
            assert!(log.contains("\"verdict\":\"refused\""), "{log}");
        }
    }
}
