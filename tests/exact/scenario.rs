//! Worlds to begin with, each before the run that is swept.

use crate::sweep::Command;
use crate::world::{Effect, Extent, Office, Plan, Side, Style, Surprise, Then, Trouble, World};
use bitmart_issuer::report::Outcome;

/// A world to begin with, and what is done in it.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub start: fn(&Office) -> World,
    /// What is started first.
    pub first: Command,
    /// Whether a person is needed, and there.
    pub person: bool,
}

/// All ndau that there can be, in napu.
const SUPPLY: u64 = 30_000_000 * 100_000_000;

/// The index trails its block by so much.
const SLOW_COMMIT_MS: u64 = 300;

impl Scenario {
    const fn run(start: fn(&Office) -> World) -> Scenario {
        Scenario {
            name: "",
            start,
            first: Command::Run,
            person: false,
        }
    }

    const fn init(start: fn(&Office) -> World) -> Scenario {
        Scenario {
            first: Command::Init,
            ..Scenario::run(start)
        }
    }

    const fn with_a_person(start: fn(&Office) -> World) -> Scenario {
        Scenario {
            person: true,
            ..Scenario::run(start)
        }
    }
}

macro_rules! scenarios {
    ($($name:ident: $first:ident,)*) => {
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            ..Scenario::$first($name)
        },)*];

        /// Each of them, swept.
        mod exactly_once_after {
            $(
                #[test]
                fn $name() {
                    crate::sweep::exactly_once_after(stringify!($name));
                }
            )*
        }
    };
}

scenarios! {
    a_start: init,
    a_first_run: run,
    a_first_run_on_a_busy_chain: run,
    a_later_run: run,
    nothing_new: run,
    a_batch_left_unsigned: run,
    a_batch_left_signed: run,
    a_batch_left_in_the_mempool: run,
    a_batch_left_in_its_block: run,
    a_batch_left_in_a_torn_line: run,
    a_batch_whose_hash_is_taken: run,
    a_batch_whose_sequence_is_taken: run,
    a_batch_that_is_refused: run,
    a_batch_that_fails_in_its_block: run,
    a_batch_that_commits_late: run,
    a_batch_that_is_forgotten: run,
    a_batch_with_a_neighbours_body: run,
    a_batch_larger_than_the_supply: run,
    a_slow_index: run,
    a_clock_that_stepped_back: run,
    a_lost_index_of_an_applied_batch: with_a_person,
    a_lost_index_of_a_dead_batch: with_a_person,
    a_restored_backup: with_a_person,
}

/// Two sales and a purchase.
fn sold(office: &Office) -> World {
    let mut world = office.world();
    world.exchange.style = Style::Twice;
    world.sell(500);
    world.trade(Side::Buy, 10);
    world.sell(70);
    world
}

/// One run, which must end like this.
fn run(office: &Office, world: &mut World, outcome: Outcome) {
    let ended = office.run(world, Plan::default());
    assert_eq!(ended.result.unwrap().unwrap(), outcome);
}

/// The process dies at the first effect that `is` the one.
fn die(office: &Office, world: &mut World, extent: Extent, is: fn(&Effect) -> bool) {
    let effects = office.run(&mut world.clone(), Plan::default()).effects;
    let trouble = Trouble {
        at: effects.iter().position(is).unwrap(),
        extent,
        then: Then::Dies,
    };
    let plan = Plan {
        trouble: Some(trouble),
        ..Plan::default()
    };
    assert!(office.run(world, plan).result.is_none());
}

/// Something was sold so lately that no time has to pass for it, in which a block would come.
fn sell_in_a_moment(world: &mut World) {
    let late = world.clock.true_ms() - 500;
    world.exchange.trade(late, Side::Sell, 9);
}

fn is_submit(effect: &Effect) -> bool {
    *effect == Effect::Submit
}

fn a_start(_: &Office) -> World {
    let mut world = World::new();
    world.trade(Side::Buy, 1);
    world.sell(500);
    world.trade(Side::Buy, 10);
    world.sell(70);
    world
}

fn a_first_run(office: &Office) -> World {
    sold(office)
}

fn a_first_run_on_a_busy_chain(office: &Office) -> World {
    let mut world = sold(office);
    world.chain.busy = true;
    world
}

fn a_later_run(office: &Office) -> World {
    let mut world = sold(office);
    run(office, &mut world, Outcome::Issued);
    // One becomes visible late, with a time before the cursor's.
    let late = world.clock.true_ms() - 2500;
    world.exchange.trade(late, Side::Sell, 3);
    world.pass(60_000);
    world.sell(500);
    world
}

fn nothing_new(office: &Office) -> World {
    let mut world = a_later_run(office);
    run(office, &mut world, Outcome::Issued);
    world.trade(Side::Buy, 10);
    world
}

fn a_batch_left_unsigned(office: &Office) -> World {
    let mut world = sold(office);
    die(office, &mut world, Extent::Nothing, |effect| {
        *effect == Effect::Sign
    });
    world.sell(9);
    world
}

fn a_batch_left_signed(office: &Office) -> World {
    let mut world = sold(office);
    die(office, &mut world, Extent::Nothing, is_submit);
    world.sell(9);
    world
}

fn a_batch_left_in_the_mempool(office: &Office) -> World {
    let mut world = sold(office);
    die(office, &mut world, Extent::Half, is_submit);
    sell_in_a_moment(&mut world);
    world
}

fn a_batch_left_in_its_block(office: &Office) -> World {
    let mut world = sold(office);
    die(office, &mut world, Extent::Whole, is_submit);
    sell_in_a_moment(&mut world);
    world
}

fn a_batch_left_in_a_torn_line(office: &Office) -> World {
    let mut world = a_later_run(office);
    die(office, &mut world, Extent::Half, |effect| {
        matches!(effect, Effect::Append(_))
    });
    world
}

/// What is in flight: quantity and sequence.
fn in_flight(office: &Office, world: &World) -> (u64, u64) {
    let pending = office.state(world).unwrap().pending.unwrap();
    let issue = pending.candidates.last().unwrap().issue;
    (issue.quantity().get(), issue.sequence())
}

fn a_batch_whose_hash_is_taken(office: &Office) -> World {
    let mut world = sold(office);
    die(office, &mut world, Extent::Nothing, is_submit);
    let (quantity, sequence) = in_flight(office, &world);
    world.chain.take_hash(quantity, sequence);
    world.pass(60_000);
    // The replacement's hash is taken too, by the time that it is submitted.
    world.sell(9);
    world
}

fn a_batch_whose_sequence_is_taken(office: &Office) -> World {
    let mut world = sold(office);
    die(office, &mut world, Extent::Nothing, is_submit);
    world.chain.use_sequence();
    world.pass(60_000);
    world
}

/// With what happens to its submission.
fn surprised(office: &Office, surprise: Surprise) -> World {
    let mut world = sold(office);
    world.chain.surprises.push_back(surprise);
    world
}

fn a_batch_that_is_refused(office: &Office) -> World {
    surprised(office, Surprise::TakenBefore)
}

fn a_batch_that_fails_in_its_block(office: &Office) -> World {
    surprised(office, Surprise::TakenInBlock)
}

fn a_batch_that_commits_late(office: &Office) -> World {
    surprised(office, Surprise::CommitsLate(60_000))
}

fn a_batch_that_is_forgotten(office: &Office) -> World {
    surprised(office, Surprise::Forgotten)
}

fn a_batch_with_a_neighbours_body(office: &Office) -> World {
    surprised(office, Surprise::Neighbour)
}

fn a_batch_larger_than_the_supply(office: &Office) -> World {
    let mut world = office.world();
    world.chain.released = 3 * SUPPLY;
    world.sell(SUPPLY / 3 * 2);
    world.sell(SUPPLY / 3 * 2);
    world.trade(Side::Buy, 10);
    world
}

fn a_slow_index(office: &Office) -> World {
    let mut world = sold(office);
    world.chain.commit_ms = SLOW_COMMIT_MS;
    world.chain.busy = true;
    world
}

fn a_clock_that_stepped_back(office: &Office) -> World {
    let mut world = a_later_run(office);
    world.clock.wall_ms -= 30_000;
    world
}

fn a_lost_index_of_an_applied_batch(office: &Office) -> World {
    let mut world = a_batch_left_in_its_block(office);
    world.chain.lose_index();
    world
}

fn a_lost_index_of_a_dead_batch(office: &Office) -> World {
    let mut world = a_batch_whose_sequence_is_taken(office);
    world.chain.lose_index();
    world
}

fn a_restored_backup(office: &Office) -> World {
    let mut world = sold(office);
    run(office, &mut world, Outcome::Issued);
    let backup = world.disk.clone();
    world.sell(9);
    world.sell(8);
    run(office, &mut world, Outcome::Issued);
    world.disk = backup;
    world.sell(7);
    world
}
