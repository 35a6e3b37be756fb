//! One run as a story: the numbered steps are those of `docs/exactly-once.md`.

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Why};
use crate::exchange::{Client, Key};
use crate::http::Http;
use crate::napu::Napu;
use crate::ndau::issue::MAX_SIGNATURES;
use crate::ndau::wire::{Account, Prevalidation, Status, Submission};
use crate::ndau::{Address, Issue, Node, PublicKey, SignedIssue};
use crate::report::{Outcome, Report, counted};
use crate::sales::{Batch, Picked, pick};
use crate::settle::{Base, Candidate, Next, Sight};
use crate::signer::{self, Context, Identity, Listener, Request, Signed};
use crate::state::{Disk, Entry, Folder, Locked, Pending, State};
use crate::watch::{Submitted, Watch};

/// How often a batch is built anew in one run because other transactions used up its sequence.
const ROUNDS: u32 = 3;

/// How many sequences ahead of the account's the chain accepts.
const SEQUENCES_AHEAD: u64 = 128;

/// Everything outside: the seams where tests get in.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The network.
    pub http: &'a dyn Http,
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Told the listener's address when it took a free port.
    pub listening: &'a dyn Fn(&str),
}

/// One pass: settles what an earlier run left, or else issues what was sold since. What it finds and does goes into
/// `report`, also when it fails.
pub fn run(config: &Config, world: World, report: &mut Report) -> Result<Outcome, Error> {
    let pass = Pass::new(config, world)?;
    if config.signer.allowed.is_empty() {
        let what = "name the identity of the signing service (its sigconfig.toml's client.pub_key)";
        return Err(Error::Config(
            config.wrong("signer.allowed", what.to_owned()),
        ));
    }
    // 1: one writer, and everything it knows.
    let locked = Locked::take(Folder::new(world.disk, &config.state_dir))?;
    for _ in 0..ROUNDS {
        let state = locked.folder().load()?;
        let chain = pass.chain(&state)?;
        report.before = Some(state.cursor.clone());
        let outcome = match &state.pending {
            // 2: what is in flight comes first.
            Some(pending) => {
                pass.report_pending(pending, report);
                pass.drive(&chain, &locked, &state, pending.clone(), report)?
                    .then_some(Outcome::Settled)
            }
            None => pass.issue_new(&chain, &locked, &state, report)?,
        };
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        log::warn!(
            "another transaction used up the sequence, so that the Issue can never be applied: building it anew"
        );
        *report = Report::default();
    }
    Err(Error::Overtaken { times: ROUNDS })
}

/// What [`run`] would do. Takes no lock, opens no listener, changes nothing.
pub fn dry_run(config: &Config, world: World, report: &mut Report) -> Result<Outcome, Error> {
    let pass = Pass::new(config, world)?;
    let state = Folder::new(world.disk, &config.state_dir).load()?;
    let chain = pass.chain(&state)?;
    report.before = Some(state.cursor.clone());
    if let Some(pending) = &state.pending {
        pass.report_pending(pending, report);
        let (next, _) = pass
            .watch(&chain)
            .next(&pending.candidates, Submitted::NotYet)?;
        report.notes.push(format!(
            "a batch is in flight from an earlier run; the next step would be: {next:?}"
        ));
        return Ok(Outcome::DryRun);
    }
    let picked = pass.pick(&chain, &state, report)?;
    if let Some(batch) = &picked.batch {
        let candidate = pass.build(&chain, batch)?;
        report.issue(candidate.issue, batch.sales().to_vec());
    }
    Ok(Outcome::DryRun)
}

/// What one pass works with.
struct Pass<'a> {
    config: &'a Config,
    world: World<'a>,
    key: Key,
    account: String,
    identity: Identity,
}

/// The chain as it stands when a pass begins.
struct Chain<'a> {
    node: Node<'a>,
    others: Vec<Node<'a>>,
    status: Status,
    address: Address,
    account: Account,
    keys: Vec<PublicKey>,
    needed: usize,
}

impl<'a> Pass<'a> {
    /// Opens every file that could be missing or wrong before anyone is asked anything.
    fn new(config: &'a Config, world: World<'a>) -> Result<Pass<'a>, Error> {
        let key = config.load_key()?;
        let identity = config.load_identity()?;
        let account = key.fingerprint();
        Ok(Pass {
            config,
            world,
            key,
            account,
            identity,
        })
    }

    /// Finds a node that agrees with what this folder knows of the chain.
    fn chain(&self, state: &State) -> Result<Chain<'a>, Error> {
        let urls = &self.config.ndau.api;
        let (node, mut status) = Node::first_usable(self.world.http, urls)?;
        let cursor_at = state.cursor.at.as_ref();
        let at = state
            .pending
            .as_ref()
            .map(|pending| &pending.progress.at)
            .or(cursor_at);
        if let Some(at) = at
            && at.network != status.network
        {
            return Err(Error::OtherNetwork {
                expected: at.network.clone(),
                found: status.network,
            });
        }
        let address = node.issuer()?;
        let mut account = node.account(&address)?;
        if let Some(last) = state.ledger.entries().last() {
            // The totals trail a block, so that the one after our last Issue is needed.
            let deadline = self.world.clock.instant() + self.config.ndau.confirm;
            while status.height <= last.height {
                if self.world.clock.instant() >= deadline {
                    let node = node.url().to_owned();
                    return Err(Error::NodeBehind {
                        node,
                        height: status.height,
                        ledger: last.height,
                    });
                }
                log::info!(
                    "waiting for the block after {}, which holds our last Issue",
                    last.height
                );
                self.world
                    .clock
                    .sleep(std::time::Duration::from_millis(500));
                status = node.status()?;
                account = node.account(&address)?;
            }
            if account.sequence < last.issue.sequence() {
                let (account, ledger) = (account.sequence, last.issue.sequence());
                return Err(Error::SequenceBelowLedger { account, ledger });
            }
        }
        let others = urls
            .iter()
            .filter(|url| *url != node.url())
            .map(|url| Node::new(self.world.http, url))
            .collect();
        let (keys, needed) = self.signing_keys(&account, &address)?;
        Ok(Chain {
            node,
            others,
            status,
            address,
            account,
            keys,
            needed,
        })
    }

    /// Who is asked to sign, and how many must: keys that the chain would accept, and none that is an identity.
    fn signing_keys(
        &self,
        account: &Account,
        address: &Address,
    ) -> Result<(Vec<PublicKey>, usize), Error> {
        let keys = self
            .config
            .ndau
            .signing_keys
            .as_ref()
            .unwrap_or(&account.validation_keys)
            .clone();
        if let Some(key) = keys
            .iter()
            .find(|key| !account.validation_keys.contains(key))
        {
            return Err(Error::NotAValidationKey {
                key: Box::new(key.clone()),
                account: address.clone(),
            });
        }
        let identities = [self.identity.public()]
            .into_iter()
            .chain(&self.config.signer.allowed);
        if let Some(key) = identities
            .into_iter()
            .find(|key| account.validation_keys.contains(key))
        {
            return Err(Error::IdentityCanSign {
                key: Box::new(key.clone()),
            });
        }
        let needed = self.config.ndau.signatures.unwrap_or(keys.len());
        if needed == 0 || needed > keys.len() || needed > MAX_SIGNATURES {
            return Err(Error::KeyCount {
                keys: keys.len(),
                needed,
            });
        }
        Ok((keys, needed))
    }

    fn watch<'c>(&self, chain: &'c Chain<'a>) -> Watch<'c>
    where
        'a: 'c,
    {
        Watch {
            node: &chain.node,
            others: chain.others.clone(),
            address: &chain.address,
            clock: self.world.clock,
            within: self.config.ndau.confirm,
        }
    }

    fn report_pending(&self, pending: &Pending, report: &mut Report) {
        if let Some(last) = pending.candidates.last() {
            let (issued, _) = pending.split(last);
            log::info!(
                "an earlier run left a batch in flight: {} ndau, sequence {}, {}",
                last.issue.quantity(),
                last.issue.sequence(),
                last.issue.hash()
            );
            report.issue(last.issue, issued);
        }
    }

    /// 3: fetches, keeps the sales, sums exactly.
    fn pick(&self, chain: &Chain, state: &State, report: &mut Report) -> Result<Picked, Error> {
        let cursor = &state.cursor;
        if cursor.symbol != self.config.symbol {
            let (cursor, config) = (cursor.symbol.clone(), self.config.symbol.clone());
            return Err(Error::OtherSymbol { cursor, config });
        }
        let client = Client::new(
            self.world.http,
            self.world.clock,
            &self.key,
            &self.config.symbol,
        );
        let known = cursor.at.as_ref().map(|at| at.dialect);
        let history = client.fetch(
            cursor.since(&self.account),
            known,
            self.world.clock.now_ms(),
        )?;
        let settle_ms = u64::try_from(self.config.settle.as_millis()).unwrap_or(u64::MAX);
        let picked = pick(
            cursor,
            &history,
            &self.account,
            &chain.status.network,
            settle_ms,
        )?;
        report.trades = picked.trades;
        report.waiting = picked.waiting;
        let sales = picked.batch.as_ref().map_or(&[][..], Batch::sales);
        log::info!(
            "{} seen, {} new, {} to issue, {} too young",
            counted(history.trades.len(), "trade"),
            picked.trades,
            counted(sales.len(), "sale"),
            picked.waiting
        );
        let dialect = history.dialect.to_string();
        for entry in state
            .ledger
            .entries()
            .iter()
            .filter(|entry| entry.dialect == dialect)
        {
            if let Some(twice) = entry
                .sales
                .iter()
                .find(|old| sales.iter().any(|new| new.id == old.id))
            {
                return Err(Error::IssuedBefore {
                    trade: twice.id,
                    hash: entry.issue.hash(),
                });
            }
        }
        Ok(picked)
    }

    /// Issues what was sold since, if anything. `None`: the sequence was used up by others, try again.
    fn issue_new(
        &self,
        chain: &Chain<'a>,
        locked: &Locked,
        state: &State,
        report: &mut Report,
    ) -> Result<Option<Outcome>, Error> {
        let Picked {
            batch,
            progress,
            left,
            ..
        } = self.pick(chain, state, report)?;
        let Some(batch) = batch else {
            let cursor = state.cursor.after(&progress, &[], &left);
            locked.store_cursor(&cursor)?;
            report.after = Some(cursor);
            return Ok(Some(Outcome::NothingNew));
        };
        let candidate = self.build(chain, &batch)?;
        report.issue(candidate.issue, batch.sales().to_vec());
        let pending = Pending {
            batch,
            progress,
            left,
            candidates: vec![candidate],
        };
        // 4: on disk before anyone signs.
        locked.store_pending(&pending)?;
        Ok(self
            .drive(chain, locked, state, pending, report)?
            .then_some(Outcome::Issued))
    }

    /// 4: builds the `Issue` of a batch, with the first sequence that gives it a hash of its own, after asking
    /// everything that could stand against it.
    fn build(&self, chain: &Chain, batch: &Batch) -> Result<Candidate, Error> {
        let totals = chain.node.totals()?;
        let left = totals
            .released
            .checked_sub(totals.issued)
            .unwrap_or(Napu::ZERO);
        if batch.quantity() > left {
            return Err(Error::NotReleased {
                wanted: batch.quantity(),
                left,
            });
        }
        let base = Base {
            sequence: chain.account.sequence,
            height: chain.status.height,
            issued: totals.issued,
        };
        for ahead in 1..=SEQUENCES_AHEAD {
            let issue = Issue::new(batch.quantity(), base.sequence.saturating_add(ahead))?;
            if chain.node.detail(&issue)?.is_some() {
                log::warn!(
                    "{} stands on the chain already: taking the next sequence",
                    issue.hash()
                );
                continue;
            }
            match chain.node.prevalidate_unsigned(&issue)? {
                Prevalidation::NeedsSignatures { fee } | Prevalidation::Good { fee } => {
                    if fee > chain.account.available {
                        let (available, account) = (chain.account.available, chain.address.clone());
                        return Err(Error::NoFee {
                            fee,
                            available,
                            account,
                        });
                    }
                }
                Prevalidation::AlreadyCommitted => continue,
                Prevalidation::Refused { reason } => {
                    return Err(Error::RefusedByChain {
                        hash: issue.hash(),
                        reason,
                    });
                }
            }
            let sales = batch.sales().len();
            return Ok(Candidate {
                issue,
                sales,
                base,
                signatures: Vec::new(),
            });
        }
        Err(Error::NoFreeHash {
            wanted: batch.quantity(),
        })
    }

    /// 5 to 7: takes a batch in flight to its end. `true`: it is issued; `false`: it never can be, and was dropped.
    fn drive(
        &self,
        chain: &Chain<'a>,
        locked: &Locked,
        state: &State,
        mut pending: Pending,
        report: &mut Report,
    ) -> Result<bool, Error> {
        let watch = self.watch(chain);
        let mut session = Session(None);
        let mut submitted: Option<(SignedIssue, Submission)> = None;
        loop {
            let waiting = match &submitted {
                Some((
                    _,
                    Submission::InBlock | Submission::AlreadyCommitted | Submission::Unknown { .. },
                )) => Submitted::JustNow,
                Some((_, Submission::Refused { .. } | Submission::NotSent { .. })) | None => {
                    Submitted::NotYet
                }
            };
            let (next, sight) = match watch.next(&pending.candidates, waiting) {
                Ok(seen) => seen,
                Err(error) => return Err(self.in_doubt(&submitted, error)),
            };
            match (next, &submitted) {
                (Next::Applied { candidate, height }, _) => {
                    let issue = self.finish(locked, state, &pending, candidate, height, report)?;
                    session.end(signer::Outcome::Committed, &issue);
                    return Ok(true);
                }
                (Next::Dead, _) => {
                    for candidate in &pending.candidates {
                        let hash = candidate.issue.hash();
                        log::warn!(
                            "{hash} (sequence {}) can never be applied: dropped",
                            candidate.issue.sequence()
                        );
                        session.end(signer::Outcome::Failed, &candidate.issue);
                    }
                    locked.remove_pending()?;
                    return Ok(false);
                }
                (Next::Replace { sales }, _) => {
                    let candidate = self.replacement(chain, &pending, sales, &sight)?;
                    log::warn!(
                        "a foreign transaction has taken our hash: building {} with one sale fewer, same sequence",
                        candidate.issue.hash()
                    );
                    pending.candidates.push(candidate);
                    locked.store_pending(&pending)?;
                    self.report_pending(&pending, report);
                    submitted = None;
                    // What was signed is no longer what is submitted.
                    session = Session(None);
                }
                (Next::Submit { candidate }, None) => {
                    let signed = self.sign(chain, locked, &mut pending, candidate, &mut session)?;
                    report.signed(&signed);
                    let submission = self.submit(chain, &signed)?;
                    submitted = Some((signed, submission));
                }
                (Next::Submit { .. }, Some((signed, submission))) => {
                    return Err(self.not_applied(chain, signed, submission));
                }
                (Next::Stop(doubt) | Next::LookAgain(doubt), _) => {
                    let seen = format!(
                        "account sequence {}, height {}, issued {} ndau; when built: {}",
                        sight.sequence,
                        sight.height,
                        sight.issued,
                        pending
                            .candidates
                            .iter()
                            .map(describe)
                            .collect::<Vec<_>>()
                            .join("; ")
                    );
                    let (hash, sequence, last) = last_of(&pending, &submitted);
                    return Err(Error::InDoubt {
                        hash,
                        sequence,
                        last,
                        why: Why::Doubt { doubt, seen },
                    });
                }
            }
        }
    }

    /// A candidate of fewer sales with the same sequence.
    fn replacement(
        &self,
        chain: &Chain,
        pending: &Pending,
        sales: usize,
        sight: &Sight,
    ) -> Result<Candidate, Error> {
        let sequence = pending
            .candidates
            .last()
            .map_or(0, |last| last.issue.sequence());
        let quantity = pending
            .batch
            .oldest(sales)
            .map_or(Napu::ZERO, |batch| batch.quantity());
        let issue = Issue::new(quantity, sequence)?;
        let base = Base {
            sequence: sight.sequence,
            height: sight.height,
            issued: sight.issued,
        };
        log::debug!("on {}", chain.node.url());
        Ok(Candidate {
            issue,
            sales,
            base,
            signatures: Vec::new(),
        })
    }

    /// 5: has a candidate signed, unless it is, and writes the signatures down before they are used.
    fn sign(
        &self,
        chain: &Chain,
        locked: &Locked,
        pending: &mut Pending,
        index: usize,
        session: &mut Session,
    ) -> Result<SignedIssue, Error> {
        let sales = pending
            .candidates
            .get(index)
            .map(|candidate| pending.split(candidate).0)
            .unwrap_or_default();
        let Some(candidate) = pending.candidates.get_mut(index) else {
            return Err(Error::Bug("a step names a candidate that is not there"));
        };
        let wanted: Vec<_> = candidate
            .signatures
            .iter()
            .filter(|one| chain.keys.contains(one.key()))
            .cloned()
            .collect();
        if let Ok(signed) = SignedIssue::new(candidate.issue, &wanted, chain.needed) {
            log::info!("it is signed already");
            return Ok(signed);
        }
        let listener = Listener::open(
            &self.config.signer.listen,
            &self.identity,
            &self.config.signer.allowed,
        )?;
        if self.config.signer.listen.address().port() == 0 {
            (self.world.listening)(&listener.url());
        }
        let trade_id = |sale: Option<&crate::sales::Sale>| {
            sale.map(|sale| sale.id.trade.to_string())
                .unwrap_or_default()
        };
        let request = Request {
            issue: candidate.issue,
            keys: chain.keys.clone(),
            needed: chain.needed,
            context: Context {
                symbol: self.config.symbol.clone(),
                trades: u64::try_from(sales.len()).unwrap_or(u64::MAX),
                first_trade_id: trade_id(sales.first()),
                last_trade_id: trade_id(sales.last()),
            },
        };
        let signed = listener.collect(self.world.clock, &request, self.config.signer.timeout)?;
        candidate.signatures = signed.verified().to_vec();
        let result = SignedIssue::new(candidate.issue, &candidate.signatures, chain.needed)?;
        session.0 = Some(signed);
        locked.store_pending(pending)?;
        Ok(result)
    }

    /// 6: asks once more whether it would be applied, and submits. It is safe now: the candidate and its signatures
    /// are on disk, and whatever the answer, what became of it is looked up.
    fn submit(&self, chain: &Chain, signed: &SignedIssue) -> Result<Submission, Error> {
        let submission = match chain.node.prevalidate_signed(signed)? {
            Prevalidation::Good { .. } => {
                let hash = signed.issue().hash();
                log::info!(
                    "submitting {hash}: {} ndau, sequence {}",
                    signed.issue().quantity(),
                    signed.issue().sequence()
                );
                chain.node.submit(signed)
            }
            Prevalidation::AlreadyCommitted => Submission::AlreadyCommitted,
            Prevalidation::Refused { reason } => Submission::Refused { reason },
            Prevalidation::NeedsSignatures { .. } => Submission::Refused {
                reason: "invalid signature(s): []".to_owned(),
            },
        };
        match &submission {
            Submission::InBlock => {
                log::info!("it is in a block: making sure that it was applied there")
            }
            Submission::AlreadyCommitted => {
                log::warn!("a transaction with this hash is on the chain: finding out whose")
            }
            Submission::Refused { reason } => log::warn!("refused: {reason}"),
            Submission::NotSent { reason } => log::warn!("not sent: {reason}"),
            Submission::Unknown { what } => {
                log::warn!("no clear answer ({what}): finding out what became of it")
            }
        }
        Ok(submission)
    }

    /// 7: it is on the chain. Each of the three writes can be repeated after a crash without effect.
    fn finish(
        &self,
        locked: &Locked,
        state: &State,
        pending: &Pending,
        index: usize,
        height: u64,
        report: &mut Report,
    ) -> Result<Issue, Error> {
        let Some(candidate) = pending.candidates.get(index) else {
            return Err(Error::Bug("a step names a candidate that is not there"));
        };
        let (issued, left) = pending.split(candidate);
        let at = &pending.progress.at;
        let entry = Entry {
            issue: candidate.issue,
            height,
            sales: issued.clone(),
            recorded_ms: self.world.clock.now_ms(),
            symbol: state.cursor.symbol.clone(),
            network: at.network.clone(),
            dialect: at.dialect.to_string(),
            account: at.account.clone(),
        };
        locked.append(&state.ledger, &entry)?;
        let cursor = state.cursor.after(&pending.progress, &issued, &left);
        locked.store_cursor(&cursor)?;
        locked.remove_pending()?;
        log::info!("{} is committed in block {height}", candidate.issue.hash());
        if report.issue != Some(candidate.issue) {
            report.issue(candidate.issue, issued);
        }
        report.height = Some(height);
        report.after = Some(cursor);
        Ok(candidate.issue)
    }

    /// The chain could not be asked: before anything was submitted that is plain, after it the outcome is in doubt.
    fn in_doubt(
        &self,
        submitted: &Option<(SignedIssue, Submission)>,
        error: crate::ndau::client::Error,
    ) -> Error {
        match submitted {
            None => Error::Chain(error),
            Some((signed, submission)) => Error::InDoubt {
                hash: signed.issue().hash(),
                sequence: signed.issue().sequence(),
                last: said(submission),
                why: Why::Chain(error),
            },
        }
    }

    /// It was submitted, and the chain shows that it is not applied and still could be.
    fn not_applied(&self, chain: &Chain, signed: &SignedIssue, submission: &Submission) -> Error {
        let hash = signed.issue().hash();
        match submission {
            Submission::Refused { reason } => Error::RefusedByChain {
                hash,
                reason: reason.clone(),
            },
            Submission::NotSent { reason } => Error::NotSent {
                reason: reason.clone(),
            },
            Submission::InBlock | Submission::AlreadyCommitted | Submission::Unknown { .. } => {
                // What failed inside its block fails here again, with the reason.
                match chain.node.prevalidate_signed(signed) {
                    Ok(Prevalidation::Refused { reason }) => Error::RefusedByChain { hash, reason },
                    Ok(_) | Err(_) => Error::InDoubt {
                        hash,
                        sequence: signed.issue().sequence(),
                        last: said(submission),
                        why: Why::NotYet,
                    },
                }
            }
        }
    }
}

/// The signers that are still connected, waiting to hear what became of it.
struct Session(Option<Signed>);

impl Session {
    fn end(&mut self, outcome: signer::Outcome, issue: &Issue) {
        if let Some(signed) = self.0.take() {
            signed.finish(outcome, &issue.hash());
        }
    }
}

fn describe(candidate: &Candidate) -> String {
    let Base {
        sequence,
        height,
        issued,
    } = candidate.base;
    format!(
        "{} (sequence {}) on account sequence {sequence}, height {height}, issued {issued} ndau",
        candidate.issue.hash(),
        candidate.issue.sequence()
    )
}

fn said(submission: &Submission) -> String {
    match submission {
        Submission::InBlock => "the node said that it was in a block".to_owned(),
        Submission::AlreadyCommitted => {
            "the node said that its hash was committed before".to_owned()
        }
        Submission::Refused { reason } => format!("the node refused it: {reason}"),
        Submission::NotSent { reason } => format!("the node did not hand it on: {reason}"),
        Submission::Unknown { what } => format!("the node gave no clear answer: {what}"),
    }
}

fn last_of(
    pending: &Pending,
    submitted: &Option<(SignedIssue, Submission)>,
) -> (crate::ndau::TxHash, u64, String) {
    match (submitted, pending.candidates.last()) {
        (Some((signed, submission)), _) => (
            signed.issue().hash(),
            signed.issue().sequence(),
            said(submission),
        ),
        (None, Some(last)) => (
            last.issue.hash(),
            last.issue.sequence(),
            "an earlier run left it in flight".to_owned(),
        ),
        (None, None) => unreachable!("a batch in flight has a candidate"),
    }
}
