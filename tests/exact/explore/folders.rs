//! What else can become of a folder: two runs in it at once, and copies of it that are of no one moment.

use std::collections::BTreeSet;

use super::*;
use crate::world::{BLOCK_MS, Disk};
use bitmart_issuer::error::Exit;
use claims::issued_once;
use situation::Host;

/// cron starts the second before the first has ended.
#[test]
fn a_second_run_in_the_same_folder_does_nothing() {
    let office = Office::new();
    let start = first_run(&Stage::new()).world;
    let mut alone = start.clone();
    let effects = office.run(&mut alone, Plan::default()).effects;
    for at in 0..effects.len() {
        let mut world = start.clone();
        let second = |world: &mut crate::world::World, number: usize, _: &_| {
            if number == at {
                let before = world.clone();
                let ended = office.run(world, Plan::default());
                let exit = ended.result.unwrap().unwrap_err().exit();
                assert_eq!(exit, Exit::Unavailable, "effect {at}");
                assert_eq!(*world, before, "effect {at}");
            }
        };
        let plan = Plan {
            meanwhile: Some(&second),
            ..Plan::default()
        };
        office.run(&mut world, plan);
        assert_eq!(world, alone, "effect {at}");
    }
}

/// A copy is made file by file while runs go on, and is brought back later.
#[test]
fn a_backup_that_is_of_no_one_moment_issues_nothing_again() {
    const FILES: [&str; 3] = ["cursor.json", "pending.json", "ledger.jsonl"];
    let stage = Stage::new();
    let first = stage.run(&later_run(&stage), Host::First, None, true);
    let mut between = first.after.clone();
    between.world.pass(60_000);
    between.world.sell(8);
    let second = stage.run(&between, Host::First, None, true);
    let mut end = second.after.clone();
    end.world.pass(60_000);
    end.world.sell(16);
    let moments = first.moments.iter().chain(&second.moments);
    let disks: Vec<&Disk> = moments.map(|(_, moment)| &moment.world.disk).collect();
    let mut mixed = BTreeSet::new();
    for (at, earlier) in disks.iter().enumerate() {
        for later in &disks[at..] {
            for chosen in 0..1 << FILES.len() {
                let mut mix = Disk::default();
                for (bit, name) in FILES.iter().enumerate() {
                    let disk = if chosen >> bit & 1 == 1 {
                        later
                    } else {
                        earlier
                    };
                    if let Some(content) = disk.read(name) {
                        mix.write(name, content);
                    }
                }
                mixed.insert(mix.copied());
            }
        }
    }
    let (mut refused, mut issued) = (0, 0);
    for mix in &mixed {
        let mut world = end.world.clone();
        world.disk = mix.clone();
        let mut last = None;
        for _ in 0..4 {
            world.pass(60 * BLOCK_MS);
            last = stage.first.run(&mut world, Plan::default()).result;
        }
        let quantities: Vec<u64> = world
            .chain
            .issues()
            .iter()
            .map(|one| one.quantity)
            .collect();
        if let Err(what) = issued_once(&world, &quantities) {
            panic!("{what}: {}", shown(mix));
        }
        match last.unwrap() {
            Ok(_) => {
                assert_eq!(
                    quantities.iter().sum::<u64>(),
                    world.exchange.sold(),
                    "{}",
                    shown(mix)
                );
                issued += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error.exit(), Exit::BadData | Exit::InDoubt),
                    "{error}"
                );
                refused += 1;
            }
        }
    }
    println!(
        "explore: {} backups of no one moment: {refused} refused, {issued} gone on with",
        mixed.len()
    );
    assert!(refused > issued && issued > 0);
}

fn shown(disk: &Disk) -> String {
    let file = |name| {
        disk.read(name)
            .map(|content| format!("{name}\n{}", String::from_utf8_lossy(content)))
    };
    disk.names().filter_map(file).collect()
}
