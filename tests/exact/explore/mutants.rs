//! The search is not blind: what is broken on purpose is found.

use super::*;
use crate::world::{Disk, Effect, Extent, Then, Trouble, World};
use play::Twist;
use situation::Host;

/// What the search finds in a broken world, with at most one disturbance.
fn found(stage: &Stage, menu: Menu, start: Situation) -> String {
    let violation = search(stage, menu, 1, vec![start]).expect_err("it must be found");
    println!("explore: {violation}");
    violation.what
}

const CRASHES: Menu = Menu {
    crashes: true,
    ..QUIET
};

fn nothing(_: &mut World, _: &Effect) {}

fn whole(_: &mut Disk) {}

/// Without step 4: what is in flight is not on the disk when the process dies.
#[test]
fn a_batch_in_flight_that_is_forgotten_is_found() {
    fn forget(disk: &mut Disk) {
        disk.remove("pending.json");
        disk.sync_folder();
    }
    let stage = Stage::broken(Mutant {
        always: nothing,
        crash: forget,
    });
    let what = found(&stage, CRASHES, later_run(&stage));
    assert!(
        what.contains("the only folder knows nothing of Issued"),
        "{what}"
    );
}

/// Without the first of the chain's facts.
#[test]
fn a_sequence_that_can_be_used_again_is_found() {
    fn lax(world: &mut World, _: &Effect) {
        world.chain.lax = true;
    }
    let stage = Stage::broken(Mutant {
        always: lax,
        crash: whole,
    });
    let what = found(&stage, CRASHES, later_run(&stage));
    assert!(what.contains("a sequence is used twice"), "{what}");
}

/// Without the identity of trades.
#[test]
fn trades_that_are_numbered_anew_are_found() {
    fn renumber(world: &mut World, effect: &Effect) {
        if matches!(effect, Effect::Ask(what) if what.ends_with("trades")) {
            for trade in &mut world.exchange.trades {
                trade.id += 1000;
            }
        }
    }
    let stage = Stage::broken(Mutant {
        always: renumber,
        crash: whole,
    });
    let what = found(&stage, QUIET, first_run(&stage));
    assert!(what.contains("more than was sold"), "{what}");
}

/// Without the ledger's durability.
#[test]
fn a_line_that_a_crash_takes_out_of_the_ledger_is_found() {
    fn cut(disk: &mut Disk) {
        let Some(ledger) = disk.read("ledger.jsonl").map(<[u8]>::to_vec) else {
            return;
        };
        let lines: Vec<&[u8]> = ledger.split_inclusive(|byte| *byte == b'\n').collect();
        disk.write("ledger.jsonl", &lines[..lines.len() - 1].concat());
        disk.sync_file("ledger.jsonl");
    }
    let stage = Stage::broken(Mutant {
        always: nothing,
        crash: cut,
    });
    let what = found(&stage, CRASHES, later_run(&stage));
    assert!(
        what.contains("one of them is older, was changed, or is gone"),
        "{what}"
    );
}

/// Without the check of the total issued, two hosts with copies of one folder issue the same sales.
#[test]
fn two_hosts_that_do_not_compare_the_total_are_found() {
    let stage = Stage::where_others_issue();
    let menu = Menu {
        between: &[Event::Copy],
        ..QUIET
    };
    let what = found(&stage, menu, later_run(&stage));
    assert!(what.contains("more than was sold"), "{what}");
}

/// The search takes what a process leaves that dies at an effect from one that lived on.
#[test]
fn what_a_dead_process_leaves_is_what_it_had_done() {
    let stage = Stage::new();
    let start = first_run(&stage);
    let lived = stage.run(&start, Host::First, None, true);
    for at in 0..lived.ended.effects.len() {
        let trouble = Trouble {
            at,
            extent: Extent::Nothing,
            then: Then::Dies,
        };
        let died = stage.run(&start, Host::First, Some(Twist::Trouble(trouble)), false);
        assert!(died.ended.result.is_none());
        let (_, moment) = lived
            .moments
            .iter()
            .rfind(|(moment, _)| *moment <= at)
            .unwrap();
        assert_eq!(died.after, *moment, "effect {at}");
    }
}
