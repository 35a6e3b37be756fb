//! The world of a run as one value: to be cloned, compared, and gone on with from any moment.
//!
//! `Office` is what of it must be real files; [`Office::run`] is one run of the real code in a [`World`]. Whatever a process
//! does outside itself passes `Process`, which numbers it and knows where it ends.

mod chain;
mod clock;
mod disk;
mod effect;
mod exchange;
mod process;
mod signers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use bitmart_issuer::args::From;
use bitmart_issuer::config::Config;
use bitmart_issuer::error::Error;
use bitmart_issuer::ndau::PrivateKey;
use bitmart_issuer::report::{Outcome, Report};
use bitmart_issuer::run::{self, Resolved, Typed};
use bitmart_issuer::signer::Identity;
use bitmart_issuer::state::{self, Folder, State};
use serde_json::json;

pub use chain::{BLOCK_MS, Chain, Issued, Surprise};
pub use clock::Clock;
pub use disk::{Disk, Loss};
pub use effect::{Effect, Extent, Then, Trouble};
pub use exchange::{Exchange, Side, Style};
use process::{Died, Process};

/// Where the node and the exchange are.
const NODE: &str = "http://127.0.0.1:1";
const EXCHANGE: &str = "http://127.0.0.1:2";

/// Everything that a run can see or change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub disk: Disk,
    pub chain: Chain,
    pub exchange: Exchange,
    pub clock: Clock,
}

impl World {
    /// Nothing sold, and an empty disk.
    pub fn new() -> World {
        World {
            disk: Disk::default(),
            chain: Chain::new(),
            exchange: Exchange::new(),
            clock: Clock::new(),
        }
    }

    /// Time passes, also for the chain.
    pub fn pass(&mut self, ms: u64) {
        self.clock.pass(ms);
        self.chain.advance(self.clock.elapsed_ms);
    }

    /// Something is sold at this moment.
    pub fn sell(&mut self, napu: u64) {
        self.trade(Side::Sell, napu);
    }

    /// A trade at this moment; a second passes.
    pub fn trade(&mut self, side: Side, napu: u64) {
        self.exchange.trade(self.clock.true_ms(), side, napu);
        self.pass(1000);
    }

    /// Every world that this one can be after a crash, each once.
    pub fn losses(&self) -> Vec<(Loss, World)> {
        let disks = self.disk.losses().into_iter();
        disks
            .map(|(loss, disk)| {
                let world = World {
                    disk,
                    ..self.clone()
                };
                (loss, world)
            })
            .collect()
    }
}

/// What others do before an effect of this number.
pub type Meanwhile<'a> = &'a dyn Fn(&mut World, usize, &Effect);

/// What happens in a process beside what the world makes happen.
#[derive(Clone, Copy, Default)]
pub struct Plan<'a> {
    /// What goes wrong.
    pub trouble: Option<Trouble>,
    /// Whether to keep the worlds that it would leave if it died.
    pub deaths: bool,
    /// The syncs that do nothing, as [`Effect`] prints them.
    pub ignored: &'a [&'a str],
    /// Called before each effect, with its number: what others do meanwhile.
    pub meanwhile: Option<Meanwhile<'a>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended<T = Outcome> {
    /// `None`: it died.
    pub result: Option<Result<T, Error>>,
    /// What a run found and did.
    pub report: Report,
    /// What it did, or came to do.
    pub effects: Vec<Effect>,
    /// The worlds that it would have left had it died at one of these, if they were asked for.
    pub deaths: Vec<(Trouble, World)>,
}

/// The files of an operator that are read past the seams: settings, API key and identity, and the lock. One process at a
/// time can be in it.
pub struct Office {
    _folder: tempfile::TempDir,
    path: PathBuf,
    config: Config,
}

impl Office {
    pub fn new() -> Office {
        Office::with("")
    }

    /// It does not take every `Issue` for one of its own.
    pub fn where_others_issue() -> Office {
        Office::with("sole_issuer = false\n")
    }

    /// With more settings of the chain.
    fn with(more: &str) -> Office {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        for name in ["bitmart", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let key = json!({"access": "an-access-key", "secret": "a secret", "memo": "", "endpoint": EXCHANGE, "api": "v4"});
        write("bitmart/test.apikey.json", &key.to_string());
        let identity = |seed| Identity::new(PrivateKey::from_ed25519_seed(&[seed; 32])).unwrap();
        write("bitmart/identity.toml", identity(2).to_toml().expose());
        let allowed = identity(3).public().to_string();
        let toml = format!(
            "symbol = \"{}\"\nsettle = \"0s\"\n[ndau]\napi = \"{NODE}\"\nconfirm = \"5s\"\n{more}\
             [signer]\nallowed = [\"{allowed}\"]\n",
            exchange::SYMBOL
        );
        write("bitmart/issuer.toml", &toml);
        let path = folder.path().join("bitmart/issuer.toml");
        Office {
            config: Config::load(&path).unwrap(),
            path,
            _folder: folder,
        }
    }

    /// A world in which `init --from now` was done.
    pub fn world(&self) -> World {
        let mut world = World::new();
        self.init(&mut world, From::Now, Plan::default())
            .result
            .unwrap()
            .unwrap();
        world.pass(1000);
        world
    }

    /// `init`, where all but the cursor is there already.
    pub fn init(&self, world: &mut World, from: From, plan: Plan) -> Ended<String> {
        process(world, plan, |process, _| {
            bitmart_issuer::init::init(&self.path, Some(from), process, process, &|_| ())
        })
    }

    /// `run`.
    pub fn run(&self, world: &mut World, plan: Plan) -> Ended {
        process(world, plan, |process, report| {
            run::run(&self.config, process.seams(), report)
        })
    }

    /// `resolve`, with what a person decides, if anything.
    pub fn resolve(&self, world: &mut World, choice: Option<&str>, plan: Plan) -> Ended<Resolved> {
        process(world, plan, |process, _| {
            let typed = choice.map(|choice| Typed {
                choice,
                by: "somebody",
                why: "it is true",
            });
            run::resolve(&self.config, process.seams(), typed)
        })
    }

    /// What the state folder says.
    pub fn state(&self, world: &World) -> Result<State, state::Error> {
        let mut world = world.clone();
        let process = Process::new(&mut world, Plan::default());
        Folder::new(&process, &self.config.state_dir).load()
    }
}

/// One process, from its first effect to its last.
fn process<T>(
    world: &mut World,
    plan: Plan,
    act: impl FnOnce(&Process, &mut Report) -> Result<T, Error>,
) -> Ended<T> {
    let process = Process::new(world, plan);
    let mut report = Report::default();
    let act = AssertUnwindSafe(|| act(&process, &mut report));
    let result = match panic::catch_unwind(act) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => panic::resume_unwind(payload),
    };
    let (effects, deaths) = process.ended();
    Ended {
        result,
        report,
        effects,
        deaths,
    }
}
