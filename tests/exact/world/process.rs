//! The four seams of one process: each effect is numbered, and may be the last.

use std::cell::RefCell;
use std::io;
use std::panic;
use std::path::Path;
use std::time::{Duration, Instant};

use bitmart_issuer::clock::Clock;
use bitmart_issuer::http::{self, Http, Request, Response};
use bitmart_issuer::run;
use bitmart_issuer::signer::{self, Door, Signed, Signers};
use bitmart_issuer::state::Disk;

use super::effect::{Effect, Extent, Then, Trouble};
use super::{EXCHANGE, NODE, Plan, World, signers};

/// No run has as many effects.
const ENDLESS: usize = 10_000;

/// What unwinds a process that dies: a dead one does nothing more, not even what it does when something fails.
pub struct Died;

/// The effect failed, as far as the process is told.
struct Failed;

/// A process between the world and its end.
pub struct Process<'a> {
    world: RefCell<&'a mut World>,
    plan: Plan<'a>,
    effects: RefCell<Vec<Effect>>,
    deaths: RefCell<Vec<(Trouble, World)>>,
}

impl<'a> Process<'a> {
    pub fn new(world: &'a mut World, plan: Plan<'a>) -> Process<'a> {
        Process {
            world: RefCell::new(world),
            plan,
            effects: RefCell::default(),
            deaths: RefCell::default(),
        }
    }

    /// What the real code is given.
    pub fn seams(&self) -> run::World<'_> {
        run::World {
            http: self,
            disk: self,
            clock: self,
            signers: self,
        }
    }

    /// What it did, and the worlds that it would have left had it died at it.
    pub fn ended(self) -> (Vec<Effect>, Vec<(Trouble, World)>) {
        (self.effects.into_inner(), self.deaths.into_inner())
    }

    /// The next effect; `act` does as much of it as it comes to.
    fn effect<T>(
        &self,
        effect: Effect,
        act: impl Fn(&mut World, Extent) -> T,
    ) -> Result<T, Failed> {
        let mut world = self.world.borrow_mut();
        let mut effects = self.effects.borrow_mut();
        let number = effects.len();
        assert!(number < ENDLESS, "an endless loop: {effect}");
        if let Some(meanwhile) = self.plan.meanwhile {
            meanwhile(&mut world, number, &effect);
        }
        if self.plan.deaths {
            let deaths = effect.extents().iter().map(|extent| {
                let trouble = Trouble {
                    at: number,
                    extent: *extent,
                    then: Then::Dies,
                };
                let mut left = world.clone();
                if *extent != Extent::Nothing {
                    act(&mut left, *extent);
                }
                (trouble, left)
            });
            self.deaths.borrow_mut().extend(deaths);
        }
        effects.push(effect);
        let Some(trouble) = self.plan.trouble.filter(|trouble| trouble.at == number) else {
            return Ok(act(&mut world, Extent::Whole));
        };
        if trouble.extent != Extent::Nothing {
            act(&mut world, trouble.extent);
        }
        drop((world, effects));
        match trouble.then {
            Then::Fails => Err(Failed),
            Then::Dies => panic::resume_unwind(Box::new(Died)),
        }
    }

    fn sync(&self, what: &str, act: impl Fn(&mut World) -> bool) -> io::Result<()> {
        let effect = self.next_sync(what);
        let ignored = self.plan.ignored.contains(&effect.to_string().as_str());
        let result = self.disk(effect, |world, _| ignored || act(world));
        if result.is_err() {
            self.world.borrow_mut().disk.give_up(what);
        }
        result
    }

    fn next_sync(&self, what: &str) -> Effect {
        let effects = self.effects.borrow();
        let is_change = |effect: &Effect| {
            matches!(
                effect,
                Effect::Write(_) | Effect::Append(_) | Effect::Rename { .. } | Effect::Remove(_)
            )
        };
        let last = effects.iter().rposition(is_change);
        let since = &effects[last.map_or(0, |last| last + 1)..];
        Effect::Sync {
            what: what.to_owned(),
            after: last.map_or_else(|| "nothing".to_owned(), |last| effects[last].to_string()),
            again: since.iter().any(
                |effect| matches!(effect, Effect::Sync { what: before, .. } if before == what),
            ),
        }
    }

    /// An effect on the disk; `act` says whether the file is there.
    fn disk(&self, effect: Effect, act: impl Fn(&mut World, Extent) -> bool) -> io::Result<()> {
        match self.effect(effect, act) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::NotFound.into()),
            Err(Failed) => Err(io::Error::other("the disk has failed")),
        }
    }
}

/// All files are in one folder.
fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// As much of `bytes` as is written.
fn part(bytes: &[u8], extent: Extent) -> &[u8] {
    match extent {
        Extent::Whole => bytes,
        Extent::Half | Extent::Nothing => &bytes[..bytes.len() / 2],
    }
}

impl Disk for Process<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world.borrow();
        let bytes = world.disk.read(&name(path)).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = name(path);
        self.disk(Effect::Write(file.clone()), |world, extent| {
            world.disk.write(&file, part(bytes, extent));
            true
        })
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = name(path);
        self.disk(Effect::Append(file.clone()), |world, extent| {
            world.disk.append(&file, part(bytes, extent));
            true
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let file = name(path);
        self.sync(&file, |world| world.disk.sync_file(&file))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.sync("the folder", |world| {
            world.disk.sync_folder();
            true
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (name(from), name(to));
        let effect = Effect::Rename {
            from: from.clone(),
            to: to.clone(),
        };
        self.disk(effect, |world, _| world.disk.rename(&from, &to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let file = name(path);
        self.disk(Effect::Remove(file.clone()), |world, _| {
            world.disk.remove(&file)
        })
    }
}

impl Clock for Process<'_> {
    fn now_ms(&self) -> u64 {
        self.world.borrow().clock.wall_ms
    }

    fn instant(&self) -> Instant {
        self.world.borrow().clock.instant()
    }

    fn sleep(&self, pause: Duration) {
        // A pause of less than a millisecond passes too.
        let ms = u64::try_from(pause.as_millis()).unwrap().max(1);
        self.world.borrow_mut().pass(ms);
    }
}

impl Http for Process<'_> {
    fn send(&self, request: &Request) -> Result<Response, http::Error> {
        let url = request.url.as_str();
        let body = request.body.as_deref().unwrap_or_default();
        let answer = if url.starts_with(EXCHANGE) {
            let path = url.strip_prefix(EXCHANGE).unwrap();
            let mut headers = request.headers.iter();
            let stamp = headers.find(|(name, _)| *name == "X-BM-TIMESTAMP");
            let stamp_ms = stamp.map(|(_, value)| value.parse().unwrap());
            self.effect(Effect::Ask(path.to_owned()), |world, _| {
                let now_ms = world.clock.true_ms();
                match path {
                    "/system/time" => world.exchange.time(now_ms),
                    _ => world.exchange.answer(body, stamp_ms.unwrap(), now_ms),
                }
            })
        } else {
            let path = url.strip_prefix(NODE).unwrap();
            match path {
                "/tx/submit/Issue" => {
                    self.effect(Effect::Submit, |world, extent| submit(world, body, extent))
                }
                "/tx/prevalidate/Issue" => self.effect(Effect::Ask(path.to_owned()), |world, _| {
                    world.chain.prevalidate(body)
                }),
                _ => self.effect(Effect::Ask(path.to_owned()), |world, _| {
                    world.chain.get(path)
                }),
            }
        };
        match answer {
            Ok((status, body)) => Ok(Response {
                status,
                headers: Vec::new(),
                body: body.into_bytes(),
            }),
            Err(Failed) => Err(http::Error::Timeout {
                url: http::without_query(url).to_owned(),
                within: request.within,
            }),
        }
    }
}

fn submit(world: &mut World, body: &[u8], extent: Extent) -> (u16, String) {
    let at_once = world.chain.submit(body);
    let answer = match (at_once, extent) {
        (Some(answer), _) => answer,
        (None, Extent::Half) => (0, "nobody reads it".to_owned()),
        (None, _) => world.chain.answer_when_in_block(body),
    };
    let waited = world.chain.now_ms() - world.clock.elapsed_ms;
    world.clock.pass(waited);
    answer
}

impl Signers for Process<'_> {
    fn sign(
        &self,
        door: &Door,
        _: &dyn Clock,
        request: &signer::Request,
    ) -> Result<Signed, signer::Error> {
        assert_eq!(request.keys, [signers::public()]);
        let signed = self.effect(Effect::Sign, |_, _| {
            Signed::new(vec![signers::sign(request.issue)])
        });
        signed.map_err(|Failed| signer::Error::Nobody {
            within: door.within,
            strangers: 0,
        })
    }
}
