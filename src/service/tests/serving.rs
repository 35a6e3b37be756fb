//! The service as an integration sees it that the test plays by hand: questions to a person, stopping, and requests that
//! should not be.

use std::io::{PipeWriter, Write};
use std::net::TcpListener;
use std::path::Path;

use tungstenite::handshake::server::{Request as Upgrade, Response};
use tungstenite::{Message, WebSocket};

use super::*;
use crate::clock::Clock;
use crate::signer::message::RequestId;
use crate::signer::noise::{Hail, Transport};

/// What the service does next.
#[derive(Debug, PartialEq)]
enum Heard {
    Said(FromSigner),
    Pong,
    Closed(u16),
    Gone,
}

/// One connection of the service, after its `hello`.
struct Integration {
    socket: WebSocket<TcpStream>,
    transport: Transport,
}

impl Integration {
    /// The next connection that the service has not given up meanwhile.
    fn accept(listener: &TcpListener) -> Integration {
        loop {
            let (stream, _) = listener.accept().unwrap();
            if let Some(integration) = Integration::shake_hands(stream) {
                return integration;
            }
        }
    }

    #[expect(clippy::result_large_err, reason = "that is the callback's type")]
    fn shake_hands(stream: TcpStream) -> Option<Integration> {
        stream.set_read_timeout(Some(LONG)).unwrap();
        let protocol = |_: &Upgrade, mut response: Response| {
            let name = "ndau-signer.1".parse().unwrap();
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", name);
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, protocol).ok()?;
        let first = socket.read().ok()?.into_data();
        let (transport, reply) = Hail::receive(&server(), &first).unwrap().reply().unwrap();
        socket.send(reply.into()).ok()?;
        let mut integration = Integration { socket, transport };
        match integration.next() {
            Heard::Said(FromSigner::Hello { .. }) => Some(integration),
            Heard::Gone => None,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, message: &ToSigner) {
        let sealed = self.transport.seal(&message.to_json()).unwrap();
        self.socket.send(sealed.into()).unwrap();
    }

    /// Asks for an `Issue` of so many ndau.
    fn ask(&mut self, quantity: u64, sequence: u64) {
        let issue = Issue::new(ndau(quantity), sequence).unwrap();
        let id = RequestId::new([7; 16]);
        let context = request(&[10], 1).context;
        let asked = SignTx::new(id, &issue, public(&[10]), context);
        self.send(&ToSigner::SignTx(asked));
    }

    fn next(&mut self) -> Heard {
        match self.socket.read() {
            Ok(Message::Binary(message)) => {
                let text = self.transport.open(&message).unwrap();
                Heard::Said(FromSigner::parse(&text).unwrap())
            }
            Ok(Message::Pong(_)) => Heard::Pong,
            Ok(Message::Close(frame)) => Heard::Closed(frame.unwrap().code.into()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => Heard::Gone,
        }
    }

    #[track_caller]
    fn is_signed(&mut self) {
        let heard = self.next();
        assert!(
            matches!(heard, Heard::Said(FromSigner::Signatures { .. })),
            "{heard:?}"
        );
    }

    #[track_caller]
    fn is_refused(&mut self, why: &str) {
        match self.next() {
            Heard::Said(FromSigner::Refused { reason, .. }) => assert!(reason.contains(why)),
            other => panic!("{other:?}"),
        }
    }

    /// The service is there and reads what comes.
    #[track_caller]
    fn is_served(&mut self) {
        self.socket.send(Message::Ping(Vec::new().into())).unwrap();
        assert_eq!(self.next(), Heard::Pong);
    }

    /// The service does something.
    #[track_caller]
    fn is_served_or_answered(&mut self) {
        self.socket.send(Message::Ping(Vec::new().into())).unwrap();
        assert!(!matches!(self.next(), Heard::Closed(_) | Heard::Gone));
    }
}

/// A service that the test can stop and answer.
struct Served {
    stop: Stop,
    person: PipeWriter,
    folder: tempfile::TempDir,
}

impl Served {
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until the signing log has so many lines, and gives them.
    fn lines(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + LONG;
        while self.log().lines().count() < count {
            assert!(Instant::now() < until, "{}", self.log());
            thread::yield_now();
        }
        let lines: Vec<String> = self.log().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    /// Says yes, as patiently as a person, until the signing log has so many lines.
    fn say_yes_until(&mut self, count: usize) {
        let until = Instant::now() + LONG;
        while self.log().lines().count() < count {
            assert!(Instant::now() < until, "{}", self.log());
            self.person.write_all(b"yes\n").unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// So that a test that fails does not wait for its service for ever.
struct StopWhenDropped<'a>(&'a Stop);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Runs a service with `policy` against `count` integrations that `play` plays; how it ended, and how long after `play`.
fn with_service(
    policy: Policy,
    count: usize,
    play: impl FnOnce(&[TcpListener], &mut Served),
) -> (Exit, Duration) {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let connections = listeners.iter().enumerate().map(|(number, listener)| {
        let url = format!("ws://{}/signer", listener.local_addr().unwrap());
        Connection {
            name: format!("test{number}"),
            url: url.parse().unwrap(),
            server_key: server().public().clone(),
            keys: None,
        }
    });
    let config = Config {
        client: identity(1),
        connections: connections.collect(),
        keys: vec![key(10).into()],
        policy,
        log: PathBuf::new(),
    };
    let (input, person) = std::io::pipe().unwrap();
    let stop = Stop::default();
    let mut served = Served {
        stop: stop.clone(),
        person,
        folder: tempfile::tempdir().unwrap(),
    };
    let path = served.folder.path().join("log");
    let log = |path: &Path| {
        SigningLog::open(&HostDisk, path, SystemClock.now_ms(), IfMissing::Begin).unwrap()
    };
    thread::scope(|scope| {
        let service = scope.spawn(|| {
            let world = World {
                clock: &SystemClock,
                stop: &stop,
                input: input.as_fd(),
            };
            run(&config, log(&path), world, Until::Forever)
        });
        let stopping = StopWhenDropped(&stop);
        play(&listeners, &mut served);
        let start = Instant::now();
        drop(stopping);
        (service.join().unwrap(), start.elapsed())
    })
}

fn ndau(ndau: u64) -> Napu {
    Napu::new(ndau * Napu::NDAU.get()).unwrap()
}

/// A person is asked, and 5 ndau are the most.
fn ask() -> Policy {
    Policy {
        max_issue_per_tx: Some(ndau(5)),
        confirm: true,
        ..Policy::default()
    }
}

#[test]
fn a_person_says_yes_or_no() {
    with_service(ask(), 1, |listeners, served| {
        let mut first = Integration::accept(&listeners[0]);
        first.ask(1, 1);
        first.is_served();
        assert_eq!(served.log(), "");
        served.person.write_all(b"yes\n").unwrap();
        first.is_signed();
        assert!(served.lines(1)[0].contains("\"verdict\":\"signed\""));
        drop(first);

        let mut second = Integration::accept(&listeners[0]);
        second.ask(1, 2);
        second.is_served();
        served.person.write_all(b"y\n").unwrap();
        second.is_refused("said no");
        assert!(served.lines(2)[1].contains("\"verdict\":\"refused\""));
    });
}

/// While one waits for the person, the others are served, and are told at once what needs no person.
#[test]
fn a_question_keeps_nobody_else_waiting() {
    with_service(ask(), 3, |listeners, served| {
        let mut asking = Integration::accept(&listeners[0]);
        asking.ask(1, 1);
        let mut waiting = Integration::accept(&listeners[1]);
        waiting.ask(2, 2);
        let mut third = Integration::accept(&listeners[2]);
        third.ask(6, 3);
        third.is_refused("above the limit");
        for integration in [&mut asking, &mut waiting, &mut third] {
            integration.is_served();
        }
        served.person.write_all(b"yes\n").unwrap();
        asking.is_signed();
        // The second question comes a while after the first, and only an answer after that is one.
        waiting.is_served();
        served.say_yes_until(3);
    });
}

/// A yes that was typed for a question that is gone is none for the next.
#[test]
fn a_question_ends_with_its_session() {
    with_service(ask(), 1, |listeners, served| {
        let mut gone = Integration::accept(&listeners[0]);
        gone.ask(1, 1);
        gone.is_served();
        drop(gone);
        let lines = served.lines(1);
        assert!(
            lines[0].contains("waited no longer, before a person had answered"),
            "{lines:?}"
        );
        served.person.write_all(b"yes\n").unwrap();

        // The integration's own word that it waits no longer ends the question, too: others may have signed enough.
        for (ended, outcome) in [Outcome::Committed, Outcome::NotNeeded, Outcome::Failed]
            .into_iter()
            .enumerate()
        {
            let mut next = Integration::accept(&listeners[0]);
            next.ask(1, 1);
            next.is_served();
            next.is_served();
            assert_eq!(served.lines(1 + ended).first(), lines.first());
            next.send(&ToSigner::Done {
                id: RequestId::new([7; 16]),
                outcome,
                hash: String::new(),
            });
            let lines = served.lines(2 + ended);
            assert!(
                lines[1 + ended].contains("before a person had answered"),
                "{lines:?}"
            );
            served.person.write_all(b"yes\n").unwrap();
        }
    });
}

/// What was signed while the person thought counts against the day's limit before theirs is signed.
#[test]
fn a_yes_is_within_the_limits_of_its_own_moment() {
    let policy = Policy {
        max_issue_per_day: Some(ndau(3)),
        ..ask()
    };
    with_service(policy, 2, |listeners, served| {
        let mut first = Integration::accept(&listeners[0]);
        let mut second = Integration::accept(&listeners[1]);
        first.ask(2, 1);
        first.is_served();
        second.ask(2, 2);
        second.is_served();
        served.person.write_all(b"yes\n").unwrap();
        first.is_signed();
        served.say_yes_until(2);
        let lines = served.lines(2);
        assert!(lines[1].contains("ndau a day"), "{lines:?}");
    });
}

#[test]
fn a_session_carries_one_request() {
    with_service(Policy::default(), 1, |listeners, served| {
        let mut integration = Integration::accept(&listeners[0]);
        integration.ask(1, 1);
        integration.is_signed();
        integration.ask(1, 2);
        match integration.next() {
            Heard::Said(FromSigner::Error { message }) => {
                assert!(message.contains("second request"))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(integration.next(), Heard::Closed(1008));
        served.lines(1);
    });
}

/// An answer that ends the session ends it at once, whether or not the other side closes too.
#[test]
fn what_is_no_issue_ends_the_session() {
    with_service(Policy::default(), 1, |listeners, served| {
        let mut integration = Integration::accept(&listeners[0]);
        let issue = Issue::new(ndau(1), 1).unwrap();
        let mut asked = SignTx::new(
            RequestId::new([7; 16]),
            &issue,
            public(&[10]),
            request(&[10], 1).context,
        );
        asked.tx_type = "Transfer".to_owned();
        integration.send(&ToSigner::SignTx(asked));
        let heard = integration.next();
        assert!(matches!(heard, Heard::Said(FromSigner::Error { .. })));
        assert_eq!(integration.next(), Heard::Closed(1008));
        let start = Instant::now();
        assert_eq!(integration.next(), Heard::Gone);
        assert!(start.elapsed() < Duration::from_secs(5));
        let lines = served.lines(1);
        assert!(lines[0].contains("\"tx_type\":\"Transfer\""), "{lines:?}");
    });
}

/// In every state a service that is told to stop closes what is open, with a code that says why, and is gone soon, whether
/// or not the other side takes note.
#[test]
fn a_service_that_is_told_to_stop_takes_leave() {
    let none = Policy::default();
    for (policy, asks, answers) in [
        (none, false, true),
        (none, true, true),
        (ask(), true, false),
    ] {
        for closes in [true, false] {
            let mut told = None;
            let (exit, time) = with_service(policy, 1, |listeners, served| {
                let mut integration = Integration::accept(&listeners[0]);
                if asks {
                    integration.ask(1, 1);
                }
                integration.is_served_or_answered();
                if asks && answers {
                    served.lines(1);
                }
                served.stop.set();
                if closes {
                    while integration.next() != Heard::Gone {}
                    told = Some(served.log());
                } else {
                    while !matches!(integration.next(), Heard::Closed(1001)) {}
                    std::mem::forget(integration);
                }
            });
            assert_eq!(exit, Exit::Done);
            assert!(time < Duration::from_secs(3), "{time:?}");
            if let (Some(log), false) = (told, answers) {
                assert!(log.contains("stopped before a person"), "{log}");
            }
        }
    }
}

/// An answer that is on its way arrives before the service is gone.
#[test]
fn a_service_that_is_told_to_stop_finishes_its_answer() {
    for _ in 0..20 {
        let mut heard = Vec::new();
        let (exit, _) = with_service(Policy::default(), 1, |listeners, served| {
            let mut integration = Integration::accept(&listeners[0]);
            integration.ask(1, 1);
            served.lines(1);
            served.stop.set();
            loop {
                match integration.next() {
                    Heard::Gone => break,
                    other => heard.push(other),
                }
            }
        });
        assert_eq!(exit, Exit::Done);
        assert!(
            matches!(
                heard[..],
                [
                    Heard::Said(FromSigner::Signatures { .. }),
                    Heard::Closed(1001)
                ]
            ),
            "{heard:?}"
        );
    }
}

/// While it dials what does not answer, too.
#[test]
fn a_service_that_is_told_to_stop_does_not_wait_for_silence() {
    let (exit, time) = with_service(Policy::default(), 1, |listeners, _| {
        std::mem::forget(listeners[0].accept().unwrap());
    });
    assert_eq!(exit, Exit::Done);
    assert!(time < Duration::from_secs(3), "{time:?}");
}

/// A signature that could not be written down does not leave.
#[test]
fn without_a_log_nothing_is_signed() {
    with_service(Policy::default(), 1, |listeners, served| {
        let mut integration = Integration::accept(&listeners[0]);
        std::fs::remove_file(served.folder.path().join("log")).unwrap();
        integration.ask(1, 1);
        integration.is_refused("cannot write its signing log");
        assert!(!served.folder.path().join("log").exists());
    });
}
