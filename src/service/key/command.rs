//! A program that signs: it reads the message on its stdin and writes the signature to its stdout. It is started for
//! each signature, without a shell, and is gone when [`Program::sign`] returns; what it left in its process group was
//! killed.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::error::Exit;
use crate::ndau::key::TextError;
use crate::ndau::{Algorithm, Signature};
use crate::quote::excerpt;

/// No signature is anywhere near this size, and of what a program complains about only the start is told.
const MOST_OUTPUT: usize = 4096;
/// What is read of one stream before the other, the time and the program's end are looked at again.
const TURN: usize = 16 * MOST_OUTPUT;
/// How long the end of a program, or a wish to stop, may go unnoticed.
const LOOK: Duration = Duration::from_millis(20);
/// How long a program that was killed may take to be gone. One that is stuck in the kernel is left behind.
const BURIAL: Duration = Duration::from_secs(1);
/// What of this service's environment its programs see.
const ENVIRONMENT: [&str; 2] = ["PATH", "HOME"];

/// A program that signs.
pub(crate) struct Program {
    /// A name that is looked for in `PATH`, or the path of a file.
    path: PathBuf,
    arguments: Vec<String>,
    /// Where it is started.
    folder: PathBuf,
    /// How long one signature may take.
    timeout: Duration,
}

/// Arguments are not shown: one of them may be a PIN.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[program {}]", self.path.display())
    }
}

/// Why a program gave no signature.
#[derive(Debug)]
pub enum ProgramError {
    /// It cannot be started: give its path, and make it executable for the user of this service.
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pipes to it failed.
    Pipe(io::Error),
    /// It did not end in time: raise `timeout`, or see what it waits for.
    Late {
        /// How long it was waited for.
        within: Duration,
        /// What it complained about until then.
        stderr: String,
    },
    /// It was ended, since this service is to end.
    Stopped,
    /// It failed by its own account.
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it complained about.
        stderr: String,
    },
    /// It wrote more than any signature has.
    TooMuch,
    /// It wrote no signature. What it wrote instead is not told: it may be a secret.
    NoSignature {
        /// How much it wrote.
        bytes: usize,
        /// Why that is no signature in ndau's form; in hex it is none either.
        source: TextError,
        /// What it complained about.
        stderr: String,
    },
}

impl ProgramError {
    /// How the program ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            ProgramError::Start { .. }
            | ProgramError::TooMuch
            | ProgramError::NoSignature { .. } => Exit::Config,
            ProgramError::Pipe(_)
            | ProgramError::Late { .. }
            | ProgramError::Stopped
            | ProgramError::Failed { .. } => Exit::Unavailable,
        }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Start { path, .. } => write!(f, "cannot start {}", path.display()),
            ProgramError::Pipe(_) => f.write_str("the pipes to its program failed"),
            ProgramError::Late { within, stderr } => {
                write!(
                    f,
                    "its program did not end within {within:?}{}",
                    Said(stderr)
                )
            }
            ProgramError::Stopped => f.write_str("its program was ended, since this service ends"),
            ProgramError::Failed { status, stderr } => {
                write!(f, "its program ended with {status}{}", Said(stderr))
            }
            ProgramError::TooMuch => write!(
                f,
                "its program wrote more than {MOST_OUTPUT} bytes; a signature alone is wanted"
            ),
            ProgramError::NoSignature { bytes, stderr, .. } => write!(
                f,
                "its program wrote {bytes} bytes that are no signature, neither in ndau's form nor in hex{}",
                Said(stderr)
            ),
        }
    }
}

impl StdError for ProgramError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ProgramError::Start { source, .. } | ProgramError::Pipe(source) => Some(source),
            ProgramError::NoSignature { source, .. } => Some(source),
            ProgramError::Late { .. }
            | ProgramError::Stopped
            | ProgramError::Failed { .. }
            | ProgramError::TooMuch => None,
        }
    }
}

/// What a program said on its stderr, if it did.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            said => write!(f, ", saying: {said}"),
        }
    }
}

impl Program {
    /// A program started in `folder`. A `name` with a slash is a path from there, any other is looked for in `PATH`.
    pub(crate) fn new(
        name: &str,
        arguments: Vec<String>,
        folder: &Path,
        timeout: Duration,
    ) -> io::Result<Program> {
        // It is read after the program's working folder was set.
        let folder = std::path::absolute(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        })?;
        let path = if name.contains('/') {
            folder.join(name)
        } else {
            PathBuf::from(name)
        };
        Ok(Program {
            path,
            arguments,
            folder,
            timeout,
        })
    }

    /// What it writes for `message`, which nobody has verified yet.
    pub(crate) fn sign(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> Result<Signature, ProgramError> {
        let deadline = Instant::now() + self.timeout;
        let mut running = self.start(message)?;
        loop {
            // In this order: what an ended program wrote is all there to be read.
            let has_ended = running.has_ended().map_err(ProgramError::Pipe)?;
            running.stdout.read().map_err(ProgramError::Pipe)?;
            running.stderr.read().map_err(ProgramError::Pipe)?;
            if running.stdout.total > MOST_OUTPUT {
                return Err(ProgramError::TooMuch);
            }
            if has_ended && let Some(status) = running.end().map_err(ProgramError::Pipe)? {
                return read_answer(algorithm, status, &running);
            }
            if stop() {
                return Err(ProgramError::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ProgramError::Late {
                    within: self.timeout,
                    stderr: running.stderr.excerpt(),
                });
            }
            running.wait(left.min(LOOK));
        }
    }

    /// Starts it, and gives it the message.
    fn start(&self, message: &[u8]) -> Result<Running, ProgramError> {
        let (stdin, mut to_stdin) = io::pipe().map_err(ProgramError::Pipe)?;
        let (stdout, to_stdout) = Output::pipe().map_err(ProgramError::Pipe)?;
        let (stderr, to_stderr) = Output::pipe().map_err(ProgramError::Pipe)?;
        // A fresh pipe takes 4096 bytes at once, on any Unix; what is signed is far shorter.
        to_stdin.write_all(message).map_err(ProgramError::Pipe)?;
        let kept = |name: &&str| std::env::var_os(name).map(|value| (OsString::from(name), value));
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(kept))
            // A group of its own, so that all that it starts ends with it.
            .process_group(0)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(to_stdout))
            .stderr(Stdio::from(to_stderr))
            .spawn()
            .map_err(|source| ProgramError::Start {
                path: self.path.clone(),
                source,
            })?;
        Ok(Running {
            child,
            stdout,
            stderr,
        })
    }
}

/// A program while it runs. Neither it nor what is in its process group outlives this.
struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Running {
    /// Whether it has ended by itself. It keeps its number: it is not buried here.
    fn has_ended(&self) -> io::Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), look)?.is_some())
    }

    /// Ends it, with all that is in its group, and buries it: how it ended, if it is gone in time.
    fn end(&mut self) -> io::Result<Option<ExitStatus>> {
        // Before it is buried, whether it still runs or not: until then the number is its own, and its group's.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let deadline = Instant::now() + BURIAL;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            let _ = poll(&mut [], Timespec::try_from(LOOK).ok().as_ref());
        }
    }

    /// Until there is something to read, or `most` has passed.
    fn wait(&self, most: Duration) {
        let open = [&self.stdout, &self.stderr]
            .into_iter()
            .filter(|output| output.open);
        let mut streams: Vec<PollFd<'_>> = open
            .map(|output| PollFd::new(&output.pipe, PollFlags::IN))
            .collect();
        let most = Timespec::try_from(most).ok();
        // A signal ends the wait early, and then the caller looks whether to stop.
        let _ = poll(&mut streams, most.as_ref());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What is buried is no child any more, and its number may be another's.
        if self.has_ended().is_ok() {
            let _ = self.end();
        }
    }
}

/// One of a program's streams, read without ever waiting for it.
struct Output {
    pipe: PipeReader,
    open: bool,
    /// The start of what came.
    kept: Vec<u8>,
    /// How much came.
    total: usize,
}

impl Output {
    fn pipe() -> io::Result<(Output, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(pipe.as_fd(), true)?;
        let output = Output {
            pipe,
            open: true,
            kept: Vec::new(),
            total: 0,
        };
        Ok((output, writer))
    }

    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        let mut part = [0; MOST_OUTPUT];
        let most = self.total.saturating_add(TURN);
        while self.open && self.total < most {
            match self.pipe.read(&mut part) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    let room = MOST_OUTPUT.saturating_sub(self.kept.len()).min(count);
                    self.kept.extend(part.iter().take(room));
                    self.total = self.total.saturating_add(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Its start as one line of text, without anything that looks like a key.
    fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        if text.contains("npvt") {
            return "(not shown: there is a private key in it)".to_owned();
        }
        excerpt(&text)
    }
}

/// What a program that has ended wrote.
fn read_answer(
    algorithm: Algorithm,
    status: ExitStatus,
    running: &Running,
) -> Result<Signature, ProgramError> {
    let stderr = running.stderr.excerpt();
    if !status.success() {
        return Err(ProgramError::Failed { status, stderr });
    }
    read_signature(algorithm, &running.stdout.kept).map_err(|source| ProgramError::NoSignature {
        bytes: running.stdout.total,
        source,
        stderr,
    })
}

/// A signature in ndau's form, or its bytes in hex.
fn read_signature(algorithm: Algorithm, written: &[u8]) -> Result<Signature, TextError> {
    let text = String::from_utf8_lossy(written);
    let text = text.trim_ascii();
    match hex::decode(text) {
        Ok(bytes) => Signature::from_bytes(algorithm, &bytes),
        Err(_) => Signature::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;
    use crate::ndau::PrivateKey;
    use std::fs;

    const LONG: Duration = Duration::from_secs(60);
    /// Long enough for a shell to begin, on any machine.
    const SHORT: Duration = Duration::from_secs(3);
    const MESSAGE: &[u8] = b"\0\x01message\xff";

    fn keys() -> [PrivateKey; 2] {
        [
            PrivateKey::from_ed25519_seed(&[1; 32]),
            PrivateKey::from_secp256k1(&[1; 32]).unwrap(),
        ]
    }

    fn shell(script: &str, timeout: Duration) -> Program {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Program::new("sh", arguments, Path::new(""), timeout).unwrap()
    }

    fn run(program: &Program) -> Result<Signature, ProgramError> {
        program.sign(Algorithm::Ed25519, MESSAGE, &|| false)
    }

    #[test]
    fn a_signature_is_read_in_either_form() {
        for key in keys() {
            let signature = key.sign(MESSAGE);
            let text = signature.as_text();
            let bytes = hex::encode(signature.bytes());
            for written in [
                format!("printf {text}"),
                format!("echo; echo ' {}  '; echo", text.to_uppercase()),
                format!("printf {bytes}"),
                format!("echo {}", bytes.to_uppercase()),
                format!("echo a word >&2; echo {bytes}; exec >&- 2>&-"),
            ] {
                let program = shell(&written, LONG);
                let read = program.sign(key.public().algorithm(), MESSAGE, &|| false);
                assert_eq!(read.unwrap(), signature, "{written}");
            }
        }
    }

    #[test]
    fn the_message_is_all_of_its_stdin() {
        let signature = keys()[0].sign(MESSAGE);
        let script = format!(
            "test \"$(od -An -v -tx1 | tr -d ' \\n')\" = {} && echo {signature}",
            hex::encode(MESSAGE)
        );
        assert_eq!(run(&shell(&script, LONG)).unwrap(), signature);
        // One that does not care for it is no worse.
        let script = format!("exec <&-; echo {signature}");
        assert_eq!(run(&shell(&script, LONG)).unwrap(), signature);
    }

    #[test]
    fn what_goes_wrong_is_told_in_one_line_without_secrets() {
        let npvt = keys()[0].text().expose().clone();
        let zeros = "0".repeat(128);
        let cases: [(String, &str, Exit); 13] = [
            (
                "exit 3".into(),
                "ended with exit status: 3",
                Exit::Unavailable,
            ),
            (
                "echo first >&2; printf 'second\\033[2J\\n' >&2; exit 1".into(),
                "ended with exit status: 1, saying: first second [2J",
                Exit::Unavailable,
            ),
            (
                "kill -9 $$".into(),
                "ended with signal: 9",
                Exit::Unavailable,
            ),
            (
                format!("echo {npvt} >&2; exit 1"),
                "saying: (not shown: there is a private key in it)",
                Exit::Unavailable,
            ),
            (
                ":".into(),
                "wrote 0 bytes that are no signature",
                Exit::Config,
            ),
            (
                "echo locked >&2".into(),
                "wrote 0 bytes that are no signature, neither in ndau's form nor in hex, saying: locked",
                Exit::Config,
            ),
            (
                format!("echo {npvt}"),
                "bytes that are no signature",
                Exit::Config,
            ),
            ("echo 00ff".into(), "it holds 2 bytes", Exit::Config),
            (format!("echo {zeros}00"), "it holds 65 bytes", Exit::Config),
            (
                "head -c 4000 /dev/zero | tr '\\0' a".into(),
                "wrote 4000 bytes that are no signature",
                Exit::Config,
            ),
            (
                "head -c 5000 /dev/zero".into(),
                "wrote more than 4096 bytes",
                Exit::Config,
            ),
            ("yes".into(), "wrote more than 4096 bytes", Exit::Config),
            (
                "head -c 300000 /dev/zero >&2; exit 9".into(),
                "exit status: 9",
                Exit::Unavailable,
            ),
        ];
        for (script, expected, exit) in cases {
            let error = run(&shell(&script, LONG)).unwrap_err();
            let line = chain(&error);
            assert!(line.contains(expected), "{script}: {line}");
            assert!(
                !line.contains(char::is_control) && line.len() < 700,
                "{line}"
            );
            assert!(!format!("{line}{error:?}").contains(&npvt[8..40]), "{line}");
            assert_eq!(error.exit(), exit, "{script}");
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("text"), "not a program").unwrap();
        for name in ["no-program-of-this-name", "./none", "./text", "."] {
            let program = Program::new(name, Vec::new(), folder.path(), LONG).unwrap();
            let error = run(&program).unwrap_err();
            let line = chain(&error);
            assert!(
                line.contains("cannot start") && line.contains(name),
                "{line}"
            );
            assert_eq!(error.exit(), Exit::Config);
        }
    }

    /// Whether the process whose number `file` holds is there, and not just not buried yet.
    fn is_alive(file: &Path) -> bool {
        let number = fs::read_to_string(file).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
        status.is_ok_and(|status| !status.contains(") Z "))
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let scripts = [
            "echo waiting >&2; sleep 1000 & echo $! >child; echo $$ >parent; wait",
            "trap '' TERM INT HUP; echo waiting >&2; echo $$ | tee child >parent; exec >&- 2>&-; sleep 1000; true",
            "echo $$ | tee child >parent; echo waiting >&2; while :; do echo waiting >&2; done",
        ];
        std::thread::scope(|scope| {
            for script in scripts {
                scope.spawn(|| is_ended_in_time(script));
            }
        });
    }

    fn is_ended_in_time(script: &str) {
        let folder = tempfile::tempdir().unwrap();
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let program = Program::new("sh", arguments, folder.path(), SHORT).unwrap();
        let begun = Instant::now();
        let error = run(&program).unwrap_err();
        assert!(begun.elapsed() >= SHORT);
        let line = chain(&error);
        assert!(
            line.contains("did not end within 3s, saying: waiting"),
            "{script}: {line}"
        );
        for file in ["child", "parent"] {
            let file = folder.path().join(file);
            while is_alive(&file) {
                assert!(begun.elapsed() < LONG, "{script}: it lives on");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_program_is_ended_when_the_service_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = "echo $$ >new; mv new pid; exec sleep 1000";
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let program = Program::new("sh", arguments, folder.path(), LONG).unwrap();
        let begun = Instant::now();
        let error = program
            .sign(Algorithm::Ed25519, MESSAGE, &|| file.exists())
            .unwrap_err();
        assert!(matches!(error, ProgramError::Stopped), "{error}");
        assert!(begun.elapsed() < LONG);
        while is_alive(&file) {
            assert!(begun.elapsed() < LONG, "it lives on");
            std::thread::yield_now();
        }
    }

    /// A program that left another behind, which has its stdout, is not waited for any longer.
    #[test]
    fn what_a_program_leaves_behind_does_not_hold_its_answer_up() {
        let signature = keys()[0].sign(MESSAGE);
        let begun = Instant::now();
        let script = format!("sleep 30 & echo {signature}");
        assert_eq!(run(&shell(&script, LONG)).unwrap(), signature);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    /// It lived on when the program had ended by itself.
    #[test]
    fn what_a_program_leaves_behind_is_ended_however_that_ended() {
        let signature = keys()[0].sign(MESSAGE);
        for (end, signs) in [
            (format!("echo {signature}"), true),
            ("exit 3".to_owned(), false),
            ("kill -9 $$".to_owned(), false),
            ("head -c 5000 /dev/zero".to_owned(), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let script = format!("sleep 1000 >&- 2>&- & echo $! >child; {end}");
            let arguments = vec!["-c".to_owned(), script];
            let program = Program::new("sh", arguments, folder.path(), LONG).unwrap();
            assert_eq!(run(&program).is_ok(), signs, "{end}");
            let begun = Instant::now();
            while is_alive(&folder.path().join("child")) {
                assert!(begun.elapsed() < SHORT, "{end}: it lives on");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_program_sees_its_folder_and_no_more_of_the_environment_than_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = vec!["-c".to_owned(), "env >env; pwd -P >pwd".to_owned()];
        let program = Program::new("sh", arguments, folder.path(), LONG).unwrap();
        run(&program).unwrap_err();
        let environment = fs::read_to_string(folder.path().join("env")).unwrap();
        let by_the_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
        let mut names: Vec<&str> = environment
            .lines()
            .map(|line| line.split('=').next().unwrap())
            .filter(|name| !by_the_shell.contains(name))
            .collect();
        names.sort_unstable();
        let mut expected: Vec<&str> = ENVIRONMENT.to_vec();
        expected.retain(|name| std::env::var_os(name).is_some());
        expected.sort_unstable();
        assert_eq!(names, expected);
        let pwd = fs::read_to_string(folder.path().join("pwd")).unwrap();
        assert_eq!(
            Path::new(pwd.trim_end()),
            folder.path().canonicalize().unwrap()
        );

        // A path is one from that folder, too.
        std::os::unix::fs::symlink("/bin/sh", folder.path().join("sh")).unwrap();
        let signature = keys()[0].sign(MESSAGE);
        let arguments = vec!["-c".to_owned(), format!("echo {signature}")];
        let program = Program::new("./sh", arguments, folder.path(), LONG).unwrap();
        assert_eq!(run(&program).unwrap(), signature);
    }

    #[test]
    fn arguments_are_not_printed() {
        let program = shell("echo hunter2", LONG);
        assert!(!format!("{program:?}").contains("hunter2"));
    }
}
