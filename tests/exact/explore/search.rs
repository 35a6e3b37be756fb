//! The search: every situation that can be reached with so many disturbances, each once, those with fewer first.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::claims::{Reader, Reason, ended_well};
use super::peace::{Ends, Peace};
use super::play::{Played, Stage, Twist};
use super::situation::{Event, Host, Situation, can_happen, hash_of};
use crate::world::{Effect, Extent, Surprise, Then, Trouble};

/// What can happen in an exploration.
#[derive(Debug, Clone, Copy)]
pub struct Menu {
    /// Processes die, and if `power`, what was not synced is lost in every way.
    pub crashes: bool,
    pub power: bool,
    /// An effect fails: a request or an answer is lost, the signer refuses, the disk breaks.
    pub failures: bool,
    pub surprises: &'static [Surprise],
    /// What happens before each effect of a run.
    pub within: &'static [Event],
    /// What happens between runs.
    pub between: &'static [Event],
    /// The other host runs before each effect.
    pub others: bool,
}

/// How an event counts: what is bound to happen, or ends a disturbance, is none.
fn cost(event: Event) -> usize {
    match event {
        Event::Pass(_)
        | Event::Sale
        | Event::Late
        | Event::IndexMended
        | Event::ClockRight
        | Event::Copy
        | Event::Backup => 0,
        Event::Sequence
        | Event::SequenceInBlock
        | Event::HashTaken
        | Event::ForeignIssue
        | Event::IndexLost
        | Event::IndexStalls
        | Event::SlowCommit
        | Event::ClockBack(_)
        | Event::Restore => 1,
    }
}

/// From one situation to the next.
#[derive(Debug, Clone)]
enum Step {
    Start(usize),
    Event(Event),
    Run {
        host: Host,
        twist: Option<Twist>,
        /// Where the process died, unless that was the twist, and what was lost.
        death: Option<usize>,
        loss: String,
    },
}

/// No way that ends is nearly as long.
const DEEPEST: usize = 100;
/// How many steps of a way are shown at each of its ends.
const SHOWN: usize = 12;

/// A claim that does not hold, and the way there.
#[derive(Debug)]
pub struct Violation {
    pub path: Vec<String>,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a long way begins with and ends with tells enough.
        let left_out = self.path.len().saturating_sub(2 * SHOWN);
        for (at, step) in self.path.iter().enumerate() {
            if left_out == 0 || at < SHOWN || at >= SHOWN + left_out {
                writeln!(f, "  {step}")?;
            } else if at == SHOWN {
                writeln!(f, "  … ({left_out} more)")?;
            }
        }
        write!(f, "  => {}", self.what)
    }
}

/// How much was seen.
#[derive(Debug, Default)]
pub struct Counts {
    pub between: usize,
    pub inside: usize,
    pub runs: usize,
    pub depth: usize,
    /// The situations by the fewest disturbances that lead to them.
    pub spent: Vec<usize>,
    /// The situations that need a person, by what for.
    pub helped: BTreeMap<Reason, usize>,
    pub stuck: usize,
    /// How many there was no time to go on from.
    pub left: usize,
    pub took: Duration,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states ({} between runs, by disturbances {:?}; {} in runs), {} runs, depth {}, {} s; a person is needed for \
             {:?}",
            self.between + self.inside,
            self.between,
            self.spent,
            self.inside,
            self.runs,
            self.depth,
            self.took.as_secs(),
            self.helped,
        )?;
        if self.stuck > 0 {
            write!(f, ", and is not offered what is true in {}", self.stuck)?;
        }
        if self.left > 0 {
            write!(f, "; {} were left", self.left)?;
        }
        Ok(())
    }
}

pub struct Search<'a> {
    stage: &'a Stage,
    menu: Menu,
    /// How many disturbances a path can have.
    bound: usize,
    reader: Reader,
    /// How each situation was come to.
    steps: Vec<(usize, Step, usize)>,
    /// The fewest disturbances that each situation was come to with.
    known: HashMap<u64, usize>,
    /// The same by plain equality, to be quick.
    met: HashMap<u64, usize>,
    ends: Ends<'a>,
    inside: HashSet<u64>,
    /// What is to be gone on with, by the number of disturbances.
    open: Vec<VecDeque<(usize, u64, Situation)>>,
    begun: Instant,
    within: Duration,
    counts: Counts,
}

impl<'a> Search<'a> {
    pub fn new(stage: &'a Stage, menu: Menu, bound: usize, within: Duration) -> Search<'a> {
        Search {
            stage,
            menu,
            bound,
            reader: Reader::default(),
            steps: Vec::new(),
            known: HashMap::new(),
            met: HashMap::new(),
            ends: Ends::new(stage),
            inside: HashSet::new(),
            open: (0..=bound).map(|_| VecDeque::new()).collect(),
            begun: Instant::now(),
            within,
            counts: Counts::default(),
        }
    }

    /// Everything from these situations on.
    pub fn explore(mut self, starts: Vec<Situation>) -> Result<Counts, Violation> {
        for (number, start) in starts.into_iter().enumerate() {
            self.enter(0, Step::Start(number), start, 0)?;
        }
        for spent in 0..=self.bound {
            while let Some((id, key, situation)) = self.open[spent].pop_front() {
                if self.begun.elapsed() > self.within {
                    self.counts.left += 1;
                    continue;
                }
                if self.known[&key] == spent {
                    self.expand(id, key, &situation, spent)?;
                }
            }
        }
        self.counts.between = self.known.len();
        self.counts.inside = self.inside.len();
        self.counts.spent = vec![0; self.bound + 1];
        for spent in self.known.values() {
            self.counts.spent[*spent] += 1;
        }
        self.counts.runs += self.ends.runs;
        for peace in self.known.keys().filter_map(|key| self.ends.get(*key)) {
            match peace {
                Peace::Calm => {}
                Peace::Helped(reason) => *self.counts.helped.entry(reason).or_default() += 1,
                Peace::Stuck => self.counts.stuck += 1,
            }
        }
        self.counts.took = self.begun.elapsed();
        Ok(self.counts)
    }

    fn violation(&self, from: usize, step: &Step, what: String) -> Violation {
        let mut path = vec![describe(step)];
        let mut at = from;
        while let Some((before, step, _)) = self.steps.get(at) {
            path.push(describe(step));
            if matches!(step, Step::Start(_)) {
                break;
            }
            at = *before;
        }
        path.reverse();
        Violation { path, what }
    }

    /// Notes a situation; what is new must keep its promises, and is gone on with.
    fn enter(
        &mut self,
        from: usize,
        step: Step,
        situation: Situation,
        spent: usize,
    ) -> Result<(), Violation> {
        let raw = hash_of(&situation);
        if self.met.get(&raw).is_some_and(|before| *before <= spent) {
            return Ok(());
        }
        self.met.insert(raw, spent);
        let key = situation.key();
        let before = self.known.get(&key).copied();
        if before.is_some_and(|before| before <= spent) {
            return Ok(());
        }
        self.known.insert(key, spent);
        if before.is_none() {
            let held = self.reader.always(self.stage, &situation);
            let held = held.and_then(|()| self.ends.are_good(&mut self.reader, &situation));
            held.map_err(|what| self.violation(from, &step, what))?;
        }
        let depth = match (&step, self.steps.get(from)) {
            (Step::Start(_), _) | (_, None) => 0,
            (_, Some((_, _, depth))) => depth + 1,
        };
        if depth > DEEPEST {
            let what = "every run leaves another situation, without end".to_owned();
            return Err(self.violation(from, &step, what));
        }
        self.counts.depth = self.counts.depth.max(depth);
        let id = self.steps.len();
        self.steps.push((from, step, depth));
        if spent < self.bound {
            self.open[spent].push_back((id, key, situation));
            Ok(())
        } else {
            // The last ones are too many to be kept.
            self.expand(id, key, &situation, spent)
        }
    }

    /// Every step from here.
    fn expand(
        &mut self,
        id: usize,
        key: u64,
        situation: &Situation,
        spent: usize,
    ) -> Result<(), Violation> {
        for event in self.menu.between {
            let spent = spent + cost(*event);
            if spent <= self.bound
                && let Some(after) = situation.after(*event)
            {
                self.enter(id, Step::Event(*event), after, spent)?;
            }
        }
        self.runs(id, key, situation, Host::First, spent)?;
        if situation.second.is_some() {
            self.runs(id, key, situation, Host::Second, spent)?;
        }
        Ok(())
    }

    /// Every run of this host from here.
    fn runs(
        &mut self,
        id: usize,
        key: u64,
        situation: &Situation,
        host: Host,
        spent: usize,
    ) -> Result<(), Violation> {
        let plain = self.run(id, key, situation, host, None, spent)?;
        if spent == self.bound {
            return Ok(());
        }
        for twist in self.twists(situation, &plain) {
            self.run(id, key, situation, host, Some(twist), spent + 1)?;
        }
        Ok(())
    }

    /// One run, and what it can lead to; the effects that it had.
    fn run(
        &mut self,
        id: usize,
        key: u64,
        situation: &Situation,
        host: Host,
        twist: Option<Twist>,
        spent: usize,
    ) -> Result<Vec<Effect>, Violation> {
        let is_watched = self.menu.crashes && spent < self.bound;
        let played = self.stage.run(situation, host, twist, is_watched);
        self.counts.runs += 1;
        for moment in &played.inside {
            self.inside.insert(hash_of(&(key, host, moment)));
        }
        let step = |death, loss| Step::Run {
            host,
            twist,
            death,
            loss,
        };
        let Played {
            after,
            ended,
            moments,
            ..
        } = &played;
        ended_well(twist, &played)
            .map_err(|what| self.violation(id, &step(None, String::new()), what))?;
        match ended.result {
            Some(_) => self.enter(id, step(None, String::new()), after.clone(), spent)?,
            None => self.crash(id, &|loss| step(None, loss), after, host, spent)?,
        }
        for (at, moment) in moments {
            self.crash(id, &|loss| step(Some(*at), loss), moment, host, spent + 1)?;
        }
        Ok(played.ended.effects)
    }

    /// The process died here, and whatever can be lost is lost.
    fn crash(
        &mut self,
        id: usize,
        step: &dyn Fn(String) -> Step,
        moment: &Situation,
        host: Host,
        spent: usize,
    ) -> Result<(), Violation> {
        let losses = self.stage.losses(moment, host).into_iter();
        let losses = losses.take(if self.menu.power { usize::MAX } else { 1 });
        for (loss, lost) in losses {
            self.enter(id, step(loss), lost, spent)?;
        }
        Ok(())
    }

    /// What can go otherwise in a run with these effects.
    fn twists(&self, situation: &Situation, effects: &[Effect]) -> Vec<Twist> {
        let menu = self.menu;
        let mut twists = Vec::new();
        for (at, effect) in effects.iter().enumerate() {
            for extent in effect.extents() {
                let trouble = |then| {
                    Twist::Trouble(Trouble {
                        at,
                        extent: *extent,
                        then,
                    })
                };
                // Before and after an effect a process dies as it does between two of them.
                if menu.crashes && *extent == Extent::Half {
                    twists.push(trouble(Then::Dies));
                }
                if menu.failures {
                    twists.push(trouble(Then::Fails));
                }
            }
        }
        if effects.contains(&Effect::Submit) {
            twists.extend(menu.surprises.iter().map(|one| Twist::Surprise(*one)));
        }
        for (at, _) in effects.iter().enumerate() {
            for event in menu.within {
                twists.push(Twist::Event(at, *event));
            }
            if menu.others && situation.second.is_some() {
                for stops in [false, true] {
                    for sale in [false, true] {
                        if !sale || can_happen(Event::Sale, &situation.world, situation.coming) {
                            twists.push(Twist::OtherHost { at, sale, stops });
                        }
                    }
                }
            }
        }
        twists
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Start(number) => format!("start {number}"),
        Step::Event(event) => format!("{event:?}"),
        Step::Run {
            host,
            twist,
            death,
            loss,
        } => {
            let mut text = format!("{host:?} host runs");
            if let Some(twist) = twist {
                text += &format!("; {twist}");
            }
            if let Some(at) = death {
                text += &format!("; it dies before effect {at}");
            }
            if !loss.is_empty() {
                text += &format!("; {loss}");
            }
            text
        }
    }
}
