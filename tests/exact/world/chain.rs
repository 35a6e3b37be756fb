//! The ndau chain as one value: an account, a mempool, blocks, and the REST API of a node.
//!
//! Blocks come only when there is something to put in, and one empty one after each that changed the state, unless others
//! keep the chain `busy`. What was recorded of real nodes holds: a submission is checked at the door and again in its block
//! and its answer does not tell what became of it there; the total issued trails a block; the index counts applied
//! transactions only, while the block that it looks into holds failed ones too.

use std::collections::VecDeque;

use bitmart_issuer::clock::utc;
use data_encoding::BASE64URL_NOPAD;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::{clock, signers};

/// The account whose transactions may issue.
pub const ISSUER: &str = "ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y";

/// From the mempool to the block, and from a block to the empty one after it.
pub const BLOCK_MS: u64 = 1000;

/// How long a submission waits for its block.
const PATIENCE_MS: u64 = 90_000;

const FEE: u64 = 500_000;
const SEQUENCES_AHEAD: u64 = 128;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tx {
    Issue {
        quantity: u64,
        sequence: u64,
        signatures: Vec<String>,
    },
    /// Any other transaction of the issuer's account.
    Other { sequence: u64 },
    /// Another account's.
    RecordPrice { price: u64, sequence: u64 },
}

impl Tx {
    /// MD5 over the two numbers, whatever the type and the signatures.
    fn hash(&self) -> String {
        let (first, sequence) = match self {
            Tx::Issue {
                quantity, sequence, ..
            } => (*quantity, *sequence),
            Tx::Other { sequence } => (0, *sequence),
            Tx::RecordPrice { price, sequence } => (*price, *sequence),
        };
        let signable = [first.to_be_bytes(), sequence.to_be_bytes()].concat();
        BASE64URL_NOPAD.encode(&Md5::digest(signable))
    }

    fn is_the_issuers(&self) -> bool {
        !matches!(self, Tx::RecordPrice { .. })
    }

    fn parse(body: &[u8]) -> Tx {
        let body: Value = serde_json::from_slice(body).unwrap();
        let number = |name: &str| body[name].as_u64().unwrap();
        let signatures = body["signatures"].as_array().unwrap().iter();
        Tx::Issue {
            quantity: number("qty"),
            sequence: number("sequence"),
            signatures: signatures
                .map(|one| one.as_str().unwrap().to_owned())
                .collect(),
        }
    }

    fn json(&self) -> (&str, Value) {
        match self {
            Tx::Issue {
                quantity,
                sequence,
                signatures,
            } => (
                "Issue",
                json!({"qty": quantity, "sequence": sequence, "signatures": signatures}),
            ),
            Tx::Other { sequence } => (
                "ReleaseFromEndowment",
                json!({"destination": ISSUER, "qty": 1, "sequence": sequence, "signatures": []}),
            ),
            Tx::RecordPrice { price, sequence } => (
                "RecordPrice",
                json!({"market_price": price, "sequence": sequence, "signatures": []}),
            ),
        }
    }
}

/// What happens to the next submitted `Issue` that would be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Surprise {
    /// Another transaction of the account takes its sequence first: refused, with a log.
    TakenBefore,
    /// The same in front of it in its block: answered 200, and fails there.
    TakenInBlock,
    /// A price is recorded with its two numbers first: 202.
    HashTaken,
    /// A transaction fails in front of it in its block: the index shows a neighbour's body.
    Neighbour,
    /// 400 without a log, and in a block after so many milliseconds.
    CommitsLate(u64),
    /// 400 without a log, and lost.
    Forgotten,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Block {
    height: u64,
    /// Milliseconds since the world began.
    time_ms: u64,
    /// Each with whether it was applied.
    txs: Vec<(Tx, bool)>,
}

/// An `Issue` that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Issued {
    pub quantity: u64,
    pub sequence: u64,
    pub height: u64,
}

impl Issued {
    /// What its hash is made of.
    pub fn numbers(&self) -> (u64, u64) {
        (self.quantity, self.sequence)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// Whether others keep it making blocks.
    pub busy: bool,
    /// From a block's execution, when the sequence moves, to its commit, when height and index do.
    pub commit_ms: u64,
    /// What is released for issuing.
    pub released: u64,
    /// What happens to the next submitted ones.
    pub surprises: VecDeque<Surprise>,
    /// Whether a used sequence can be used again. That is not the ndau chain.
    pub lax: bool,
    now_ms: u64,
    sequence: u64,
    balance: u64,
    price_sequence: u64,
    issued: u64,
    /// The total issued as it is shown: without what the newest block issued.
    shown: u64,
    height: u64,
    /// From when on each may go into a block.
    mempool: Vec<(u64, Tx)>,
    /// A block that is executed and not committed, and when it will be.
    executed: Option<(u64, Block)>,
    empty_at: Option<u64>,
    /// The committed ones with transactions in them.
    blocks: Vec<Block>,
    /// The index knows nothing of this height and below.
    forgotten: u64,
    /// It knows nothing above this height, if it stands still.
    stalled: Option<u64>,
}

impl Chain {
    pub fn new() -> Chain {
        Chain {
            busy: false,
            commit_ms: 0,
            released: 1_000_000 * 100_000_000,
            surprises: VecDeque::new(),
            lax: false,
            now_ms: 0,
            sequence: 2,
            balance: 1000 * 100_000_000,
            price_sequence: 0,
            issued: 70_000,
            shown: 70_000,
            height: 5,
            mempool: Vec::new(),
            executed: None,
            empty_at: None,
            // What used the sequences until now.
            blocks: vec![Block {
                height: 5,
                time_ms: 0,
                txs: vec![(Tx::Other { sequence: 2 }, true)],
            }],
            forgotten: 0,
            stalled: None,
        }
    }

    // What others do, and what happens to a node.

    /// Another transaction of the account, with the next sequence.
    pub fn use_sequence(&mut self) {
        let sequence = self.sequence + 1;
        self.admit(Tx::Other { sequence });
    }

    /// A price is recorded with the two numbers of an `Issue`, and so with its hash.
    pub fn take_hash(&mut self, quantity: u64, sequence: u64) {
        let price = quantity;
        self.admit(Tx::RecordPrice { price, sequence });
    }

    /// The node forgets every transaction until now.
    pub fn lose_index(&mut self) {
        self.forgotten = self.height;
    }

    /// The node's index stands still.
    pub fn stall_index(&mut self) {
        self.stalled = self.stalled.or(Some(self.height));
    }

    /// The node's index has everything.
    pub fn mend_index(&mut self) {
        (self.forgotten, self.stalled) = (0, None);
    }

    /// Somebody else with the same key issues, with the next sequence.
    pub fn issue_elsewhere(&mut self, quantity: u64) {
        let sequence = self.sequence + 1;
        let signatures = vec![signers::signature(quantity, sequence)];
        self.admit(Tx::Issue {
            quantity,
            sequence,
            signatures,
        });
    }

    // What is true, whatever a node shows.

    /// Everything that was applied, oldest first; also what is in a block that is not committed yet.
    fn applied(&self) -> impl Iterator<Item = &Tx> {
        let executed = self.executed.iter().map(|(_, block)| block);
        let txs = self
            .blocks
            .iter()
            .chain(executed)
            .flat_map(|block| &block.txs);
        txs.filter(|(_, applied)| *applied).map(|(tx, _)| tx)
    }

    /// The sequences that the account has used, in order.
    pub fn used(&self) -> Vec<u64> {
        let used = self.applied().filter_map(|tx| match tx {
            Tx::Issue { sequence, .. } | Tx::Other { sequence } => Some(*sequence),
            Tx::RecordPrice { .. } => None,
        });
        used.collect()
    }

    /// Whether a recorded price has the hash of this `Issue`.
    pub fn is_taken(&self, quantity: u64, sequence: u64) -> bool {
        let price = quantity;
        self.applied()
            .any(|tx| *tx == Tx::RecordPrice { price, sequence })
    }

    /// Whether this `Issue` may yet come into a block.
    pub fn is_waiting(&self, quantity: u64, sequence: u64) -> bool {
        self.mempool.iter().any(|(_, tx)| {
            matches!(tx, Tx::Issue { quantity: one, sequence: two, .. } if (*one, *two) == (quantity, sequence))
        })
    }

    /// Whether the index hides something that stands on the chain.
    pub fn index_hides(&self) -> bool {
        self.blocks.iter().any(|block| !self.is_indexed(block))
    }

    /// Whether time alone changes nothing.
    pub fn is_at_rest(&self) -> bool {
        self.mempool.is_empty() && self.executed.is_none() && self.empty_at.is_none()
    }

    /// The heights that mean something: of blocks with something in them, of what the index has, and the newest.
    pub fn heights(&self) -> Vec<u64> {
        let executed = self.executed.iter().map(|(_, block)| block);
        let blocks = self.blocks.iter().chain(executed).map(|block| block.height);
        let ends = [self.height, self.forgotten].into_iter();
        blocks.chain(ends).chain(self.stalled).collect()
    }

    /// The same chain with times that count from now and `height` in place of each height. Blocks are told apart by their
    /// heights alone.
    pub fn essence(&self, height: impl Fn(u64) -> u64) -> Chain {
        let now_ms = 100 * BLOCK_MS + if self.busy { self.now_ms % BLOCK_MS } else { 0 };
        let from_now = |time_ms: &mut u64| *time_ms = now_ms + *time_ms - self.now_ms;
        let mut chain = self.clone();
        for (from, _) in &mut chain.mempool {
            from_now(from);
        }
        chain.empty_at.iter_mut().for_each(from_now);
        let executed = chain.executed.iter_mut().map(|(commit_at, block)| {
            from_now(commit_at);
            block
        });
        for block in chain.blocks.iter_mut().chain(executed) {
            block.height = height(block.height);
            block.time_ms = 0;
        }
        chain.height = height(self.height);
        chain.forgotten = height(self.forgotten);
        chain.stalled = self.stalled.map(height);
        chain.now_ms = now_ms;
        chain
    }

    /// Every applied `Issue`, oldest first; also those of a block that is not committed yet.
    pub fn issues(&self) -> Vec<Issued> {
        let executed = self.executed.iter().map(|(_, block)| block);
        let mut issues = Vec::new();
        for block in self.blocks.iter().chain(executed) {
            for (tx, applied) in &block.txs {
                if let (
                    Tx::Issue {
                        quantity, sequence, ..
                    },
                    true,
                ) = (tx, applied)
                {
                    issues.push(Issued {
                        quantity: *quantity,
                        sequence: *sequence,
                        height: block.height,
                    });
                }
            }
        }
        issues
    }

    /// Everything that was ever issued.
    pub fn total_issued(&self) -> u64 {
        self.issued
    }

    /// The account's last used sequence.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    // Blocks.

    /// Makes all blocks that are due until then.
    pub fn advance(&mut self, now_ms: u64) {
        while let Some(due) = self.due().filter(|due| *due <= now_ms) {
            self.now_ms = self.now_ms.max(due);
            match self.executed.take() {
                Some((_, block)) => self.commit(block),
                None => self.execute(),
            }
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn due(&self) -> Option<u64> {
        if let Some((commit_at, _)) = &self.executed {
            return Some(*commit_at);
        }
        let waiting = self.mempool.iter().map(|(from, _)| from + BLOCK_MS);
        let busy = self.busy.then(|| (self.now_ms / BLOCK_MS + 1) * BLOCK_MS);
        waiting.chain(self.empty_at).chain(busy).min()
    }

    fn admit(&mut self, tx: Tx) {
        self.mempool.push((self.now_ms, tx));
    }

    fn execute(&mut self) {
        let now_ms = self.now_ms;
        let mempool = std::mem::take(&mut self.mempool);
        let (ready, later) = mempool.into_iter().partition(|(from, _)| *from <= now_ms);
        self.mempool = later;
        self.empty_at = None;
        self.shown = self.issued;
        let ready: Vec<(u64, Tx)> = ready;
        let txs = ready.into_iter().map(|(_, tx)| {
            let applied = self.check(&tx).is_ok();
            if applied {
                self.apply(&tx);
            }
            (tx, applied)
        });
        let block = Block {
            txs: txs.collect(),
            height: self.height + 1,
            time_ms: now_ms,
        };
        self.executed = Some((now_ms + self.commit_ms, block));
    }

    fn commit(&mut self, block: Block) {
        self.height = block.height;
        if block.txs.iter().any(|(_, applied)| *applied) {
            self.empty_at = Some(self.now_ms + BLOCK_MS);
        }
        if !block.txs.is_empty() {
            self.blocks.push(block);
        }
        // What waits on is checked again; what has become invalid is dropped without a word.
        let mempool = std::mem::take(&mut self.mempool);
        let valid = mempool.into_iter().filter(|(_, tx)| self.check(tx).is_ok());
        self.mempool = valid.collect();
    }

    /// The chain's rules in their order: at most one transaction per sequence can ever pass.
    fn check(&self, tx: &Tx) -> Result<(), &'static str> {
        let (sequence, last) = match tx {
            Tx::Issue {
                quantity, sequence, ..
            } => {
                if *quantity == 0 {
                    return Err("Issue qty may not be <= 0");
                }
                if self.issued + quantity > self.released {
                    return Err("cannot issue more ndau than have been RFE'd");
                }
                (*sequence, self.sequence)
            }
            Tx::Other { sequence } => (*sequence, self.sequence),
            Tx::RecordPrice { sequence, .. } => (*sequence, self.price_sequence),
        };
        if sequence <= last && !self.lax {
            return Err("sequence too low");
        }
        if sequence > last + SEQUENCES_AHEAD {
            return Err("sequence too high");
        }
        match tx {
            Tx::Issue {
                quantity,
                sequence,
                signatures,
            } if *signatures != [signers::signature(*quantity, *sequence)] => {
                Err(if signatures.is_empty() {
                    "invalid signature(s): []"
                } else {
                    "invalid signature(s): [0]"
                })
            }
            Tx::Issue { .. } if self.balance < FEE => {
                Err("insufficient available balance to pay for tx")
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, tx: &Tx) {
        match tx {
            Tx::Issue {
                quantity, sequence, ..
            } => {
                self.issued += quantity;
                self.sequence = *sequence;
                self.balance -= FEE;
            }
            Tx::Other { sequence } => self.sequence = *sequence,
            Tx::RecordPrice { sequence, .. } => self.price_sequence = *sequence,
        }
    }

    // The node's API.

    /// The time that it is here: a submission that waits for its block takes some.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn is_indexed(&self, block: &Block) -> bool {
        block.height > self.forgotten && self.stalled.is_none_or(|last| block.height <= last)
    }

    /// The block of an applied transaction, its place among the applied ones there, and what stands at that place among all.
    fn indexed(&self, hash: &str) -> Option<(&Block, usize, &Tx)> {
        let known = self.blocks.iter().filter(|block| self.is_indexed(block));
        known.rev().find_map(|block| {
            let applied = block.txs.iter().filter(|(_, applied)| *applied);
            let offset = applied.map(|(tx, _)| tx.hash()).position(|tx| tx == hash)?;
            Some((block, offset, &block.txs.get(offset)?.0))
        })
    }

    /// The answer to a question.
    pub fn get(&self, path: &str) -> (u16, String) {
        let body = if path == "/system/get/ReleaseFromEndowmentAddress" {
            json!({"ReleaseFromEndowmentAddress": [ISSUER]})
        } else if path == "/node/status" {
            self.status()
        } else if path == "/price/current" {
            json!({"marketPrice": 0, "targetPrice": 0, "floorPrice": 0, "totalReleased": self.released,
                   "totalIssued": self.shown, "totalNdau": self.released, "totalBurned": 0, "sib": 0})
        } else if let Some(address) = path.strip_prefix("/account/account/") {
            assert_eq!(address, ISSUER);
            json!({ISSUER: self.account()})
        } else if let Some(query) = path.strip_prefix("/account/history/") {
            self.history(query)
        } else if let Some(hash) = path.strip_prefix("/transaction/detail/") {
            self.detail(hash)
        } else if let Some(height) = path.strip_prefix("/block/transactions/") {
            self.block(height.parse().unwrap())
        } else {
            panic!("nobody asks for {path}")
        };
        (200, body.to_string())
    }

    fn status(&self) -> Value {
        json!({
            "node_info": {"id": "27c1bd747dd116f82b1ada0ef51f92fb9fa60bc9", "network": "value-net", "version": "0.32.6"},
            "sync_info": {"latest_block_height": self.height, "catching_up": false},
        })
    }

    fn account(&self) -> Value {
        json!({"balance": self.balance, "validationKeys": [signers::public().to_string()],
               "validationScript": null, "rewardsTarget": null, "incomingRewardsFrom": null, "delegationNode": null,
               "lock": null, "lastEAIUpdate": time(0), "lastWAAUpdate": time(0), "weightedAverageAge": "t0s",
               "sequence": self.sequence, "stake_rules": null, "costakers": {}, "holds": null,
               "recourseSettings": {"period": "t0s", "changes_at": null, "next": null}, "currencySeatDate": null,
               "parent": null, "progenitor": null})
    }

    fn history(&self, query: &str) -> Value {
        let after: u64 = query
            .split_once("after=")
            .and_then(|(_, rest)| rest.split('&').next()?.parse().ok())
            .unwrap();
        let known = self
            .blocks
            .iter()
            .filter(|block| self.is_indexed(block) && block.height > after);
        let items: Vec<Value> = known
            .flat_map(|block| block.txs.iter().map(move |(tx, applied)| (block, tx, applied)))
            .filter(|(_, tx, applied)| **applied && tx.is_the_issuers())
            .map(|(block, tx, _)| {
                json!({"Balance": 0, "Timestamp": time(block.time_ms), "TxHash": tx.hash(), "Height": block.height})
            })
            .collect();
        json!({"Items": items, "Next": ""})
    }

    fn detail(&self, hash: &str) -> Value {
        let Some((block, offset, shown)) = self.indexed(hash) else {
            return Value::Null;
        };
        let (kind, data) = shown.json();
        json!({"BlockHeight": block.height, "TxOffset": offset, "Fee": FEE, "SIB": 0, "TxHash": hash, "TxType": kind,
               "TxData": data, "Timestamp": time(block.time_ms)})
    }

    fn block(&self, height: u64) -> Value {
        let block = self.blocks.iter().find(|block| block.height == height);
        let txs = block.iter().flat_map(|block| &block.txs);
        txs.map(|(tx, _)| tx.hash()).collect()
    }

    /// The answer to `POST /tx/prevalidate/Issue`.
    pub fn prevalidate(&self, body: &[u8]) -> (u16, String) {
        let tx = Tx::parse(body);
        let hash = tx.hash();
        let (status, answer) = match (self.indexed(&hash), self.check(&tx)) {
            (Some(_), _) => (
                202,
                json!({"fee_napu": 0, "sib_napu": 0, "hash": hash, "msg": "tx already committed", "code": 1002}),
            ),
            (None, Ok(())) => (
                200,
                json!({"fee_napu": FEE, "sib_napu": 0, "hash": hash, "code": 0}),
            ),
            (None, Err(reason)) => (
                400,
                json!({"fee_napu": FEE, "sib_napu": 0, "err": format!("validating transactable: {reason}"),
                       "err_code": -1, "hash": hash, "code": 1001}),
            ),
        };
        (status, answer.to_string())
    }

    /// `POST /tx/submit/Issue` arrives. The answer, unless it has to wait for its block first.
    pub fn submit(&mut self, body: &[u8]) -> Option<(u16, String)> {
        let tx = Tx::parse(body);
        let Tx::Issue {
            quantity, sequence, ..
        } = tx
        else {
            panic!("only Issues are submitted");
        };
        if self.indexed(&tx.hash()).is_some() {
            return Some(committed_before(&tx));
        }
        let surprise = match self.check(&tx) {
            Ok(()) => self.surprises.pop_front(),
            Err(_) => None,
        };
        match surprise {
            Some(Surprise::TakenBefore) => {
                self.admit(Tx::Other { sequence });
                self.rest();
            }
            Some(Surprise::TakenInBlock) => self.admit(Tx::Other { sequence }),
            Some(Surprise::HashTaken) => {
                self.take_hash(quantity, sequence);
                self.rest();
                return Some(committed_before(&tx));
            }
            Some(Surprise::Neighbour) => {
                let sequence = self.price_sequence + 1;
                for price in [1 << 50, 1 << 51] {
                    self.admit(Tx::RecordPrice { price, sequence });
                }
            }
            Some(Surprise::CommitsLate(ms)) => {
                self.mempool.push((self.now_ms + ms, tx));
                return Some(timed_out());
            }
            Some(Surprise::Forgotten) => return Some(timed_out()),
            None => {}
        }
        if let Err(log) = self.check(&tx) {
            let msg = "error from commit (failed to broadcast transaction: InvalidTransaction)";
            return Some((400, json!({"msg": msg, "log": log}).to_string()));
        }
        self.admit(tx);
        None
    }

    /// The answer to a submission that had to wait, once its block is there.
    pub fn answer_when_in_block(&mut self, body: &[u8]) -> (u16, String) {
        let tx = Tx::parse(body);
        let give_up_at = self.now_ms + PATIENCE_MS;
        loop {
            let blocks = self.blocks.iter().flat_map(|block| &block.txs);
            if blocks.map(|(tx, _)| tx).any(|one| *one == tx)
                && !self.mempool.iter().any(|(_, one)| *one == tx)
            {
                return (200, json!({"hash": tx.hash(), "code": 0}).to_string());
            }
            match self.due().filter(|due| *due <= give_up_at) {
                Some(due) => self.advance(due),
                None => {
                    self.advance(give_up_at);
                    return timed_out();
                }
            }
        }
    }

    /// Until everything that waits is in a block.
    fn rest(&mut self) {
        while !self.mempool.is_empty() || self.executed.is_some() {
            let due = self.due().unwrap();
            self.advance(due);
        }
    }
}

fn time(since_ms: u64) -> String {
    utc(clock::BEGINNING_MS + since_ms)
}

fn committed_before(tx: &Tx) -> (u16, String) {
    let answer = json!({"hash": tx.hash(), "msg": "tx already committed", "code": 1002});
    (202, answer.to_string())
}

fn timed_out() -> (u16, String) {
    let msg = "error from commit (failed to broadcast transaction: broadcast_tx_commit: response error: RPC error \
               -32603 - Internal error: Timed out waiting for tx to be included in a block)";
    (400, json!({"msg": msg}).to_string())
}
