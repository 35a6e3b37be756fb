//! What both programs do with their arguments, stdout and stderr: results go to the one, everything else to the other,
//! and a stream that is full or closed changes nothing but that.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use argh::FromArgs;

use crate::error::{Exit, chain};

/// Runs `command`; a panic, whose message is on stderr already, is a bug, and the table of exit codes has one for that.
pub fn main(command: fn() -> Exit) -> ExitCode {
    let exit = std::panic::catch_unwind(command).unwrap_or(Exit::Bug);
    ExitCode::from(exit.code())
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
