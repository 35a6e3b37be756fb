//! What both programs do with their arguments, stdout and stderr: results go to the one, everything else to the other,
//! and a stream that is full or closed changes nothing but that. And what a person types in unseen.

use std::error::Error as StdError;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::error::{Exit, chain};
use crate::secret::Secret;

/// What a terminal takes as one line.
const LONGEST_LINE: usize = 4096;
/// How long a wish to stop, or a terminal that echoes again, may go unnoticed.
const LOOK: Duration = Duration::from_millis(100);
/// The keys that would take this program away in the middle of a question. A shell that has it back shows what is typed
/// from then on, and one that ended on the spot leaves a terminal that shows nothing.
const LEAVING: &[SpecialCodeIndex] = &[
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VQUIT,
    #[cfg(any(
        target_vendor = "apple",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd"
    ))]
    SpecialCodeIndex::VDSUSP,
];
/// What stands for no key: `_POSIX_VDISABLE`.
const NO_KEY: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// Runs `command`; a panic, whose message is on stderr already, is a bug, and the table of exit codes has one for that.
/// Whatever ends it, no core is left behind: both programs hold secrets.
pub fn main(command: fn() -> Exit) -> ExitCode {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // To lower it is refused nowhere, and were it, to issue and to sign would still be better than not to. What is
    // started from here inherits it.
    let _ = setrlimit(Resource::Core, none);
    let exit = std::panic::catch_unwind(command).unwrap_or(Exit::Bug);
    ExitCode::from(exit.code())
}

/// Closes the memory of this process to the other processes of its user, debuggers among them, and to a system that
/// hands cores to a program of its own, for which the limit on their size need not count. It is for the program that
/// holds the signing keys: nobody but root can trace it afterwards, and a run of the other one should be open to that.
pub fn close_memory() {
    // No Linux refuses it, and no other system has it: there the limit on cores has to do.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The arguments of `program`, or how it ends without them: help was printed, or they are wrong.
pub fn arguments<T: FromArgs>(program: &str) -> Result<T, Exit> {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(1) {
        match word.into_string() {
            Ok(word) => words.push(word),
            // Another path would be used in its place.
            Err(word) => return Err(usage(program, &format!("{word:?} is not UTF-8"))),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match T::from_args(&[program], &words) {
        Ok(arguments) => Ok(arguments),
        Err(early) if early.status.is_ok() => Err(print(program, early.output.trim_end())),
        Err(early) => Err(usage(program, early.output.trim_end())),
    }
}

/// Says why the command line is wrong.
pub fn usage(program: &str, why: &str) -> Exit {
    tell(format_args!("{why}\nSee {program} --help."));
    Exit::Usage
}

/// The line that a person types at the controlling terminal, which does not echo it.
///
/// # Errors
/// When there is no such terminal, it ends, or `stop` says so meanwhile.
pub fn ask(question: &str, stop: &dyn Fn() -> bool) -> io::Result<Secret<String>> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    // Before it is asked: what is typed from then on is not shown, and what was typed before is no answer.
    let mut quiet = Quiet::start(terminal)?;
    quiet.terminal.write_all(question.as_bytes())?;
    let mut line = Zeroizing::new(vec![0; LONGEST_LINE]);
    let pause = Timespec::try_from(LOOK).ok();
    loop {
        match poll(
            &mut [PollFd::new(&quiet.terminal, PollFlags::IN)],
            pause.as_ref(),
        ) {
            // The terminal gives out whole lines.
            Ok(ready) if ready > 0 => break,
            Ok(_) | Err(Errno::INTR) if stop() => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) | Err(Errno::INTR) => quiet.stay()?,
            Err(error) => return Err(error.into()),
        }
    }
    let count = quiet.terminal.read(&mut line)?;
    line.truncate(count);
    line.retain(|byte| !quiet.is_leaving(*byte));
    let text = std::str::from_utf8(&line).ok();
    match text.map(|text| text.strip_suffix('\n')) {
        Some(Some(text)) => Ok(Secret::new(text.to_owned())),
        // The end of the input, or a line that has none.
        Some(None) => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A terminal that does not echo, until this is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
    meanwhile: Termios,
}

impl Quiet {
    fn start(terminal: File) -> io::Result<Quiet> {
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        // Only that the line has ended is seen.
        modes
            .local_modes
            .insert(LocalModes::ICANON | LocalModes::ECHONL);
        for key in LEAVING {
            modes.special_codes[*key] = NO_KEY;
        }
        tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
        Ok(Quiet {
            terminal,
            before,
            meanwhile: modes,
        })
    }

    /// Makes it quiet again. A program can be stopped without a key, and the shell that has it go on sets its own modes.
    fn stay(&self) -> io::Result<()> {
        let now = tcgetattr(&self.terminal)?;
        if now.local_modes.contains(LocalModes::ECHO) {
            // What was seen meanwhile is no answer either.
            tcsetattr(&self.terminal, OptionalActions::Flush, &self.meanwhile)?;
        }
        Ok(())
    }

    /// Whether it is a key without effect while this lasts, which is no part of an answer.
    fn is_leaving(&self, byte: u8) -> bool {
        byte != NO_KEY
            && LEAVING
                .iter()
                .any(|key| self.before.special_codes[*key] == byte)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// A line to stderr.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says why `program` ends with `exit`: to stderr and not to the log, which `RUST_LOG` may have switched off.
pub fn fail(program: &str, error: &dyn StdError, exit: Exit) -> Exit {
    tell(format_args!(
        "{program}: {} [{}: {}]",
        chain(error),
        exit.code(),
        exit.name()
    ));
    exit
}

/// The result, to stdout. One that cannot be printed does not undo what was done, but it is not silent either.
pub fn print(program: &str, result: impl Display) -> Exit {
    match writeln!(io::stdout(), "{result}").and_then(|()| io::stdout().flush()) {
        Ok(()) => Exit::Done,
        Err(error) => {
            tell(format_args!(
                "{program}: all was done, but its result could not be printed: {error}"
            ));
            Exit::Disk
        }
    }
}
