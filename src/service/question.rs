//! A question to the person at the terminal, answered while the connections are served: nothing here waits.
//!
//! Only the line `yes`, typed after the question was shown, is a yes.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, isatty, tcflush};

/// No answer is near this length.
const MAX_ANSWER: usize = 64;
/// What is typed ahead is thrown away up to so many bytes; what sends more is no person.
const MAX_TYPED_AHEAD: usize = 64 * 1024;

/// A question that was shown.
pub(crate) struct Question<'a> {
    input: BorrowedFd<'a>,
    typed: Vec<u8>,
}

impl<'a> Question<'a> {
    /// Shows `text` on stderr; what was typed at `input` before is no answer to it. Or why it cannot be asked.
    pub(crate) fn ask(
        input: BorrowedFd<'a>,
        text: impl Display,
    ) -> Result<Question<'a>, &'static str> {
        let question = Question {
            input,
            typed: Vec::new(),
        };
        question.forget_typed_ahead()?;
        let mut stderr = io::stderr();
        write!(stderr, "{text}")
            .and_then(|()| stderr.flush())
            .map_err(|_| "the question could not be shown")?;
        Ok(question)
    }

    fn forget_typed_ahead(&self) -> Result<(), &'static str> {
        if isatty(self.input) {
            // A line that has no end yet, too.
            let _ = tcflush(self.input, QueueSelector::IFlush);
        }
        let mut thrown = 0_usize;
        let mut buffer = [0; 4096];
        loop {
            match self.read(&mut buffer) {
                // The end, or a failure, comes again when the answer is read.
                None | Some(Ok(0) | Err(_)) => return Ok(()),
                Some(Ok(count)) => thrown = thrown.saturating_add(count),
            }
            if thrown > MAX_TYPED_AHEAD {
                return Err("the input never falls silent, so no person is at it");
            }
        }
    }

    /// What is there to be read, if anything is.
    fn read(&self, buffer: &mut [u8]) -> Option<Result<usize, Errno>> {
        let mut inputs = [PollFd::new(&self.input, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut inputs, Some(&at_once)) {
            Ok(0) | Err(Errno::INTR) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        match rustix::io::read(self.input, buffer) {
            Err(Errno::INTR | Errno::AGAIN) => None,
            read => Some(read),
        }
    }

    /// The answer, if it is there: yes, or why not.
    pub(crate) fn look(&mut self) -> Option<Result<(), &'static str>> {
        let mut buffer = [0; MAX_ANSWER];
        let count = match self.read(&mut buffer)? {
            Ok(count) => count,
            Err(_) => return Some(Err("the answer could not be read")),
        };
        if count == 0 {
            return Some(Err("nobody is there to be asked: the input is at its end"));
        }
        self.typed.extend(buffer.iter().take(count));
        match self.typed.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                self.typed.truncate(end);
                let line = self.typed.strip_suffix(b"\r").unwrap_or(&self.typed);
                Some(if line == b"yes" {
                    Ok(())
                } else {
                    Err("the person at the terminal said no")
                })
            }
            None if self.typed.len() > MAX_ANSWER => {
                Some(Err("the person at the terminal said no"))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    type Answer = Option<Result<(), &'static str>>;

    /// What becomes of a question when this was written before and after it was shown, and then the other end closed.
    fn answer(before: &[u8], after: &[&[u8]], close: bool) -> Answer {
        let (input, mut person) = io::pipe().unwrap();
        person.write_all(before).unwrap();
        let mut question = match Question::ask(input.as_fd(), "") {
            Ok(question) => question,
            Err(why) => return Some(Err(why)),
        };
        let mut answer = None;
        for part in after {
            answer = question.look();
            assert_eq!(answer, None);
            person.write_all(part).unwrap();
        }
        if close {
            drop(person);
        }
        // Each look reads a part.
        while answer.is_none() {
            answer = question.look();
            if answer.is_none() && question.read(&mut []).is_none() {
                break;
            }
        }
        answer
    }

    #[test]
    fn only_a_whole_line_with_yes_is_a_yes() {
        for (after, expected) in [
            (&[&b"yes\n"[..]][..], Some(true)),
            (&[b"yes\r\n"], Some(true)),
            (&[b"y", b"e", b"s", b"\n"], Some(true)),
            (&[b"yes\nno\n"], Some(true)),
            (&[b"yes"], None),
            (&[], None),
            (&[b"\n"], Some(false)),
            (&[b"y\n"], Some(false)),
            (&[b"Yes\n"], Some(false)),
            (&[b" yes\n"], Some(false)),
            (&[b"yes \n"], Some(false)),
            (&[b"yes\0\n"], Some(false)),
            (&[b"no\nyes\n"], Some(false)),
            (&[b"\xff\n"], Some(false)),
            (&[&[b'y'; 2 * MAX_ANSWER]], Some(false)),
        ] {
            let found = answer(b"", after, false).map(|answer| answer.is_ok());
            assert_eq!(found, expected, "{after:?}");
        }
    }

    #[test]
    fn what_was_typed_before_is_no_answer() {
        assert_eq!(answer(b"yes\n", &[], false), None);
        assert_eq!(answer(b"yes\nyes\nye", &[], false), None);
        assert!(answer(b"ye", &[b"s\n"], false).unwrap().is_err());
        assert!(answer(b"yes\n", &[b"yes\n"], false).unwrap().is_ok());
    }

    #[test]
    fn an_input_that_is_at_its_end_refuses() {
        for before in [&b""[..], b"yes\n", b"yes"] {
            assert!(answer(before, &[], true).unwrap().is_err());
        }
        assert!(answer(b"", &[b"yes"], true).unwrap().is_err());
        let null = File::open("/dev/null").unwrap();
        let mut question = Question::ask(null.as_fd(), "").unwrap();
        assert!(question.look().unwrap().is_err());
    }

    #[test]
    fn an_input_that_never_ends_refuses() {
        let zero = File::open("/dev/zero").unwrap();
        assert!(Question::ask(zero.as_fd(), "").is_err());
    }
}
