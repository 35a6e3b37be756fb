//! One real run from one situation to the next, with at most one thing that goes otherwise.

use std::cell::{Cell, RefCell};
use std::fmt;

use super::situation::{Event, Host, Situation, can_happen, happen, hash_of, in_flight};
use crate::world::{Disk, Effect, Ended, Extent, Office, Plan, Surprise, Then, Trouble, World};

/// What goes otherwise in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    /// An effect fails, or the process dies in the middle of it.
    Trouble(Trouble),
    /// Something happens to the submission.
    Surprise(Surprise),
    /// Something happens just before the effect of this number.
    Event(usize, Event),
    /// The other host makes its whole run just before the effect of this number, perhaps knowing of one sale more; if it
    /// `stops`, only until its submission waits for a block.
    OtherHost { at: usize, sale: bool, stops: bool },
}

impl fmt::Display for Twist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Twist::Trouble(trouble) => trouble.fmt(f),
            Twist::Surprise(surprise) => write!(f, "the submission meets {surprise:?}"),
            Twist::Event(at, event) => write!(f, "before effect {at}, {event:?}"),
            Twist::OtherHost { at, sale, stops } => write!(
                f,
                "before effect {at}{}, the other host runs{}",
                if *sale { " and after a sale" } else { "" },
                if *stops {
                    " until its submission waits"
                } else {
                    ""
                }
            ),
        }
    }
}

/// What is broken on purpose, so that it can be seen that this is noticed.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// Done to the world before each effect.
    pub always: fn(&mut World, &Effect),
    /// Done to the disk when the process dies.
    pub crash: fn(&mut Disk),
}

/// What a run did.
pub struct Played {
    pub after: Situation,
    pub ended: Ended,
    /// The numbers of what was submitted, or was about to be.
    pub submitted: Vec<(u64, u64)>,
    /// The numbers of the newest candidate that it left in flight.
    pub left: Option<(u64, u64)>,
    /// What was before an effect, for each effect that the one before it, or time, changed something for.
    pub moments: Vec<(usize, Situation)>,
    /// The run of the other host in the middle of it.
    pub other: Option<Box<Played>>,
    /// How many moments there were, and what tells each apart from all others.
    pub inside: Vec<u64>,
}

/// What is common to the runs of one exploration: the two hosts' own files, and what is broken.
pub struct Stage {
    pub first: Office,
    pub second: Office,
    /// Whether nobody else issues, as far as they are told.
    pub sole_issuer: bool,
    mutant: Option<Mutant>,
}

impl Stage {
    pub fn new() -> Stage {
        Stage {
            first: Office::new(),
            second: Office::new(),
            sole_issuer: true,
            mutant: None,
        }
    }

    pub fn where_others_issue() -> Stage {
        Stage {
            first: Office::where_others_issue(),
            second: Office::where_others_issue(),
            sole_issuer: false,
            mutant: None,
        }
    }

    pub fn broken(mutant: Mutant) -> Stage {
        Stage {
            mutant: Some(mutant),
            ..Stage::new()
        }
    }

    fn office(&self, host: Host) -> &Office {
        match host {
            Host::First => &self.first,
            Host::Second => &self.second,
        }
    }

    /// One run of a host. From the twist on it is noted what a process that dies leaves behind, if that `is_watched`.
    pub fn run(
        &self,
        from: &Situation,
        host: Host,
        twist: Option<Twist>,
        is_watched: bool,
    ) -> Played {
        let mut situation = from.clone();
        if host == Host::Second {
            situation.swap();
        }
        let mut played = self.run_here(situation, host, twist, is_watched);
        if host == Host::Second {
            played.after.swap();
            played
                .moments
                .iter_mut()
                .for_each(|(_, moment)| moment.swap());
        }
        played
    }

    fn run_here(
        &self,
        situation: Situation,
        host: Host,
        twist: Option<Twist>,
        is_watched: bool,
    ) -> Played {
        let mut world = situation.world.clone();
        let commit_ms = world.chain.commit_ms;
        let (mut trouble, mut from) = (None, 0);
        match twist {
            Some(Twist::Trouble(one)) => (trouble, from) = (Some(one), one.at + 1),
            Some(Twist::Surprise(surprise)) => world.chain.surprises.push_back(surprise),
            Some(Twist::Event(at, _) | Twist::OtherHost { at, .. }) => from = at,
            None => {}
        }
        // What of the situation is not in the world that the run sees.
        let rest = RefCell::new(situation);
        let (other, submitted) = (RefCell::new(None), RefCell::new(Vec::new()));
        let (moments, inside) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let (seen, last) = (Cell::new(0), RefCell::new(None::<(Effect, u64)>));
        let meanwhile = |world: &mut World, number: usize, effect: &Effect| {
            if let Some(mutant) = self.mutant {
                (mutant.always)(world, effect);
            }
            match twist {
                Some(Twist::Event(at, event)) if at == number => {
                    let coming = rest.borrow().coming;
                    if can_happen(event, world, coming) {
                        happen(event, world);
                    }
                }
                Some(Twist::OtherHost { at, sale, stops }) if at == number => {
                    let mut rest = rest.borrow_mut();
                    *other.borrow_mut() = self.other_host(world, &mut rest, host, sale, stops);
                }
                _ => {}
            }
            if *effect == Effect::Submit {
                submitted.borrow_mut().extend(in_flight(&world.disk));
            }
            if number < from {
                return;
            }
            let changed = match &*last.borrow() {
                Some((Effect::Ask(_) | Effect::Sign, elapsed_ms)) => {
                    *elapsed_ms != world.clock.elapsed_ms
                }
                Some(_) | None => true,
            };
            *last.borrow_mut() = Some((effect.clone(), world.clock.elapsed_ms));
            if changed {
                seen.set(hash_of(world));
                if is_watched {
                    let rest = rest.borrow();
                    let moment = Situation {
                        world: world.clone(),
                        ..rest.clone()
                    };
                    moments.borrow_mut().push((number, moment));
                }
            }
            inside.borrow_mut().push(hash_of(&(number, seen.get())));
        };
        let plan = Plan {
            trouble,
            meanwhile: Some(&meanwhile),
            ..Plan::default()
        };
        let ended = self.office(host).run(&mut world, plan);
        world.chain.commit_ms = commit_ms;
        world.chain.surprises.clear();
        let rest = rest.into_inner();
        Played {
            left: in_flight(&world.disk),
            after: Situation { world, ..rest },
            ended,
            submitted: submitted.into_inner(),
            moments: moments.into_inner(),
            other: other.into_inner(),
            inside: inside.into_inner(),
        }
    }

    /// The other host's run in the middle of this one's.
    fn other_host(
        &self,
        world: &mut World,
        rest: &mut Situation,
        host: Host,
        sale: bool,
        stops: bool,
    ) -> Option<Box<Played>> {
        let mut situation = Situation {
            world: world.clone(),
            ..rest.clone()
        };
        situation.swap();
        if sale {
            situation = situation.after(Event::Sale)?;
        }
        let other = match host {
            Host::First => Host::Second,
            Host::Second => Host::First,
        };
        let mut twist = None;
        if stops {
            let whole = self.run_here(situation.clone(), other, None, false);
            let submit = whole
                .ended
                .effects
                .iter()
                .position(|effect| *effect == Effect::Submit);
            twist = Some(Twist::Trouble(Trouble {
                at: submit?,
                extent: Extent::Half,
                then: Then::Dies,
            }));
        }
        let played = self.run_here(situation, other, twist, false);
        *rest = played.after.swapped();
        *world = rest.world.clone();
        Some(Box::new(played))
    }

    /// Every situation that this one can be after a crash of a host.
    pub fn losses(&self, moment: &Situation, host: Host) -> Vec<(String, Situation)> {
        let mut crashed = moment.clone();
        if host == Host::Second {
            crashed.swap();
        }
        let mut found = Vec::new();
        for (loss, mut disk) in crashed.world.disk.losses() {
            if let Some(mutant) = self.mutant {
                (mutant.crash)(&mut disk);
            }
            let mut lost = crashed.clone();
            lost.world.disk = disk;
            if host == Host::Second {
                lost.swap();
            }
            found.push((loss.to_string(), lost));
        }
        found
    }
}
