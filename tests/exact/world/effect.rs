//! What a run does to the world outside it, one effect after the other, and what can go wrong with one of them.

use std::fmt;

/// One effect. A sync knows what was last changed on the disk before it, and whether the same was synced since: that tells
/// the places in the programs apart where one is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    Write(String),
    Append(String),
    Sync {
        what: String,
        after: String,
        again: bool,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove(String),
    Sign,
    Submit,
    /// A question, to the exchange or to a node; it changes nothing.
    Ask(String),
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Write(file) => write!(f, "write {file}"),
            Effect::Append(file) => write!(f, "append to {file}"),
            Effect::Sync { what, after, again } => {
                let again = if *again { " again" } else { "" };
                write!(f, "sync {what}{again} after {after}")
            }
            Effect::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Effect::Remove(file) => write!(f, "remove {file}"),
            Effect::Sign => f.write_str("sign"),
            Effect::Submit => f.write_str("submit"),
            Effect::Ask(what) => write!(f, "ask for {what}"),
        }
    }
}

impl Effect {
    pub fn is_sync(&self) -> bool {
        matches!(self, Effect::Sync { .. })
    }

    pub fn changes_something(&self) -> bool {
        !matches!(self, Effect::Ask(_))
    }

    /// How far it can come: what is written can be cut, and what is submitted can be on its way to a block.
    pub fn extents(&self) -> &'static [Extent] {
        match self {
            Effect::Write(_) | Effect::Append(_) | Effect::Submit => {
                &[Extent::Nothing, Extent::Half, Extent::Whole]
            }
            Effect::Ask(_) => &[Extent::Nothing],
            _ => &[Extent::Nothing, Extent::Whole],
        }
    }
}

/// How far an effect comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// It does not happen.
    Nothing,
    /// Half of the bytes are written; or the submission arrives and waits for its block.
    Half,
    /// It happens; a submission is in its block.
    Whole,
}

/// What the process sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// Nothing, for it is dead.
    Dies,
    /// That it failed.
    Fails,
}

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// The number of the effect, from 0.
    pub at: usize,
    pub extent: Extent,
    pub then: Then,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trouble { at, extent, then } = self;
        write!(f, "effect {at}: {extent:?} of it, and the process ")?;
        f.write_str(match then {
            Then::Dies => "dies",
            Then::Fails => "is told that it failed",
        })
    }
}
