//! The sweep: whatever goes wrong at any effect of a process, and again at any effect of those that follow, everything that
//! was sold is issued exactly once in the end, and nobody had to help.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::scenario::{self, Scenario};
use crate::syncs;
use crate::world::{Effect, Issued, Loss, Office, Plan, Then, Trouble, World};
use bitmart_issuer::args::From;
use bitmart_issuer::error::{Error, Exit, chain};
use bitmart_issuer::exchange::TradeId;
use bitmart_issuer::ndau::Issue;
use bitmart_issuer::report::{Outcome, Report};
use bitmart_issuer::resolve::word;
use bitmart_issuer::run::Resolved;
use bitmart_issuer::sales::Start;
use bitmart_issuer::state::{Entry, State, Verdict};

/// So many processes without trouble must be enough.
const ENOUGH: usize = 8;

/// How long a host can be down.
const A_WHILE_MS: u64 = 60_000;

/// What is started next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// `init`, from the last trade that there is.
    Init,
    Run,
    /// A person decides what is true.
    Resolve,
}

/// A world, and what was reported as issued on the way to it by runs that ended well: an operator adds these up.
#[derive(Debug, Clone, Hash)]
struct Tale {
    world: World,
    next: Command,
    reported: Vec<Issue>,
}

impl Tale {
    /// A run that ended well reports an `Issue`.
    fn report(&mut self, report: &Report) -> Result<(), String> {
        let issue = report.issue.ok_or("a report without its Issue")?;
        if self.reported.contains(&issue) {
            return Err(format!("{} is reported twice", issue.hash()));
        }
        self.reported.push(issue);
        Ok(())
    }
}

/// How a process ended.
enum End {
    Died,
    /// It found nothing to do.
    Calm,
    Then(Command),
    Failed(Error),
}

impl End {
    fn of<T>(result: Option<Result<T, Error>>, done: impl FnOnce(T) -> End) -> End {
        match result {
            None => End::Died,
            Some(Ok(outcome)) => done(outcome),
            Some(Err(error)) => End::Failed(error),
        }
    }
}

/// What a process did, and whether there is nothing more to do.
struct Step {
    effects: Vec<Effect>,
    /// The worlds that it would have left had it died.
    deaths: Vec<(Trouble, World)>,
    calm: bool,
}

/// What went wrong, in which run, and what was lost then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    trouble: Option<Trouble>,
    effect: Option<Effect>,
    loss: Loss,
}

impl Crash {
    fn new(trouble: Option<(Trouble, &Effect)>, loss: Loss) -> Crash {
        Crash {
            trouble: trouble.map(|(trouble, _)| trouble),
            effect: trouble.map(|(_, effect)| effect.clone()),
            loss,
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.trouble, &self.effect) {
            (Some(trouble), Some(effect)) => write!(f, "{trouble} ({effect}); {}", self.loss),
            _ => write!(f, "the run ends; {}", self.loss),
        }
    }
}

/// A way to an end that must not be.
#[derive(Debug)]
pub struct Failure {
    pub scenario: &'static str,
    pub crashes: Vec<Crash>,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scenario)?;
        for crash in &self.crashes {
            write!(f, "\n  {crash}")?;
        }
        write!(f, "\n  => {}", self.what)
    }
}

/// The sweep of one scenario.
pub struct Sweep<'a> {
    office: &'a Office,
    scenario: Scenario,
    /// The syncs that do nothing.
    ignored: &'a [&'a str],
    /// Tales that were found to end well.
    calm: HashSet<u64>,
    /// Tales whose next run was swept, with how many crashes were to follow.
    swept: HashSet<(u64, usize)>,
    /// The places of the program that sync.
    pub sites: BTreeSet<String>,
    /// How many crash points there were, by how many crashes came before.
    pub points: [u64; 2],
    /// How many processes were run.
    pub processes: u64,
}

impl<'a> Sweep<'a> {
    pub fn new(office: &'a Office, scenario: Scenario) -> Sweep<'a> {
        Sweep {
            office,
            scenario,
            ignored: &[],
            calm: HashSet::new(),
            swept: HashSet::new(),
            sites: BTreeSet::new(),
            points: [0; 2],
            processes: 0,
        }
    }

    /// With syncs that do nothing.
    pub fn ignoring(self, ignored: &'a [&'a str]) -> Sweep<'a> {
        Sweep { ignored, ..self }
    }

    /// Crashes so many times in all ways.
    pub fn sweep(&mut self, crashes: usize) -> Result<(), Failure> {
        let tale = Tale {
            world: (self.scenario.start)(self.office),
            next: self.scenario.first,
            reported: Vec::new(),
        };
        self.crash(tale, crashes, &mut Vec::new())
    }

    /// The next process.
    fn step(
        &mut self,
        tale: &mut Tale,
        trouble: Option<Trouble>,
        deaths: bool,
    ) -> Result<Step, String> {
        self.processes += 1;
        let plan = Plan {
            trouble,
            deaths,
            ignored: self.ignored,
            ..Plan::default()
        };
        let (office, world) = (self.office, &mut tale.world);
        let (effects, deaths, end) = match tale.next {
            Command::Init => {
                let from = From::Start(Start::Trade(world.exchange.trades[0].id));
                let ended = office.init(world, from, plan);
                let end = End::of(ended.result, |_| End::Then(Command::Run));
                (ended.effects, ended.deaths, end)
            }
            Command::Run => {
                let ended = office.run(world, plan);
                if let Some(Ok(Outcome::Issued | Outcome::Settled)) = ended.result {
                    tale.report(&ended.report)?;
                }
                let end = End::of(ended.result, |outcome| match outcome {
                    Outcome::NothingNew => End::Calm,
                    _ => End::Then(Command::Run),
                });
                (ended.effects, ended.deaths, end)
            }
            Command::Resolve => {
                let choice = true_choice(office, world);
                let ended = office.resolve(world, choice.as_deref(), plan);
                let end = End::of(ended.result, |_| End::Then(Command::Run));
                (ended.effects, ended.deaths, end)
            }
        };
        let syncs = effects.iter().filter(|effect| effect.is_sync());
        self.sites.extend(syncs.map(Effect::to_string));
        let calm = matches!(end, End::Calm);
        match end {
            End::Died | End::Calm => {}
            End::Then(next) => tale.next = next,
            End::Failed(error) => {
                let disturbed = trouble.is_some_and(|trouble| trouble.then == Then::Fails);
                let needs_a_person = matches!(error.exit(), Exit::InDoubt | Exit::BadData)
                    || matches!(error, Error::IndexBehind { .. });
                match (tale.next, error.exit()) {
                    (Command::Run, _) if self.scenario.person && needs_a_person => {
                        tale.next = Command::Resolve;
                    }
                    (_, Exit::Unavailable | Exit::InDoubt) => {}
                    (_, Exit::Disk) if disturbed => {}
                    // What cannot be looked at is no choice.
                    (Command::Resolve, Exit::Usage) if disturbed => {}
                    (_, exit) => return Err(format!("{exit:?}: {}", chain(&error))),
                }
            }
        }
        Ok(Step {
            effects,
            deaths,
            calm,
        })
    }

    fn failure(&self, crashes: &[Crash], what: String) -> Failure {
        Failure {
            scenario: self.scenario.name,
            crashes: crashes.to_vec(),
            what,
        }
    }

    /// In each run from this tale on, until it is calm, everything goes wrong that can.
    fn crash(
        &mut self,
        mut tale: Tale,
        crashes: usize,
        before: &mut Vec<Crash>,
    ) -> Result<(), Failure> {
        for _ in 0..ENOUGH {
            if !self.swept.insert((number(&tale), crashes)) {
                return Ok(());
            }
            let mut clean = tale.clone();
            let step = self.step(&mut clean, None, true);
            let step = step.map_err(|what| self.failure(before, what))?;
            for (trouble, world) in step.deaths {
                let effect = &step.effects[trouble.at];
                let dead = Tale {
                    world,
                    ..tale.clone()
                };
                self.lose(&dead, Some((trouble, effect)), crashes, before)?;
            }
            for (at, effect) in step.effects.iter().enumerate() {
                // A question that is not answered costs a run of its own to try: once is enough.
                if !before.is_empty() && !effect.changes_something() {
                    continue;
                }
                for extent in effect.extents() {
                    let trouble = Trouble {
                        at,
                        extent: *extent,
                        then: Then::Fails,
                    };
                    let mut disturbed = tale.clone();
                    let result = self.step(&mut disturbed, Some(trouble), false);
                    result.map_err(|what| {
                        let loss = Loss::Nothing;
                        before.push(Crash::new(Some((trouble, effect)), loss));
                        self.failure(before, what)
                    })?;
                    self.lose(&disturbed, Some((trouble, effect)), crashes, before)?;
                }
            }
            self.lose(&clean, None, crashes, before)?;
            tale = clean;
            if step.calm {
                return Ok(());
            }
        }
        Err(self.failure(before, format!("it is not calm after {ENOUGH} processes")))
    }

    /// All that may be lost after this.
    fn lose(
        &mut self,
        tale: &Tale,
        trouble: Option<(Trouble, &Effect)>,
        crashes: usize,
        before: &mut Vec<Crash>,
    ) -> Result<(), Failure> {
        for (loss, world) in tale.world.losses() {
            self.points[before.len()] += 1;
            before.push(Crash::new(trouble, loss));
            let lost = Tale {
                world,
                ..tale.clone()
            };
            let mut later = lost.clone();
            later.world.pass(A_WHILE_MS);
            self.end(lost.clone())
                .and_then(|()| self.end(later))
                .map_err(|what| self.failure(before, what))?;
            if crashes > 1 {
                self.crash(lost, crashes - 1, before)?;
            }
            before.pop();
        }
        Ok(())
    }

    /// Runs until it is calm, with nothing going wrong any more.
    fn end(&mut self, mut tale: Tale) -> Result<(), String> {
        let mut way = Vec::new();
        for _ in 0..ENOUGH {
            let number = number(&tale);
            if self.calm.contains(&number) {
                self.calm.extend(way);
                return Ok(());
            }
            way.push(number);
            if self.step(&mut tale, None, false)?.calm {
                self.exactly_once(&tale.world)?;
                if !tale.world.disk.is_durable() {
                    for (loss, world) in tale.world.losses() {
                        let lost = Tale {
                            world,
                            ..tale.clone()
                        };
                        self.still(lost)
                            .map_err(|what| format!("at rest {loss}: {what}"))?;
                    }
                }
                self.calm.extend(way);
                return Ok(());
            }
        }
        Err(format!("it is not calm after {ENOUGH} processes"))
    }

    fn exactly_once(&self, world: &World) -> Result<(), String> {
        let state = self.office.state(world).map_err(|error| chain(&error))?;
        if self.scenario.person && state.ledger.decisions().is_empty() {
            return Err("what a person decided is not on record".to_owned());
        }
        exactly_once(&state, world)
    }

    /// One more run finds nothing to do.
    fn still(&mut self, mut tale: Tale) -> Result<(), String> {
        if self.step(&mut tale, None, false)?.calm {
            self.exactly_once(&tale.world)
        } else {
            Err("a run that should find nothing found something".to_owned())
        }
    }
}

/// The scenario of that name, swept.
pub fn exactly_once_after(name: &str) {
    let mut scenarios = scenario::ALL.iter();
    let scenario = scenarios.find(|scenario| scenario.name == name).unwrap();
    let office = Office::new();
    let mut sweep = Sweep::new(&office, *scenario);
    let result = sweep.sweep(2);
    let [once, twice] = sweep.points;
    println!(
        "sweep: {name}: {once} crash points, {twice} double crashes, {} processes",
        sweep.processes
    );
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let known: Vec<&str> = syncs::PLACES
        .iter()
        .flat_map(|place| place.syncs)
        .copied()
        .collect();
    let strange: Vec<&String> = sweep
        .sites
        .iter()
        .filter(|site| !known.contains(&site.as_str()))
        .collect();
    assert!(strange.is_empty(), "not in the table of syncs: {strange:?}");
}

fn number(tale: &Tale) -> u64 {
    let mut hasher = DefaultHasher::new();
    tale.hash(&mut hasher);
    hasher.finish()
}

/// What a person would decide who knows everything.
fn true_choice(office: &Office, world: &World) -> Option<String> {
    let case = office.resolve(&mut world.clone(), None, Plan::default());
    let Some(Ok(Resolved::Open(case))) = case.result else {
        return None;
    };
    let issues = world.chain.issues();
    let is_issued = |issue: &Issue| {
        issues
            .iter()
            .any(|one| (one.quantity, one.sequence) == (issue.quantity().get(), issue.sequence()))
    };
    let is_used = |sequence: u64| issues.iter().any(|one| one.sequence == sequence);
    let choice = case.choices.iter().find(|choice| match choice {
        Verdict::Applied { issue, .. } | Verdict::Adopted { issue, .. } => is_issued(issue),
        Verdict::Never { sequence } => !is_used(*sequence),
        Verdict::Others { issued } => issued.is_zero() && issues.is_empty(),
        _ => false,
    });
    choice.map(word)
}

/// Everything sold is on the chain, and in the ledger, once; nothing is in flight; and the cursor knows.
fn exactly_once(state: &State, world: &World) -> Result<(), String> {
    let issues = world.chain.issues();
    let issued: u64 = issues.iter().map(|issue| issue.quantity).sum();
    let sold = world.exchange.sold();
    if issued != sold {
        return Err(format!("{sold} napu were sold, {issued} were issued"));
    }
    let lines = state.ledger.entries();
    let on_the_chain = |line: &Entry| Issued {
        quantity: line.issue.quantity().get(),
        sequence: line.issue.sequence(),
        height: line.height,
    };
    if lines.iter().map(on_the_chain).ne(issues.iter().copied()) {
        return Err(format!(
            "the ledger has {lines:?}, the chain has {issues:?}"
        ));
    }
    let written = lines.iter().flat_map(|line| &line.sales);
    let mut written: Vec<TradeId> = written.map(|sale| sale.id).collect();
    let sales = world.exchange.sales().map(|sale| TradeId {
        trade: sale.id,
        order: sale.order,
    });
    let mut sales: Vec<TradeId> = sales.collect();
    written.sort_unstable();
    sales.sort_unstable();
    if written != sales {
        return Err(format!("the ledger has {written:?}, sold were {sales:?}"));
    }
    if state.pending.is_some() {
        return Err("a batch is still in flight".to_owned());
    }
    let at = state.cursor.at.as_ref().ok_or("the cursor never moved")?;
    let newest = world
        .exchange
        .trades
        .iter()
        .map(|trade| trade.time_ms)
        .max();
    if newest.is_some_and(|newest| at.time_ms < newest) {
        return Err("the cursor is behind the newest trade".to_owned());
    }
    Ok(())
}
