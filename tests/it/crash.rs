//! A run that dies at any of its effects on the disk, and the runs after it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;

use crate::support::{Place, Plan, key};
use bitmart_issuer::clock::SystemClock;
use bitmart_issuer::config::Config;
use bitmart_issuer::http::UreqHttp;
use bitmart_issuer::report::Report;
use bitmart_issuer::run::{World, run};
use bitmart_issuer::signer::Callers;
use bitmart_issuer::state::{Disk, HostDisk};

/// How far an effect comes before the process dies in it.
#[derive(Debug, Clone, Copy)]
enum Death {
    Before,
    Half,
    After,
}

/// The host's disk until the effect `at`; from then on nothing happens any more.
struct DyingDisk {
    effects: Cell<u32>,
    at: u32,
    death: Death,
}

impl DyingDisk {
    fn effect(
        &self,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let effect = self.effects.get();
        self.effects.set(effect + 1);
        match (effect.cmp(&self.at), self.death) {
            (std::cmp::Ordering::Less, _) => return whole(),
            (std::cmp::Ordering::Equal, Death::Half) => half()?,
            (std::cmp::Ordering::Equal, Death::After) => whole()?,
            _ => {}
        }
        Err(io::Error::other("killed"))
    }
}

impl Disk for DyingDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        HostDisk.read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.effect(
            || HostDisk.write(path, &bytes[..bytes.len() / 2]),
            || HostDisk.write(path, bytes),
        )
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.effect(
            || HostDisk.append(path, &bytes[..bytes.len() / 2]),
            || HostDisk.append(path, bytes),
        )
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.effect(|| Ok(()), || HostDisk.sync_file(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.effect(|| Ok(()), || HostDisk.sync_folder(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.effect(|| Ok(()), || HostDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.effect(|| Ok(()), || HostDisk.remove(path))
    }
}

/// Runs in this process with a disk that dies at effect `at`; how many effects there were.
fn run_and_die(place: &Place, at: u32, death: Death) -> u32 {
    let config = Config::load(&place.path("bitmart/issuer.toml")).unwrap();
    let disk = DyingDisk {
        effects: Cell::new(0),
        at,
        death,
    };
    let signer = RefCell::new(None);
    let listening = |url: &str| {
        signer.borrow_mut().replace(place.signer(url, &[key(1)]));
    };
    let world = World {
        http: &UreqHttp::new(),
        disk: &disk,
        clock: &SystemClock,
        signers: &Callers {
            listening: &listening,
        },
    };
    let survived = run(&config, world, &mut Report::default()).is_ok();
    assert_eq!(survived, disk.effects.get() <= at, "effect {at} {death:?}");
    disk.effects.get()
}

#[test]
fn a_death_at_any_effect_costs_no_sale_and_issues_none_twice() {
    for death in [Death::Before, Death::Half, Death::After] {
        let mut at = 0;
        loop {
            let place = Plan::new().start();
            place.exchange.sell("5");
            place.exchange.buy("1");
            place.exchange.sell("0.5");
            let effects = run_and_die(&place, at, death);
            if effects <= at {
                assert!(at > 12, "only {at} effects");
                break;
            }
            let next = place.run();
            assert_eq!(next.code, 0, "effect {at} {death:?}: {next:#?}");
            place.exchange.sell("7");
            let last = place.run();
            assert_eq!(last.code, 0, "effect {at} {death:?}: {last:#?}");
            place.settled();
            at += 1;
        }
    }
}
