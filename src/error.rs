//! The top-level error, its exit code, and how a chain of causes is printed.

use std::error::Error as StdError;
use std::fmt;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use crate::clock::utc;
use crate::exchange;
use crate::exchange::TradeId;
use crate::napu::Napu;
use crate::ndau::issue::SignatureError;
use crate::ndau::{Address, PublicKey, TxHash, client};
use crate::resolve::Issued;
use crate::settle::Doubt;
use crate::{audit, config, quote, sales, signer, state};

/// Why a command did not do what it was to do.
#[derive(Debug)]
pub enum Error {
    /// A setting or a key file.
    Config(config::Error),
    /// The cursor is for another pair than the configuration.
    OtherSymbol {
        /// The cursor's pair.
        cursor: String,
        /// The configuration's.
        config: String,
    },
    /// An identity must not be able to sign transactions.
    IdentityCanSign {
        /// The identity.
        key: Box<PublicKey>,
    },
    /// A signing service's identity must not be able to sign transactions either.
    AllowedCanSign {
        /// Its identity.
        key: Box<PublicKey>,
    },
    /// A key that is to sign is none of the account's validation keys, so the chain would refuse its signature.
    NotAValidationKey {
        /// The key.
        key: Box<PublicKey>,
        /// The issuer's account.
        account: Address,
    },
    /// The account has fewer validation keys than signatures are wanted, or more than may sign.
    KeyCount {
        /// How many keys there are.
        keys: usize,
        /// How many signatures are wanted.
        needed: usize,
    },
    /// There is no cursor to start from, and where to start was not said.
    FromNeeded {
        /// The state folder.
        folder: PathBuf,
    },
    /// The cursor is gone from a folder that has issued: a new one would issue everything again.
    HistoryWithoutCursor {
        /// The state folder.
        folder: PathBuf,
    },
    /// The ledger adds up to more than can be.
    LedgerOverflows,
    /// `init` could not write a file.
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state folder.
    State(state::Error),
    /// The `Issue` is on the chain, and could not be written down here.
    NotWrittenDown {
        /// Its hash.
        hash: TxHash,
        /// Its block.
        height: u64,
        /// What failed.
        source: state::Error,
    },
    /// The exchange.
    Exchange(exchange::Error),
    /// The trades.
    Sales(sales::Error),
    /// A trade that is new to the cursor was issued before, by the ledger: the cursor is older than the ledger.
    IssuedBefore {
        /// The trade.
        trade: TradeId,
        /// By which `Issue`.
        hash: TxHash,
    },
    /// The folder has never run, and the account has issued since it starts.
    IssuedSince(Box<Issued>),
    /// The node does not show which transaction has the account's sequence.
    IndexBehind {
        /// The node.
        node: String,
        /// The sequence.
        sequence: u64,
    },
    /// The chain, before anything was submitted.
    Chain(client::Error),
    /// The node has not got the block of our last `Issue`.
    NodeBehind {
        /// The node.
        node: String,
        /// Its height.
        height: u64,
        /// The height of the last `Issue` in the ledger.
        ledger: u64,
    },
    /// The account's sequence is below one that this folder knows was used.
    SequenceBelow {
        /// The account's.
        account: u64,
        /// The folder's.
        known: u64,
    },
    /// Not enough was released for issuing.
    NotReleased {
        /// What is to be issued.
        wanted: Napu,
        /// What could be.
        left: Napu,
    },
    /// The account cannot pay the fee.
    NoFee {
        /// What the transaction costs.
        fee: Napu,
        /// What the account has.
        available: Napu,
        /// The issuer's account.
        account: Address,
    },
    /// Each of the next sequences would give a hash that some transaction has already.
    NoFreeHash {
        /// What is to be issued.
        wanted: Napu,
    },
    /// The chain is not the one that the state was made with.
    OtherNetwork {
        /// The state's network.
        expected: String,
        /// The chain's.
        found: String,
    },
    /// The issuer's account is not the one that the state was made with.
    OtherIssuer {
        /// The state's.
        expected: Address,
        /// The chain's.
        found: Address,
    },
    /// The chain has issued more than this folder knows of: it is older than it should be, another folder or program
    /// issues too, or both.
    Unaccounted {
        /// The chain's total.
        found: Napu,
        /// What the folder accounts for.
        accounted: Napu,
    },
    /// The node has not issued as much as this folder knows of.
    IssuedBehind {
        /// The node.
        node: String,
        /// The chain's total, by this node.
        found: Napu,
        /// What the folder accounts for.
        accounted: Napu,
    },
    /// The node could not hand the `Issue` on.
    NotSent {
        /// In the node's words.
        reason: String,
    },
    /// The chain's rules say no to this `Issue`.
    RefusedByChain {
        /// Its hash.
        hash: TxHash,
        /// In the chain's words.
        reason: String,
    },
    /// The `Issue` is out of bounds.
    NoIssue(crate::ndau::issue::IssueError),
    /// The signing service.
    Signer(signer::Error),
    /// The signatures that were stored are not enough.
    Signatures(SignatureError),
    /// Submitted, and not to be seen what became of it.
    InDoubt(Box<Doubtful>),
    /// An export, while it was written or read.
    Recorded(exchange::RecordError),
    /// A list of trades.
    List(audit::ListError),
    /// The export is of another pair.
    OtherExport {
        /// The export.
        path: PathBuf,
        /// Its pair.
        found: String,
        /// The configuration's.
        expected: String,
    },
    /// A file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a file already where one was to be written.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Sales, ledger and chain do not agree.
    Differences {
        /// In how many points.
        count: usize,
    },
    /// What was to be decided is not, or no longer, one of the choices that there are.
    NotAChoice {
        /// What was typed.
        typed: String,
        /// What can be.
        choices: Vec<String>,
    },
    /// A decision says who took it, and why.
    Unsigned {
        /// The option.
        option: &'static str,
    },
    /// One of this program's own invariants is broken.
    Bug(&'static str),
    /// Other transactions used up the sequence each time.
    Overtaken {
        /// How often it was tried.
        times: u32,
    },
}

/// An `Issue` of which it is not known whether it is applied.
#[derive(Debug)]
pub struct Doubtful {
    /// Its hash.
    pub hash: TxHash,
    /// Its sequence.
    pub sequence: u64,
    /// What was done last, and what it answered.
    pub last: String,
    /// Why it cannot be told.
    pub why: Why,
}

/// Why it cannot be told what became of an `Issue`.
#[derive(Debug)]
pub enum Why {
    /// What the chain shows does not say.
    Doubt {
        /// The doubt.
        doubt: Doubt,
        /// What was seen, in numbers.
        seen: String,
    },
    /// The chain does not show it yet.
    NotYet,
    /// The chain cannot be asked.
    Chain(client::Error),
}

impl Error {
    /// The exit code that says what the operator is to do.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Config(_)
            | Error::OtherSymbol { .. }
            | Error::IdentityCanSign { .. }
            | Error::AllowedCanSign { .. }
            | Error::NotAValidationKey { .. }
            | Error::KeyCount { .. }
            | Error::OtherNetwork { .. }
            | Error::OtherIssuer { .. } => Exit::Config,
            Error::FromNeeded { .. }
            | Error::NotAChoice { .. }
            | Error::Unsigned { .. }
            | Error::Exists { .. }
            | Error::Read { .. } => Exit::Usage,
            Error::Recorded(error) => error.exit(),
            Error::Write { .. } => Exit::Disk,
            Error::State(error) | Error::NotWrittenDown { source: error, .. } => error.exit(),
            Error::Exchange(error) => error.exit(),
            Error::Chain(error) => error.exit(),
            Error::Signer(error) => error.exit(),
            Error::Sales(sales::Error::Ahead { .. }) => Exit::Config,
            Error::Sales(_)
            | Error::HistoryWithoutCursor { .. }
            | Error::Unaccounted { .. }
            | Error::LedgerOverflows
            | Error::IssuedBefore { .. }
            | Error::IssuedSince(_)
            | Error::List(_)
            | Error::OtherExport { .. }
            | Error::Differences { .. }
            | Error::SequenceBelow { .. }
            | Error::NoFreeHash { .. }
            | Error::NoIssue(_) => Exit::BadData,
            Error::NodeBehind { .. }
            | Error::IssuedBehind { .. }
            | Error::IndexBehind { .. }
            | Error::NotSent { .. }
            | Error::Overtaken { .. } => Exit::Unavailable,
            Error::NotReleased { .. }
            | Error::NoFee { .. }
            | Error::RefusedByChain { .. }
            | Error::Signatures(_) => Exit::Refused,
            Error::InDoubt(_) => Exit::InDoubt,
            Error::Bug(_) => Exit::Bug,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(_) => f.write_str("the configuration"),
            Error::OtherSymbol { cursor, config } => write!(
                f,
                "the cursor counts {cursor}, the configuration says {config}; an issuer account has one state folder, and a \
                 state folder one pair"
            ),
            Error::IdentityCanSign { key } => write!(
                f,
                "the identity {key} is also a key that can sign transactions: make a new identity (remove its file, \
                 run init)"
            ),
            Error::AllowedCanSign { key } => write!(
                f,
                "signer.allowed names {key}, which is also a key that can sign transactions: make the signing service \
                 another identity (`ndau-signer keygen`), and allow that"
            ),
            Error::NotAValidationKey { key, account } => {
                write!(
                    f,
                    "{key} is to sign, but is no validation key of the issuer's account {account}"
                )
            }
            Error::KeyCount { keys, needed } => {
                write!(
                    f,
                    "{needed} of {keys} keys are to sign; the chain takes 1 to 16 signatures, each by another key (see \
                 ndau.signing_keys and ndau.signatures)"
                )
            }
            Error::FromNeeded { folder } => write!(
                f,
                "there is no cursor in {} yet: say with --from where issuing starts (now, beginning, or the id of the \
                 last trade that was issued already)",
                folder.display()
            ),
            Error::HistoryWithoutCursor { folder } => write!(
                f,
                "{} has issued before, but its cursor.json is gone: bring the whole folder back from its newest backup; a new \
                 cursor would issue again what was issued",
                folder.display()
            ),
            Error::LedgerOverflows => f.write_str("the ledger adds up to more ndau than can be"),
            Error::Write { path, .. } => write!(f, "cannot write {}", path.display()),
            Error::State(_) => f.write_str("the state"),
            Error::NotWrittenDown { hash, height, .. } => write!(
                f,
                "the Issue {hash} is on the chain, in block {height}, and could not be written down here; mend that, and \
                 the next run writes it down"
            ),
            Error::Exchange(_) => f.write_str("the exchange"),
            Error::Sales(_) => f.write_str("the trades"),
            Error::IssuedBefore { trade, hash } => write!(
                f,
                "{trade} is new to the cursor, but the ledger says that {hash} issued it: cursor.json is older than \
                 ledger.jsonl; bring both back from the same moment"
            ),
            Error::IssuedSince(found) => {
                write!(
                    f,
                    "this folder has never run, and the account has issued {} ndau since {}; ",
                    found.sum,
                    utc(found.since_ms)
                )?;
                if let Some(alike) = &found.like_sales {
                    write!(
                        f,
                        "{} of {} ndau in block {} is exactly the sales from {} to {}: they seem issued already; ",
                        alike.issue.hash(),
                        alike.issue.quantity(),
                        alike.height,
                        alike.first.id,
                        alike.last.id
                    )?;
                }
                let last = found.like_sales.as_ref().map(|alike| alike.last.id.trade);
                write!(
                    f,
                    "if it was for this account's sales, remove state/cursor.json, and run `bitmart-issuer init --from {}`; if \
                     it was for others', say so with `bitmart-issuer resolve`",
                    last.map_or("<the last trade that was issued>".to_owned(), |last| last
                        .to_string())
                )
            }
            Error::IndexBehind { node, sequence } => write!(
                f,
                "the account's sequence is {sequence}, and {node} does not show which transaction has it: its index is \
                 behind, or was lost; if that stays so, put another node in ndau.api, or see `bitmart-issuer resolve`"
            ),
            Error::Chain(_) => f.write_str("the chain"),
            Error::NodeBehind {
                node,
                height,
                ledger,
            } => write!(
                f,
                "{node} is at block {height}, and our last Issue is in block {ledger}: it is behind, or another chain"
            ),
            Error::SequenceBelow { account, known } => write!(
                f,
                "the account's sequence is {account}, and this folder knows that {known} was used: the node is behind, or \
                 this is another chain"
            ),
            Error::NotReleased { wanted, left } => write!(
                f,
                "{wanted} ndau are to be issued, and only {left} of what was released are left: release {} more",
                wanted.checked_sub(*left).unwrap_or(Napu::ZERO)
            ),
            Error::NoFee {
                fee,
                available,
                account,
            } => write!(
                f,
                "the fee is {fee} ndau, and the issuer's account {account} has {available} to spend: send it some"
            ),
            Error::NoFreeHash { wanted } => write!(
                f,
                "each of the next 128 sequences gives {wanted} ndau a hash that is on the chain already"
            ),
            Error::OtherNetwork { expected, found } => write!(
                f,
                "the state was made on the network {expected}, and this chain is {found}: set ndau.api right, or give \
                 another network a state_dir of its own"
            ),
            Error::OtherIssuer { expected, found } => write!(
                f,
                "the state was made for the issuer's account {expected}, and the chain names {found}: another chain, or \
                 the account was changed; then settle and close the old state folder, and begin a new one"
            ),
            Error::Unaccounted { found, accounted } => write!(
                f,
                "the chain has issued {found} ndau, and this folder accounts for {accounted}: {} more were issued by \
                 somebody else, or by this folder after the moment it was restored to; `bitmart-issuer resolve` shows \
                 what can be done (if other programs issue too, set ndau.sole_issuer = false)",
                found.checked_sub(*accounted).unwrap_or(Napu::ZERO)
            ),
            Error::IssuedBehind {
                node,
                found,
                accounted,
            } => write!(
                f,
                "{node} shows {found} ndau issued, and this folder knows of {accounted}: it is behind, or another chain"
            ),
            Error::NotSent { reason } => {
                write!(f, "the node could not hand the Issue on: {reason}")
            }
            Error::RefusedByChain { hash, reason } => {
                write!(f, "the chain refuses the Issue {hash}: {reason}")
            }
            Error::NoIssue(_) => f.write_str("the Issue"),
            Error::Signer(_) => f.write_str("the signing service"),
            Error::Signatures(_) => f.write_str("the signatures"),
            Error::InDoubt(doubtful) => {
                let Doubtful {
                    hash,
                    sequence,
                    last,
                    why,
                } = doubtful.as_ref();
                write!(
                    f,
                    "what became of the Issue {hash} (sequence {sequence}) is not known; {last}; "
                )?;
                match why {
                    Why::Doubt { doubt, seen } => write!(
                        f,
                        "{doubt} ({seen}); the next run looks again; if that does not help, `bitmart-issuer resolve` shows \
                         what can be done"
                    ),
                    Why::NotYet => {
                        f.write_str("the chain does not show it yet; the next run settles it")
                    }
                    Why::Chain(_) => f.write_str("the next run settles it"),
                }
            }
            Error::Recorded(_) => f.write_str("the export"),
            Error::List(_) => f.write_str("nothing was compared"),
            Error::OtherExport {
                path,
                found,
                expected,
            } => write!(
                f,
                "{} is of {found}, the configuration is for {expected}",
                path.display()
            ),
            Error::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Error::Exists { path } => write!(
                f,
                "{} is there already, and nothing is overwritten: name another file",
                path.display()
            ),
            Error::Differences { count } => write!(
                f,
                "sales, ledger and chain do not agree: the audit names {}; a person has to look",
                crate::report::counted(*count, "difference")
            ),
            Error::NotAChoice { typed, choices } => write!(
                f,
                "{typed:?} is none of the choices that there are now ({}); nothing was decided; look again with \
                 `bitmart-issuer resolve`",
                if choices.is_empty() {
                    "none".to_owned()
                } else {
                    choices.join(", ")
                }
            ),
            Error::Unsigned { option } => write!(
                f,
                "a decision goes into the ledger with who took it, and why: {option} needs a line of text of at most 200 \
                 characters"
            ),
            Error::Bug(what) => write!(f, "this is a bug: {what}; nothing was done about it"),
            Error::Overtaken { times } => {
                write!(
                    f,
                    "other transactions of the issuer's account used up the sequence {times} times in a row"
                )
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Config(source) => Some(source),
            Error::Write { source, .. } | Error::Read { source, .. } => Some(source),
            Error::Recorded(source) => Some(source),
            Error::List(source) => Some(source),
            Error::State(source) | Error::NotWrittenDown { source, .. } => Some(source),
            Error::Exchange(source) => Some(source),
            Error::Sales(source) => Some(source),
            Error::Chain(source) => Some(source),
            Error::NoIssue(source) => Some(source),
            Error::Signer(source) => Some(source),
            Error::Signatures(source) => Some(source),
            Error::InDoubt(doubtful) => match &doubtful.why {
                Why::Chain(source) => Some(source),
                Why::Doubt { .. } | Why::NotYet => None,
            },
            Error::OtherSymbol { .. }
            | Error::IdentityCanSign { .. }
            | Error::AllowedCanSign { .. }
            | Error::NotAValidationKey { .. }
            | Error::KeyCount { .. }
            | Error::FromNeeded { .. }
            | Error::HistoryWithoutCursor { .. }
            | Error::LedgerOverflows
            | Error::IssuedBefore { .. }
            | Error::IssuedSince(_)
            | Error::NodeBehind { .. }
            | Error::SequenceBelow { .. }
            | Error::NotReleased { .. }
            | Error::NoFee { .. }
            | Error::NoFreeHash { .. }
            | Error::OtherNetwork { .. }
            | Error::OtherIssuer { .. }
            | Error::Unaccounted { .. }
            | Error::IssuedBehind { .. }
            | Error::IndexBehind { .. }
            | Error::NotSent { .. }
            | Error::RefusedByChain { .. }
            | Error::OtherExport { .. }
            | Error::Exists { .. }
            | Error::Differences { .. }
            | Error::NotAChoice { .. }
            | Error::Unsigned { .. }
            | Error::Bug(_)
            | Error::Overtaken { .. } => None,
        }
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Error::Config(error)
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        Error::State(error)
    }
}

impl From<exchange::Error> for Error {
    fn from(error: exchange::Error) -> Self {
        Error::Exchange(error)
    }
}

impl From<exchange::RecordError> for Error {
    fn from(error: exchange::RecordError) -> Self {
        match error {
            exchange::RecordError::Fetch(error) => Error::Exchange(error),
            error => Error::Recorded(error),
        }
    }
}

impl From<sales::Error> for Error {
    fn from(error: sales::Error) -> Self {
        Error::Sales(error)
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        Error::Chain(error)
    }
}

impl From<signer::Error> for Error {
    fn from(error: signer::Error) -> Self {
        Error::Signer(error)
    }
}

impl From<SignatureError> for Error {
    fn from(error: SignatureError) -> Self {
        Error::Signatures(error)
    }
}

impl From<crate::ndau::issue::IssueError> for Error {
    fn from(error: crate::ndau::issue::IssueError) -> Self {
        Error::NoIssue(error)
    }
}

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
    /// 78: a setting or a key file is missing, wrong, or open to others.
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

/// No honest error is as long.
const LONGEST: usize = 1000;

/// `error` and its causes on one line, joined by `: `. What they quote of others' bytes cannot break that line, or make
/// it endless.
pub fn chain(error: &dyn StdError) -> String {
    let mut line = quote::line(&error.to_string(), LONGEST);
    let mut next = error.source();
    while let Some(cause) = next {
        let text = quote::line(&cause.to_string(), LONGEST);
        // Some libraries repeat their cause in their own text.
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        next = cause.source();
    }
    line
}
