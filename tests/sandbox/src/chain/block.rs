//! The mempool, the blocks and the index: a ledger with one thread that makes its blocks, one after
//! the other and only when there is something to put in.

use super::rules::State;
use super::tx::{Body, Tx};
use super::{Committed, SubmitFault, Taken};
use crate::server::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A block with transactions in it, the failed ones too.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) height: u64,
    pub(super) time: SystemTime,
    pub(super) txs: Vec<Arc<Tx>>,
}

/// What the index knows of an applied transaction. Its offset counts applied transactions only, while
/// the block it is looked up in also holds the failed ones.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) hash: String,
    pub(super) height: u64,
    pub(super) offset: usize,
    pub(super) fee: i64,
    pub(super) account: String,
    pub(super) balance: i64,
    pub(super) time: SystemTime,
}

/// All that a node shows: the state as it was last executed, the blocks and the index as they were
/// last committed.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) state: State,
    pub(super) height: u64,
    pub(super) time: SystemTime,
    pub(super) blocks: Vec<Block>,
    pub(super) index: Vec<Entry>,
    /// The height the application is at: ahead of `height` between execution and commit.
    app_height: u64,
    /// Released and issued totals, kept for one height.
    totals: Option<(u64, i64, i64)>,
}

impl View {
    pub(super) fn new(state: State, height: u64) -> View {
        View {
            time: state.updated,
            state,
            height,
            blocks: Vec::new(),
            index: Vec::new(),
            app_height: height,
            totals: None,
        }
    }

    /// The block of this height holds `tx`, from before anyone looked.
    pub(super) fn remember(&mut self, tx: Tx) {
        self.index.push(Entry {
            hash: tx.hash(),
            height: self.height,
            offset: 0,
            fee: 0,
            account: self.state.source(&tx).to_owned(),
            balance: self.state.balance,
            time: self.time,
        });
        self.blocks.push(Block {
            height: self.height,
            time: self.time,
            txs: vec![Arc::new(tx)],
        });
    }

    pub(super) fn find(&self, hash: &str) -> Option<&Entry> {
        self.index.iter().find(|entry| entry.hash == hash)
    }

    /// The released and issued totals as the price query shows them: read once per height, and by an
    /// Issue before it adds its own quantity. So an Issue shows one block late.
    pub(super) fn totals(&mut self) -> (i64, i64) {
        match self.totals {
            Some((height, released, issued)) if height == self.app_height => (released, issued),
            _ => {
                let now = (self.state.released, self.state.issued);
                self.totals = Some((self.app_height, now.0, now.1));
                now
            }
        }
    }

    /// Checks and, if it passes, applies one transaction of the block in the making.
    fn deliver(&mut self, tx: &Tx, time: SystemTime) -> bool {
        if self.state.check(tx).is_err() {
            return false;
        }
        if matches!(tx.body, Body::Issue { .. }) {
            self.totals();
        }
        self.state.apply(tx, time);
        true
    }
}

/// A transaction that waits for a block.
struct Pending {
    id: u64,
    tx: Arc<Tx>,
    /// Blocks made before this instant leave it out.
    not_before: Instant,
}

/// A block that was executed and is not committed yet.
struct Executed {
    block: Block,
    entries: Vec<Entry>,
    /// Who waits for which transaction, and whether it was applied.
    outcomes: Vec<(u64, bool)>,
    at: Instant,
}

/// What is to happen around the next submitted Issue.
pub(super) enum Surprise {
    Taken(Taken),
    ShiftedOffset,
    Fault(SubmitFault),
}

pub(super) struct Core {
    pub(super) view: View,
    mempool: Vec<Pending>,
    executed: Option<Executed>,
    empty_due: Option<Instant>,
    outcomes: HashMap<u64, bool>,
    next_id: u64,
    pub(super) issues: Vec<Committed>,
    pub(super) surprises: VecDeque<Surprise>,
    pub(super) index_delay: Duration,
}

impl Core {
    /// Puts a transaction into the mempool, unchecked.
    pub(super) fn admit(&mut self, tx: Tx, delay: Duration) -> u64 {
        self.next_id += 1;
        self.mempool.push(Pending {
            id: self.next_id,
            tx: Arc::new(tx),
            not_before: Instant::now() + delay,
        });
        self.next_id
    }

    /// When the thread has something to do next.
    fn due(&self, block_time: Duration) -> Option<Instant> {
        if let Some(executed) = &self.executed {
            return Some(executed.at + self.index_delay);
        }
        let waiting = self.mempool.iter().map(|p| p.not_before + block_time);
        waiting.chain(self.empty_due).min()
    }

    /// Whether nothing is under way.
    fn idle(&self) -> bool {
        self.mempool.is_empty() && self.executed.is_none() && self.empty_due.is_none()
    }

    fn step(&mut self, now: Instant, block_time: Duration) {
        match self.executed.take() {
            Some(executed) => self.commit(executed, now, block_time),
            None => self.execute(now),
        }
    }

    /// Makes a block of all that waits, in the order it came, and runs it. The account's sequence
    /// shows from here on; the height and the index follow with the commit.
    fn execute(&mut self, now: Instant) {
        let (ready, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.mempool)
            .into_iter()
            .partition(|pending| pending.not_before <= now);
        self.mempool = later;
        let time = SystemTime::now();
        self.view.app_height += 1;
        let mut executed = Executed {
            block: Block {
                height: self.view.app_height,
                time,
                txs: Vec::new(),
            },
            entries: Vec::new(),
            outcomes: Vec::new(),
            at: now,
        };
        for pending in ready {
            let fee = self.view.state.fee_for(&pending.tx);
            let applied = self.view.deliver(&pending.tx, time);
            if applied {
                executed.entries.push(Entry {
                    hash: pending.tx.hash(),
                    height: executed.block.height,
                    offset: executed.entries.len(),
                    fee,
                    account: self.view.state.source(&pending.tx).to_owned(),
                    balance: self.view.state.balance,
                    time,
                });
                self.note_issue(&pending.tx, executed.block.height);
            }
            executed.outcomes.push((pending.id, applied));
            executed.block.txs.push(pending.tx);
        }
        self.executed = Some(executed);
    }

    fn note_issue(&mut self, tx: &Tx, height: u64) {
        if let Body::Issue { qty } = tx.body {
            self.issues.push(Committed {
                hash: tx.hash(),
                qty: qty.unsigned_abs(),
                sequence: tx.sequence,
                height,
            });
        }
    }

    fn commit(&mut self, executed: Executed, now: Instant, block_time: Duration) {
        // One empty block follows every block that changed state.
        let changed = !executed.entries.is_empty();
        self.empty_due = changed.then_some(now + block_time);
        self.view.height = executed.block.height;
        self.view.time = executed.block.time;
        self.view.index.extend(executed.entries);
        self.outcomes.extend(executed.outcomes);
        if !executed.block.txs.is_empty() {
            self.view.blocks.push(executed.block);
        }
        // What waits on is checked again; what has become invalid is dropped without a word.
        let state = &self.view.state;
        self.mempool.retain(|p| state.check(&p.tx).is_ok());
    }
}

/// The ledger that the nodes share.
pub(super) struct Ledger {
    core: Mutex<Core>,
    changed: Condvar,
    stopped: AtomicBool,
    block_time: Duration,
}

impl Ledger {
    pub(super) fn new(view: View, block_time: Duration, index_delay: Duration) -> Ledger {
        Ledger {
            core: Mutex::new(Core {
                view,
                mempool: Vec::new(),
                executed: None,
                empty_due: None,
                outcomes: HashMap::new(),
                next_id: 0,
                issues: Vec::new(),
                surprises: VecDeque::new(),
                index_delay,
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            block_time,
        }
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    /// Tells the block-making thread that the mempool has changed.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Makes blocks until stopped.
    pub(super) fn run(&self) {
        let mut core = self.core();
        while !self.stopped.load(Ordering::SeqCst) {
            let now = Instant::now();
            match core.due(self.block_time) {
                None => core = self.pause(core, Duration::from_secs(3600)),
                Some(due) if due > now => core = self.pause(core, due - now),
                Some(_) => {
                    core.step(now, self.block_time);
                    self.wake();
                }
            }
        }
    }

    fn pause<'a>(&self, core: MutexGuard<'a, Core>, time: Duration) -> MutexGuard<'a, Core> {
        let result = self.changed.wait_timeout(core, time);
        result.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until this transaction's block is committed: whether it was applied there; none after the
    /// time or when the ledger stops.
    pub(super) fn outcome(&self, id: u64, patience: Duration) -> Option<bool> {
        let end = Instant::now() + patience;
        let mut core = self.core();
        loop {
            if let Some(applied) = core.outcomes.remove(&id) {
                return Some(applied);
            }
            let left = end.checked_duration_since(Instant::now())?;
            if self.stopped.load(Ordering::SeqCst) {
                return None;
            }
            core = self.pause(core, left);
        }
    }

    /// Waits until no transaction and no block is under way; false after the time.
    pub(super) fn idle(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut core = self.core();
        while !core.idle() {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return false;
            };
            core = self.pause(core, left);
        }
        true
    }
}
