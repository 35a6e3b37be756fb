//! Every situation that a few disturbances can lead to, with the real runs as the steps from one to the next.
//!
//! A situation is everything that there is between two runs: the chain, the exchange, the clocks, one or two hosts' disks
//! and a backup. From each of them, every host runs; and so often as disturbances are left, it runs with each thing that can
//! go otherwise at each of its effects, dies at each of them, or something happens first. In every situation the claims of
//! `claims` hold; and from each, a host that is left in peace comes to an end in which everything that was sold is issued
//! once, with a person's help only where the truth says that nothing else will do.
//!
//! `EXPLORE_DEPTH=2` allows more disturbances on a path than each test does by itself, and `EXPLORE_MINUTES=10` ends each
//! search in time, whatever is left.

mod claims;
mod folders;
mod mutants;
mod peace;
mod play;
mod search;
mod situation;

use std::time::Duration;

use crate::world::{Office, Plan, Side, Surprise};
use play::{Mutant, Stage};
use search::{Counts, Menu, Search, Violation};
use situation::{Event, Situation};

/// What can become of a submission.
const SURPRISES: &[Surprise] = &[
    Surprise::TakenBefore,
    Surprise::TakenInBlock,
    Surprise::HashTaken,
    Surprise::Neighbour,
    // Within the time that a run looks, and beyond it.
    Surprise::CommitsLate(2_500),
    Surprise::CommitsLate(60_000),
    Surprise::Forgotten,
];

/// Nothing but time and trade.
const QUIET: Menu = Menu {
    crashes: false,
    power: false,
    failures: false,
    surprises: &[],
    within: &[],
    between: &[Event::Pass(2_500), Event::Sale, Event::Late],
    others: false,
};

/// A purchase among three sales, the second of which is not shown yet, and one more is to come.
fn first_run(stage: &Stage) -> Situation {
    let mut world = stage.first.world();
    world.sell(1);
    world.sell(2);
    world.exchange.trades[1].visible = false;
    world.trade(Side::Buy, 5);
    world.sell(4);
    Situation::new(world, 1)
}

/// The same after a run that has issued the first of them.
fn later_run(stage: &Stage) -> Situation {
    let mut world = stage.first.world();
    world.sell(1);
    stage.first.run(&mut world, Plan::default());
    world.pass(60_000);
    world.sell(2);
    world.exchange.trades[1].visible = false;
    world.trade(Side::Buy, 5);
    world.sell(4);
    Situation::new(world, 1)
}

/// One sale, and one to come.
fn single_sale(stage: &Stage) -> Situation {
    let mut world = stage.first.world();
    world.sell(1);
    Situation::new(world, 1)
}

/// Two sales of the same amount, and a second one after a run.
fn equal_sales(stage: &Stage) -> Situation {
    let mut world = stage.first.world();
    world.sell(3);
    stage.first.run(&mut world, Plan::default());
    world.pass(60_000);
    world.sell(3);
    world.sell(3);
    Situation::new(world, 0)
}

/// On a chain that never rests, and commits its blocks a while after they were executed.
fn busy(mut situation: Situation) -> Situation {
    situation.world.chain.busy = true;
    situation.world.chain.commit_ms = 700;
    situation
}

/// A number from the environment.
fn asked(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn search(
    stage: &Stage,
    menu: Menu,
    bound: usize,
    starts: Vec<Situation>,
) -> Result<Counts, Violation> {
    let minutes = asked("EXPLORE_MINUTES").unwrap_or(usize::MAX / 60);
    let within = Duration::from_secs(minutes as u64 * 60);
    Search::new(stage, menu, bound, within).explore(starts)
}

/// All that `bound` disturbances can lead to.
fn explore(stage: &Stage, menu: Menu, bound: usize, starts: Vec<Situation>) {
    let bound = bound.max(asked("EXPLORE_DEPTH").unwrap_or(0));
    match search(stage, menu, bound, starts) {
        Ok(counts) => println!("explore: {counts}, invariants held"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn whatever_dies_or_is_lost_everything_is_issued_once() {
    let stage = Stage::new();
    let menu = Menu {
        crashes: true,
        power: true,
        failures: true,
        surprises: SURPRISES,
        ..QUIET
    };
    let starts = vec![first_run(&stage), later_run(&stage), equal_sales(&stage)];
    explore(&stage, menu, 1, starts);
}

#[test]
fn whatever_dies_or_is_lost_twice_everything_is_issued_once() {
    let stage = Stage::new();
    let menu = Menu {
        crashes: true,
        power: true,
        failures: true,
        surprises: SURPRISES,
        within: &[Event::SequenceInBlock],
        between: &[Event::Pass(2_500), Event::Sequence],
        others: false,
    };
    let start = Situation {
        coming: 0,
        ..first_run(&stage)
    };
    explore(&stage, menu, 2, vec![start]);
}

#[test]
fn whatever_others_do_everything_is_issued_once() {
    let stage = Stage::new();
    let menu = Menu {
        crashes: true,
        surprises: SURPRISES,
        within: &[
            Event::SequenceInBlock,
            Event::HashTaken,
            Event::ForeignIssue,
        ],
        between: &[
            Event::Pass(2_500),
            Event::Sale,
            Event::Late,
            Event::Sequence,
            Event::HashTaken,
            Event::ForeignIssue,
        ],
        ..QUIET
    };
    let starts = vec![later_run(&stage), single_sale(&stage)];
    explore(&stage, menu, 1, starts);
}

#[test]
fn where_others_issue_everything_is_issued_once() {
    let stage = Stage::where_others_issue();
    let menu = Menu {
        crashes: true,
        surprises: SURPRISES,
        within: &[
            Event::SequenceInBlock,
            Event::HashTaken,
            Event::ForeignIssue,
        ],
        between: &[
            Event::Pass(2_500),
            Event::Sale,
            Event::ForeignIssue,
            Event::IndexStalls,
            Event::IndexMended,
        ],
        ..QUIET
    };
    explore(&stage, menu, 1, vec![first_run(&stage)]);
}

#[test]
fn whatever_a_node_hides_everything_is_issued_once() {
    let stage = Stage::new();
    let menu = Menu {
        crashes: true,
        surprises: SURPRISES,
        within: &[
            Event::IndexLost,
            Event::IndexStalls,
            Event::SlowCommit,
            Event::SequenceInBlock,
        ],
        between: &[
            Event::Pass(2_500),
            Event::Sale,
            Event::Late,
            Event::Sequence,
            Event::IndexLost,
            Event::IndexStalls,
            Event::IndexMended,
        ],
        ..QUIET
    };
    explore(&stage, menu, 1, vec![busy(later_run(&stage))]);
}

#[test]
fn two_hosts_with_one_folder_issue_everything_once() {
    let stage = Stage::new();
    let menu = Menu {
        crashes: true,
        others: true,
        within: &[Event::SequenceInBlock],
        between: &[Event::Pass(2_500), Event::Sale, Event::Copy],
        ..QUIET
    };
    explore(&stage, menu, 1, vec![first_run(&stage), later_run(&stage)]);
}

#[test]
fn old_state_that_is_brought_back_issues_nothing_again() {
    let stage = Stage::new();
    let menu = Menu {
        crashes: true,
        between: &[
            Event::Pass(2_500),
            Event::Sale,
            Event::Late,
            Event::Backup,
            Event::Restore,
            // So little that it is tolerated, and so much that it is noticed.
            Event::ClockBack(30_000),
            Event::ClockBack(600_000),
            Event::ClockRight,
        ],
        ..QUIET
    };
    explore(&stage, menu, 1, vec![first_run(&stage), later_run(&stage)]);
}
