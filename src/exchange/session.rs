//! One run's conversation with the exchange: every request goes through here, paced, repeated where repeating may help,
//! and stamped with a time that the exchange accepts. Repeating a read is always safe.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroize::{Zeroize, Zeroizing};

use super::class::{Call, Class, judge, reset, used_up};
use super::error::Error;
use super::failure::{Failure, Rejection, Said};
use super::{Key, wire};
use crate::clock::Clock;
use crate::error::chain;
use crate::http::{self, Http, Request, Response};
use crate::quote::excerpt;

/// The limit is 12 requests in 2 s. One less in a little more leaves room for what the network does to their spacing.
const BURST: usize = 11;
pub(super) const BURST_SPAN: Duration = Duration::from_millis(2100);
/// The pauses before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How often we wait because the exchange says that we ask too much, and at most how long. The documented window is 2 s.
const WAITS: u32 = 3;
const LONGEST_WAIT_S: u64 = 10;
/// Time stamps err to the past: one second ahead is refused, five behind are accepted.
const CLOCK_MARGIN_MS: i64 = 500;
/// A clock that is further off is not ours to correct.
pub(super) const LARGEST_OFFSET_MS: u64 = 10 * 60 * 1000;

/// The time for one request, and the largest answer. 200 trades take about 100 kB.
const WITHIN: Duration = Duration::from_secs(15);
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Real keys have 32 characters and more. What is much shorter would be found in innocent words.
pub(super) const SHORTEST_CREDENTIAL: usize = 8;

/// No honest history takes as many; at five a second they are an hour.
const MOST_REQUESTS: u64 = 20_000;

/// How many requests pass between two lines about progress; that many take a second or two.
const REPORT_EVERY: u64 = 20;

/// The state of the conversation.
pub(super) struct Session<'a> {
    http: &'a dyn Http,
    clock: &'a dyn Clock,
    key: &'a Key,
    /// The run's now by the host's clock.
    host_now_ms: u64,
    /// What is added to the host's clock, once the exchange refused it.
    offset_ms: Option<i64>,
    /// When the last requests were sent.
    sent: VecDeque<Instant>,
    /// When the exchange's own headers let us go on.
    not_before: Option<Instant>,
    /// What must not be repeated from an answer: credentials made during the run.
    hidden: Vec<Zeroizing<String>>,
    requests: u64,
    answered: u64,
    reported: u64,
}

impl<'a> Session<'a> {
    pub fn new(http: &'a dyn Http, clock: &'a dyn Clock, key: &'a Key, now_ms: u64) -> Session<'a> {
        Session {
            http,
            clock,
            key,
            host_now_ms: now_ms,
            offset_ms: None,
            sent: VecDeque::new(),
            not_before: None,
            hidden: Vec::new(),
            requests: 0,
            answered: 0,
            reported: 0,
        }
    }

    pub fn key(&self) -> &'a Key {
        self.key
    }

    /// Whether any question was answered yet.
    pub fn was_answered(&self) -> bool {
        self.answered > 0
    }

    /// The run's now, by the exchange's clock as far as it is known.
    pub fn run_now_ms(&self) -> u64 {
        self.host_now_ms
            .saturating_add_signed(self.offset_ms.unwrap_or(0))
    }

    /// This very moment, by the exchange's clock as far as it is known.
    pub fn moment_ms(&self) -> u64 {
        self.clock
            .now_ms()
            .saturating_add_signed(self.offset_ms.unwrap_or(0))
    }

    /// Waits.
    pub fn pause(&self, pause: Duration) {
        self.clock.sleep(pause);
    }

    /// Keeps `credential` out of messages.
    pub fn hide(&mut self, credential: &str) {
        self.hidden.push(Zeroizing::new(credential.to_owned()));
    }

    /// Tells now and then how far we are.
    pub fn report(&mut self, trades: usize) {
        if self.requests >= self.reported.saturating_add(REPORT_EVERY) {
            self.reported = self.requests;
            log::info!(
                "reading the exchange's history; trades so far: {trades}, requests: {}",
                self.requests
            );
        }
    }

    /// A request to `path` of the key's endpoint.
    pub fn request(
        &self,
        path: &str,
        headers: Vec<(&'static str, String)>,
        body: Option<Vec<u8>>,
    ) -> Request {
        Request {
            url: format!("{}{path}", self.key.endpoint()),
            headers,
            body,
            within: WITHIN,
            max_bytes: MAX_BYTES,
        }
    }

    /// Asks until there is an answer, or no use in asking. `build` makes the request for a time stamp.
    pub fn ask(
        &mut self,
        call: Call,
        build: &dyn Fn(&Session<'a>, u64) -> Request,
    ) -> Result<Response, Failure> {
        let mut pauses = PAUSES.iter();
        let (mut tries, mut waits) = (0, 0);
        loop {
            if self.requests >= MOST_REQUESTS {
                return Err(Error::Endless {
                    requests: self.requests,
                }
                .into());
            }
            self.keep_pace();
            let mut request = build(self, self.moment_ms());
            let url = http::without_query(&request.url).to_owned();
            self.requests += 1;
            tries += 1;
            let answer = self.http.send(&request);
            wipe(&mut request);
            let response = match answer {
                Ok(response) => response,
                Err(source) => match pauses.next() {
                    Some(pause) => {
                        log::info!("no answer; trying again: {}", chain(&source));
                        self.clock.sleep(*pause);
                        continue;
                    }
                    None => return Err(Error::Unreachable { tries, source }.into()),
                },
            };
            if let Some(seconds) = used_up(&response) {
                let pause = Duration::from_secs(seconds.min(LONGEST_WAIT_S));
                self.not_before = self.clock.instant().checked_add(pause);
            }
            let verdict = judge(call, &response);
            let said = Box::new(Said {
                url,
                status: response.status,
                code: verdict.code,
                message: verdict.message.map(|text| self.redact(&text)),
                trace: verdict.trace.map(|text| self.redact(&text)),
            });
            match verdict.class {
                Class::Ok => {
                    self.answered += 1;
                    return Ok(response);
                }
                Class::RateLimit if waits < WAITS => {
                    waits += 1;
                    // v2 sends no headers, and its limits are said to be per minute.
                    let otherwise = if is_v4(call) { 2 } else { LONGEST_WAIT_S };
                    let seconds = reset(&response).unwrap_or(otherwise);
                    log::info!("too many requests; waiting: {said}");
                    self.clock
                        .sleep(Duration::from_secs(seconds.clamp(1, LONGEST_WAIT_S)));
                }
                Class::Clock if self.offset_ms.is_none() => self.read_clock(call)?,
                class @ (Class::Transient | Class::Malformed) => match pauses.next() {
                    Some(pause) => {
                        log::info!("no usable answer; trying again: {said}");
                        self.clock.sleep(*pause);
                    }
                    None => return Err(rejected(class, said, tries)),
                },
                class => return Err(rejected(class, said, tries)),
            }
        }
    }

    /// Waits until one more request keeps within our own pace and the exchange's.
    fn keep_pace(&mut self) {
        let now = self.clock.instant();
        let ours = (self.sent.len() >= BURST)
            .then(|| self.sent.pop_front())
            .flatten()
            .and_then(|oldest| oldest.checked_add(BURST_SPAN));
        let wait = [ours, self.not_before.take()]
            .into_iter()
            .flatten()
            .map(|until| until.saturating_duration_since(now))
            .max()
            .unwrap_or_default();
        if !wait.is_zero() {
            self.clock.sleep(wait);
        }
        self.sent.push_back(self.clock.instant());
    }

    /// Asks the exchange what time it is, and keeps the difference for the rest of the run.
    fn read_clock(&mut self, call: Call) -> Result<(), Failure> {
        let (call, path) = if is_v4(call) {
            (Call::V4Time, "/system/time")
        } else {
            (Call::V2Time, "/v2/time")
        };
        // Set first, so that a clock which refuses our clock ends here.
        self.offset_ms = Some(0);
        let response = self.ask(call, &|session, _| session.request(path, Vec::new(), None))?;
        let theirs = wire::server_time(&response.body)?;
        let ours = self.clock.now_ms();
        let offset_ms = i64::try_from(i128::from(theirs) - i128::from(ours)).unwrap_or(i64::MAX);
        if offset_ms.unsigned_abs() > LARGEST_OFFSET_MS {
            return Err(Error::HostClock { offset_ms }.into());
        }
        log::warn!("the host's clock is {offset_ms} ms off the exchange's; using the exchange's");
        // Since their answer was written, their clock has gone on: the offset can only be too small.
        self.offset_ms = Some(offset_ms - CLOCK_MARGIN_MS);
        Ok(())
    }

    /// `text` on one line, short, and without our credentials.
    fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let hidden = self.hidden.iter().map(|hidden| hidden.as_str());
        for credential in [self.key.access(), self.key.secret(), self.key.memo()]
            .into_iter()
            .chain(hidden)
        {
            if credential.len() >= SHORTEST_CREDENTIAL {
                text = text.replace(credential, "[secret]");
            }
        }
        excerpt(&text)
    }
}

fn rejected(class: Class, said: Box<Said>, tries: u32) -> Failure {
    Failure::Rejected(Rejection { class, said, tries })
}

fn is_v4(call: Call) -> bool {
    matches!(call, Call::V4Trades | Call::V4Time)
}

/// Overwrites what of a request may be a credential.
fn wipe(request: &mut Request) {
    for (_, value) in &mut request.headers {
        value.zeroize();
    }
    request.body.zeroize();
}
