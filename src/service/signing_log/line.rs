//! One line of the signing log, and a reader that follows the chain of lines. Pure.

use std::io::{self, BufRead, Read};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::clock::utc;
use crate::napu::Napu;
use crate::ndau::Issue;
use crate::service::policy::Signed;
use crate::signer::Context;
use crate::state::{NO_LINE, hash_of};

const VERSION: u64 = 1;

/// No line that this program writes is longer.
pub(super) const MAX_LINE: u64 = 64 * 1024;

/// What was signed or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When, in milliseconds since the epoch by the host's clock.
    pub(crate) time_ms: u64,
    /// The connection's name in the configuration.
    pub(crate) connection: String,
    /// The identity that the integration proved.
    pub(crate) peer: String,
    /// The request's own name.
    pub(crate) request: String,
    /// The transaction's type, as told.
    pub(crate) tx_type: String,
    /// The transaction; none when what was asked for is no `Issue`.
    pub(crate) issue: Option<Issue>,
    /// What it is for, as told.
    pub(crate) context: Context,
    /// What was decided.
    pub(crate) verdict: Verdict,
}

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Signed with these keys.
    Signed(Vec<String>),
    /// Refused, for this reason.
    Refused(String),
}

impl Entry {
    /// What of it counts against the day limit.
    pub(crate) fn signed(&self) -> Option<Signed> {
        match (&self.issue, &self.verdict) {
            (Some(issue), Verdict::Signed(keys)) => Some(Signed {
                time_ms: self.time_ms,
                sequence: issue.sequence(),
                quantity: issue.quantity(),
                keys: Rc::from(keys.as_slice()),
            }),
            (_, Verdict::Refused(_)) | (None, _) => None,
        }
    }
}

const SIGNED: &str = "signed";
const REFUSED: &str = "refused";

/// An entry as it is written. Amounts are texts, so that no reader takes them for floats.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    previous: String,
    time: String,
    time_ms: u64,
    connection: String,
    peer: String,
    request: String,
    tx_type: String,
    quantity_napu: Option<String>,
    sequence: Option<u64>,
    hash: Option<String>,
    context: Context,
    keys: Vec<String>,
    verdict: String,
    reason: Option<String>,
}

/// The line that follows the one with the hash `previous`, with its end.
pub(crate) fn print(entry: &Entry, previous: &str) -> Vec<u8> {
    let (keys, verdict, reason) = match &entry.verdict {
        Verdict::Signed(keys) => (keys.clone(), SIGNED, None),
        Verdict::Refused(reason) => (Vec::new(), REFUSED, Some(reason.clone())),
    };
    let issue = entry.issue.as_ref();
    let written = Written {
        version: VERSION,
        previous: previous.to_owned(),
        time: utc(entry.time_ms),
        time_ms: entry.time_ms,
        connection: entry.connection.clone(),
        peer: entry.peer.clone(),
        request: entry.request.clone(),
        tx_type: entry.tx_type.clone(),
        quantity_napu: issue.map(|issue| issue.quantity().get().to_string()),
        sequence: issue.map(Issue::sequence),
        hash: issue.map(|issue| issue.hash().to_string()),
        context: entry.context.clone(),
        keys,
        verdict: verdict.to_owned(),
        reason,
    };
    let mut line = serde_json::to_vec(&written).expect("numbers and strings are always JSON");
    line.push(b'\n');
    line
}

/// Reads a line, without its end, that is to follow the one with the hash `previous`.
fn parse(line: &[u8], previous: &str) -> Result<Entry, String> {
    let written: Written = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if written.version != VERSION {
        return Err(format!(
            "its version is {}, this program knows {VERSION}",
            written.version
        ));
    }
    if written.previous != previous {
        return Err(
            "it does not carry the hash of the line before: a line was changed, added or removed"
                .to_owned(),
        );
    }
    if written.time != utc(written.time_ms) {
        return Err("its two times differ".to_owned());
    }
    let issue = match (written.quantity_napu, written.sequence, written.hash) {
        (Some(quantity), Some(sequence), Some(hash)) => {
            let napu = quantity.parse().ok().and_then(Napu::new);
            let napu = napu.filter(|napu| napu.get().to_string() == quantity);
            let napu = napu.ok_or("its quantity is no amount")?;
            let issue = Issue::new(napu, sequence).map_err(|error| error.to_string())?;
            if issue.hash().as_str() != hash {
                return Err("its hash is not that of its numbers".to_owned());
            }
            Some(issue)
        }
        (None, None, None) => None,
        _ => return Err("it has only some of quantity, sequence and hash".to_owned()),
    };
    let verdict = match (written.verdict.as_str(), written.reason) {
        (SIGNED, None) if issue.is_some() && !written.keys.is_empty() => {
            Verdict::Signed(written.keys)
        }
        (REFUSED, Some(reason)) if written.keys.is_empty() => Verdict::Refused(reason),
        _ => return Err("its verdict does not go with the rest of it".to_owned()),
    };
    Ok(Entry {
        time_ms: written.time_ms,
        connection: written.connection,
        peer: written.peer,
        request: written.request,
        tx_type: written.tx_type,
        issue,
        context: written.context,
        verdict,
    })
}

/// How far a chain of lines is read: what a line after it must carry, and where it must begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// How many lines there are.
    pub(crate) lines: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The hash of the last.
    pub(crate) hash: String,
}

impl Tail {
    pub(crate) fn start() -> Tail {
        Tail {
            lines: 0,
            bytes: 0,
            hash: NO_LINE.to_owned(),
        }
    }

    /// The tail after `line`, which is given with its end.
    pub(crate) fn after(&self, line: &[u8]) -> Tail {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        Tail {
            lines: self.lines.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
            hash: hash_of(line.strip_suffix(b"\n").unwrap_or(line)),
        }
    }
}

/// Reads lines one by one, and no more of them into memory.
pub(crate) struct Reader<R> {
    input: R,
    tail: Tail,
    line: Vec<u8>,
    torn: u64,
}

/// Why there is no next line.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The file could not be read.
    Io(io::Error),
    /// This line is not what this program writes there.
    Damaged { line: u64, what: String },
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R) -> Reader<R> {
        Reader {
            input,
            tail: Tail::start(),
            line: Vec::new(),
            torn: 0,
        }
    }

    /// What was read so far.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The text of the last line, with its end.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// How many bytes after the last whole line a crash left; known once there is no next line.
    pub(crate) fn torn(&self) -> u64 {
        self.torn
    }

    /// The next entry; `None` after the last whole line.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        self.line.clear();
        let mut limited = (&mut self.input).take(MAX_LINE);
        limited
            .read_until(b'\n', &mut self.line)
            .map_err(ReadError::Io)?;
        let damaged = |what| ReadError::Damaged {
            line: self.tail.lines.saturating_add(1),
            what,
        };
        let Some(line) = self.line.strip_suffix(b"\n") else {
            let bytes = u64::try_from(self.line.len()).unwrap_or(u64::MAX);
            if bytes == MAX_LINE {
                return Err(damaged("it is longer than any line of a log".to_owned()));
            }
            self.torn = bytes;
            return Ok(None);
        };
        let entry = parse(line, &self.tail.hash).map_err(damaged)?;
        self.tail = self.tail.after(&self.line);
        Ok(Some(entry))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An entry of each kind.
    pub(in crate::service) fn entries() -> [Entry; 3] {
        let signed = Entry {
            time_ms: 1_700_000_000_123,
            connection: "issuer".to_owned(),
            peer: "npub1".to_owned(),
            request: "00".to_owned(),
            tx_type: "Issue".to_owned(),
            issue: Some(Issue::new(Napu::NDAU, 7).unwrap()),
            context: Context {
                symbol: "XND_USDT".to_owned(),
                trades: 2,
                first_trade_id: "1\n\"".to_owned(),
                last_trade_id: "2".to_owned(),
            },
            verdict: Verdict::Signed(vec!["npub2".to_owned(), "npub3".to_owned()]),
        };
        let refused = Entry {
            verdict: Verdict::Refused("no".to_owned()),
            ..signed.clone()
        };
        let strange = Entry {
            tx_type: "Transfer".to_owned(),
            issue: None,
            ..refused.clone()
        };
        [signed, refused, strange]
    }

    /// The text of a log with these lines.
    pub(in crate::service) fn text(entries: &[Entry]) -> Vec<u8> {
        let mut tail = Tail::start();
        let mut text = Vec::new();
        for entry in entries {
            let line = print(entry, &tail.hash);
            tail = tail.after(&line);
            text.extend(line);
        }
        text
    }

    /// All of a log's entries, and the torn bytes after them.
    fn read(text: &[u8]) -> Result<(Vec<Entry>, u64), (u64, String)> {
        let mut reader = Reader::new(text);
        let mut entries = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => return Ok((entries, reader.torn())),
                Err(ReadError::Damaged { line, what }) => return Err((line, what)),
                Err(ReadError::Io(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        for count in 0..=3 {
            let entries = &entries()[..count];
            let found = read(&text(entries)).unwrap();
            assert_eq!(found, (entries.to_vec(), 0));
        }
        assert_eq!(entries()[0].signed().unwrap().keys.len(), 2);
        assert_eq!(entries()[1].signed(), None);
    }

    #[test]
    fn a_last_line_cut_anywhere_is_torn_and_not_read() {
        let all = text(&entries());
        let two = text(&entries()[..2]);
        for end in two.len()..all.len() {
            let (found, torn) = read(&all[..end]).unwrap();
            assert_eq!(found.len(), 2);
            assert_eq!(torn, u64::try_from(end - two.len()).unwrap());
        }
    }

    /// Any one byte changed is noticed, and where: in its line, or by the line after it.
    #[test]
    fn a_changed_byte_is_noticed() {
        let last = entries()[1].clone();
        let all = text(&[entries().to_vec(), vec![last]].concat());
        let guarded = text(&entries()).len();
        let mut line = 1;
        for at in 0..guarded {
            for change in [1, 0x20, 0x80] {
                let mut changed = all.clone();
                changed[at] ^= change;
                let (found, _) = read(&changed).unwrap_err();
                assert!(
                    found == line || found == line + 1,
                    "byte {at}: line {found}"
                );
            }
            line += u64::from(all[at] == b'\n');
        }
    }

    #[test]
    fn a_line_that_is_gone_or_at_another_place_is_noticed() {
        let all = text(&entries());
        let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
        for (order, line) in [
            (&[1, 2][..], 1),
            (&[0, 2], 2),
            (&[1, 0, 2], 1),
            (&[0, 2, 1], 2),
            (&[0, 0, 1, 2], 2),
            (&[0, 1, 2, 2], 4),
        ] {
            let text: Vec<u8> = order.iter().flat_map(|at| lines[*at].to_vec()).collect();
            let (found, what) = read(&text).unwrap_err();
            assert_eq!(found, line, "{order:?}");
            assert!(what.contains("hash of the line before"), "{what}");
        }
    }

    #[test]
    fn a_line_that_contradicts_itself_is_damaged() {
        let [signed, refused, _] = entries();
        let signed = String::from_utf8(text(&[signed])).unwrap();
        let refused = String::from_utf8(text(&[refused])).unwrap();
        for (text, from, to, says) in [
            (&signed, "\"version\":1", "\"version\":2", "version is 2"),
            (&signed, "\"100000000\"", "\"0100000000\"", "no amount"),
            (&signed, "\"100000000\"", "\"100000001\"", "hash is not"),
            (&signed, "\"sequence\":7", "\"sequence\":8", "hash is not"),
            (&signed, "\"sequence\":7", "\"sequence\":null", "only some"),
            (&signed, "000123,", "000124,", "two times"),
            (&signed, "\"signed\"", "\"refused\"", "verdict"),
            (&signed, "\"signed\"", "\"other\"", "verdict"),
            (&signed, "[\"npub2\",\"npub3\"]", "[]", "verdict"),
            (&signed, "\"reason\":null", "\"reason\":\"a\"", "verdict"),
            (&refused, "\"refused\"", "\"signed\"", "verdict"),
            (&refused, "\"reason\":\"no\"", "\"reason\":null", "verdict"),
            (&refused, "\"keys\":[]", "\"keys\":[\"a\"]", "verdict"),
            (
                &signed,
                "{\"version\"",
                "{\"new\":1,\"version\"",
                "unknown field",
            ),
            (&signed, "{\"version\"", "[\"version\"", "expected"),
            (&signed, "0000\"", "0001\"", "hash of the line before"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(&changed, text, "{from}");
            let (line, what) = read(changed.as_bytes()).unwrap_err();
            assert!(line == 1 && what.contains(says), "{from} {to}: {what}");
        }
    }

    #[test]
    fn an_endless_line_is_damaged_and_not_kept() {
        let long = vec![b'a'; 1_000_000];
        let mut reader = Reader::new(&long[..]);
        assert!(matches!(
            reader.next(),
            Err(ReadError::Damaged { line: 1, .. })
        ));
        assert!(reader.line.capacity() <= 2 * 64 * 1024);
    }
}
