//! What must be known of the chain before an `Issue` is built or settled.

use std::time::Duration;

use super::Pass;
use super::watch::Watch;
use crate::error::Error;
use crate::napu::Napu;
use crate::ndau::issue::MAX_SIGNATURES;
use crate::ndau::wire::{Account, Prevalidation, Status};
use crate::ndau::{Address, Issue, Node, PublicKey};
use crate::sales::Batch;
use crate::settle::{Base, Candidate};
use crate::state::State;

/// How many sequences ahead of the account's the chain accepts.
const SEQUENCES_AHEAD: u64 = 128;

/// The chain as it stands when a pass begins: one node that everything is asked of, and what it said.
pub(super) struct Chain<'a> {
    pub(super) node: Node<'a>,
    others: Vec<Node<'a>>,
    status: Status,
    address: Address,
    account: Account,
    /// Who is asked to sign.
    pub(super) keys: Vec<PublicKey>,
    /// How many of them must.
    pub(super) needed: usize,
}

impl<'a> Chain<'a> {
    /// Finds a node that agrees with what the state folder knows of the chain.
    pub(super) fn open(pass: &Pass<'a>, state: &State) -> Result<Chain<'a>, Error> {
        let urls = &pass.config.ndau.api;
        let (node, mut status) = Node::first_usable(pass.world.http, urls)?;
        if let Some(expected) = state.network()
            && expected != status.network
        {
            let expected = expected.to_owned();
            return Err(Error::OtherNetwork {
                expected,
                found: status.network,
            });
        }
        let address = node.issuer()?;
        if let Some(last) = state.ledger.entries().last() {
            // The totals trail a block, so that the one after our last Issue is needed.
            let deadline = pass.world.clock.instant() + pass.config.ndau.confirm;
            while status.height <= last.height {
                if pass.world.clock.instant() >= deadline {
                    let (node, height) = (node.url().to_owned(), status.height);
                    return Err(Error::NodeBehind {
                        node,
                        height,
                        ledger: last.height,
                    });
                }
                log::info!(
                    "waiting for the block after {}, which holds our last Issue",
                    last.height
                );
                pass.world.clock.sleep(Duration::from_millis(500));
                status = node.status()?;
            }
        }
        let account = node.account(&address)?;
        if let Some(last) = state.ledger.entries().last()
            && account.sequence < last.issue.sequence()
        {
            let (account, ledger) = (account.sequence, last.issue.sequence());
            return Err(Error::SequenceBelowLedger { account, ledger });
        }
        let (keys, needed) = signing_keys(pass, &account, &address)?;
        let others = urls.iter().filter(|url| *url != node.url());
        let others = others.map(|url| Node::new(pass.world.http, url)).collect();
        Ok(Chain {
            node,
            others,
            status,
            address,
            account,
            keys,
            needed,
        })
    }

    /// The network's name.
    pub(super) fn network(&self) -> &str {
        &self.status.network
    }

    /// Looks at what becomes of a batch.
    pub(super) fn watch(&self, pass: &Pass<'a>) -> Watch<'_> {
        Watch {
            node: &self.node,
            others: &self.others,
            address: &self.address,
            clock: pass.world.clock,
            within: pass.config.ndau.confirm,
        }
    }

    /// Builds the `Issue` of a batch, with the first sequence that gives it a hash of its own, after asking
    /// everything that could stand against it.
    pub(super) fn build(&self, batch: &Batch) -> Result<Candidate, Error> {
        let totals = self.node.totals()?;
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
        let (sequence, height) = (self.account.sequence, self.status.height);
        let base = Base {
            sequence,
            height,
            issued: totals.issued,
        };
        for ahead in 1..=SEQUENCES_AHEAD {
            let issue = Issue::new(batch.quantity(), sequence.saturating_add(ahead))?;
            if self.node.detail(&issue)?.is_some() {
                log::warn!(
                    "{} stands on the chain already: taking the next sequence",
                    issue.hash()
                );
                continue;
            }
            match self.node.prevalidate_unsigned(&issue)? {
                Prevalidation::NeedsSignatures { fee } | Prevalidation::Good { fee } => {
                    let available = self.account.available;
                    if fee > available {
                        let account = self.address.clone();
                        return Err(Error::NoFee {
                            fee,
                            available,
                            account,
                        });
                    }
                }
                Prevalidation::AlreadyCommitted => continue,
                Prevalidation::Refused { reason } => {
                    return Err(Error::RefusedByChain {
                        hash: issue.hash(),
                        reason,
                    });
                }
            }
            let sales = batch.sales().len();
            return Ok(Candidate {
                issue,
                sales,
                base,
                signatures: Vec::new(),
            });
        }
        Err(Error::NoFreeHash {
            wanted: batch.quantity(),
        })
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
    let mut identities = [pass.identity.public()]
        .into_iter()
        .chain(&config.signer.allowed);
    if let Some(key) = identities.find(|key| account.validation_keys.contains(key)) {
        return Err(Error::IdentityCanSign {
            key: Box::new(key.clone()),
        });
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
