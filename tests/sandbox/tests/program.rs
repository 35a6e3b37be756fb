//! The program as a person or a script uses it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A running `sandbox serve` and its folder, both gone afterwards.
struct Served {
    folder: PathBuf,
    child: Child,
}

impl Served {
    fn start(dialect: &str) -> Served {
        let name = format!("sandbox-{}-{dialect}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(["serve", "--dialect", dialect, "--folder"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let lines: Vec<String> = lines.take(3).map(|line| line.expect("a line")).collect();
        for (line, name) in lines.iter().zip(["exchange", "chain", "control"]) {
            let url = fs::read_to_string(folder.join(format!("{name}.url"))).expect("a file");
            assert_eq!(*line, format!("{name} {}", url.trim()));
        }
        Served { folder, child }
    }

    fn sandbox(&self, command: &str, rest: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args([command, "--folder"])
            .arg(&self.folder)
            .args(rest)
            .output()
            .expect("the program runs")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The end of stdin is the end of the program.
        drop(self.child.stdin.take());
        let ended = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            assert!(ended.expect("a status").success());
        }
    }
}

#[test]
fn trades_made_by_hand_are_counted() {
    let served = Served::start("v4");
    assert!(served.sandbox("totals", &["--check"]).status.success());
    assert!(served.sandbox("sell", &["1.25", "0.5"]).status.success());
    assert!(served.sandbox("buy", &["--age", "5", "7"]).status.success());
    let refused = served.sandbox("sell", &["0.000000001"]);
    assert!(!refused.status.success());
    let totals = served.sandbox("totals", &[]);
    let printed = String::from_utf8(totals.stdout).expect("text");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "trades   3",
            "sales    2",
            "sold     1.75000000 ndau",
            "issued   0.00000000 ndau"
        ]
    );
    let check = served.sandbox("totals", &["--check"]);
    assert_eq!(check.status.code(), Some(1));
}

#[test]
fn the_key_file_is_the_owner_s_alone() {
    let served = Served::start("v2");
    let path = served.folder.join("sandbox.apikey.json");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = fs::read_to_string(path).expect("text");
    let key: serde_json::Value = serde_json::from_str(&key).expect("JSON");
    assert_eq!(key["access"].as_str().map(str::len), Some(40));
    assert!(
        key["endpoint"]
            .as_str()
            .is_some_and(|url| url.ends_with("/v2/"))
    );
}

#[test]
fn a_free_port_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .arg("free-port")
        .output()
        .expect("the program runs");
    let port = String::from_utf8(output.stdout).expect("text");
    assert_ne!(port.trim().parse::<u16>().expect("a port"), 0);
}
