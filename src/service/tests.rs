//! Both sides over loopback sockets: the listener in the test's own thread, signers and strangers in others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::config::{Config, Connection, Policy};
use super::run::{Until, run};
use super::session::{DialError, Event, Session};
use crate::clock::{Clock, SystemClock};
use crate::error::Exit;
use crate::napu::Napu;
use crate::ndau::{Issue, PrivateKey, PublicKey};
use crate::signer::message::{FromSigner, RequestId, SignTx, ToSigner};
use crate::signer::{Context, Error, Identity, Listener, Outcome, Request};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(400);

/// The host's clock, ten times as fast.
struct Fast(Instant);

impl Clock for Fast {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms()
    }
    fn instant(&self) -> Instant {
        self.0 + self.0.elapsed() * 10
    }
    fn sleep(&self, pause: Duration) {
        SystemClock.sleep(pause / 10);
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_ed25519_seed(&[seed; 32])
}

fn identity(seed: u8) -> Identity {
    Identity::new(key(seed)).unwrap()
}

/// The integration's identity.
fn server() -> Identity {
    identity(200)
}

fn public(seeds: &[u8]) -> Vec<PublicKey> {
    seeds
        .iter()
        .map(|seed| key(*seed).public().clone())
        .collect()
}

fn listen<'a>(server: &'a Identity, allowed: &[u8]) -> Listener<'a> {
    let endpoint = "ws://127.0.0.1:0/signer".parse().unwrap();
    Listener::open(&endpoint, server, &public(allowed)).unwrap()
}

fn request(keys: &[u8], needed: usize) -> Request {
    Request {
        issue: Issue::new(Napu::NDAU, 5).unwrap(),
        keys: public(keys),
        needed,
        context: Context {
            symbol: "NDAU_USDT".to_owned(),
            trades: 2,
            first_trade_id: "1".to_owned(),
            last_trade_id: "2".to_owned(),
        },
    }
}

/// A service with the identity `client` that holds `keys` and dials `listener`.
fn service(listener: &Listener<'_>, client: u8, keys: &[u8]) -> Config {
    Config {
        client: identity(client),
        connections: vec![Connection {
            name: "test".to_owned(),
            url: listener.url(),
            server_key: server().public().clone(),
        }],
        keys: keys.iter().map(|seed| key(*seed)).collect(),
        policy: Policy::default(),
    }
}

fn dial(config: &Config) -> Result<Session, DialError> {
    Session::dial(config, &config.connections[0])
}

/// The next message; `None` when the connection is over.
fn next(session: &mut Session) -> Option<ToSigner> {
    loop {
        match session.receive() {
            Ok(None) => {}
            Ok(Some(text)) => return Some(ToSigner::parse(&text).unwrap()),
            Err(_) => return None,
        }
    }
}

fn next_request(session: &mut Session) -> SignTx {
    match next(session) {
        Some(ToSigner::SignTx(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn collect(
    listener: Listener<'_>,
    request: &Request,
    within: Duration,
) -> Result<crate::signer::Signed, Error> {
    listener.collect(&SystemClock, request, within)
}

#[test]
fn a_request_is_signed_and_its_outcome_told() {
    let server = server();
    for outcome in [Outcome::Committed, Outcome::NotNeeded] {
        let listener = listen(&server, &[1]);
        let config = service(&listener, 1, &[10, 11]);
        thread::scope(|scope| {
            let signer = scope.spawn(|| run(&config, &SystemClock, Until::OneSession));
            let request = request(&[10], 1);
            let signed = collect(listener, &request, LONG).unwrap();
            assert_eq!(signed.verified().len(), 1);
            assert_eq!(signed.verified()[0].key(), key(10).public());
            signed.finish(outcome, &request.issue.hash());
            assert_eq!(signer.join().unwrap(), Exit::Done);
        });
    }
}

/// With `--once`, a failed transaction is waited for again.
#[test]
fn a_failed_outcome_is_no_end_for_the_service() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    let endpoint = listener.url().parse().unwrap();
    thread::scope(|scope| {
        let signer = scope.spawn(|| run(&config, &SystemClock, Until::OneSession));
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        signed.finish(Outcome::Failed, &request.issue.hash());
        let again = Listener::open(&endpoint, &server, &public(&[1])).unwrap();
        let signed = collect(again, &request, LONG).unwrap();
        signed.finish(Outcome::Committed, &request.issue.hash());
        assert_eq!(signer.join().unwrap(), Exit::Done);
    });
}

#[test]
fn two_signers_give_the_two_signatures_needed() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let configs = [service(&listener, 1, &[10]), service(&listener, 2, &[11])];
    thread::scope(|scope| {
        let signers = configs
            .each_ref()
            .map(|config| scope.spawn(|| run(config, &SystemClock, Until::OneSession)));
        let request = request(&[10, 11, 12], 2);
        let signed = collect(listener, &request, LONG).unwrap();
        let mut by: Vec<_> = signed
            .verified()
            .iter()
            .map(|one| one.key().to_string())
            .collect();
        by.sort();
        let mut expected: Vec<_> = public(&[10, 11]).iter().map(PublicKey::to_string).collect();
        expected.sort();
        assert_eq!(by, expected);
        signed.finish(Outcome::Committed, &request.issue.hash());
        for signer in signers {
            assert_eq!(signer.join().unwrap(), Exit::Done);
        }
    });
}

#[test]
fn one_service_serves_two_integrations() {
    let server = server();
    let (one, other) = (listen(&server, &[1]), listen(&server, &[1]));
    let mut config = service(&one, 1, &[10]);
    config
        .connections
        .extend(service(&other, 1, &[]).connections);
    let request = request(&[10], 1);
    thread::scope(|scope| {
        let signer = scope.spawn(|| run(&config, &SystemClock, Until::OneSession));
        let waiting = scope.spawn(|| collect(other, &request, LONG).unwrap());
        let signed = collect(one, &request, LONG).unwrap();
        let also = waiting.join().unwrap();
        signed.finish(Outcome::Committed, &request.issue.hash());
        assert_eq!(signer.join().unwrap(), Exit::Done);
        drop(also);
    });
}

#[test]
fn a_refusal_ends_both_sides_at_once_with_its_reason() {
    let server = server();
    let listener = listen(&server, &[1]);
    let mut config = service(&listener, 1, &[10]);
    config.policy.max_issue_per_tx = Napu::new(1);
    thread::scope(|scope| {
        let signer = scope.spawn(|| run(&config, &SystemClock, Until::OneSession));
        let start = Instant::now();
        let error = collect(listener, &request(&[10], 1), LONG).unwrap_err();
        assert!(start.elapsed() < LONG / 2);
        assert_eq!(error.exit(), Exit::Refused);
        let text = error.to_string();
        assert!(
            text.contains("1 ndau is above the limit of 0.00000001 ndau"),
            "{text}"
        );
        assert_eq!(signer.join().unwrap(), Exit::Refused);
    });
}

#[test]
fn a_reason_cannot_write_lines_of_its_own() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = dial(&config).unwrap();
            let id = next_request(&mut session).id;
            let reason = format!("no\nERROR all is lost\u{1b}[2J{}", "x".repeat(5000));
            session.send(&FromSigner::Refused { id, reason }).unwrap();
            while next(&mut session).is_some() {}
        });
        let error = collect(listener, &request(&[10], 1), LONG).unwrap_err();
        let text = error.to_string();
        assert!(
            !text.contains(char::is_control) && text.len() < 500,
            "{text}"
        );
    });
}

/// A refusal by one is not the end while another could still sign.
#[test]
fn another_signer_may_sign_what_one_refused() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let mut refusing = service(&listener, 1, &[10]);
    refusing.policy.max_issue_per_tx = Napu::new(1);
    let signing = service(&listener, 2, &[11]);
    thread::scope(|scope| {
        let (said_no, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let mut session = dial(&refusing).unwrap();
            while session.look(&refusing, "test") != Event::Refused {}
            said_no.send(()).unwrap();
            while session.look(&refusing, "test") == Event::Quiet {}
        });
        let signer = scope.spawn(move || {
            told.recv().unwrap();
            run(&signing, &SystemClock, Until::OneSession)
        });
        let request = request(&[10, 11], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        assert_eq!(signed.verified()[0].key(), key(11).public());
        signed.finish(Outcome::Committed, &request.issue.hash());
        assert_eq!(signer.join().unwrap(), Exit::Done);
    });
}

#[test]
fn nobody_in_time_is_unavailable() {
    let server = server();
    let start = Instant::now();
    let error = collect(listen(&server, &[1]), &request(&[10], 1), SHORT).unwrap_err();
    assert!(
        matches!(error, Error::Nobody { strangers: 0, .. }),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Unavailable);
    assert!(start.elapsed() >= SHORT && start.elapsed() < 10 * SHORT);
}

#[test]
fn fewer_keys_than_needed_are_refused_at_once() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = dial(&config).unwrap();
            while !matches!(session.look(&config, "test"), Event::Done(Outcome::Failed)) {}
        });
        let error = collect(listener, &request(&[10, 11], 2), LONG).unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooFew {
                    needed: 2,
                    given: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.exit(), Exit::Refused);
    });
}

/// What a rogue signer answers, what the integration makes of it, and that its session ends with an `error`.
#[test]
fn wrong_foreign_and_garbled_answers_are_refused() {
    type Answer = fn(&SignTx) -> FromSigner;
    let other = || Issue::new(Napu::NDAU, 6).unwrap();
    assert_ne!(other(), request(&[10], 1).issue);
    let cases: [(Answer, &str, Exit); 8] = [
        (
            |request| {
                let issue = Issue::new(Napu::NDAU, 6).unwrap();
                FromSigner::Signatures {
                    id: request.id.clone(),
                    signatures: vec![(
                        key(10).public().clone(),
                        key(10).sign(&issue.signable_bytes()),
                    )],
                }
            },
            "does not verify over this Issue",
            Exit::Refused,
        ),
        (
            |request| {
                let issue = Issue::parse_unsigned(&request.tx).unwrap();
                let sign = |seed| {
                    (
                        key(seed).public().clone(),
                        key(seed).sign(&issue.signable_bytes()),
                    )
                };
                FromSigner::Signatures {
                    id: request.id.clone(),
                    signatures: vec![sign(10), sign(99)],
                }
            },
            "a signature by a key that was not asked to sign",
            Exit::Refused,
        ),
        (
            |request| {
                let issue = Issue::parse_unsigned(&request.tx).unwrap();
                FromSigner::Signatures {
                    id: request.id.clone(),
                    signatures: vec![(
                        key(10).public().clone(),
                        key(99).sign(&issue.signable_bytes()),
                    )],
                }
            },
            "does not verify over this Issue",
            Exit::Refused,
        ),
        (
            |request| FromSigner::Signatures {
                id: request.id.clone(),
                signatures: Vec::new(),
            },
            "0 of the 1 signatures needed",
            Exit::Refused,
        ),
        (
            |_| FromSigner::Refused {
                id: RequestId::new([1; 16]),
                reason: "no".to_owned(),
            },
            "an answer to a request that was not made",
            Exit::BadData,
        ),
        (
            |_| FromSigner::Hello {
                version: "1".to_owned(),
                keys: 1,
            },
            "a second hello",
            Exit::BadData,
        ),
        (
            |_| FromSigner::Error {
                message: "what?".to_owned(),
            },
            "it says: what?",
            Exit::BadData,
        ),
        (
            |request| FromSigner::Refused {
                id: request.id.clone(),
                reason: "a person said no".to_owned(),
            },
            "refused to sign: a person said no",
            Exit::Refused,
        ),
    ];
    let server = server();
    for (answer, expected, exit) in cases {
        let listener = listen(&server, &[1]);
        let config = service(&listener, 1, &[10]);
        thread::scope(|scope| {
            let signer = scope.spawn(|| {
                let mut session = dial(&config).unwrap();
                let request = next_request(&mut session);
                session.send(&answer(&request)).unwrap();
                let last = next(&mut session);
                assert!(next(&mut session).is_none());
                last
            });
            let error = collect(listener, &request(&[10], 1), LONG).unwrap_err();
            let text = crate::error::chain(&error);
            assert!(text.contains(expected), "{text}");
            assert_eq!(error.exit(), exit, "{text}");
            match signer.join().unwrap() {
                Some(ToSigner::Error { .. }) => assert!(!matches!(error, Error::TooFew { .. })),
                Some(ToSigner::Done { outcome, .. }) => assert_eq!(outcome, Outcome::Failed),
                other => panic!("{other:?}"),
            }
        });
    }
}

/// A wrong signature by one signer does not keep the right one of another out.
#[test]
fn a_wrong_signature_does_not_end_the_wait() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let rogue = service(&listener, 1, &[10]);
    let honest = service(&listener, 2, &[10]);
    thread::scope(|scope| {
        let rogue = scope.spawn(move || {
            let mut session = dial(&rogue).unwrap();
            let request = next_request(&mut session);
            let signatures = vec![(key(10).public().clone(), key(10).sign(b"other"))];
            let id = request.id;
            session
                .send(&FromSigner::Signatures { id, signatures })
                .unwrap();
            assert!(matches!(next(&mut session), Some(ToSigner::Error { .. })));
        });
        let honest = scope.spawn(move || {
            rogue.join().unwrap();
            run(&honest, &SystemClock, Until::OneSession)
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        signed.finish(Outcome::Committed, &request.issue.hash());
        assert_eq!(honest.join().unwrap(), Exit::Done);
    });
}

#[test]
fn a_silent_signer_delays_no_other() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let silent = service(&listener, 1, &[10]);
    let honest = service(&listener, 2, &[10]);
    thread::scope(|scope| {
        let (asked, was_asked) = std::sync::mpsc::channel();
        let silent = scope.spawn(move || {
            let mut session = dial(&silent).unwrap();
            next_request(&mut session);
            asked.send(()).unwrap();
            next(&mut session)
        });
        scope.spawn(move || {
            was_asked.recv().unwrap();
            run(&honest, &SystemClock, Until::OneSession)
        });
        let request = request(&[10], 1);
        let start = Instant::now();
        let signed = collect(listener, &request, LONG).unwrap();
        assert!(start.elapsed() < LONG / 3);
        signed.finish(Outcome::Committed, &request.issue.hash());
        // It hears how it ended.
        assert!(matches!(
            silent.join().unwrap(),
            Some(ToSigner::Done { .. })
        ));
    });
}

#[test]
fn a_signer_that_never_answers_is_named() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = dial(&config).unwrap();
            next_request(&mut session);
            assert!(matches!(next(&mut session), Some(ToSigner::Done { .. })));
        });
        let error = collect(listener, &request(&[10], 1), Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, Error::Silent { .. }), "{error}");
        assert!(error.to_string().contains(key(1).public().as_text()));
        assert_eq!(error.exit(), Exit::Unavailable);
    });
}

#[test]
fn a_signer_that_connects_again_takes_its_own_place() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut old = dial(&config).unwrap();
            let first = next_request(&mut old);
            let mut new = dial(&config).unwrap();
            assert_eq!(next_request(&mut new), first);
            assert_eq!(next(&mut old), None);
            let issue = Issue::parse_unsigned(&first.tx).unwrap();
            let signatures = vec![(
                key(10).public().clone(),
                key(10).sign(&issue.signable_bytes()),
            )];
            let id = first.id;
            new.send(&FromSigner::Signatures { id, signatures })
                .unwrap();
            assert!(matches!(next(&mut new), Some(ToSigner::Done { .. })));
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        signed.finish(Outcome::Committed, &request.issue.hash());
    });
}

#[test]
fn only_the_right_identities_meet() {
    let server = server();
    let listener = listen(&server, &[1]);
    let not_allowed = service(&listener, 2, &[10]);
    let mut wrong_server = service(&listener, 1, &[10]);
    wrong_server.connections[0].server_key = key(99).public().clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            for config in [&not_allowed, &wrong_server] {
                let error = dial(config).map(|_| ()).unwrap_err();
                assert!(matches!(error, DialError::Closed), "{error:?}");
            }
        });
        let error = collect(listener, &request(&[10], 1), SHORT).unwrap_err();
        assert!(
            matches!(error, Error::Nobody { strangers: 2, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("2 other connections"), "{error}");
    });
}

#[test]
fn what_could_never_end_well_is_refused_first() {
    let server = server();
    let open = |allowed: &[u8]| {
        let endpoint = "ws://127.0.0.1:0/signer".parse().unwrap();
        Listener::open(&endpoint, &server, &public(allowed))
    };
    assert!(matches!(open(&[]), Err(Error::NobodyAllowed)));
    assert!(matches!(open(&[200]), Err(Error::KeyOfTwoUses { .. })));
    for (keys, needed) in [(&[10][..], 0), (&[10], 2), (&[10, 10], 2), (&[], 1)] {
        let error = collect(open(&[1]).unwrap(), &request(keys, needed), LONG).unwrap_err();
        assert!(matches!(error, Error::Impossible { .. }), "{error}");
    }
    for key in [1, 200] {
        let error = collect(open(&[1]).unwrap(), &request(&[10, key], 1), LONG).unwrap_err();
        assert!(matches!(error, Error::KeyOfTwoUses { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
    let taken = open(&[1]).unwrap();
    let endpoint = taken.url().parse().unwrap();
    let error = Listener::open(&endpoint, &server, &public(&[1]))
        .err()
        .unwrap();
    assert_eq!(error.exit(), Exit::Unavailable);
}

/// A WebSocket to the listener, with nothing said on it.
fn socket(address: &str, url: &str) -> tungstenite::WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = tungstenite::ClientRequestBuilder::new(url.parse().unwrap())
        .with_sub_protocol("ndau-signer.1");
    tungstenite::client(request, stream).unwrap().0
}

/// Somebody on the way who recorded a signer's session and says the same again gets the handshake's answer and a close
/// code; the signer keeps its place.
#[test]
fn a_repeated_session_is_a_stranger() {
    use crate::signer::noise::Initiator;
    let server = server();
    let listener = listen(&server, &[1]);
    let (address, url) = (address(&listener), listener.url());
    let (initiator, hail) = Initiator::start(&identity(1), server.public()).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut first = socket(&address, &url);
            let mut second = socket(&address, &url);
            first.send(hail.clone().into()).unwrap();
            let reply = first.read().unwrap().into_data();
            let mut transport = initiator.finish(&reply).unwrap();
            let hello = FromSigner::Hello {
                version: "1".to_owned(),
                keys: 1,
            };
            let hello = transport.seal(&hello.to_json()).unwrap();
            first.send(hello.clone().into()).unwrap();
            let text = transport.open(&first.read().unwrap().into_data()).unwrap();
            let Ok(ToSigner::SignTx(request)) = ToSigner::parse(&text) else {
                panic!("no request");
            };

            second.send(hail.into()).unwrap();
            let reply = second.read().unwrap().into_data();
            // Nothing but the handshake's own answer: an ephemeral key and a tag.
            assert_eq!(reply.len(), 48);
            second.send(hello.into()).unwrap();
            let tungstenite::Message::Close(Some(frame)) = second.read().unwrap() else {
                panic!("not closed");
            };
            assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, ""));

            let issue = Issue::parse_unsigned(&request.tx).unwrap();
            let signature = key(10).sign(&issue.signable_bytes());
            let answer = FromSigner::Signatures {
                id: request.id,
                signatures: vec![(key(10).public().clone(), signature)],
            };
            let answer = transport.seal(&answer.to_json()).unwrap();
            first.send(answer.into()).unwrap();
        });
        let signed = collect(listener, &request(&[10], 1), LONG).unwrap();
        // The signer is gone or does not listen any more; taking leave of it ends all the same.
        let start = Instant::now();
        signed.finish(
            Outcome::Committed,
            &Issue::new(Napu::NDAU, 5).unwrap().hash(),
        );
        assert!(start.elapsed() < Duration::from_secs(3));
    });
}

/// A signer that reads nothing any more holds the integration up for two seconds, not more.
#[test]
fn taking_leave_ends_in_time() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        let (finished, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let mut session = dial(&config).unwrap();
            while session.look(&config, "test") != Event::Signed {}
            told.recv().unwrap();
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        let start = Instant::now();
        signed.finish(Outcome::Committed, &request.issue.hash());
        let time = start.elapsed();
        finished.send(()).unwrap();
        assert!(
            time >= Duration::from_secs(1) && time < Duration::from_secs(3),
            "{time:?}"
        );
    });
}

/// Dialing ends with an error, whatever listens there: nobody, one who leaves, one who is silent, and the same
/// through TLS.
#[test]
fn dialing_what_is_no_integration_fails_in_time() {
    let server = server();
    let mut config = service(&listen(&server, &[1]), 1, &[10]);
    assert!(matches!(dial(&config).map(|_| ()), Err(DialError::Idle)));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    for scheme in ["ws", "wss"] {
        config.connections[0].url = format!("{scheme}://localhost:{port}/signer");
        thread::scope(|scope| {
            scope.spawn(|| drop(other.accept().unwrap()));
            let error = dial(&config).map(|_| ()).unwrap_err();
            assert!(matches!(error, DialError::Closed), "{error:?}");
        });
    }
    let start = Instant::now();
    let error = dial(&config).map(|_| ()).unwrap_err();
    assert!(matches!(error, DialError::Slow), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(7));
}

/// What a stranger that sends `bytes` hears until it is cut off.
fn hear(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

fn address(listener: &Listener<'_>) -> String {
    let url = listener.url();
    url.strip_prefix("ws://")
        .unwrap()
        .strip_suffix("/signer")
        .unwrap()
        .to_owned()
}

fn upgrade(path: &str, extra: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    )
    .into_bytes()
}

#[test]
fn strangers_are_turned_away() {
    const PROTOCOL: &str = "Sec-WebSocket-Protocol: ndau-signer.1\r\n";
    let server = server();
    let listener = listen(&server, &[1]);
    let address = address(&listener);
    let config = service(&listener, 1, &[10]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            b"GET /signer HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "",
        ),
        (
            b"POST /signer HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "",
        ),
        (upgrade("/", PROTOCOL), "HTTP/1.1 404 "),
        (upgrade("/signer/", PROTOCOL), "HTTP/1.1 404 "),
        (upgrade("/sigserv", ""), "HTTP/1.1 404 "),
        (upgrade("/signer", ""), "HTTP/1.1 400 "),
        (
            upgrade("/signer", "Sec-WebSocket-Protocol: ndau-signer.2, chat\r\n"),
            "HTTP/1.1 400 ",
        ),
        // A TLS hello's first bytes.
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), ""),
        (b"\0\0\0\0\r\n\r\n".to_vec(), ""),
        (vec![b'a'; 100_000], ""),
        ([&upgrade("/signer", PROTOCOL)[..], b"junk"].concat(), ""),
    ];
    thread::scope(|scope| {
        scope.spawn(|| {
            for (bytes, expected) in &cases {
                let heard = hear(&address, bytes);
                let heard = String::from_utf8_lossy(&heard);
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
                assert!(
                    heard.starts_with(expected) && heard.is_empty() == expected.is_empty(),
                    "{shown:?}: {heard:?}"
                );
            }
            // After the upgrade: a frame longer than any message, text, an unmasked frame, and no Noise.
            let frames: [&[u8]; 4] = [
                &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
                &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'],
                &[0x82, 0x02, 1, 2],
                &[0x82, 0x82, 0, 0, 0, 0, 1, 2],
            ];
            for frame in frames {
                let mut stream = TcpStream::connect(&address).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                stream.write_all(&upgrade("/signer", PROTOCOL)).unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                assert!(
                    head.to_lowercase()
                        .contains("sec-websocket-protocol: ndau-signer.1")
                );
                stream.write_all(frame).unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                // At most a close frame of four bytes, with a code and no text.
                assert!(rest.len() <= 4, "{rest:?}");
            }
            run(&config, &SystemClock, Until::OneSession)
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        signed.finish(Outcome::Committed, &request.issue.hash());
    });
}

/// A stranger's time is counted from its first moment, whatever it sends meanwhile.
#[test]
fn a_slow_stranger_has_five_seconds_in_total() {
    let server = server();
    let listener = listen(&server, &[1]);
    let address = address(&listener);
    thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let start = Instant::now();
            let mut stream = TcpStream::connect(&address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            for byte in b"GET /signer HTTP/1.1\r\n".iter().cycle() {
                // The read's own limit is the pace.
                let mut buffer = [0];
                if stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut buffer), Ok(0))
                {
                    break;
                }
            }
            start.elapsed()
        });
        let clock = Fast(Instant::now());
        let error = listener
            .collect(&clock, &request(&[10], 1), Duration::from_secs(8))
            .unwrap_err();
        assert!(
            matches!(error, Error::Nobody { strangers: 1, .. }),
            "{error}"
        );
        let time = stranger.join().unwrap() * 10;
        assert!(
            time > Duration::from_secs(4) && time < Duration::from_secs(7),
            "{time:?}"
        );
    });
}

#[test]
fn a_crowd_of_silent_strangers_does_not_keep_a_signer_out() {
    let server = server();
    let listener = listen(&server, &[1]);
    let address = address(&listener);
    let config = service(&listener, 1, &[10]);
    let over = AtomicBool::new(false);
    let knocks = AtomicUsize::new(0);
    thread::scope(|scope| {
        let crowd: Vec<_> = (0..64)
            .map(|_| TcpStream::connect(&address).unwrap())
            .collect();
        // One more, that connects again and again as fast as it can.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = TcpStream::connect(&address);
                knocks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let signer = scope.spawn(|| {
            while knocks.load(Ordering::Relaxed) < 200 {
                thread::yield_now();
            }
            let start = Instant::now();
            let exit = run(&config, &SystemClock, Until::OneSession);
            (exit, start.elapsed())
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        over.store(true, Ordering::Relaxed);
        signed.finish(Outcome::Committed, &request.issue.hash());
        let (exit, time) = signer.join().unwrap();
        assert_eq!(exit, Exit::Done);
        assert!(time < Duration::from_secs(1), "{time:?}");
        drop(crowd);
    });
}
