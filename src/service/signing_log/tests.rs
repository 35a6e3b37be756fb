//! The log on a disk: what survives, what is refused, and in which order things become durable.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use super::line::tests::{entries, text};
use super::*;
use crate::error::Exit;
use crate::napu::Napu;
use crate::ndau::Issue;
use crate::service::policy::DAY_MS;
use crate::state::HostDisk;

/// The host's disk, which tells what was done to it and fails when told to.
#[derive(Default)]
struct Watched {
    effects: RefCell<Vec<&'static str>>,
    fails: Cell<Option<&'static str>>,
    /// How much of an append that fails is written.
    part: Cell<usize>,
}

impl Watched {
    fn note(&self, effect: &'static str) -> io::Result<()> {
        self.effects.borrow_mut().push(effect);
        if self.fails.get() == Some(effect) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl Disk for Watched {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        HostDisk.read(path)
    }
    fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        panic!("the log is only appended to");
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let noted = self.note("append");
        let part = if noted.is_ok() {
            bytes.len()
        } else {
            self.part.get().min(bytes.len())
        };
        HostDisk.append(path, &bytes[..part])?;
        noted
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.note("sync file")?;
        HostDisk.sync_file(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.note("sync folder")?;
        HostDisk.sync_folder(path)
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        panic!("the log is only appended to");
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        panic!("the log is only appended to");
    }
}

struct Place {
    folder: tempfile::TempDir,
    disk: Watched,
}

impl Place {
    fn new() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
            disk: Watched::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn open(&self) -> Result<SigningLog<'_>, LogError> {
        SigningLog::open(
            &self.disk,
            &self.path(),
            entries()[0].time_ms,
            IfMissing::Begin,
        )
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }
}

#[test]
fn what_is_appended_is_durable_and_there_again() {
    let place = Place::new();
    let mut log = place.open().unwrap();
    for entry in entries() {
        place.disk.effects.borrow_mut().clear();
        log.append(&entry, Instant::now()).unwrap();
        let effects = place.disk.effects.borrow().clone();
        assert_eq!(effects, ["append", "sync file", "sync folder"]);
    }
    let signed = log.signed(entries()[0].time_ms, Instant::now()).unwrap();
    assert_eq!(signed, [entries()[0].signed().unwrap()]);
    drop(log);
    assert_eq!(place.read(), text(&entries()));
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut again = place.open().unwrap();
    assert_eq!(
        again.signed(entries()[0].time_ms, Instant::now()).unwrap(),
        signed
    );
    again.append(&entries()[1], Instant::now()).unwrap();
    let all = [&entries()[..], &entries()[1..2]].concat();
    assert_eq!(place.read(), text(&all));
}

/// After any failure the same file goes on as if the failed line had never been, in this process and in the next.
#[test]
fn a_line_that_could_not_be_made_durable_leaves_no_trace() {
    for effect in ["append", "sync file", "sync folder"] {
        for part in [0, 1, 100, usize::MAX] {
            for restart in [false, true] {
                let place = Place::new();
                let mut log = place.open().unwrap();
                log.append(&entries()[1], Instant::now()).unwrap();
                place.disk.fails.set(Some(effect));
                place.disk.part.set(part);
                let error = log.append(&entries()[0], Instant::now()).unwrap_err();
                assert_eq!(error.exit(), Exit::Disk);
                let told = crate::error::chain(&error);
                assert!(told.contains("make room"), "{told}");
                assert_eq!(
                    log.signed(entries()[0].time_ms, Instant::now()).unwrap(),
                    []
                );
                // It stays so while the disk is full.
                assert!(log.append(&entries()[0], Instant::now()).is_err());
                place.disk.fails.set(None);
                if restart {
                    drop(log);
                    log = place.open().unwrap();
                }
                log.append(&entries()[0], Instant::now()).unwrap();
                let expected = text(&[entries()[1].clone(), entries()[0].clone()]);
                assert_eq!(place.read(), expected, "{effect} {part} {restart}");
            }
        }
    }
}

#[test]
fn a_torn_line_is_cut_off_durably_at_the_start() {
    let (two, three) = (text(&entries()[..2]), text(&entries()));
    for end in (two.len()..three.len()).step_by(37) {
        let place = Place::new();
        fs::write(place.path(), &three[..end]).unwrap();
        let mut log = place.open().unwrap();
        assert_eq!(place.read(), two);
        assert!(place.disk.effects.borrow().contains(&"sync file"));
        log.append(&entries()[2], Instant::now()).unwrap();
        assert_eq!(place.read(), three);
    }
}

#[test]
fn a_log_that_is_not_as_it_was_written_is_neither_used_nor_changed() {
    let place = Place::new();
    let good = String::from_utf8(text(&entries())).unwrap();
    let bad = good.replacen("\"trades\":2", "\"trades\":3", 1);
    fs::write(place.path(), &bad).unwrap();
    let error = place.open().err().unwrap();
    assert_eq!(error.exit(), Exit::BadData);
    assert!(
        matches!(error, LogError::Damaged { line: 2, .. }),
        "{error}"
    );
    assert_eq!(place.read(), bad.as_bytes());
    assert!(place.disk.effects.borrow().is_empty());
}

#[test]
fn one_process_at_a_time_holds_it() {
    let place = Place::new();
    let first = place.open().unwrap();
    let error = place.open().err().unwrap();
    assert!(matches!(error, LogError::Locked { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Unavailable);
    drop(first);
    place.open().unwrap();
}

/// Whoever changes the log in use, or takes it away, gets no signature; whoever puts it back does.
#[test]
fn a_log_that_changes_while_it_is_held_is_not_appended_to() {
    let place = Place::new();
    let mut log = place.open().unwrap();
    log.append(&entries()[1], Instant::now()).unwrap();
    let path = place.path();
    let aside = place.folder.path().join("aside");
    let refused = |log: &mut SigningLog<'_>| {
        let error = log.append(&entries()[0], Instant::now()).unwrap_err();
        assert!(matches!(error, LogError::Changed { .. }), "{error}");
        assert!(log.check().is_err());
    };
    fs::rename(&path, &aside).unwrap();
    refused(&mut log);
    assert!(!path.exists());
    fs::copy(&aside, &path).unwrap();
    refused(&mut log);
    fs::write(&path, "").unwrap();
    refused(&mut log);
    fs::rename(&aside, &path).unwrap();
    let mut another = OpenOptions::new().append(true).open(&path).unwrap();
    another.write_all(b"a").unwrap();
    refused(&mut log);
    another.set_len(0).unwrap();
    refused(&mut log);
    another.write_all(&text(&entries()[1..2])).unwrap();
    log.append(&entries()[0], Instant::now()).unwrap();
}

#[test]
fn what_cannot_be_a_log_is_a_mistake_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    fs::write(&mine, "").unwrap();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&mine, fs::Permissions::from_mode(mode)).unwrap();
        let error = SigningLog::open(&HostDisk, &mine, 0, IfMissing::Begin)
            .err()
            .unwrap();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
    for path in [
        folder.path().to_owned(),
        PathBuf::from("/dev/full"),
        folder.path().join("none/log"),
        mine.join("log"),
    ] {
        let error = SigningLog::open(&HostDisk, &path, 0, IfMissing::Begin)
            .err()
            .unwrap();
        assert!(error.to_string().contains("log.path"), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
}

#[test]
fn a_line_that_is_too_long_is_not_written() {
    let place = Place::new();
    let mut log = place.open().unwrap();
    let mut entry = entries()[0].clone();
    entry.verdict = Verdict::Signed(vec!["npub".repeat(20); 1000]);
    let error = log.append(&entry, Instant::now()).unwrap_err();
    assert!(matches!(error, LogError::TooLong { .. }), "{error}");
    log.append(&entries()[0], Instant::now()).unwrap();
    assert_eq!(place.read(), text(&entries()[..1]));
}

/// What no day can need any more is forgotten, what was signed in the future is not, and a clock that was set back changes
/// nothing.
#[test]
fn the_history_is_what_a_day_can_need() {
    let place = Place::new();
    let day = |days: u64, sequence: u64| {
        let mut entry = entries()[0].clone();
        entry.time_ms = 1_700_000_000_000 + days * DAY_MS;
        entry.issue = Some(Issue::new(Napu::NDAU, sequence).unwrap());
        entry
    };
    let start = Instant::now();
    // Two days lie between any two of these moments, whatever the clock says.
    let moment = |number| start + number * Duration::from_millis(2 * DAY_MS);
    let sequences = |log: &mut SigningLog<'_>, days| -> BTreeSet<u64> {
        let signed = log.signed(day(days, 9).time_ms, moment(5)).unwrap();
        signed.iter().map(|one| one.sequence).collect()
    };
    let mut log = place.open().unwrap();
    for (number, (days, sequence)) in (0..).zip([(0, 1), (9, 2), (1, 3), (2, 4), (3, 5)]) {
        log.append(&day(days, sequence), moment(number)).unwrap();
    }
    assert_eq!(sequences(&mut log, 3), BTreeSet::from([2, 4, 5]));
    drop(log);
    let sequences = |days| {
        let now_ms = day(days, 9).time_ms;
        let log = SigningLog::open(&place.disk, &place.path(), now_ms, IfMissing::Begin);
        sequences(&mut log.unwrap(), days)
    };
    assert_eq!(sequences(3), BTreeSet::from([2, 4, 5]));
    assert_eq!(sequences(2), BTreeSet::from([2, 3, 4, 5]));
    assert_eq!(sequences(10), BTreeSet::from([2]));
    assert_eq!(sequences(11), BTreeSet::new());
}

/// However far ahead the clock was for a while, and whatever was asked for meanwhile: once it is set right, what was signed
/// before counts again.
#[test]
fn a_clock_that_was_ahead_makes_nothing_forgotten() {
    let place = Place::new();
    let [signed, mut refused, _] = entries();
    let now_ms = signed.time_ms;
    let ahead = now_ms + 3 * DAY_MS;
    let start = Instant::now();
    // So late that its own age makes nothing count.
    let later = start + Duration::from_millis(2 * DAY_MS);
    let counts = |log: &mut SigningLog<'_>, now_ms| {
        let found = log.signed(now_ms, later).unwrap();
        found.contains(&signed.signed().unwrap())
    };
    let mut log = place.open().unwrap();
    log.append(&signed, start).unwrap();
    refused.time_ms = ahead;
    log.append(&refused, later).unwrap();
    assert!(!counts(&mut log, ahead));
    assert!(counts(&mut log, now_ms));
    log.append(&refused, later).unwrap();
    drop(log);

    let log = SigningLog::open(&place.disk, &place.path(), ahead, IfMissing::Refuse);
    let mut log = log.unwrap();
    assert!(!counts(&mut log, ahead));
    assert!(counts(&mut log, now_ms));
    refused.time_ms = now_ms;
    log.append(&refused, later).unwrap();
    assert!(counts(&mut log, now_ms));
}

/// However far behind or ahead the clock was when it was signed: within a day by what has passed since, it counts.
#[test]
fn what_was_signed_by_a_wrong_clock_counts_for_a_day_once_it_is_right() {
    let place = Place::new();
    let signed = entries()[0].clone();
    let start = Instant::now();
    let mut log = place.open().unwrap();
    log.append(&signed, start).unwrap();
    for days in [0, 1, 2, 1000] {
        let right = signed.time_ms + days * DAY_MS;
        for (passed, time_ms) in [(0, right), (DAY_MS - 1, right), (3 * DAY_MS, right)] {
            let found = log.signed(time_ms, start + Duration::from_millis(passed));
            let [found] = &found.unwrap()[..] else {
                panic!("not there");
            };
            let expected = signed.time_ms.max(time_ms - passed.min(time_ms));
            assert_eq!(found.time_ms, expected, "{days} days, {passed} ms");
        }
        // What is refused meanwhile makes nothing forgotten, either.
        let mut refused = entries()[1].clone();
        refused.time_ms = right;
        log.append(&refused, start + Duration::from_millis(DAY_MS - 1))
            .unwrap();
    }
}

/// What a limit is counted from does not begin by itself, and is begun once.
#[test]
fn a_missing_log_is_begun_only_where_it_may_be() {
    let place = Place::new();
    let refused = || {
        let log = SigningLog::open(&place.disk, &place.path(), 0, IfMissing::Refuse);
        log.map(drop)
    };
    let error = refused().unwrap_err();
    assert!(matches!(error, LogError::NotBegun { .. }), "{error}");
    assert!(!place.path().exists());
    SigningLog::begin(&place.disk, &place.path()).unwrap();
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    refused().unwrap();
    let mut log = place.open().unwrap();
    log.append(&entries()[0], Instant::now()).unwrap();
    let error = SigningLog::begin(&place.disk, &place.path()).unwrap_err();
    assert!(matches!(error, LogError::Begun { .. }), "{error}");
    assert_eq!(place.read(), text(&entries()[..1]));
}

/// Another file in its place, between the look at it and the line: the line is not in the log, and no signature leaves.
#[test]
fn a_line_that_went_into_another_file_is_none() {
    struct Swapping(HostDisk, Cell<bool>);
    impl Disk for Swapping {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            self.0.read(path)
        }
        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.0.write(path, bytes)
        }
        fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            if self.1.get() {
                fs::rename(path, path.with_extension("away"))?;
                fs::write(path, [])?;
            }
            self.0.append(path, bytes)
        }
        fn sync_file(&self, path: &Path) -> io::Result<()> {
            self.0.sync_file(path)
        }
        fn sync_folder(&self, path: &Path) -> io::Result<()> {
            self.0.sync_folder(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }
    }
    let place = Place::new();
    let disk = Swapping(HostDisk, Cell::new(false));
    let mut log = SigningLog::open(&disk, &place.path(), 0, IfMissing::Begin).unwrap();
    log.append(&entries()[0], Instant::now()).unwrap();
    disk.1.set(true);
    let error = log.append(&entries()[0], Instant::now()).unwrap_err();
    assert!(matches!(error, LogError::Changed { .. }), "{error}");
    assert!(log.check().is_err());
    let away = place.path().with_extension("away");
    assert_eq!(fs::read(away).unwrap(), text(&entries()[..1]));
}

fn shown(text: &[u8], form: Form) -> (String, Result<(), LogError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, text).unwrap();
    let mut output = Vec::new();
    let result = show(&path, form, &mut output);
    assert_eq!(fs::read(&path).unwrap(), text);
    (String::from_utf8(output).unwrap(), result)
}

#[test]
fn a_log_is_shown_and_verified() {
    let all = text(&entries());
    let (table, result) = shown(&all, Form::Table);
    result.unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("time") && lines[0].ends_with("verdict"));
    let signed = lines[1];
    assert!(
        signed.starts_with("2023-11-14T22:13:20.123Z  issuer "),
        "{signed}"
    );
    assert!(signed.contains("  1          7  "), "{signed}");
    assert!(
        signed.contains("2 trades of XND_USDT, 1 \" to 2"),
        "{signed}"
    );
    assert!(signed.ends_with("  signed with npub2, npub3"), "{signed}");
    assert!(lines[2].ends_with("  refused: no"));
    assert!(lines[3].contains("  Transfer  "), "{}", lines[3]);
    let hash = crate::state::hash_of(
        all[..all.len() - 1]
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap(),
    );
    assert_eq!(
        lines[4],
        format!(
            "3 lines: 1 signed, 2 refused; each is as it was written; the last one's hash is {hash}"
        )
    );

    let (json, result) = shown(&all, Form::Json);
    result.unwrap();
    let (lines, last) = json.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(format!("{lines}\n").as_bytes(), all);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(last).unwrap(),
        serde_json::json!({
            "result": "whole", "lines": 3, "signed": 1, "refused": 2, "torn_bytes": 0, "last_hash": hash,
        })
    );
}

#[test]
fn a_log_in_use_is_shown_up_to_its_last_whole_line() {
    let all = text(&entries());
    let (table, result) = shown(&all[..all.len() - 10], Form::Table);
    result.unwrap();
    assert!(
        table.contains("2 lines (and one that is being written"),
        "{table}"
    );
    let (table, result) = shown(&[], Form::Table);
    result.unwrap();
    assert!(table.contains("0 lines: 0 signed"), "{table}");
}

#[test]
fn a_broken_log_is_shown_up_to_the_line_that_is_named() {
    let mut all = text(&entries());
    let second = text(&entries()[..1]).len();
    all[second + 100] ^= 1;
    for form in [Form::Table, Form::Json] {
        let (output, result) = shown(&all, form);
        let error = result.unwrap_err();
        assert!(error.to_string().starts_with("line 2 of "), "{error}");
        assert_eq!(error.exit(), Exit::BadData);
        assert_eq!(output.lines().count(), 2, "{output}");
        if form == Form::Json {
            assert!(output.contains("\"line\":2") && output.contains("\"broken\""));
        }
    }
    let error = show(Path::new("/nowhere/log"), Form::Table, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
}
