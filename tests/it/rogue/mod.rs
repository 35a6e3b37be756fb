//! What comes to the signing service from a hostile integration, or from somebody between: nothing is signed but an `Issue`
//! that was understood, nothing that was sent reaches log or terminal raw, and the service goes on.

mod messages;
mod sessions;
mod wire;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use bitmart_issuer::ndau::PrivateKey;
use serde_json::{Value, json};

use crate::support::{Running, SIGNER, key};
use wire::Wire;

/// The integration's identity, which the hostile one has.
fn server() -> PrivateKey {
    key(200)
}

/// What clears a screen, feigns a line, and names the window.
const TERMINAL: &str = "\u{1b}[2J\r\nall is well\u{1b}]0;owned\u{7}\u{9b}31m";
/// What turns the direction of a text, and what hides in it.
const HIDDEN: &str = "\u{202e}all is well\u{200b}";

/// Whether `c` does any of these.
fn is_strange(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
}

/// A signing service that dials a hostile integration.
struct Service {
    folder: tempfile::TempDir,
    listener: TcpListener,
    running: Running,
}

impl Service {
    fn start() -> Service {
        Service::with_connections(1)
    }

    /// One that dials it so many times at once.
    fn with_connections(count: usize) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pair = |table: &str, key: &PrivateKey| {
            format!(
                "[{table}]\ntype = \"virtual\"\npub_key = \"{}\"\npriv_key = \"{}\"\n",
                key.public(),
                key.text().expose()
            )
        };
        let mut toml = pair("client", &key(100)) + &pair("keys.issue", &key(1));
        for number in 0..count {
            toml += &format!(
                "[connections.c{number}]\nurl = \"ws://{address}/signer\"\nserver_key = \"{}\"\n",
                server().public()
            );
        }
        toml += "[policy]\nmax_issue_per_tx = \"1000000\"\n[log]\npath = \"signed.jsonl\"\n";
        let path = folder.path().join("sigconfig.toml");
        fs::write(&path, toml).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(SIGNER);
        command
            .args(["run", "--config"])
            .arg(&path)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Service {
            folder,
            listener,
            running: Running::start(command),
        }
    }

    /// Its next call.
    fn accept(&self) -> Wire {
        let (stream, _) = self.listener.accept().unwrap();
        Wire::new(stream)
    }

    /// A session in which its hello was heard.
    fn session(&self) -> Wire {
        let mut wire = self.accept();
        wire.upgrade();
        assert!(wire.shake(), "no first message: {}", self.running.stderr());
        wire.expect_hello();
        wire
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("signed.jsonl")).unwrap_or_default()
    }

    /// How many signatures it says that it gave.
    fn signed(&self) -> usize {
        self.log().matches("\"verdict\":\"signed\"").count()
    }

    /// It lives, in little memory, and nothing that could move a cursor or hide a text is in what it wrote.
    #[track_caller]
    fn is_well(&self, after: &str) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
        let peak: u64 = peak
            .unwrap_or_else(|| panic!("{after}: it is gone"))
            .parse()
            .unwrap();
        assert!(peak < 64 * 1024, "{after}: {peak} kB");
        for text in [self.running.stderr(), self.log()] {
            assert!(!text.contains("panicked"), "{after}: {text}");
            let raw = text.replace('\n', "");
            assert!(!raw.contains(is_strange), "{after}: {text:?}");
            let longest = text.lines().map(str::len).max().unwrap_or(0);
            assert!(longest < 3000, "{after}: {longest} bytes in a line");
        }
    }
}

/// The usual request.
fn request() -> Value {
    json!({
        "type": "sign_tx",
        "id": "000102030405060708090a0b0c0d0e0f",
        "tx_type": "Issue",
        "tx": { "qty": 100_000_000, "sequence": 5, "signatures": [] },
        "signing_keys": [key(1).public().as_text()],
        "context": { "symbol": "XND_USDT", "trades": 3, "first_trade_id": "1", "last_trade_id": "9" },
    })
}
