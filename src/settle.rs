//! What becomes of a batch in flight: what was built and what the chain shows become the next step. Pure.
//!
//! This is the settlement table of `docs/exactly-once.md` as one function. Its safety rests on one fact: of all
//! transactions of an account with one sequence, at most one is ever applied. All candidates of a batch share their
//! sequence, so at most one of them can be.

use std::fmt;

use crate::napu::Napu;
use crate::ndau::wire::{Body, Detail};
use crate::ndau::{Issue, Verified};

/// What the chain showed when a candidate was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The account's sequence.
    pub sequence: u64,
    /// The node's height. What stands on the chain at or below it cannot be the candidate.
    pub height: u64,
    /// The total issued.
    pub issued: Napu,
}

/// An `Issue` that was built for a batch, and so may be applied one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What is to be signed.
    pub issue: Issue,
    /// How many of the batch's sales it covers, the oldest first.
    pub sales: usize,
    /// What the chain showed when it was built.
    pub base: Base,
    /// The signatures, if it was signed; each was verified.
    pub signatures: Vec<Verified>,
}

/// What the nodes show now, all from one node but for `agreed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The account's sequence.
    pub sequence: u64,
    /// The node's height.
    pub height: u64,
    /// The total issued. It trails an `Issue` by one block.
    pub issued: Napu,
    /// What stands under each candidate's hash, in the candidates' order.
    pub found: Vec<Option<Detail>>,
    /// The index and the totals have had their time (the height advanced, or nothing moved for long), and every
    /// configured node shows the same.
    pub agreed: bool,
    /// Other programs may issue too, so that a total that grew by less than our quantity can be their doing.
    pub others_issue: bool,
}

/// The next step for a batch in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This candidate is on the chain, at this height: its sales are issued.
    Applied {
        /// Which.
        candidate: usize,
        /// Its block.
        height: u64,
    },
    /// It is not applied, and still may be: have it signed if it is not, and submit the very same.
    Submit {
        /// Which.
        candidate: usize,
    },
    /// A foreign transaction has taken its hash, so it can never be submitted: build one of this many sales, with
    /// the same sequence.
    Replace {
        /// How many of the batch's sales.
        sales: usize,
    },
    /// None of the candidates can ever be applied: the batch is free to be built anew.
    Dead,
    /// Not clear yet: look again in a moment, and if that does not help, stop with the doubt.
    LookAgain(Doubt),
    /// A person must look.
    Stop(Doubt),
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::Applied { height, .. } => write!(
                f,
                "it is applied, in block {height}; a run would write that down"
            ),
            Next::Submit { .. } => f.write_str(
                "it is not applied; a run would have it signed, if it is not, and submit it",
            ),
            Next::Replace { sales } => {
                write!(
                    f,
                    "a foreign transaction has its hash; a run would submit the oldest {sales} of its sales"
                )
            }
            Next::Dead => f.write_str("it can never be applied; a run would build it anew"),
            Next::LookAgain(doubt) | Next::Stop(doubt) => write!(f, "a run would stop: {doubt}"),
        }
    }
}

/// Why it cannot be told what became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The sequence is used up, but nothing stands under the candidates' hashes; index or totals may be behind.
    IndexBehind,
    /// The sequence is used up and nothing stands under the hashes, and yet the total issued grew by enough.
    IssuedUnseen,
    /// Something newer stands under the hash, but its body is another's, and the total issued does not tell: it did not grow,
    /// or others issue too.
    BodyUnclear,
    /// Our `Issue` stands on the chain while the account's sequence is still below it.
    SequenceBehind,
    /// A foreign transaction has taken the hash of the only sale.
    HashTaken,
    /// More than one candidate seems to be applied, which cannot be.
    TwoApplied,
    /// The total issued is lower than it was.
    IssuedShrank,
    /// The account's sequence moves, or differs, from one look to the next.
    SequenceMoves,
    /// The candidates do not share one sequence, or were not all looked up.
    Inconsistent,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::IndexBehind => {
                "the account's sequence is used up, but no node shows by which transaction, or not all nodes agree"
            }
            Doubt::IssuedUnseen => {
                "the account's sequence is used up and the total issued has grown, but no node shows our Issue: \
                 somebody else has issued, or this node's index is not whole; look at the account's history on \
                 another node"
            }
            Doubt::BodyUnclear => {
                "the node shows another transaction's body under our hash, and the total issued does not tell whether ours \
                 is applied"
            }
            Doubt::SequenceBehind => {
                "the node shows our Issue, and an account sequence below it: it contradicts itself"
            }
            Doubt::HashTaken => {
                "a foreign transaction with the same two numbers has taken the hash of this single sale, so that the \
                 node will not accept it"
            }
            Doubt::TwoApplied => "more than one Issue of this batch seems to be on the chain",
            Doubt::IssuedShrank => "the total issued is lower than when the Issue was built: another chain, or a node behind",
            Doubt::SequenceMoves => {
                "the account's sequence differs from one answer to the next: more than one node seems to answer"
            }
            Doubt::Inconsistent => "the candidates of the batch contradict one another",
        })
    }
}

/// What one candidate's look-up says of it.
enum Fate {
    /// It is applied, at this height.
    Applied(u64),
    /// Nothing, or a transaction that cannot be it, stands under its hash.
    Absent,
    /// A transaction that cannot be it stands under its hash.
    Foreign,
    /// Something newer stands under its hash with a neighbour's body.
    Unclear,
}

fn fate(candidate: &Candidate, found: Option<&Detail>, sight: &Sight) -> Fate {
    let Some(found) = found else {
        return Fate::Absent;
    };
    if found.height <= candidate.base.height {
        return Fate::Foreign;
    }
    // A foreign transaction with our hash can show a neighbour's body too; what others issue would then pass for ours.
    let grown = sight
        .issued
        .checked_sub(candidate.base.issued)
        .is_some_and(|grown| grown >= candidate.issue.quantity() && !sight.others_issue);
    match found.body {
        Body::Ours => Fate::Applied(found.height),
        Body::Foreign => Fate::Foreign,
        Body::Neighbour if grown => Fate::Applied(found.height),
        Body::Neighbour => Fate::Unclear,
    }
}

/// The next step for a batch with these candidates, oldest first.
pub fn settle(candidates: &[Candidate], sight: &Sight) -> Next {
    let Some((last_index, last)) = candidates.iter().enumerate().next_back() else {
        return Next::Dead;
    };
    let sequence = last.issue.sequence();
    if candidates
        .iter()
        .any(|one| one.issue.sequence() != sequence)
        || candidates.len() != sight.found.len()
    {
        return Next::Stop(Doubt::Inconsistent);
    }
    if candidates.iter().any(|one| sight.issued < one.base.issued) {
        return Next::LookAgain(Doubt::IssuedShrank);
    }
    let fates: Vec<Fate> = candidates
        .iter()
        .zip(&sight.found)
        .map(|(candidate, found)| fate(candidate, found.as_ref(), sight))
        .collect();

    if sight.sequence < sequence {
        // With our sequence unused, nothing of ours can be applied: whatever stands under a hash is foreign, unless
        // it has our type and numbers and is new, which one node cannot honestly show.
        return match (fates.last(), sight.found.last()) {
            (
                Some(Fate::Applied(_)),
                Some(Some(Detail {
                    body: Body::Ours, ..
                })),
            ) => Next::LookAgain(Doubt::SequenceBehind),
            // Others used a sequence that was left out below ours, and something was issued.
            (Some(Fate::Absent), _)
                if sight.sequence > last.base.sequence
                    && sight.issued > last.base.issued
                    && !sight.others_issue =>
            {
                Next::LookAgain(Doubt::IssuedUnseen)
            }
            (Some(Fate::Absent), _) => Next::Submit {
                candidate: last_index,
            },
            _ if last.sales > 1 => Next::Replace {
                sales: last.sales - 1,
            },
            _ => Next::Stop(Doubt::HashTaken),
        };
    }

    let mut applied = fates
        .iter()
        .enumerate()
        .filter_map(|(candidate, fate)| match fate {
            Fate::Applied(height) => Some((candidate, *height)),
            Fate::Absent | Fate::Foreign | Fate::Unclear => None,
        });
    match (applied.next(), applied.next()) {
        (Some((candidate, height)), None) => return Next::Applied { candidate, height },
        (Some(_), Some(_)) => return Next::Stop(Doubt::TwoApplied),
        (None, _) => {}
    }
    if fates.iter().any(|fate| matches!(fate, Fate::Unclear)) {
        return Next::LookAgain(Doubt::BodyUnclear);
    }
    let could_be_issued = candidates.iter().any(|one| {
        let grown = sight.issued.checked_sub(one.base.issued);
        let least = if sight.others_issue {
            one.issue.quantity()
        } else {
            Napu::ONE
        };
        grown.is_some_and(|grown| grown >= least)
    });
    match (could_be_issued, sight.agreed) {
        (true, _) => Next::LookAgain(Doubt::IssuedUnseen),
        (false, false) => Next::LookAgain(Doubt::IndexBehind),
        (false, true) => Next::Dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u64 = 5;
    const H0: u64 = 10;

    fn napu(napu: u64) -> Napu {
        Napu::new(napu).unwrap()
    }

    fn candidate(quantity: u64, sales: usize) -> Candidate {
        Candidate {
            issue: Issue::new(napu(quantity), N).unwrap(),
            sales,
            base: Base {
                sequence: N - 1,
                height: H0,
                issued: napu(100),
            },
            signatures: Vec::new(),
        }
    }

    fn sight(sequence: u64, found: &[Option<Detail>]) -> Sight {
        Sight {
            sequence,
            height: H0 + 2,
            issued: napu(100),
            found: found.to_vec(),
            agreed: false,
            others_issue: true,
        }
    }

    fn detail(height: u64, body: Body) -> Option<Detail> {
        Some(Detail { height, body })
    }

    #[test]
    fn the_table_line_by_line() {
        let one = [candidate(30, 3)];
        let next = |sight: &Sight| settle(&one, sight);
        // S < N, null.
        assert_eq!(next(&sight(N - 1, &[None])), Next::Submit { candidate: 0 });
        // S < N, found, but foreign: another type, or old.
        assert_eq!(
            next(&sight(N - 1, &[detail(H0 + 1, Body::Foreign)])),
            Next::Replace { sales: 2 }
        );
        assert_eq!(
            next(&sight(N - 1, &[detail(H0, Body::Ours)])),
            Next::Replace { sales: 2 }
        );
        let single = [candidate(30, 1)];
        assert_eq!(
            settle(&single, &sight(N - 1, &[detail(H0, Body::Ours)])),
            Next::Stop(Doubt::HashTaken)
        );
        // S >= N, found, new, and ours; or a neighbour's body with the total grown.
        let applied = Next::Applied {
            candidate: 0,
            height: H0 + 1,
        };
        assert_eq!(next(&sight(N, &[detail(H0 + 1, Body::Ours)])), applied);
        assert_eq!(next(&sight(N + 9, &[detail(H0 + 1, Body::Ours)])), applied);
        let mut grown = sight(N, &[detail(H0 + 1, Body::Neighbour)]);
        assert_eq!(next(&grown), Next::LookAgain(Doubt::BodyUnclear));
        grown.issued = napu(130);
        assert_eq!(next(&grown), Next::LookAgain(Doubt::BodyUnclear));
        grown.others_issue = false;
        assert_eq!(next(&grown), applied);
        // S >= N, null: only when all agree and the total did not grow.
        let mut gone = sight(N, &[None]);
        assert_eq!(next(&gone), Next::LookAgain(Doubt::IndexBehind));
        gone.agreed = true;
        assert_eq!(next(&gone), Next::Dead);
        let mut grown_a_little = gone.clone();
        grown_a_little.issued = napu(101);
        assert_eq!(next(&grown_a_little), Next::Dead);
        grown_a_little.others_issue = false;
        assert_eq!(next(&grown_a_little), Next::LookAgain(Doubt::IssuedUnseen));
        gone.issued = napu(130);
        assert_eq!(next(&gone), Next::LookAgain(Doubt::IssuedUnseen));
        // S < N, null, but others used a sequence that was left out, and issued.
        let gap = [Candidate {
            base: Base {
                sequence: N - 2,
                ..one[0].base
            },
            ..one[0].clone()
        }];
        let mut passed = sight(N - 1, &[None]);
        assert_eq!(settle(&gap, &passed), Next::Submit { candidate: 0 });
        passed.issued = napu(101);
        assert_eq!(settle(&gap, &passed), Next::Submit { candidate: 0 });
        passed.others_issue = false;
        assert_eq!(settle(&gap, &passed), Next::LookAgain(Doubt::IssuedUnseen));
        // Anything else.
        assert_eq!(
            next(&sight(N - 1, &[detail(H0 + 1, Body::Ours)])),
            Next::LookAgain(Doubt::SequenceBehind)
        );
        let mut shrunk = sight(N, &[None]);
        shrunk.issued = napu(99);
        assert_eq!(next(&shrunk), Next::LookAgain(Doubt::IssuedShrank));
        assert_eq!(next(&sight(N, &[])), Next::Stop(Doubt::Inconsistent));
        assert_eq!(settle(&[], &sight(N, &[])), Next::Dead);
    }

    #[test]
    fn of_two_candidates_the_applied_one_is_found_and_the_newer_one_submitted() {
        let two = [candidate(30, 3), candidate(20, 2)];
        let foreign = detail(H0 + 1, Body::Foreign);
        assert_eq!(
            settle(&two, &sight(N - 1, &[foreign.clone(), None])),
            Next::Submit { candidate: 1 }
        );
        let ours = detail(H0 + 2, Body::Ours);
        let applied = Next::Applied {
            candidate: 1,
            height: H0 + 2,
        };
        assert_eq!(
            settle(&two, &sight(N, &[foreign.clone(), ours.clone()])),
            applied
        );
        assert_eq!(
            settle(&two, &sight(N, &[ours.clone(), ours])),
            Next::Stop(Doubt::TwoApplied)
        );
        let mut dead = sight(N, &[foreign, None]);
        dead.agreed = true;
        assert_eq!(settle(&two, &dead), Next::Dead);
    }

    /// What happened on a chain, and how much of it a node shows.
    #[derive(Debug, Clone, Copy)]
    struct Truth {
        /// Which candidate is applied.
        applied: Option<usize>,
        /// Another transaction of the account has used up the sequence.
        used_by_other: bool,
        /// A foreign transaction stands under each candidate's hash: none, one from before it was built, or a newer one.
        taken: [Option<u64>; 2],
        /// How much others have issued since.
        others: u64,
        index_behind: bool,
        totals_behind: bool,
        /// Every body is shown as a neighbour's.
        shifted: bool,
        others_issue: bool,
    }

    impl Truth {
        /// Every chain that can be: a hash that is taken cannot be submitted, and one sequence is used once.
        fn all() -> Vec<Truth> {
            let mut all = Vec::new();
            let takes = [None, Some(H0), Some(H0 + 1)];
            let flags = [false, true];
            for applied in [None, Some(0), Some(1)] {
                for (used_by_other, others_issue) in flags.map(|a| flags.map(|b| (a, b))).concat() {
                    for taken in takes.map(|a| takes.map(|b| [a, b])).concat() {
                        for others in [0, 1, 19, 20, 29, 30, 50] {
                            for bits in 0..8u8 {
                                let truth = Truth {
                                    applied,
                                    used_by_other,
                                    taken,
                                    others,
                                    index_behind: bits & 1 > 0,
                                    totals_behind: bits & 2 > 0,
                                    shifted: bits & 4 > 0,
                                    others_issue,
                                };
                                let ours = applied.is_some_and(|at| taken[at].is_some());
                                let twice = applied.is_some() && used_by_other;
                                if !ours && !twice && (others == 0 || others_issue) {
                                    all.push(truth);
                                }
                            }
                        }
                    }
                }
            }
            all
        }

        fn used(&self) -> bool {
            self.applied.is_some() || self.used_by_other
        }

        /// What a node shows of it to somebody who built these candidates.
        fn sight(&self, candidates: &[Candidate]) -> Sight {
            let found = candidates.iter().enumerate().map(|(at, _)| {
                let applied = self.applied == Some(at) && !self.index_behind;
                let foreign = self.taken[at].filter(|height| *height == H0 || !self.index_behind);
                let shown = |body| if self.shifted { Body::Neighbour } else { body };
                match foreign {
                    _ if applied => detail(H0 + 1, shown(Body::Ours)),
                    Some(height) => detail(height, shown(Body::Foreign)),
                    None => None,
                }
            });
            let ours = self
                .applied
                .map_or(0, |at| candidates[at].issue.quantity().get());
            let grown = if self.totals_behind {
                0
            } else {
                ours + self.others
            };
            Sight {
                sequence: if self.used() { N } else { N - 1 },
                height: H0 + 2,
                issued: napu(100 + grown),
                found: found.collect(),
                // What had its time is not behind, and an account that moved without us has moved by another's doing.
                agreed: !self.index_behind && !self.totals_behind && self.used_by_other,
                others_issue: self.others_issue,
            }
        }
    }

    /// Over every chain that can be and everything a node can show of it: the step never contradicts what happened. And
    /// where all is shown, it is the right one, but where a person must tell.
    #[test]
    fn no_step_contradicts_what_happened() {
        let mut cases = 0;
        let mut decided = [0; 4];
        for count in [1, 2] {
            let candidates = &[candidate(30, 3), candidate(20, 2)][..count];
            for truth in Truth::all() {
                if count == 1 && (truth.applied == Some(1) || truth.taken[1].is_some()) {
                    continue;
                }
                let sight = truth.sight(candidates);
                let next = settle(candidates, &sight);
                let why = || format!("{truth:?} {sight:?} {next:?}");
                let last = count - 1;
                cases += 1;
                match next {
                    Next::Applied { candidate, height } => {
                        decided[0] += 1;
                        assert_eq!(truth.applied, Some(candidate), "{}", why());
                        assert_eq!(height, H0 + 1);
                    }
                    Next::Dead => {
                        decided[1] += 1;
                        assert!(truth.applied.is_none() && truth.used_by_other, "{}", why());
                    }
                    // The same again is harmless, whatever stands under it that is not shown yet.
                    Next::Submit { candidate } => {
                        decided[2] += 1;
                        assert!(candidate == last && !truth.used(), "{}", why());
                    }
                    Next::Replace { sales } => {
                        decided[3] += 1;
                        assert!(truth.taken[last].is_some() && !truth.used(), "{}", why());
                        assert_eq!(sales, candidates[last].sales - 1);
                    }
                    Next::LookAgain(_) | Next::Stop(_) => {}
                }
                let shown = !truth.index_behind && !truth.totals_behind && !truth.shifted;
                if shown && truth.others == 0 {
                    let expected = match (truth.applied, truth.used_by_other, truth.taken[last]) {
                        (Some(candidate), _, _) => Next::Applied {
                            candidate,
                            height: H0 + 1,
                        },
                        (None, true, _) => Next::Dead,
                        (None, false, Some(_)) => Next::Replace {
                            sales: candidates[last].sales - 1,
                        },
                        (None, false, None) => Next::Submit { candidate: last },
                    };
                    assert_eq!(next, expected, "{}", why());
                }
            }
        }
        println!("settle: {cases} sights, decided {decided:?}");
        assert!(
            cases > 1900 && decided.iter().all(|count| *count > 50),
            "{cases} {decided:?}"
        );
    }
}
