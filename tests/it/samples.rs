//! The configurations that the documents show, copied as a newcomer copies them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bitmart_issuer::config::Config;

use crate::support::{SIGNER, free_port, key};

/// A file of this project.
fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The first sample in TOML that has this line.
fn sample(document: &str, line: &str) -> String {
    let mut blocks = document.split("```toml\n").skip(1);
    let block = blocks.find(|block| {
        let (sample, _) = block.split_once("```").unwrap();
        sample.lines().any(|one| one.starts_with(line))
    });
    block.unwrap().split_once("```").unwrap().0.to_owned()
}

/// A sample of sigconfig.toml with keys and an address where it leaves them out.
fn filled_in(sample: &str) -> String {
    let mut pair = key(1);
    let mut text = String::new();
    for line in sample.lines() {
        let line = line.trim_start();
        if let Some(table) = line.strip_prefix('[') {
            pair = key(match table.split(['.', ']']).next().unwrap() {
                "client" => 1,
                "connections" => 2,
                _ => 3,
            });
        }
        let line = line
            .replace("npub...", "npub…")
            .replace("npvt...", "npvt…")
            .replace("npub…", pair.public().as_text())
            .replace("npvt…", pair.text().expose())
            .replace("20036", &free_port().to_string());
        text += &line;
        text += "\n";
    }
    text
}

#[test]
fn a_signing_service_that_is_set_up_as_the_documents_say_is_in_order() {
    let help = Command::new(SIGNER).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, help) = help.split_once("with mode 600:").unwrap();
    let (help, _) = help.split_once("3. Give").unwrap();
    for sample in [
        sample(&document("README.md"), "[client]"),
        sample(&document("docs/signer-protocol.md"), "[client]"),
        help.to_owned(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("sigconfig.toml");
        fs::write(&config, filled_in(&sample)).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        for command in [&["log", "--begin"][..], &["check"]] {
            let mut signer = Command::new(SIGNER);
            let ended = signer.args(command).arg("--config").arg(&config).output();
            let ended = ended.unwrap();
            assert_eq!(ended.status.code(), Some(0), "{ended:?}\n{sample}");
        }
    }
}

#[test]
fn the_readmes_issuer_toml_is_one_with_all_its_settings() {
    let sample = sample(&document("README.md"), "symbol =");
    let folder = tempfile::tempdir().unwrap();
    let bitmart = folder.path().join("bitmart");
    fs::create_dir(&bitmart).unwrap();
    let path = bitmart.join("issuer.toml");
    let all = sample
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line).to_owned() + "\n");
    for mut text in [sample.clone(), all.collect()] {
        for seed in 1.. {
            if !text.contains("npub…") {
                break;
            }
            text = text.replacen("npub…", key(seed).public().as_text(), 1);
        }
        fs::write(&path, &text).unwrap();
        Config::load(&path).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}
