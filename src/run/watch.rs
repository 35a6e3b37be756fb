//! Watching the chain until it shows what became of a batch in flight. It looks and waits; what a sight means is
//! decided by [`settle`].

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::ndau::client::Error;
use crate::ndau::wire::Detail;
use crate::ndau::{Address, Issue, Node};
use crate::settle::{Candidate, Doubt, Next, Sight, settle};

/// How often the sequence may move while one sight is taken.
const MOVES: u32 = 3;

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
    /// Whether other programs issue too.
    pub(super) others_issue: bool,
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
                Ok((sight, steady)) => {
                    let next = if steady {
                        settle(candidates, &sight)
                    } else {
                        Next::LookAgain(Doubt::SequenceMoves)
                    };
                    match (next, submitted) {
                        (Next::LookAgain(doubt), _) if over => {
                            return Ok((Next::Stop(doubt), sight));
                        }
                        (Next::LookAgain(doubt), _) => log::debug!("looking again: {doubt}"),
                        (Next::Submit { .. }, Submitted::JustNow) if !over => {}
                        (next, _) => return Ok((next, sight)),
                    }
                }
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

    /// One sight, and whether it is of one moment: the sequence before and after the look-ups was the same.
    fn look(
        &self,
        candidates: &[Candidate],
        used: &mut Option<(u64, Instant)>,
    ) -> Result<(Sight, bool), Error> {
        let mut steady = false;
        let mut sequence = self.node.account(self.address)?.sequence;
        let (mut height, mut found) = (0, Vec::new());
        for _ in 0..MOVES {
            // The height first, so that what is not found is not found at that height or later.
            height = self.node.status()?.height;
            found = details(self.node, candidates)?;
            let after = self.node.account(self.address)?.sequence;
            steady = after == sequence;
            sequence = after;
            if steady {
                break;
            }
        }
        let issued = self.node.totals()?.issued;
        let others_issue = self.others_issue;
        let mut sight = Sight {
            sequence,
            height,
            issued,
            found,
            agreed: false,
            others_issue,
        };
        if steady
            && candidates
                .iter()
                .all(|one| sequence >= one.issue.sequence())
        {
            let now = self.clock.instant();
            let (first_height, first_seen) = *used.get_or_insert((height, now));
            // Two blocks on, the block that used the sequence is indexed and in the totals. On a chain at rest no
            // further block comes.
            let had_its_time = height >= first_height.saturating_add(2)
                || now.saturating_duration_since(first_seen) >= self.within / 2;
            // Then one single answer must show that the index has what used the sequence, and that it is not ours:
            // answers put together from several could be those of several nodes behind one address.
            let issues: Vec<Issue> = candidates.iter().map(|one| one.issue).collect();
            sight.agreed = had_its_time
                && self
                    .node
                    .moved_without(self.address, newest_base(candidates), &issues)?
                && self.others_agree(candidates, &sight);
        }
        Ok((sight, steady))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{self, Http, Request, Response};
    use crate::napu::Napu;
    use crate::settle::Base;
    use std::cell::Cell;

    const ADDRESS: &str = "ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y";

    struct FakeClock {
        start: Instant,
        slept: Cell<Duration>,
    }

    impl Clock for FakeClock {
        fn now_ms(&self) -> u64 {
            0
        }

        fn instant(&self) -> Instant {
            self.start + self.slept.get()
        }

        fn sleep(&self, pause: Duration) {
            self.slept
                .set(self.slept.get() + pause.max(Duration::from_millis(1)));
        }
    }

    /// One address in front of two nodes, on one of which our Issue is applied in block 12 while the other stands still
    /// at block 10. `stuck` says which of them answers a request.
    struct Balancer<F> {
        requests: Cell<u64>,
        stuck: F,
        hash: String,
    }

    impl<F: Fn(u64, &str) -> bool> Http for Balancer<F> {
        fn send(&self, request: &Request) -> Result<Response, http::Error> {
            let number = self.requests.get();
            self.requests.set(number + 1);
            assert!(number < 100_000, "an endless loop");
            let path = request.url.trim_start_matches("http://balancer");
            let stuck = (self.stuck)(number, path);
            let hash = &self.hash;
            let body = if path.starts_with("/account/account/") {
                let sequence = if stuck { 4 } else { 5 };
                format!(
                    r#"{{"{ADDRESS}":{{"balance":5,"validationKeys":null,"sequence":{sequence},"holds":null}}}}"#
                )
            } else if path.starts_with("/transaction/detail/") {
                if stuck || !path.ends_with(hash) {
                    "null".to_owned()
                } else {
                    let data = r#"{"qty":30,"sequence":5}"#;
                    format!(
                        r#"{{"BlockHeight":12,"TxHash":"{hash}","TxType":"Issue","TxData":{data}}}"#
                    )
                }
            } else if path == "/price/current" {
                format!(
                    r#"{{"totalReleased":1000,"totalIssued":{}}}"#,
                    if stuck { 100 } else { 130 }
                )
            } else if path == "/node/status" {
                let height = if stuck { 10 } else { 20 + number };
                let sync = format!(r#"{{"latest_block_height":{height},"catching_up":false}}"#);
                format!(r#"{{"node_info":{{"network":"x"}},"sync_info":{sync}}}"#)
            } else if stuck {
                r#"{"Items":null}"#.to_owned()
            } else {
                let time = "2026-11-23T01:12:34.480807Z";
                format!(r#"{{"Items":[{{"Height":12,"TxHash":"{hash}","Timestamp":"{time}"}}]}}"#)
            };
            Ok(Response {
                status: 200,
                headers: Vec::new(),
                body: body.into_bytes(),
            })
        }
    }

    fn candidate(quantity: u64, sales: usize) -> Candidate {
        let issue = Issue::new(Napu::new(quantity).unwrap(), 5).unwrap();
        let base = Base {
            sequence: 4,
            height: 10,
            issued: Napu::new(100).unwrap(),
        };
        Candidate {
            issue,
            sales,
            base,
            signatures: Vec::new(),
        }
    }

    fn next(stuck: impl Fn(u64, &str) -> bool, candidates: &[Candidate]) -> Next {
        let hash = candidates[0].issue.hash().to_string();
        let http = Balancer {
            requests: Cell::new(0),
            stuck,
            hash,
        };
        let watch = Watch {
            node: &Node::new(&http, "http://balancer"),
            others: &[],
            address: &Address::parse(ADDRESS).unwrap(),
            clock: &FakeClock {
                start: Instant::now(),
                slept: Cell::new(Duration::ZERO),
            },
            within: Duration::from_secs(30),
            others_issue: true,
        };
        watch.next(candidates, Submitted::NotYet).unwrap().0
    }

    #[test]
    fn an_applied_issue_is_not_called_dead_by_a_balancer_that_splits_by_path() {
        let split = |_, path: &str| path.starts_with("/transaction") || path == "/price/current";
        assert!(matches!(next(split, &[candidate(30, 3)]), Next::Stop(_)));
    }

    #[test]
    fn an_applied_issue_is_not_called_dead_by_a_balancer_that_splits_by_chance() {
        let state = Cell::new(88_172_645_463_325_252u64);
        let chance = |_, _: &str| {
            let mut random = state.get();
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            state.set(random);
            (random >> 33).is_multiple_of(2)
        };
        for _ in 0..1000 {
            assert_ne!(next(chance, &[candidate(30, 3)]), Next::Dead);
        }
    }

    #[test]
    fn a_sequence_that_never_stands_still_ends_in_doubt() {
        let alternating = |number: u64, _: &str| number.is_multiple_of(2);
        for candidates in [
            vec![candidate(30, 3)],
            vec![candidate(30, 3), candidate(20, 2)],
        ] {
            let next = next(alternating, &candidates);
            assert!(
                matches!(
                    next,
                    Next::Stop(_) | Next::Submit { .. } | Next::Applied { .. }
                ),
                "{next:?}"
            );
        }
    }
}
