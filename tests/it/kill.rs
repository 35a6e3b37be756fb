//! The real program killed, or failed by its disk, at each of many points of a run, and the runs after it.
//!
//! The points are its system calls, which strace counts and tampers with. Where strace is missing or may not trace,
//! these tests say so; the one that kills at the lines of the log needs nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Ended, ISSUER, Place, Plan, Running, key};

/// How many points are tried at a time. Most of a run is waiting.
const LANES: usize = 4;

/// Calls that change nothing outside, or that stand right beside one that is tried: tried, they would cost time and
/// show nothing new.
const DULL: [&str; 5] = ["fcntl", "ioctl", "mmap", "munmap", "sigaltstack"];

/// Two sales that wait, in a world that costs a run little time.
fn with_sales() -> Place {
    let mut plan = Plan::new();
    plan.chain.block_time = Duration::from_millis(1);
    let place = plan.start();
    place.exchange.sell("5");
    place.exchange.buy("1");
    place.exchange.sell("0.5");
    place
}

fn sign(place: &Place, url: &str) -> Option<Running> {
    Some(place.signer(url, &[key(1)]))
}

/// The issuer under strace with these options. The tracer is not its parent, and so ends with it however it ends.
fn traced(place: &Place, options: &[&str], args: &[&str]) -> Command {
    let args = [&["-D", "-f", "-qq"], options, &[ISSUER], args].concat();
    let mut command = place.command_of("strace", &args);
    // cargo sets it, and the loader then looks through many folders.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// A run in which this happens.
fn tampered(place: &Place, inject: &str) -> Command {
    let options = ["-o", "/dev/null", "-e", inject];
    traced(place, &options, &["run", "--json"])
}

/// Whether strace is there and may tamper with what it starts.
fn strace_works() -> bool {
    let mut probe = Command::new("strace");
    probe
        .args([
            "-D",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "inject=write:error=EIO",
        ])
        .args([ISSUER, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let works = probe.status().is_ok_and(|status| status.code() == Some(74));
    if !works {
        // Past the test harness, which shows what is printed by tests that fail.
        let _ = writeln!(
            io::stderr(),
            "kill: SKIPPED: strace is missing, or may not trace here"
        );
    }
    works
}

/// A system call of a run: its name, how often that came before, itself included, and what strace wrote of it.
#[derive(Debug)]
struct Call {
    name: String,
    nth: usize,
    line: String,
}

impl Call {
    /// What has strace do `what` at this call.
    fn inject(&self, what: &str) -> String {
        format!("inject={}:{what}:when={}", self.name, self.nth)
    }
}

/// The calls of an undisturbed run of `place`, from the first look at its configuration on.
fn calls(place: &Place, change: impl Fn(&mut Command)) -> Vec<Call> {
    let log = place.path("strace.log");
    let options = ["-y", "-s", "0", "-o", log.to_str().unwrap()];
    let mut command = traced(place, &options, &["run", "--json"]);
    change(&mut command);
    place.run_as(command, sign).expect(0, "issued", "5.5");
    let log = fs::read_to_string(log).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((name, _)) = line
            .split_once(' ')
            .and_then(|(_pid, call)| call.trim_start().split_once('('))
        else {
            continue;
        };
        let nth = counts.entry(name).or_default();
        *nth += 1;
        if !calls.is_empty() || line.contains("issuer.toml") {
            let (name, nth, line) = (name.to_owned(), *nth, line.to_owned());
            calls.push(Call { name, nth, line });
        }
    }
    calls
}

/// Tries all `points`, several at a time; a failure says at which.
fn each<T: Debug + Sync>(points: &[T], attempt: impl Fn(&T) + Sync) {
    struct Told<'a, T: Debug>(&'a T);
    impl<T: Debug> Drop for Told<'_, T> {
        fn drop(&mut self) {
            if thread::panicking() {
                println!("it failed at {:?}", self.0);
            }
        }
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _told = Told(point);
                    attempt(point);
                }
            });
        }
    });
}

/// One run brings everything into order, and nothing is left for another.
#[track_caller]
fn recovers(place: &Place) {
    let in_flight = place.state("pending.json").is_some();
    let next = place.run();
    assert_eq!(next.code, 0, "{next:#?}");
    if in_flight {
        next.expect(0, "settled", "5.5");
    }
    place.settled();
    place.run().expect(0, "nothing_new", "0");
    place.settled();
}

#[test]
fn a_kill_at_any_system_call_costs_no_sale_and_issues_none_twice() {
    if !strace_works() {
        return;
    }
    let mut points = calls(&with_sales(), |_| {});
    points.retain(|call| !DULL.contains(&call.name.as_str()) && !call.line.contains("EAGAIN"));
    let (once, twice) = (AtomicUsize::new(0), AtomicUsize::new(0));
    each(&points, |point| {
        let place = with_sales();
        let kill = point.inject("signal=KILL");
        // The second one is killed in what it does to recover.
        for killed in [&once, &twice] {
            let ended = place.run_as(tampered(&place, &kill), sign);
            match ended.code {
                -1 => killed.fetch_add(1, Ordering::Relaxed),
                // A run that waits less, or has less to do, does not come that far.
                code => {
                    assert_eq!(code, 0, "{ended:#?}");
                    break;
                }
            };
        }
        recovers(&place);
    });
    let (once, twice) = (once.into_inner(), twice.into_inner());
    println!("kill: {once} points, at {twice} of them the next run too");
    assert!(once >= 200, "{once} of {} points", points.len());
}

/// Runs, and kills it when `stop` says so of a line of its log; how many lines there were.
fn run_until(place: &Place, mut stop: impl FnMut(usize, &str) -> bool) -> usize {
    let mut command = place.command(&["run", "--json"]);
    let mut issuer = command.stdout(Stdio::null()).spawn().unwrap();
    let mut signer = None;
    let mut lines = 0;
    for line in BufReader::new(issuer.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        lines += 1;
        if stop(lines, &line) {
            issuer.kill().unwrap();
        }
        if let Some((_, url)) = line.split_once("listening for the signing service at ") {
            signer = sign(place, url);
        }
    }
    issuer.wait().unwrap();
    drop(signer);
    lines
}

#[test]
fn a_kill_at_any_line_of_the_log_costs_no_sale_and_issues_none_twice() {
    let lines = run_until(&with_sales(), |_, _| false);
    let points: Vec<usize> = (1..=lines).collect();
    each(&points, |point| {
        let place = with_sales();
        run_until(&place, |number, _| number == *point);
        recovers(&place);
    });
    println!("kill: {lines} points by the lines of the log");
    assert!(lines > 20, "{lines} lines");
}

/// The next run finds nothing on the chain yet, and submits the same again.
#[test]
fn a_kill_while_the_issue_waits_for_its_block_costs_no_sale_and_issues_none_twice() {
    let mut plan = Plan::new();
    plan.chain.block_time = Duration::from_secs(1);
    let place = plan.start();
    place.exchange.sell("5.5");
    let submitted = || {
        let requests = place.chain.requests();
        let submits = requests.iter().filter(|one| one.path == "/tx/submit/Issue");
        submits.count()
    };
    run_until(&place, |_, line| {
        let submitting = line.contains("submitting");
        if submitting {
            place.wait_until("the submission", || submitted() == 1);
        }
        submitting
    });
    assert_eq!(place.chain.issues(), []);
    recovers(&place);
    assert_eq!(place.chain.issues().len(), 1);
}

/// An error for a system call on a file of the state.
#[derive(Debug)]
struct Fault {
    call: Call,
    errno: &'static str,
}

const NUMBERS: [(&str, i32); 3] = [("EIO", 5), ("ENOSPC", 28), ("EROFS", 30)];

impl Fault {
    /// Runs into it.
    fn strike(&self, place: &Place) -> Ended {
        let error = format!("error={}", self.errno);
        let mut command = tampered(place, &self.call.inject(&error));
        quiet(&mut command);
        place.run_as(command, sign)
    }

    /// The file in the state folder that the message names: where a replacement is made, the one to be replaced.
    fn file(&self) -> String {
        let name = self.call.line.rsplit("/state").next().unwrap();
        let name = name.split(['"', '>']).next().unwrap();
        name.replace(".tmp", ".json")
    }

    fn number(&self) -> i32 {
        let known = NUMBERS.iter().find(|(name, _)| *name == self.errno);
        known.unwrap().1
    }
}

/// Without a log, each run writes the same number of times.
fn quiet(command: &mut Command) {
    command.env("RUST_LOG", "off");
}

/// Every call on the state folder that can fail, and how it can.
fn faults() -> Vec<Fault> {
    let place = with_sales();
    let folder = place.path("state");
    let mut faults = Vec::new();
    for call in calls(&place, quiet) {
        if !call.line.contains(folder.to_str().unwrap()) {
            continue;
        }
        let changes = call.line.contains("O_WRONLY");
        let errors: &[&str] = match call.name.as_str() {
            // Some machines have only the longer names.
            "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" => {
                &["EIO", "ENOSPC", "EROFS"]
            }
            "openat" if changes => &["EIO", "ENOSPC", "EROFS"],
            "openat" | "write" | "fsync" => &["EIO", "ENOSPC"],
            // The size of an open file is only a hint.
            "statx" if call.line.contains("AT_EMPTY_PATH") => &[],
            "statx" | "flock" | "read" => &["EIO"],
            _ => &[],
        };
        for errno in errors {
            let Call { name, nth, line } = &call;
            let (name, nth, line) = (name.clone(), *nth, line.clone());
            let call = Call { name, nth, line };
            faults.push(Fault { call, errno });
        }
    }
    faults
}

#[test]
fn a_disk_error_at_any_call_ends_with_74_and_the_name_of_the_file_and_the_next_run_goes_on() {
    if !strace_works() {
        return;
    }
    let faults = faults();
    each(&faults, |fault| {
        let place = with_sales();
        let ended = fault.strike(&place);
        // The whole path, and not the start of a longer one.
        let path = place.path("state").to_str().unwrap().to_owned() + &fault.file();
        let errno = format!("(os error {})", fault.number());
        // What is on the chain already is named too.
        let issues = place.chain.issues();
        let hash = issues.first().map_or("", |issue| issue.hash.as_str());
        let ended = ended.fails(74, &["cannot ", &path, &errno, hash]);
        let error = ended.json()["error"].as_str().unwrap().to_owned();
        let (_, rest) = error.split_once(&path).unwrap();
        assert!(rest.starts_with([':', ';', ',', ' ']), "{error}");
        recovers(&place);
    });
    println!("kill: {} disk errors", faults.len());
    assert!(faults.len() > 60, "{}", faults.len());
}

/// `run` and others with a state folder that cannot be written to, even by root: a mount of its own, or where that is
/// not allowed an error at the lock, the first file that is opened for writing.
fn read_only(place: &Place, args: &[&str]) -> Option<Command> {
    let mount = "mount --bind state state && mount -o remount,bind,ro state";
    let own = ["-rm", "sh", "-c"];
    let works = place.command_of("unshare", &[&own[..], &[mount]].concat());
    if { works }.status().is_ok_and(|status| status.success()) {
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        let args = [&own[..], &[&script, ISSUER], args].concat();
        return Some(place.command_of("unshare", &args));
    }
    let lock = place.path("state/lock");
    let options = [
        "-o",
        "/dev/null",
        "-P",
        lock.to_str().unwrap(),
        "-e",
        "inject=openat:error=EROFS",
    ];
    strace_works().then(|| traced(place, &options, args))
}

#[test]
fn a_state_folder_that_cannot_be_written_to_is_named_before_anybody_is_asked_anything() {
    let place = with_sales();
    let Some(command) = read_only(&place, &["run", "--json"]) else {
        return;
    };
    let files = place.files();
    let lock = place.path("state/lock");
    let parts = [
        "cannot open the lock",
        lock.to_str().unwrap(),
        "(os error 30)",
    ];
    place.run_as(command, |_, _| None).fails(74, &parts);
    assert_eq!(place.files(), files);
    assert!(place.exchange.requests().is_empty() && place.chain.requests().is_empty());
    // What only reads can read.
    for args in [&["run", "--dry-run", "--json"][..], &["status", "--json"]] {
        let command = read_only(&place, args).unwrap();
        let ended = place.run_as(command, |_, _| None);
        assert_eq!(ended.code, 0, "{ended:#?}");
    }
    assert_eq!(place.files(), files);
    recovers(&place);
}

/// A message about the disk named the file, and left the reader alone with it.
#[test]
fn a_disk_error_says_what_to_do() {
    if !strace_works() {
        return;
    }
    // The first sync is that of the folder, when the lock is taken.
    for (call, name) in [
        ("fsync", "/state"),
        ("write", "pending.json"),
        ("rename", "pending.json"),
    ] {
        let place = with_sales();
        let mut command = tampered(&place, &format!("inject={call}:error=ENOSPC:when=1"));
        quiet(&mut command);
        let ended = place.run_as(command, sign);
        ended.fails(74, &[name, "mend", "the next run"]);
    }
}
