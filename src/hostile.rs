//! The parsers of foreign bytes as fuzz targets: every function here takes any bytes whatsoever, and panics when a law is
//! broken that holds of whatever its parsers accept or say. Kept for tests and fuzzers alone.
//!
//! `tests/fuzz/` runs them under libFuzzer; the test below runs the same ones over the corpus kept there and over a
//! bounded number of mutations of it. Two laws are everywhere: no input stops the program, and what is told of a
//! stranger's bytes is one short line (`assert_told`).

#![allow(
    clippy::indexing_slicing,
    reason = "a broken law stops on the spot; nothing here is in the programs"
)]

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::error::Error as StdError;
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::audit::parse_list;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::chain;
use crate::exchange::class::{Call, Class, judge, reset, used_up};
use crate::exchange::endpoint::parse_endpoint;
use crate::exchange::{self, Client, Dialect, History, Key, Recording, Side, Since, TradeId, wire};
use crate::http::{self, Http, Request, Response};
use crate::napu::Napu;
use crate::ndau::wire as api;
use crate::ndau::{Address, Algorithm, Issue, PrivateKey, PublicKey, Signature, text};
use crate::service::answer::{asked_for, read_issue, sign};
use crate::service::config as sigconfig;
use crate::service::{self, Policy, signing_log};
use crate::signer::message::{FromSigner, SignTx, ToSigner};
use crate::signer::noise::{Hail, Initiator, Transport};
use crate::signer::{Endpoint, Identity, identity};
use crate::state::{Ledger, Line, cursor, pending};

/// The name of a target, which is that of its fuzzer and of its folder in `tests/fuzz/corpus/`, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 22] = [
    ("address", address),
    ("amount", amount),
    ("apikey", apikey),
    ("cursor", cursor_file),
    ("duration", duration),
    ("endpoint", endpoint),
    ("exchange_answers", exchange_answers),
    ("exchange_talk", exchange_talk),
    ("export", export),
    ("from_signer", from_signer),
    ("identity", identity_file),
    ("issue", issue),
    ("issuer_toml", issuer_toml),
    ("key_text", key_text),
    ("ledger", ledger),
    ("ndauapi", ndauapi),
    ("noise", noise),
    ("pending", pending_file),
    ("sigconfig", sigconfig_file),
    ("signing_log", signing_log_file),
    ("to_signer", to_signer),
    ("trade_list", trade_list),
];

/// Runs the target called `name` on `bytes`.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a fuzzer is named as its target");
    target(bytes);
}

/// The issuer's account of the recorded node.
const ISSUER: &str = "ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y";
/// A moment, in milliseconds since 1970.
const NOW_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The most characters that a line about a stranger's bytes may have.
const LONGEST_LINE: usize = 3000;

/// The bytes as text; what is no UTF-8 never gets as far as the parsers of text.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What is said of a stranger's bytes is one short line, so that nobody writes lines of their own into our log.
fn assert_told(error: &dyn StdError) {
    assert_line(&chain(error));
}

fn assert_line(line: &str) {
    let length = line.chars().count();
    assert!(length <= LONGEST_LINE, "told {length} characters");
    assert!(!line.contains(char::is_control), "told {line:?}");
}

/// Whether `told` has `least` bytes in a row of `word`, other than such as stand in `public` too.
fn tells(told: &str, word: &str, least: usize, public: &str) -> bool {
    let has = |text: &str, part: &[u8]| text.as_bytes().windows(least).any(|at| at == part);
    let mut parts = word.as_bytes().windows(least);
    parts.any(|part| has(told, part) && !has(public, part))
}

/// Nothing that stands only where a private key would is in `told`.
fn assert_no_private_key(told: &str, text: &str) {
    let mut words = text.split("npvt");
    let mut public = words.next().unwrap_or_default().to_owned();
    let mut keys = Vec::new();
    for word in words {
        let end = word.find(|c: char| !c.is_ascii_alphanumeric());
        let (key, rest) = word.split_at(end.unwrap_or(word.len()));
        keys.push(key);
        public.push('\n');
        public.push_str(rest);
    }
    for key in keys {
        assert!(!tells(told, key, 24, &public), "told {told:?}");
    }
}

/// Key and signature text: as it stands, and as the data of a well-sealed container, whose first byte says the
/// algorithm.
fn key_text(bytes: &[u8]) {
    read_keys(&lossy(bytes));
    let Some((kind, data)) = bytes.split_first() else {
        return;
    };
    if data.len() > 255 {
        return;
    }
    let algorithm = match kind % 2 {
        0 => Algorithm::Secp256k1,
        _ => Algorithm::Ed25519,
    };
    match Signature::from_bytes(algorithm, data) {
        Ok(signature) => signature_laws(&signature, signature.as_text()),
        Err(error) => assert_told(&error),
    }
    let sealed = text::encode(algorithm, data);
    let (read, content) = text::decode(&sealed).expect("what is sealed opens");
    assert_eq!((read, content.as_slice()), (algorithm, data));
    for prefix in ["npub", "npvt", ""] {
        read_keys(&format!("{prefix}{}", sealed.as_str()));
    }
}

fn read_keys(text: &str) {
    match PublicKey::parse(text) {
        Ok(key) => public_key_laws(&key, text),
        Err(error) => assert_told(&error),
    }
    match PrivateKey::parse(text) {
        Ok(key) => private_key_laws(&key, text),
        Err(error) => assert_told(&error),
    }
    match Signature::parse(text) {
        Ok(signature) => signature_laws(&signature, text),
        Err(error) => assert_told(&error),
    }
}

/// The one text of the container in `body`.
fn canonical(body: &str) -> String {
    let (algorithm, data) = text::decode(body).expect("it was read before");
    text::encode(algorithm, &data).to_string()
}

fn public_key_laws(key: &PublicKey, text: &str) {
    assert!(text.eq_ignore_ascii_case(key.as_text()));
    let again = PublicKey::parse(key.as_text()).expect("its own text");
    assert_eq!((&again, again.as_text()), (key, key.as_text()));
    assert_eq!(canonical(&key.as_text()[4..]), key.as_text()[4..]);
    static SIGNATURES: LazyLock<Vec<Signature>> =
        LazyLock::new(|| PAIRS.iter().map(|pair| pair.sign(b"message")).collect());
    for (pair, signature) in PAIRS.iter().zip(SIGNATURES.iter()) {
        let verifies = key.verifies(b"message", signature);
        assert_eq!(verifies, key == pair.public());
    }
    let _ = Identity::require_usable(key);
}

fn private_key_laws(key: &PrivateKey, text: &str) {
    assert!(text.eq_ignore_ascii_case(key.text().expose()));
    let again = PrivateKey::parse(key.text().expose()).expect("its own text");
    assert_eq!(again.public(), key.public());
    assert_eq!(
        canonical(&key.text().expose()[4..]),
        key.text().expose()[4..]
    );
    public_key_laws(key.public(), key.public().as_text());
    assert!(key.public().verifies(b"message", &key.sign(b"message")));
}

fn signature_laws(signature: &Signature, text: &str) {
    assert!(text.eq_ignore_ascii_case(signature.as_text()));
    let again = Signature::parse(signature.as_text()).expect("its own text");
    assert_eq!(again, *signature);
    assert_eq!(canonical(signature.as_text()), signature.as_text());
    for pair in PAIRS.iter() {
        // Nobody finds one by chance, and those that we made are over other bytes.
        assert!(!pair.public().verifies(b"nobody signed this", signature));
    }
}

/// One key of each algorithm, those of `docs/formats.md`, which the corpus knows too.
static PAIRS: LazyLock<[PrivateKey; 2]> = LazyLock::new(pairs);

/// The same, as the signing service holds them.
static HELD: LazyLock<[service::Key; 2]> = LazyLock::new(|| pairs().map(service::Key::from));

fn pairs() -> [PrivateKey; 2] {
    let texts = [
        "npvtayjadtcbicqydnn7798xw2f4stfrjeznfvceiuqfpf7ve4i3qa742a26x39ybx44vaa2fniky9kwz9yv3fuaqqsq6f3rhyxgenu48as4pd5sqwi4fkyq4nkw",
        "npvta8jaftbbeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaadahzv8z2zu3s",
    ];
    texts.map(|text| PrivateKey::parse(text).expect("it is one"))
}

/// Addresses.
fn address(bytes: &[u8]) {
    let text = lossy(bytes);
    match Address::parse(&text) {
        Ok(address) => {
            assert!(text.eq_ignore_ascii_case(address.as_str()));
            assert_eq!(address.as_str().len(), 48);
            assert_eq!(Address::parse(address.as_str()), Ok(address));
        }
        Err(error) => assert_told(&error),
    }
}

/// Decimal amounts, in ndau's own grammar and in JSON's.
fn amount(bytes: &[u8]) {
    let text = lossy(bytes);
    if let Ok(amount) = Napu::parse_ndau(&text) {
        amount_laws(amount);
        // White space and a bare point are all that JSON's grammar lacks.
        let digits = text.trim_matches(|c: char| c.is_ascii_whitespace());
        assert_eq!(Napu::parse_amount(&format!("0{digits}")), Ok(amount));
    }
    if let Ok(amount) = Napu::parse_amount(&text) {
        amount_laws(amount);
        let is_plain = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
        assert!(text.bytes().all(is_plain) && !text.starts_with('-'));
        if !text.contains(['e', 'E']) {
            assert_eq!(Napu::parse_amount(&format!("{text}e0")), Ok(amount));
        }
    }
}

fn amount_laws(amount: Napu) {
    assert!(amount.get() <= i64::MAX.unsigned_abs());
    let printed = amount.to_string();
    assert_eq!(Napu::parse_ndau(&printed), Ok(amount));
    assert_eq!(Napu::parse_amount(&printed), Ok(amount));
}

/// The JSON of an unsigned Issue.
fn issue(bytes: &[u8]) {
    match Issue::parse_unsigned(&lossy(bytes)) {
        Ok(issue) => {
            assert!(!issue.quantity().is_zero() && issue.quantity() <= Napu::SUPPLY);
            assert!((1..=i64::MAX.unsigned_abs()).contains(&issue.sequence()));
            let again = Issue::parse_unsigned(&issue.unsigned_body()).expect("its own body");
            assert_eq!((again, again.hash()), (issue, issue.hash()));
        }
        Err(error) => assert_told(&error),
    }
}

/// An answer as the corpus writes it: a line with the status, lines with headers, an empty line, the body. Without
/// these it is a body alone.
fn response(bytes: &[u8]) -> Response {
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let head = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
    let (Some(end), Some(head)) = (end, head) else {
        return Response {
            status: 200,
            headers: Vec::new(),
            body: bytes.to_vec(),
        };
    };
    let headers = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    Response {
        status: head.lines().next().unwrap_or("").parse().unwrap_or(200),
        headers: headers.collect(),
        body: bytes[end + 2..].to_vec(),
    }
}

/// Whether a number or text of an answer stands in its body, or may, in escapes.
fn stands_in(body: &[u8], found: impl ToString) -> bool {
    let (body, found) = (lossy(body), found.to_string());
    body.contains('\\') || body.contains(&found)
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// One answer of BitMart, taken for that to each question of either dialect.
fn exchange_answers(bytes: &[u8]) {
    let response = response(bytes);
    let calls = [
        Call::V4Trades,
        Call::V4Time,
        Call::V2Token,
        Call::V2Trades,
        Call::V2Order,
        Call::V2Time,
    ];
    for call in calls {
        let class = judge(call, &response).class;
        assert_eq!(judge(call, &response).class, class);
        if class == Class::Ok {
            assert!((200..300).contains(&response.status) && is_object(&response.body));
        }
    }
    assert!(used_up(&response).is_none() || response.header("x-bm-ratelimit-limit").is_some());
    let _ = reset(&response);
    exchange_laws(&response.body);
}

fn exchange_laws(body: &[u8]) {
    fn read<T>(body: &[u8], read: Result<T, exchange::Error>) -> Option<T> {
        match read {
            Ok(value) => {
                assert!(is_object(body));
                Some(value)
            }
            Err(error) => {
                assert_told(&error);
                None
            }
        }
    }
    for row in read(body, wire::v4_trades(body)).unwrap_or_default() {
        row_laws(body, row.id, row.time_ms, row.trade(row.side));
    }
    if let Some(page) = read(body, wire::v2_page(body)) {
        assert!(stands_in(body, page.total));
        for row in page.rows {
            row_laws(body, row.id, row.time_ms, row.trade(wire::Way::Sell));
            let bought = row.trade(wire::Way::Buy).expect("its amount is not read");
            assert_eq!(bought.side, Side::Buy);
        }
    }
    if let Some(order) = read(body, wire::v2_order(body)) {
        assert!(stands_in(body, order.id) && stands_in(body, order.side.name()));
    }
    if let Some((token, seconds)) = read(body, wire::v2_token(body)) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(stands_in(body, token) && stands_in(body, seconds));
    }
    if let Some(time) = read(body, wire::server_time(body)) {
        assert!(stands_in(body, time));
    }
}

fn row_laws(
    body: &[u8],
    id: TradeId,
    time_ms: u64,
    trade: Result<exchange::Trade, exchange::Error>,
) {
    for number in [id.trade, id.order, time_ms] {
        assert!(stands_in(body, number));
    }
    match trade {
        Ok(trade) => assert_eq!((trade.id, trade.time_ms), (id, time_ms)),
        Err(error) => assert_told(&error),
    }
}

/// The exchange, which says what it was given to say, and then nothing more.
struct Script {
    answers: RefCell<VecDeque<Response>>,
    asked: Cell<usize>,
}

impl Http for Script {
    fn send(&self, request: &Request) -> Result<Response, http::Error> {
        self.asked.set(self.asked.get() + 1);
        let next = self.answers.borrow_mut().pop_front();
        next.ok_or_else(|| http::Error::TooLarge {
            url: http::without_query(&request.url).to_owned(),
            max_bytes: request.max_bytes,
        })
    }
}

/// A clock on which only waiting takes time.
struct Waiting {
    start: Instant,
    passed: Cell<Duration>,
}

impl Clock for Waiting {
    fn now_ms(&self) -> u64 {
        NOW_MS + u64::try_from(self.passed.get().as_millis()).expect("not that long")
    }

    fn instant(&self) -> Instant {
        self.start + self.passed.get()
    }

    fn sleep(&self, pause: Duration) {
        self.passed.set(self.passed.get() + pause);
    }
}

const API_KEY: &str =
    r#"{"access":"hostile-access-key","secret":"hostile-secret-key","memo":"hostile-memo-text"}"#;

/// A whole conversation with the exchange. The first byte says in which dialect, the second since when; the answers are
/// divided by lines of `---`.
fn exchange_talk(bytes: &[u8]) {
    let (head, script) = bytes.split_at(bytes.len().min(2));
    let known = match head.first() {
        Some(b'2') => Some(Dialect::V2),
        Some(b'4') => Some(Dialect::V4),
        _ => None,
    };
    let since = match head.get(1) {
        Some(b'b') => Since::Beginning,
        _ => Since::Time(NOW_MS - 5 * DAY_MS),
    };
    let script = lossy(script);
    let answers: VecDeque<Response> = script
        .trim_start_matches('\n')
        .split("\n---\n")
        .map(|answer| response(answer.as_bytes()))
        .collect();
    let given = answers.len();
    let http = Script {
        answers: RefCell::new(answers),
        asked: Cell::new(0),
    };
    let clock = Waiting {
        start: Instant::now(),
        passed: Cell::new(Duration::ZERO),
    };
    let key = Key::parse(Path::new("key"), API_KEY).expect("it is one");
    let history = Client::new(&http, &clock, &key, "XND_USDT").fetch(since, known, NOW_MS);
    assert!(http.asked.get() <= given + 3, "asked {}", http.asked.get());
    match history {
        Ok(history) => history_laws(&history, &clock),
        Err(error) => {
            assert_told(&error);
            for credential in [
                "hostile-access-key",
                "hostile-secret-key",
                "hostile-memo-text",
            ] {
                assert!(!chain(&error).contains(credential), "told {error}");
            }
        }
    }
}

fn history_laws(history: &History, clock: &Waiting) {
    let order = |trade: &exchange::Trade| (trade.time_ms, trade.id);
    assert!(history.trades.is_sorted_by_key(order));
    let ids: BTreeSet<TradeId> = history.trades.iter().map(|trade| trade.id).collect();
    assert_eq!(ids.len(), history.trades.len());
    // The exchange's clock may be up to ten minutes off ours, and a trade a minute ahead of it.
    let latest = clock.now_ms() + 11 * 60_000;
    assert!(history.now_ms <= latest);
    assert!(history.trades.iter().all(|trade| trade.time_ms <= latest));
}

/// One answer of a node, taken for that to each question, asked about the recorded Issue.
fn ndauapi(bytes: &[u8]) {
    let response = response(bytes);
    let quantity = Napu::new(500_000_000).expect("it is in range");
    let issue = Issue::new(quantity, 3).expect("it is in bounds");
    let address = Address::parse(ISSUER).expect("it is one");
    if let Some(issuer) = read(&response, api::issuer(&response)) {
        assert_eq!(Address::parse(issuer.as_str()), Ok(issuer));
    }
    if let Some(account) = read(&response, api::account(&response, &address)) {
        assert!(stands_in(&response.body, ISSUER) && stands_in(&response.body, account.sequence));
        for key in &account.validation_keys {
            assert_eq!(PublicKey::parse(key.as_text()).as_ref(), Ok(key));
        }
    }
    if let Some(totals) = read(&response, api::totals(&response)) {
        assert!(stands_in(&response.body, totals.released.get()));
        assert!(stands_in(&response.body, totals.issued.get()));
    }
    if let Some(status) = read(&response, api::status(&response)) {
        assert!(stands_in(&response.body, status.height));
    }
    if let Some(history) = read(&response, api::history(&response)) {
        assert!(
            history
                .iter()
                .all(|one| stands_in(&response.body, one.height))
        );
    }
    detail_laws(&response, &issue);
    prevalidation_laws(&response, &issue);
    submission_laws(&response, &issue);
}

fn read<T>(response: &Response, read: Result<T, api::Error>) -> Option<T> {
    match read {
        Ok(value) => {
            assert_eq!(response.status, 200);
            assert!(is_object(&response.body));
            Some(value)
        }
        Err(error) => {
            let is_trouble = matches!(error, api::Error::Trouble { .. });
            assert!(is_trouble || (response.status < 500 && response.status != 429));
            assert_told(&error);
            None
        }
    }
}

fn detail_laws(response: &Response, issue: &Issue) {
    match api::detail(response, issue) {
        Ok(None) => assert_eq!(response.body.trim_ascii(), b"null"),
        detail => {
            if let Some(Some(detail)) = read(response, detail) {
                let says = |what: &str| stands_in(&response.body, what);
                assert!(says(issue.hash().as_str()) && says(&detail.height.to_string()));
                if detail.body != api::Body::Neighbour {
                    assert!(says("500000000") && says("3"));
                }
            }
        }
    }
}

fn prevalidation_laws(response: &Response, issue: &Issue) {
    match api::prevalidation(response, &issue.hash()) {
        Ok(said) => {
            assert!(is_object(&response.body));
            let status = match said {
                api::Prevalidation::Good { .. } => 200,
                api::Prevalidation::AlreadyCommitted => 202,
                api::Prevalidation::NeedsSignatures { .. } => 400,
                api::Prevalidation::Refused { reason } => {
                    assert_line(&reason);
                    400
                }
            };
            assert_eq!(response.status, status);
        }
        Err(error) => assert_told(&error),
    }
}

fn submission_laws(response: &Response, issue: &Issue) {
    let said = api::submission(response, &issue.hash());
    assert_line(&said.to_string());
    let statuses: &[u16] = match said {
        api::Submission::InBlock => &[200],
        api::Submission::AlreadyCommitted => &[202],
        api::Submission::Refused { .. } => &[400],
        api::Submission::NotSent { .. } => &[400, 500],
        api::Submission::Unknown { .. } => return,
    };
    assert!(statuses.contains(&response.status) && is_object(&response.body));
    if response.status < 400 {
        assert!(stands_in(&response.body, issue.hash()));
    }
}

fn an_identity(seed: u8) -> Identity {
    Identity::new(PrivateKey::from_ed25519_seed(&[seed; 32])).expect("it is a usable one")
}

/// Noise: the bytes as a first message, as an answer to one, as a message after the handshake, and as the content of a
/// proper one.
fn noise(bytes: &[u8]) {
    static SIDES: LazyLock<[Identity; 2]> = LazyLock::new(|| [an_identity(1), an_identity(2)]);
    let [signer, integration] = &*SIDES;
    if let Err(error) = Hail::receive(integration, bytes) {
        assert_told(&error);
    }
    let start = || Initiator::start(signer, integration.public()).expect("both are usable");
    let (initiator, first) = start();
    let hail = Hail::receive(integration, &first).expect("it is meant for us");
    let remote = identity::x25519_public(signer.public()).expect("it is usable");
    assert_eq!(
        (hail.remote(), hail.named()),
        (&remote, Some(signer.public()))
    );
    let (mut ours, reply) = hail.reply().expect("it is short");
    let mut theirs = initiator.finish(&reply).expect("it is the answer");
    let (other, _) = start();
    match other.finish(bytes) {
        Ok(_) => panic!("nobody answered this"),
        Err(error) => assert_told(&error),
    }
    match ours.open(bytes) {
        Ok(_) => panic!("nobody sealed this"),
        Err(error) => assert_told(&error),
    }
    transport_laws(&mut ours, &mut theirs, &lossy(bytes));
}

/// A strange message before it does not keep a proper one from being opened, and one changed bit does.
fn transport_laws(ours: &mut Transport, theirs: &mut Transport, text: &str) {
    let Ok(sealed) = theirs.seal(text) else {
        assert!(text.len() + 16 > 65_535);
        return;
    };
    let mut changed = sealed.clone();
    changed[text.len() / 2] ^= 1;
    assert!(ours.open(&changed).is_err());
    assert_eq!(ours.open(&sealed).expect("it is theirs"), text.as_bytes());
    assert!(ours.open(&sealed).is_err(), "it was opened twice");
}

/// What the signer reads, and what it signs of it.
fn to_signer(bytes: &[u8]) {
    match ToSigner::parse(bytes) {
        Ok(message) => {
            assert!(is_object(bytes));
            let again = ToSigner::parse(message.to_json().as_bytes()).expect("its own JSON");
            assert_eq!(again, message);
            if let ToSigner::SignTx(request) = message {
                signing_laws(&request);
            }
        }
        Err(error) => assert_told(&error),
    }
}

fn signing_laws(request: &SignTx) {
    let most = Napu::NDAU;
    let policy = Policy {
        max_issue_per_tx: Some(most),
        max_issue_per_day: Some(most),
        ..Policy::default()
    };
    let issue = match read_issue(request) {
        Ok(issue) => issue,
        Err(message) => return assert_line(&message),
    };
    assert_eq!(request.tx_type, "Issue");
    if let Err(refusal) = policy.judge(&issue, Rc::from([]), &[], 0) {
        return assert_line(&refusal.to_string());
    }
    assert!(issue.quantity() <= most);
    let keys = asked_for(HELD.iter(), request);
    for (key, signature) in sign(&issue, &keys, &|| false).unwrap_or_default() {
        assert!(request.signing_keys.contains(&key));
        assert!(key.verifies(&issue.signable_bytes(), &signature));
    }
}

/// What the integration reads.
fn from_signer(bytes: &[u8]) {
    match FromSigner::parse(bytes) {
        Ok(message) => {
            assert!(is_object(bytes));
            let again = FromSigner::parse(message.to_json().as_bytes()).expect("its own JSON");
            assert_eq!(again, message);
        }
        Err(error) => assert_told(&error),
    }
}

/// Where the listener listens, and where the exchange is.
fn endpoint(bytes: &[u8]) {
    let text = lossy(bytes);
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint.clone()));
            assert!(endpoint.path().starts_with('/'));
        }
        Err(error) => assert_told(&error),
    }
    match parse_endpoint(&text) {
        Ok(base) => {
            assert_eq!(
                parse_endpoint(&base),
                Ok(base.clone()),
                "{base} is one form of many"
            );
            let url: ureq::http::Uri = format!("{base}/path?query").parse().expect("an address");
            assert_eq!(url.query(), Some("query"));
            assert!(url.path().ends_with("/path") && !base.contains('@'));
            let loopback = ["localhost", "127.", "[::1]"];
            let host = url.host().expect("a host").to_ascii_lowercase();
            let is_here = loopback.iter().any(|here| host.starts_with(here));
            assert!(url.scheme_str() == Some("https") || is_here, "{base}");
        }
        Err(problem) => assert_line(problem),
    }
}

/// `cursor.json`.
fn cursor_file(bytes: &[u8]) {
    if let Ok(cursor) = cursor::parse(bytes) {
        assert_eq!(cursor::parse(&cursor::print(&cursor)), Ok(cursor));
    }
}

/// `pending.json`.
fn pending_file(bytes: &[u8]) {
    let Ok(pending) = pending::parse(bytes) else {
        return;
    };
    assert_eq!(
        pending::parse(&pending::print(&pending)).as_ref(),
        Ok(&pending)
    );
    assert!(!pending.candidates.is_empty());
    for candidate in &pending.candidates {
        let (issued, rest) = pending.split(candidate);
        let sum = Napu::sum(issued.iter().map(|sale| sale.quantity));
        assert_eq!(sum, Some(candidate.issue.quantity()));
        let all = pending.batch.sales().len() + pending.left.len();
        assert_eq!(issued.len() + rest.len(), all);
    }
}

/// `ledger.jsonl`.
fn ledger(bytes: &[u8]) {
    let Ok(ledger) = Ledger::parse(bytes) else {
        return;
    };
    let whole = &bytes[..ledger.whole()];
    assert_eq!(ledger.torn(), whole.len() < bytes.len());
    let untorn = Ledger::parse(whole).expect("its whole lines");
    assert_eq!((untorn.entries(), untorn.torn()), (ledger.entries(), false));
    let mut printed = Vec::new();
    let mut sold = BTreeSet::new();
    for line in ledger.lines() {
        let so_far = Ledger::parse(&printed).expect("its own lines");
        let entry = match line {
            Line::Issue(entry) => entry,
            Line::Decision(decision) => {
                printed.extend(so_far.print_decision(decision));
                continue;
            }
        };
        printed.extend(so_far.print(entry));
        let sum = Napu::sum(entry.sales.iter().map(|sale| sale.quantity));
        assert_eq!(sum, Some(entry.issue.quantity()));
        for sale in &entry.sales {
            assert!(
                sold.insert((entry.dialect.to_string(), sale.id)),
                "issued twice"
            );
        }
    }
    let again = Ledger::parse(&printed).expect("its own lines");
    assert_eq!(again.entries(), ledger.entries());
    assert_eq!(again.decisions(), ledger.decisions());
}

/// The exchange's key file.
fn apikey(bytes: &[u8]) {
    let text = lossy(bytes);
    match Key::parse(Path::new("key"), &text) {
        Ok(key) => {
            assert_eq!(key.fingerprint().len(), 16);
            assert_eq!(
                parse_endpoint(key.endpoint()).as_deref(),
                Ok(key.endpoint())
            );
            assert_hidden_in_debug(&format!("{key:?}"));
        }
        Err(error) => {
            assert_told(&error);
            let told = format!("{} {error:?}", chain(&error));
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            for word in text.split(|c| !is_part(c)) {
                assert!(!tells(&told, word, 17, ""), "told {told:?}");
            }
        }
    }
}

fn assert_hidden_in_debug(debug: &str) {
    for field in ["access", "secret", "memo"] {
        assert!(debug.contains(&format!("{field}: [secret]")), "{debug}");
    }
}

/// `identity.toml`.
fn identity_file(bytes: &[u8]) {
    let text = lossy(bytes);
    match identity::parse(&text) {
        Ok(key) => {
            let printed = identity::pair_toml(&key);
            let again = identity::parse(printed.expose()).expect("its own text");
            assert_eq!(again.public(), key.public());
            match Identity::new(key) {
                Ok(identity) => assert!(!format!("{identity:?}").contains("npvt")),
                Err(error) => assert_keys_kept(&error, &text),
            }
        }
        Err(error) => assert_keys_kept(&error, &text),
    }
}

/// The signing service's log.
fn signing_log_file(bytes: &[u8]) {
    let (mut entries, mut whole) = (Vec::new(), 0);
    let mut reader = signing_log::Reader::new(bytes);
    while let Ok(Some(entry)) = reader.next() {
        whole += reader.line().len();
        entries.push(entry);
    }
    assert!(
        reader.torn() == 0
            || whole + usize::try_from(reader.torn()).expect("it is in memory") == bytes.len()
    );
    for entry in &entries {
        let signed = matches!(entry.verdict, signing_log::Verdict::Signed(_));
        assert_eq!(entry.signed().is_some(), signed);
    }
    // What was read can be written, and is then the same.
    let mut printed = Vec::new();
    let mut tail = signing_log::Tail::start();
    for entry in &entries {
        let line = signing_log::print(entry, &tail.hash);
        tail = tail.after(&line);
        printed.extend(line);
    }
    let mut again = signing_log::Reader::new(&printed[..]);
    for entry in entries {
        assert_eq!(again.next().expect("its own line"), Some(entry));
    }
    assert_eq!((again.next().expect("nothing"), again.torn()), (None, 0));
}

/// `sigconfig.toml`.
fn sigconfig_file(bytes: &[u8]) {
    let text = lossy(bytes);
    match sigconfig::parse(&text) {
        Ok(config) => {
            assert!(!config.keys.is_empty() && !config.connections.is_empty());
            let mut keys: Vec<&PublicKey> = config.keys.iter().map(|key| key.public()).collect();
            keys.push(config.client.public());
            for (at, key) in keys.iter().enumerate() {
                assert!(!keys[..at].contains(key), "one key has two uses");
            }
            for connection in &config.connections {
                assert!(!keys.contains(&&connection.server_key));
            }
            let told = format!("{:?} {:?}", config.client, config.keys);
            assert!(!told.contains("npvt"), "told {told}");
        }
        Err(sigconfig::Wrong::Content(error)) => assert_keys_kept(&error, &text),
        Err(sigconfig::Wrong::Identity(error)) => assert_keys_kept(&error, &text),
    }
}

fn assert_keys_kept(error: &dyn StdError, text: &str) {
    assert_told(error);
    assert_no_private_key(&format!("{} {error:?}", chain(error)), text);
}

/// `issuer.toml`.
fn issuer_toml(bytes: &[u8]) {
    let text = lossy(bytes);
    match Config::parse(Path::new("bitmart/issuer.toml"), &text) {
        Ok(config) => {
            assert!(!config.ndau.api.is_empty());
            assert!(config.ndau.api.iter().all(|url| !url.ends_with('/')));
            let keys = config.ndau.signing_keys.as_ref().map_or(16, Vec::len);
            assert!(
                config
                    .ndau
                    .signatures
                    .is_none_or(|count| (1..=keys).contains(&count))
            );
        }
        Err(error) => assert_no_private_key(&format!("{} {error:?}", chain(&error)), &text),
    }
}

/// A time in `issuer.toml`.
fn duration(bytes: &[u8]) {
    let least = Duration::from_millis(100);
    if let Ok(time) = config::duration(&lossy(bytes), least) {
        assert!((least..=Duration::from_millis(DAY_MS)).contains(&time));
    }
}

/// Exports: what is accepted reads back as it prints, and its answers give a history or say why not.
fn export(bytes: &[u8]) {
    match Recording::parse(bytes) {
        Ok(recording) => {
            let again = Recording::parse(&recording.print()).expect("its own content");
            assert_eq!(again, recording);
            match recording.history() {
                Ok(history) => assert_eq!(history.dialect, recording.dialect),
                Err(error) => assert_told(&error),
            }
        }
        Err(error) => assert_told(&error),
    }
}

/// Lists of trades.
fn trade_list(bytes: &[u8]) {
    match parse_list(bytes, "XND_USDT") {
        Ok(list) => {
            let keys = |at: usize| (list.trades[at].time_ms, list.trades[at].id);
            assert!((1..list.trades.len()).all(|at| keys(at - 1) < keys(at)));
        }
        Err(error) => assert_told(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::PathBuf;

    /// How many mutations of each target's corpus are tried. `HOSTILE_MUTATIONS` asks for more.
    const MUTATIONS: usize = 500;
    /// A handshake takes so many times as long as anything else.
    const HANDSHAKE: usize = 20;

    /// What parsers stumble over.
    const PIECES: [&str; 24] = [
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "-",
        "0",
        "1e999",
        "9223372036854775808",
        ".",
        "\\u0000",
        "\n",
        "\0",
        "\u{feff}",
        "é",
        "npub",
        "npvt",
        "true",
        "[[",
        "\\",
        "---",
    ];

    /// A small generator of numbers, the same on every machine.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let end = u64::try_from(end.max(1)).unwrap();
            usize::try_from(self.0 % end).unwrap()
        }

        /// One to four changes of `input`, which may take parts of `other`.
        fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
            let mut bytes = input.to_vec();
            for _ in 0..=self.below(4) {
                self.change(&mut bytes, other);
            }
            bytes
        }

        fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1).min(1 + self.below(40));
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = PIECES[self.below(PIECES.len())];
                    bytes.splice(at..at, piece.bytes());
                }
                3 => {
                    let from = self.below(other.len() + 1);
                    let to = from + self.below(other.len() - from + 1);
                    bytes.splice(at..end, other[from..to].iter().copied());
                }
                4 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                5 => self.change_like(bytes, u8::is_ascii_digit, b"0123456789"),
                6 => self.change_like(bytes, u8::is_ascii_punctuation, b"\"'{}[]():,.=#-"),
                _ => {
                    let bit = self.below(8);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
            }
        }

        /// Puts one of `others` in the place of a byte of its kind.
        fn change_like(&mut self, bytes: &mut [u8], kind: fn(&u8) -> bool, others: &[u8]) {
            let places: Vec<usize> = (0..bytes.len()).filter(|at| kind(&bytes[*at])).collect();
            if let Some(place) = places.get(self.below(places.len())) {
                bytes[*place] = others[self.below(others.len())];
            }
        }
    }

    fn corpus() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
    }

    /// The files in `folder`, by name.
    fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|file| {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect();
        inputs.sort();
        inputs
    }

    /// What to say of `input` if a law does not hold of it.
    fn attempt(name: &str, what: &str, input: &[u8]) -> Option<String> {
        let broken = catch_unwind(|| run(name, input)).is_err();
        broken.then(|| format!("{name}, {what}: {:?}", lossy(input)))
    }

    #[test]
    fn no_input_breaks_a_law() {
        let most = std::env::var("HOSTILE_MUTATIONS")
            .map_or(MUTATIONS, |text| text.parse().expect("a number"));
        let mut broken = Vec::new();
        for (name, _) in TARGETS {
            let mutations = if name == "noise" {
                most / HANDSHAKE
            } else {
                most
            };
            let inputs = inputs(&corpus().join(name));
            assert!(!inputs.is_empty(), "{name} has no corpus");
            let as_kept = inputs.iter();
            broken.extend(as_kept.filter_map(|(file, input)| attempt(name, file, input)));
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
            broken.extend((0..mutations).filter_map(|at| {
                let (file, input) = &inputs[at % inputs.len()];
                let other = &inputs[dice.below(inputs.len())].1;
                let mutated = dice.mutate(input, other);
                attempt(name, &format!("mutation {at} of {file}"), &mutated)
            }));
            println!(
                "fuzz: {name}: {} inputs and {mutations} mutations",
                inputs.len()
            );
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    /// What is refused at the door shows nothing of what lies behind it: when a format changes, so must these.
    #[test]
    fn the_corpus_still_reaches_what_lies_behind_the_parsers() {
        let read = |file: &str| fs::read(corpus().join(file)).unwrap();
        let text = |file: &str| String::from_utf8(read(file)).unwrap();
        cursor::parse(&read("cursor/used")).unwrap();
        pending::parse(&read("pending/signed")).unwrap();
        Ledger::parse(&read("ledger/two-lines")).unwrap();
        for export in ["export/v2", "export/v4"] {
            let history = Recording::parse(&read(export)).unwrap().history().unwrap();
            assert_eq!(history.trades.len(), 4);
        }
        assert!(
            parse_list(&read("trade_list/numbered"), "XND_USDT")
                .unwrap()
                .numbered
        );
        let decided = Ledger::parse(&read("ledger/decisions")).unwrap();
        assert_eq!(decided.decisions().len(), 5);
        for (file, lines) in [("signed-and-refused", 3), ("no-issue", 1)] {
            let log = read(&format!("signing_log/{file}"));
            let mut reader = signing_log::Reader::new(&log[..]);
            while reader.next().unwrap().is_some() {}
            assert_eq!(reader.tail().lines, lines, "{file}");
        }
        identity::parse(&text("identity/good")).unwrap();
        for file in ["policy", "command", "key-elsewhere"] {
            assert!(sigconfig::parse(&text(&format!("sigconfig/{file}"))).is_ok());
        }
        Config::parse(Path::new("issuer.toml"), &text("issuer_toml/full")).unwrap();
        Key::parse(Path::new("key"), &text("apikey/good")).unwrap();
        FromSigner::parse(&read("from_signer/signatures")).unwrap();
        let Ok(ToSigner::SignTx(request)) = ToSigner::parse(&read("to_signer/sign_tx-by-our-keys"))
        else {
            panic!("it is a request");
        };
        let issue = read_issue(&request).unwrap();
        let signatures = sign(&issue, &asked_for(HELD.iter(), &request), &|| false).unwrap();
        assert_eq!(signatures.len(), 2);
    }

    #[test]
    fn every_folder_of_the_corpus_and_every_fuzzer_has_a_target() {
        let names = |folder: &Path| -> BTreeSet<String> {
            let entries = fs::read_dir(folder).unwrap();
            let name = |entry: fs::DirEntry| {
                let path = entry.path();
                path.file_stem().unwrap().to_str().unwrap().to_owned()
            };
            entries.map(|entry| name(entry.unwrap())).collect()
        };
        let targets: BTreeSet<String> =
            TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&corpus()), targets);
        assert_eq!(names(&corpus().join("../fuzz_targets")), targets);
    }
}
