//! A connection from the signing service, as a hostile integration handles it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use bitmart_issuer::napu::Napu;
use bitmart_issuer::ndau::{Issue, PublicKey, Signature};
use serde_json::Value;
use tungstenite::handshake::derive_accept_key;

use super::server;
use crate::peer::{Transport, answer};
use crate::support::key;

/// Whoever has said nothing for so long will not say anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection, as bytes.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) transport: Option<Transport>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            transport: None,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        // The service may have left already, which is noticed by whoever listens.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the service's HTTP request; its key.
    pub(super) fn request(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then(|| value.to_owned())
        });
        key.unwrap()
    }

    pub(super) fn hang_up(&mut self) {
        self.request();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Answers the service's HTTP request with this.
    pub(super) fn reply(&mut self, text: &str) {
        self.request();
        self.send(text.as_bytes());
    }

    /// Sends `bytes` again and again, at a pace that leaves the machine to others, until nobody takes them.
    pub(super) fn pour(&mut self, bytes: &[u8]) {
        while self.stream.write_all(bytes).is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends `frame` again and again until nobody has taken one for seconds.
    pub(super) fn fill(&mut self, frame: &[u8]) {
        let limit = Some(Duration::from_secs(2));
        self.stream.set_write_timeout(limit).unwrap();
        let many = frame.repeat(100);
        while self.stream.write_all(&many).is_ok() {}
    }

    /// Upgrades, and answers the first message with what `change` makes of the right answer.
    pub(super) fn answer_with(&mut self, change: fn(&[u8]) -> Vec<u8>) {
        self.upgrade();
        let Frame::Binary(first) = self.frame() else {
            panic!("no first message");
        };
        let (_, right, _) = answer(&server(), &first);
        self.send(&frame(2, &change(&right)));
    }

    pub(super) fn upgrade(&mut self) {
        self.upgrade_with("Sec-WebSocket-Protocol: ndau-signer.1\r\n");
    }

    pub(super) fn upgrade_with(&mut self, lines: &str) {
        let key = self.request();
        let accept = derive_accept_key(key.as_bytes());
        self.send(&switching(&accept, lines));
    }

    /// Reads the first Noise message, and answers it as the integration does; whether there was one.
    pub(super) fn shake(&mut self) -> bool {
        let Frame::Binary(first) = self.frame() else {
            return false;
        };
        let (transport, reply, named) = answer(&server(), &first);
        assert_eq!(named, key(100).public().as_text());
        self.send(&frame(2, &reply));
        self.transport = Some(transport);
        true
    }

    pub(super) fn expect_hello(&mut self) {
        let heard = self.next();
        assert!(heard.starts_with("hello"), "{heard}");
    }

    pub(super) fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.transport.as_mut().unwrap().seal(text)
    }

    /// Sends `text` as the integration would.
    pub(super) fn say(&mut self, text: &[u8]) {
        let sealed = self.seal(text);
        self.send(&frame(2, &sealed));
    }

    /// The next frame of the service that is not about the connection.
    pub(super) fn frame(&mut self) -> Frame {
        loop {
            let mut head = [0; 2];
            if self.stream.read_exact(&mut head).is_err() {
                return Frame::Gone;
            }
            assert_eq!(head[1] & 0x80, 0x80, "a client's frames are masked");
            let mut len = usize::from(head[1] & 0x7f);
            assert!(len < 127, "no message is so long");
            if len == 126 {
                let mut more = [0; 2];
                self.stream.read_exact(&mut more).unwrap();
                len = usize::from(u16::from_be_bytes(more));
            }
            let mut mask = [0; 4];
            self.stream.read_exact(&mut mask).unwrap();
            let mut payload = vec![0; len];
            self.stream.read_exact(&mut payload).unwrap();
            for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
                *byte ^= mask;
            }
            match head[0] {
                0x82 => return Frame::Binary(payload),
                0x88 => return Frame::Close(payload),
                0x89 | 0x8a => {}
                other => panic!("a frame of kind {other:#x}"),
            }
        }
    }

    /// The next thing that the service says, in words.
    pub(super) fn next(&mut self) -> String {
        match self.frame() {
            Frame::Gone => "gone".to_owned(),
            Frame::Close(payload) => {
                // As a server ends it.
                self.send(&frame(8, &payload));
                let _ = self.stream.shutdown(Shutdown::Write);
                match payload[..] {
                    [high, low, ..] => format!("close {}", u16::from_be_bytes([high, low])),
                    _ => "close".to_owned(),
                }
            }
            Frame::Binary(_) if self.transport.is_none() => "first message".to_owned(),
            Frame::Binary(sealed) => {
                let text = self.transport.as_mut().unwrap().open(&sealed);
                let message: Value = serde_json::from_slice(&text).unwrap();
                match message["type"].as_str().unwrap() {
                    "error" => format!("error: {}", message["message"].as_str().unwrap()),
                    "refused" => format!("refused: {}", message["reason"].as_str().unwrap()),
                    "signatures" => signed(&message["signatures"]),
                    other => other.to_owned(),
                }
            }
        }
    }

    /// What the service says until it has answered, or is gone.
    pub(super) fn hear(&mut self) -> String {
        let answers = ["signed", "no signatures", "refused"];
        self.listen_until(|one| answers.iter().any(|answer| one.starts_with(answer)))
    }

    /// What the service says until it is gone.
    pub(super) fn listen(&mut self) -> String {
        self.listen_until(|_| false)
    }

    pub(super) fn listen_until(&mut self, is_last: impl Fn(&str) -> bool) -> String {
        let mut all: Vec<String> = Vec::new();
        while all
            .last()
            .is_none_or(|last| last != "gone" && !is_last(last))
        {
            all.push(self.next());
        }
        all.join(", ")
    }
}

pub(super) enum Frame {
    Binary(Vec<u8>),
    Close(Vec<u8>),
    Gone,
}

/// A frame as a server sends it.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut masked = crate::peer::frame(opcode, payload);
    let mask = masked.len() - payload.len() - 4;
    masked.drain(mask..mask + 4);
    masked[1] &= 0x7f;
    masked
}

pub(super) fn switching(accept: &str, lines: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
    .into_bytes()
}

/// The usual request's transaction.
fn issue() -> Issue {
    Issue::new(Napu::NDAU, 5).unwrap()
}

/// What `signatures` are.
fn signed(signatures: &Value) -> String {
    let signatures = signatures.as_array().unwrap();
    if signatures.is_empty() {
        return "no signatures".to_owned();
    }
    let one = |one: &Value| {
        let key = PublicKey::parse(one["key"].as_str().unwrap()).unwrap();
        let signature = Signature::parse(one["signature"].as_str().unwrap()).unwrap();
        // The only transactions that any case here gets a signature of.
        let most = Issue::new(Napu::NDAU, i64::MAX as u64).unwrap();
        for (issue, name) in [(issue(), ""), (most, " of the last sequence")] {
            if key.verifies(&issue.signable_bytes(), &signature) {
                return format!("signed{name}");
            }
        }
        "signed what nobody asked for".to_owned()
    };
    let all: Vec<String> = signatures.iter().map(one).collect();
    all.join(" and ")
}
