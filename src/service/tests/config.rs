//! `sigconfig.toml`: what loads, and what is said of what does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::config::ConfigError;
use super::*;
use crate::secret::FileError;

fn lines(key: &PrivateKey) -> String {
    crate::signer::pair_toml(key).expose().clone()
}

fn load(text: &str, mode: u32) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sigconfig.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    Config::load(&path)
}

fn client() -> String {
    format!("[client]\ntype = \"virtual\"\n{}", lines(&key(1)))
}

fn local() -> String {
    let server = key(9);
    format!(
        "[connections.local]\nurl = \"ws://localhost:20036/signer\"\nserver_key = \"{}\"\n",
        server.public()
    )
}

fn issue() -> String {
    format!("[keys.issue]\ntype = \"virtual\"\n{}", lines(&key(2)))
}

/// `text` with another last character.
fn changed(text: &str) -> String {
    let (start, last) = text.split_at(text.len() - 1);
    format!("{start}{}", if last == "a" { "b" } else { "a" })
}

#[test]
fn both_forms_of_the_original_load() {
    let newer = format!("[virtual.other]\n{}", lines(&key(3)));
    let policy = "[policy]\nmax_issue_per_tx = \"50000.5\"\nconfirm = false\n";
    let text = [client(), local(), issue(), newer, policy.to_owned()].concat();
    let config = load(&text, 0o600).unwrap();
    assert_eq!(config.client.public(), key(1).public());
    let keys: Vec<_> = config.keys.iter().map(PrivateKey::public).collect();
    assert_eq!(keys, [key(2).public(), key(3).public()]);
    assert_eq!(config.connections[0].name, "local");
    assert_eq!(
        config.policy.max_issue_per_tx,
        Some(Napu::parse_ndau("50000.5").unwrap())
    );
    assert!(matches!(
        load(&text, 0o640),
        Err(ConfigError::File(FileError::Exposed { .. }))
    ));
}

#[test]
fn what_is_wrong_is_named_and_no_secret_is_told() {
    let secp256k1 = PrivateKey::from_secp256k1(&[7; 32]).unwrap();
    let all = [client(), local(), issue()].concat();
    let npvt = key(2).text().expose().clone();
    let cut = changed(&npvt);
    let cases = [
        ([local(), issue()].concat(), "client: missing"),
        ([client(), issue()].concat(), "connections: missing"),
        ([client(), local()].concat(), "keys: missing"),
        (
            format!("{all}[other]\n"),
            "line 12: other: not a known setting",
        ),
        (
            format!("{all}{npvt} = 1\n"),
            "(name not shown): not a known setting",
        ),
        (
            format!("{all}extra = \"{npvt}\"\n"),
            "line 12: keys.issue.extra: not a known setting",
        ),
        (
            all.replace("url =", "uri ="),
            "connections.local.uri: not a known setting",
        ),
        (
            all.replace("ws://", "http://"),
            "connections.local.url: must be",
        ),
        (
            all.replace("ws://localhost", "ws://a@localhost"),
            "connections.local.url: must be",
        ),
        (
            all.replace("server_key =", "#"),
            "connections.local.server_key: missing",
        ),
        (
            all.replace(&npvt, &cut),
            "keys.issue.priv_key: its checksum is wrong",
        ),
        (
            all.replace(&format!("{npvt}\""), &npvt),
            "line 11: not valid TOML",
        ),
        (
            all.replace(&format!("\"{npvt}\""), &npvt),
            "line 11: not valid TOML",
        ),
        (
            all.replace(&format!("\"{npvt}\""), "12"),
            "keys.issue.priv_key: must be a string",
        ),
        (
            all.replace(&npvt, key(3).text().expose()),
            "keys.issue.pub_key: is not the public key",
        ),
        (
            all.replace(key(9).public().as_text(), &npvt),
            "connections.local.server_key: it does not start with npub",
        ),
        (
            all.replace(key(9).public().as_text(), key(2).public().as_text()),
            "server_key: this is a key of this service",
        ),
        (
            all.replace(key(9).public().as_text(), key(1).public().as_text()),
            "server_key: this is a key of this service",
        ),
        (
            all.replace(key(9).public().as_text(), secp256k1.public().as_text()),
            "ndau-signer keygen",
        ),
        (
            [
                client(),
                local(),
                format!("[keys.a]\ntype = \"virtual\"\n{}", lines(&key(1))),
            ]
            .concat(),
            "also the identity",
        ),
        (
            [all.clone(), format!("[virtual.a]\n{}", lines(&key(2)))].concat(),
            "virtual.a.pub_key: this key is given twice",
        ),
        (
            [
                local(),
                issue(),
                format!("[client]\ntype = \"virtual\"\n{}", lines(&secp256k1)),
            ]
            .concat(),
            "ndau-signer keygen",
        ),
        (
            all.replace("[client]\ntype = \"virtual\"", "[client]"),
            "client.type: missing",
        ),
        (
            all.replace(
                "issue]\ntype = \"virtual\"",
                "issue]\ntype = \"command\"\ncommand = [\"a\"]",
            ),
            "\"command\" is not supported by this version yet",
        ),
        (
            all.replace("issue]\ntype = \"virtual\"", "issue]\ntype = \"yubihsm\""),
            "\"yubihsm\" is not supported by this version yet",
        ),
        (
            all.replace(
                "issue]\ntype = \"virtual\"",
                &format!("issue]\ntype = \"{npvt}\""),
            ),
            "keys.issue.type: not a known type",
        ),
        (
            format!("{all}[policy]\nmax_issue_per_day = \"1\"\n"),
            "policy.max_issue_per_day: this version does not enforce it",
        ),
        (
            format!("{all}[policy]\nconfirm = true\n"),
            "policy.confirm: this version does not enforce it",
        ),
        (
            format!("{all}[policy]\nconfirm = \"yes\"\n"),
            "policy.confirm: must be true or false",
        ),
        (
            format!("{all}[policy]\nmax_issue_per_tx = 5\n"),
            "policy.max_issue_per_tx: must be a string",
        ),
        (
            format!("{all}[policy]\nmax_issue_per_tx = \"-5\"\n"),
            "policy.max_issue_per_tx: not a decimal",
        ),
        (
            format!("{all}[policy]\nmax_per_tx = \"5\"\n"),
            "policy.max_per_tx: not a known setting",
        ),
        (
            format!("keys = 5\n{}", [client(), local()].concat()),
            "line 1: keys: must be a table",
        ),
    ];
    for (text, expected) in cases {
        let error = load(&text, 0o600).unwrap_err();
        let line = crate::error::chain(&error);
        assert!(line.contains(expected), "{line}\n   expected {expected}");
        for printed in [line, format!("{error:?}"), format!("{error:#?}")] {
            assert!(
                !printed.contains("npvt") || printed.contains("start with npvt"),
                "{printed}"
            );
            assert!(!printed.contains(&npvt[8..40]), "{printed}");
        }
        assert_eq!(error.exit(), Exit::Config);
    }
}

#[test]
fn a_configuration_does_not_print_its_secrets() {
    let config = load(&[client(), local(), issue()].concat(), 0o600).unwrap();
    assert!(!format!("{config:?}").contains("npvt"));
}
