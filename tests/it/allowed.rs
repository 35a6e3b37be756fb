//! Allowed signers that do not do their part, and what that costs those that do.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bitmart_issuer::signer::Identity;
use serde_json::Value;

use crate::peer::{enter, say};
use crate::support::{ISSUER, Place, Plan, Running, key};

/// A place where two identities are allowed, with a sale of 5 ndau.
fn with_two_allowed(mut plan: Plan, timeout: &str) -> Place {
    plan.signer = format!(
        "allowed = [\"{}\", \"{}\"]\ntimeout = \"{timeout}\"",
        key(100).public(),
        key(101).public()
    );
    let place = plan.start();
    place.exchange.sell("5");
    place
}

/// What one of them said so often is in the log once, its ends take no descriptors from others, and the other signs.
#[test]
fn one_that_errs_again_and_again_fills_neither_the_log_nor_the_process() {
    let place = with_two_allowed(Plan::new(), "20s");
    let script = "ulimit -n 40; exec \"$0\" \"$@\"";
    let mut command: Command = place.command_of("sh", &["-c", script, ISSUER, "run", "--json"]);
    command.env("RUST_LOG", "info");
    let mut issuer = Running::start(command);
    let line: Value = serde_json::from_str(&issuer.line()).unwrap();
    let url = line["listening"].as_str().unwrap();
    let host = url.strip_prefix("ws://").unwrap();
    let address = host.strip_suffix("/signer").unwrap().parse().unwrap();
    let identity = Identity::load(&place.path("bitmart/identity.toml")).unwrap();
    let garbled = format!(
        r#"{{"type":"signatures","id":"{}","signatures":"{}"}}"#,
        "0".repeat(32),
        "A".repeat(5000)
    );
    let over = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        let (came, often) = std::sync::mpsc::channel();
        let (over, identity) = (&over, &identity);
        scope.spawn(move || {
            // Its side of each is left open for as long as it can.
            let mut held = VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                match enter(address, &key(101), identity.public()) {
                    Ok((mut stream, mut transport)) => {
                        let _ = say(&mut stream, &mut transport, &garbled);
                        held.push_back(stream);
                        let _ = came.send(());
                    }
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
                if held.len() > 100 {
                    held.pop_front();
                }
            }
        });
        for _ in 0..60 {
            often.recv().unwrap();
        }
        let signer = place.signer(url, &[key(1)]);
        let ended = issuer.end();
        over.store(true, Ordering::Relaxed);
        let _ = signer.kill();
        ended
    });
    let ended = ended.expect(0, "issued", "5");
    place.settled();
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines.len() < 40, "{} lines: {lines:#?}", lines.len());
    assert!(lines.iter().all(|line| line.len() < 500), "{lines:#?}");
    let said = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(said("not a message of this protocol"), 1, "{lines:#?}");
}
