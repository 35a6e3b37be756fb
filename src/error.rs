//! The top-level error, its exit code, and how a chain of causes is printed.

use std::error::Error as StdError;
use std::fmt::Write;

/// How a run ends, as the operator's scripts see it. The README has the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: committed, or nothing new.
    Done,
    /// 64: fix the command line.
    Usage,
    /// 65: an answer or a state file that we refuse to interpret; nothing was guessed; a person looks.
    BadData,
    /// 69: exchange, chain, signer or the lock; nothing irreversible happened; the next run tries again.
    Unavailable,
    /// 70: one of our own invariants is broken.
    Bug,
    /// 74: state could not be made durable; fix it before the next run.
    Disk,
    /// 75: submitted, outcome unknown; the next run settles it; alert when it repeats.
    InDoubt,
    /// 77: the signer, a policy or a credential said no.
    Refused,
    /// 78: a setting or a key file is missing, wrong, or readable by others.
    Config,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Usage,
        Exit::BadData,
        Exit::Unavailable,
        Exit::Bug,
        Exit::Disk,
        Exit::InDoubt,
        Exit::Refused,
        Exit::Config,
    ];

    /// The exit code, from `sysexits.h`.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Usage => 64,
            Exit::BadData => 65,
            Exit::Unavailable => 69,
            Exit::Bug => 70,
            Exit::Disk => 74,
            Exit::InDoubt => 75,
            Exit::Refused => 77,
            Exit::Config => 78,
        }
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Usage => "usage",
            Exit::BadData => "bad data",
            Exit::Unavailable => "unavailable",
            Exit::Bug => "bug",
            Exit::Disk => "disk",
            Exit::InDoubt => "in doubt",
            Exit::Refused => "refused",
            Exit::Config => "config",
        }
    }
}

/// `error` and its causes on one line, joined by `: `.
pub fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        next = cause.source();
    }
    line
}
