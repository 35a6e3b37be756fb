//! The command lines, the files that `init` writes, what is printed, and what never is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{ISSUER, Plan, SIGNER, key};
use bitmart_issuer::error::Exit;

fn output(program: &str, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn help_and_version_go_to_stdout_and_mistakes_to_stderr() {
    for program in [ISSUER, SIGNER] {
        for args in [&["--help"][..], &["run", "--help"], &["--version"]] {
            let (code, stdout, stderr) = output(program, args);
            assert_eq!((code, stderr.as_str()), (0, ""), "{program} {args:?}");
            assert!(!stdout.is_empty(), "{program} {args:?}");
        }
        for args in [
            &[][..],
            &["bogus"],
            &["run", "--bogus"],
            &["run", "--config"],
        ] {
            let (code, stdout, stderr) = output(program, args);
            assert_eq!((code, stdout.as_str()), (64, ""), "{program} {args:?}");
            assert!(!stderr.is_empty(), "{program} {args:?}");
        }
    }
    assert_eq!(output(ISSUER, &["init", "--from", "yesterday"]).0, 64);
}

/// A stream that takes nothing cost the exit code: a configuration error ended as a bug.
#[test]
fn streams_that_are_full_change_no_exit_code_but_that_of_a_lost_result() {
    let full = || {
        std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    for (program, args, code) in [
        (ISSUER, &["bogus"][..], 64),
        (ISSUER, &["run"], 78),
        (ISSUER, &["run", "--json"], 78),
        (ISSUER, &["--help"], 74),
        (SIGNER, &["bogus"], 64),
        (SIGNER, &["keygen"], 74),
        (SIGNER, &["run", "--config", "none.toml"], 78),
    ] {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(folder.path())
            .stdout(full())
            .stderr(full());
        assert_eq!(
            command.status().unwrap().code(),
            Some(code),
            "{program} {args:?}"
        );
    }
}

#[test]
fn words_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let word = std::ffi::OsStr::from_bytes(b"bad\xff.toml");
    let folder = tempfile::tempdir().unwrap();
    for program in [ISSUER, SIGNER] {
        let mut command = Command::new(program);
        command
            .args(["run", "--config"])
            .arg(word)
            .current_dir(folder.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains("not UTF-8"));
    }
}

#[test]
fn inits_at_the_same_time_agree_on_one_identity() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(ISSUER);
        command
            .args(["init", "--from", "now"])
            .current_dir(folder.path());
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let running: Vec<_> = (0..6).map(|_| start()).collect();
    let ended: Vec<_> = running
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    // Who finds the state locked says so; nobody sees half a file.
    assert!(
        ended
            .iter()
            .all(|one| matches!(one.status.code(), Some(0 | 69))),
        "{ended:?}"
    );
    let identity = fs::read_to_string(folder.path().join("bitmart/identity.toml")).unwrap();
    let printed = ended.iter().filter(|one| one.status.success());
    let agreed = printed.map(|one| String::from_utf8_lossy(&one.stdout).trim().to_owned());
    assert!(
        agreed
            .inspect(|npub| assert!(identity.contains(npub.as_str())))
            .count()
            >= 1
    );
    assert!(folder.path().join("state/cursor.json").exists());
}

#[test]
fn readme_and_help_have_the_table_of_exit_codes() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, help, _) = output(ISSUER, &["--help"]);
    let rows: Vec<(u8, &str)> = readme
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            Some((cells.next()?.parse().ok()?, cells.next()?))
        })
        .collect();
    let table: Vec<(u8, &str)> = Exit::ALL
        .iter()
        .map(|exit| (exit.code(), exit.name()))
        .collect();
    assert_eq!(rows, table);
    for (code, name) in table.iter().filter(|(code, _)| *code != 0) {
        assert!(
            help.contains(&format!("  {code} {name}: ")),
            "{code} {name}"
        );
    }
}

#[test]
fn init_writes_what_is_missing_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let init = |args: &[&str]| {
        let output = Command::new(ISSUER)
            .arg("init")
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();

    // Without --from there is no cursor, and so no success; what could be written is.
    assert_eq!(init(&[]).0, 64);
    assert!(!folder.path().join("state/cursor.json").exists());
    let identity = read("bitmart/identity.toml");

    let (code, npub) = init(&["--from", "beginning"]);
    assert_eq!(code, 0);
    assert!(
        npub.starts_with("npuba8jadtbb") && npub.ends_with('\n') && npub.lines().count() == 1,
        "{npub}"
    );
    assert!(identity.contains(npub.trim()));
    let mode = fs::metadata(folder.path().join("bitmart/identity.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let all = || {
        [
            read("bitmart/identity.toml"),
            read("bitmart/issuer.toml"),
            read("state/cursor.json"),
        ]
    };
    let before = all();
    assert_eq!(init(&["--from", "now"]), (0, npub));
    assert_eq!(all(), before);
}

#[test]
fn a_dry_run_changes_nothing_and_shows_the_issue() {
    let place = Plan::new().start();
    place.run().expect(0, "nothing_new", "0");
    place.exchange.sell("5");
    place.exchange.sell("0.5");
    let before = place.files();
    let lock_time = fs::metadata(place.path("state/lock"))
        .unwrap()
        .modified()
        .unwrap();
    let dry = place
        .issuer(&["run", "--dry-run", "--json"])
        .expect(0, "dry_run", "5.5");
    let json = dry.json();
    assert_eq!(json["signable_bytes"], "0000000020c855800000000000000003");
    assert_eq!(json["issue"]["signatures"], serde_json::json!([]));
    assert_eq!(json["batch"].as_array().map(Vec::len), Some(2));
    let human = place.issuer(&["run", "--dry-run"]);
    assert!(
        human
            .stdout
            .starts_with("dry run: would issue 5.5 ndau for 2 sales; 2 new trades\n"),
        "{human:#?}"
    );
    assert_eq!(place.files(), before);
    assert_eq!(
        fs::metadata(place.path("state/lock"))
            .unwrap()
            .modified()
            .unwrap(),
        lock_time
    );
    assert_eq!(place.chain.issues(), []);

    // The run does what the dry run showed.
    assert_eq!(
        place.run().expect(0, "issued", "5.5").json()["hash"],
        json["hash"]
    );
}

#[test]
fn a_dry_run_needs_no_lock_and_shows_what_is_in_flight() {
    let place = Plan {
        signer: "timeout = \"1s\"".to_owned(),
        ..Plan::new()
    }
    .start();
    place.exchange.sell("5");
    place.run_with(|_, _| None).fails(69, &[]);
    let before = place.files();
    let dry = place
        .issuer(&["run", "--dry-run", "--json"])
        .expect(0, "dry_run", "5");
    assert!(
        dry.json()["notes"][0]
            .as_str()
            .unwrap()
            .contains("in flight"),
        "{dry:#?}"
    );
    assert_eq!(place.files(), before);
    let status = place.issuer(&["status"]);
    assert!(
        status
            .stdout
            .contains("in flight 5 ndau for 1 sale, sequence 3"),
        "{status:#?}"
    );
}

/// Every secret there is, searched for in everything that either program printed or logged, in runs that succeed and
/// in runs that fail in every way that handles a secret.
#[test]
fn no_secret_is_printed_or_logged_at_any_level() {
    for api in ["v2", "v4"] {
        let place = Plan {
            api: Some(api),
            ..Plan::new()
        }
        .start();
        let settings = place.exchange.settings();
        let identity = fs::read_to_string(place.path("bitmart/identity.toml")).unwrap();
        let identity: toml::Table = identity.parse().unwrap();
        let mut secrets = vec![
            settings.secret.clone(),
            settings.access.clone(),
            settings.memo.clone(),
            identity["priv_key"].as_str().unwrap().to_owned(),
            key(1).text().expose().clone(),
            key(100).text().expose().clone(),
        ];
        let mut printed = String::new();
        let mut signer_printed = String::new();
        let mut keep = |ended: crate::support::Ended| {
            printed += &format!("{}\n{}\n", ended.stdout, ended.stderr)
        };

        let now = place.exchange.now_ms();
        place.wait_until("the next second", || {
            place.exchange.now_ms() / 1000 > now / 1000
        });
        place.exchange.sell("5");
        let mut signer = None;
        let mut issuer = crate::support::Running::start(place.command(&["run", "--json"]));
        let listening: serde_json::Value = serde_json::from_str(&issuer.line()).unwrap();
        signer.replace(place.signer(listening["listening"].as_str().unwrap(), &[key(1)]));
        let ended = issuer.end();
        assert_eq!(ended.code, 0, "{ended:#?}");
        keep(ended);
        let ended = signer.unwrap().kill();
        signer_printed += &format!("{}\n{}\n", ended.stdout, ended.stderr);
        keep(place.issuer(&["run", "--dry-run"]));
        keep(place.issuer(&["status"]));
        // Credentials that the exchange refuses, key files that are not quite right.
        place.exchange.set_fault(Some(sandbox::Fault::Status(
            401,
            r#"{"message":"Unauthorized"}"#.to_owned(),
        )));
        keep(place.issuer(&["run", "--json"]));
        place.exchange.set_fault(None);
        for file in ["bitmart/test.apikey.json", "bitmart/identity.toml"] {
            let good = fs::read_to_string(place.path(file)).unwrap();
            for broken in [
                &good[..good.len() - 3],
                &good.replace(':', " "),
                &good.replace('=', " "),
                &good.to_uppercase(),
            ] {
                place.write(file, broken, 0o600);
                keep(place.issuer(&["run", "--json"]));
                keep(place.issuer(&["init"]));
            }
            place.write(file, &good, 0o600);
        }
        // What was sent as proof of a secret is one itself.
        for seen in place.exchange.requests() {
            for (name, value) in &seen.headers {
                if ["x-bm-sign", "x-bm-authorization", "x-bm-key"].contains(&name.as_str()) {
                    secrets.push(value.trim_start_matches("Bearer ").to_owned());
                }
            }
        }
        printed += &signer_printed;
        assert!(printed.contains("DEBUG"), "the log is on");
        for secret in secrets.iter().filter(|secret| secret.len() > 6) {
            let found = [secret.clone(), secret.to_uppercase()];
            assert!(
                !found.iter().any(|found| printed.contains(found)),
                "{secret} was printed ({api})"
            );
        }
    }
}
