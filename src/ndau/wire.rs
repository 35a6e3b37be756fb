//! The JSON of ndauapi as it is, and what it means. Pure: responses in, values or refusals out.
//!
//! From ndau's `pkg/ndauapi/{routes,reqres}`; checked against answers recorded from a real node.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::address::Address;
use super::issue::{Issue, TxHash};
use super::key::PublicKey;
use crate::clock::from_utc;
use crate::http::Response;
use crate::napu::Napu;
use crate::quote::excerpt;

/// The system variable that names the account whose transactions may issue.
pub const ISSUER_VARIABLE: &str = "ReleaseFromEndowmentAddress";

/// Why an answer is not used.
#[derive(Debug)]
pub enum Error {
    /// The node says that it, or what is behind it, is in trouble: another node or another time.
    Trouble {
        /// The HTTP status.
        status: u16,
        /// The start of what it said.
        said: String,
    },
    /// Not an answer to what was asked. Nothing is guessed from it.
    Strange {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Trouble { status, said } => {
                write!(f, "the node is in trouble (HTTP {status}): {said}")
            }
            Error::Strange { status, what } => {
                write!(
                    f,
                    "an answer that this program does not understand (HTTP {status}): {what}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// What the chain knows of the issuer's account.
#[derive(Debug, Clone)]
pub struct Account {
    /// The last sequence that was used; the next transaction needs a higher one.
    pub sequence: u64,
    /// Any of these may sign, in the account's order.
    pub validation_keys: Vec<PublicKey>,
    /// What can be spent on fees: the balance less what is held.
    pub available: Napu,
}

/// The chain's totals. `issued` trails the block of an `Issue` by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// How much was released for issuing, ever.
    pub released: Napu,
    /// How much of it has been issued.
    pub issued: Napu,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The name of the network, the one thing that tells networks apart.
    pub network: String,
    /// The newest block that it has.
    pub height: u64,
    /// It is still catching up with the others.
    pub catching_up: bool,
}

/// What the node's index holds under a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// The block. This is right even where `body` is not.
    pub height: u64,
    /// What the body says, which can be that of a neighbour in the same block.
    pub body: Body,
}

/// Whose numbers the body of a [`Detail`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// An `Issue` with the numbers that the hash stands for.
    Ours,
    /// Another type with the numbers that the hash stands for: a foreign transaction.
    Foreign,
    /// Other numbers: a neighbour's body, which says nothing about this transaction.
    Neighbour,
}

/// What prevalidation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prevalidation {
    /// It would be applied now.
    Good {
        /// What it costs.
        fee: Napu,
    },
    /// Everything but the signatures was found good: what an unsigned one gets.
    NeedsSignatures {
        /// What it costs.
        fee: Napu,
    },
    /// Some transaction with this hash is on the chain already.
    AlreadyCommitted,
    /// The chain's rules say no.
    Refused {
        /// In the chain's words.
        reason: String,
    },
}

/// What became of a submission as far as the answer tells. None of them says that the `Issue` was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// 200: it was in a block, and was applied or failed there.
    InBlock,
    /// 202: some transaction with this hash was committed before.
    AlreadyCommitted,
    /// 400 with a log: refused before it was in a block.
    Refused {
        /// In the chain's words.
        reason: String,
    },
    /// The node could not hand it on: it never got anywhere.
    NotSent {
        /// In the node's words.
        reason: String,
    },
    /// Anything else, a time-out and a cut connection among them: it may still be applied.
    Unknown {
        /// What was seen.
        what: String,
    },
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Submission::InBlock => f.write_str("the node said that it is in a block"),
            Submission::AlreadyCommitted => {
                f.write_str("the node said that its hash was committed before")
            }
            Submission::Refused { reason } => write!(f, "the node refused it: {reason}"),
            Submission::NotSent { reason } => write!(f, "the node did not hand it on: {reason}"),
            Submission::Unknown { what } => write!(f, "the node gave no clear answer: {what}"),
        }
    }
}

fn strange(response: &Response, what: impl Into<String>) -> Error {
    Error::Strange {
        status: response.status,
        what: excerpt(&what.into()),
    }
}

/// A derived reader takes a list for its fields in order; no node writes one.
fn is_list(response: &Response) -> bool {
    response.body.trim_ascii_start().first() == Some(&b'[')
}

/// The body as `T`, which no node writes as a list, if the status is one of `statuses`.
fn read<T: DeserializeOwned>(response: &Response, statuses: &[u16]) -> Result<T, Error> {
    if is_list(response) && response.status < 500 {
        return Err(strange(response, "a list where an object belongs"));
    }
    read_any(response, statuses)
}

/// The body as `T`, if the status is one of `statuses`.
fn read_any<T: DeserializeOwned>(response: &Response, statuses: &[u16]) -> Result<T, Error> {
    if response.status >= 500 || response.status == 429 {
        return Err(Error::Trouble {
            status: response.status,
            said: response.excerpt(),
        });
    }
    if !statuses.contains(&response.status) {
        return Err(strange(response, response.excerpt()));
    }
    if response.body.is_empty() {
        // Price queries say so that the application behind the node is unreachable.
        return Err(Error::Trouble {
            status: response.status,
            said: "an empty body".to_owned(),
        });
    }
    serde_json::from_slice(&response.body)
        .map_err(|error| strange(response, format!("{error}: {}", response.excerpt())))
}

fn napu(response: &Response, field: &str, napu: i64) -> Result<Napu, Error> {
    u64::try_from(napu)
        .ok()
        .and_then(Napu::new)
        .ok_or_else(|| strange(response, format!("{field} is negative: {napu}")))
}

/// GET /system/get/ReleaseFromEndowmentAddress.
pub fn issuer(response: &Response) -> Result<Address, Error> {
    // An address is a one-element list; an unknown variable is an empty text.
    let variables: BTreeMap<String, serde_json::Value> = read(response, &[200])?;
    let text = variables
        .get(ISSUER_VARIABLE)
        .and_then(|value| value.as_array())
        .and_then(|list| match list.as_slice() {
            [serde_json::Value::String(text)] => Some(text),
            _ => None,
        })
        .ok_or_else(|| {
            strange(
                response,
                format!("{ISSUER_VARIABLE} is not set on this network"),
            )
        })?;
    Address::parse(text).map_err(|error| strange(response, format!("{ISSUER_VARIABLE}: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAccount {
    balance: i64,
    validation_keys: Option<Vec<String>>,
    sequence: u64,
    holds: Option<Vec<WireHold>>,
}

#[derive(Deserialize)]
struct WireHold {
    qty: i64,
}

/// GET /account/account/:address.
pub fn account(response: &Response, address: &Address) -> Result<Account, Error> {
    let mut accounts: BTreeMap<String, WireAccount> = read(response, &[200])?;
    let account = accounts.remove(address.as_str()).ok_or_else(|| {
        strange(
            response,
            format!("the issuer's account {address} is not on this network"),
        )
    })?;
    let balance = napu(response, "balance", account.balance)?;
    let held = account
        .holds
        .unwrap_or_default()
        .iter()
        .map(|hold| napu(response, "holds.qty", hold.qty))
        .collect::<Result<Vec<_>, _>>()?;
    let held = Napu::sum(held).ok_or_else(|| strange(response, "the holds overflow"))?;
    let validation_keys = account
        .validation_keys
        .unwrap_or_default()
        .iter()
        .map(|text| {
            PublicKey::parse(text)
                .map_err(|error| strange(response, format!("validation key {text}: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Account {
        sequence: account.sequence,
        validation_keys,
        available: balance.checked_sub(held).unwrap_or(Napu::ZERO),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePrice {
    total_released: i64,
    total_issued: i64,
}

/// GET /price/current.
pub fn totals(response: &Response) -> Result<Totals, Error> {
    let price: WirePrice = read(response, &[200])?;
    Ok(Totals {
        released: napu(response, "totalReleased", price.total_released)?,
        issued: napu(response, "totalIssued", price.total_issued)?,
    })
}

#[derive(Deserialize)]
struct WireStatus {
    node_info: WireNode,
    sync_info: WireSync,
}

#[derive(Deserialize)]
struct WireNode {
    network: String,
}

#[derive(Deserialize)]
struct WireSync {
    latest_block_height: u64,
    catching_up: bool,
}

/// GET /node/status.
pub fn status(response: &Response) -> Result<Status, Error> {
    let status: WireStatus = read(response, &[200])?;
    Ok(Status {
        network: status.node_info.network,
        height: status.sync_info.latest_block_height,
        catching_up: status.sync_info.catching_up,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireDetail {
    block_height: u64,
    tx_hash: String,
    tx_type: String,
    tx_data: serde_json::Value,
}

/// GET /transaction/detail/:hash, asked about the hash of `issue`.
pub fn detail(response: &Response, issue: &Issue) -> Result<Option<Detail>, Error> {
    let Some(detail) = read::<Option<WireDetail>>(response, &[200])? else {
        return Ok(None);
    };
    let hash = issue.hash();
    if detail.tx_hash != hash.as_str() {
        return Err(strange(
            response,
            format!("asked about {hash}, told about {}", detail.tx_hash),
        ));
    }
    let field = |name: &str| detail.tx_data.get(name).and_then(serde_json::Value::as_u64);
    let body = if detail.tx_type == "Issue" {
        let ours = field("qty") == Some(issue.quantity().get())
            && field("sequence") == Some(issue.sequence());
        if ours { Body::Ours } else { Body::Neighbour }
    } else {
        // The other type known to collide; a type unknown to us with our two numbers is foreign all the same.
        let numbers: Option<Vec<u64>> = detail.tx_data.as_object().map(|fields| {
            let signed = fields
                .iter()
                .filter(|(name, _)| !name.to_ascii_lowercase().starts_with("signature"));
            signed.filter_map(|(_, value)| value.as_u64()).collect()
        });
        let same = numbers.is_some_and(|mut numbers| {
            numbers.sort_unstable();
            let mut ours = [issue.quantity().get(), issue.sequence()];
            ours.sort_unstable();
            numbers == ours
        });
        if same { Body::Foreign } else { Body::Neighbour }
    };
    Ok(Some(Detail {
        height: detail.block_height,
        body,
    }))
}

/// An applied transaction of which no more than the hash was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The block.
    pub height: u64,
    /// The `Issue`, if it is one. Since the numbers must give the hash, a neighbour's body is never taken for it.
    pub issue: Option<Issue>,
    /// The sequence that the body shows: of an `Issue` only its own, of another type perhaps a neighbour's.
    pub sequence: Option<u64>,
}

/// GET /transaction/detail/:hash, asked about a hash of which nothing more is known.
pub fn standing(response: &Response, hash: &str) -> Result<Option<Standing>, Error> {
    let Some(detail) = read::<Option<WireDetail>>(response, &[200])? else {
        return Ok(None);
    };
    if detail.tx_hash != hash {
        return Err(strange(
            response,
            format!("asked about {hash}, told about {}", detail.tx_hash),
        ));
    }
    let field = |name: &str| detail.tx_data.get(name).and_then(serde_json::Value::as_u64);
    let is_issue = detail.tx_type == "Issue";
    let numbers = is_issue
        .then(|| Some((Napu::new(field("qty")?)?, field("sequence")?)))
        .flatten();
    let issue = numbers
        .and_then(|(quantity, sequence)| Issue::new(quantity, sequence).ok())
        .filter(|issue| issue.hash().as_str() == hash);
    Ok(Some(Standing {
        height: detail.block_height,
        issue,
        sequence: match issue {
            Some(issue) => Some(issue.sequence()),
            None if is_issue => None,
            None => field("sequence"),
        },
    }))
}

/// GET /block/transactions/:height: the hashes of all transactions of a block, those that failed in it included.
pub fn block(response: &Response) -> Result<Vec<String>, Error> {
    Ok(read_any::<Option<Vec<String>>>(response, &[200])?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireHistory {
    items: Option<Vec<WireItem>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireItem {
    height: u64,
    tx_hash: String,
    timestamp: String,
}

/// An applied transaction of an account, as the index lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The block.
    pub height: u64,
    /// The block's time, in milliseconds since the epoch.
    pub time_ms: u64,
    /// The transaction's hash.
    pub hash: String,
}

/// How many items of an account's history are asked for.
pub const HISTORY_ITEMS: usize = 100;

/// GET /account/history/:address: the account's applied transactions, oldest first.
pub fn history(response: &Response) -> Result<Vec<Move>, Error> {
    let history: WireHistory = read(response, &[200])?;
    let items = history.items.unwrap_or_default().into_iter();
    items
        .map(|item| {
            let time_ms = from_utc(&item.timestamp)
                .ok_or_else(|| strange(response, format!("no time: {:?}", item.timestamp)))?;
            Ok(Move {
                height: item.height,
                time_ms,
                hash: item.tx_hash,
            })
        })
        .collect()
}

#[derive(Deserialize)]
struct WireResult {
    #[serde(default)]
    fee_napu: i64,
    #[serde(default)]
    err: Option<String>,
    #[serde(default)]
    msg: Option<String>,
    #[serde(default)]
    log: Option<String>,
    #[serde(default)]
    hash: Option<String>,
}

fn about(response: &Response, result: &WireResult, hash: &TxHash) -> Result<(), Error> {
    match &result.hash {
        Some(theirs) if theirs != hash.as_str() => Err(strange(
            response,
            format!("the node computes the hash {theirs} where ours is {hash}"),
        )),
        _ => Ok(()),
    }
}

/// POST /tx/prevalidate/Issue.
pub fn prevalidation(response: &Response, hash: &TxHash) -> Result<Prevalidation, Error> {
    let result: WireResult = read(response, &[200, 202, 400])?;
    about(response, &result, hash)?;
    let fee = napu(response, "fee_napu", result.fee_napu)?;
    match (response.status, result.err, result.msg) {
        (200, None, _) if result.hash.is_some() => Ok(Prevalidation::Good { fee }),
        (202, _, _) => Ok(Prevalidation::AlreadyCommitted),
        (400, Some(err), _) => {
            let reason = err
                .strip_prefix("validating transactable: ")
                .unwrap_or(&err);
            if reason == "invalid signature(s): []" {
                Ok(Prevalidation::NeedsSignatures { fee })
            } else {
                Ok(Prevalidation::Refused {
                    reason: excerpt(reason),
                })
            }
        }
        _ => Err(strange(response, response.excerpt())),
    }
}

/// POST /tx/submit/Issue. Whatever is not known to be one of the definite answers is `Unknown`.
pub fn submission(response: &Response, hash: &TxHash) -> Submission {
    let unknown = |what: &str| Submission::Unknown {
        what: format!("HTTP {}: {what}", response.status),
    };
    if is_list(response) {
        return unknown("a list where an object belongs");
    }
    let Ok(result) = serde_json::from_slice::<WireResult>(&response.body) else {
        return unknown(&response.excerpt());
    };
    if let Err(error) = about(response, &result, hash) {
        return unknown(&error.to_string());
    }
    let reason = |text: &str| excerpt(text);
    match (response.status, result.log, result.msg.unwrap_or_default()) {
        (200, _, _) if result.hash.is_some() => Submission::InBlock,
        (202, _, _) if result.hash.is_some() => Submission::AlreadyCommitted,
        (400, Some(log), _) => Submission::Refused {
            reason: reason(&log),
        },
        (400, None, msg) if msg.starts_with("tx.Data did not unmarshal") => Submission::NotSent {
            reason: reason(&msg),
        },
        (500, None, msg) if msg.starts_with("txhash search failed") => Submission::NotSent {
            reason: reason(&msg),
        },
        (_, _, msg) => unknown(&reason(&msg)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::group;
    use serde_json::Value;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// Every recorded exchange: its name, path, request body and response.
    fn recorded() -> Vec<(String, String, String, Response)> {
        let groups = group("ndauapi_recorded.json", "groups");
        let exchanges = groups
            .iter()
            .flat_map(|group| group["exchanges"].as_array().unwrap());
        exchanges
            .filter_map(|exchange| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let status = u16::try_from(exchange["response"]["status"].as_u64()?).unwrap();
                Some((
                    text(&exchange["name"]),
                    text(&exchange["request"]["path"]),
                    text(&exchange["request"]["body"]),
                    response(status, &text(&exchange["response"]["body"])),
                ))
            })
            .collect()
    }

    fn issue_of(body: &str) -> Option<Issue> {
        let body: Value = serde_json::from_str(body).ok()?;
        Issue::new(
            Napu::new(body["qty"].as_u64()?)?,
            body["sequence"].as_u64()?,
        )
        .ok()
    }

    #[test]
    fn a_list_is_no_answer_and_a_strange_one_is_told_in_a_short_line() {
        let hash = Issue::new(Napu::NDAU, 1).unwrap().hash();
        let list = response(200, &format!(r#"[0, null, null, null, "{hash}"]"#));
        let said = submission(&list, &hash);
        assert!(matches!(said, Submission::Unknown { .. }), "{said}");
        assert!(prevalidation(&list, &hash).is_err());
        assert!(totals(&response(200, "[5, 6]")).is_err());

        let other = format!(r#"{{"hash": "a\nb\u001b[31m{}"}}"#, "x".repeat(3000));
        let told = submission(&response(200, &other), &hash).to_string();
        assert!(
            !told.contains(char::is_control) && told.len() < 500,
            "{told}"
        );
    }

    #[test]
    fn recorded_answers_are_understood() {
        let mut understood = 0;
        for (name, path, body, response) in recorded() {
            let ok = response.status == 200;
            if path.starts_with("/system/get/") && path.ends_with(ISSUER_VARIABLE) {
                assert_eq!(issuer(&response).is_ok(), ok, "{name}");
            } else if path.starts_with("/system/get/") {
                assert!(issuer(&response).is_err(), "{name}");
            } else if let Some(address) = path.strip_prefix("/account/account/") {
                if let Ok(address) = Address::parse(address) {
                    let unknown = response.body == b"{}";
                    assert_eq!(
                        account(&response, &address).is_ok(),
                        ok && !unknown,
                        "{name}"
                    );
                }
            } else if path.starts_with("/account/history/") {
                let last = Move {
                    height: 6,
                    time_ms: 1_795_396_354_480,
                    hash: "5q1jqafoXj5QjZ4e8Smn_Q".to_owned(),
                };
                assert_eq!(history(&response).unwrap().last(), Some(&last), "{name}");
            } else if path == "/price/current" {
                assert_eq!(
                    totals(&response).is_ok(),
                    ok && !response.body.is_empty(),
                    "{name}"
                );
            } else if path == "/node/status" {
                assert_eq!(status(&response).is_ok(), ok, "{name}");
            } else if let Some(hash) = path.strip_prefix("/transaction/detail/") {
                if hash.len() == 22 && ok && response.body != b"null" {
                    let answer: Value = serde_json::from_slice(&response.body).unwrap();
                    let ours = issue_of(&answer["TxData"].to_string());
                    let Some(ours) = ours.filter(|ours| ours.hash().as_str() == hash) else {
                        continue;
                    };
                    assert!(detail(&response, &ours).unwrap().is_some(), "{name}");
                    // Unless it is another type with the same numbers.
                    let found = standing(&response, hash).unwrap().unwrap();
                    assert_eq!(found.height, answer["BlockHeight"], "{name}");
                    assert_eq!(found.sequence, Some(ours.sequence()), "{name}");
                    let expected = (answer["TxType"] == "Issue").then_some(ours);
                    assert_eq!(found.issue, expected, "{name}");
                }
            } else if path.starts_with("/block/transactions/") {
                let hashes = block(&response).unwrap();
                assert_eq!(hashes, ["sqL8c_7QRJPnMW6ZgcLABQ"; 2], "{name}");
            } else if path.eq_ignore_ascii_case("/tx/prevalidate/Issue") {
                let Some(issue) = issue_of(&body) else {
                    continue;
                };
                let ours = prevalidation(&response, &issue.hash());
                assert_eq!(
                    ours.is_err(),
                    response.body.starts_with(b"{\"msg\""),
                    "{name}: {ours:?}"
                );
            } else if path.eq_ignore_ascii_case("/tx/submit/Issue") {
                let Some(issue) = issue_of(&body) else {
                    continue;
                };
                let ours = submission(&response, &issue.hash());
                match response.status {
                    200 => assert_eq!(ours, Submission::InBlock, "{name}"),
                    202 => assert_eq!(ours, Submission::AlreadyCommitted, "{name}"),
                    400 if response.body.windows(6).any(|part| part == b"\"log\":") => {
                        assert!(
                            matches!(ours, Submission::Refused { .. }),
                            "{name}: {ours:?}"
                        );
                    }
                    _ => assert!(
                        matches!(
                            ours,
                            Submission::Unknown { .. } | Submission::NotSent { .. }
                        ),
                        "{name}: {ours:?}"
                    ),
                }
            } else {
                continue;
            }
            understood += 1;
        }
        assert!(understood > 60, "{understood}");
    }

    #[test]
    fn a_recorded_account_is_read() {
        let (_, path, _, response) = recorded()
            .into_iter()
            .find(|(name, ..)| name == "account, three keys")
            .unwrap();
        let address = Address::parse(path.strip_prefix("/account/account/").unwrap()).unwrap();
        let account = account(&response, &address).unwrap();
        assert_eq!(
            (
                account.sequence,
                account.validation_keys.len(),
                account.available
            ),
            (2, 3, Napu::ZERO)
        );
    }

    #[test]
    fn an_unsigned_issue_shows_what_else_is_wrong() {
        let issue = Issue::new(Napu::new(500_000_000).unwrap(), 3).unwrap();
        let (.., unsigned) = recorded()
            .into_iter()
            .find(|(name, ..)| name == "prevalidate: no signatures")
            .unwrap();
        let found = prevalidation(&unsigned, &issue.hash()).unwrap();
        assert_eq!(found, Prevalidation::NeedsSignatures { fee: Napu::ZERO });
    }

    #[test]
    fn a_body_with_our_numbers_under_another_type_is_foreign() {
        let issue = Issue::new(Napu::NDAU, 9).unwrap();
        let with = |tx_type: &str, data: &str| {
            let hash = issue.hash();
            let body = format!(
                r#"{{"BlockHeight":7,"TxOffset":0,"Fee":0,"SIB":0,"TxHash":"{hash}","TxType":"{tx_type}","TxData":{data},"Timestamp":""}}"#
            );
            detail(&response(200, &body), &issue).unwrap().unwrap().body
        };
        assert_eq!(
            with(
                "Issue",
                r#"{"qty":100000000,"sequence":9,"signatures":["a"]}"#
            ),
            Body::Ours
        );
        assert_eq!(
            with(
                "Issue",
                r#"{"qty":100000000,"sequence":8,"signatures":["a"]}"#
            ),
            Body::Neighbour
        );
        assert_eq!(
            with(
                "RecordPrice",
                r#"{"market_price":100000000,"sequence":9,"signatures":[]}"#
            ),
            Body::Foreign
        );
        assert_eq!(
            with(
                "RecordPrice",
                r#"{"market_price":5,"sequence":9,"signatures":[]}"#
            ),
            Body::Neighbour
        );
        assert_eq!(with("Transfer", "null"), Body::Neighbour);
    }

    #[test]
    fn an_answer_about_another_hash_is_strange() {
        let issue = Issue::new(Napu::NDAU, 9).unwrap();
        let other = r#"{"fee_napu":0,"sib_napu":0,"hash":"mFS7ooFjEklas_ALFyZbgQ","code":0}"#;
        assert!(prevalidation(&response(200, other), &issue.hash()).is_err());
        assert!(matches!(
            submission(&response(200, other), &issue.hash()),
            Submission::Unknown { .. }
        ));
    }

    #[test]
    fn trouble_and_nonsense_are_told_apart() {
        assert!(matches!(
            totals(&response(200, "")),
            Err(Error::Trouble { .. })
        ));
        assert!(matches!(
            totals(&response(502, "<html>")),
            Err(Error::Trouble { .. })
        ));
        assert!(matches!(
            totals(&response(200, "<html>")),
            Err(Error::Strange { .. })
        ));
        let negative = r#"{"totalReleased":5,"totalIssued":-1}"#;
        assert!(matches!(
            totals(&response(200, negative)),
            Err(Error::Strange { .. })
        ));
    }
}
