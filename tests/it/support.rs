//! One operator's folder between a sandboxed exchange and chain, and the real programs run in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bitmart_issuer::ndau::PrivateKey;
use rustix::process::{Pid, Signal, kill_process};
use sandbox::chain::{self, Chain};
use sandbox::exchange::{self, Exchange};
use serde_json::Value;

pub const ISSUER: &str = env!("CARGO_BIN_EXE_bitmart-issuer");
pub const SIGNER: &str = env!("CARGO_BIN_EXE_ndau-signer");

/// Nothing a test waits for takes this long on any machine that is alive.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a test sets before anything is started.
pub struct Plan {
    pub exchange: exchange::Settings,
    pub chain: chain::Settings,
    /// The keys that the signing service holds.
    pub held: Vec<PrivateKey>,
    /// `init --from` this.
    pub from: &'static str,
    /// `api` in the key file.
    pub api: Option<&'static str>,
    /// Lines for the top of issuer.toml, for its `[ndau]` and for its `[signer]`.
    pub top: String,
    pub ndau: String,
    pub signer: String,
    /// Lines for the end of sigconfig.toml.
    pub policy: String,
}

/// A key pair that is the same in every run of the tests.
pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_ed25519_seed(&[seed; 32])
}

/// A port that was free a moment ago, for a listener that is to come back at the same place.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

impl Plan {
    pub fn new() -> Plan {
        Plan {
            exchange: exchange::Settings::default(),
            chain: chain::Settings {
                validation_keys: vec![key(1).public().to_string()],
                ..chain::Settings::default()
            },
            held: vec![key(1)],
            from: "now",
            api: None,
            top: String::new(),
            ndau: String::new(),
            signer: String::new(),
            policy: String::new(),
        }
    }

    pub fn start(self) -> Place {
        Place::start(self)
    }
}

/// An operator's folder, with `init` done, and the systems around it.
pub struct Place {
    folder: tempfile::TempDir,
    pub exchange: Exchange,
    pub chain: Chain,
    plan_policy: String,
    held: Vec<PrivateKey>,
    npub: String,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The last line of stdout, as the JSON object that `--json` promises.
    #[track_caller]
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Exit code, outcome and quantity in ndau, all as expected.
    #[track_caller]
    pub fn expect(self, code: i32, outcome: &str, ndau: &str) -> Ended {
        let json = self.json();
        let found = (
            self.code,
            json["outcome"].as_str(),
            json["quantity_ndau"].as_str(),
        );
        assert_eq!(found, (code, Some(outcome), Some(ndau)), "{self:#?}");
        assert_eq!(json["exit_code"], code, "{self:#?}");
        self
    }

    /// A failure with this code, whose message (the same on stderr and in the JSON) says all of `parts`.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Ended {
        let json = self.json();
        assert_eq!(
            (self.code, json["outcome"].as_str()),
            (code, Some("failed")),
            "{self:#?}"
        );
        let error = json["error"].as_str().unwrap_or_default();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        assert!(self.stderr.contains(error), "{self:#?}");
        self
    }
}

impl Place {
    fn start(plan: Plan) -> Place {
        let exchange = Exchange::start(plan.exchange);
        let chain = Chain::start(plan.chain);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut place = Place {
            folder,
            exchange,
            chain,
            plan_policy: plan.policy,
            held: plan.held,
            npub: String::new(),
        };
        let init = place.issuer(&["init", "--from", plan.from]);
        assert_eq!(init.code, 0, "{init:#?}");
        init.stdout.trim().clone_into(&mut place.npub);
        place.write_key(plan.api, 0o600);
        place.configure(&plan.top, &plan.ndau, &plan.signer);
        // A trade of the very millisecond of `init` would be before it.
        let now = place.exchange.now_ms();
        place.wait_until("the next millisecond", || place.exchange.now_ms() > now);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, content).expect("a file of the test");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    }

    pub fn write_key(&self, api: Option<&str>, mode: u32) {
        let settings = self.exchange.settings();
        let mut file = serde_json::json!({
            "access": settings.access,
            "secret": settings.secret,
            "memo": settings.memo,
            "endpoint": self.exchange.url(),
        });
        if let Some(api) = api {
            file["api"] = api.into();
        }
        self.write("bitmart/test.apikey.json", &file.to_string(), mode);
    }

    /// Writes issuer.toml with these lines added to the usual ones.
    pub fn configure(&self, top: &str, ndau: &str, signer: &str) {
        let api = if ndau.contains("api =") {
            String::new()
        } else {
            format!("api = \"{}\"", self.chain.url())
        };
        let confirm = if ndau.contains("confirm =") {
            ""
        } else {
            "confirm = \"20s\""
        };
        let timeout = if signer.contains("timeout =") {
            ""
        } else {
            "timeout = \"60s\""
        };
        let listen = if signer.contains("listen =") {
            ""
        } else {
            "listen = \"ws://127.0.0.1:0/signer\""
        };
        let allowed = if signer.contains("allowed =") {
            String::new()
        } else {
            format!("allowed = [\"{}\"]", key(100).public())
        };
        let toml = format!(
            "symbol = \"XND_USDT\"\nsettle = \"0s\"\n{top}\n[ndau]\n{api}\n{confirm}\n{ndau}\n\
             [signer]\n{listen}\n{allowed}\n{timeout}\n{signer}\n"
        );
        self.write("bitmart/issuer.toml", &toml, 0o644);
    }

    /// The issuer's command line, in the operator's folder.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(ISSUER, args)
    }

    /// Any program's command line, in the operator's folder.
    pub fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("RUST_LOG", "trace");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the issuer to its end, with nobody to sign.
    pub fn issuer(&self, args: &[&str]) -> Ended {
        let output = self.command(args).output().expect("the issuer starts");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `run --json` with the signing service there as soon as the issuer listens.
    pub fn run(&self) -> Ended {
        self.run_with(|place, url| Some(place.signer(url, &place.held)))
    }

    /// `run --json`; `visit` is told where the issuer listens, and may start a visitor that lives until the end.
    pub fn run_with(&self, visit: impl FnOnce(&Place, &str) -> Option<Running>) -> Ended {
        self.run_as(self.command(&["run", "--json"]), visit)
    }

    /// The same with another command line for it.
    pub fn run_as(
        &self,
        command: Command,
        visit: impl FnOnce(&Place, &str) -> Option<Running>,
    ) -> Ended {
        let mut issuer = Running::start(command);
        let first = issuer.line();
        let listening: Option<Value> = serde_json::from_str(&first).ok();
        let url = listening
            .as_ref()
            .and_then(|line| line["listening"].as_str());
        let visitor = url.and_then(|url| visit(self, url));
        let ended = issuer.end();
        if let Some(visitor) = visitor {
            let _ = visitor.kill();
        }
        Ended {
            stdout: first + &ended.stdout,
            ..ended
        }
    }

    /// A run that leaves a batch in flight, since no signer comes.
    #[track_caller]
    pub fn leave_in_flight(&self) {
        self.configure("", "", "timeout = \"1s\"");
        self.run_with(|_, _| None)
            .fails(69, &["the signing service"]);
        self.configure("", "", "");
    }

    /// A signing service that holds `keys`, dialling `url`.
    pub fn signer(&self, url: &str, keys: &[PrivateKey]) -> Running {
        self.signer_as(&key(100), url, keys)
    }

    /// The same with another identity.
    pub fn signer_as(&self, identity: &PrivateKey, url: &str, keys: &[PrivateKey]) -> Running {
        let name = self.write_sigconfig(identity, url, keys);
        Running::start(self.command_of(SIGNER, &["run", "--config", &name]))
    }

    /// Writes a signing service's configuration; its name.
    pub fn write_sigconfig(&self, identity: &PrivateKey, url: &str, keys: &[PrivateKey]) -> String {
        let pair = |key: &PrivateKey| {
            format!(
                "pub_key = \"{}\"\npriv_key = \"{}\"\n",
                key.public(),
                key.text().expose()
            )
        };
        let mut toml = format!(
            "[client]\ntype = \"virtual\"\n{}\n[connections.test]\nurl = \"{url}\"\nserver_key = \"{}\"\n",
            pair(identity),
            self.npub
        );
        for (number, key) in keys.iter().enumerate() {
            toml += &format!("[keys.key{number}]\ntype = \"virtual\"\n{}", pair(key));
        }
        toml += &self.plan_policy;
        let name = &identity.public().as_text()[10..20];
        // Each holds a log of its own.
        if !toml.contains("[log]") {
            toml += &format!("[log]\npath = \"signed-{name}.jsonl\"\n");
        }
        let name = format!("sigconfig-{name}.toml");
        self.write(&name, &toml, 0o600);
        name
    }

    /// What the state folder's file holds, if it is there.
    pub fn state(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("state").join(name)).ok()
    }

    /// Everything in the folder but the lock, by path.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.folder.path(), &mut files);
        files
    }

    /// The chain holds exactly what was sold, once, and the ledger says the same.
    #[track_caller]
    pub fn settled(&self) {
        assert_eq!(
            self.chain.issued_napu(),
            self.exchange.sold_napu(),
            "issued and sold"
        );
        let ledger = self.state("ledger.jsonl").unwrap_or_default();
        let recorded: u64 = ledger
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a ledger line"))
            .filter(|line| line["kind"] == "issue")
            .map(|line| {
                line["quantity_napu"]
                    .as_str()
                    .expect("its quantity")
                    .parse::<u64>()
                    .expect("a number")
            })
            .sum();
        assert_eq!(recorded, self.exchange.sold_napu(), "recorded and sold");
        assert_eq!(self.state("pending.json"), None, "in flight");
    }

    /// Nothing is on the chain, and cursor and ledger are as `before`.
    #[track_caller]
    pub fn untouched(&self, before: &Option<String>) {
        assert_eq!(self.chain.issues(), Vec::new());
        assert_eq!(&self.state("cursor.json"), before, "the cursor");
        assert_eq!(self.state("ledger.jsonl"), None, "the ledger");
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < PATIENCE, "{what} did not happen");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder of the test") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
}

/// A program that runs beside the test, and is killed with it.
pub struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    /// What it has written to stderr so far, and a word when that was all.
    stderr: Arc<Mutex<Vec<u8>>>,
    silent: mpsc::Receiver<()>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut errors = child.stderr.take().expect("its stderr");
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (sender, silent) = mpsc::channel();
        let heard = Arc::clone(&stderr);
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut part) {
                heard.lock().unwrap().extend(&part[..count]);
            }
            let _ = sender.send(());
        });
        Running {
            child,
            stdout,
            stderr,
            silent,
        }
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Waits until it has written `what` to stderr `times` times.
    #[track_caller]
    pub fn says(&self, what: &str, times: usize) {
        let started = Instant::now();
        while self.stderr().matches(what).count() < times {
            assert!(
                started.elapsed() < PATIENCE,
                "{what:?} did not come: {}",
                self.stderr()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Its stdin, if it was given one.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its stdout, with its end; empty at the end of it.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line of text");
        line
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).expect("text");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "the program did not end");
            thread::sleep(Duration::from_millis(5));
        };
        self.silent.recv_timeout(PATIENCE).expect("its stderr ends");
        Ended {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: self.stderr(),
        }
    }

    /// Kills it, and gives what it had printed.
    pub fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
