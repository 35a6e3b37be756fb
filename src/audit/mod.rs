//! `audit`: shows that what was sold, what the ledger says was issued, and what the chain holds agree, napu for napu,
//! or where they do not. Reads only: takes no lock, asks nobody to sign, changes nothing.
//!
//! `compare` is the comparison, pure; `findings` what it finds; `document` its words; `list` reads the trade list that the
//! exchange's web site gives.

mod compare;
mod document;
mod findings;
mod list;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, chain};
use crate::exchange::{Client, Dialect, History, Recording, Since, Trade};
use crate::http::Http;
use crate::ndau::wire::{Body, Status};
use crate::ndau::{Address, Issue, Node};
use crate::quote::excerpt;
use crate::sales::{self, Start, find_start};
use crate::state::{Decision, Disk, Folder, State, Verdict};

use compare::{Books, OnChain, Shown, Standing, What, compare};
pub use findings::{Difference, Findings, Lot, Tally};
pub use list::ListError;
#[cfg(any(test, fuzzing))]
pub(crate) use list::parse as parse_list;

/// The pause between two looks at the chain.
const PAUSE: Duration = Duration::from_millis(500);

/// How many transactions pass between two lines about progress.
const REPORT_EVERY: usize = 100;

/// No export of any honest history is as large.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Where the exchange's trades came from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The exchange itself.
    Exchange { endpoint: String, account: String },
    /// What it answered earlier.
    Export {
        path: PathBuf,
        sha256: String,
        recording: Recording,
    },
    /// The list that its web site gives.
    List {
        path: PathBuf,
        sha256: String,
        others: usize,
        zone_assumed: bool,
    },
}

/// What was compared, and what came of it.
#[derive(Debug, Clone)]
pub struct Audit {
    made_ms: u64,
    source: Source,
    shown: Shown,
    start: Start,
    state: State,
    place: Place,
    onchain: OnChain,
    sole_issuer: bool,
    findings: Findings,
}

/// Where the chain was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    node: String,
    status: Status,
    issuer: Address,
    /// Above this block the account's transactions were looked at; `None` if nothing was issued yet.
    since: Option<u64>,
}

impl Audit {
    /// Where they do not agree.
    pub fn differences(&self) -> &[Difference] {
        &self.findings.differences
    }

    fn decisions(&self) -> &[Decision] {
        self.state.ledger.decisions()
    }
}

/// Compares exchange, ledger and chain. `from` is an export or a list of trades, in place of the exchange itself.
///
/// # Errors
/// When one of the three cannot be read. That they do not agree is no error here.
pub fn audit(
    config: &Config,
    http: &dyn Http,
    disk: &dyn Disk,
    clock: &dyn Clock,
    from: Option<&Path>,
) -> Result<Audit, Error> {
    let folder = Folder::new(disk, &config.state_dir);
    let state = folder.load()?;
    if state.cursor.symbol != config.symbol {
        let (cursor, config) = (state.cursor.symbol.clone(), config.symbol.clone());
        return Err(Error::OtherSymbol { cursor, config });
    }
    let (source, shown) = match from {
        Some(path) => from_file(path, config)?,
        None => from_exchange(config, http, clock, &state)?,
    };
    let mut deadline = None;
    loop {
        // Reading the exchange can have taken minutes, and a run may be at work this very moment.
        let state = folder.load()?;
        is_the_account(&source, &shown.history, &state)?;
        let start = find_start(state.cursor.start, &shown.history)?;
        let (place, onchain) = look(http, &config.ndau.api, &state)?;
        let findings = compare(Books {
            shown: &shown,
            start,
            cursor: &state.cursor,
            pending: state.pending.as_ref(),
            entries: state.ledger.entries(),
            decisions: state.ledger.decisions(),
            chain: &onchain,
            sole_issuer: config.ndau.sole_issuer,
        });
        // Looking at a long history takes its time: what is to be waited for begins after the first look.
        let now = clock.instant();
        let late = now >= *deadline.get_or_insert(now + config.ndau.confirm);
        if let (true, Some(last)) = (findings.may_pass() && late, state.ledger.entries().last())
            && place.status.height < last.height
        {
            return Err(Error::NodeBehind {
                node: place.node,
                height: place.status.height,
                ledger: last.height,
            });
        }
        if late || (!findings.may_pass() && folder.load()? == state) {
            return Ok(Audit {
                made_ms: clock.now_ms(),
                source,
                shown,
                start,
                state,
                place,
                onchain,
                sole_issuer: config.ndau.sole_issuer,
                findings,
            });
        }
        log::info!("the chain and the ledger do not agree yet; looking again");
        clock.sleep(PAUSE);
    }
}

fn from_exchange(
    config: &Config,
    http: &dyn Http,
    clock: &dyn Clock,
    state: &State,
) -> Result<(Source, Shown), Error> {
    let key = config.load_key()?;
    let known = state.at().map(|at| at.dialect);
    let client = Client::new(http, clock, &key, &config.symbol);
    let history = client.fetch(Since::Beginning, known, clock.now_ms())?;
    let source = Source::Exchange {
        endpoint: key.endpoint().to_owned(),
        account: key.fingerprint(),
    };
    Ok((source, shown(history, config)))
}

fn from_file(path: &Path, config: &Config) -> Result<(Source, Shown), Error> {
    let bytes = read(path)?;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let path = path.to_owned();
    // A line of JSON and a line of column names are told apart by their first character.
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        let recording = Recording::parse(&bytes)?;
        if recording.symbol != config.symbol {
            return Err(Error::OtherExport {
                path,
                found: excerpt(&recording.symbol),
                expected: config.symbol.clone(),
            });
        }
        log::info!("reading {} answers again", recording.answers());
        let history = recording.history()?;
        let source = Source::Export {
            path,
            sha256,
            recording,
        };
        return Ok((source, shown(history, config)));
    }
    let list = list::parse(&bytes, &config.symbol).map_err(Error::List)?;
    let bound = |trade: Option<&Trade>| trade.map_or(0, |trade| trade.time_ms);
    let shown = Shown {
        from_ms: bound(list.trades.first()),
        until_ms: bound(list.trades.last()),
        settled_ms: u64::MAX,
        numbered: list.numbered,
        history: History {
            now_ms: bound(list.trades.last()),
            trades: list.trades,
            dialect: Dialect::V4,
        },
    };
    let source = Source::List {
        path,
        sha256,
        others: list.others,
        zone_assumed: list.zone_assumed,
    };
    Ok((source, shown))
}

fn shown(history: History, config: &Config) -> Shown {
    let settle_ms = u64::try_from(config.settle.as_millis()).unwrap_or(u64::MAX);
    Shown {
        numbered: true,
        from_ms: history.complete_from_ms(),
        until_ms: history.now_ms,
        settled_ms: history.now_ms.saturating_sub(settle_ms),
        history,
    }
}

/// The whole of a file, if it is one, and not larger than any export.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    // Opening a pipe would wait for somebody to write to it.
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    if metadata.len() > MAX_BYTES {
        let what = format!("it is larger than {MAX_BYTES} bytes, as no export is");
        return Err(failed(std::io::Error::other(what)));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    // What grows meanwhile is cut off, and so refused.
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// Refuses what another account sold. A key that is new to the folder proves to be of the same account as it does for a
/// run, by a trade that the folder knows.
fn is_the_account(source: &Source, history: &History, state: &State) -> Result<(), Error> {
    let found = match source {
        Source::Exchange { account, .. } => account,
        Source::Export { recording, .. } => &recording.account,
        Source::List { .. } => return Ok(()),
    };
    let Some(at) = state.at() else {
        return Ok(());
    };
    let ledger = &state.ledger;
    let key = at.account == *found
        || ledger.entries().iter().any(|entry| entry.account == *found)
        || ledger
            .decisions()
            .iter()
            .any(|one| matches!(&one.verdict, Verdict::SameAccount { key } if key == found));
    let known: BTreeSet<_> = state.cursor.seen.iter().map(|seen| seen.id).collect();
    if key || known.is_empty() || history.trades.iter().any(|trade| known.contains(&trade.id)) {
        return Ok(());
    }
    Err(Error::Sales(sales::Error::OtherAccount {
        expected: at.account.clone(),
        found: found.clone(),
    }))
}

/// What the chain shows of the issuer's account since the folder's first `Issue`, from the node with the newest block.
fn look(http: &dyn Http, urls: &[String], state: &State) -> Result<(Place, OnChain), Error> {
    let (node, status) = Node::newest(http, urls)?;
    let issuer = node.issuer()?;
    if let Some(at) = state.at() {
        if at.network != status.network {
            return Err(Error::OtherNetwork {
                expected: at.network.clone(),
                found: status.network,
            });
        }
        if at.issuer != issuer {
            return Err(Error::OtherIssuer {
                expected: at.issuer.clone(),
                found: issuer,
            });
        }
    }
    let entries = state.ledger.entries();
    let candidates = || state.pending.iter().flat_map(|one| &one.candidates);
    let first = entries.first().map(|entry| entry.height.saturating_sub(1));
    let since = first.or_else(|| candidates().map(|one| one.base.height).min());
    let moves = match since {
        Some(since) => node.moves(&issuer, since)?,
        None => Vec::new(),
    };
    let mut onchain = OnChain {
        standing: Vec::new(),
        held: BTreeSet::new(),
        issued: node.totals()?.issued,
    };
    let count = entries.len() + moves.len();
    let progress = Progress { count };
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        progress.tell(index);
        let hash = entry.issue.hash().to_string();
        match stands(&node, &entry.issue)? {
            Some(found) => onchain.standing.push(found),
            None => match node.holds(entry.height, &entry.issue) {
                Ok(true) => {
                    onchain.held.insert(hash.clone());
                }
                Ok(false) => {}
                Err(error) => {
                    log::warn!("block {}: {}", entry.height, chain(&error));
                }
            },
        }
        known.insert(hash);
    }
    for candidate in candidates() {
        if known.insert(candidate.issue.hash().to_string())
            && let Some(found) = stands(&node, &candidate.issue)?
            // What is older is none of ours.
            && found.height > candidate.base.height
        {
            onchain.standing.push(found);
        }
    }
    for (index, one) in moves.into_iter().enumerate() {
        progress.tell(entries.len() + index);
        if !known.insert(one.hash.clone()) {
            continue;
        }
        let (height, what) = match node.standing(&one.hash)? {
            Some(found) => (found.height, found.issue.map_or(What::Other, What::Issue)),
            None => (one.height, What::Other),
        };
        onchain.standing.push(Standing {
            hash: one.hash,
            height,
            what,
        });
    }
    let place = Place {
        node: node.url().to_owned(),
        status,
        issuer,
        since,
    };
    Ok((place, onchain))
}

/// What stands on the chain under the hash of `issue`.
fn stands(node: &Node, issue: &Issue) -> Result<Option<Standing>, Error> {
    Ok(node.detail(issue)?.map(|detail| Standing {
        hash: issue.hash().to_string(),
        height: detail.height,
        what: match detail.body {
            Body::Ours => What::Issue(*issue),
            Body::Neighbour => What::Hidden(*issue),
            Body::Foreign => What::Foreign,
        },
    }))
}

/// Tells now and then how far we are.
struct Progress {
    count: usize,
}

impl Progress {
    fn tell(&self, done: usize) {
        if done % REPORT_EVERY == REPORT_EVERY - 1 {
            log::info!(
                "looking at what was issued on the chain: {done} of {}",
                self.count
            );
        }
    }
}
