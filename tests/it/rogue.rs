//! What comes to the signing service from a hostile integration, or from somebody between: nothing is signed but an `Issue`
//! that was understood, nothing that was sent reaches log or terminal raw, and the service goes on.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use bitmart_issuer::napu::Napu;
use bitmart_issuer::ndau::{Issue, PrivateKey, PublicKey, Signature};
use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;

use crate::peer::{Transport, answer, hail};
use crate::support::{Running, SIGNER, key};

/// Whoever has said nothing for so long will not say anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The integration's identity, which the hostile one has.
fn server() -> PrivateKey {
    key(200)
}

/// What clears a screen, feigns a line, and names the window.
const TERMINAL: &str = "\u{1b}[2J\r\nall is well\u{1b}]0;owned\u{7}\u{9b}31m";
/// What turns the direction of a text, and what hides in it.
const HIDDEN: &str = "\u{202e}all is well\u{200b}";

/// Whether `c` does any of these.
fn is_strange(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
}

/// A signing service that dials a hostile integration.
struct Service {
    folder: tempfile::TempDir,
    listener: TcpListener,
    running: Running,
}

impl Service {
    fn start() -> Service {
        Service::with_connections(1)
    }

    /// One that dials it so many times at once.
    fn with_connections(count: usize) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pair = |table: &str, key: &PrivateKey| {
            format!(
                "[{table}]\ntype = \"virtual\"\npub_key = \"{}\"\npriv_key = \"{}\"\n",
                key.public(),
                key.text().expose()
            )
        };
        let mut toml = pair("client", &key(100)) + &pair("keys.issue", &key(1));
        for number in 0..count {
            toml += &format!(
                "[connections.c{number}]\nurl = \"ws://{address}/signer\"\nserver_key = \"{}\"\n",
                server().public()
            );
        }
        toml += "[policy]\nmax_issue_per_tx = \"1000000\"\n[log]\npath = \"signed.jsonl\"\n";
        let path = folder.path().join("sigconfig.toml");
        fs::write(&path, toml).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(SIGNER);
        command
            .args(["run", "--config"])
            .arg(&path)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Service {
            folder,
            listener,
            running: Running::start(command),
        }
    }

    /// Its next call.
    fn accept(&self) -> Wire {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            transport: None,
        }
    }

    /// A session in which its hello was heard.
    fn session(&self) -> Wire {
        let mut wire = self.accept();
        wire.upgrade();
        wire.shake();
        wire.expect_hello();
        wire
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("signed.jsonl")).unwrap_or_default()
    }

    /// How many signatures it says that it gave.
    fn signed(&self) -> usize {
        self.log().matches("\"verdict\":\"signed\"").count()
    }

    /// It lives, in little memory, and nothing that could move a cursor or hide a text is in what it wrote.
    #[track_caller]
    fn is_well(&self, after: &str) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
        let peak: u64 = peak
            .unwrap_or_else(|| panic!("{after}: it is gone"))
            .parse()
            .unwrap();
        assert!(peak < 64 * 1024, "{after}: {peak} kB");
        for text in [self.running.stderr(), self.log()] {
            assert!(!text.contains("panicked"), "{after}: {text}");
            let raw = text.replace('\n', "");
            assert!(!raw.contains(is_strange), "{after}: {text:?}");
            let longest = text.lines().map(str::len).max().unwrap_or(0);
            assert!(longest < 3000, "{after}: {longest} bytes in a line");
        }
    }
}

/// A connection from the service, as bytes.
struct Wire {
    stream: TcpStream,
    transport: Option<Transport>,
}

impl Wire {
    fn send(&mut self, bytes: &[u8]) {
        // The service may have left already, which is noticed by whoever listens.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the service's HTTP request; its key.
    fn request(&mut self) -> String {
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

    fn hang_up(&mut self) {
        self.request();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Answers the service's HTTP request with this.
    fn reply(&mut self, text: &str) {
        self.request();
        self.send(text.as_bytes());
    }

    /// Sends `bytes` again and again, at a pace that leaves the machine to others, until nobody takes them.
    fn pour(&mut self, bytes: &[u8]) {
        while self.stream.write_all(bytes).is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Upgrades, and answers the first message with what `change` makes of the right answer.
    fn answer_with(&mut self, change: fn(&[u8]) -> Vec<u8>) {
        self.upgrade();
        let Frame::Binary(first) = self.frame() else {
            panic!("no first message");
        };
        let (_, right, _) = answer(&server(), &first);
        self.send(&frame(2, &change(&right)));
    }

    fn upgrade(&mut self) {
        self.upgrade_with("Sec-WebSocket-Protocol: ndau-signer.1\r\n");
    }

    fn upgrade_with(&mut self, lines: &str) {
        let key = self.request();
        let accept = derive_accept_key(key.as_bytes());
        self.send(&switching(&accept, lines));
    }

    /// Reads the first Noise message, and answers it as the integration does.
    fn shake(&mut self) {
        let Frame::Binary(first) = self.frame() else {
            panic!("no first message");
        };
        let (transport, reply, named) = answer(&server(), &first);
        assert_eq!(named, key(100).public().as_text());
        self.send(&frame(2, &reply));
        self.transport = Some(transport);
    }

    fn expect_hello(&mut self) {
        let heard = self.next();
        assert!(heard.starts_with("hello"), "{heard}");
    }

    fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.transport.as_mut().unwrap().seal(text)
    }

    /// Sends `text` as the integration would.
    fn say(&mut self, text: &[u8]) {
        let sealed = self.seal(text);
        self.send(&frame(2, &sealed));
    }

    /// The next frame of the service that is not about the connection.
    fn frame(&mut self) -> Frame {
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
    fn next(&mut self) -> String {
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
    fn hear(&mut self) -> String {
        self.listen_until(|one| one.starts_with("signed") || one.starts_with("refused"))
    }

    /// What the service says until it is gone.
    fn listen(&mut self) -> String {
        self.listen_until(|_| false)
    }

    fn listen_until(&mut self, is_last: fn(&str) -> bool) -> String {
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

enum Frame {
    Binary(Vec<u8>),
    Close(Vec<u8>),
    Gone,
}

/// A frame as a server sends it.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut masked = crate::peer::frame(opcode, payload);
    let mask = masked.len() - payload.len() - 4;
    masked.drain(mask..mask + 4);
    masked[1] &= 0x7f;
    masked
}

fn switching(accept: &str, lines: &str) -> Vec<u8> {
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

/// The usual request.
fn request() -> Value {
    json!({
        "type": "sign_tx",
        "id": "000102030405060708090a0b0c0d0e0f",
        "tx_type": "Issue",
        "tx": { "qty": 100_000_000, "sequence": 5, "signatures": [] },
        "signing_keys": [key(1).public().as_text()],
        "context": { "symbol": "XND_USDT", "trades": 3, "first_trade_id": "1", "last_trade_id": "9" },
    })
}

/// The usual request, with another value at one of its places.
fn with(place: &str, value: Value) -> String {
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
    let not_held = "refused: none of the keys asked for is held here";
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
                let request = with("/signing_keys", json!(keys));
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
                let other = with("/id", json!("0f0e0d0c0b0a09080706050403020100"));
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
    wire.shake();
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
