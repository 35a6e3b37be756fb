//! Keys that are not in the signing service's file, and `ndau-signer check`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bitmart_issuer::napu::Napu;
use bitmart_issuer::ndau::{Issue, PrivateKey};
use serde_json::Value;

use crate::support::{Ended, Place, Plan, Running, SIGNER, free_port, key};

/// A place with a sale of 5 ndau.
fn with_a_sale() -> Place {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place
}

/// The `Issue` that the next run has signed.
fn next_issue(place: &Place) -> Issue {
    let quantity = Napu::parse_ndau("5").unwrap();
    Issue::new(quantity, place.chain.sequence() + 1).unwrap()
}

/// The integration's identity.
fn server_key(place: &Place) -> String {
    let identity = fs::read_to_string(place.path("bitmart/identity.toml")).unwrap();
    let identity: toml::Table = identity.parse().unwrap();
    identity["pub_key"].as_str().unwrap().to_owned()
}

/// The usual `[client]`.
fn client() -> String {
    table("client", &key(100), &priv_key(&key(100)))
}

fn table(name: &str, key: &PrivateKey, lines: &str) -> String {
    format!(
        "[{name}]\ntype = \"virtual\"\npub_key = \"{}\"\n{lines}\n",
        key.public()
    )
}

fn priv_key(key: &PrivateKey) -> String {
    format!("priv_key = \"{}\"", key.text().expose())
}

/// A key for which `sh` runs `script`.
fn scripted(key: &PrivateKey, script: &str, lines: &str) -> String {
    format!(
        "[keys.issue]\ntype = \"command\"\npub_key = \"{}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{lines}\n",
        key.public()
    )
}

/// A script that knows `key`'s signature of these messages and of no other.
fn signing(key: &PrivateKey, messages: &[&[u8]]) -> String {
    let case = |message: &&[u8]| {
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}) echo {} ;;\n", key.sign(message))
    };
    let cases: String = messages.iter().map(case).collect();
    format!(
        "case \"$(od -An -v -tx1 | tr -d ' \\n')\" in\n{cases}*) echo another message >&2; exit 3 ;;\nesac"
    )
}

/// Writes a configuration of these tables, whose one connection is to `url`.
fn configure(place: &Place, name: &str, url: &str, tables: &str) {
    let text = format!(
        "[connections.test]\nurl = \"{url}\"\nserver_key = \"{}\"\n{tables}[log]\npath = \"{name}.jsonl\"\n",
        server_key(place)
    );
    place.write(name, &text, 0o600);
}

/// A signing service with these tables.
fn service(place: &Place, url: &str, tables: &str) -> Running {
    configure(place, "keys.toml", url, tables);
    Running::start(place.command_of(SIGNER, &["run", "--config", "keys.toml"]))
}

/// A run with a signing service of these tables: how both ended.
fn run(place: &Place, tables: &str) -> (Ended, Ended) {
    let mut issuer = Running::start(place.command(&["run", "--json"]));
    let listening: Value = serde_json::from_str(&issuer.line()).unwrap();
    let signer = service(place, listening["listening"].as_str().unwrap(), tables);
    let ended = (issuer.end(), signer.kill());
    for secret in [key(1), key(2), key(100)] {
        let secret = secret.text();
        let secret = &secret.expose()[8..];
        for printed in [&ended.0, &ended.1] {
            assert!(!printed.stdout.contains(secret) && !printed.stderr.contains(secret));
        }
    }
    ended
}

fn check(place: &Place, args: &[&str]) -> Ended {
    let mut command = place.command_of(SIGNER, &["check", "--config", "keys.toml"]);
    let output = command.args(args).output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_key_in_a_file_of_its_own_signs() {
    let place = with_a_sale();
    fs::create_dir(place.path("secrets")).unwrap();
    place.write("secrets/issue.key", key(1).text().expose(), 0o600);
    let tables = client()
        + &table(
            "keys.issue",
            &key(1),
            "priv_key_file = \"secrets/issue.key\"",
        );
    run(&place, &tables).0.expect(0, "issued", "5");
    place.settled();

    // What `keygen` prints is such a file, too; and one that others can read is refused.
    place.exchange.sell("5");
    let pair = format!("pub_key = \"{}\"\n{}\n", key(1).public(), priv_key(&key(1)));
    place.write("secrets/issue.key", &pair, 0o644);
    configure(&place, "keys.toml", "ws://127.0.0.1:1/signer", &tables);
    let started = place.command_of(SIGNER, &["run", "--config", "keys.toml"]);
    let ended = Running::start(started).end();
    assert_eq!(ended.code, 78, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("keys.issue in keys.toml cannot be used")
            && ended.stderr.contains("chmod 600"),
        "{ended:#?}"
    );
    place.write("secrets/issue.key", &pair, 0o600);
    run(&place, &tables).0.expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_program_signs_with_either_kind_of_key_and_in_either_form() {
    let secp = PrivateKey::from_secp256k1(&[7; 32]).unwrap();
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), secp.public().to_string()];
    plan.chain.required_signatures = Some(2);
    let place = plan.start();
    place.exchange.sell("5");
    let bytes = next_issue(&place).signable_bytes();
    let hex: String = secp
        .sign(&bytes)
        .bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tables = client()
        + &scripted(&key(1), &signing(&key(1), &[&bytes]), "")
        + &scripted(&secp, &format!("echo {hex}"), "timeout = \"20s\"").replace("issue", "other");
    let issued = run(&place, &tables).0.expect(0, "issued", "5");
    let signatures = issued.json()["issue"]["signatures"].clone();
    assert_eq!(signatures.as_array().map(Vec::len), Some(2));
    place.settled();
}

/// Nothing that a program does wrong reaches the chain, or costs the sale.
#[test]
fn a_program_that_does_not_sign_is_a_refusal_and_the_next_run_makes_it_good() {
    let place = with_a_sale();
    let bytes = next_issue(&place).signable_bytes();
    let another = Issue::new(Napu::NDAU, 1).unwrap().signable_bytes();
    let gave_none = format!("the program for {} gave no signature", key(1).public());
    let wrong = format!("signature by {} does not verify", key(1).public());
    for (script, lines, told, logged) in [
        (
            "echo the card is locked >&2; exit 7".to_owned(),
            "",
            &gave_none,
            "its program ended with exit status: 7, saying: the card is locked",
        ),
        (
            "echo hello".to_owned(),
            "",
            &gave_none,
            "6 bytes that are no signature",
        ),
        ("yes".to_owned(), "", &gave_none, "more than 4096 bytes"),
        (
            "exec no-such-program".to_owned(),
            "",
            &gave_none,
            "exit status: 127",
        ),
        (
            "echo the person is out >&2; sleep 1000".to_owned(),
            "timeout = \"3s\"",
            &gave_none,
            "did not end within 3s, saying: the person is out",
        ),
        (
            format!("echo {}", key(1).sign(&another)),
            "",
            &wrong,
            "does not verify",
        ),
        (
            format!("echo {}", key(2).sign(&bytes)),
            "",
            &wrong,
            "does not verify",
        ),
    ] {
        let begun = Instant::now();
        let (issuer, signer) = run(&place, &(client() + &scripted(&key(1), &script, lines)));
        let issuer = issuer.fails(77, &["the signing service: ", told]);
        assert!(begun.elapsed() < Duration::from_secs(50), "{script}");
        assert!(signer.stderr.contains(logged), "{script}: {signer:#?}");
        // What the program said is for those who look after it.
        assert!(!issuer.stderr.contains("locked") && !issuer.stderr.contains("the person"));
    }
    assert_eq!(place.chain.issues(), []);
    let tables = client() + &scripted(&key(1), &signing(&key(1), &[&bytes]), "");
    run(&place, &tables).0.expect(0, "settled", "5");
    place.settled();
}

/// One key that fails does not keep the others from signing, where these are enough.
#[test]
fn a_key_that_fails_leaves_the_others_to_sign() {
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    plan.chain.required_signatures = Some(1);
    plan.ndau = "signatures = 1".to_owned();
    let place = plan.start();
    place.exchange.sell("5");
    let tables = client()
        + &scripted(&key(1), "exit 1", "")
        + &table("keys.other", &key(2), &priv_key(&key(2)));
    let (issuer, signer) = run(&place, &tables);
    issuer.expect(0, "issued", "5");
    assert!(signer.stderr.contains("exit status: 1"), "{signer:#?}");
    place.settled();
}

#[test]
fn signers_that_come_one_after_the_other_sign_together() {
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    plan.chain.required_signatures = Some(2);
    plan.signer = format!(
        "allowed = [\"{}\", \"{}\"]",
        key(100).public(),
        key(101).public()
    );
    let place = plan.start();
    place.exchange.sell("5");
    let bytes = next_issue(&place).signable_bytes();
    let mut first = None;
    let ended = place.run_with(|place, url| {
        let tables = client()
            + &scripted(
                &key(1),
                &format!("{}; echo >signed", signing(&key(1), &[&bytes])),
                "",
            );
        first = Some(service(place, url, &tables));
        place.wait_until("the first signature", || place.path("signed").exists());
        let other = table("client", &key(101), &priv_key(&key(101)))
            + &table("keys.issue", &key(2), &priv_key(&key(2)));
        configure(place, "other.toml", url, &other);
        Some(Running::start(
            place.command_of(SIGNER, &["run", "--config", "other.toml"]),
        ))
    });
    ended.expect(0, "issued", "5");
    place.settled();
}

#[test]
fn a_limit_holds_before_any_program_is_started() {
    let place = with_a_sale();
    let tables = client()
        + &scripted(&key(1), "echo >started", "")
        + "[policy]\nmax_issue_per_tx = \"4.99999999\"\n";
    run(&place, &tables)
        .0
        .fails(77, &["the signing service: ", "4.99999999"]);
    assert!(!place.path("started").exists());
}

/// A service that is told to stop takes the program with it, and has not signed.
#[test]
fn a_program_is_ended_with_its_service() {
    let place = with_a_sale();
    let script = "echo $$ >new; mv new pid; exec sleep 1000";
    let tables = client() + &scripted(&key(1), script, "timeout = \"10m\"");
    let mut issuer = Running::start(place.command(&["run", "--json"]));
    let listening: Value = serde_json::from_str(&issuer.line()).unwrap();
    let url = listening["listening"].as_str().unwrap();
    configure(&place, "keys.toml", url, &tables);
    let mut command = place.command_of(SIGNER, &["run", "--config", "keys.toml"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut signer = command.spawn().unwrap();
    place.wait_until("the program", || place.path("pid").exists());
    let program = fs::read_to_string(place.path("pid")).unwrap();
    let told = Command::new("kill")
        .arg(signer.id().to_string())
        .status()
        .unwrap();
    assert!(told.success());
    assert_eq!(signer.wait().unwrap().code(), Some(0));
    let program = format!("/proc/{}/stat", program.trim());
    place.wait_until("the end of the program", || {
        !fs::read_to_string(&program).is_ok_and(|status| !status.contains(") Z "))
    });
    // To be stopped is no refusal: the integration waits on, and takes the signature of the next.
    let good = client() + &table("keys.issue", &key(1), &priv_key(&key(1)));
    let signer = service(&place, url, &good);
    issuer.end().expect(0, "issued", "5");
    let _ = signer.kill();
    place.settled();
}

#[test]
fn check_finds_all_in_order() {
    let place = with_a_sale();
    let secp = PrivateKey::from_secp256k1(&[7; 32]).unwrap();
    place.write("other.key", secp.text().expose(), 0o600);
    let message = b"ndau-signer check: this shows that a key signs, and is no transaction";
    let tables = client()
        + &scripted(&key(1), &signing(&key(1), &[message]), "")
        + &table("keys.other", &secp, "priv_key_file = \"other.key\"");
    let port = free_port();
    configure(
        &place,
        "keys.toml",
        &format!("ws://127.0.0.1:{port}/signer"),
        &tables,
    );
    let idle = check(&place, &[]);
    assert_eq!(idle.code, 0, "{idle:#?}");
    let lines: Vec<&str> = idle.stdout.lines().collect();
    let expected = [
        "ok    file: keys.toml, which only its owner can read".to_owned(),
        format!("ok    client: this service is {}", key(100).public()),
        "ok    policy: no limit in one transaction, no limit within 24 hours; nobody is asked"
            .to_owned(),
        "ok    log: keys.toml.jsonl is not there yet; the first run makes it".to_owned(),
        format!(
            "ok    keys.issue: {} (ed25519, command) signs",
            key(1).public()
        ),
        format!(
            "ok    keys.other: {} (secp256k1, virtual) signs",
            secp.public()
        ),
        format!(
            "ok    connections.test: ws://127.0.0.1:{port}/signer: nobody listens there now, as is normal between requests"
        ),
        "all is in order".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(idle.stderr, "");

    // While the integration waits for a signature it is looked at, and goes on waiting for one who signs.
    let bytes = next_issue(&place).signable_bytes();
    let ended = place.run_with(|place, url| {
        configure(place, "keys.toml", url, &tables);
        let looked = check(place, &["--json"]);
        assert_eq!(looked.code, 0, "{looked:#?}");
        let json = looked.json();
        assert_eq!(
            (json["ok"].as_bool(), json["exit_code"].as_u64()),
            (Some(true), Some(0))
        );
        let findings = json["findings"].as_array().unwrap();
        assert!(findings.iter().all(|one| one["ok"] == true), "{looked:#?}");
        let last = findings.last().unwrap();
        let says = last["says"].as_str().unwrap();
        assert!(
            says.contains("proved the identity in server_key"),
            "{looked:#?}"
        );
        let tables = client() + &scripted(&key(1), &signing(&key(1), &[&bytes]), "");
        Some(service(place, url, &tables))
    });
    ended.expect(0, "issued", "5");
    place.settled();
}

#[test]
fn check_says_what_is_not_in_order() {
    let place = with_a_sale();
    let nowhere = format!("ws://127.0.0.1:{}/signer", free_port());
    let good = table("keys.issue", &key(1), &priv_key(&key(1)));
    let keys_file = |name: &str| {
        table(
            "keys.issue",
            &key(1),
            &format!("priv_key_file = \"{name}\""),
        )
    };
    place.write("open.key", key(1).text().expose(), 0o604);
    place.write("wrong.key", key(2).text().expose(), 0o600);
    let cases = [
        (
            client() + &keys_file("none.key"),
            78,
            "WRONG keys.issue: its secret cannot be read",
        ),
        (client() + &keys_file("open.key"), 78, "chmod 600"),
        (
            client() + &keys_file("wrong.key"),
            78,
            "is not that of its pub_key",
        ),
        (
            client() + &scripted(&key(1), "exit 4", ""),
            69,
            "gave no signature: its program ended with exit status: 4",
        ),
        (
            client() + &scripted(&key(1), "sleep 1000", "timeout = \"200ms\""),
            69,
            "did not end within 200ms",
        ),
        (
            client() + &scripted(&key(1), &format!("echo {}", key(1).sign(b"another")), ""),
            78,
            "does not verify",
        ),
        (
            client() + &scripted(&key(1), "echo", "").replace("\"sh\"", "\"./no-program\""),
            78,
            "cannot start",
        ),
        (
            table("client", &key(100), "priv_key_file = \"none.key\"") + &good,
            78,
            "WRONG client: client in keys.toml cannot be used",
        ),
        (
            client(),
            78,
            "WRONG file: keys.toml is not a configuration: line 1: keys: missing",
        ),
    ];
    for (tables, code, expected) in cases {
        configure(&place, "keys.toml", &nowhere, &tables);
        let ended = check(&place, &[]);
        assert_eq!(ended.code, code, "{ended:#?}");
        assert!(ended.stdout.contains(expected), "{expected}: {ended:#?}");
        let verdict = ended.stdout.lines().last().unwrap();
        assert!(
            verdict.contains(" not in order [") && verdict.contains(&code.to_string()),
            "{ended:#?}"
        );
        let json = check(&place, &["--json"]);
        assert_eq!(json.code, code, "{json:#?}");
        assert_eq!(json.json()["exit_code"], code, "{json:#?}");
        for printed in [&ended, &json] {
            let printed = format!("{}{}", printed.stdout, printed.stderr);
            assert!(!printed.contains("npvta"), "{printed}");
        }
    }
    // What is to be mended by hand decides how it ends.
    let both = client()
        + &scripted(&key(1), "exit 4", "")
        + &table("keys.other", &key(2), "priv_key_file = \"none\"");
    configure(&place, "keys.toml", &nowhere, &both);
    let ended = check(&place, &[]);
    assert_eq!(ended.code, 78);
    assert!(
        ended.stdout.contains("2 of 7 not in order [78: config]"),
        "{ended:#?}"
    );

    configure(&place, "keys.toml", &nowhere, &(client() + &good));
    place.write("keys.toml.jsonl", "{}\n", 0o600);
    let ended = check(&place, &[]);
    assert_eq!(ended.code, 65, "{ended:#?}");
    assert!(ended.stdout.contains("WRONG log: "), "{ended:#?}");
    fs::set_permissions(place.path("keys.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let ended = check(&place, &[]);
    assert_eq!(ended.code, 78);
    assert!(
        ended.stdout.starts_with("WRONG file: cannot load"),
        "{ended:#?}"
    );
}

/// What listens is not the integration, does not know this service, or is not to be reached.
#[test]
fn check_says_who_is_not_who_is_meant() {
    let place = with_a_sale();
    let good = table("keys.issue", &key(1), &priv_key(&key(1)));
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in web.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    configure(
        &place,
        "keys.toml",
        &format!("ws://127.0.0.1:{port}/signer"),
        &(client() + &good),
    );
    let ended = check(&place, &[]);
    assert_eq!(ended.code, 78, "{ended:#?}");
    assert!(
        ended
            .stdout
            .contains("it does not speak this protocol there"),
        "{ended:#?}"
    );

    configure(
        &place,
        "keys.toml",
        "ws://255.255.255.255:1/signer",
        &(client() + &good),
    );
    let ended = check(&place, &[]);
    assert_eq!(ended.code, 69, "{ended:#?}");
    assert!(ended.stdout.contains("it cannot be reached"), "{ended:#?}");

    place
        .run_with(|place, url| {
            // Not on the list of the integration.
            let stranger = table("client", &key(66), &priv_key(&key(66)));
            configure(place, "keys.toml", url, &(stranger + &good));
            let ended = check(place, &[]);
            assert_eq!(ended.code, 77, "{ended:#?}");
            assert!(
                ended.stdout.contains("it closed the connection"),
                "{ended:#?}"
            );
            // Another than the one in server_key.
            configure(place, "keys.toml", url, &(client() + &good));
            let text = fs::read_to_string(place.path("keys.toml")).unwrap();
            let other = text.replace(&server_key(place), key(200).public().as_text());
            place.write("keys.toml", &other, 0o600);
            let ended = check(place, &[]);
            assert_eq!(ended.code, 77, "{ended:#?}");
            Some(service(place, url, &(client() + &good)))
        })
        .expect(0, "issued", "5");
}

/// Runs `line` at a terminal, types `typed` once the secret of `keys.issue` is asked for: its end and all that was shown.
/// `None` where there is no program that makes a terminal.
fn at_a_terminal(place: &Place, line: &str, typed: &str) -> Option<(Option<i32>, String)> {
    at_a_terminal_after(place, line, || (), typed)
}

/// The same; `meanwhile` happens between the question and the answer.
fn at_a_terminal_after(
    place: &Place,
    line: &str,
    meanwhile: impl FnOnce(),
    typed: &str,
) -> Option<(Option<i32>, String)> {
    if Command::new("script").arg("--version").output().is_err() {
        println!("keys: SKIPPED: there is no `script`, which makes a terminal");
        return None;
    }
    let mut terminal = place.command_of("script", &["-qec", line, "/dev/null"]);
    let mut terminal = terminal.stdin(Stdio::piped()).spawn().unwrap();
    let mut screen = terminal.stdout.take().unwrap();
    let mut shown = Vec::new();
    let question = format!("keys.issue: the private key of {}: ", key(1).public());
    while !String::from_utf8_lossy(&shown).contains(&question) {
        let mut part = [0; 1024];
        let count = screen.read(&mut part).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&part[..count]);
    }
    meanwhile();
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    screen.read_to_end(&mut shown).unwrap();
    drop(keyboard);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    Some((terminal.wait().unwrap().code(), shown))
}

/// What a person is asked for at a terminal is read, and not shown.
#[test]
fn a_secret_that_no_file_holds_is_typed_in_unseen() {
    let place = with_a_sale();
    let tables = client() + &table("keys.issue", &key(1), "");
    let nowhere = format!("ws://127.0.0.1:{}/signer", free_port());
    configure(&place, "keys.toml", &nowhere, &tables);
    for (typed, code, expected) in [
        (key(1).text().expose().as_str(), 0, "all is in order"),
        (
            key(2).text().expose().as_str(),
            78,
            "is not that of its pub_key",
        ),
        ("something else", 78, "what was typed in is no private key"),
    ] {
        let line = format!("exec {SIGNER} check --config keys.toml");
        let Some((ended, shown)) = at_a_terminal(&place, &line, &format!("{typed}\n")) else {
            return;
        };
        assert_eq!(ended, Some(code), "{shown}");
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains(typed), "{shown}");
    }
}

/// ^Z gave the terminal to the shell, which echoes, and after `fg` the answer was shown; ^\ left a terminal that never
/// echoes again.
#[test]
fn a_question_is_not_left_by_a_key_that_stops_or_quits() {
    let place = with_a_sale();
    let tables = client() + &table("keys.issue", &key(1), "");
    let nowhere = format!("ws://127.0.0.1:{}/signer", free_port());
    configure(&place, "keys.toml", &nowhere, &tables);
    let key = key(1);
    let text = key.text();
    let (start, rest) = text.expose().split_at(20);
    // A shell with job control, which goes on when its program is stopped.
    let line =
        format!("set -m; {SIGNER} check --config keys.toml; echo code $?; fg; echo; stty -a");
    let typed = format!("\x1a\x1c{start}\x1c\x1a{rest}\n");
    let Some((_, shown)) = at_a_terminal(&place, &line, &typed) else {
        return;
    };
    assert!(
        shown.contains("all is in order") && shown.contains("code 0"),
        "{shown}"
    );
    assert!(!shown.contains(start) && !shown.contains(rest), "{shown}");
    // And the keys are what they were.
    for mode in [" echo ", "susp = ^Z", "quit = ^\\"] {
        assert!(shown.contains(mode), "{mode}: {shown}");
    }
}

/// A shell does, when its program was stopped without a key and goes on.
#[test]
fn a_terminal_that_somebody_has_echo_again_is_quiet_before_the_answer() {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let place = with_a_sale();
    let tables = client() + &table("keys.issue", &key(1), "");
    let nowhere = format!("ws://127.0.0.1:{}/signer", free_port());
    configure(&place, "keys.toml", &nowhere, &tables);
    let meanwhile = || {
        let name = fs::read_to_string(place.path("tty")).unwrap();
        let terminal = fs::File::open(name.trim()).unwrap();
        let echoes = || {
            let modes = tcgetattr(&terminal).unwrap();
            modes.local_modes.contains(LocalModes::ECHO)
        };
        assert!(!echoes());
        let mut modes = tcgetattr(&terminal).unwrap();
        modes.local_modes.insert(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &modes).unwrap();
        place.wait_until("the silence", || !echoes());
    };
    let line = format!("tty >tty; exec {SIGNER} check --config keys.toml");
    let typed = format!("{}\n", key(1).text().expose());
    let Some((ended, shown)) = at_a_terminal_after(&place, &line, meanwhile, &typed) else {
        return;
    };
    assert_eq!(ended, Some(0), "{shown}");
    assert!(shown.contains("all is in order"), "{shown}");
    assert!(!shown.contains(typed.trim()), "{shown}");
}

/// A person who leaves the question finds the terminal as it was.
#[test]
fn a_question_can_be_left() {
    let place = with_a_sale();
    let tables = client() + &table("keys.issue", &key(1), "");
    configure(&place, "keys.toml", "ws://127.0.0.1:1/signer", &tables);
    for (command, typed, code) in [
        ("run", "\x03", 0),
        ("check", "\x03", 78),
        ("run", "\x04", 78),
    ] {
        let line =
            format!("trap : INT; {SIGNER} {command} --config keys.toml; echo code $?; stty -a");
        let Some((_, shown)) = at_a_terminal(&place, &line, typed) else {
            return;
        };
        assert!(shown.contains(&format!("code {code}")), "{shown}");
        assert!(
            shown.contains(" echo ") && shown.contains(" icanon "),
            "{shown}"
        );
    }
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    if Command::new("setsid").arg("--version").output().is_err() {
        println!("keys: SKIPPED: there is no `setsid`, which takes the terminal away");
        return;
    }
    let place = with_a_sale();
    let tables = client() + &table("keys.issue", &key(1), "");
    configure(&place, "keys.toml", "ws://127.0.0.1:1/signer", &tables);
    for command in ["run", "check"] {
        let started = place.command_of("setsid", &["-w", SIGNER, command, "--config", "keys.toml"]);
        let ended = Running::start(started).end();
        assert_eq!(ended.code, 78, "{ended:#?}");
        let printed = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            printed.contains("its secret is to be typed in, and could not be: start at a terminal"),
            "{ended:#?}"
        );
    }
}

#[test]
fn a_build_without_the_device_says_how_to_get_one_with_it() {
    if cfg!(feature = "yubihsm") {
        return;
    }
    let place = Plan::new().start();
    let tables = client()
        + &format!(
            "[keys.issue]\ntype = \"yubihsm\"\npub_key = \"{}\"\nconnector = \"http://127.0.0.1:12345\"\nauth_key = 2\nkey = 7\n",
            key(1).public()
        );
    configure(&place, "keys.toml", "ws://127.0.0.1:1/signer", &tables);
    for command in ["run", "check"] {
        let started = place.command_of(SIGNER, &[command, "--config", "keys.toml"]);
        let ended = Running::start(started).end();
        assert_eq!(ended.code, 78, "{ended:#?}");
        let printed = format!("{}{}", ended.stdout, ended.stderr);
        assert!(printed.contains("--features yubihsm"), "{ended:#?}");
    }
}

/// The device of the `yubihsm` library's own simulation, behind a connector, in a whole run.
#[cfg(feature = "mockhsm")]
#[test]
fn a_device_signs_a_whole_run() {
    use yubihsm::connector::HttpConfig;
    use yubihsm::connector::http::Server;
    use yubihsm::{Capability, Client, Connector, Credentials, Domain, asymmetric, object};

    let device = Connector::mockhsm();
    let client_of_device = Client::open(device.clone(), Credentials::default(), true).unwrap();
    let label = object::Label::from_bytes(b"issue").unwrap();
    let put = client_of_device.put_asymmetric_key(
        7,
        label,
        Domain::all(),
        Capability::SIGN_EDDSA,
        asymmetric::Algorithm::Ed25519,
        vec![1; 32],
    );
    assert_eq!(put.unwrap(), 7);
    let config = HttpConfig {
        port: free_port(),
        ..HttpConfig::default()
    };
    let server = Server::new(&config, device).unwrap();
    thread::spawn(move || while server.handle_request().is_ok() {});

    let place = with_a_sale();
    place.write("password", "password\n", 0o600);
    let hsm = |password: &str, object: &str| {
        client()
            + &format!(
                "[keys.issue]\ntype = \"yubihsm\"\npub_key = \"{}\"\nconnector = \"{config}\"\nauth_key = 1\n\
                 password_file = \"{password}\"\nkey = {object}\n",
                key(1).public()
            )
    };
    place.write("wrong", "passw0rd", 0o600);
    place.write("open", "password", 0o644);
    let nowhere = format!("ws://127.0.0.1:{}/signer", free_port());
    for (password, object, code, expected) in [
        ("password", "7", 0, "(ed25519, yubihsm) signs"),
        ("wrong", "7", 77, "gave no signature"),
        ("password", "8", 78, "gave no signature"),
        ("open", "7", 78, "chmod 600"),
        ("password", "0", 78, "key: must be a number from 1 to 65535"),
    ] {
        configure(&place, "keys.toml", &nowhere, &hsm(password, object));
        let ended = check(&place, &[]);
        assert_eq!(ended.code, code, "{ended:#?}");
        assert!(ended.stdout.contains(expected), "{ended:#?}");
        assert!(!ended.stdout.contains("passw0rd"), "{ended:#?}");
    }
    run(&place, &hsm("password", "8"))
        .0
        .fails(77, &["the device with "]);
    run(&place, &hsm("password", "7"))
        .0
        .expect(0, "settled", "5");
    place.settled();
}
