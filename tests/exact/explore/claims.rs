//! What must hold in every situation, after every run, and in the end.

use std::collections::HashMap;

use bitmart_issuer::error::{Exit, chain};
use bitmart_issuer::napu::Napu;
use bitmart_issuer::state::State;

use super::play::{Played, Stage, Twist};
use super::situation::{FOREIGN, Situation, hash_of};
use crate::world::{Disk, Issued, Then, World};

/// What a state folder says, as far as the claims are about it.
#[derive(Debug, Clone)]
pub struct Books {
    /// Each line's `Issue`, and the sum of its sales.
    pub lines: Vec<(Issued, u64)>,
    /// The quantity and sequence of each candidate in flight, and for how many sales the newest is.
    pub candidates: Vec<(u64, u64)>,
    pub sales: usize,
    /// The total issued that it accounts for.
    pub accounted: Option<u64>,
}

impl Books {
    fn new(state: &State) -> Books {
        let entries = state.ledger.entries().iter();
        let lines = entries.map(|entry| {
            let issued = Issued {
                quantity: entry.issue.quantity().get(),
                sequence: entry.issue.sequence(),
                height: entry.height,
            };
            (
                issued,
                entry.sales.iter().map(|sale| sale.quantity.get()).sum(),
            )
        });
        let candidates = state.pending.iter().flat_map(|pending| &pending.candidates);
        Books {
            lines: lines.collect(),
            candidates: candidates
                .clone()
                .map(|one| (one.issue.quantity().get(), one.issue.sequence()))
                .collect(),
            sales: candidates.last().map_or(0, |last| last.sales),
            accounted: state.accounted().map(Napu::get),
        }
    }

    /// Whether the folder has this `Issue`, in its ledger or in flight.
    fn knows(&self, issue: &Issued) -> bool {
        self.lines.iter().any(|(line, _)| line == issue)
            || self.candidates.contains(&(issue.quantity, issue.sequence))
    }
}

/// The folders that were read before.
#[derive(Default)]
pub struct Reader {
    read: HashMap<u64, Result<Books, String>>,
}

impl Reader {
    /// What the folder on this disk says.
    pub fn books(&mut self, stage: &Stage, world: &World, disk: &Disk) -> Result<Books, String> {
        let read = self.read.entry(hash_of(disk)).or_insert_with(|| {
            let world = World {
                disk: disk.clone(),
                ..world.clone()
            };
            let state = stage.first.state(&world);
            state
                .map(|state| Books::new(&state))
                .map_err(|error| chain(&error))
        });
        read.clone()
    }

    /// The `Issue`s that the first host's folder knows nothing of.
    pub fn unknown(&mut self, stage: &Stage, situation: &Situation) -> Result<Vec<Issued>, String> {
        let world = &situation.world;
        let books = self.books(stage, world, &world.disk)?;
        let mut issues = world.chain.issues();
        issues.retain(|issue| !books.knows(issue));
        Ok(issues)
    }

    /// What must hold in every situation.
    pub fn always(&mut self, stage: &Stage, situation: &Situation) -> Result<(), String> {
        let world = &situation.world;
        let used = world.chain.used();
        if used.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(format!("a sequence is used twice: {used:?}"));
        }
        let issues = world.chain.issues();
        let ours: Vec<u64> = issues
            .iter()
            .map(|one| one.quantity)
            .filter(|one| *one != FOREIGN)
            .collect();
        issued_once(world, &ours).map_err(|what| format!("the chain: {what}"))?;
        let hosts = [Some(&world.disk), situation.second.as_deref()];
        for disk in hosts.into_iter().flatten() {
            let books = self.books(stage, world, disk)?;
            for (line, sales) in &books.lines {
                if line.quantity != *sales {
                    return Err(format!("{line:?} is in the ledger for sales of {sales}"));
                }
                if !issues.contains(line) {
                    return Err(format!("{line:?} is in the ledger, and not on the chain"));
                }
            }
            let lines: Vec<u64> = books.lines.iter().map(|(line, _)| line.quantity).collect();
            issued_once(world, &lines).map_err(|what| format!("a ledger: {what}"))?;
        }
        Ok(())
    }
}

/// Whether these quantities are for our sales, and for none twice.
pub fn issued_once(world: &World, quantities: &[u64]) -> Result<(), String> {
    let sales: Vec<u64> = world.exchange.sales().map(|sale| sale.napu).collect();
    let sold: u64 = sales.iter().sum();
    if quantities.iter().sum::<u64>() > sold {
        return Err(format!(
            "{quantities:?} are issued for {sales:?}: more than was sold"
        ));
    }
    // Where each sale is another power of two, a quantity says which sales it is for.
    let are_bits = sales.iter().all(|sale| sale.is_power_of_two())
        && sold.count_ones() as usize == sales.len();
    let mut issued = 0;
    for quantity in quantities.iter().filter(|_| are_bits) {
        if issued & quantity != 0 || quantity & !sold != 0 {
            return Err(format!("{quantities:?} are issued for {sales:?}"));
        }
        issued |= quantity;
    }
    Ok(())
}

/// What must hold of how a run ended.
pub fn ended_well(twist: Option<Twist>, played: &Played) -> Result<(), String> {
    if let Some(other) = &played.other {
        ended_well(None, other).map_err(|what| format!("the other host: {what}"))?;
    }
    let world = &played.after.world;
    let issues = world.chain.issues();
    let is_live = |(quantity, sequence): &(u64, u64)| {
        world.chain.is_waiting(*quantity, *sequence)
            || issues
                .iter()
                .any(|one| one.numbers() == (*quantity, *sequence))
    };
    let some_live = played.submitted.iter().any(is_live);
    let in_doubt = played
        .left
        .is_some_and(|left| played.submitted.contains(&left));
    let is_broken = matches!(twist, Some(Twist::Trouble(trouble)) if trouble.then == Then::Fails);
    let (fits, how) = match &played.ended.result {
        None => (true, String::new()),
        Some(Ok(outcome)) => (played.left.is_none(), format!("{outcome:?}")),
        Some(Err(error)) => {
            let fits = match error.exit() {
                // Nothing irreversible happened.
                Exit::Unavailable => !in_doubt && !some_live,
                Exit::Refused => !some_live,
                Exit::InDoubt => played.left.is_some(),
                Exit::Disk => is_broken,
                Exit::BadData => !in_doubt,
                // The clock.
                Exit::Config => {
                    played.submitted.is_empty() && world.clock.true_ms() != world.clock.wall_ms
                }
                Exit::Bug | Exit::Usage | Exit::Done => false,
            };
            (fits, format!("{:?}: {}", error.exit(), chain(error)))
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!("a run ends with {how}"))
    }
}

impl Issued {
    /// Whether somebody else issued it.
    pub fn is_foreign(&self) -> bool {
        self.quantity == FOREIGN
    }
}

impl Situation {
    /// How much of what was sold and is shown is not issued.
    pub fn missing(&self) -> u64 {
        let issues = self.world.chain.issues().into_iter();
        let issued: u64 = issues.map(|one| one.quantity % FOREIGN).sum();
        self.world.exchange.sold().saturating_sub(issued)
    }
}

/// Why a run may stop until a person helps; judged by what is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The chain has an `Issue` that the folder knows nothing of.
    Unknown,
    /// The index does not show what stands on the chain.
    Index,
    /// The hash of a single sale is taken.
    Taken,
    /// The hash was taken after the `Issue` was applied, so that the index shows the other transaction.
    Overwritten,
    /// The index shows a neighbour's body, and others issue.
    Neighbour,
}

impl Reader {
    /// Why the first host's runs may end with `exit` however often they are tried; an error if they may not.
    pub fn reason(
        &mut self,
        stage: &Stage,
        situation: &Situation,
        exit: Exit,
    ) -> Result<Reason, String> {
        let world = &situation.world;
        let books = self.books(stage, world, &world.disk)?;
        let unknown = self.unknown(stage, situation)?;
        if let Some(issue) = unknown.iter().find(|one| !one.is_foreign())
            && !situation.restored
            && situation.second.is_none()
        {
            return Err(format!("the only folder knows nothing of {issue:?}"));
        }
        let last = books.candidates.last().copied();
        let is_taken = last.is_some_and(|(quantity, sequence)| {
            world.chain.is_taken(quantity, sequence) && world.chain.sequence() < sequence
        });
        let issues = world.chain.issues();
        let applied = books.candidates.iter().find(|(quantity, sequence)| {
            issues
                .iter()
                .any(|one| one.numbers() == (*quantity, *sequence))
        });
        let is_applied = applied.is_some();
        let is_overwritten =
            applied.is_some_and(|(quantity, sequence)| world.chain.is_taken(*quantity, *sequence));
        match exit {
            Exit::BadData if last.is_none() && !unknown.is_empty() => Ok(Reason::Unknown),
            Exit::InDoubt | Exit::Unavailable if world.chain.index_hides() => Ok(Reason::Index),
            Exit::InDoubt if is_taken && books.sales == 1 => Ok(Reason::Taken),
            Exit::InDoubt if is_overwritten => Ok(Reason::Overwritten),
            Exit::InDoubt if !stage.sole_issuer && is_applied => Ok(Reason::Neighbour),
            Exit::InDoubt if last.is_some() && !unknown.is_empty() => Ok(Reason::Unknown),
            _ => Err(format!("nothing explains {exit:?}")),
        }
    }

    /// What must hold once a run has found nothing new.
    pub fn in_the_end(&mut self, stage: &Stage, situation: &Situation) -> Result<(), String> {
        let world = &situation.world;
        let books = self.books(stage, world, &world.disk)?;
        let missing = situation.missing();
        if missing > 0 {
            return Err(format!("{missing} of what was sold are never issued"));
        }
        if !books.candidates.is_empty() {
            return Err("a batch is in flight".to_owned());
        }
        let unknown = self.unknown(stage, situation)?;
        let total = world.chain.total_issued();
        if stage.sole_issuer && books.accounted != Some(total)
            || unknown.iter().any(|one| !one.is_foreign())
        {
            return Err(format!("{unknown:?} are in no ledger, and nobody is told"));
        }
        Ok(())
    }
}
