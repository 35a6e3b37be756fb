//! Who comes to the integration's door without being allowed in: it learns nothing, and delays nobody. How fast the real
//! signer gets through is shown by `cargo bench --bench strangers`.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::crowd::{Crowd, HELD, Says, recorded};
use crate::support::{Ended, ISSUER, Place, Plan, Running, key};
use crate::tunnel::far;
use bitmart_issuer::ndau::PublicKey;
use bitmart_issuer::signer::Identity;
use serde_json::Value;

/// The largest memory that a process has used, once it has ended, in kB.
fn peak_kb(process: u32) -> u64 {
    let path = format!("/proc/{process}/status");
    let mut peak = 0;
    while let Ok(status) = fs::read_to_string(&path) {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // One that has ended and is not waited for yet has none.
        let Some(kb) = line.and_then(|line| line.trim().strip_suffix(" kB")) else {
            break;
        };
        peak = kb.parse().expect("a number");
        thread::sleep(Duration::from_millis(1));
    }
    peak
}

/// One run: a crowd gathers at the door, then the signer comes, from `delay` away. How the run ended, the most memory that
/// the issuer used, and what `gather` gave.
fn issue<T>(
    place: &Place,
    mut command: Command,
    delay: Duration,
    gather: impl FnOnce(&str, &PublicKey) -> T,
) -> (Ended, u64, T) {
    command.env("RUST_LOG", "info");
    let mut issuer = Running::start(command);
    let process = issuer.id();
    let peak = thread::spawn(move || peak_kb(process));
    let listening: Value = serde_json::from_str(&issuer.line()).unwrap();
    let url = listening["listening"].as_str().unwrap();
    let identity = Identity::load(&place.path("bitmart/identity.toml")).unwrap();
    let crowd = gather(url, identity.public());
    let signer = place.signer(&far(url, delay), &[key(1)]);
    let ended = issuer.end();
    let _ = signer.kill();
    (ended, peak.join().unwrap(), crowd)
}

/// Strangers of every kind, all at once and without end, get an HTTP status or a close code and the handshake's own answer;
/// the signer's signature arrives, and the memory stays what it was.
#[test]
fn a_crowd_of_every_kind_keeps_no_signer_out_and_learns_nothing() {
    let place = Plan::new().start();
    let run = || place.command(&["run", "--json"]);
    place.exchange.sell("5");
    let (ended, alone, ()) = issue(&place, run(), Duration::ZERO, |_, _| ());
    ended.expect(0, "issued", "5");
    place.exchange.sell("7");
    let (ended, crowded, crowd) = issue(&place, run(), Duration::ZERO, |url, server| {
        Crowd::gather(url, server, recorded(&key(100), server), HELD)
    });
    let heard = crowd.leave();
    let ended = ended.expect(0, "issued", "7");
    place.settled();
    println!("peak memory: {alone} kB alone, {crowded} kB in the crowd; heard: {heard:#?}");
    assert!(crowded < alone + 24 * 1024, "{alone} kB, {crowded} kB");
    assert!(ended.stderr.lines().count() < 50, "{ended:#?}");
    for (kind, all) in heard {
        // Nothing is said to most, and what is on its way is lost when a connection is cut.
        let most: &[&str] = match kind {
            "another path" => &["404"],
            "another protocol" => &["400"],
            "upgraded and silent" | "a frame too long" => &["101"],
            // 48 bytes are an ephemeral key and a tag; whoever cannot compute with them has learned nothing.
            "a recorded message again" => &["101", "101, 48 bytes"],
            "not allowed" => &["101", "101, close 1008"],
            _ => &[],
        };
        for said in all.keys() {
            let said = said.as_str();
            assert!(said == "nothing" || most.contains(&said), "{kind}: {said}");
        }
    }
}

/// Once, a process that had run out of descriptors took nobody in until strangers had had their five seconds.
#[test]
fn a_crowd_that_takes_the_last_descriptor_keeps_no_signer_out() {
    let place = Plan::new().start();
    place.exchange.sell("5");
    let mut few = place.command_of("sh", &["-c", "ulimit -n 40; exec \"$0\" \"$@\"", ISSUER]);
    few.args(["run", "--json"]);
    let (ended, _, crowd) = issue(&place, few, Duration::ZERO, |url, server| {
        Crowd::gather_silent(url, server, 100)
    });
    let heard = crowd.leave();
    ended.expect(0, "issued", "5");
    place.settled();
    assert!(heard["silent"].keys().all(|said| said == "nothing"));
}

/// Once, the oldest of a crowd made room for whoever came, so that strangers that came fast enough pushed out everyone
/// who needed a round trip from one step to the next.
#[test]
fn a_crowd_that_pushes_keeps_no_signer_out_that_is_far_away() {
    let place = Plan::new().start();
    for says in [Says::Requests, Says::RequestsAndNothing] {
        place.exchange.sell("5");
        let run = place.command(&["run", "--json"]);
        let (ended, _, crowd) = issue(&place, run, Duration::from_millis(50), |url, server| {
            Crowd::gather_pushing(url, server, says)
        });
        let heard = crowd.leave();
        ended.expect(0, "issued", "5");
        for said in heard["held, and again"].keys() {
            assert!(["nothing", "101"].contains(&said.as_str()), "{said}");
        }
    }
    place.settled();
}
