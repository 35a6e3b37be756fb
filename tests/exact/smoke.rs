//! The world itself: a run in it does what a run does.

use std::time::Instant;

use crate::world::{Office, Plan, Side};
use bitmart_issuer::report::Outcome;

#[test]
fn a_run_issues_what_was_sold() {
    let office = Office::new();
    let mut world = office.world();
    world.sell(5);
    world.trade(Side::Buy, 1);
    world.sell(7);
    let ended = office.run(&mut world, Plan::default());
    assert!(
        matches!(ended.result, Some(Ok(Outcome::Issued))),
        "{ended:#?}"
    );
    assert_eq!(world.chain.issues().len(), 1);
    assert_eq!(world.chain.issues()[0].quantity, 12);
    let state = office.state(&world).unwrap();
    assert_eq!(state.ledger.entries().len(), 1);
    assert!(world.disk.is_durable());
    for effect in &ended.effects {
        println!("{effect}");
    }
    let start = Instant::now();
    for _ in 0..100 {
        let mut world = office.world();
        world.sell(5);
        office.run(&mut world, Plan::default());
    }
    println!("{:?} a run", start.elapsed() / 100);
}
