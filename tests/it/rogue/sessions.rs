//! Handshakes and sessions that are not what they should be.

use std::thread;

use serde_json::json;

use super::wire::{Frame, Wire, frame, switching};
use super::{Service, request, server};
use crate::peer::{answer, hail};
use crate::support::key;

/// What comes before the handshake is over, or instead of it. The service says no more than its request and its first
/// message, and leaves by itself.
#[test]
fn what_is_no_integration_hears_no_more_than_the_first_message() {
    type Act = fn(&mut Wire);
    let cases: &[(&str, Act, &str)] = &[
        ("it leaves at once", |wire| wire.hang_up(), "gone"),
        ("silence", |wire| drop(wire.request()), "gone"),
        (
            "it is somewhere else",
            |wire| wire.reply("HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n"),
            "gone",
        ),
        (
            "it is another server",
            |wire| wire.reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
            "gone",
        ),
        (
            "what is no HTTP",
            |wire| wire.reply("\u{1b}[2J\r\n\r\n"),
            "gone",
        ),
        (
            "headers without end",
            |wire| {
                wire.reply("HTTP/1.1 101 Switching Protocols\r\n");
                wire.pour(&b"A: b\r\n".repeat(100));
            },
            "gone",
        ),
        (
            "a byte at a time",
            |wire| {
                wire.request();
                wire.pour(b"a");
            },
            "gone",
        ),
        (
            "another's key in the upgrade",
            |wire| {
                wire.request();
                let lines = "Sec-WebSocket-Protocol: ndau-signer.1\r\n";
                wire.send(&switching("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", lines));
            },
            "gone",
        ),
        ("no protocol", |wire| wire.upgrade_with(""), "gone"),
        (
            "another protocol",
            |wire| wire.upgrade_with("Sec-WebSocket-Protocol: ndau-signer.2\r\n"),
            "gone",
        ),
        (
            "silence after the upgrade",
            Wire::upgrade,
            "first message, gone",
        ),
        (
            "a frame too long",
            |wire| {
                wire.upgrade();
                wire.send(&frame(2, &[0; 70_000]));
            },
            "first message, gone",
        ),
        (
            "half a frame",
            |wire| {
                wire.upgrade();
                wire.send(&frame(2, &[0; 48])[..20]);
            },
            "first message, gone",
        ),
        (
            "pings without end",
            |wire| {
                wire.upgrade();
                wire.pour(&frame(9, b"x"));
            },
            "first message, gone",
        ),
        ("no answer", |wire| wire.answer_with(|_| Vec::new()), "gone"),
        (
            "an answer that is too short",
            |wire| wire.answer_with(|right| right[..47].to_vec()),
            "gone",
        ),
        (
            "an answer that is too long",
            |wire| wire.answer_with(|right| [right, b"x"].concat()),
            "gone",
        ),
        (
            "an answer that was changed on the way",
            |wire| wire.answer_with(|right| right.iter().map(|byte| byte ^ 1).collect()),
            "gone",
        ),
        (
            "the answer to another first message",
            |wire| {
                wire.answer_with(|_| {
                    let other = hail(&key(100), server().public());
                    answer(&server(), &other).1
                });
            },
            "gone",
        ),
        (
            "its own first message",
            |wire| {
                wire.upgrade();
                let Frame::Binary(first) = wire.frame() else {
                    panic!("no first message");
                };
                wire.send(&frame(2, &first));
            },
            "gone",
        ),
        (
            "a request that is not encrypted",
            |wire| {
                wire.upgrade();
                wire.send(&frame(2, request().to_string().as_bytes()));
            },
            "first message, gone",
        ),
    ];
    all_at_once(
        cases,
        |service| service.accept(),
        |wire, act| {
            act(wire);
            wire.listen()
        },
    );
}

/// What comes over an encrypted connection from who holds the integration's key, or from somebody between who does not.
#[test]
fn what_breaks_the_protocol_ends_the_session() {
    type Act = fn(&mut Wire);
    let cases: &[(&str, Act, &str)] = &[
        ("silence", |_| {}, "gone"),
        (
            "half a frame",
            |wire| wire.send(&[0x82, 100, 1, 2, 3]),
            "gone",
        ),
        (
            "pings without end",
            |wire| wire.pour(&frame(9, b"x")),
            "gone",
        ),
        (
            "empty parts of a message without end",
            |wire| {
                wire.send(&[0x02, 0]);
                wire.pour(&[0x00, 0].repeat(100));
            },
            "gone",
        ),
        (
            "parts of a message without end",
            |wire| {
                wire.send(&[0x02, 0]);
                let part = [&[0x00, 126, 4, 0][..], &[0; 1024]].concat();
                wire.pour(&part);
            },
            "gone",
        ),
        (
            "what is not encrypted",
            |wire| wire.send(&frame(2, &[7; 100])),
            "gone",
        ),
        ("an empty message", |wire| wire.send(&frame(2, b"")), "gone"),
        ("text", |wire| wire.send(&frame(1, b"{}")), "gone"),
        (
            "a frame of no known kind",
            |wire| wire.send(&frame(3, b"")),
            "gone",
        ),
        (
            "a frame as clients send it",
            |wire| wire.send(&crate::peer::frame(2, b"x")),
            "gone",
        ),
        (
            "a frame of 65,536 bytes",
            |wire| wire.send(&frame(2, &[0; 65_536])),
            "gone",
        ),
        (
            "a frame of 2^63 bytes",
            |wire| wire.send(&[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
            "gone",
        ),
        (
            "10,000 keys",
            |wire| {
                let keys = vec![key(3).public().as_text().to_owned(); 10_000];
                let request = super::messages::with("/signing_keys", json!(keys));
                wire.send(&frame(2, request.as_bytes()));
            },
            "gone",
        ),
        (
            "what is not even text",
            |wire| wire.say(&[0xff; 10]),
            "error: not a JSON object, close 1008, gone",
        ),
        (
            "a request cut short",
            |wire| {
                let sealed = wire.seal(request().to_string().as_bytes());
                wire.send(&frame(2, &sealed[..sealed.len() - 1]));
            },
            "gone",
        ),
        (
            "a request that was changed on the way",
            |wire| {
                let mut sealed = wire.seal(request().to_string().as_bytes());
                sealed[20] ^= 1;
                wire.send(&frame(2, &sealed));
            },
            "gone",
        ),
        (
            "a request that overtook another",
            |wire| {
                let _first = wire.seal(request().to_string().as_bytes());
                let second = wire.seal(request().to_string().as_bytes());
                wire.send(&frame(2, &second));
            },
            "gone",
        ),
        (
            "a request and its copy",
            |wire| {
                let sealed = wire.seal(request().to_string().as_bytes());
                wire.send(&frame(2, &sealed).repeat(2));
            },
            "signed, gone",
        ),
        (
            "the same request twice",
            |wire| {
                wire.say(request().to_string().as_bytes());
                wire.say(request().to_string().as_bytes());
            },
            "signed, error: a second request in one session, close 1008, gone",
        ),
        (
            "two requests",
            |wire| {
                let other = super::messages::with("/id", json!("0f0e0d0c0b0a09080706050403020100"));
                wire.say(request().to_string().as_bytes());
                wire.say(other.as_bytes());
            },
            "signed, error: a second request in one session, close 1008, gone",
        ),
        (
            "a close that writes on the terminal",
            |wire| wire.send(&frame(8, b"\x03\xe8\x1b[2J\r\nall is well")),
            "close 1000, gone",
        ),
    ];
    all_at_once(
        cases,
        |service| service.session(),
        |wire, act| {
            act(wire);
            wire.listen()
        },
    );
}

/// A request need not wait for the `hello`: the integration is known by its answer to the first message.
#[test]
fn a_request_that_comes_with_the_handshakes_answer_is_answered_after_the_hello() {
    let service = Service::start();
    let mut wire = service.accept();
    wire.upgrade();
    assert!(wire.shake());
    wire.say(request().to_string().as_bytes());
    wire.expect_hello();
    assert_eq!(wire.hear(), "signed");
    service.is_well("an early request");
}

/// Each case with a service of its own.
fn all_at_once<A: Copy + Sync>(
    cases: &[(&str, A, &str)],
    begin: fn(&Service) -> Wire,
    act: fn(&mut Wire, A) -> String,
) {
    thread::scope(|scope| {
        for (name, case, expected) in cases {
            scope.spawn(move || {
                let service = Service::start();
                let heard = act(&mut begin(&service), *case);
                println!("{name}: {heard}");
                assert_eq!(heard, *expected, "{name}");
                let signed = usize::from(expected.starts_with("signed"));
                assert_eq!(service.signed(), signed, "{name}");
                // And it comes again, for whoever keeps to the protocol.
                let mut session = service.session();
                session.say(request().to_string().as_bytes());
                assert_eq!(session.hear(), "signed", "{name}");
                service.is_well(name);
            });
        }
    });
}

/// Its pings are answered as far as it takes the answers, and no further.
#[test]
fn who_reads_nothing_keeps_no_other_waiting() {
    let service = Service::with_connections(2);
    let mut deaf = service.session();
    let mut other = service.session();
    deaf.fill(&frame(9, &[b'x'; 125]));
    other.say(request().to_string().as_bytes());
    assert_eq!(other.hear(), "signed");
    // It did not have to wait for the end of the other session.
    assert!(!service.running.stderr().contains("the session is over"));
    service.is_well("pings to answer, and nobody who hears it");
}
