//! Allowed signers that do not do their part, and what that costs those that do.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bitmart_issuer::signer::Identity;
use serde_json::Value;

use crate::peer::{enter, say};
use crate::support::{ISSUER, Place, Plan, Running, SIGNER, key};

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

/// Once, such a run ended with 77, as if somebody had said no.
#[test]
fn one_that_does_not_come_is_named_whatever_the_others_say() {
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    plan.policy = "[policy]\nmax_issue_per_tx = \"6\"\n".to_owned();
    let place = with_two_allowed(plan, "5s");
    let (here, absent) = (key(100), key(101));
    let missing = format!("{} did not come", absent.public());
    let keyless = format!(
        "{} holds none of the keys asked for",
        here.public().as_text()
    );
    for (held, code, says) in [
        (key(1), 69, ["1 of 2", &missing]),
        (key(3), 69, [&missing, &keyless]),
    ] {
        place
            .run_with(|place, url| Some(place.signer(url, &[held])))
            .fails(code, &says);
    }
    // Its no is what tells most.
    place
        .run_with(|place, url| {
            let name = place.write_sigconfig(&here, url, &[key(1)]);
            let config = std::fs::read_to_string(place.path(&name)).unwrap();
            place.write(&name, &config.replace("\"6\"", "\"4\""), 0o600);
            let command = place.command_of(SIGNER, &["run", "--config", &name]);
            Some(Running::start(command))
        })
        .fails(77, &["above the limit of 4 ndau", &missing]);
    let mut other = None;
    place
        .run_with(|place, url| {
            other = Some(place.signer_as(&absent, url, &[key(2)]));
            Some(place.signer(url, &[key(1)]))
        })
        .expect(0, "settled", "5");
    place.settled();
}
