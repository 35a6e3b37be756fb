//! A node: the routes of its REST API, and what becomes of a submitted transaction.

use super::block::{Ledger, Surprise, View};
use super::tx::{Body, Tx};
use super::wire::{self, Message, go_json, message};
use super::{SubmitFault, Taken};
use crate::fault::{Fault, Html, NodeTrouble};
use crate::keys::Refusal;
use crate::server::{Reply, Request, Response, Site, lock};
use serde::Serialize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TIMED_OUT: &str = "error from commit (failed to broadcast transaction: broadcast_tx_commit: \
     response error: RPC error -32603 - Internal error: \
     Timed out waiting for tx to be included in a block)";
const DIED: &str = "error from commit (failed to broadcast transaction: broadcast_tx_commit: \
     Post \"http://127.0.0.1:46670\": EOF)";
const INVALID: &str = "error from commit (failed to broadcast transaction: InvalidTransaction)";

/// One node of the network. A frozen one shows the network as it was, and judges by that.
pub(super) struct Node {
    pub(super) ledger: Arc<Ledger>,
    pub(super) network: String,
    pub(super) patience: Duration,
    pub(super) frozen: Mutex<Option<View>>,
}

impl Node {
    /// The view of this node, under its lock.
    fn see<T>(&self, look: impl FnOnce(&mut View) -> T) -> T {
        let mut frozen = lock(&self.frozen);
        match frozen.as_mut() {
            Some(view) => look(view),
            None => look(&mut self.ledger.core().view),
        }
    }

    fn prevalidate(&self, kind: &str, body: &[u8]) -> Reply {
        let tx = match Tx::parse(kind, body) {
            Ok(tx) => tx,
            Err(refusal) => return unreadable(&refusal),
        };
        let hash = tx.hash();
        Reply::Send(self.see(|view| {
            let mut answer = Prevalidated {
                fee_napu: 0,
                sib_napu: 0,
                err: None,
                err_code: None,
                hash: &hash,
                msg: None,
                code: 0,
            };
            if view.find(&hash).is_some() {
                answer.msg = Some("tx already committed");
                answer.code = 1002;
                return go_json(202, &answer);
            }
            answer.fee_napu = view.state.fee_for(&tx);
            match view.state.check(&tx) {
                Ok(()) => go_json(200, &answer),
                Err(reason) => {
                    answer.err = Some(format!("validating transactable: {reason}"));
                    answer.err_code = Some(-1);
                    answer.code = 1001;
                    go_json(400, &answer)
                }
            }
        }))
    }

    fn submit(&self, kind: &str, body: &[u8]) -> Reply {
        let tx = match Tx::parse(kind, body) {
            Ok(tx) => tx,
            Err(refusal) => return unreadable(&refusal),
        };
        let hash = tx.hash();
        if self.see(|view| view.find(&hash).is_some()) {
            return Reply::Send(submitted(202, &hash));
        }
        // Surprises are meant for Issues that get this far.
        let surprise = match tx.body {
            Body::Issue { .. } => self.ledger.core().surprises.pop_front(),
            _ => None,
        };
        match surprise {
            None => self.broadcast(tx, &hash),
            Some(Surprise::Fault(fault)) => self.mishandle(tx, &hash, fault),
            Some(Surprise::Taken(Taken::BeforeAdmission)) => {
                let taker = self.ledger.core().taker(tx.sequence);
                let id = self.admit([taker]);
                self.ledger.outcome(id, self.patience);
                self.broadcast(tx, &hash)
            }
            Some(Surprise::Taken(Taken::AfterAdmission)) => {
                let taker = self.ledger.core().taker(tx.sequence);
                self.broadcast_behind([taker], tx, &hash)
            }
            Some(Surprise::ShiftedOffset) => {
                let sequence = self.ledger.core().view.state.price_sequence + 1;
                let race = [11, 12]
                    .map(|market_price| Tx::trusted(Body::RecordPrice { market_price }, sequence));
                self.broadcast_behind(race, tx, &hash)
            }
        }
    }

    /// Admits these, in this order and into the same block, and tells the id of the last.
    fn admit(&self, txs: impl IntoIterator<Item = Tx>) -> u64 {
        let mut core = self.ledger.core();
        let ids = txs.into_iter().map(|tx| core.admit(tx, Duration::ZERO));
        let last = ids.last().unwrap_or_default();
        drop(core);
        self.ledger.wake();
        last
    }

    /// The mempool check: against this node's state, which is the present one unless it lags.
    fn check(&self, tx: &Tx) -> Result<(), Response> {
        self.see(|view| view.state.check(tx)).map_err(|reason| {
            let refused = Message {
                msg: INVALID,
                log: Some(&reason),
            };
            go_json(400, &refused)
        })
    }

    fn broadcast(&self, tx: Tx, hash: &str) -> Reply {
        self.broadcast_behind([], tx, hash)
    }

    /// Checks the transaction, admits others in front of it, and waits until its block is there. What
    /// became of it in the block is not told.
    fn broadcast_behind<const N: usize>(&self, others: [Tx; N], tx: Tx, hash: &str) -> Reply {
        if let Err(refusal) = self.check(&tx) {
            return Reply::Send(refusal);
        }
        let id = self.admit(others.into_iter().chain([tx]));
        Reply::Send(match self.ledger.outcome(id, self.patience) {
            Some(_) => submitted(200, hash),
            None => message(400, TIMED_OUT),
        })
    }

    fn mishandle(&self, tx: Tx, hash: &str, fault: SubmitFault) -> Reply {
        if matches!(fault, SubmitFault::DropConnectionBefore) {
            return Reply::Hangup;
        }
        if let Err(refusal) = self.check(&tx) {
            return Reply::Send(refusal);
        }
        let later = |delay: Duration| {
            self.ledger.core().admit(tx.clone(), delay);
            self.ledger.wake();
        };
        match fault {
            SubmitFault::DropConnectionBefore => Reply::Hangup,
            SubmitFault::TimeoutThenCommit(delay) => {
                later(delay);
                Reply::Send(message(400, TIMED_OUT))
            }
            SubmitFault::TimeoutAndDrop => Reply::Send(message(400, TIMED_OUT)),
            SubmitFault::NodeDied => Reply::Send(message(400, DIED)),
            SubmitFault::GatewayTimeoutThenCommit(delay) => {
                later(delay);
                Reply::Send(Response::html(Html::GatewayTimeout))
            }
            SubmitFault::DropConnectionThenCommit(delay) => {
                later(delay);
                Reply::Hangup
            }
            SubmitFault::CommitThenDropConnection => {
                self.broadcast(tx, hash);
                Reply::Hangup
            }
            SubmitFault::CommitThenCutAnswer => match self.broadcast(tx, hash) {
                Reply::Send(response) => Reply::Cut(response),
                other => other,
            },
            SubmitFault::AnswerLost => {
                self.broadcast(tx, hash);
                Reply::Silence
            }
            SubmitFault::FailInBlock => {
                let mut core = self.ledger.core();
                let balance = std::mem::take(&mut core.view.state.balance);
                let id = core.admit(tx, Duration::ZERO);
                drop(core);
                self.ledger.wake();
                let outcome = self.ledger.outcome(id, self.patience);
                self.ledger.core().view.state.balance = balance;
                Reply::Send(match outcome {
                    Some(_) => submitted(200, hash),
                    None => message(400, TIMED_OUT),
                })
            }
        }
    }

    fn get(&self, path: &str, request: &Request) -> Option<Response> {
        let network = &self.network;
        let after = |prefix| path.strip_prefix(prefix);
        if let Some(names) = after("/system/get/") {
            return Some(self.see(|view| wire::system(view, names)));
        }
        if let Some(address) = after("/account/account/") {
            return Some(self.see(|view| wire::account(view, address)));
        }
        if let Some(address) = after("/account/history/") {
            return Some(self.see(|view| wire::history(view, address, request)));
        }
        if let Some(hash) = after("/transaction/detail/") {
            return Some(match hash {
                "" => message(400, "txhash parameter required"),
                hash => self.see(|view| wire::detail(view, hash)),
            });
        }
        if let Some(height) = after("/block/transactions/") {
            return Some(self.see(|view| wire::block(view, height)));
        }
        match path {
            "/price/current" => Some(self.see(wire::price)),
            "/node/health" => Some(Response::json(200, r#"{"Ndau":{"Status":"Ok"}}"#)),
            "/node/status" => Some(self.see(|view| wire::status(view, network))),
            "/version" => Some(wire::version(network)),
            _ => None,
        }
    }
}

/// The routes: whether a path is one, and by which method.
fn method_of(path: &str) -> Option<&'static str> {
    let gets = [
        "/system/get/",
        "/account/account/",
        "/account/history/",
        "/transaction/detail/",
        "/block/transactions/",
    ];
    let posts = ["/tx/prevalidate/", "/tx/submit/"];
    let plain = ["/price/current", "/node/health", "/node/status", "/version"];
    // A route with a parameter matches exactly one segment; only the detail route takes none too.
    let one_segment = |prefix: &&str| {
        path.strip_prefix(*prefix).is_some_and(|rest| {
            !rest.contains('/') && (!rest.is_empty() || *prefix == "/transaction/detail/")
        })
    };
    if plain.contains(&path) || gets.iter().any(one_segment) {
        Some("GET")
    } else if posts.iter().any(one_segment) {
        Some("POST")
    } else {
        None
    }
}

impl Site for Node {
    fn answer(&self, request: &Request) -> Reply {
        let path = request.path.as_str();
        let Some(method) = method_of(path) else {
            return Reply::Send(match path.strip_suffix('/') {
                Some(shorter) if method_of(shorter).is_some() => {
                    Response::empty(302).with("Location", shorter)
                }
                _ => Response::text(404, "404 page not found\n"),
            });
        };
        if request.method != method {
            return Reply::Send(Response::empty(405));
        }
        let reply = if let Some(kind) = path.strip_prefix("/tx/prevalidate/") {
            self.prevalidate(kind, &request.body)
        } else if let Some(kind) = path.strip_prefix("/tx/submit/") {
            self.submit(kind, &request.body)
        } else {
            let not_found = || Response::text(404, "404 page not found\n");
            Reply::Send(self.get(path, request).unwrap_or_else(not_found))
        };
        match reply {
            Reply::Send(response) => Reply::Send(response.with("Access-Control-Allow-Origin", "*")),
            other => other,
        }
    }

    /// The original's words when something behind the node is gone.
    fn trouble(&self, fault: &Fault, request: &Request) -> Reply {
        let Fault::Node(trouble) = fault else {
            return self.answer(request);
        };
        let cause = match trouble {
            NodeTrouble::TendermintDown => {
                "Post \"http://127.0.0.1:46670\": dial tcp 127.0.0.1:46670: connect: connection refused"
            }
            NodeTrouble::ApplicationDown => {
                "response error: RPC error -32603 - Internal error: EOF"
            }
            NodeTrouble::IndexDown => "",
        };
        let index = match trouble {
            NodeTrouble::IndexDown => {
                "decoding msgp: msgp: too few bytes left to read object".to_owned()
            }
            _ => format!("performing query: ABCIQuery: {cause}"),
        };
        let path = request.path.as_str();
        let is_tx = path.starts_with("/tx/");
        let text = if is_tx {
            // What cannot be read is refused before the index is asked.
            let kind = path.rsplit('/').next().unwrap_or_default();
            if let Err(refusal) = Tx::parse(kind, &request.body) {
                return unreadable(&refusal);
            }
            format!("txhash search failed ({index})")
        } else if path.starts_with("/transaction/detail/") {
            format!("could not find transaction ({index})")
        } else if *trouble == NodeTrouble::IndexDown {
            return self.answer(request);
        } else if path.starts_with("/account/") {
            format!("Error fetching address data: ABCIQuery: {cause}")
        } else if path.starts_with("/system/get/") {
            format!("reading system variables (getSystemVars: fetch: ABCIQuery: {cause})")
        } else if path == "/price/current" {
            return Reply::Send(Response::empty(200));
        } else if path == "/version" {
            format!("error retrieving version info (ABCIQuery: {cause})")
        } else if *trouble == NodeTrouble::ApplicationDown {
            return self.answer(request);
        } else if path == "/node/health" {
            format!("Could not fetch ndau node health: Health: {cause}")
        } else if path == "/node/status" {
            format!("could not fetch status: Status: {cause}")
        } else {
            return self.answer(request);
        };
        Reply::Send(message(500, &text))
    }
}

#[derive(Serialize)]
struct Prevalidated<'a> {
    fee_napu: i64,
    sib_napu: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err_code: Option<i32>,
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'a str>,
    code: i32,
}

fn submitted(status: u16, hash: &str) -> Response {
    #[derive(Serialize)]
    struct Submitted<'a> {
        hash: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        msg: Option<&'a str>,
        code: i32,
    }
    let known = status == 202;
    go_json(
        status,
        &Submitted {
            hash,
            msg: known.then_some("tx already committed"),
            code: if known { 1002 } else { 0 },
        },
    )
}

fn unreadable(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Crash => Reply::Hangup,
        Refusal::Says(text) => {
            let text = format!("tx.Data did not unmarshal into a tx ({text})");
            Reply::Send(message(400, &text))
        }
    }
}
