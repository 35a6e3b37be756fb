//! Watching the chain until it shows what became of a batch in flight. It looks and waits; what a sight means is
//! decided by [`settle`].

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::ndau::client::Error;
use crate::ndau::wire::Detail;
use crate::ndau::{Address, Node};
use crate::settle::{Candidate, Next, Sight, settle};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// How a `Submit` is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submitted {
    /// Nothing was submitted just now: it is the next step.
    NotYet,
    /// It was just submitted: it may need a moment, and only in the end it is the next step again.
    JustNow,
}

/// One node to look at, and the others that must agree before a batch is given up.
pub(super) struct Watch<'a> {
    /// Looked at first, and submitted to.
    pub(super) node: &'a Node<'a>,
    /// Asked only before a batch is given up.
    pub(super) others: &'a [Node<'a>],
    /// The issuer's account.
    pub(super) address: &'a Address,
    /// The time.
    pub(super) clock: &'a dyn Clock,
    /// How long the chain may take.
    pub(super) within: Duration,
}

impl Watch<'_> {
    /// Looks until the next step is clear or the time is over; then the last doubt stands, as `Stop`. With it comes
    /// the sight it was taken on.
    ///
    /// # Errors
    /// When the node cannot be asked: at once if nothing was just submitted, else only in the end.
    pub(super) fn next(
        &self,
        candidates: &[Candidate],
        submitted: Submitted,
    ) -> Result<(Next, Sight), Error> {
        let started = self.clock.instant();
        let mut used = None;
        let mut told = Duration::ZERO;
        loop {
            let waited = self.clock.instant().saturating_duration_since(started);
            let over = waited >= self.within;
            match self.look(candidates, &mut used) {
                Ok(sight) => match (settle(candidates, &sight), submitted) {
                    (Next::LookAgain(doubt), _) if over => return Ok((Next::Stop(doubt), sight)),
                    (Next::LookAgain(doubt), _) => log::debug!("looking again: {doubt}"),
                    (Next::Submit { .. }, Submitted::JustNow) if !over => {}
                    (next, _) => return Ok((next, sight)),
                },
                Err(error) if over || submitted == Submitted::NotYet => return Err(error),
                Err(error) => log::debug!("looking again: {}", crate::error::chain(&error)),
            }
            if waited.saturating_sub(told) >= Duration::from_secs(5) {
                told = waited;
                log::info!(
                    "waiting for the chain to show what became of the Issue ({} s)",
                    waited.as_secs()
                );
            }
            self.clock
                .sleep(PAUSE.min(self.within.saturating_sub(waited)));
        }
    }

    /// One sight: the sequence before and after the look-ups is the same, so that they belong together.
    fn look(
        &self,
        candidates: &[Candidate],
        used: &mut Option<(u64, Instant)>,
    ) -> Result<Sight, Error> {
        let mut sequence = self.node.account(self.address)?.sequence;
        let (found, sequence) = loop {
            let found = details(self.node, candidates)?;
            let after = self.node.account(self.address)?.sequence;
            if after == sequence {
                break (found, sequence);
            }
            sequence = after;
        };
        let height = self.node.status()?.height;
        let issued = self.node.totals()?.issued;
        let mut sight = Sight {
            sequence,
            height,
            issued,
            found,
            agreed: false,
        };
        if candidates
            .iter()
            .all(|one| sequence >= one.issue.sequence())
        {
            let (first_height, first_seen) = *used.get_or_insert((height, self.clock.instant()));
            let stable =
                self.clock.instant().saturating_duration_since(first_seen) >= self.within / 2;
            // Two blocks on, the block that used the sequence is indexed and in the totals. On a chain at rest no
            // further block comes; then the account's history shows that the index has that block.
            let caught_up = height >= first_height.saturating_add(2)
                || (stable
                    && self
                        .node
                        .moved_since(self.address, newest_base(candidates))?);
            sight.agreed = caught_up && self.others_agree(candidates, &sight);
        }
        Ok(sight)
    }

    /// Whether every other node shows the same. One that cannot be asked does not.
    fn others_agree(&self, candidates: &[Candidate], sight: &Sight) -> bool {
        self.others
            .iter()
            .all(|node| match same(node, self.address, candidates, sight) {
                Ok(same) => same,
                Err(error) => {
                    log::warn!(
                        "{} cannot confirm: {}",
                        node.url(),
                        crate::error::chain(&error)
                    );
                    false
                }
            })
    }
}

fn newest_base(candidates: &[Candidate]) -> u64 {
    candidates
        .iter()
        .map(|one| one.base.height)
        .max()
        .unwrap_or(0)
}

fn details(node: &Node, candidates: &[Candidate]) -> Result<Vec<Option<Detail>>, Error> {
    candidates
        .iter()
        .map(|one| node.detail(&one.issue))
        .collect()
}

fn same(
    node: &Node,
    address: &Address,
    candidates: &[Candidate],
    sight: &Sight,
) -> Result<bool, Error> {
    Ok(node.account(address)?.sequence >= sight.sequence
        && node.status()?.height >= sight.height
        && node.totals()?.issued == sight.issued
        && details(node, candidates)? == sight.found)
}
