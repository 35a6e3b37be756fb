//! Cases that the program leaves to a person: what is seen becomes the choices there are. Pure.
//!
//! No choice is offered that the chain's own arithmetic rules out: nothing is called applied that the total issued has no
//! room for or that no block holds, and nothing is given up whose sequence is not used up.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Exit;
use crate::napu::Napu;
use crate::ndau::Issue;
use crate::report::counted;
use crate::sales::Sale;
use crate::settle::{Candidate, Doubt, Sight};
use crate::state::Verdict;

/// A case, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What is the matter, in one sentence.
    pub matter: String,
    /// What was seen: the evidence that a decision is recorded with.
    pub seen: Vec<String>,
    /// What can be decided.
    pub choices: Vec<Verdict>,
    /// What to look at before, or what to do where nothing can be decided here.
    pub advice: &'static str,
    /// The exit code of a run that meets this.
    pub exit: Exit,
}

/// The word that is typed for a verdict.
pub fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Applied { issue, .. } => format!("applied:{}", issue.hash()),
        Verdict::Never { .. } => "never".to_owned(),
        Verdict::Adopted { issue, .. } => format!("adopt:{}", issue.hash()),
        Verdict::Others { issued } => format!("others:{issued}"),
        Verdict::SameAccount { .. } => "same-account".to_owned(),
        Verdict::Skipped { .. } => "skip".to_owned(),
    }
}

/// What follows from a verdict.
fn consequence(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Applied { .. } => "its sales are written down as issued",
        Verdict::Never { .. } => {
            "its sales are issued anew by the next run; if it was applied after all, they are issued TWICE"
        }
        Verdict::Adopted { .. } => {
            "the next run writes the oldest of our sales, up to its quantity, down as issued by it; if it was not for \
             them, they are NEVER issued"
        }
        Verdict::Others { .. } => {
            "the folder accounts for it; if it was for our sales after all, they are issued TWICE"
        }
        Verdict::SameAccount { .. } => {
            "the cursor goes on with this key; if it is another account's, what this folder's account sold is missed"
        }
        Verdict::Skipped { .. } => {
            "the cursor goes on after it; what was sold in it is NEVER issued by this folder"
        }
    }
}

/// Where the blocks since a candidate was built hold its hash. That is no proof that it was applied: what fails in a
/// block stands in it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// In the block of this height.
    In(u64),
    /// In none of them.
    Nowhere,
    /// They could not all be read.
    Unknown,
}

/// The choices for a batch in flight of which the chain does not say what became of it. `held` is in the candidates'
/// order.
pub fn in_flight(candidates: &[Candidate], sight: &Sight, held: &[Held]) -> Vec<Verdict> {
    let Some(sequence) = candidates.first().map(|one| one.issue.sequence()) else {
        return Vec::new();
    };
    let known = candidates.len() == held.len();
    let grown = |one: &Candidate| sight.issued.checked_sub(one.base.issued);
    if !known || sight.sequence < sequence || candidates.iter().any(|one| grown(one).is_none()) {
        return Vec::new();
    }
    let mut choices: Vec<Verdict> = candidates
        .iter()
        .zip(held)
        .filter_map(|(one, held)| match held {
            Held::In(height) if *height > one.base.height => Some((one, *height)),
            Held::In(_) | Held::Nowhere | Held::Unknown => None,
        })
        .filter(|(one, _)| grown(one).is_some_and(|grown| grown >= one.issue.quantity()))
        .map(|(one, height)| Verdict::Applied {
            issue: one.issue,
            height,
        })
        .collect();
    // The total trails by a block.
    let shown = |held: &Held| !matches!(held, Held::In(height) if sight.height <= *height);
    let nothing_issued =
        candidates.iter().all(|one| grown(one) == Some(Napu::ZERO)) && held.iter().all(shown);
    let in_no_block = held.iter().all(|held| *held == Held::Nowhere);
    if nothing_issued || in_no_block || (sight.others_issue && !choices.is_empty()) {
        choices.push(Verdict::Never { sequence });
    }
    choices
}

/// What to do about a doubt beside deciding.
pub fn advice(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::IndexBehind | Doubt::IssuedUnseen | Doubt::BodyUnclear | Doubt::TwoApplied => {
            "first look at the account's history in an explorer, or put another node first in ndau.api and run again"
        }
        Doubt::HashTaken => {
            "submit any other transaction of the issuer's account, so that this sequence is used up; the next run then \
             builds the Issue anew, with the next sequence"
        }
        Doubt::SequenceBehind | Doubt::SequenceMoves | Doubt::IssuedShrank => {
            "put another node in ndau.api, one that is a single node and has caught up, and run again"
        }
        Doubt::Inconsistent => "bring the whole state folder back from its newest backup",
    }
}

/// How many of `sales`, the oldest first, make exactly `quantity`.
pub fn covered(sales: &[Sale], quantity: Napu) -> Option<usize> {
    let mut sum = Napu::ZERO;
    for (index, sale) in sales.iter().enumerate() {
        sum = sum.checked_add(sale.quantity)?;
        if sum >= quantity {
            return (sum == quantity).then_some(index + 1);
        }
    }
    None
}

/// An `Issue` of exactly so much as some of the sales that come one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The `Issue`.
    pub issue: Issue,
    /// Its block.
    pub height: u64,
    /// The oldest of these sales.
    pub first: Sale,
    /// The newest.
    pub last: Sale,
}

/// Whether `issue` is of exactly so much as the newest of `sales`, oldest first: then it issued the last of them.
pub fn issued_the_last(issue: &Issue, sales: &[Sale]) -> bool {
    let newest_first: Vec<Sale> = sales.iter().rev().copied().collect();
    covered(&newest_first, issue.quantity()).is_some()
}

/// What the account has issued since a folder that has never run starts to issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Since when, in milliseconds since the epoch.
    pub since_ms: u64,
    /// Each, oldest first, with its block.
    pub issues: Vec<(Issue, u64)>,
    /// All of it.
    pub sum: Napu,
    /// The newest that looks like some of the sales.
    pub like_sales: Option<Match>,
}

/// The newest of `issues`, with their blocks, that is of exactly so much as some of `sales`, oldest first, that come one
/// after the other: these seem to be issued already.
pub fn issued_perhaps(issues: &[(Issue, u64)], sales: &[Sale]) -> Option<Match> {
    let mut sum = Napu::ZERO;
    let mut before = BTreeMap::new();
    for (index, sale) in sales.iter().enumerate() {
        before.insert(sum, index);
        sum = sum.checked_add(sale.quantity)?;
    }
    before.insert(sum, sales.len());
    issues.iter().rev().find_map(|(issue, height)| {
        let ends = before.iter().rev();
        let (start, end) = ends
            .filter_map(|(sum, end)| {
                let start = sum.checked_sub(issue.quantity())?;
                Some((*before.get(&start)?, *end))
            })
            .next()?;
        Some(Match {
            issue: *issue,
            height: *height,
            first: *sales.get(start)?,
            last: *sales.get(end.checked_sub(1)?)?,
        })
    })
}

/// The choices where the chain's total issued is `more` above what the folder accounts for. `unknown` are the account's
/// `Issue`s that the folder does not know, oldest first, with their blocks, and `sales` what it takes for not issued.
pub fn unaccounted(unknown: &[(Issue, u64)], sales: &[Sale], more: Napu) -> Vec<Verdict> {
    let mut choices = Vec::new();
    let Some((issue, height)) = unknown.first().copied() else {
        return vec![Verdict::Others { issued: more }];
    };
    if covered(sales, issue.quantity()).is_some() {
        choices.push(Verdict::Adopted { issue, height });
    }
    choices.push(Verdict::Others {
        issued: step(unknown, more),
    });
    choices
}

/// How much is decided on at a time: the oldest unknown `Issue`, if all of them together explain the difference.
fn step(unknown: &[(Issue, u64)], more: Napu) -> Napu {
    let sum = Napu::sum(unknown.iter().map(|(issue, _)| issue.quantity()));
    match unknown.first() {
        Some((first, _)) if sum == Some(more) => first.quantity(),
        _ => more,
    }
}

/// What `sight` shows, in sentences.
pub fn describe(candidates: &[Candidate], sight: &Sight, held: &[Held]) -> Vec<String> {
    let mut seen = Vec::new();
    for (index, one) in candidates.iter().enumerate() {
        let (issue, base) = (&one.issue, &one.base);
        seen.push(format!(
            "{} of {} ndau for {}, sequence {}, was built at account sequence {}, height {}, total issued {} ndau",
            issue.hash(),
            issue.quantity(),
            counted(one.sales, "sale"),
            issue.sequence(),
            base.sequence,
            base.height,
            base.issued
        ));
        let found = match sight.found.get(index) {
            Some(Some(found)) => {
                format!("a transaction in block {} ({:?})", found.height, found.body)
            }
            Some(None) | None => "nothing".to_owned(),
        };
        let blocks = match held.get(index) {
            Some(Held::In(height)) => format!("block {height} holds its hash"),
            Some(Held::Nowhere) => format!("no block from {} on holds its hash", base.height + 1),
            Some(Held::Unknown) | None => "the blocks since could not all be read".to_owned(),
        };
        seen.push(format!("the index shows {found} under it; {blocks}"));
    }
    seen.push(format!(
        "now the account's sequence is {}, the height {}, the total issued {} ndau",
        sight.sequence, sight.height, sight.issued
    ));
    seen
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.matter)?;
        for line in &self.seen {
            writeln!(f, "  seen        {line}")?;
        }
        writeln!(f, "  advice      {}", self.advice)?;
        for choice in &self.choices {
            writeln!(f, "  choice      {choice}: {}", consequence(choice))?;
            writeln!(
                f,
                "              bitmart-issuer resolve --decide {} --by <your name> --why <your reason>",
                word(choice)
            )?;
        }
        if self.choices.is_empty() {
            writeln!(f, "  choice      none here")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::TradeId;
    use crate::settle::Base;

    const N: u64 = 5;

    fn napu(napu: u64) -> Napu {
        Napu::new(napu).unwrap()
    }

    fn candidate(quantity: u64) -> Candidate {
        Candidate {
            issue: Issue::new(napu(quantity), N).unwrap(),
            sales: 2,
            base: Base {
                sequence: N - 1,
                height: 10,
                issued: napu(100),
            },
            signatures: Vec::new(),
        }
    }

    /// Over every sight of one or two candidates: what is offered is never what the chain's own arithmetic rules out.
    #[test]
    fn no_choice_contradicts_the_chain() {
        let (mut cases, mut applied, mut never) = (0, 0, 0);
        let held = [Held::In(10), Held::In(11), Held::Nowhere, Held::Unknown];
        for two in [false, true] {
            for sequence in [N - 1, N, N + 3] {
                for issued in [99, 100, 101, 119, 120, 129, 130, 150] {
                    for others_issue in [false, true] {
                        for (first, second) in held.iter().flat_map(|a| held.map(|b| (*a, b))) {
                            let mut candidates = vec![candidate(30)];
                            let mut held = vec![first];
                            if two {
                                candidates.push(candidate(20));
                                held.push(second);
                            }
                            let sight = Sight {
                                sequence,
                                height: 20,
                                issued: napu(issued),
                                found: vec![None; candidates.len()],
                                agreed: false,
                                others_issue,
                            };
                            cases += 1;
                            let choices = in_flight(&candidates, &sight, &held);
                            assert!(choices.is_empty() || (sequence >= N && issued >= 100));
                            for choice in &choices {
                                match choice {
                                    Verdict::Applied { issue, height } => {
                                        applied += 1;
                                        let at =
                                            candidates.iter().position(|one| one.issue == *issue);
                                        assert_eq!(held[at.unwrap()], Held::In(11));
                                        assert_eq!(*height, 11);
                                        assert!(issued - 100 >= issue.quantity().get());
                                    }
                                    Verdict::Never { sequence } => {
                                        never += 1;
                                        assert_eq!(*sequence, N);
                                        // Where nobody else issues, a grown total and a block that holds it mean that it is applied.
                                        let enough =
                                            candidates.iter().zip(&held).any(|(one, held)| {
                                                *held == Held::In(11)
                                                    && issued - 100 >= one.issue.quantity().get()
                                            });
                                        assert!(others_issue || !enough, "{sight:?}");
                                    }
                                    other => panic!("{other:?}"),
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(
            cases == 1536 && applied > 0 && never > 0,
            "{cases} {applied} {never}"
        );
    }

    fn sales(quantities: &[u64]) -> Vec<Sale> {
        let sale = |(trade, quantity): (u64, &u64)| Sale {
            time_ms: trade,
            id: TradeId { trade, order: 1 },
            quantity: napu(*quantity),
        };
        (1..).zip(quantities).map(sale).collect()
    }

    /// Against every run of sales one after the other, summed anew.
    #[test]
    fn what_seems_to_be_issued_already_is_found_in_any_run_of_sales() {
        let (mut found, mut not) = (0, 0);
        for seed in 0..500u64 {
            let count = seed % 6;
            let quantities: Vec<u64> = (0..count).map(|i| 1 + (seed / 6 + i * seed) % 7).collect();
            let sales = sales(&quantities);
            for quantity in 1..40 {
                let issue = (Issue::new(napu(quantity), 5).unwrap(), 9);
                let ends = (0..sales.len()).rev().find_map(|end| {
                    (0..=end)
                        .find(|start| quantities[*start..=end].iter().sum::<u64>() == quantity)
                        .map(|start| (sales[start], sales[end]))
                });
                let ours = issued_perhaps(&[issue], &sales);
                assert_eq!(
                    ours.map(|one| (one.first, one.last)),
                    ends,
                    "{quantities:?} {quantity}"
                );
                if ends.is_some() { found += 1 } else { not += 1 }
            }
        }
        assert!(found > 1000 && not > 1000, "{found} {not}");
        // Of several the newest, and nothing of nothing.
        let (old, new) = (
            (Issue::new(napu(5), 5).unwrap(), 9),
            (Issue::new(napu(2), 6).unwrap(), 11),
        );
        let newest = issued_perhaps(&[old, new], &sales(&[5, 2, 4])).unwrap();
        assert_eq!(
            (newest.issue, newest.height, newest.last.id.trade),
            (new.0, 11, 2)
        );
        assert_eq!(issued_perhaps(&[], &sales(&[5])), None);
        assert_eq!(issued_perhaps(&[old], &[]), None);
    }

    #[test]
    fn an_unknown_issue_is_adopted_for_exactly_the_oldest_sales() {
        let issue =
            |quantity, sequence| (Issue::new(napu(quantity), sequence).unwrap(), sequence * 10);
        let words = |unknown: &[(Issue, u64)], quantities: &[u64], more| -> Vec<String> {
            let choices = unaccounted(unknown, &sales(quantities), napu(more));
            choices.iter().map(word).collect()
        };
        let (seven, two) = (issue(7, 6), issue(2, 8));
        let adopt = word(&Verdict::Adopted {
            issue: seven.0,
            height: 60,
        });
        let others = |issued| {
            word(&Verdict::Others {
                issued: napu(issued),
            })
        };
        assert_eq!(words(&[seven], &[5, 2, 4], 7), [adopt.clone(), others(7)]);
        assert_eq!(words(&[seven], &[5, 3], 7), [others(7)]);
        assert_eq!(words(&[seven], &[5, 1], 7), [others(7)]);
        assert_eq!(words(&[seven], &[], 7), [others(7)]);
        // One at a time, if they explain all of it; else the index does not show all, and it is all or nothing.
        assert_eq!(words(&[seven, two], &[7, 2], 9), [adopt.clone(), others(7)]);
        assert_eq!(words(&[seven, two], &[7, 2], 10), [adopt, others(10)]);
        assert_eq!(words(&[], &[7, 2], 10), [others(10)]);
    }
}
