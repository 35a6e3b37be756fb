//! Two hosts with one issuer's account: at one state folder, and at two that know nothing of each other. The chain
//! never holds more than what was sold.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{Ended, Place, Plan, Running, key};
use bitmart_issuer::ndau::PrivateKey;
use sandbox::chain::SubmitFault;
use serde_json::Value;

/// A host with a configuration of its own, and a signing service of its own beside it.
struct Host<'a> {
    place: &'a Place,
    name: &'static str,
    /// Its path to the state folder.
    state: &'static str,
    signer: PrivateKey,
    /// How long it gives the chain.
    confirm: &'static str,
}

impl<'a> Host<'a> {
    /// One that has run `init --from now`, and nothing else.
    fn new(place: &'a Place, name: &'static str, state: &'static str) -> Host<'a> {
        let signer = key(if name == "first" { 100 } else { 101 });
        let host = Host {
            place,
            name,
            state,
            signer,
            confirm: "1s",
        };
        host.configure();
        let init = place.issuer(&["init", "--config", &host.config(), "--from", "now"]);
        assert_eq!(init.code, 0, "{init:#?}");
        // A trade of the very millisecond of `init` would be before it.
        let now = place.exchange.now_ms();
        place.wait_until("the next millisecond", || place.exchange.now_ms() > now);
        host
    }

    fn config(&self) -> String {
        format!("bitmart/{}.toml", self.name)
    }

    fn configure(&self) {
        let top = format!("state_dir = \"{}\"", self.state);
        let ndau = format!("confirm = \"{}\"", self.confirm);
        let allowed = format!("allowed = [\"{}\"]", self.signer.public());
        self.place.configure(&top, &ndau, &allowed);
        let written = self.place.path("bitmart/issuer.toml");
        fs::rename(written, self.place.path(&self.config())).unwrap();
    }

    fn command(&self) -> Command {
        let config = self.config();
        self.place.command(&["run", "--json", "--config", &config])
    }

    fn signer(&self, url: &str) -> Running {
        self.place.signer_as(&self.signer, url, &[key(1)])
    }

    fn run(&self) -> Ended {
        self.place
            .run_as(self.command(), |_, url| Some(self.signer(url)))
    }

    /// A run that has nothing signed.
    fn run_unsigned(&self) -> Ended {
        self.place
            .run_as(self.command(), |_, _| panic!("it listens"))
    }

    /// A run that ends while it waits for a signer.
    #[track_caller]
    fn leave_in_flight(&self) {
        let mut running = Running::start(self.command());
        assert!(running.line().contains("listening"));
        let _ = running.kill();
        assert!(self.state("pending.json").is_some());
    }

    fn state(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place.path(self.state).join(name)).ok()
    }

    /// What its ledger holds, in napu.
    fn recorded(&self) -> u64 {
        let ledger = self.state("ledger.jsonl").unwrap_or_default();
        let quantity = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["quantity_napu"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        ledger.lines().map(quantity).sum()
    }
}

/// The exchange and the chain, with nothing sold yet.
fn world(block_time: Duration) -> Place {
    let mut plan = Plan::new();
    plan.chain.block_time = block_time;
    plan.start()
}

const QUICK: Duration = Duration::from_millis(20);

/// Two folders, initialised from the same point; `used` ones have run once, before anything was sold.
fn two(place: &Place, used: bool) -> [Host<'_>; 2] {
    let hosts = [
        Host::new(place, "first", "first"),
        Host::new(place, "second", "second"),
    ];
    if used {
        for host in &hosts {
            host.run().expect(0, "nothing_new", "0");
        }
    }
    hosts
}

#[track_caller]
fn not_more_than_was_sold(place: &Place) {
    assert!(
        place.chain.issued_napu() <= place.exchange.sold_napu(),
        "issued {} and sold {}",
        place.chain.issued_napu(),
        place.exchange.sold_napu()
    );
}

/// The folder is on shared storage, and has another path on each host.
#[test]
fn of_two_hosts_at_one_folder_the_second_ends_at_once_and_touches_nothing() {
    let place = world(QUICK);
    let first = Host::new(&place, "first", "shared");
    symlink(place.path("shared"), place.path("mounted")).unwrap();
    let mut second = Host::new(&place, "second", "elsewhere");
    second.state = "mounted";
    second.configure();
    place.exchange.sell("5");

    let mut running = Running::start(first.command());
    let listening: Value = serde_json::from_str(&running.line()).unwrap();
    let before = (
        place.files(),
        place.exchange.requests().len(),
        place.chain.requests().len(),
    );
    second.run().fails(
        69,
        &[
            "another run is at work",
            "mounted/lock",
            "this one did nothing",
        ],
    );
    let after = (
        place.files(),
        place.exchange.requests().len(),
        place.chain.requests().len(),
    );
    assert_eq!(before, after);

    let signer = first.signer(listening["listening"].as_str().unwrap());
    let ended = running.end();
    let _ = signer.kill();
    ended.expect(0, "issued", "5");
    second.run().expect(0, "nothing_new", "0");
    place.exchange.sell("7");
    second.run().expect(0, "issued", "7");
    first.run().expect(0, "nothing_new", "0");
    assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
    assert_eq!(first.recorded(), place.exchange.sold_napu());
}

const MANY: usize = 8;

#[test]
fn of_many_runs_started_at_the_same_moment_one_issues() {
    let place = world(QUICK);
    let host = Host::new(&place, "first", "first");
    place.exchange.sell("5");
    let mut runs: Vec<Running> = (0..MANY).map(|_| Running::start(host.command())).collect();
    // Who has the lock waits for a signer; all others have ended by the time that they have printed a line.
    let lines: Vec<Value> = runs
        .iter_mut()
        .map(|run| serde_json::from_str(&run.line()).unwrap())
        .collect();
    let urls: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["listening"].as_str())
        .collect();
    assert_eq!(urls.len(), 1, "{lines:#?}");
    let signer = host.signer(urls[0]);
    let mut codes: Vec<i32> = runs.into_iter().map(|run| run.end().code).collect();
    let _ = signer.kill();
    codes.sort_unstable();
    let mut expected = vec![69; MANY];
    expected[0] = 0;
    assert_eq!(codes, expected);
    assert_eq!(place.chain.issues().len(), 1);
    assert_eq!(host.recorded(), place.exchange.sold_napu());
}

#[test]
fn of_many_runs_at_the_same_moment_one_settles_what_is_in_flight() {
    let place = world(QUICK);
    let host = Host::new(&place, "first", "first");
    place.exchange.sell("5");
    place.chain.fail_next_submit(SubmitFault::TimeoutAndDrop);
    host.run().fails(75, &["the next run settles it"]);
    let runs: Vec<Running> = (0..MANY).map(|_| Running::start(host.command())).collect();
    let mut settled = 0;
    for run in runs {
        let ended = run.end();
        let outcome = ended.json()["outcome"].clone();
        match ended.code {
            0 if outcome == "settled" => settled += 1,
            // It came when the first had ended.
            0 => assert_eq!(outcome, "nothing_new", "{ended:#?}"),
            69 => {}
            _ => panic!("{ended:#?}"),
        }
    }
    assert_eq!((settled, place.chain.issues().len()), (1, 1));
    assert_eq!(host.recorded(), place.exchange.sold_napu());
}

#[test]
fn of_two_folders_one_after_the_other_the_second_issues_nothing() {
    for used in [false, true] {
        let place = world(QUICK);
        let [first, second] = two(&place, used);
        place.exchange.sell("5");
        first.run().expect(0, "issued", "5");
        let says = if used {
            "has issued 5 ndau, and this folder accounts for 0"
        } else {
            "of 5 ndau in block"
        };
        second.run_unsigned().fails(65, &[says]);
        place.exchange.sell("7");
        second.run_unsigned().fails(65, &[says]);
        first.run().expect(0, "issued", "7");
        let says = if used {
            "has issued 12 ndau, and this folder accounts for 0"
        } else {
            "they seem issued already"
        };
        second.run_unsigned().fails(65, &[says]);
        assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
    }
}

/// The documented limit: the very same `Issue` is applied once, and both count it.
#[test]
fn of_two_folders_with_the_same_sum_in_flight_both_count_the_one_issue() {
    for used in [false, true] {
        for at_once in [false, true] {
            let place = world(QUICK);
            let [first, second] = two(&place, used);
            place.exchange.sell("5");
            first.leave_in_flight();
            second.leave_in_flight();
            if at_once {
                thread::scope(|scope| {
                    let both = [&first, &second].map(|host| scope.spawn(|| host.run()));
                    for one in both {
                        one.join().unwrap().expect(0, "settled", "5");
                    }
                });
            } else {
                first.run().expect(0, "settled", "5");
                // It is there: nobody needs to sign it.
                second.run_unsigned().expect(0, "settled", "5");
            }
            assert_eq!(place.chain.issues().len(), 1);
            assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
            assert_eq!(
                (first.recorded(), second.recorded()),
                (500_000_000, 500_000_000)
            );
            // From here on only one of them can go on.
            place.exchange.sell("7");
            first.run().expect(0, "issued", "7");
            second
                .run_unsigned()
                .fails(65, &["has issued 12 ndau", "accounts for 5"]);
            assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
        }
    }
}

#[test]
fn of_two_folders_with_different_sums_in_flight_the_second_is_refused_before_anything_is_signed() {
    for used in [false, true] {
        for larger_first in [false, true] {
            let place = world(QUICK);
            let [small, large] = two(&place, used);
            place.exchange.sell("5");
            small.leave_in_flight();
            place.exchange.sell("7");
            large.leave_in_flight();
            let (winner, loser, quantity) = if larger_first {
                (&large, &small, "12")
            } else {
                (&small, &large, "5")
            };
            winner.run().expect(0, "settled", quantity);
            let issued = format!("issued {quantity} ndau");
            let parts = ["the total issued has grown", &issued, "issued 0 ndau"];
            loser.run_unsigned().fails(75, &parts);
            // The winner goes on as if it were alone.
            if !larger_first {
                winner.run().expect(0, "issued", "7");
            }
            loser
                .run_unsigned()
                .fails(75, &["the total issued has grown"]);
            assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
        }
    }
}

/// Both have a signer there and the same sequence; the chain takes one of the two.
#[test]
fn of_two_folders_with_different_sums_that_submit_at_once_one_issues() {
    for block_time in [QUICK, Duration::from_secs(1)] {
        let place = world(block_time);
        let [mut small, mut large] = two(&place, true);
        if block_time != QUICK {
            for host in [&mut small, &mut large] {
                host.confirm = "4s";
                host.configure();
            }
        }
        place.exchange.sell("5");
        small.leave_in_flight();
        place.exchange.sell("7");
        large.leave_in_flight();
        let ended = thread::scope(|scope| {
            let both = [&small, &large].map(|host| scope.spawn(|| host.run()));
            both.map(|one| one.join().unwrap())
        });
        not_more_than_was_sold(&place);
        assert_eq!(place.chain.issues().len(), 1, "{ended:#?}");
        let mut codes = ended.each_ref().map(|one| one.code);
        codes.sort_unstable();
        assert_eq!(codes, [0, 75], "{ended:#?}");
        for (host, ended) in [&small, &large].into_iter().zip(ended) {
            match ended.code {
                0 => assert_eq!(host.recorded(), place.chain.issued_napu()),
                _ => assert_eq!((host.recorded(), host.state("ledger.jsonl")), (0, None)),
            }
        }
        // However often they go on.
        for host in [&small, &large, &small, &large] {
            host.run();
            not_more_than_was_sold(&place);
        }
        assert_eq!(place.chain.issued_napu(), place.exchange.sold_napu());
    }
}

/// The totals trail a block, and the next one does not come within half of `confirm`: the chain stands still. The index
/// has what the totals lack.
#[test]
fn of_two_folders_the_second_issues_nothing_while_the_chain_stands_still_behind_the_issue() {
    let place = world(Duration::from_secs(3));
    let [mut first, mut second] = two(&place, true);
    for host in [&mut first, &mut second] {
        host.confirm = "5s";
        host.configure();
    }
    place.exchange.sell("5");
    first.run().expect(0, "issued", "5");
    let ended = second.run();
    assert!(place.chain.wait_until_idle());
    not_more_than_was_sold(&place);
    assert_ne!(ended.code, 0, "{ended:#?}");
}

/// Between the runs of two folders that were never used a sale became visible that lies between those issued.
#[test]
fn of_two_fresh_folders_the_second_issues_nothing_again_when_a_sale_showed_up_between() {
    let place = world(QUICK);
    let [first, second] = two(&place, false);
    place.exchange.sell("5");
    let late = place.exchange.sell("3");
    place.exchange.hide(late);
    place.exchange.sell("7");
    first.run().expect(0, "issued", "12");
    place.exchange.show(late);
    let ended = second.run();
    not_more_than_was_sold(&place);
    assert_eq!(ended.code, 65, "{ended:#?}");
}

/// The second folder's first run begins when the first one's `Issue` is executed, and neither indexed nor in the
/// totals.
#[test]
fn of_two_fresh_folders_the_second_issues_nothing_while_the_index_trails() {
    let place = world(QUICK);
    let [first, second] = two(&place, false);
    place.exchange.sell("5");
    place.chain.set_index_delay(Duration::from_secs(3600));
    let ended = thread::scope(|scope| {
        let first = scope.spawn(|| first.run());
        place.wait_until("the Issue", || place.chain.issues().len() == 1);
        place.exchange.sell("7");
        let second = scope.spawn(|| second.run());
        place.wait_until("the second batch, or the end", || {
            place.path("second/pending.json").exists() || second.is_finished()
        });
        place.chain.set_index_delay(Duration::ZERO);
        first.join().unwrap().expect(0, "issued", "5");
        second.join().unwrap()
    });
    not_more_than_was_sold(&place);
    assert_ne!(ended.code, 0, "{ended:#?}");
}

#[test]
fn of_two_fresh_folders_the_second_issues_nothing_when_the_node_has_lost_its_index() {
    let place = world(QUICK);
    let [first, second] = two(&place, false);
    place.exchange.sell("5");
    first.run().expect(0, "issued", "5");
    assert!(place.chain.wait_until_idle());
    place.chain.forget_index();
    let ended = second.run();
    not_more_than_was_sold(&place);
    assert_ne!(ended.code, 0, "{ended:#?}");
}
