//! What must be known of the chain before an `Issue` is built or settled.

use std::time::Duration;

use super::watch::Watch;
use super::{Pass, ROUNDS};
use crate::error::Error;
use crate::napu::Napu;
use crate::ndau::issue::MAX_SIGNATURES;
use crate::ndau::wire::{Account, Move, Prevalidation, Standing, Status, Totals};
use crate::ndau::{Address, Issue, Node, PublicKey};
use crate::sales::{Batch, Place};
use crate::settle::{Base, Candidate};
use crate::state::{Entry, State};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// How many sequences ahead of the account's the chain accepts.
const SEQUENCES_AHEAD: u64 = 128;

/// How many transactions pass between two lines about progress.
const REPORT_EVERY: usize = 100;

/// What the chain says of a sequence that was used up.
const SEQUENCE_TOO_LOW: &str = "sequence too low";

/// The chain as it stands when a pass begins: one node that everything is asked of, and what it said.
pub(super) struct Chain<'a> {
    pub(super) node: Node<'a>,
    others: Vec<Node<'a>>,
    status: Status,
    pub(super) address: Address,
    /// The account's sequence, to which the totals belong.
    pub(super) sequence: u64,
    totals: Totals,
    sole_issuer: bool,
    /// Who is asked to sign.
    pub(super) keys: Vec<PublicKey>,
    /// How many of them must.
    pub(super) needed: usize,
}

impl<'a> Chain<'a> {
    /// Finds a node that agrees with what the state folder knows of the chain.
    pub(super) fn open(pass: &Pass<'a>, state: &State) -> Result<Chain<'a>, Error> {
        let chain = Chain::look(pass, state)?;
        match chain.unaccounted(state) {
            Some((found, accounted)) => Err(Error::Unaccounted { found, accounted }),
            None => Ok(chain),
        }
    }

    /// The chain's total issued and what the folder accounts for, where the two differ and must not.
    pub(super) fn unaccounted(&self, state: &State) -> Option<(Napu, Napu)> {
        let accounted = state.accounted().filter(|_| self.sole_issuer)?;
        (self.totals.issued != accounted).then_some((self.totals.issued, accounted))
    }

    /// The same, but for the total issued, which may be more than the folder accounts for.
    pub(super) fn look(pass: &Pass<'a>, state: &State) -> Result<Chain<'a>, Error> {
        let urls = &pass.config.ndau.api;
        let (node, mut status) = Node::newest(pass.world.http, urls)?;
        let address = node.issuer()?;
        if let Some(at) = state.at() {
            if at.network != status.network {
                let expected = at.network.clone();
                return Err(Error::OtherNetwork {
                    expected,
                    found: status.network,
                });
            }
            if at.issuer != address {
                let expected = at.issuer.clone();
                return Err(Error::OtherIssuer {
                    expected,
                    found: address,
                });
            }
        }
        let sole_issuer = pass.config.ndau.sole_issuer;
        let mut account = node.account(&address)?;
        let mut totals = node.totals()?;
        let last = state.ledger.entries().last();
        let accounted = state.accounted();
        // The totals trail a block, so that the one after our last Issue is needed.
        let clock = pass.world.clock;
        let deadline = clock.instant() + pass.config.ndau.confirm;
        while let Some(why) = behind(&node, &status, totals, last, accounted) {
            if clock.instant() >= deadline {
                return Err(why);
            }
            log::info!("waiting for the chain: {why}");
            clock.sleep(PAUSE);
            status = node.status()?;
            account = node.account(&address)?;
            totals = node.totals()?;
        }
        if let Some(known) = state.at().map(|at| at.sequence)
            && account.sequence < known
        {
            return Err(Error::SequenceBelow {
                account: account.sequence,
                known,
            });
        }
        let used_by_others = state.at().is_some_and(|at| at.sequence != account.sequence);
        if used_by_others && accounted.is_some() && sole_issuer {
            let since = last.map_or(0, |last| last.height);
            totals = caught_up(
                pass,
                &node,
                &address,
                &mut account,
                &mut status,
                since,
                state,
            )?;
        }
        let (keys, needed) = signing_keys(pass, &account, &address)?;
        let others = urls.iter().filter(|url| *url != node.url());
        let others = others.map(|url| Node::new(pass.world.http, url)).collect();
        Ok(Chain {
            node,
            others,
            status,
            address,
            sequence: account.sequence,
            totals,
            sole_issuer,
            keys,
            needed,
        })
    }

    /// What a cursor remembers of the chain, with the fingerprint of the API key and the hash of the ledger's last line.
    pub(super) fn place<'p>(&'p self, account: &'p str, ledger: &'p str) -> Place<'p> {
        let (network, issuer) = (self.status.network.as_str(), &self.address);
        Place {
            account,
            network,
            issuer,
            issued: self.totals.issued,
            sequence: self.sequence,
            ledger,
        }
    }

    /// Looks at what becomes of a batch.
    pub(super) fn watch(&self, pass: &Pass<'a>) -> Watch<'_> {
        Watch {
            node: &self.node,
            others: &self.others,
            address: &self.address,
            clock: pass.world.clock,
            within: pass.config.ndau.confirm,
            others_issue: !self.sole_issuer,
        }
    }

    /// The account's `Issue`s in blocks since a moment, in milliseconds since the epoch, oldest first, with their blocks; and
    /// whether the index shows all of them. Where it shows none and may be behind, it gets as long as `confirm` says.
    pub(super) fn issues_since(
        &self,
        pass: &Pass,
        time_ms: u64,
    ) -> Result<(Vec<(Issue, u64)>, bool), Error> {
        let (clock, confirm) = (pass.world.clock, pass.config.ndau.confirm);
        let deadline = clock.instant() + confirm;
        loop {
            let (issues, whole) = self.issues(0, |one| one.time_ms >= time_ms)?;
            if whole || !issues.is_empty() || clock.instant() >= deadline {
                return Ok((issues, whole));
            }
            clock.sleep(PAUSE);
        }
    }

    pub(super) fn index_behind(&self) -> Error {
        index_behind(&self.node, self.sequence)
    }

    /// The account's `Issue`s above `height` that are wanted, oldest first, with their blocks; and whether the index shows
    /// the transaction that has the account's sequence, so that none is missing.
    pub(super) fn issues(
        &self,
        height: u64,
        wanted: impl Fn(&Move) -> bool,
    ) -> Result<(Vec<(Issue, u64)>, bool), Error> {
        issues(&self.node, &self.address, self.sequence, height, wanted)
    }

    /// Builds the `Issue` of a batch, with the first sequence that gives it a hash of its own, after asking
    /// everything that could stand against it. `None`: the account was used since the chain was opened, so that what is
    /// known of the totals no longer holds.
    pub(super) fn build(&self, batch: &Batch) -> Result<Option<Candidate>, Error> {
        for _ in 0..ROUNDS {
            // As it stands now: reading the exchange can have taken minutes.
            let height = self.node.status()?.height;
            let account = self.node.account(&self.address)?;
            if account.sequence != self.sequence {
                return Ok(None);
            }
            let totals = self.node.totals()?;
            if totals.issued != self.totals.issued && self.sole_issuer {
                let (found, accounted) = (totals.issued, self.totals.issued);
                return Err(Error::Unaccounted { found, accounted });
            }
            let left = totals
                .released
                .checked_sub(totals.issued)
                .unwrap_or(Napu::ZERO);
            if batch.quantity() > left {
                return Err(Error::NotReleased {
                    wanted: batch.quantity(),
                    left,
                });
            }
            let base = Base {
                sequence: account.sequence,
                height,
                issued: totals.issued,
            };
            for ahead in 1..=SEQUENCES_AHEAD {
                let issue = Issue::new(batch.quantity(), base.sequence.saturating_add(ahead))?;
                if self.node.detail(&issue)?.is_some() {
                    log::warn!(
                        "{} stands on the chain already: taking the next sequence",
                        issue.hash()
                    );
                    continue;
                }
                match self.node.prevalidate_unsigned(&issue)? {
                    Prevalidation::NeedsSignatures { fee } | Prevalidation::Good { fee } => {
                        let available = account.available;
                        if fee > available {
                            let account = self.address.clone();
                            return Err(Error::NoFee {
                                fee,
                                available,
                                account,
                            });
                        }
                        // What stood under the hash can be the very same Issue, by a second host that was quicker.
                        if ahead > 1 && self.node.account(&self.address)?.sequence != base.sequence
                        {
                            return Ok(None);
                        }
                        let sales = batch.sales().len();
                        return Ok(Some(Candidate {
                            issue,
                            sales,
                            base,
                            signatures: Vec::new(),
                        }));
                    }
                    Prevalidation::AlreadyCommitted => {}
                    Prevalidation::Refused { reason } if reason == SEQUENCE_TOO_LOW => break,
                    Prevalidation::Refused { reason } => {
                        return Err(Error::RefusedByChain {
                            hash: issue.hash(),
                            reason,
                        });
                    }
                }
                if ahead == SEQUENCES_AHEAD {
                    return Err(Error::NoFreeHash {
                        wanted: batch.quantity(),
                    });
                }
            }
        }
        Err(Error::Overtaken { times: ROUNDS })
    }
}

fn index_behind(node: &Node, sequence: u64) -> Error {
    Error::IndexBehind {
        node: node.url().to_owned(),
        sequence,
    }
}

/// The `Issue`s of `address` above `height` that are wanted, oldest first, with their blocks; and whether the index shows
/// the transaction that has the account's `sequence`. If not, it is behind or was lost, and more may be missing.
fn issues(
    node: &Node,
    address: &Address,
    sequence: u64,
    height: u64,
    wanted: impl Fn(&Move) -> bool,
) -> Result<(Vec<(Issue, u64)>, bool), Error> {
    let moves = node.moves(address, height)?;
    let newest = moves.last().map_or(0, |last| last.height);
    let (mut issues, mut whole, mut unclear) = (Vec::new(), sequence == 0, false);
    for (index, one) in moves.iter().enumerate() {
        if index % REPORT_EVERY == REPORT_EVERY - 1 {
            log::info!(
                "reading the account's transactions: {index} of {}",
                moves.len()
            );
        }
        if one.height < newest && !wanted(one) {
            continue;
        }
        let found = node.standing(&one.hash)?;
        whole |= found.is_some_and(|found| found.sequence == Some(sequence));
        match found {
            Some(Standing {
                height,
                issue: Some(issue),
                ..
            }) if wanted(one) => issues.push((issue, height)),
            Some(Standing {
                sequence: Some(_), ..
            }) => {}
            // An `Issue` with a neighbour's body, or one that is gone again.
            Some(_) | None => unclear = true,
        }
    }
    issues.sort_by_key(|(issue, _)| issue.sequence());
    Ok((issues, whole && !unclear))
}

/// The totals once they have caught up with the account, which somebody has used, perhaps this very moment. They trail by
/// a block, so that what was issued is only known two blocks on. Where nothing moves for long the chain is at rest, or
/// stands still behind an `Issue`: then the account's history must show what used its sequence, and what of it is an
/// `Issue` counts as issued.
fn caught_up(
    pass: &Pass,
    node: &Node,
    address: &Address,
    account: &mut Account,
    status: &mut Status,
    since: u64,
    state: &State,
) -> Result<Totals, Error> {
    log::info!("the issuer's account was used by others: waiting for the totals to catch up");
    let (clock, confirm) = (pass.world.clock, pass.config.ndau.confirm);
    let started = clock.instant();
    // A height from before the sequence was read could already be two blocks behind.
    *status = node.status()?;
    let (mut still_since, mut height) = (started, status.height);
    loop {
        if status.height >= height.saturating_add(2) {
            return Ok(node.totals()?);
        }
        let now = clock.instant();
        let over = now.saturating_duration_since(started) >= confirm;
        if now.saturating_duration_since(still_since) >= confirm / 2 {
            let (issues, whole) = issues(node, address, account.sequence, since, |_| true)?;
            let totals = node.totals()?;
            if whole {
                return Ok(with_unknown(totals, state, &issues));
            }
            if over {
                return Err(index_behind(node, account.sequence));
            }
        }
        clock.sleep(PAUSE);
        *status = node.status()?;
        let sequence = node.account(address)?.sequence;
        if sequence != account.sequence {
            if over {
                return Err(Error::Overtaken { times: 1 });
            }
            account.sequence = sequence;
            *status = node.status()?;
            (still_since, height) = (clock.instant(), status.height);
        }
    }
}

/// The totals with what of `issues` the folder does not know, whether they show it yet or not.
fn with_unknown(totals: Totals, state: &State, issues: &[(Issue, u64)]) -> Totals {
    let known = state.at().map_or(0, |at| at.sequence);
    let unknown = issues.iter().filter(|(issue, _)| issue.sequence() > known);
    let accounted = state.accounted().unwrap_or(Napu::ZERO);
    let all = unknown.map(|(issue, _)| issue.quantity());
    let issued = Napu::sum(std::iter::once(accounted).chain(all));
    Totals {
        issued: totals.issued.max(issued.unwrap_or(Napu::SUPPLY)),
        ..totals
    }
}

/// Why the node is behind what the state folder knows, if it is.
fn behind(
    node: &Node,
    status: &Status,
    totals: Totals,
    last: Option<&Entry>,
    accounted: Option<Napu>,
) -> Option<Error> {
    let node = || node.url().to_owned();
    match (last, accounted) {
        (Some(last), _) if status.height <= last.height => Some(Error::NodeBehind {
            node: node(),
            height: status.height,
            ledger: last.height,
        }),
        (_, Some(accounted)) if totals.issued < accounted => Some(Error::IssuedBehind {
            node: node(),
            found: totals.issued,
            accounted,
        }),
        _ => None,
    }
}

/// Who is asked to sign, and how many must: keys whose signatures the chain would accept, and no identity.
fn signing_keys(
    pass: &Pass,
    account: &Account,
    address: &Address,
) -> Result<(Vec<PublicKey>, usize), Error> {
    let config = &pass.config;
    let keys = config
        .ndau
        .signing_keys
        .as_ref()
        .unwrap_or(&account.validation_keys);
    if let Some(key) = keys
        .iter()
        .find(|key| !account.validation_keys.contains(key))
    {
        let key = Box::new(key.clone());
        return Err(Error::NotAValidationKey {
            key,
            account: address.clone(),
        });
    }
    let can_sign = |key: &PublicKey| account.validation_keys.contains(key);
    let own = pass.identity.public();
    if can_sign(own) {
        let key = Box::new(own.clone());
        return Err(Error::IdentityCanSign { key });
    }
    if let Some(key) = config.signer.allowed.iter().find(|key| can_sign(key)) {
        let key = Box::new(key.clone());
        return Err(Error::AllowedCanSign { key });
    }
    let needed = config.ndau.signatures.unwrap_or(keys.len());
    if needed == 0 || needed > keys.len() || needed > MAX_SIGNATURES {
        return Err(Error::KeyCount {
            keys: keys.len(),
            needed,
        });
    }
    Ok((keys.clone(), needed))
}
