//! Every sync that the programs make is needed: where one of them does nothing, the sweep fails.

use crate::scenario;
use crate::sweep::{Failure, Sweep};
use crate::world::Office;

/// A place in the programs that syncs.
pub struct Place {
    /// What for.
    what: &'static str,
    /// How the effects are printed that are made there.
    pub syncs: &'static [&'static str],
}

/// All of them.
pub const PLACES: &[Place] = &[
    Place {
        what: "what an earlier process left, once the lock is held",
        syncs: &["sync the folder after nothing"],
    },
    Place {
        what: "the cursor, before it gets its name",
        syncs: &["sync cursor.tmp after write cursor.tmp"],
    },
    Place {
        what: "the cursor's name",
        syncs: &["sync the folder after rename cursor.tmp to cursor.json"],
    },
    Place {
        what: "a batch in flight, before it gets its name",
        syncs: &["sync pending.tmp after write pending.tmp"],
    },
    Place {
        what: "the name of a batch in flight",
        syncs: &["sync the folder after rename pending.tmp to pending.json"],
    },
    Place {
        what: "that nothing is in flight any more",
        syncs: &["sync the folder after remove pending.json"],
    },
    Place {
        what: "a line of the ledger",
        syncs: &["sync ledger.jsonl after append to ledger.jsonl"],
    },
    Place {
        what: "the ledger's name, after a line",
        syncs: &["sync the folder after append to ledger.jsonl"],
    },
    Place {
        what: "a ledger that is written anew: without a torn line, with a line that was there, or with a decision",
        syncs: &["sync ledger.tmp after write ledger.tmp"],
    },
    Place {
        what: "the name of a ledger that was written anew",
        syncs: &["sync the folder after rename ledger.tmp to ledger.jsonl"],
    },
];

/// The first failure of the sweeps, the shorter ones first.
fn first_failure(office: &Office, place: &Place) -> Option<Failure> {
    (1..=2).find_map(|crashes| {
        scenario::ALL.iter().find_map(|scenario| {
            let mut sweep = Sweep::new(office, *scenario).ignoring(place.syncs);
            sweep.sweep(crashes).err()
        })
    })
}

#[test]
fn a_sync_that_does_nothing_is_seen() {
    let office = Office::new();
    let mut unseen = Vec::new();
    for place in PLACES {
        match first_failure(&office, place) {
            Some(failure) => println!("sync: without that of {}: {failure}", place.what),
            None => unseen.push(place.what),
        }
    }
    assert!(
        unseen.is_empty(),
        "nothing fails without the sync of {unseen:?}"
    );
}
