//! Both sides over loopback sockets: the listener in the test's own thread, signers and strangers in others.

mod config;
mod rogue;
mod serving;
mod signing;
mod strangers;

use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{Desk, Step};
use super::config::{Config, Connection};
use super::dial::{Addresses, DialError};
use super::key::Key;
use super::policy::Policy;
use super::run::{Until, World, run};
use super::session::{Event, Session};
use super::signing_log::{IfMissing, SigningLog};
use super::stop::Stop;
use crate::clock::SystemClock;
use crate::error::Exit;
use crate::napu::Napu;
use crate::ndau::{Issue, PrivateKey, PublicKey, Signature};
use crate::signer::message::{FromSigner, SignTx, ToSigner};
use crate::signer::{Context, Error, Identity, Listener, Outcome, Request, Signed};
use crate::state::HostDisk;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(400);

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
            url: listener.url().parse().unwrap(),
            server_key: server().public().clone(),
            keys: None,
        }],
        keys: keys.iter().map(|seed| key(*seed).into()).collect(),
        policy: Policy::default(),
        log: PathBuf::new(),
    }
}

/// Waits for the request of `session`, and answers it as a service does.
fn answer(session: &mut Session, config: &Config) -> FromSigner {
    let folder = tempfile::tempdir().unwrap();
    let log = SigningLog::open(&HostDisk, &folder.path().join("log"), 0, IfMissing::Begin).unwrap();
    let stop = Stop::default();
    let mut desk = Desk::new(config, log, &SystemClock, &stop);
    let request = next_request(session);
    match desk.receive(&config.connections[0], request) {
        Step::Answer(answer) => {
            session.answer(&answer);
            answer
        }
        Step::Ask(asked) => panic!("{asked:?}"),
    }
}

/// Runs a service with a signing log of its own, and nobody at the terminal.
fn serve(config: &Config, until: Until) -> Exit {
    let folder = tempfile::tempdir().unwrap();
    let log = SigningLog::open(&HostDisk, &folder.path().join("log"), 0, IfMissing::Begin).unwrap();
    let nobody = File::open("/dev/null").unwrap();
    let world = World {
        clock: &SystemClock,
        stop: &Stop::default(),
        input: nobody.as_fd(),
    };
    run(config, log, world, until)
}

fn dial(config: &Config) -> Result<Session, DialError> {
    Session::dial(
        config,
        &config.connections[0],
        &mut Addresses::default(),
        &Stop::default(),
    )
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

/// What `request` asks to have signed.
fn issue_of(request: &SignTx) -> Issue {
    Issue::parse_unsigned(&request.tx).unwrap()
}

fn signature(seed: u8, issue: &Issue) -> (PublicKey, Signature) {
    let key = key(seed);
    (key.public().clone(), key.sign(&issue.signable_bytes()))
}

/// The answer to `request` that gives these.
fn signatures(request: &SignTx, signatures: Vec<(PublicKey, Signature)>) -> FromSigner {
    FromSigner::Signatures {
        id: request.id.clone(),
        signatures,
    }
}

fn collect(listener: Listener<'_>, request: &Request, within: Duration) -> Result<Signed, Error> {
    listener.collect(&SystemClock, request, within)
}

/// Tells the signers that the transaction is on the chain.
fn commit(signed: Signed, request: &Request) {
    signed.finish(Outcome::Committed, &request.issue.hash());
}
