use std::fs;

use super::*;
use crate::exchange::{Dialect, TradeId};
use crate::napu::Napu;
use crate::ndau::{Address, Issue, PrivateKey};
use crate::sales::{At, Batch, Progress, Sale, Seen, Start};
use crate::settle::{Base, Candidate};

fn sale(trade: u64, napu: u64) -> Sale {
    let id = TradeId {
        trade,
        order: 9_007_199_254_740_993,
    };
    Sale {
        time_ms: 1_700_000_000_000 + trade,
        id,
        quantity: Napu::new(napu).unwrap(),
    }
}

fn at() -> At {
    At {
        time_ms: 1_700_000_100_000,
        dialect: Dialect::V4,
        account: "0123456789abcdef".to_owned(),
        network: "net".to_owned(),
        issuer: Address::parse("ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y").unwrap(),
        issued: Napu::new(100).unwrap(),
        sequence: 4,
        ledger: "0".repeat(64),
    }
}

fn cursor() -> Cursor {
    let mut cursor = Cursor::new(
        Start::Found {
            trade: 7,
            time_ms: 5,
        },
        "XND_USDT".to_owned(),
    );
    cursor.at = Some(at());
    cursor.seen.insert(Seen {
        time_ms: 6,
        id: TradeId {
            trade: u64::MAX,
            order: 0,
        },
    });
    cursor
}

fn pending() -> Pending {
    let batch = Batch::new(vec![sale(1, 10), sale(2, 20)]).unwrap();
    let key = PrivateKey::from_ed25519_seed(&[1; 32]);
    let base = Base {
        sequence: 4,
        height: 10,
        issued: Napu::new(100).unwrap(),
    };
    let candidate = |sales: usize| {
        let issue = Issue::new(batch.oldest(sales).unwrap().quantity(), 5).unwrap();
        let signature = key.sign(&issue.signable_bytes());
        let verified = issue
            .verify(&[key.public().clone()], key.public(), &signature)
            .unwrap();
        Candidate {
            issue,
            sales,
            base,
            signatures: vec![verified],
        }
    };
    let progress = Progress {
        start: Start::Beginning,
        at: at(),
        others: vec![Seen {
            time_ms: 8,
            id: TradeId { trade: 3, order: 3 },
        }],
    };
    let candidates = vec![candidate(2), candidate(1)];
    Pending {
        batch,
        progress,
        left: vec![sale(3, 30)],
        candidates,
    }
}

fn entry(sequence: u64, sales: &[Sale]) -> Entry {
    let quantity = Napu::sum(sales.iter().map(|sale| sale.quantity)).unwrap();
    Entry {
        issue: Issue::new(quantity, sequence).unwrap(),
        height: 11,
        sales: sales.to_vec(),
        recorded_ms: 1_700_000_200_000,
        symbol: "XND_USDT".to_owned(),
        network: "net".to_owned(),
        dialect: Dialect::V4,
        account: "0123456789abcdef".to_owned(),
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn with<T>(&self, act: impl FnOnce(&Locked) -> T) -> T {
        act(&Locked::take(Folder::new(&HostDisk, self.0.path())).unwrap())
    }

    /// Writes an entry and the cursor beside it, as a run does.
    fn write_down(&self, locked: &Locked, entry: &Entry) {
        let ledger = self.load().unwrap().ledger;
        let mut cursor = cursor();
        cursor.at.as_mut().unwrap().ledger = ledger.last_with(entry);
        locked.append(&ledger, entry).unwrap();
        locked.store_cursor(&cursor).unwrap();
    }

    fn load(&self) -> Result<State, Error> {
        Folder::new(&HostDisk, self.0.path()).load()
    }
}

#[test]
fn what_is_stored_is_loaded() {
    let place = Place::new();
    assert!(matches!(place.load(), Err(Error::NoCursor { .. })));
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        locked.store_pending(&pending()).unwrap();
    });
    let state = place.load().unwrap();
    assert_eq!(
        (&state.cursor, state.pending.as_ref()),
        (&cursor(), Some(&pending()))
    );
    place.with(|locked| {
        locked.remove_pending().unwrap();
        locked.remove_pending().unwrap();
        place.write_down(locked, &entry(5, &[sale(1, 10)]));
        place.write_down(locked, &entry(6, &[sale(2, 20)]));
        // A second time is as good as once.
        place.write_down(locked, &entry(6, &[sale(2, 20)]));
    });
    let state = place.load().unwrap();
    assert_eq!(state.pending, None);
    assert_eq!(
        state.ledger.entries(),
        [entry(5, &[sale(1, 10)]), entry(6, &[sale(2, 20)])]
    );
    assert_eq!(state.ledger.total(), Napu::new(30));
}

#[test]
fn every_start_is_stored() {
    for start in [Start::Beginning, Start::Time(7), Start::Trade(u64::MAX)] {
        let fresh = Cursor::new(start, "XND_USDT".to_owned());
        assert_eq!(cursor::parse(&cursor::print(&fresh)).unwrap(), fresh);
    }
}

#[test]
fn a_second_run_is_told_at_once() {
    let place = Place::new();
    place.with(|_held| {
        let second = Locked::take(Folder::new(&HostDisk, place.0.path()));
        assert!(matches!(second, Err(Error::Locked { .. })));
    });
    place.with(|_released| ());
}

#[test]
fn any_cut_or_changed_byte_of_a_file_is_refused_or_means_the_same() {
    let printed = [cursor::print(&cursor()), pending::print(&pending())];
    for bytes in printed {
        let parse = |bytes: &[u8]| -> Result<Vec<u8>, String> {
            match cursor::parse(bytes) {
                Ok(cursor) => Ok(cursor::print(&cursor)),
                Err(_) => pending::parse(bytes).map(|pending| pending::print(&pending)),
            }
        };
        for end in 0..bytes.len() - 1 {
            assert!(parse(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = 0xff;
            assert!(parse(&changed).is_err(), "changed at {at}");
        }
    }
}

#[test]
fn a_changed_ledger_is_noticed() {
    let place = Place::new();
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        for (sequence, trade) in [(5, 1), (6, 2), (9, 3)] {
            place.write_down(locked, &entry(sequence, &[sale(trade, 10)]));
        }
    });
    let path = place.0.path().join("ledger.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let changed = [
        format!("{}\n{}\n", lines[0], lines[2]),
        format!("{}\n{}\n", lines[1], lines[2]),
        text.replace("\"height\":11", "\"height\":12"),
        text.replace("\"version\":1", "\"version\":2"),
        format!("{text}{}\n", lines[2]),
    ];
    for (case, changed) in changed.iter().enumerate() {
        fs::write(&path, changed).unwrap();
        assert!(
            matches!(place.load(), Err(Error::Damaged { .. })),
            "case {case}"
        );
    }
}

#[test]
fn a_torn_line_is_cut_off_by_the_batch_that_it_was_of() {
    let place = Place::new();
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        place.write_down(locked, &entry(4, &[sale(9, 10)]));
        let mut pending = pending();
        place
            .load()
            .unwrap()
            .ledger
            .last()
            .clone_into(&mut pending.progress.at.ledger);
        let path = place.0.path().join("ledger.jsonl");
        let whole = fs::read(&path).unwrap();
        let line = place
            .load()
            .unwrap()
            .ledger
            .print(&entry(5, pending.batch.sales()));
        for cut in [1, line.len() / 2, line.len() - 1] {
            fs::write(&path, [&whole[..], &line[..cut]].concat()).unwrap();
            let _ = locked.remove_pending();
            assert!(matches!(place.load(), Err(Error::Contradiction { .. })));
            locked.store_pending(&pending).unwrap();
            let state = place.load().unwrap();
            assert!(state.ledger.torn());
            locked
                .append(&state.ledger, &entry(5, pending.batch.sales()))
                .unwrap();
            let state = place.load().unwrap();
            assert_eq!(
                (state.ledger.entries().len(), state.ledger.torn()),
                (2, false)
            );
        }
    });
}

fn decision(verdict: Verdict) -> Decision {
    Decision {
        recorded_ms: 1_700_000_300_000,
        by: "Ada".to_owned(),
        why: "another node's explorer shows it".to_owned(),
        verdict,
        seen: vec!["account sequence 5".to_owned(), "\u{e9}\n".to_owned()],
    }
}

/// A decision is no part of what the cursor counts: it may be newer than the cursor, and its hash is chained like any
/// line's.
#[test]
fn decisions_stand_between_the_issues() {
    let place = Place::new();
    let issue = entry(5, &[sale(1, 10)]).issue;
    let verdicts = [
        Verdict::Applied { issue, height: 11 },
        Verdict::Never { sequence: 6 },
        Verdict::Adopted { issue, height: 11 },
        Verdict::Others {
            issued: Napu::new(7).unwrap(),
        },
        Verdict::SameAccount {
            key: "0123456789abcdef".to_owned(),
        },
        Verdict::Skipped {
            after_ms: 5,
            until_ms: 1_700_000_000_000,
        },
    ];
    let decisions: Vec<Decision> = verdicts.into_iter().map(decision).collect();
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        for (number, decision) in decisions.iter().enumerate() {
            let ledger = place.load().unwrap().ledger;
            locked.record(&ledger, decision).unwrap();
            if number == 2 {
                place.write_down(locked, &entry(5, &[sale(1, 10)]));
            }
        }
    });
    let ledger = place.load().unwrap().ledger;
    assert_eq!(ledger.decisions(), decisions);
    let kinds: Vec<bool> = ledger
        .lines()
        .map(|line| matches!(line, Line::Issue(_)))
        .collect();
    assert_eq!(kinds, [false, false, false, true, false, false, false]);

    let path = place.0.path().join("ledger.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let first_gone = text.split_once('\n').unwrap().1.to_owned();
    for changed in [
        text.replacen("Ada", "Eve", 1),
        text.replace("\"others\"", "\"never\""),
        text.replace("\"decision\"", "\"issue\""),
        text.replace("\"decision\"", "\"comment\""),
        first_gone,
    ] {
        fs::write(&path, changed).unwrap();
        assert!(matches!(place.load(), Err(Error::Damaged { .. })));
    }
}

/// A cursor from before an `Issue` is older than the ledger, however many decisions came in between.
#[test]
fn an_issue_after_the_cursors_line_must_be_in_flight() {
    let place = Place::new();
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        let never = decision(Verdict::Never { sequence: 4 });
        locked
            .record(&place.load().unwrap().ledger, &never)
            .unwrap();
        locked.store_pending(&pending()).unwrap();
        let ledger = place.load().unwrap().ledger;
        let own = entry(5, pending().batch.sales());
        locked.append(&ledger, &own).unwrap();
        assert!(place.load().is_ok());
        locked.remove_pending().unwrap();
        assert!(matches!(place.load(), Err(Error::Contradiction { .. })));
    });
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let place = Place::new();
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        place.write_down(locked, &entry(3, &[sale(1, 10)]));
        // One of its sales was issued by another Issue.
        locked.store_pending(&pending()).unwrap();
        assert!(matches!(place.load(), Err(Error::Contradiction { .. })));
        locked.remove_pending().unwrap();
        assert!(place.load().is_ok());
        // A ledger that is gone, or whose last line was changed, beside a cursor that knew it.
        let ledger = place.0.path().join("ledger.jsonl");
        let whole = fs::read_to_string(&ledger).unwrap();
        for other in [
            String::new(),
            whole.replace("\"height\":11", "\"height\":12"),
        ] {
            fs::write(&ledger, other).unwrap();
            assert!(matches!(place.load(), Err(Error::Contradiction { .. })));
        }
        fs::write(&ledger, whole).unwrap();
        assert!(place.load().is_ok());
        // A cursor made anew beside a ledger.
        locked
            .store_cursor(&Cursor::new(Start::Beginning, "XND_USDT".to_owned()))
            .unwrap();
        assert!(matches!(place.load(), Err(Error::Contradiction { .. })));
    });
}

/// A backup of pending.json was newer than that of the other two: what was issued in between would be issued again.
#[test]
fn a_batch_that_was_built_beside_another_ledger_is_refused() {
    let place = Place::new();
    place.with(|locked| {
        locked.store_cursor(&cursor()).unwrap();
        let mut pending = pending();
        locked.store_pending(&pending).unwrap();
        assert!(place.load().is_ok());
        pending.progress.at.ledger = "1".repeat(64);
        locked.store_pending(&pending).unwrap();
        assert!(matches!(place.load(), Err(Error::Contradiction { .. })));
    });
}

#[test]
fn a_candidate_of_fewer_sales_leaves_the_rest() {
    let pending = pending();
    let (issued, left) = pending.split(&pending.candidates[1]);
    assert_eq!(
        (issued, left),
        (vec![sale(1, 10)], vec![sale(2, 20), sale(3, 30)])
    );
}
