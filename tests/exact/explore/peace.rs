//! What becomes of a situation once nothing more happens to it.

use std::collections::HashMap;
use std::mem;

use bitmart_issuer::error::{Exit, chain};
use bitmart_issuer::report::Outcome;
use bitmart_issuer::resolve::word;
use bitmart_issuer::run::Resolved;
use bitmart_issuer::state::Verdict;

use super::claims::{Reader, Reason, ended_well};
use super::play::Stage;
use super::situation::{FOREIGN, Host, Situation};
use crate::world::{Issued, Plan};

/// So many runs must be enough, with a person's help where one is needed.
const RUNS: usize = 16;

/// Long enough for everything that waits.
const LONG_MS: u64 = 600_000;

/// What becomes of a situation that is left in peace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peace {
    /// Runs alone bring it to its end.
    Calm,
    /// A person has to do or to decide something, first of all for this reason; then runs bring it to its end.
    Helped(Reason),
    /// A person has to decide, and `resolve` does not offer what is true.
    Stuck,
}

/// The ends that are known.
pub struct Ends<'a> {
    stage: &'a Stage,
    known: HashMap<u64, Peace>,
    pub runs: usize,
}

impl<'a> Ends<'a> {
    pub fn new(stage: &'a Stage) -> Ends<'a> {
        Ends {
            stage,
            known: HashMap::new(),
            runs: 0,
        }
    }

    /// What became of the situation with this key.
    pub fn get(&self, key: u64) -> Option<Peace> {
        self.known.get(&key).copied()
    }

    /// Either host comes to an end alone, and to a good one.
    pub fn are_good(&mut self, reader: &mut Reader, situation: &Situation) -> Result<(), String> {
        self.of(reader, situation)
            .map_err(|what| format!("left in peace: {what}"))?;
        if situation.second.is_some() {
            self.of(reader, &situation.swapped())
                .map_err(|what| format!("the second host left in peace: {what}"))?;
        }
        Ok(())
    }

    /// The first host runs on alone, its clock is right, and nothing more happens.
    fn of(&mut self, reader: &mut Reader, situation: &Situation) -> Result<Peace, String> {
        let mut now = situation.clone();
        let (mut trail, mut helped, mut failed) = (Vec::new(), None, false);
        for _ in 0..RUNS {
            let key = now.key();
            if let Some(known) = self.get(key) {
                return Ok(self.end(trail, helped, known));
            }
            if helped.is_none() {
                trail.push(key);
            }
            let clock = &mut now.world.clock;
            clock.wall_ms = clock.true_ms();
            now.world.pass(LONG_MS);
            let played = self.stage.run(&now, Host::First, None, false);
            self.runs += 1;
            ended_well(None, &played)?;
            now = played.after;
            reader.always(self.stage, &now)?;
            let error = match played.ended.result {
                Some(Ok(Outcome::NothingNew)) => {
                    reader.in_the_end(self.stage, &now)?;
                    return Ok(self.end(trail, helped, Peace::Calm));
                }
                Some(Ok(_)) => {
                    failed = false;
                    continue;
                }
                Some(Err(error)) => error,
                None => return Err("a run dies".to_owned()),
            };
            // Only what fails again needs a person.
            if !mem::replace(&mut failed, true) {
                continue;
            }
            failed = false;
            let reason = reader.reason(self.stage, &now, error.exit());
            let reason = reason.map_err(|what| format!("{what}: {}", chain(&error)))?;
            helped = helped.or(Some(reason));
            if !self.help(reader, &mut now, reason, error.exit())? {
                let unknown = reader.unknown(self.stage, &now)?;
                if !unknown.iter().any(Issued::is_foreign) && !now.restored && now.second.is_none()
                {
                    return Err(format!(
                        "resolve does not offer what is true: {}",
                        chain(&error)
                    ));
                }
                return Ok(self.end(trail, helped, Peace::Stuck));
            }
        }
        Err(format!("it has come to no end after {RUNS} runs"))
    }

    /// Notes the end of every situation on the way.
    fn end(&mut self, trail: Vec<u64>, helped: Option<Reason>, end: Peace) -> Peace {
        let peace = match (end, helped) {
            (Peace::Calm | Peace::Helped(_), Some(reason)) => Peace::Helped(reason),
            (end, _) => end,
        };
        self.known.extend(trail.into_iter().map(|key| (key, peace)));
        peace
    }

    /// Does what a person does who knows the truth. `false`: they are not offered what is true.
    fn help(
        &self,
        reader: &mut Reader,
        now: &mut Situation,
        reason: Reason,
        exit: Exit,
    ) -> Result<bool, String> {
        match reason {
            Reason::Index => {
                now.world.chain.mend_index();
                return Ok(true);
            }
            Reason::Taken => {
                now.world.chain.use_sequence();
                return Ok(true);
            }
            Reason::Unknown | Reason::Overwritten | Reason::Neighbour => {}
        }
        let office = &self.stage.first;
        let shown = office.resolve(&mut now.world.clone(), None, Plan::default());
        let case = match shown.result {
            Some(Ok(Resolved::Open(case))) => case,
            other => return Err(format!("resolve shows {other:?}")),
        };
        if case.exit != exit {
            return Err(format!(
                "a run ends with {exit:?}, and resolve says {:?}",
                case.exit
            ));
        }
        let issues = now.world.chain.issues();
        let unknown = reader.unknown(self.stage, now)?;
        let books = reader.books(self.stage, &now.world, &now.world.disk)?;
        let is_applied = |numbers: (u64, u64)| issues.iter().any(|one| one.numbers() == numbers);
        let is_true = |verdict: &Verdict| match verdict {
            Verdict::Applied { issue, .. } => {
                is_applied((issue.quantity().get(), issue.sequence()))
            }
            Verdict::Never { .. } => !books.candidates.iter().copied().any(is_applied),
            Verdict::Adopted { issue, .. } => issue.quantity().get() != FOREIGN,
            Verdict::Others { issued } => {
                issued.get() == FOREIGN && unknown.first().is_some_and(Issued::is_foreign)
            }
            Verdict::SameAccount { .. } | Verdict::Skipped { .. } => false,
        };
        let Some(choice) = case.choices.iter().find(|one| is_true(one)) else {
            return Ok(false);
        };
        let decided = office.resolve(&mut now.world, Some(&word(choice)), Plan::default());
        match decided.result {
            Some(Ok(Resolved::Decided(..))) => Ok(true),
            other => Err(format!("resolve answers {other:?}")),
        }
    }
}
