//! Everything that there is between two runs, as one value, and when two of them are the same.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::mem;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::world::{BLOCK_MS, Disk, Side, World};

/// What somebody else issues. Our sales are powers of two below it, so that the quantity of an `Issue` says which sales it
/// is for.
pub const FOREIGN: u64 = 1 << 40;

/// Which host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    First,
    Second,
}

/// A world, and what else there is of state folders. The world's own disk is the first host's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Situation {
    pub world: World,
    /// The second host's disk, once it has a copy of the folder.
    pub second: Option<Rc<Disk>>,
    pub backup: Option<Rc<Disk>>,
    /// Whether an older folder was put in the place of the first host's.
    pub restored: bool,
    /// How many more sales there will be.
    pub coming: usize,
}

/// What happens outside the process that runs, between two runs or in the middle of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passes, and with it blocks.
    Pass(u64),
    /// Something more is sold.
    Sale,
    /// A trade that was not shown is shown, at its own time.
    Late,
    /// Another transaction of the account waits for a block.
    Sequence,
    /// The same, and it is in its block.
    SequenceInBlock,
    /// A price is recorded with the hash of the batch in flight, or else of the one that would be built next.
    HashTaken,
    /// Somebody else issues.
    ForeignIssue,
    /// The node forgets what its index knows.
    IndexLost,
    /// The node's index gets no further.
    IndexStalls,
    /// The node's index has everything again.
    IndexMended,
    /// From now on to the end of the run, blocks are committed long after they were executed.
    SlowCommit,
    /// The host's clock is set back.
    ClockBack(u64),
    /// The host's clock is set right.
    ClockRight,
    /// A second host is given a copy of the folder.
    Copy,
    Backup,
    Restore,
}

/// Long enough for a run to give up waiting, and not for the next.
const SLOW_COMMIT_MS: u64 = 7_000;

impl Situation {
    pub fn new(world: World, coming: usize) -> Situation {
        Situation {
            world,
            second: None,
            backup: None,
            restored: false,
            coming,
        }
    }

    /// The same with the hosts' roles exchanged.
    pub fn swapped(&self) -> Situation {
        let mut other = self.clone();
        other.swap();
        other
    }

    /// Gives each host's disk the other's place.
    pub fn swap(&mut self) {
        let second = self.second.as_mut().expect("there is a second host");
        mem::swap(&mut self.world.disk, Rc::make_mut(second));
    }

    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        let others = [&self.second, &self.backup].into_iter().flatten();
        [&self.world.disk].into_iter().chain(others.map(Rc::as_ref))
    }

    /// The situation after an event; `None` where it cannot happen or changes nothing.
    pub fn after(&self, event: Event) -> Option<Situation> {
        let mut after = self.clone();
        let can = match event {
            Event::Copy => self.second.is_none(),
            Event::Backup => self.backup.is_none(),
            Event::Restore => self.backup.is_some(),
            _ => can_happen(event, &self.world, self.coming),
        };
        match event {
            Event::Copy => after.second = Some(Rc::new(self.world.disk.copied())),
            Event::Backup => after.backup = Some(Rc::new(self.world.disk.copied())),
            Event::Restore => {
                after.world.disk = self.backup.as_deref()?.clone();
                after.restored = true;
            }
            Event::Sale if can => after.coming -= 1,
            _ => {}
        }
        can.then(|| {
            happen(event, &mut after.world);
            after
        })
    }

    /// What is the same of all situations that no run and no check can tell apart: in place of times and heights their order,
    /// but of times to come the distance, and the places of lines instead of their hashes.
    pub fn key(&self) -> u64 {
        let World {
            disk: _,
            chain,
            exchange,
            clock,
        } = &self.world;
        let mut times: BTreeSet<u64> = exchange.trades.iter().map(|trade| trade.time_ms).collect();
        times.insert(clock.wall_ms);
        let mut heights: BTreeSet<u64> = chain.heights().into_iter().collect();
        for content in self.disks().flat_map(Disk::contents) {
            for piece in pieces(content) {
                match piece {
                    Piece::Time(time_ms) => times.insert(time_ms),
                    Piece::Height(height) => heights.insert(height),
                    Piece::Text(_) | Piece::Hash(_) | Piece::Recorded => false,
                };
            }
        }
        let mut form = Form {
            now_ms: clock.wall_ms,
            times: times.into_iter().zip(0..).collect(),
            heights: heights.into_iter().zip(0..).collect(),
            lines: HashMap::new(),
        };
        for content in self.disks().flat_map(Disk::contents) {
            for line in content.split(|byte| *byte == b'\n') {
                if line.starts_with(b"{\"version\"") && line.ends_with(b"}") {
                    let hash = hex::encode(Sha256::digest(line)).into_bytes();
                    let token = hash_of(&form.of(line));
                    form.lines.insert(hash, token);
                }
            }
        }
        let mut hasher = DefaultHasher::new();
        for disk in self.disks() {
            disk.essence(|content| form.of(content)).hash(&mut hasher);
        }
        for trade in &exchange.trades {
            let time = form.time(trade.time_ms);
            (trade.id, time, trade.side, trade.napu, trade.visible).hash(&mut hasher);
        }
        exchange.style.hash(&mut hasher);
        chain
            .essence(|height| form.heights[&height])
            .hash(&mut hasher);
        let set_back_ms = clock.true_ms() - clock.wall_ms;
        (set_back_ms, form.time(clock.wall_ms)).hash(&mut hasher);
        let also = (self.second.is_some(), self.backup.is_some());
        (also, self.restored, self.coming).hash(&mut hasher);
        hasher.finish()
    }
}

pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Whether an event that is not about folders can happen and changes something.
pub fn can_happen(event: Event, world: &World, coming: usize) -> bool {
    match event {
        Event::Pass(_) => !world.chain.is_at_rest(),
        Event::Sale => coming > 0,
        Event::Late => world.exchange.trades.iter().any(|trade| !trade.visible),
        Event::HashTaken => next_issue(world).is_some_and(|(quantity, sequence)| {
            quantity > 0 && !world.chain.is_taken(quantity, sequence)
        }),
        Event::ForeignIssue => world
            .chain
            .issues()
            .iter()
            .all(|one| one.quantity != FOREIGN),
        Event::IndexLost => {
            let mut chain = world.chain.clone();
            chain.lose_index();
            chain.index_hides() && chain != world.chain
        }
        Event::IndexStalls => {
            let mut chain = world.chain.clone();
            chain.stall_index();
            chain != world.chain
        }
        Event::IndexMended => {
            let mut chain = world.chain.clone();
            chain.mend_index();
            chain != world.chain
        }
        Event::ClockRight => world.clock.true_ms() != world.clock.wall_ms,
        Event::ClockBack(_) => world.clock.true_ms() == world.clock.wall_ms,
        Event::Sequence
        | Event::SequenceInBlock
        | Event::SlowCommit
        | Event::Copy
        | Event::Backup
        | Event::Restore => true,
    }
}

/// What an event does to the world itself.
pub fn happen(event: Event, world: &mut World) {
    match event {
        Event::Pass(ms) => world.pass(ms),
        Event::Sale => {
            let sales = world.exchange.trades.iter();
            let sales = sales.filter(|trade| trade.side == Side::Sell).count();
            world.sell(1 << sales);
        }
        Event::Late => {
            let hidden = world
                .exchange
                .trades
                .iter_mut()
                .find(|trade| !trade.visible);
            hidden.unwrap().visible = true;
        }
        Event::Sequence => world.chain.use_sequence(),
        Event::SequenceInBlock => {
            world.chain.use_sequence();
            world.pass(BLOCK_MS);
        }
        Event::HashTaken => {
            let (quantity, sequence) = next_issue(world).unwrap();
            world.chain.take_hash(quantity, sequence);
            world.pass(BLOCK_MS);
        }
        Event::ForeignIssue => {
            world.chain.issue_elsewhere(FOREIGN);
            world.pass(BLOCK_MS);
        }
        Event::IndexLost => world.chain.lose_index(),
        Event::IndexStalls => world.chain.stall_index(),
        Event::IndexMended => world.chain.mend_index(),
        Event::SlowCommit => world.chain.commit_ms = SLOW_COMMIT_MS,
        Event::ClockBack(ms) => world.clock.wall_ms -= ms,
        Event::ClockRight => world.clock.wall_ms = world.clock.true_ms(),
        Event::Copy | Event::Backup | Event::Restore => {}
    }
}

/// The numbers of the newest candidate in flight, or else of the `Issue` that a run would build now.
pub fn next_issue(world: &World) -> Option<(u64, u64)> {
    match in_flight(&world.disk) {
        Some(last) => Some(last),
        None => {
            let issues = world.chain.issues().into_iter();
            let issued: u64 = issues.map(|one| one.quantity % FOREIGN).sum();
            let quantity = world.exchange.sold().checked_sub(issued)?;
            Some((quantity, world.chain.sequence() + 1))
        }
    }
}

/// The numbers of the newest candidate in `pending.json`.
pub fn in_flight(disk: &Disk) -> Option<(u64, u64)> {
    let pending: serde_json::Value = serde_json::from_slice(disk.read("pending.json")?).ok()?;
    let last = pending["candidates"].as_array()?.last()?;
    let quantity = last["quantity_napu"].as_str()?.parse().ok()?;
    Some((quantity, last["sequence"].as_u64()?))
}

/// What a content of the state folder is made of.
enum Piece<'a> {
    Text(&'a [u8]),
    /// Milliseconds since the epoch.
    Time(u64),
    /// Of a block.
    Height(u64),
    /// The hash of a line, perhaps.
    Hash(&'a [u8]),
    /// When a line was written, which nothing looks at.
    Recorded,
}

/// The pieces of a content, in order.
fn pieces(content: &[u8]) -> Vec<Piece<'_>> {
    const RECORDED: &[u8] = b"\"recorded\":\"";
    const RECORDED_MS: &[u8] = b"\"recorded_ms\":";
    const HEIGHT: &[u8] = b"\"height\":";
    let number = |digits: &[u8]| str::from_utf8(digits).ok()?.parse().ok();
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < content.len() {
        let (before, rest) = content.split_at(at);
        let word = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let word = &rest[..word];
        let (piece, length) = if rest.starts_with(RECORDED) {
            let ms = rest
                .windows(RECORDED_MS.len())
                .position(|window| window == RECORDED_MS);
            let end =
                ms.and_then(|ms| Some(ms + rest[ms..].iter().position(|byte| *byte == b',')?));
            (end.map(|_| Piece::Recorded), end.unwrap_or(RECORDED.len()))
        } else if word.len() == 13 && word.starts_with(b"17") {
            (number(word).map(Piece::Time), word.len())
        } else if word.len() == 64 {
            (Some(Piece::Hash(word)), word.len())
        } else if !word.is_empty() && before.trim_ascii_end().ends_with(HEIGHT) {
            (number(word).map(Piece::Height), word.len())
        } else {
            (None, word.len().max(1))
        };
        if let Some(piece) = piece {
            pieces.push(Piece::Text(&content[start..at]));
            pieces.push(piece);
            start = at + length;
        }
        at += length;
    }
    pieces.push(Piece::Text(&content[start..]));
    pieces
}

/// What stands for times, heights and the hashes of lines.
struct Form {
    now_ms: u64,
    times: HashMap<u64, u64>,
    heights: HashMap<u64, u64>,
    lines: HashMap<Vec<u8>, u64>,
}

impl Form {
    fn time(&self, time_ms: u64) -> u64 {
        match time_ms.checked_sub(self.now_ms) {
            Some(ahead) if ahead > 0 => (1 << 32) + ahead,
            _ => self.times[&time_ms],
        }
    }

    fn of(&self, content: &[u8]) -> Vec<u8> {
        let mut formed = Vec::with_capacity(content.len());
        for piece in pieces(content) {
            match piece {
                Piece::Text(text) => formed.extend(text),
                Piece::Time(time_ms) => {
                    formed.extend(format!("<time {}>", self.time(time_ms)).bytes())
                }
                Piece::Height(height) => {
                    formed.extend(format!("<height {}>", self.heights[&height]).bytes())
                }
                Piece::Hash(hash) => match self.lines.get(hash) {
                    Some(line) => formed.extend(format!("<line {line}>").bytes()),
                    None => formed.extend(hash),
                },
                Piece::Recorded => formed.extend(b"<recorded>"),
            }
        }
        formed
    }
}
