//! How long the real signer waits at a door that strangers of every kind crowd at, and at one where strangers that come back
//! as fast as they can push each other and it out: from the start of its program, which dials at once, to its verified
//! signature in the issuer's log; and the most memory that the issuer uses. Both programs are the real ones, and everything
//! runs on this machine, the signer behind a tunnel that takes its time. `cargo bench --bench strangers`;
//! STRANGERS_ROUNDS and STRANGERS_PUSHES set how often, STRANGERS_HELD how many connections each kind holds open that holds
//! some.

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
#[path = "../tests/it/tunnel.rs"]
mod tunnel;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use bitmart_issuer::signer::Identity;
use crowd::{Crowd, HELD, Heard, Says, recorded};
use support::{Place, Plan, key};
use tunnel::far;

/// Who crowds at the door.
#[derive(Clone, Copy)]
enum Door {
    Empty,
    /// Every kind of stranger.
    Crowded,
    /// Strangers that push each other, and everyone else, out.
    Pushed(Says),
}

/// One run: how long a signer took that is `delay` away, if it came in at all, and the issuer's largest memory in kB.
fn round(
    place: &Place,
    door: Door,
    delay: Duration,
    held: usize,
    heard: &mut Heard,
) -> (Option<Duration>, u64) {
    // What an earlier round left comes with it.
    place.exchange.sell("1");
    let mut command = place.command(&["run", "--json"]);
    let mut issuer = command.env("RUST_LOG", "info").spawn().unwrap();
    let mut stdout = BufReader::new(issuer.stdout.take().unwrap()).lines();
    let mut stderr = BufReader::new(issuer.stderr.take().unwrap()).lines();
    let line: serde_json::Value = serde_json::from_str(&stdout.next().unwrap().unwrap()).unwrap();
    let url = line["listening"].as_str().unwrap();
    let identity = Identity::load(&place.path("bitmart/identity.toml")).unwrap();
    let server = identity.public();
    let crowd = match door {
        Door::Empty => None,
        Door::Crowded => Some(Crowd::gather(
            url,
            server,
            recorded(&key(100), server),
            held,
        )),
        Door::Pushed(says) => Some(Crowd::gather_pushing(url, server, says)),
    };
    let url = if delay.is_zero() {
        url.to_owned()
    } else {
        far(url, delay)
    };
    let started = Instant::now();
    let signer = place.signer(&url, &[key(1)]);
    let signed = |line: &String| line.contains("signatures so far: 1 of 1");
    let line = stderr.by_ref().map(|line| line.unwrap()).find(signed);
    let time = line.map(|_| started.elapsed());
    let peak = peak_kb(issuer.id());
    for _ in stderr {}
    assert_eq!(issuer.wait().unwrap().success(), time.is_some());
    for (kind, said) in crowd.map(Crowd::leave).unwrap_or_default() {
        for (what, count) in said {
            *heard.entry(kind).or_default().entry(what).or_default() += count;
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
    let pushes = number("STRANGERS_PUSHES", 10);
    let held = number("STRANGERS_HELD", HELD);
    let mut plan = Plan::new();
    plan.exchange.v4_rate_limit = None;
    plan.chain.block_time = Duration::from_millis(50);
    let place = plan.start();
    let mut heard = BTreeMap::new();
    let away = |ms| Duration::from_millis(ms);
    let pushed = [0, 50, 100].map(|ms| (Door::Pushed(Says::Requests), away(ms)));
    let pushed_everywhere =
        [0, 50, 100].map(|ms| (Door::Pushed(Says::RequestsAndNothing), away(ms)));
    let doors = [(Door::Empty, away(0)), (Door::Crowded, away(0))];
    for (door, delay) in doors.into_iter().chain(pushed).chain(pushed_everywhere) {
        let (name, rounds) = match door {
            Door::Empty => ("alone", rounds),
            Door::Crowded => ("in the crowd", rounds),
            Door::Pushed(Says::Requests) => ("pushed at one point", pushes),
            Door::Pushed(Says::RequestsAndNothing) => ("pushed at two points", pushes),
        };
        let mut times = Vec::new();
        let mut peak = 0;
        for _ in 0..rounds {
            let (time, kb) = round(&place, door, delay, held, &mut heard);
            // Whoever never came in took longest.
            times.push(time.unwrap_or(Duration::MAX));
            peak = peak.max(kb);
        }
        times.sort();
        let shown = |time: Option<&Duration>| match time {
            Some(&Duration::MAX) => "never".to_owned(),
            Some(time) => format!("{time:.3?}"),
            None => "not tried".to_owned(),
        };
        println!(
            "{name:<20} {:>3} ms away, {rounds:>2} rounds: median {:>9}, worst {:>9}; issuer's peak memory {peak} kB",
            delay.as_millis(),
            shown(times.get(times.len() / 2)),
            shown(times.last()),
        );
    }
    for (kind, said) in heard {
        let connections: usize = said.values().sum();
        println!("{kind:<26} {connections:>8} connections; heard {said:?}");
    }
}
