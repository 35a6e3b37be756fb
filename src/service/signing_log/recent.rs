//! What was signed lately, as far as the day limit may need it. Pure.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::service::policy::{DAY_MS, Signed};

const DAY: Duration = Duration::from_millis(DAY_MS);

/// What was signed in the last two days, and later by whatever clock.
#[derive(Default)]
pub(super) struct Recent {
    /// Oldest line first, and when this process signed it, if it did: that holds whatever the clock said then.
    signed: Vec<(Signed, Option<Instant>)>,
    /// Each set of keys once, however often it signed.
    keys: BTreeSet<Rc<[String]>>,
    /// The latest time that anything older was forgotten for.
    as_of_ms: u64,
}

impl Recent {
    /// Whether nothing is forgotten that counts at `now_ms`. It may be when the clock is set back by more than a day.
    pub(super) fn reaches(&self, now_ms: u64) -> bool {
        now_ms.saturating_add(DAY_MS) >= self.as_of_ms
    }

    /// What counts at `now_ms`, which is `now`, and some of what no longer does. What this process signed has at least the
    /// time that its age gives.
    pub(super) fn signed(&self, now_ms: u64, now: Instant) -> Vec<Signed> {
        let dated = |(one, at): &(Signed, Option<Instant>)| {
            let age = at.map(|at| now.saturating_duration_since(at).as_millis());
            let age = age.and_then(|age| u64::try_from(age).ok());
            let time_ms = age.map_or(0, |age| now_ms.saturating_sub(age));
            Signed {
                time_ms: one.time_ms.max(time_ms),
                ..one.clone()
            }
        };
        self.signed.iter().map(dated).collect()
    }

    /// Forgets what no longer counts at `now_ms`, which is `now`, nor a day before that.
    pub(super) fn forget(&mut self, now_ms: u64, now: Instant) {
        self.as_of_ms = self.as_of_ms.max(now_ms);
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < DAY;
        self.signed
            .retain(|(one, at)| is_kept(one, now_ms) || at.as_ref().is_some_and(is_fresh));
        self.keys.retain(|keys| Rc::strong_count(keys) > 1);
    }

    /// Adds what an earlier process signed, unless it is forgotten by `now_ms`.
    pub(super) fn read(&mut self, one: Signed, now_ms: u64) {
        self.as_of_ms = self.as_of_ms.max(now_ms);
        if is_kept(&one, now_ms) {
            self.add(one, None);
        }
    }

    /// Adds what was signed, `at` this moment if it was by this process.
    pub(super) fn add(&mut self, mut one: Signed, at: Option<Instant>) {
        match self.keys.get(&one.keys) {
            Some(known) => one.keys = Rc::clone(known),
            None => {
                self.keys.insert(Rc::clone(&one.keys));
            }
        }
        self.signed.push((one, at));
    }

    /// What this process signed, for one that was read from the file again: in both, it counts once, as late as it can.
    pub(super) fn add_own_of(&mut self, before: Recent) {
        let own = before.signed.into_iter().filter(|(_, at)| at.is_some());
        for (one, at) in own {
            self.add(one, at);
        }
    }
}

fn is_kept(signed: &Signed, now_ms: u64) -> bool {
    signed.time_ms.saturating_add(2 * DAY_MS) > now_ms
}
