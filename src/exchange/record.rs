//! An account's history on file: the exchange's answers as they came, so that they can be read again when the exchange
//! is gone.
//!
//! The promise: what is written down are answers that gave the whole history when they were read back, by the same code
//! and at the same time as the first time; nothing in it opens the account. What was cut, changed or is another's is
//! refused. The hashes show accidents and single changes; who writes the whole file anew is only found out by the
//! file's own SHA-256, kept elsewhere.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::endpoint::parse_endpoint;
use super::session::{BURST_SPAN, SHORTEST_CREDENTIAL};
use super::{Client, Dialect, Error, History, Key, Side, Since, v2};
use crate::clock::{Clock, utc};
use crate::error::Exit;
use crate::http::{self, Http, Request, Response};
use crate::napu::Napu;
use crate::quote::excerpt;

const VERSION: u64 = 1;

/// The kinds of lines.
const HEAD: &str = "export";
const ANSWER: &str = "answer";
const END: &str = "end";

/// The last millisecond of the year 9999.
const LATEST_MS: u64 = 253_402_300_799_999;

/// A day lasts longer than a token; no clock of a recording goes on.
const TOKEN: &[u8] = br#"{"access_token":"recorded","expires_in":86400}"#;

/// Why there is no recording, or no history in it.
#[derive(Debug)]
pub enum RecordError {
    /// The exchange.
    Fetch(Error),
    /// An answer repeats a credential: nothing that holds it is written. Make a new API key and try again.
    Repeated {
        /// The answer to this.
        path: String,
    },
    /// A line is not one of a whole export: take another copy of the file.
    Damaged {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The answers are not those to the questions that this program asks, or not all of them: read the export with the
    /// program that wrote it, or take another copy.
    Unasked {
        /// What is missing or too much.
        what: String,
    },
    /// The answers do not give a whole history.
    Unreadable(Error),
    /// The history is not the one that the export says it is.
    Otherwise {
        /// What the last line says, in words.
        said: String,
        /// What the answers give, in words.
        found: String,
    },
}

impl RecordError {
    /// How a command ends that met this.
    pub fn exit(&self) -> Exit {
        match self {
            RecordError::Fetch(error) => error.exit(),
            RecordError::Repeated { .. } => Exit::Refused,
            RecordError::Damaged { .. }
            | RecordError::Unasked { .. }
            | RecordError::Unreadable(_)
            | RecordError::Otherwise { .. } => Exit::BadData,
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Fetch(_) => f.write_str("the exchange"),
            RecordError::Repeated { path } => write!(
                f,
                "the answer to {path} repeats a credential, and nothing that holds one is written; make a new API key and \
                 try again"
            ),
            RecordError::Damaged { line, what } => write!(
                f,
                "it was cut or changed, line {line}: {what}; take another copy of it"
            ),
            RecordError::Unasked { what } => write!(
                f,
                "it does not hold the answers that are asked for: {what}; read it with the program that wrote it, \
                 or take another copy"
            ),
            RecordError::Unreadable(_) => f.write_str("its answers are not a whole history"),
            RecordError::Otherwise { said, found } => write!(
                f,
                "it says that it holds {said}, and it holds {found}; take another copy of it"
            ),
        }
    }
}

impl StdError for RecordError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            RecordError::Fetch(source) | RecordError::Unreadable(source) => Some(source),
            RecordError::Repeated { .. }
            | RecordError::Damaged { .. }
            | RecordError::Unasked { .. }
            | RecordError::Otherwise { .. } => None,
        }
    }
}

/// One account's history in one pair, as the exchange told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The pair.
    pub symbol: String,
    /// The dialect it was read in.
    pub dialect: Dialect,
    /// The exchange's address.
    pub endpoint: String,
    /// The fingerprint of the API key.
    pub account: String,
    /// When reading began, by the exchange's clock: the now of the run, in milliseconds since the epoch.
    pub now_ms: u64,
    answers: Vec<Answer>,
    trades: usize,
    sold: Napu,
}

/// What the exchange answered to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// What was asked: the address without the endpoint.
    path: String,
    /// What was sent there, if anything.
    request: Option<String>,
    /// When the answer was there, in milliseconds since the epoch.
    at_ms: u64,
    status: u16,
    body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    version: u64,
    kind: String,
    program: String,
    symbol: String,
    dialect: String,
    endpoint: String,
    account: String,
    now: String,
    now_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerLine {
    kind: String,
    previous: String,
    path: String,
    request: Option<String>,
    at_ms: u64,
    status: u16,
    sha256: String,
    body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    kind: String,
    previous: String,
    answers: usize,
    trades: usize,
    sold_napu: String,
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl Recording {
    /// Fetches the whole history that the exchange still shows, and what it answered. `known` is as for
    /// [`Client::fetch`].
    ///
    /// # Errors
    /// Also when the answers, read back, do not give the same history.
    pub fn fetch(
        http: &dyn Http,
        clock: &dyn Clock,
        key: &Key,
        symbol: &str,
        known: Option<Dialect>,
    ) -> Result<(Recording, History), RecordError> {
        let (mut recording, mut history, corrected_ms) =
            Recording::listen(http, clock, key, symbol, known)?;
        if corrected_ms != 0 {
            // The questions before the correction were of another now: with the right one from the start, all are of
            // one. Two sessions in a row keep the pace of one.
            clock.sleep(BURST_SPAN);
            let clock = &Corrected {
                clock,
                by_ms: corrected_ms,
            };
            (recording, history, _) = Recording::listen(http, clock, key, symbol, known)?;
        }
        let again = recording.history()?;
        if (&again.trades, again.dialect) != (&history.trades, history.dialect) {
            let what = "the same history could not be read from them twice".to_owned();
            return Err(RecordError::Unasked { what });
        }
        Ok((recording, history))
    }

    /// The same once, and by how much the clock had to be corrected meanwhile.
    fn listen(
        http: &dyn Http,
        clock: &dyn Clock,
        key: &Key,
        symbol: &str,
        known: Option<Dialect>,
    ) -> Result<(Recording, History, i64), RecordError> {
        let recorder = Recorder {
            http,
            clock,
            key,
            answers: RefCell::default(),
            repeated: RefCell::default(),
        };
        let now_ms = clock.now_ms();
        let history = Client::new(&recorder, clock, key, symbol)
            .fetch(Since::Beginning, known, now_ms)
            .map_err(RecordError::Fetch)?;
        if let Some(path) = recorder.repeated.take() {
            return Err(RecordError::Repeated { path });
        }
        let mut answers = recorder.answers.take();
        let corrected = answers.iter().any(|one| is_time(&one.path));
        let corrected_ms = match corrected {
            true => i64::try_from(i128::from(history.now_ms) - i128::from(now_ms)).unwrap_or(0),
            false => 0,
        };
        // How it was found out that the exchange does not know the other dialect is no part of the history.
        answers.retain(|one| is_v2(&one.path) == (history.dialect == Dialect::V2));
        let recording = Recording {
            symbol: symbol.to_owned(),
            dialect: history.dialect,
            endpoint: key.endpoint().to_owned(),
            account: key.fingerprint(),
            now_ms,
            answers,
            trades: history.trades.len(),
            sold: sold(&history)?,
        };
        Ok((recording, history, corrected_ms))
    }

    /// How many answers there are.
    pub fn answers(&self) -> usize {
        self.answers.len()
    }

    /// The sum of all sales in it.
    pub fn sold(&self) -> Napu {
        self.sold
    }

    /// The history that the answers give, by the code that reads the exchange itself.
    pub fn history(&self) -> Result<History, RecordError> {
        let replay = Replay {
            recording: self,
            next: Cell::new(0),
            now_ms: Cell::new(self.now_ms),
            stray: RefCell::default(),
        };
        let key = Key::that_opens_nothing(&self.endpoint, self.dialect);
        let history = Client::new(&replay, &replay, &key, &self.symbol).fetch(
            Since::Beginning,
            None,
            self.now_ms,
        );
        if let Some(what) = replay.stray.take() {
            return Err(RecordError::Unasked { what });
        }
        let history = history.map_err(RecordError::Unreadable)?;
        let read = replay.next.get();
        if read != self.answers.len() {
            let what = format!("{read} of its {} answers are needed", self.answers.len());
            return Err(RecordError::Unasked { what });
        }
        let found = (history.trades.len(), sold(&history)?);
        if found != (self.trades, self.sold) {
            let told = |(trades, sold)| format!("{trades} trades, {sold} ndau sold");
            return Err(RecordError::Otherwise {
                said: told((self.trades, self.sold)),
                found: told(found),
            });
        }
        Ok(history)
    }

    /// The file's content: one JSON object a line, each with the SHA-256 of the line before.
    pub fn print(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut previous = append(
            &mut file,
            &HeadLine {
                version: VERSION,
                kind: HEAD.to_owned(),
                program: concat!("bitmart-issuer ", env!("CARGO_PKG_VERSION")).to_owned(),
                symbol: self.symbol.clone(),
                dialect: self.dialect.to_string(),
                endpoint: self.endpoint.clone(),
                account: self.account.clone(),
                now: utc(self.now_ms),
                now_ms: self.now_ms,
            },
        );
        for answer in &self.answers {
            previous = append(
                &mut file,
                &AnswerLine {
                    kind: ANSWER.to_owned(),
                    previous,
                    path: answer.path.clone(),
                    request: answer.request.clone(),
                    at_ms: answer.at_ms,
                    status: answer.status,
                    sha256: sha256(answer.body.as_bytes()),
                    body: answer.body.clone(),
                },
            );
        }
        append(
            &mut file,
            &EndLine {
                kind: END.to_owned(),
                previous,
                answers: self.answers.len(),
                trades: self.trades,
                sold_napu: self.sold.get().to_string(),
            },
        );
        file
    }

    /// The recording in a file's content, with every hash and number checked. Whether the answers are a history is
    /// for [`Recording::history`].
    pub fn parse(bytes: &[u8]) -> Result<Recording, RecordError> {
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let damaged = |line: usize, what: String| RecordError::Damaged { line, what };
        if lines.pop().is_none_or(|rest| !rest.is_empty()) {
            let what = "it has no end of line: the file is cut off".to_owned();
            return Err(damaged(lines.len() + 1, what));
        }
        let (Some((first, rest)), count) = (lines.split_first(), lines.len()) else {
            return Err(damaged(1, "there is none".to_owned()));
        };
        let Some((last, middle)) = rest.split_last() else {
            let what = "it is the only one: the file is cut off".to_owned();
            return Err(damaged(1, what));
        };
        let mut recording = head(first).map_err(|what| damaged(1, what))?;
        let mut previous = sha256(first);
        // The last line first: a file that is cut says so, and not that an answer is no end.
        let end: EndLine = read(last, END).map_err(|what| {
            damaged(
                count,
                format!("it is no last line ({what}): the file is cut off"),
            )
        })?;
        for (index, line) in middle.iter().enumerate() {
            let answer = answer(line, &previous).map_err(|what| damaged(index + 2, what))?;
            recording.answers.push(answer);
            previous = sha256(line);
        }
        let (trades, sold) = (end.trades, &end.sold_napu);
        recording.trades = trades;
        recording.sold = sold
            .parse()
            .ok()
            .and_then(Napu::new)
            .filter(|napu| napu.get().to_string() == *sold)
            .ok_or_else(|| damaged(count, format!("sold_napu is {:?}", excerpt(sold))))?;
        if end.previous != previous {
            return Err(damaged(count, NOT_THE_LINE_BEFORE.to_owned()));
        }
        if end.answers != recording.answers.len() {
            let found = recording.answers.len();
            let what = format!("it counts {} answers, there are {found}", end.answers);
            return Err(damaged(count, what));
        }
        Ok(recording)
    }
}

const NOT_THE_LINE_BEFORE: &str = "it does not carry the hash of the line before";

/// Adds a line, and gives its hash.
fn append(file: &mut Vec<u8>, line: &impl Serialize) -> String {
    let line = serde_json::to_vec(line).expect("numbers and strings are always JSON");
    let hash = sha256(&line);
    file.extend(line);
    file.push(b'\n');
    hash
}

/// A line of this kind.
fn read<'a, T: Deserialize<'a> + Kinded>(line: &'a [u8], kind: &str) -> Result<T, String> {
    // A list would be read as the fields in their order.
    if line.first() != Some(&b'{') {
        return Err("it is no JSON object".to_owned());
    }
    let read: T = serde_json::from_slice(line).map_err(|error| excerpt(&error.to_string()))?;
    match read.kind() == kind {
        true => Ok(read),
        false => Err(format!(
            "its kind is {:?}, not {kind:?}",
            excerpt(read.kind())
        )),
    }
}

/// A line that says what it is.
trait Kinded {
    fn kind(&self) -> &str;
}

impl Kinded for HeadLine {
    fn kind(&self) -> &str {
        &self.kind
    }
}

impl Kinded for AnswerLine {
    fn kind(&self) -> &str {
        &self.kind
    }
}

impl Kinded for EndLine {
    fn kind(&self) -> &str {
        &self.kind
    }
}

/// The first line, as a recording without answers.
fn head(line: &[u8]) -> Result<Recording, String> {
    let versioned: Versioned =
        serde_json::from_slice(line).map_err(|error| excerpt(&error.to_string()))?;
    if versioned.version != VERSION {
        return Err(format!(
            "its version is {}, this program knows {VERSION}",
            versioned.version
        ));
    }
    let head: HeadLine = read(line, HEAD)?;
    let dialect = Dialect::parse(&head.dialect)
        .ok_or_else(|| format!("its dialect is {:?}", excerpt(&head.dialect)))?;
    let wrong = |name: &str, found: &str| Err(format!("its {name} is {:?}", excerpt(found)));
    if parse_endpoint(&head.endpoint).as_ref() != Ok(&head.endpoint) {
        return wrong("endpoint", &head.endpoint);
    }
    if head.account.len() != 16 || !head.account.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return wrong("account", &head.account);
    }
    if head.now != utc(head.now_ms) || head.now_ms > LATEST_MS {
        return wrong("now", &head.now);
    }
    Ok(Recording {
        symbol: head.symbol,
        dialect,
        endpoint: head.endpoint,
        account: head.account,
        now_ms: head.now_ms,
        answers: Vec::new(),
        trades: 0,
        sold: Napu::ZERO,
    })
}

/// A line after the one whose hash is `previous`.
fn answer(line: &[u8], previous: &str) -> Result<Answer, String> {
    let line: AnswerLine = read(line, ANSWER)?;
    if line.previous != previous {
        return Err(NOT_THE_LINE_BEFORE.to_owned());
    }
    if line.at_ms > LATEST_MS {
        return Err(format!("at_ms is {}", line.at_ms));
    }
    if line.sha256 != sha256(line.body.as_bytes()) {
        return Err("its body is not the one that its hash is of".to_owned());
    }
    Ok(Answer {
        path: line.path,
        request: line.request,
        at_ms: line.at_ms,
        status: line.status,
        body: line.body,
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The sum of all sales.
fn sold(history: &History) -> Result<Napu, RecordError> {
    let sales = history.trades.iter().filter_map(|trade| match trade.side {
        Side::Sell { quantity } => Some(quantity),
        Side::Buy => None,
    });
    Napu::sum(sales).ok_or_else(|| RecordError::Otherwise {
        said: "a history".to_owned(),
        found: "sales of more ndau than there can be".to_owned(),
    })
}

fn is_v2(path: &str) -> bool {
    path.starts_with("/v2/")
}

fn is_time(path: &str) -> bool {
    matches!(path, "/system/time" | "/v2/time")
}

/// Hands requests on, and writes the answers down.
struct Recorder<'a> {
    http: &'a dyn Http,
    clock: &'a dyn Clock,
    key: &'a Key,
    answers: RefCell<Vec<Answer>>,
    /// What was asked when an answer repeated a credential.
    repeated: RefCell<Option<String>>,
}

impl Http for Recorder<'_> {
    fn send(&self, request: &Request) -> Result<Response, http::Error> {
        let response = self.http.send(request)?;
        let endpoint = self.key.endpoint();
        let path = request.url.strip_prefix(endpoint).unwrap_or(&request.url);
        if path == v2::AUTHENTICATION {
            return Ok(response);
        }
        // What is not text is no answer to any question; it is asked again.
        if let Ok(body) = String::from_utf8(response.body.clone()) {
            let sent = request.body.as_deref().map(String::from_utf8_lossy);
            let asked = format!("{path} {}", sent.as_deref().unwrap_or_default());
            if self
                .credentials(request)
                .any(|one| body.contains(one) && !asked.contains(one))
            {
                self.repeated
                    .replace(Some(http::without_query(path).to_owned()));
            }
            self.answers.borrow_mut().push(Answer {
                path: path.to_owned(),
                request: sent.map(|sent| sent.into_owned()),
                at_ms: self.clock.now_ms(),
                status: response.status,
                body,
            });
        }
        Ok(response)
    }
}

impl Recorder<'_> {
    /// What opens the account, or did when `request` was sent.
    fn credentials<'r>(&'r self, request: &'r Request) -> impl Iterator<Item = &'r str> {
        let bearer = |value: &'r str| value.strip_prefix("Bearer ").unwrap_or(value);
        let sent = request
            .headers
            .iter()
            .filter(|(name, _)| matches!(*name, "X-BM-AUTHORIZATION" | "X-BM-SIGN"))
            .map(move |(_, value)| bearer(value));
        [self.key.access(), self.key.secret(), self.key.memo()]
            .into_iter()
            .chain(sent)
            .filter(|one| one.len() >= SHORTEST_CREDENTIAL)
    }
}

/// Answers the questions that were asked before, in the same order, at the same time.
struct Replay<'a> {
    recording: &'a Recording,
    next: Cell<usize>,
    now_ms: Cell<u64>,
    /// What was asked for and is not there.
    stray: RefCell<Option<String>>,
}

impl Http for Replay<'_> {
    fn send(&self, request: &Request) -> Result<Response, http::Error> {
        let response = |status, body: &[u8]| Response {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
        };
        let endpoint = &self.recording.endpoint;
        let path = request
            .url
            .strip_prefix(endpoint.as_str())
            .unwrap_or(&request.url);
        if path == v2::AUTHENTICATION {
            return Ok(response(200, TOKEN));
        }
        let at = self.next.get();
        let asked = |one: &&Answer| {
            one.path == path && one.request.as_deref().map(str::as_bytes) == request.body.as_deref()
        };
        match self.recording.answers.get(at).filter(asked) {
            Some(answer) => {
                self.next.set(at + 1);
                self.now_ms.set(answer.at_ms);
                Ok(response(answer.status, answer.body.as_bytes()))
            }
            None => {
                let next = match self.recording.answers.get(at) {
                    Some(other) => format!("the next one is to {}", excerpt(&other.path)),
                    None => "there are no more".to_owned(),
                };
                let what = format!("after {at} of them {} is asked, and {next}", excerpt(path));
                self.stray.replace(Some(what));
                Err(http::Error::Failed {
                    url: http::without_query(&request.url).to_owned(),
                    source: ureq::Error::Io(std::io::Error::other("it is not in the export")),
                })
            }
        }
    }
}

impl Clock for Replay<'_> {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, _pause: Duration) {}
}

/// A clock that is off by what is known.
struct Corrected<'a> {
    clock: &'a dyn Clock,
    by_ms: i64,
}

impl Clock for Corrected<'_> {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms().saturating_add_signed(self.by_ms)
    }

    fn instant(&self) -> Instant {
        self.clock.instant()
    }

    fn sleep(&self, pause: Duration) {
        self.clock.sleep(pause);
    }
}
