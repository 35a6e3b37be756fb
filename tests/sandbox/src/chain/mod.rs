//! The ndau chain: one issuer's account, a ledger that makes blocks, and the REST API of its nodes.
//!
//! As on the real one, a submitted transaction is checked at the door and again in its block, and the
//! answer of the submit does not tell what became of it there.

mod block;
mod node;
mod rules;
#[cfg(test)]
mod tests;
mod tx;
mod wire;

use crate::address;
use crate::fault::Fault;
use crate::keys::{PublicKey, Refusal};
use crate::server::{Seen, Server, Site, lock};
use block::{Core, Ledger, Surprise, View};
use node::Node;
use rules::State;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tx::{Body, Tx};

/// How the chain is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The chain id.
    pub network: String,
    /// The issuer's validation keys, as `npub…` texts.
    pub validation_keys: Vec<String>,
    /// How many of them its validation script asks for; without a script any one is enough.
    pub required_signatures: Option<usize>,
    /// What was released from the endowment so far.
    pub released_napu: u64,
    /// What was issued so far.
    pub issued_napu: u64,
    /// The fee of each of the account's transactions.
    pub fee_napu: u64,
    /// The account's balance.
    pub balance_napu: u64,
    /// The key, as `npub…` text, that signs `RecordPrice` submitted over HTTP; without it none is
    /// accepted there.
    pub price_key: Option<String>,
    /// Parts of the balance that are held.
    pub holds_napu: Vec<u64>,
    /// The account's last used sequence.
    pub sequence: u64,
    /// The height of the last block.
    pub height: u64,
    /// From the mempool to the block.
    pub block_time: Duration,
    /// From the execution of a block, when the account's sequence moves, to its commit, when the
    /// height advances, the index learns its transactions and their submits are answered.
    pub index_delay: Duration,
    /// How long a submit waits for its block; 90 s at the real one.
    pub commit_timeout: Duration,
    /// The port; 0 means any free one.
    pub port: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            network: "sandbox-net".into(),
            validation_keys: Vec::new(),
            required_signatures: None,
            released_napu: 1_000_000 * 100_000_000,
            issued_napu: 0,
            fee_napu: 500_000,
            balance_napu: 1000 * 100_000_000,
            price_key: None,
            holds_napu: Vec::new(),
            sequence: 2,
            height: 5,
            block_time: Duration::from_millis(20),
            index_delay: Duration::ZERO,
            commit_timeout: Duration::from_secs(90),
            port: 0,
        }
    }
}

/// An Issue that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its hash.
    pub hash: String,
    /// Its quantity in napu.
    pub qty: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Its block.
    pub height: u64,
}

/// When another transaction takes the sequence of the next submitted Issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Before it reaches the mempool: it is refused with `sequence too low`.
    BeforeAdmission,
    /// After that, in front of it in the same block: it is answered 200 and fails in its block.
    AfterAdmission,
}

/// What goes wrong with the next submitted Issue. One that would be refused at the door is refused all
/// the same, except by [`SubmitFault::DropConnectionBefore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitFault {
    /// 400 'Timed out …' at once; it waits in the mempool and is in a block after this time.
    TimeoutThenCommit(Duration),
    /// 400 'Timed out …' at once; it is lost.
    TimeoutAndDrop,
    /// 400 '… EOF': tendermint died, and its mempool with it; it is lost.
    NodeDied,
    /// 504 of a proxy, in HTML, at once; it is in a block after this time.
    GatewayTimeoutThenCommit(Duration),
    /// The connection closes without an answer; nothing was done.
    DropConnectionBefore,
    /// The connection closes without an answer at once; it is in a block after this time.
    DropConnectionThenCommit(Duration),
    /// It is committed, then the connection closes without an answer.
    CommitThenDropConnection,
    /// It is committed, then half the answer comes.
    CommitThenCutAnswer,
    /// It is committed, and no answer ever comes.
    AnswerLost,
    /// 200; in its block the account cannot pay its fee, so that it fails there and uses up no sequence. In the next
    /// block the account can pay again.
    FailInBlock,
}

/// A running network with one node; it stops when dropped.
pub struct Chain {
    server: Server,
    node: Arc<Node>,
    making_blocks: Option<JoinHandle<()>>,
}

impl Chain {
    /// Starts the ledger and a node.
    ///
    /// # Panics
    /// If a validation key is none, an amount does not fit an i64, or the port is taken.
    pub fn start(settings: Settings) -> Chain {
        let mut view = View::new(genesis(&settings), settings.height);
        if settings.sequence > 0 {
            // What used the sequences until now: the release.
            let address = view.state.address.clone();
            let released = signed(settings.released_napu);
            view.remember(Core::release(address, released, settings.sequence));
        }
        let ledger = Arc::new(Ledger::new(view, settings.block_time, settings.index_delay));
        let node = Arc::new(Node {
            ledger: Arc::clone(&ledger),
            network: settings.network,
            patience: settings.commit_timeout,
            frozen: Mutex::new(None),
        });
        let site: Arc<dyn Site> = Arc::clone(&node) as Arc<dyn Site>;
        let server = Server::start(settings.port, site).expect("the node's port should be free");
        Chain {
            server,
            node,
            making_blocks: Some(std::thread::spawn(move || ledger.run())),
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The address of the issuer's account.
    pub fn address(&self) -> String {
        self.ledger().core().view.state.address.clone()
    }

    /// The issued total, as executed.
    ///
    /// # Panics
    /// If it has wrapped around below zero.
    pub fn issued_napu(&self) -> u64 {
        let issued = self.ledger().core().view.state.issued;
        u64::try_from(issued).expect("the issued total should not have wrapped around")
    }

    /// The released total, as executed.
    pub fn released_napu(&self) -> u64 {
        self.ledger().core().view.state.released.unsigned_abs()
    }

    /// The account's balance, as executed.
    pub fn balance_napu(&self) -> i64 {
        self.ledger().core().view.state.balance
    }

    /// The account's last used sequence, as executed.
    pub fn sequence(&self) -> u64 {
        self.ledger().core().view.state.sequence
    }

    /// The height of the last committed block.
    pub fn height(&self) -> u64 {
        self.ledger().core().view.height
    }

    /// Every Issue that was ever applied, in order, whatever the index has forgotten.
    pub fn issues(&self) -> Vec<Committed> {
        self.ledger().core().issues.clone()
    }

    /// Every request that the node has read, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.server.seen()
    }

    /// Replaces the account's validation keys, without a transaction.
    ///
    /// # Panics
    /// If one of the texts is no public key.
    pub fn set_validation_keys(&self, keys: &[&str]) {
        let keys = keys.iter().map(|text| validation_key(text)).collect();
        self.ledger().core().view.state.keys = keys;
    }

    /// Sets how many keys the validation script asks for, without a transaction.
    pub fn set_required_signatures(&self, required: Option<usize>) {
        self.ledger().core().view.state.script = required;
    }

    /// Sets the account's balance, without a transaction.
    pub fn set_balance(&self, napu: u64) {
        self.ledger().core().view.state.balance = signed(napu);
    }

    /// Sets the delay from a block's execution to its commit, also for a block that waits for it now.
    pub fn set_index_delay(&self, delay: Duration) {
        self.ledger().core().index_delay = delay;
        self.ledger().wake();
    }

    /// Releases more, by a transaction of the issuer's account: it uses up a sequence and costs a fee.
    /// Returns its hash once it is committed.
    ///
    /// # Panics
    /// If it fails in its block, or is not committed in time.
    pub fn release(&self, napu: u64) -> String {
        let sequence = self.sequence() + 1;
        let address = self.address();
        self.commit(Core::release(address, signed(napu), sequence))
    }

    /// Commits another transaction of the issuer's account, a release of one napu, and returns the
    /// sequence that it used up.
    ///
    /// # Panics
    /// As [`Chain::release`].
    pub fn use_up_sequence(&self) -> u64 {
        self.release(1);
        self.sequence()
    }

    /// Commits a transaction of the price account, whose hash is that of an Issue with these numbers,
    /// and returns that hash. The price account's sequence moves to where this one is the next.
    ///
    /// # Panics
    /// If the sequence was used by it already, or the transaction is not committed in time.
    pub fn record_price(&self, napu: u64, sequence: u64) -> String {
        {
            let state = &mut self.ledger().core().view.state;
            state.price_sequence = state.price_sequence.max(sequence.saturating_sub(1));
        }
        let market_price = signed(napu);
        self.commit(Tx::trusted(Body::RecordPrice { market_price }, sequence))
    }

    /// Just around the admission of the next submitted Issue another transaction of the account takes
    /// its sequence.
    pub fn take_sequence_before_next_submit(&self, when: Taken) {
        self.surprise(Surprise::Taken(when));
    }

    /// The next submitted Issue shares its block with an applied and a failed transaction of another
    /// account, both in front of it: it is applied, but the detail shows the failed one's data.
    pub fn shift_offset_of_next_submit(&self) {
        self.surprise(Surprise::ShiftedOffset);
    }

    /// The next submitted Issue meets this fault. Several wait for one submit each, in order; they and
    /// the two surprises above form one queue.
    pub fn fail_next_submit(&self, fault: SubmitFault) {
        self.surprise(Surprise::Fault(fault));
    }

    /// Sets the fault of the moment of this node, or takes it away.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.server.set_fault(fault);
    }

    /// The node loses its index: what was committed so far is not found, and is never found again.
    pub fn forget_index(&self) {
        self.ledger().core().view.index.clear();
    }

    /// Waits until no transaction is in the mempool and no block is due. False if that takes more
    /// than ten seconds.
    pub fn wait_until_idle(&self) -> bool {
        self.ledger().idle(Duration::from_secs(10))
    }

    /// Another node of the same network, up to date until it is frozen.
    pub fn lagging_node(&self) -> LaggingNode {
        let node = Arc::new(Node {
            ledger: Arc::clone(&self.node.ledger),
            network: self.node.network.clone(),
            patience: self.node.patience,
            frozen: Mutex::new(None),
        });
        let site: Arc<dyn Site> = Arc::clone(&node) as Arc<dyn Site>;
        let server = Server::start(0, site).expect("a loopback port should be free");
        LaggingNode { server, node }
    }

    fn ledger(&self) -> &Ledger {
        &self.node.ledger
    }

    fn surprise(&self, surprise: Surprise) {
        self.ledger().core().surprises.push_back(surprise);
    }

    fn commit(&self, tx: Tx) -> String {
        let hash = tx.hash();
        let refusal = self.ledger().core().view.state.check(&tx).err();
        let id = self.ledger().core().admit(tx, Duration::ZERO);
        self.ledger().wake();
        match self.ledger().outcome(id, Duration::from_secs(60)) {
            Some(true) => hash,
            Some(false) => panic!("the transaction failed in its block: {refusal:?}"),
            None => panic!("the transaction was not committed within a minute"),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.node.ledger.stop();
        if let Some(making_blocks) = self.making_blocks.take() {
            let _ = making_blocks.join();
        }
    }
}

/// A second node of a [`Chain`]. While it is frozen it shows the network as it was at that moment,
/// and admits by that state; what it admits reaches the network's mempool nevertheless.
pub struct LaggingNode {
    server: Server,
    node: Arc<Node>,
}

impl LaggingNode {
    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// From now on it learns of no block.
    pub fn freeze(&self) {
        let view = self.node.ledger.core().view.clone();
        *lock(&self.node.frozen) = Some(view);
    }

    /// It catches up.
    pub fn thaw(&self) {
        *lock(&self.node.frozen) = None;
    }

    /// Every request that this node has read, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.server.seen()
    }

    /// Sets the fault of the moment of this node, or takes it away.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.server.set_fault(fault);
    }
}

impl Core {
    fn release(destination: String, qty: i64, sequence: u64) -> Tx {
        Tx::trusted(Body::Release { destination, qty }, sequence)
    }

    /// A transaction of the issuer's account that uses this sequence, or the next one if it is past.
    fn taker(&self, sequence: u64) -> Tx {
        let state = &self.view.state;
        let sequence = sequence.max(state.sequence + 1);
        Core::release(state.address.clone(), 1, sequence)
    }
}

fn genesis(settings: &Settings) -> State {
    let keys = settings.validation_keys.iter();
    let address = |kind, what: &str| {
        let data = format!("the {what} account of {}", settings.network);
        address::address(kind, data.as_bytes())
    };
    State {
        address: address('n', "issuer's"),
        keys: keys.map(|text| validation_key(text)).collect(),
        script: settings.required_signatures,
        sequence: settings.sequence,
        balance: signed(settings.balance_napu),
        holds: settings.holds_napu.iter().map(|&qty| signed(qty)).collect(),
        updated: SystemTime::now(),
        price_address: address('a', "price"),
        price_key: settings
            .price_key
            .as_ref()
            .map_or_else(PublicKey::nobody, |text| validation_key(text).1),
        price_sequence: 0,
        market_price: 0,
        released: signed(settings.released_napu),
        issued: signed(settings.issued_napu),
        fees_paid: 0,
        fee: signed(settings.fee_napu),
    }
}

/// Whether a text is a public key, for those who would rather not have [`Chain::start`] panic.
///
/// # Errors
/// The chain's reason why it is none.
pub fn check_key(text: &str) -> Result<(), String> {
    read_key(text).map(|_| ())
}

fn read_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).map_err(|refusal| match refusal {
        Refusal::Says(reason) => format!("{text:?}: {reason}"),
        Refusal::Crash => format!("{text:?} crashes the original's decoder"),
    })
}

fn validation_key(text: &str) -> (String, PublicKey) {
    match read_key(text) {
        Ok(key) => (text.to_owned(), key),
        Err(reason) => panic!("{reason}"),
    }
}

fn signed(napu: u64) -> i64 {
    i64::try_from(napu).expect("an amount should fit an i64")
}
