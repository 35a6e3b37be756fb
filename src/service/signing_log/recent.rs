//! What was signed lately, as far as the day limit may need it. Pure.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::service::policy::{DAY_MS, Signed};

/// What was signed in the last two days, and later by whatever clock.
#[derive(Default)]
pub(super) struct Recent {
    /// Oldest line first.
    signed: Vec<Signed>,
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

    /// What counts, and some of what no longer does.
    pub(super) fn signed(&self) -> &[Signed] {
        &self.signed
    }

    /// Forgets what no longer counts at `now_ms`, nor a day before that.
    pub(super) fn forget(&mut self, now_ms: u64) {
        self.as_of_ms = self.as_of_ms.max(now_ms);
        self.signed.retain(|one| is_kept(one, now_ms));
    }

    /// Adds what was signed, unless it is forgotten by `now_ms`.
    pub(super) fn add(&mut self, mut one: Signed, now_ms: u64) {
        self.as_of_ms = self.as_of_ms.max(now_ms);
        if !is_kept(&one, now_ms) {
            return;
        }
        match self.keys.get(&one.keys) {
            Some(known) => one.keys = Rc::clone(known),
            None => {
                self.keys.insert(Rc::clone(&one.keys));
            }
        }
        self.signed.push(one);
    }
}

fn is_kept(signed: &Signed, now_ms: u64) -> bool {
    signed.time_ms.saturating_add(2 * DAY_MS) > now_ms
}
