//! How long the real signer waits at a door that strangers of every kind crowd at: from the start of its program, which
//! dials at once, to its verified signature in the issuer's log; and the most memory that the issuer uses. Both programs
//! are the real ones, and everything runs on this machine. `cargo bench --bench strangers`; STRANGERS_ROUNDS sets how often, STRANGERS_HELD how many
//! connections each kind holds open that holds some.

#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a bench stops on the spot, and does not use all that the tests do"
)]

#[path = "../tests/it/crowd.rs"]
mod crowd;
#[path = "../tests/it/peer.rs"]
mod peer;
#[path = "../tests/it/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use bitmart_issuer::signer::Identity;
use crowd::{Crowd, HELD, Heard, recorded};
use support::{Place, Plan, key};

/// One run: how long the signer took, and the issuer's largest memory in kB.
fn round(place: &Place, heard: Option<&mut Heard>, held: usize) -> (Duration, u64) {
    place.exchange.sell("1");
    let mut command = place.command(&["run", "--json"]);
    let mut issuer = command.env("RUST_LOG", "info").spawn().unwrap();
    let mut stdout = BufReader::new(issuer.stdout.take().unwrap()).lines();
    let mut stderr = BufReader::new(issuer.stderr.take().unwrap()).lines();
    let line: serde_json::Value = serde_json::from_str(&stdout.next().unwrap().unwrap()).unwrap();
    let url = line["listening"].as_str().unwrap();
    let identity = Identity::load(&place.path("bitmart/identity.toml")).unwrap();
    let server = identity.public();
    let crowd = heard
        .is_some()
        .then(|| Crowd::gather(url, server, recorded(&key(100), server), held));
    let started = Instant::now();
    let signer = place.signer(url, &[key(1)]);
    let signed = |line: &String| line.contains("signatures so far: 1 of 1");
    let line = stderr.by_ref().map(|line| line.unwrap()).find(signed);
    let time = started.elapsed();
    assert!(line.is_some(), "no signature");
    let peak = peak_kb(issuer.id());
    for _ in stderr {}
    assert!(issuer.wait().unwrap().success());
    if let (Some(all), Some(crowd)) = (heard, crowd) {
        for (kind, said) in crowd.leave() {
            for (what, count) in said {
                *all.entry(kind).or_default().entry(what).or_default() += count;
            }
        }
    }
    let _ = signer.kill();
    (time, peak)
}

fn peak_kb(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|kb| kb.parse().ok())
        .unwrap_or(0)
}

fn main() {
    let number = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let rounds = number("STRANGERS_ROUNDS", 50);
    let held = number("STRANGERS_HELD", HELD);
    let mut plan = Plan::new();
    plan.exchange.v4_rate_limit = None;
    plan.chain.block_time = Duration::from_millis(50);
    let place = plan.start();
    let mut heard = BTreeMap::new();
    for crowded in [false, true] {
        let mut times = Vec::new();
        let mut peak = 0;
        for _ in 0..rounds {
            let (time, kb) = round(&place, crowded.then_some(&mut heard), held);
            times.push(time);
            peak = peak.max(kb);
        }
        times.sort();
        println!(
            "{:<22} {rounds} rounds: median {:>9.3?}, worst {:>9.3?}; issuer's peak memory {peak} kB",
            if crowded { "in the crowd" } else { "alone" },
            times[times.len() / 2],
            times[times.len() - 1],
        );
    }
    place.settled();
    for (kind, said) in heard {
        let connections: usize = said.values().sum();
        println!("{kind:<26} {connections:>8} connections; heard {said:?}");
    }
}
