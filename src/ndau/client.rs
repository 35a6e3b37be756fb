//! Asking the nodes of the chain: one node for everything that must agree, all of them where it counts.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::address::Address;
use super::issue::{Issue, SignedIssue};
use super::wire::{
    self, Account, Detail, Move, Prevalidation, Standing, Status, Submission, Totals,
};
use crate::error::Exit;
use crate::http::{self, Http, Request, Response};

/// Reads are quick; a node that needs longer is taken to be down.
const READ: Duration = Duration::from_secs(15);
/// A node keeps a submission waiting for up to 90 s until it is in a block.
const SUBMIT: Duration = Duration::from_secs(120);
/// No issuer's account has had as many transactions, at 100 a page.
const MOST_PAGES: usize = 10_000;
/// No honest answer is near this size.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why the chain could not be asked, or its answer not be used.
#[derive(Debug)]
pub enum Error {
    /// No answer: the node is down, slow, or out of reach.
    NoAnswer(http::Error),
    /// An answer that cannot be used.
    Answer {
        /// The node.
        node: String,
        /// What was asked, without parameters.
        asked: &'static str,
        /// What is wrong.
        source: wire::Error,
    },
    /// The node has not caught up with its network.
    CatchingUp {
        /// The node.
        node: String,
    },
    /// None of the configured nodes can be used. The last one's reason is the cause.
    NoNode(Box<Error>),
}

impl Error {
    /// How a run ends that met this.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NoAnswer(_) | Error::CatchingUp { .. } => Exit::Unavailable,
            Error::Answer {
                source: wire::Error::Trouble { .. },
                ..
            } => Exit::Unavailable,
            Error::Answer {
                source: wire::Error::Strange { .. },
                ..
            } => Exit::BadData,
            Error::NoNode(last) => last.exit(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoAnswer(_) => f.write_str("the chain does not answer"),
            Error::Answer { node, asked, .. } => write!(f, "{node}, asked for {asked}"),
            Error::CatchingUp { node } => write!(f, "{node} has not caught up with its network"),
            Error::NoNode(_) => f.write_str("no configured node of the chain can be used"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::NoAnswer(source) => Some(source),
            Error::Answer { source, .. } => Some(source),
            Error::CatchingUp { .. } => None,
            Error::NoNode(last) => Some(last.as_ref()),
        }
    }
}

/// One node of the chain. What must agree is asked of one and the same.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    http: &'a dyn Http,
    url: &'a str,
}

impl<'a> Node<'a> {
    /// The node at `url`, without a slash at its end.
    pub fn new(http: &'a dyn Http, url: &'a str) -> Node<'a> {
        Node { http, url }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.url
    }

    /// That of `urls` with the newest block, the first of these, with what it said. A node that is down, behind or
    /// frozen is passed over as long as there is a better one.
    pub fn newest(http: &'a dyn Http, urls: &'a [String]) -> Result<(Node<'a>, Status), Error> {
        let mut newest: Option<(Node, Status)> = None;
        let mut last = None;
        for url in urls {
            let node = Node { http, url };
            match node.status() {
                Ok(status) if status.catching_up => {
                    log::warn!("passing over {url}: it has not caught up with its network");
                    last = Some(Error::CatchingUp { node: url.clone() });
                }
                Ok(status) => {
                    if newest
                        .as_ref()
                        .is_none_or(|(_, other)| status.height > other.height)
                    {
                        newest = Some((node, status));
                    }
                }
                Err(error) => {
                    log::warn!("passing over {url}: {}", crate::error::chain(&error));
                    last = Some(error);
                }
            }
        }
        match (newest, last) {
            (Some(newest), _) => Ok(newest),
            (None, Some(last)) => Err(Error::NoNode(Box::new(last))),
            (None, None) => unreachable!("a configuration has at least one node"),
        }
    }

    /// The account whose transactions may issue.
    pub fn issuer(&self) -> Result<Address, Error> {
        let path = format!("/system/get/{}", wire::ISSUER_VARIABLE);
        self.get(&path, "the issuer's address", wire::issuer)
    }

    /// What the chain knows of `address`.
    pub fn account(&self, address: &Address) -> Result<Account, Error> {
        let path = format!("/account/account/{address}");
        self.get(&path, "the issuer's account", |response| {
            wire::account(response, address)
        })
    }

    /// Whether one answer of the index shows that `address` had transactions above `height`, and none of `issues`
    /// among them.
    pub fn moved_without(
        &self,
        address: &Address,
        height: u64,
        issues: &[Issue],
    ) -> Result<bool, Error> {
        let items = self.history(address, height)?;
        let ours = |hash: &str| issues.iter().any(|issue| issue.hash().as_str() == hash);
        Ok(items.len() < wire::HISTORY_ITEMS
            && items.iter().any(|one| one.height > height)
            && !items.iter().any(|one| ours(&one.hash)))
    }

    /// Every applied transaction of `address` above `height`, oldest first. The index answers a page at a
    /// time and cuts pages inside a block, so the last block of a full page is asked for again.
    ///
    /// # Errors
    /// Also when one block holds more of the account's transactions than fit on a page.
    pub fn moves(&self, address: &Address, height: u64) -> Result<Vec<Move>, Error> {
        let mut moves: Vec<Move> = Vec::new();
        let mut after = height;
        for _ in 0..MOST_PAGES {
            let page = self.history(address, after)?;
            let full = page.len() >= wire::HISTORY_ITEMS;
            let last = page.last().map_or(after, |one| one.height);
            // Only the last page can have ended in a block that this one begins with.
            let last_page = moves.len().saturating_sub(wire::HISTORY_ITEMS);
            let known = moves.get(last_page..).unwrap_or(&moves);
            let new: Vec<_> = page
                .into_iter()
                .filter(|one| one.height > height && !known.contains(one))
                .collect();
            if full && (new.is_empty() || last <= after.saturating_add(1)) {
                let what = format!("more than {} of them in one block", wire::HISTORY_ITEMS);
                let source = wire::Error::Strange { status: 200, what };
                return Err(self.answer("the account's history", source));
            }
            moves.extend(new);
            if !full {
                return Ok(moves);
            }
            after = last.saturating_sub(1);
        }
        let what = format!("no end after {MOST_PAGES} pages");
        Err(self.answer(
            "the account's history",
            wire::Error::Strange { status: 200, what },
        ))
    }

    fn history(&self, address: &Address, after: u64) -> Result<Vec<Move>, Error> {
        let limit = wire::HISTORY_ITEMS;
        let path = format!("/account/history/{address}?after={after}&limit={limit}");
        self.get(&path, "the account's history", wire::history)
    }

    /// What the index holds under a hash of which nothing more is known.
    pub fn standing(&self, hash: &str) -> Result<Option<Standing>, Error> {
        let path = format!("/transaction/detail/{hash}");
        self.get(&path, "a transaction", |response| {
            wire::standing(response, hash)
        })
    }

    /// Whether the block at `height` holds a transaction with the hash of `issue`, applied there or failed. This is read
    /// from the block itself, so that it needs no index.
    pub fn holds(&self, height: u64, issue: &Issue) -> Result<bool, Error> {
        let path = format!("/block/transactions/{height}");
        let hashes = self.get(&path, "a block", wire::block)?;
        Ok(hashes.iter().any(|hash| hash == issue.hash().as_str()))
    }

    /// What was released and issued so far.
    pub fn totals(&self) -> Result<Totals, Error> {
        self.get("/price/current", "the totals", wire::totals)
    }

    /// Where this node stands.
    pub fn status(&self) -> Result<Status, Error> {
        self.get("/node/status", "its status", wire::status)
    }

    /// What stands on the chain under the hash of `issue`. Nothing under it is not yet proof of anything: the index
    /// trails the block, and can be lost.
    pub fn detail(&self, issue: &Issue) -> Result<Option<Detail>, Error> {
        let path = format!("/transaction/detail/{}", issue.hash());
        self.get(&path, "a transaction", |response| {
            wire::detail(response, issue)
        })
    }

    /// Runs the chain's checks on `issue` without signatures: everything but these.
    pub fn prevalidate_unsigned(&self, issue: &Issue) -> Result<Prevalidation, Error> {
        self.prevalidate(issue, issue.unsigned_body())
    }

    /// Runs all the chain's checks; changes nothing.
    pub fn prevalidate_signed(&self, signed: &SignedIssue) -> Result<Prevalidation, Error> {
        self.prevalidate(&signed.issue(), signed.body())
    }

    fn prevalidate(&self, issue: &Issue, body: String) -> Result<Prevalidation, Error> {
        let response = self
            .send("/tx/prevalidate/Issue", Some(body), READ)
            .map_err(Error::NoAnswer)?;
        wire::prevalidation(&response, &issue.hash())
            .map_err(|source| self.answer("prevalidation", source))
    }

    /// Submits, and waits for a block. There is no error: whatever happens, what became of it must be found out.
    pub fn submit(&self, signed: &SignedIssue) -> Submission {
        match self.send("/tx/submit/Issue", Some(signed.body()), SUBMIT) {
            Ok(response) => wire::submission(&response, &signed.issue().hash()),
            Err(error) => Submission::Unknown {
                what: crate::error::chain(&error),
            },
        }
    }

    fn get<T>(
        &self,
        path: &str,
        asked: &'static str,
        read: impl Fn(&Response) -> Result<T, wire::Error>,
    ) -> Result<T, Error> {
        let response = self.send(path, None, READ).map_err(Error::NoAnswer)?;
        read(&response).map_err(|source| self.answer(asked, source))
    }

    fn answer(&self, asked: &'static str, source: wire::Error) -> Error {
        Error::Answer {
            node: self.url.to_owned(),
            asked,
            source,
        }
    }

    fn send(
        &self,
        path: &str,
        body: Option<String>,
        within: Duration,
    ) -> Result<Response, http::Error> {
        let headers = match body {
            Some(_) => vec![("content-type", "application/json".to_owned())],
            None => Vec::new(),
        };
        let url = format!("{}{path}", self.url);
        self.http.send(&Request {
            url,
            headers,
            body: body.map(String::into_bytes),
            within,
            max_bytes: MAX_BYTES,
        })
    }
}
