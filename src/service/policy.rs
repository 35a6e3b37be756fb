//! What is not signed: the limits, and what counts against them. Pure: a request, what was signed before and the time
//! become a verdict.
//!
//! # What the day limit promises
//! What was signed within any 24 hours can issue no more than `max_issue_per_day` for any one account. The chain applies at
//! most one transaction per account and sequence, so of several quantities that were signed for one sequence the largest
//! counts, and signing the same again counts once. Whose keys are whose account's is not told to a signer: keys that signed
//! for one sequence together, or each together with a third, are taken for one account's, and others for another's, which
//! counts as well. Should the former be two accounts' after all, the promise still holds for each of them.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::napu::Napu;
use crate::ndau::Issue;

/// The window of the day limit.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What is not signed, or not without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// The largest amount of one transaction.
    pub max_issue_per_tx: Option<Napu>,
    /// The largest amount within 24 hours.
    pub max_issue_per_day: Option<Napu>,
    /// Whether a person at the terminal is asked each time.
    pub confirm: bool,
}

/// What was signed, as far as the day limit counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    /// When, in milliseconds since the epoch by the host's clock.
    pub(crate) time_ms: u64,
    pub(crate) sequence: u64,
    pub(crate) quantity: Napu,
    /// By which keys.
    pub(crate) keys: Rc<[String]>,
}

/// Which limit is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// That of one transaction.
    Transaction { quantity: Napu, most: Napu },
    /// That of a day.
    Day {
        quantity: Napu,
        /// What counts without it.
        before: Napu,
        most: Napu,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Transaction { quantity, most } => write!(
                f,
                "{quantity} ndau is above the limit of {most} ndau in one transaction"
            ),
            Refusal::Day {
                quantity,
                before,
                most,
            } => write!(
                f,
                "{quantity} ndau is above the limit of {most} ndau a day, since {before} ndau were signed in the last 24 \
                 hours: wait, or raise max_issue_per_day"
            ),
        }
    }
}

/// What is in force, in a line.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max_issue_per_tx {
            Some(most) => write!(f, "at most {most} ndau in one transaction")?,
            None => f.write_str("no limit in one transaction")?,
        }
        match self.max_issue_per_day {
            Some(most) => write!(f, ", {most} ndau within 24 hours")?,
            None => f.write_str(", no limit within 24 hours")?,
        }
        f.write_str(match self.confirm {
            true => "; a person is asked each time",
            false => "; nobody is asked",
        })
    }
}

impl Policy {
    /// Whether `issue` may be signed with `keys` at `now_ms`, after what was `signed`; a person is not asked here.
    pub(crate) fn judge(
        &self,
        issue: &Issue,
        keys: Rc<[String]>,
        signed: &[Signed],
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let quantity = issue.quantity();
        if let Some(most) = self.max_issue_per_tx
            && quantity > most
        {
            return Err(Refusal::Transaction { quantity, most });
        }
        if let Some(most) = self.max_issue_per_day {
            let this = Signed {
                time_ms: now_ms,
                sequence: issue.sequence(),
                quantity,
                keys,
            };
            let recent = || signed.iter().filter(|one| is_recent(one, now_ms));
            let after = counted(recent().chain([&this]));
            if after.is_none_or(|after| after > most) {
                // More than can be was never signed: each of it was within a limit.
                let before = counted(recent()).unwrap_or(most);
                return Err(Refusal::Day {
                    quantity,
                    before,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// Whether it counts at `now_ms`. What was signed after that counts too: the clock was set back.
fn is_recent(signed: &Signed, now_ms: u64) -> bool {
    signed.time_ms.saturating_add(DAY_MS) > now_ms
}

/// What counts of a sequence, for one account.
struct Account<'a> {
    keys: Vec<&'a str>,
    most: Napu,
}

/// What can be issued at most by all of these; `None` above what can be.
fn counted<'a>(signed: impl Iterator<Item = &'a Signed>) -> Option<Napu> {
    let mut sequences: BTreeMap<u64, Vec<Account<'a>>> = BTreeMap::new();
    for one in signed {
        let accounts = sequences.entry(one.sequence).or_default();
        let mut this = Account {
            keys: one.keys.iter().map(String::as_str).collect(),
            most: one.quantity,
        };
        for other in std::mem::take(accounts) {
            if other.keys.iter().any(|key| this.keys.contains(key)) {
                this.most = this.most.max(other.most);
                let new = other.keys.into_iter().filter(|key| !one.signed_by(key));
                this.keys.extend(new);
            } else {
                accounts.push(other);
            }
        }
        accounts.push(this);
    }
    Napu::sum(sequences.values().flatten().map(|account| account.most))
}

impl Signed {
    fn signed_by(&self, key: &str) -> bool {
        self.keys.iter().any(|own| own == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn napu(count: u64) -> Napu {
        Napu::new(count).unwrap()
    }

    fn signed(time_ms: u64, sequence: u64, quantity: u64, keys: &str) -> Signed {
        Signed {
            time_ms,
            sequence,
            quantity: napu(quantity),
            keys: keys.chars().map(String::from).collect(),
        }
    }

    /// Whether `this` may be signed after `before` with so much a day.
    fn may(before: &[Signed], this: &Signed, most: u64) -> bool {
        let policy = Policy {
            max_issue_per_day: Some(napu(most)),
            ..Policy::default()
        };
        let issue = Issue::new(this.quantity, this.sequence).unwrap();
        let verdict = policy.judge(&issue, this.keys.clone(), before, this.time_ms);
        verdict.is_ok()
    }

    #[test]
    fn the_limit_of_one_transaction_includes_itself() {
        let issue = Issue::new(napu(5), 1).unwrap();
        for (most, allowed) in [(Some(4), false), (Some(5), true), (None, true)] {
            let policy = Policy {
                max_issue_per_tx: most.map(napu),
                ..Policy::default()
            };
            let verdict = policy.judge(&issue, Rc::from([]), &[], 0);
            assert_eq!(verdict.is_ok(), allowed, "{most:?}");
        }
    }

    #[test]
    fn a_day_counts_each_sequence_of_an_account_once() {
        let now = 10 * DAY_MS;
        let one = signed(now, 1, 5, "a");
        for (before, this, most, allowed, why) in [
            (vec![], signed(now, 1, 5, "a"), 5, true, "just enough"),
            (vec![], signed(now, 1, 6, "a"), 5, false, "one too many"),
            (
                vec![&one],
                signed(now, 1, 5, "a"),
                5,
                true,
                "the same again",
            ),
            (
                vec![&one],
                signed(now, 1, 4, "a"),
                5,
                true,
                "a smaller one of its sequence",
            ),
            (
                vec![&one],
                signed(now, 1, 6, "a"),
                6,
                true,
                "a larger one counts for both",
            ),
            (vec![&one], signed(now, 1, 6, "a"), 5, false, "a larger one"),
            (
                vec![&one],
                signed(now, 2, 1, "a"),
                5,
                false,
                "another sequence",
            ),
            (
                vec![&one],
                signed(now, 2, 1, "a"),
                6,
                true,
                "another sequence with room",
            ),
            (
                vec![&one],
                signed(now, 1, 5, "b"),
                9,
                false,
                "another account",
            ),
            (
                vec![&one],
                signed(now, 1, 5, "b"),
                10,
                true,
                "another account with room",
            ),
            (
                vec![&one],
                signed(now, 1, 5, "ab"),
                5,
                true,
                "a second key of the account",
            ),
        ] {
            let before: Vec<Signed> = before.into_iter().cloned().collect();
            assert_eq!(may(&before, &this, most), allowed, "{why}");
        }
    }

    #[test]
    fn a_day_is_the_last_24_hours_and_all_that_lies_ahead() {
        let now = 10 * DAY_MS;
        for (time, allowed) in [
            (now - DAY_MS - 1, true),
            (now - DAY_MS, true),
            (now - DAY_MS + 1, false),
            (now, false),
            (now + 1, false),
            (now + 100 * DAY_MS, false),
            (u64::MAX, false),
        ] {
            let before = [signed(time, 1, 5, "a")];
            let this = signed(now, 2, 1, "a");
            assert_eq!(may(&before, &this, 5), allowed, "{time}");
        }
    }

    #[test]
    fn amounts_that_cannot_be_added_are_above_every_limit() {
        let most = Napu::SUPPLY.get();
        let before: Vec<Signed> = (1..4000)
            .map(|sequence| signed(0, sequence, most, "a"))
            .collect();
        assert!(counted(before.iter()).is_none());
        assert!(!may(&before, &signed(0, 5000, 1, "a"), Napu::SUPPLY.get()));
    }

    /// What `accounts` (the account of each key) can be issued by all of `signed` in the worst case: of each sequence the
    /// largest quantity that any key of the account signed. Right by inspection.
    fn issuable(signed: &[Signed], account_of_b: char) -> Vec<Napu> {
        let of = |key: &str| if key == "a" { 'A' } else { account_of_b };
        ['A', 'B']
            .iter()
            .map(|account| {
                let largest = |sequence| {
                    signed
                        .iter()
                        .filter(|one| one.sequence == sequence)
                        .filter(|one| one.keys.iter().any(|key| of(key) == *account))
                        .map(|one| one.quantity)
                        .max()
                        .unwrap_or(Napu::ZERO)
                };
                Napu::sum([largest(1), largest(2)]).unwrap()
            })
            .collect()
    }

    /// Every history of up to three signatures and one more, in a small world: two sequences, three quantities, two keys,
    /// times on both sides of the window. The verdict is the naive one wherever that is exact (one account, or no signature
    /// by both keys), and never allows what would break the promise.
    #[test]
    fn the_day_limit_keeps_its_promise_in_every_small_history() {
        let now = 10 * DAY_MS;
        let mut all = Vec::new();
        for time in [now - DAY_MS, now] {
            for sequence in [1, 2] {
                for quantity in [1, 2, 3] {
                    for keys in ["a", "b", "ab"] {
                        all.push(signed(time, sequence, quantity, keys));
                    }
                }
            }
        }
        let mut histories: Vec<Vec<Signed>> = vec![Vec::new()];
        for one in &all {
            histories.push(vec![one.clone()]);
            for two in &all {
                histories.push(vec![one.clone(), two.clone()]);
            }
        }
        let mut cases = 0;
        for history in &histories {
            for this in all.iter().filter(|this| this.time_ms == now) {
                let recent = |one: &&Signed| one.time_ms == now;
                let mut after: Vec<Signed> = history.iter().filter(recent).cloned().collect();
                after.push(this.clone());
                let together = after.iter().any(|one| one.keys.len() == 2);
                let apart = issuable(&after, 'B');
                let sum_apart = Napu::sum(apart.clone()).unwrap();
                for most in 1..=8 {
                    cases += 1;
                    let allowed = may(history, this, most);
                    let context = format!("{most} after {history:?}: {this:?}");
                    if allowed {
                        for account in issuable(&after, 'A').iter().chain(&apart) {
                            assert!(*account <= napu(most), "{context}");
                        }
                    }
                    if !together {
                        assert_eq!(allowed, sum_apart <= napu(most), "{context}");
                    }
                    if after.iter().all(|one| one.keys.contains(&"a".to_owned())) {
                        let one_account = issuable(&after, 'A')[0];
                        assert_eq!(allowed, one_account <= napu(most), "{context}");
                    }
                }
            }
        }
        assert!(cases > 100_000, "{cases}");
    }
}
