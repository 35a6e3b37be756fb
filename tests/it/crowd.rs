//! A crowd at the integration's door: every kind of stranger at once, each as many and as fast as it can, and a note of
//! everything that any of them heard.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use bitmart_issuer::ndau::{PrivateKey, PublicKey};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::peer::{PROTOCOL, connect, frame, hail, open, read_out, upgrade};

/// Connections that are held open, of each kind that holds them, where nothing else is said.
pub const HELD: usize = 64;
/// Strangers that push, and how many connections each holds: together more than there are places.
const PUSHERS: usize = 2;
const PUSHED: usize = 300;
/// First messages that were recorded on earlier days.
const RECORDED: usize = 64;

/// What was heard, and how often, by kind of stranger.
pub type Heard = BTreeMap<&'static str, BTreeMap<String, usize>>;

/// Strangers of all kinds, in threads of their own, until [`Crowd::leave`].
pub struct Crowd {
    place: Arc<Place>,
    threads: Vec<JoinHandle<()>>,
}

/// What those say who push.
#[derive(Debug, Clone, Copy)]
pub enum Says {
    /// A good request for a WebSocket, each of them.
    Requests,
    /// The same every other time, and else nothing.
    RequestsAndNothing,
}

struct Place {
    address: SocketAddr,
    server: PublicKey,
    /// Connections that each kind that holds some holds open.
    held: usize,
    over: AtomicBool,
    heard: Mutex<Heard>,
    /// Threads that are at it with all that they have.
    present: Mutex<Vec<ThreadId>>,
}

/// Real first messages of the signer `allowed` to `server`, as somebody on the way would have recorded them.
pub fn recorded(allowed: &PrivateKey, server: &PublicKey) -> Vec<Vec<u8>> {
    (0..RECORDED).map(|_| hail(allowed, server)).collect()
}

impl Crowd {
    /// Goes to `url`, with messages that an allowed signer once sent to `server`, and holds open so many connections of each
    /// kind that holds any. Comes back when every kind is there.
    pub fn gather(url: &str, server: &PublicKey, recorded: Vec<Vec<u8>>, held: usize) -> Crowd {
        let mut crowd = Crowd::new(url, server, held);
        // Those that hold their places.
        crowd.join(|place| place.hold("silent", |_, _| true));
        crowd.join(|place| place.hold("upgraded and silent", open));
        crowd.join(move |place| {
            let mut next = recorded.iter().cycle();
            place.hold("a recorded message again", |stream, heard| {
                let message = next.next().expect("it goes round");
                open(stream, heard) && stream.write_all(&frame(2, message)).is_ok()
            });
        });
        crowd.join(|place| place.crawl("a byte at a time"));
        // Those that come back without a pause.
        crowd.join(|place| place.repeat("connects and leaves", |_, _| {}));
        for (kind, bytes) in [
            (
                "plain HTTP",
                b"GET /signer HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            ),
            (
                "a TLS hello",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            ),
            ("another path", upgrade("/sigserv", PROTOCOL)),
            (
                "another protocol",
                upgrade("/signer", "Sec-WebSocket-Protocol: chat\r\n"),
            ),
        ] {
            crowd.join(move |place| {
                place.repeat(kind, |stream, heard| {
                    let _ = stream.write_all(&bytes);
                    read_out(stream, heard);
                });
            });
        }
        crowd.join(|place| {
            place.repeat("a frame too long", |stream, heard| {
                if open(stream, heard) {
                    let _ = stream.write_all(&frame(2, &[0; 70_000]));
                    read_out(stream, heard);
                }
            });
        });
        crowd.join(|place| {
            let mut seed = 0_u64;
            place.repeat("not allowed", |stream, heard| {
                seed += 1;
                let mut bytes = [7; 32];
                bytes[..8].copy_from_slice(&seed.to_be_bytes());
                let key = PrivateKey::from_ed25519_seed(&bytes);
                if open(stream, heard) {
                    let _ = stream.write_all(&frame(2, &hail(&key, &place.server)));
                    read_out(stream, heard);
                }
            });
        });
        crowd.wait_until_all_are_there();
        crowd
    }

    /// The same with silent ones alone.
    pub fn gather_silent(url: &str, server: &PublicKey, held: usize) -> Crowd {
        let mut crowd = Crowd::new(url, server, held);
        crowd.join(|place| place.hold("silent", |_, _| true));
        crowd.wait_until_all_are_there();
        crowd
    }

    /// Some that open a connection, say something, leave it open, and open the next, as fast as they can: whoever is at the
    /// door for long is pushed out.
    pub fn gather_pushing(url: &str, server: &PublicKey, says: Says) -> Crowd {
        let mut crowd = Crowd::new(url, server, PUSHED);
        let upgrade = upgrade("/signer", PROTOCOL);
        let lines = match says {
            Says::Requests => vec![upgrade],
            Says::RequestsAndNothing => vec![upgrade, Vec::new()],
        };
        for _ in 0..PUSHERS {
            let lines = lines.clone();
            crowd.join(move |place| place.push("held, and again", &lines));
        }
        crowd.wait_until_all_are_there();
        crowd
    }

    fn new(url: &str, server: &PublicKey, held: usize) -> Crowd {
        let host = url.strip_prefix("ws://").expect("a ws address");
        let host = host.strip_suffix("/signer").expect("its path");
        let place = Place {
            address: host.parse().expect("an address"),
            server: server.clone(),
            held,
            over: AtomicBool::new(false),
            heard: Mutex::default(),
            present: Mutex::default(),
        };
        Crowd {
            place: Arc::new(place),
            threads: Vec::new(),
        }
    }

    fn join(&mut self, act: impl FnOnce(&Place) + Send + 'static) {
        let place = Arc::clone(&self.place);
        self.threads.push(thread::spawn(move || act(&place)));
    }

    fn wait_until_all_are_there(&self) {
        while self.place.present.lock().expect("no panic").len() < self.threads.len() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Goes home, and tells what was heard.
    pub fn leave(self) -> Heard {
        self.place.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a stranger does not panic");
        }
        std::mem::take(&mut self.place.heard.lock().expect("no panic"))
    }
}

impl Place {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn note(&self, kind: &'static str, heard: &[u8]) {
        let mut all = self.heard.lock().expect("no panic");
        let count = all.entry(kind).or_default().entry(said(heard)).or_default();
        *count += 1;
    }

    fn arrive(&self) {
        let thread = thread::current().id();
        let mut present = self.present.lock().expect("no panic");
        if !present.contains(&thread) {
            present.push(thread);
        }
    }

    /// One connection after the other, as fast as they can be had.
    fn repeat(&self, kind: &'static str, mut act: impl FnMut(&mut TcpStream, &mut Vec<u8>)) {
        while !self.is_over() {
            let Ok(mut stream) = connect(self.address) else {
                // The door is closed, or the queue in front of it is full.
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let mut heard = Vec::new();
            act(&mut stream, &mut heard);
            self.note(kind, &heard);
            self.arrive();
        }
    }

    /// Many connections held open, each made anew as soon as it is closed.
    fn hold(
        &self,
        kind: &'static str,
        mut begin: impl FnMut(&mut TcpStream, &mut Vec<u8>) -> bool,
    ) {
        let mut held: Vec<(TcpStream, Vec<u8>)> = Vec::new();
        let mut made = 0;
        while !self.is_over() {
            while held.len() < self.held && !self.is_over() {
                let Ok(mut stream) = connect(self.address) else {
                    break;
                };
                let mut heard = Vec::new();
                let begun = begin(&mut stream, &mut heard);
                made += 1;
                // Others may take the places as fast as they are taken.
                if made >= self.held {
                    self.arrive();
                }
                if begun && stream.set_nonblocking(true).is_ok() {
                    held.push((stream, heard));
                } else {
                    self.note(kind, &heard);
                }
            }
            held.retain_mut(|(stream, heard)| {
                let open = is_open(stream, heard);
                if !open {
                    self.note(kind, heard);
                }
                open
            });
            // The pace of looking, not a wait for anything.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// One connection after the other, as fast as they can be had, the newest of them held.
    fn push(&self, kind: &'static str, says: &[Vec<u8>]) {
        // Beside those of the tests that run at the same time.
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
        let mut held = VecDeque::new();
        for says in says.iter().cycle() {
            if self.is_over() {
                return;
            }
            let stream = TcpStream::connect_timeout(&self.address, Duration::from_millis(50));
            let Ok(mut stream) = stream.and_then(|one| one.set_nonblocking(true).map(|()| one))
            else {
                // The door is closed, or the queue in front of it is full.
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let _ = stream.write_all(says);
            held.push_back(stream);
            if held.len() > self.held
                && let Some(mut oldest) = held.pop_front()
            {
                let mut heard = Vec::new();
                is_open(&mut oldest, &mut heard);
                self.note(kind, &heard);
                self.arrive();
            }
        }
    }

    /// Many connections, on each a byte of a good request now and then.
    fn crawl(&self, kind: &'static str) {
        let request = upgrade("/signer", PROTOCOL);
        let mut held: Vec<(TcpStream, Vec<u8>, usize)> = Vec::new();
        while !self.is_over() {
            while held.len() < self.held && !self.is_over() {
                match connect(self.address) {
                    Ok(stream) if stream.set_nonblocking(true).is_ok() => {
                        held.push((stream, Vec::new(), 0));
                    }
                    _ => break,
                }
                self.arrive();
            }
            held.retain_mut(|(stream, heard, sent)| {
                if let Some(byte) = request.get(*sent) {
                    *sent += stream.write(&[*byte]).unwrap_or(0);
                }
                let open = is_open(stream, heard);
                if !open {
                    self.note(kind, heard);
                }
                open
            });
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Reads what is there; whether more may come.
fn is_open(stream: &mut TcpStream, heard: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(len) => {
            heard.extend(&buffer[..len]);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// What a stranger heard, in words: the HTTP status, then the frames of the WebSocket.
fn said(heard: &[u8]) -> String {
    if heard.is_empty() {
        return "nothing".to_owned();
    }
    let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") else {
        return format!("{:?}", String::from_utf8_lossy(heard));
    };
    let (head, mut rest) = heard.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    let mut words = vec![head.get(9..12).unwrap_or_default().to_owned()];
    while !rest.is_empty() {
        let (word, left) = match *rest {
            [0x82, len @ ..126, ..] if rest.len() >= 2 + usize::from(len) => {
                (format!("{len} bytes"), 2 + usize::from(len))
            }
            [0x88, 2, high, low, ..] => (format!("close {}", u16::from_be_bytes([high, low])), 4),
            _ => (format!("{rest:?}"), rest.len()),
        };
        words.push(word);
        rest = &rest[left..];
    }
    words.join(", ")
}
