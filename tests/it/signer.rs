//! The signing service as its operator meets it: stopping it, its limits, its questions and its log.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ended, ISSUER, Place, Plan, Running, SIGNER, free_port, key};

/// The configuration and the log of the usual signing service.
const LOG: &str = "signed.jsonl";

fn plan(policy: &str) -> Plan {
    Plan {
        policy: format!("[policy]\n{policy}\n[log]\npath = \"{LOG}\"\n"),
        ..Plan::new()
    }
}

/// A place with a sale of 5 ndau, and this policy.
fn with_a_sale(policy: &str) -> Place {
    let place = plan(policy).start();
    place.exchange.sell("5");
    place
}

/// The name of the usual configuration, which is written here.
fn sigconfig(place: &Place, url: &str) -> String {
    place.write_sigconfig(&key(100), url, &[key(1)])
}

/// The signing service with a person at its terminal.
fn with_a_person(place: &Place, url: &str) -> Running {
    let config = sigconfig(place, url);
    let mut command = place.command_of(SIGNER, &["run", "--config", &config]);
    command.stdin(Stdio::piped());
    Running::start(command)
}

/// What `ndau-signer` with these arguments says.
fn signer(place: &Place, args: &[&str]) -> Ended {
    Running::start(place.command_of(SIGNER, args)).end()
}

/// The lines of the signing log.
fn log(place: &Place) -> Vec<Value> {
    let text = fs::read_to_string(place.path(LOG)).unwrap();
    let line = |line| serde_json::from_str(line).unwrap();
    text.lines().map(line).collect()
}

/// Verdict and reason of the log's last line.
fn last(place: &Place) -> (String, String) {
    let log = log(place);
    let line = log.last().unwrap();
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("reason"))
}

/// Starts a run, and waits until it listens; where.
fn start_run(place: &Place) -> (Running, String) {
    let mut issuer = Running::start(place.command(&["run", "--json"]));
    let line: Value = serde_json::from_str(&issuer.line()).unwrap();
    (issuer, line["listening"].as_str().unwrap().to_owned())
}

/// `signal` ends the service: with 0, soon, and with a line that says so.
#[track_caller]
fn ends_cleanly(signer: Running, signal: Signal) -> String {
    signer.signal(signal);
    let start = Instant::now();
    let ended = signer.end();
    let time = start.elapsed();
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(time < Duration::from_secs(4), "{time:?} {ended:#?}");
    assert!(ended.stderr.contains("stopped"), "{ended:#?}");
    ended.stderr
}

#[test]
fn it_ends_cleanly_while_idle_and_was_quiet_until_then() {
    let place = plan("").start();
    for signal in [Signal::TERM, Signal::INT] {
        let url = format!("ws://127.0.0.1:{}/signer", free_port());
        let config = sigconfig(&place, &url);
        let signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
        signer.says("nobody listens there now", 1);
        let said = ends_cleanly(signer, signal);
        assert_eq!(said.matches("nobody listens").count(), 1, "{said}");
    }
}

/// Whoever takes its connections and drops them gets a line in the log, not one a second.
#[test]
fn what_goes_wrong_again_and_again_is_logged_once() {
    let place = plan("").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/signer", listener.local_addr().unwrap());
    let config = sigconfig(&place, &url);
    let signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
    for _ in 0..4 {
        drop(listener.accept().unwrap());
    }
    let said = ends_cleanly(signer, Signal::TERM);
    assert_eq!(
        said.matches("it closed the connection").count(),
        1,
        "{said}"
    );
}

#[test]
fn it_ends_cleanly_while_it_waits_for_somebody_silent() {
    let place = plan("").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/signer", listener.local_addr().unwrap());
    let config = sigconfig(&place, &url);
    for signal in [Signal::TERM, Signal::INT] {
        let signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
        let _silent = listener.accept().unwrap();
        ends_cleanly(signer, signal);
    }
}

/// The run that asked goes on, and the next service signs for it.
#[test]
fn it_ends_cleanly_while_a_person_is_asked() {
    let place = with_a_sale("confirm = true");
    let (issuer, url) = start_run(&place);
    for signal in [Signal::INT, Signal::TERM] {
        let asking = with_a_person(&place, &url);
        asking.says("Type yes", 1);
        let said = ends_cleanly(asking, signal);
        assert!(said.contains("the question is withdrawn"), "{said}");
        let (verdict, reason) = last(&place);
        assert_eq!(verdict, "refused");
        assert!(reason.contains("the service was stopped"), "{reason}");
    }
    let mut asking = with_a_person(&place, &url);
    asking.says("Type yes", 1);
    writeln!(asking.stdin(), "yes").unwrap();
    issuer.end().expect(0, "issued", "5");
    place.settled();
}

#[test]
fn it_ends_cleanly_while_a_program_is_to_sign() {
    let place = with_a_sale("");
    let (issuer, url) = start_run(&place);
    let config = sigconfig(&place, &url);
    let text = fs::read_to_string(place.path(&config)).unwrap();
    let private = format!(
        "type = \"virtual\"\npub_key = \"{0}\"\npriv_key = \"{1}\"\n",
        key(1).public(),
        key(1).text().expose()
    );
    let command = format!(
        "type = \"command\"\npub_key = \"{}\"\ncommand = [\"sh\", \"-c\", \"touch started; sleep 100\"]\n",
        key(1).public()
    );
    assert!(text.contains(&private), "{text}");
    place.write(&config, &text.replace(&private, &command), 0o600);
    for signal in [Signal::TERM, Signal::INT] {
        let signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
        place.wait_until("the program", || place.path("started").exists());
        ends_cleanly(signer, signal);
        fs::remove_file(place.path("started")).unwrap();
    }
    // Nobody was told no: the run still waits, and a service that can sign does.
    let config = sigconfig(&place, &url);
    let _signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
    issuer.end().expect(0, "issued", "5");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = plan("").start();
    let url = format!("ws://127.0.0.1:{}/signer", free_port());
    let config = sigconfig(&place, &url);
    let signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
    signer.says("nobody listens there now", 1);
    // Both are there when it wakes up.
    signer.signal(Signal::STOP);
    signer.signal(Signal::TERM);
    signer.signal(Signal::INT);
    signer.signal(Signal::CONT);
    let ended = signer.end();
    assert_eq!(ended.code, -1, "{ended:#?}");
    assert!(!ended.stderr.contains("stopped"), "{ended:#?}");
}

/// A place with a sale, and a signer that may sign 7 ndau a day and has not signed any.
fn with_a_daily_limit() -> Place {
    let place = with_a_sale("max_issue_per_day = \"7\"");
    let begun = signer(&place, &["log", "--begin", "--log", LOG]);
    assert_eq!(
        (begun.code, begun.stdout.trim()),
        (0, "begun: signed.jsonl")
    );
    place
}

/// A log that went missing takes the day's count with it, so nothing is signed until a person says that it may.
#[test]
fn a_days_count_does_not_begin_anew_by_itself() {
    let place = with_a_daily_limit();
    place.run().expect(0, "issued", "5");
    let moved = place.path("moved.jsonl");
    fs::rename(place.path(LOG), &moved).unwrap();
    let config = sigconfig(&place, "ws://127.0.0.1:1/signer");
    for command in ["run", "check"] {
        let ended = signer(&place, &[command, "--config", &config]);
        assert_eq!(ended.code, 78, "{ended:#?}");
        let says = ended.stdout + &ended.stderr;
        assert!(
            says.contains("begin it with `ndau-signer log --begin`"),
            "{says}"
        );
    }
    assert!(!place.path(LOG).exists());
    fs::rename(&moved, place.path(LOG)).unwrap();
    let again = signer(&place, &["log", "--begin", "--config", &config]);
    assert_eq!(again.code, 78, "{again:#?}");
    assert!(again.stderr.contains("is there already"), "{again:#?}");
    place.exchange.sell("2.5");
    place.run().fails(77, &["since 5 ndau were signed"]);
}

/// What `check` finds in order, `run` finds so too.
#[test]
fn check_refuses_a_log_that_a_run_would() {
    let place = with_a_sale("");
    let config = sigconfig(&place, "ws://127.0.0.1:1/signer");
    place.write(LOG, "", 0o622);
    for command in ["run", "check"] {
        let ended = signer(&place, &[command, "--config", &config]);
        assert_eq!(ended.code, 78, "{ended:#?}");
        let says = ended.stdout + &ended.stderr;
        assert!(
            says.contains("others can write to the signing log"),
            "{says}"
        );
    }
}

/// A connection can be given some of the keys.
#[test]
fn a_connection_gets_signatures_by_its_own_keys_alone() {
    let place = with_a_sale("");
    let ended = place.run_with(|place, url| {
        let config = place.write_sigconfig(&key(100), url, &[key(1), key(2)]);
        let text = fs::read_to_string(place.path(&config)).unwrap();
        let own = text.replace("server_key", "keys = [\"key1\"]\nserver_key");
        assert_ne!(own, text);
        place.write(&config, &own, 0o600);
        Some(Running::start(
            place.command_of(SIGNER, &["run", "--config", &config]),
        ))
    });
    ended.fails(77, &["too few", "holds none of the keys asked for"]);
}

#[test]
fn a_day_is_counted_across_restarts() {
    let place = with_a_daily_limit();
    place.run().expect(0, "issued", "5");
    place.exchange.sell("2.5");
    for _ in 0..2 {
        place.run().fails(
            77,
            &[
                "the signing service: ",
                "2.5 ndau is above the limit of 7 ndau a day, since 5 ndau were signed in the last 24 hours",
            ],
        );
    }
    let verdicts: Vec<String> = log(&place)
        .iter()
        .map(|line| line["verdict"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(verdicts, ["signed", "refused", "refused"]);
}

/// What was signed and not submitted is signed again by the next run, and counts once.
#[test]
fn signing_the_same_again_counts_once() {
    let place = with_a_daily_limit();
    for _ in 0..2 {
        let (issuer, url) = start_run(&place);
        // Signed, and the run is gone before it is submitted.
        place.chain.set_fault(Some(sandbox::Fault::Down));
        let signer = place.signer(&url, &[key(1)]);
        signer.says("signed with", 1);
        let _ = issuer.kill();
        let _ = signer.kill();
        // Forget the signatures, as a run does that was killed before it had stored them.
        let pending = place.state("pending.json").unwrap();
        let mut pending: Value = serde_json::from_str(&pending).unwrap();
        for candidate in pending["candidates"].as_array_mut().unwrap() {
            candidate["signatures"] = Value::Array(Vec::new());
        }
        place.write("state/pending.json", &pending.to_string(), 0o600);
        place.chain.set_fault(None);
    }
    place.run().expect(0, "settled", "5");
    place.settled();
    let signed = log(&place);
    assert_eq!(signed.len(), 3);
    assert!(signed.iter().all(|line| line["verdict"] == "signed"));
    place.exchange.sell("2");
    place.run().expect(0, "issued", "2");
}

#[test]
fn a_person_is_asked_and_only_yes_is_a_yes() {
    let place = with_a_sale("confirm = true");
    for (typed, says) in [
        ("no\n", "the person at the terminal said no"),
        ("y\n", "the person at the terminal said no"),
        ("", "nobody is there to be asked"),
    ] {
        let (issuer, url) = start_run(&place);
        let mut asking = with_a_person(&place, &url);
        asking.says("Type yes", 1);
        let mut person = asking.stdin();
        person.write_all(typed.as_bytes()).unwrap();
        drop(person);
        issuer.end().fails(77, &["the signing service: ", says]);
        assert_eq!(
            last(&place).1,
            says.to_owned()
                + if typed.is_empty() {
                    ": the input is at its end"
                } else {
                    ""
                }
        );
    }

    let (issuer, url) = start_run(&place);
    let mut asking = with_a_person(&place, &url);
    asking.says("Type yes", 1);
    let question = asking.stderr();
    let hash = log(&place)[0]["hash"].as_str().unwrap().to_owned();
    for part in [
        "test (npub",
        "an Issue of 5 ndau",
        "sequence ",
        &hash,
        "1 trade of XND_USDT",
    ] {
        assert!(question.contains(part), "{part}: {question}");
    }
    writeln!(asking.stdin(), "yes").unwrap();
    issuer.end().expect(0, "settled", "5");
    place.settled();
    assert_eq!(last(&place).0, "signed");
}

#[test]
fn a_yes_from_before_the_question_is_none() {
    let place = with_a_sale("confirm = true");
    let (issuer, url) = start_run(&place);
    let config = sigconfig(&place, &url);
    let mut command = place.command_of(SIGNER, &["run", "--config", &config]);
    // It is in the pipe before the service starts.
    let (input, mut person) = std::io::pipe().unwrap();
    person.write_all(b"yes\nyes\n").unwrap();
    command.stdin(input);
    let asking = Running::start(command);
    asking.says("Type yes", 1);
    writeln!(person, "no").unwrap();
    issuer
        .end()
        .fails(77, &["the person at the terminal said no"]);
}

#[test]
fn a_question_ends_when_nobody_waits_for_its_answer() {
    let place = with_a_sale("confirm = true");
    place.configure("", "", "timeout = \"2s\"");
    let (issuer, url) = start_run(&place);
    let asking = with_a_person(&place, &url);
    asking.says("Type yes", 1);
    issuer.end().fails(69, &["the signing service: "]);
    asking.says("the question is withdrawn", 1);
    asking.says("the session is over", 1);
    let (verdict, reason) = last(&place);
    assert_eq!(verdict, "refused");
    assert!(reason.ends_with("before a person had answered"), "{reason}");
    let _ = asking.kill();
    assert_eq!(place.chain.issues().len(), 0);
}

#[test]
fn the_log_tells_what_was_signed_and_refused() {
    let place = with_a_sale("max_issue_per_tx = \"6\"");
    place.run().expect(0, "issued", "5");
    place.exchange.sell("6.5");
    place
        .run()
        .fails(77, &["6.5 ndau is above the limit of 6 ndau"]);
    let lines = log(&place);
    let issue = &place.chain.issues()[0];
    for (name, expected) in [
        ("connection", "test"),
        ("tx_type", "Issue"),
        ("quantity_napu", "500000000"),
        ("hash", &issue.hash),
        ("verdict", "signed"),
    ] {
        assert_eq!(lines[0][name], *expected, "{name}");
    }
    assert_eq!(
        lines[0]["keys"],
        serde_json::json!([key(1).public().as_text()])
    );
    assert_eq!(lines[0]["context"]["symbol"], "XND_USDT");
    assert_eq!(lines[1]["verdict"], "refused");

    // It is shown without any key: this one's file is not there.
    let config = sigconfig(&place, "ws://localhost/signer");
    let text = fs::read_to_string(place.path(&config)).unwrap();
    let private = format!("priv_key = \"{}\"", key(1).text().expose());
    place.write(
        &config,
        &text.replace(&private, "priv_key_file = \"none\""),
        0o600,
    );
    for from in [["--config", &config], ["--log", LOG]] {
        let shown = signer(&place, &[&["log"], &from[..]].concat());
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:#?}");
        let lines: Vec<&str> = shown.stdout.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].contains(&issue.hash) && lines[1].contains("signed with npub"));
        assert!(lines[2].contains("refused: 6.5 ndau is above"));
        assert!(lines[3].starts_with("2 lines: 1 signed, 1 refused; each is as it was written"));
        let json = signer(&place, &[&["log", "--json"], &from[..]].concat());
        assert_eq!(json.stdout.lines().count(), 3);
        assert_eq!(json.json()["result"], "whole");
    }
    assert_eq!(signer(&place, &["log"]).code, 64);
    assert_eq!(signer(&place, &["log", "--log", "none"]).code, 78);
}

#[test]
fn a_log_that_was_changed_is_noticed_and_nothing_is_signed() {
    let place = with_a_sale("");
    place.run().expect(0, "issued", "5");
    place.exchange.sell("6");
    place.run().expect(0, "issued", "6");
    let good = fs::read_to_string(place.path(LOG)).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let config = sigconfig(&place, "ws://127.0.0.1:1/signer");
    for bad in [
        good.replacen("500000000", "500000001", 1),
        lines[1].to_owned(),
        lines[1].to_owned() + lines[0],
        good.replacen("\"trades\":1", "\"trades\":2", 1),
        good.replacen("}\n{", "}\n\n{", 1),
        good.clone() + "\n",
    ] {
        place.write(LOG, &bad, 0o600);
        for command in [
            &["log", "--config", &config][..],
            &["run", "--config", &config],
        ] {
            let ended = signer(&place, command);
            assert_eq!(ended.code, 65, "{ended:#?}");
            assert!(ended.stderr.contains("line "), "{ended:#?}");
            assert!(ended.stderr.contains(LOG), "{ended:#?}");
        }
        assert_eq!(fs::read_to_string(place.path(LOG)).unwrap(), bad);
    }
    // A line that a crash cut off is none.
    place.write(LOG, &good[..good.len() - 1], 0o600);
    place.exchange.sell("7");
    place.run().expect(0, "issued", "7");
    assert_eq!(log(&place).len(), 2);
    let shown = signer(&place, &["log", "--config", &config]);
    assert_eq!(shown.code, 0, "{shown:#?}");
}

#[test]
fn two_services_do_not_share_a_log() {
    let place = plan("").start();
    let url = format!("ws://127.0.0.1:{}/signer", free_port());
    let config = sigconfig(&place, &url);
    let first = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
    first.says("nobody listens there now", 1);
    let second = signer(&place, &["run", "--config", &config]);
    assert_eq!(second.code, 69, "{second:#?}");
    assert!(
        second.stderr.contains("another ndau-signer holds"),
        "{second:#?}"
    );
}

/// A disk that takes no more: what cannot be written down is not signed.
#[test]
fn without_room_for_the_log_nothing_is_signed() {
    let place = with_a_sale("");
    let (issuer, url) = start_run(&place);
    let config = sigconfig(&place, &url);
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {SIGNER} run --config {config}");
    let signer = Running::start(place.command_of("sh", &["-c", &script]));
    issuer.end().fails(77, &["cannot write its signing log"]);
    signer.says("make room, or mend the disk", 1);
    assert!(log(&place).is_empty());
    assert!(place.chain.issues().is_empty());
    let _ = signer.kill();
    place.run().expect(0, "settled", "5");
    assert_eq!(log(&place).len(), 1);
}

/// A folder that is not there, and what is no file.
#[test]
fn a_log_that_cannot_be_is_a_mistake_in_the_configuration() {
    for path in ["none/log", ".", "/dev/full"] {
        let place = Plan {
            policy: format!("[log]\npath = \"{path}\"\n"),
            ..Plan::new()
        }
        .start();
        let config = sigconfig(&place, "ws://127.0.0.1:1/signer");
        let ended = signer(&place, &["run", "--config", &config]);
        assert_eq!(ended.code, 78, "{ended:#?}");
        assert!(ended.stderr.contains("log.path"), "{ended:#?}");
    }
}

/// The line is on the disk before the signature is on the wire.
#[test]
fn a_signature_leaves_after_its_line_is_durable() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("signer: SKIPPED: there is no strace");
        return;
    }
    let place = with_a_sale("");
    let (issuer, url) = start_run(&place);
    let config = sigconfig(&place, &url);
    // The service dies as it makes its first line durable: the syncs of its start, two of a file and its folder, come first.
    let inject = "inject=fsync:signal=KILL:when=3";
    let args = [
        "-f",
        "-o",
        "trace",
        "-e",
        "trace=fsync",
        "-e",
        inject,
        SIGNER,
        "run",
        "--config",
        &config,
    ];
    let signer = Running::start(place.command_of("strace", &args));
    let ended = signer.end();
    assert_ne!(ended.code, 0, "{ended:#?}");
    assert!(!ended.stderr.contains("signed with"), "{ended:#?}");
    // The run got nothing, and the next service signs.
    let _signer = Running::start(place.command_of(SIGNER, &["run", "--config", &config]));
    issuer.end().expect(0, "issued", "5");
    place.settled();
}

/// A signal that leaves a core would leave the keys in it, in clear.
#[cfg(target_os = "linux")]
#[test]
fn no_core_of_either_program_is_written() {
    use std::os::unix::fs::MetadataExt;

    let place = with_a_sale("");
    // As somebody starts it who wants cores.
    let started = |program: &str, args: &[&str]| {
        let wish = "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\"";
        let args = [&["-c", wish, program], args].concat();
        Running::start(place.command_of("sh", &args))
    };
    let mut issuer = started(ISSUER, &["run", "--json"]);
    assert!(issuer.line().contains("listening"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/signer", listener.local_addr().unwrap());
    let config = sigconfig(&place, &url);
    let signer = started(SIGNER, &["run", "--config", &config]);
    let _dialled = listener.accept().unwrap();
    for running in [&issuer, &signer] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core"));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(words, ["Max", "core", "file", "size", "0", "0", "bytes"]);
    }
    // The service's memory is closed to its own user too, who sees here that it is root's.
    let memory = fs::metadata(format!("/proc/{}/mem", signer.id())).unwrap();
    if rustix::process::geteuid().is_root() {
        println!("signer: SKIPPED in part: to root, its own memory looks the same as a closed one");
    }
    assert_eq!(memory.uid(), 0);
    for running in [issuer, signer] {
        running.signal(Signal::QUIT);
        assert_eq!(running.end().code, -1);
    }
    // Where this system puts cores, if it does not put them elsewhere.
    let files = place.files().into_keys();
    let mut names = files.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    assert_eq!(names.find(|name| name.starts_with("core")), None);
}
