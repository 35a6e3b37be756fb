//! `sigconfig.toml`: what loads, and what is said of what does not.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::super::config::{ConfigError, Settings, log_path};
use super::*;
use crate::secret::{FileError, Secret};

fn lines(key: &PrivateKey) -> String {
    crate::signer::pair_toml(key).expose().clone()
}

fn load(text: &str, mode: u32) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sigconfig.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    Config::load(&path, &nobody)
}

/// No person is at the terminal.
fn nobody(_: &str) -> io::Result<Secret<String>> {
    Err(io::ErrorKind::NotFound.into())
}

/// A file with a key of this `type = "command"`.
fn command(lines: &str) -> String {
    let public = key(2).public().clone();
    let table = format!("[keys.issue]\ntype = \"command\"\npub_key = \"{public}\"\n{lines}\n");
    [client(), local(), table].concat()
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
    let keys: Vec<_> = config.keys.iter().map(Key::public).collect();
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
fn a_connection_may_use_the_keys_that_it_names_or_all() {
    let newer = format!("[virtual.other]\n{}", lines(&key(3)));
    for (line, expected) in [
        ("", [true, true]),
        ("keys = [\"issue\"]\n", [true, false]),
        ("keys = [\"other\"]\n", [false, true]),
        ("keys = [\"issue\", \"other\"]\n", [true, true]),
    ] {
        let text = [&client(), &local(), line, &issue(), &newer];
        let config = load(&text.concat(), 0o600).unwrap();
        let may_use = |seed| config.connections[0].may_use(key(seed).public());
        assert_eq!([may_use(2), may_use(3)], expected, "{line}");
    }
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
            all.replace("server_key =", "keys = []\nserver_key ="),
            "connections.local.keys: names no key",
        ),
        (
            all.replace(
                "server_key =",
                "keys = [\"issue\", \"other\"]\nserver_key =",
            ),
            "connections.local.keys: names a key that is not under [keys]",
        ),
        (
            all.replace(
                "server_key =",
                &format!("keys = [\"{npvt}\"]\nserver_key ="),
            ),
            "connections.local.keys: names a key that is not under [keys]",
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
                "[client]\ntype = \"virtual\"",
                "[client]\ntype = \"command\"",
            ),
            "client.type: an identity can only be \"virtual\"",
        ),
        (
            all.replace(
                "issue]\ntype = \"virtual\"",
                "issue]\ntype = \"command\"\ncommand = [\"a\"]",
            ),
            "keys.issue.priv_key: not a known setting",
        ),
        (
            all.replace("issue]\ntype = \"virtual\"\n", "issue]\n"),
            "keys.issue.type: missing",
        ),
        (command(""), "keys.issue.command: missing"),
        (
            command("command = []"),
            "keys.issue.command: names no program",
        ),
        (
            command("command = [\"\", \"a\"]"),
            "keys.issue.command: names no program",
        ),
        (
            command("command = \"a b\""),
            "keys.issue.command: must be a list of strings",
        ),
        (
            command("command = [\"a\", 5]"),
            "keys.issue.command: must be a list of strings",
        ),
        (
            command(&format!("command = [\"a\", \"--key={npvt}\"]")),
            "keys.issue.command: holds a private key",
        ),
        (
            command(&format!("command = [\"a\"]\ntimeout = \"{npvt}\"")),
            "keys.issue.timeout: must be a time like 30s",
        ),
        (
            command("command = [\"a\"]\ntimeout = \"11m\""),
            "keys.issue.timeout: must be a time like 30s",
        ),
        (
            command("command = [\"a\"]\ntimeout = \"0s\""),
            "keys.issue.timeout: must be a time like 30s",
        ),
        (
            format!("{all}priv_key_file = \"issue.key\"\n"),
            "keys.issue.priv_key_file: there is a priv_key too",
        ),
        (
            all.replace(&format!("priv_key = \"{npvt}\""), "priv_key_file = \"\""),
            "keys.issue.priv_key_file: names no file",
        ),
        (
            all.replace(
                &format!("priv_key = \"{npvt}\""),
                &format!("priv_key_file = \"{npvt}\""),
            ),
            "keys.issue.priv_key_file: is a private key",
        ),
        (
            all.replace(
                &format!("priv_key = \"{npvt}\""),
                "priv_key_file = \"none.key\"",
            ),
            "keys.issue in ",
        ),
        (
            all.replace(
                "issue]\ntype = \"virtual\"",
                &format!("issue]\ntype = \"{npvt}\""),
            ),
            "keys.issue.type: not a known type",
        ),
        (
            format!("{all}[policy]\nmax_issue_per_day = \"1.123456789\"\n"),
            "policy.max_issue_per_day: not a whole number of napu",
        ),
        (
            format!("{all}[policy]\nmax_issue_per_day = 1\n"),
            "policy.max_issue_per_day: must be a string",
        ),
        (
            format!("{all}[policy]\nallow = \"Issue\"\n"),
            "policy.allow: must be ",
        ),
        (
            format!("{all}[policy]\nallow = []\n"),
            "policy.allow: must be ",
        ),
        (
            format!("{all}[policy]\nallow = [\"Transfer\"]\n"),
            "policy.allow: must be ",
        ),
        (
            format!("{all}[policy]\nallow = [\"Issue\", \"ReleaseFromEndowment\"]\n"),
            "policy.allow: must be ",
        ),
        (
            format!("{all}[policy]\nallow = [\"issue\"]\n"),
            "policy.allow: must be ",
        ),
        (
            format!("{all}[policy]\nallow = [1]\n"),
            "policy.allow: must be ",
        ),
        (format!("{all}[log]\n"), "log.path: missing"),
        (
            format!("{all}[log]\npath = \"\"\n"),
            "log.path: names no file",
        ),
        (
            format!("{all}[log]\npath = \"{npvt}\"\n"),
            "log.path: must be the path of a file",
        ),
        (
            format!("{all}[log]\npath = \"a\"\nkeep = 5\n"),
            "log.keep: not a known setting",
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
fn the_policy_and_the_log_have_their_places() {
    let all = [client(), local(), issue()].concat();
    let policy = "[policy]\nmax_issue_per_day = \"7.5\"\nconfirm = true\nallow = [\"Issue\"]\n";
    for (log, expected) in [
        ("", "ndau-signer.log.jsonl"),
        ("[log]\npath = \"signed/log\"\n", "signed/log"),
        ("[log]\npath = \"/var/log/signed\"\n", "/var/log/signed"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sigconfig.toml");
        fs::write(&path, format!("{all}{policy}{log}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let config = Config::load(&path, &nobody).unwrap();
        assert_eq!(config.policy.max_issue_per_tx, None);
        assert_eq!(
            config.policy.max_issue_per_day,
            Some(Napu::parse_ndau("7.5").unwrap())
        );
        assert!(config.policy.confirm);
        assert_eq!(config.log, folder.path().join(expected));
        assert_eq!(log_path(&path).unwrap(), config.log);
    }
}

#[test]
fn a_configuration_does_not_print_its_secrets() {
    let config = load(&[client(), local(), issue()].concat(), 0o600).unwrap();
    assert!(!format!("{config:?}").contains("npvt"));

    // An argument of a program may be a secret too, before it is opened and after.
    let text = command("command = [\"./sign\", \"--pin\", \"hunter2\"]");
    let (_folder, path) = elsewhere(&text.replace(&local(), ""), &[]);
    let settings = Settings::load(&path).unwrap();
    let config = Config::load(&path, &nobody).unwrap();
    for shown in [format!("{settings:?}"), format!("{config:?}")] {
        assert!(
            shown.contains("sign") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

/// A folder with a configuration whose keys are elsewhere, and these files beside it.
fn elsewhere(tables: &str, files: &[(&str, &str, u32)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sigconfig.toml");
    let text = format!("{}{tables}", local());
    for (name, content, mode) in files
        .iter()
        .chain([&("sigconfig.toml", text.as_str(), 0o600)])
    {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    (folder, path)
}

fn table(name: &str, key: &PrivateKey, line: &str) -> String {
    format!(
        "[{name}]\ntype = \"virtual\"\npub_key = \"{}\"\n{line}\n",
        key.public()
    )
}

#[test]
fn secrets_are_read_from_their_files() {
    let secp256k1 = PrivateKey::from_secp256k1(&[7; 32]).unwrap();
    let tables = [
        table("client", &key(1), "priv_key_file = \"client.key\""),
        table("keys.bare", &key(2), "priv_key_file = \"bare.key\""),
        table("keys.pair", &secp256k1, "priv_key_file = \"pair.key\""),
    ];
    let bare = format!("{}\n", key(2).text().expose());
    let (_folder, path) = elsewhere(
        &tables.concat(),
        &[
            ("client.key", &lines(&key(1)), 0o600),
            ("bare.key", &bare, 0o400),
            ("pair.key", &lines(&secp256k1), 0o600),
        ],
    );
    let config = Config::load(&path, &nobody).unwrap();
    assert_eq!(config.client.public(), key(1).public());
    for key in &config.keys {
        key.sign(b"message", &|| false).unwrap();
    }
    let keys: Vec<_> = config.keys.iter().map(Key::public).collect();
    assert_eq!(keys, [key(2).public(), secp256k1.public()]);
}

#[test]
fn a_file_that_does_not_hold_the_key_is_refused() {
    let text = key(2).text().expose().clone();
    let cases = [
        (text.clone(), 0o640, "chmod 600"),
        (text.clone(), 0o604, "chmod 600"),
        (String::new(), 0o600, "is to hold a private key"),
        (changed(&text), 0o600, "its checksum is wrong"),
        (format!("{text}\n{text}"), 0o600, "is to hold a private key"),
        (
            key(3).text().expose().clone(),
            0o600,
            "its private key is not that of its pub_key",
        ),
        (
            lines(&key(3)),
            0o600,
            "its private key is not that of its pub_key",
        ),
        (
            format!("{}extra = 1\n", lines(&key(2))),
            0o600,
            "line 3: extra: not a known setting",
        ),
    ];
    let tables = [
        client(),
        table("keys.issue", &key(2), "priv_key_file = \"issue.key\""),
    ];
    for (content, mode, expected) in cases {
        let (_folder, path) = elsewhere(&tables.concat(), &[("issue.key", &content, mode)]);
        let error = Config::load(&path, &nobody).unwrap_err();
        let line = crate::error::chain(&error);
        assert!(line.starts_with("keys.issue in "), "{line}");
        assert!(line.contains(expected), "{line}\n   expected {expected}");
        assert_eq!(error.exit(), Exit::Config);
        for secret in [&text[8..40], &key(3).text().expose()[8..40]] {
            assert!(!format!("{line} {error:?}").contains(secret), "{line}");
        }
    }
}

#[test]
fn what_is_in_no_file_is_asked_for() {
    let tables = [
        table("client", &key(1), ""),
        table("keys.issue", &key(2), ""),
    ];
    let (_folder, path) = elsewhere(&tables.concat(), &[]);
    let asked = std::cell::RefCell::new(Vec::new());
    let person = |question: &str| {
        asked.borrow_mut().push(question.to_owned());
        let known = [key(1), key(2)];
        let asked_for = known
            .iter()
            .find(|key| question.contains(key.public().as_text()));
        Ok(Secret::new(format!(
            "{}\n",
            asked_for.unwrap().text().expose()
        )))
    };
    let config = Config::load(&path, &person).unwrap();
    config.keys[0].sign(b"message", &|| false).unwrap();
    let asked = asked.into_inner();
    assert!(
        asked[0].starts_with("client: ") && asked[1].starts_with("keys.issue: "),
        "{asked:?}"
    );

    let error = Config::load(&path, &nobody).unwrap_err();
    assert!(crate::error::chain(&error).contains("start at a terminal"));
    let mistyped = |_: &str| Ok(Secret::new(key(1).text().expose()[..60].to_owned()));
    let error = Config::load(&path, &mistyped).unwrap_err();
    let line = crate::error::chain(&error);
    assert!(
        line.contains("what was typed in is no private key"),
        "{line}"
    );
    assert!(!format!("{line}{error:?}").contains("npvt"), "{line}");
}
