//! Peers that are not allowed in, and what they may cost.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::clock::Clock;
use crate::signer::noise::Initiator;

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

fn address(listener: &Listener<'_>) -> String {
    let url = listener.url();
    url.strip_prefix("ws://")
        .unwrap()
        .strip_suffix("/signer")
        .unwrap()
        .to_owned()
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

            let right = signature(10, &issue_of(&request));
            let answer = signatures(&request, vec![right]);
            let answer = transport.seal(&answer.to_json()).unwrap();
            first.send(answer.into()).unwrap();
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        // The signer is gone or does not listen any more; taking leave of it ends all the same.
        let start = Instant::now();
        commit(signed, &request);
        assert!(start.elapsed() < Duration::from_secs(3));
    });
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
            serve(&config, Until::OneSession)
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        commit(signed, &request);
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
            serve(&config, Until::OneSession)
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        over.store(true, Ordering::Relaxed);
        commit(signed, &request);
        assert_eq!(signer.join().unwrap(), Exit::Done);
        drop(crowd);
    });
}

/// Once, whoever had come further was the last to make room, so 64 strangers in the middle of the handshake kept everyone
/// else out: recorded first messages are as good for that as a key.
#[test]
fn crowds_half_way_through_do_not_keep_a_signer_out() {
    let server = server();
    let listener = listen(&server, &[1]);
    let (address, url) = (address(&listener), listener.url());
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let hail = Initiator::start(&identity(1), server.public()).unwrap().1;
            let silent: Vec<_> = (0..64)
                .map(|_| TcpStream::connect(&address).unwrap())
                .collect();
            let upgraded: Vec<_> = (0..64).map(|_| socket(&address, &url)).collect();
            let replayed: Vec<_> = (0..64)
                .map(|_| {
                    let mut replay = socket(&address, &url);
                    replay.send(hail.clone().into()).unwrap();
                    assert_eq!(replay.read().unwrap().into_data().len(), 48);
                    replay
                })
                .collect();
            let mut session = dial(&config).unwrap();
            let request = next_request(&mut session);
            let right = signature(10, &issue_of(&request));
            session.send(&signatures(&request, vec![right])).unwrap();
            while next(&mut session).is_some() {}
            drop((silent, upgraded, replayed));
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        commit(signed, &request);
    });
}
