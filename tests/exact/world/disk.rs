//! A disk that keeps what programs see apart from what outlives a loss of power, so that a missing sync is seen.
//!
//! Files have numbers; names point at them, now and durably. Syncing a file makes its content durable, syncing the folder
//! its names, and nothing else does. Until then each change of a name can be lost or kept on its own, and so can contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Disk {
    files: BTreeMap<u32, Content>,
    names: BTreeMap<String, u32>,
    durable: BTreeMap<String, u32>,
    /// What happened to names since the folder was synced, in order.
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// A sync of it has failed, so that the system takes what it could not write for written.
    given_up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Change {
    Set { name: String, file: u32 },
    Renamed { from: String, to: String, file: u32 },
    Removed { name: String },
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u32>) {
        match self {
            Change::Set { name, file } => {
                names.insert(name.clone(), *file);
            }
            Change::Renamed { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Change::Removed { name } => {
                names.remove(name);
            }
        }
    }
}

/// What becomes of contents that were not synced, when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contents {
    /// All of it was written by chance.
    Kept,
    /// As if it had never been written.
    Lost,
    /// The file was emptied, and nothing written.
    Empty,
    /// The first half was written.
    Torn,
    /// The length was written, and the content was not.
    Zeros,
    /// The length and the second half were written, and the first half was not.
    Holed,
}

impl Contents {
    const ALL: [Contents; 6] = [
        Contents::Kept,
        Contents::Lost,
        Contents::Empty,
        Contents::Torn,
        Contents::Zeros,
        Contents::Holed,
    ];
}

/// What is lost between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nothing: only the process died. What was not synced still is not.
    Nothing,
    /// The power: of the changes of names since the folder was synced, those with their bit set were kept.
    Power {
        kept: u32,
        changes: usize,
        contents: Contents,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss::Power {
            kept,
            changes,
            contents,
        } = self
        else {
            return f.write_str("nothing is lost");
        };
        f.write_str("the power goes: names ")?;
        let fate = |bit| if kept >> bit & 1 == 1 { '+' } else { '-' };
        let fates: String = (0..*changes).map(fate).collect();
        f.write_str(if fates.is_empty() { "synced" } else { &fates })?;
        write!(f, ", contents {contents:?}")
    }
}

/// So many changes of names are lost and kept in every combination; of more, only the plain ones.
const COMBINED: usize = 6;

impl Disk {
    /// The names that programs see.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    pub fn read(&self, name: &str) -> Option<&[u8]> {
        let file = self.names.get(name)?;
        Some(&self.files[file].live)
    }

    /// Creates the file, or empties it, and writes.
    pub fn write(&mut self, name: &str, bytes: &[u8]) {
        let content = self.open(name);
        content.live = bytes.to_vec();
        content.given_up = false;
    }

    /// Adds at the end, creating the file.
    pub fn append(&mut self, name: &str, bytes: &[u8]) {
        self.open(name).live.extend(bytes);
    }

    fn open(&mut self, name: &str) -> &mut Content {
        let file = match self.names.get(name) {
            Some(file) => *file,
            None => {
                let file = self.files.keys().next_back().map_or(0, |last| last + 1);
                let name = name.to_owned();
                self.change(Change::Set { name, file });
                file
            }
        };
        self.files.entry(file).or_default()
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    /// Whether there was such a file.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(file) = self.names.get(from).copied() else {
            return false;
        };
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(Change::Renamed { from, to, file });
        true
    }

    /// Whether there was such a file.
    pub fn remove(&mut self, name: &str) -> bool {
        let is_there = self.names.contains_key(name);
        if is_there {
            let name = name.to_owned();
            self.change(Change::Removed { name });
        }
        is_there
    }

    /// Whether there was such a file.
    pub fn sync_file(&mut self, name: &str) -> bool {
        let Some(file) = self.names.get(name) else {
            return false;
        };
        let content = self.files.entry(*file).or_default();
        if !content.given_up {
            content.durable.clone_from(&content.live);
        }
        true
    }

    /// A sync of the file fails: later ones succeed without writing anything, until it is written anew.
    pub fn give_up(&mut self, name: &str) {
        if let Some(content) = self
            .names
            .get(name)
            .and_then(|file| self.files.get_mut(file))
        {
            content.given_up = true;
        }
    }

    pub fn sync_folder(&mut self) {
        self.durable.clone_from(&self.names);
        self.unsynced.clear();
        let named: BTreeSet<u32> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }

    /// Whether a loss of power would lose nothing.
    pub fn is_durable(&self) -> bool {
        let mut named = self.names.values();
        self.unsynced.is_empty()
            && named.all(|file| self.files[file].live == self.files[file].durable)
    }

    /// Another disk with the same files.
    pub fn copied(&self) -> Disk {
        self.copied_as(|_| true, <[u8]>::to_vec)
    }

    fn copied_as(&self, is_kept: impl Fn(&str) -> bool, form: impl Fn(&[u8]) -> Vec<u8>) -> Disk {
        let mut disk = Disk::default();
        for (name, file) in self.names.iter().filter(|(name, _)| is_kept(name)) {
            disk.write(name, &form(&self.files[file].live));
            disk.sync_file(name);
        }
        disk.sync_folder();
        disk
    }

    /// Everything that is written anywhere on it.
    pub fn contents(&self) -> impl Iterator<Item = &[u8]> {
        let contents = self.files.values();
        contents.flat_map(|content| [content.live.as_slice(), &content.durable])
    }

    /// What matters of it, each content in a `form`. A temporary file does not: it is never read, and written and synced
    /// anew before it gets another name.
    pub fn essence(&self, form: impl Fn(&[u8]) -> Vec<u8>) -> Disk {
        let matters = |name: &str| !name.ends_with(".tmp");
        let mut named = self.names.iter().filter(|(name, _)| matters(name));
        let changed =
            |change: &Change| !matches!(change, Change::Set { name, .. } if !matters(name));
        if !self.unsynced.iter().any(changed)
            && named.all(|(_, file)| self.files[file].live == self.files[file].durable)
        {
            return self.copied_as(matters, form);
        }
        let mut disk = self.clone();
        for content in disk.files.values_mut() {
            content.live = form(&content.live);
            content.durable = form(&content.durable);
        }
        disk
    }

    /// Every disk that this one can be after a crash, each once, with one way to come to it.
    pub fn losses(&self) -> Vec<(Loss, Disk)> {
        let mut found = vec![(Loss::Nothing, self.clone())];
        if self.is_durable() {
            return found;
        }
        let changes = self.unsynced.len();
        let all = (1u32 << changes) - 1;
        let subsets: Vec<u32> = if changes <= COMBINED {
            (0..=all).rev().collect()
        } else {
            let last = 1 << (changes - 1);
            vec![all, 0, last, all & !last]
        };
        let mut seen = BTreeSet::new();
        for kept in subsets {
            for contents in Contents::ALL {
                let disk = self.after_power_loss(kept, contents);
                if seen.insert(disk.clone()) {
                    let loss = Loss::Power {
                        kept,
                        changes,
                        contents,
                    };
                    found.push((loss, disk));
                }
            }
        }
        found
    }

    /// What is there once the power is back.
    fn after_power_loss(&self, kept: u32, contents: Contents) -> Disk {
        let mut names = self.durable.clone();
        for (bit, change) in self.unsynced.iter().enumerate() {
            if kept >> bit & 1 == 1 {
                change.apply(&mut names);
            }
        }
        let mut disk = Disk::default();
        for (name, file) in names {
            disk.write(&name, &self.files[&file].after_power_loss(contents));
            disk.sync_file(&name);
        }
        disk.sync_folder();
        disk
    }
}

impl Content {
    fn after_power_loss(&self, contents: Contents) -> Vec<u8> {
        // What an append leaves alone stays.
        let kept = if self.live.starts_with(&self.durable) {
            self.durable.len()
        } else {
            0
        };
        let (kept, new) = self.live.split_at(kept);
        match contents {
            Contents::Kept => self.live.clone(),
            Contents::Lost => self.durable.clone(),
            Contents::Empty => kept.to_vec(),
            Contents::Torn => [kept, &new[..new.len() / 2]].concat(),
            Contents::Zeros => [kept, &vec![0; new.len()]].concat(),
            Contents::Holed => {
                let half = new.len() / 2;
                [kept, &vec![0; half], &new[half..]].concat()
            }
        }
    }
}
