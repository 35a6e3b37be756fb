//! A batch in flight, from `pending.json` to the ledger: signed, submitted, watched, and written down or dropped.

use super::Pass;
use super::chain::Chain;
use super::watch::{Submitted, Watch};
use crate::error::{Doubtful, Error, Why};
use crate::ndau::wire::{Prevalidation, Submission};
use crate::ndau::{Issue, SignedIssue};
use crate::report::Report;
use crate::sales::{Cursor, Sale};
use crate::settle::{Base, Candidate, Doubt, Next, Sight};
use crate::signer::{Context, Door, Outcome, Request, Signed};
use crate::state::{Entry, Locked, Pending, State};

/// How a flight ended.
pub(super) enum Landed {
    /// The batch is on the chain and in the ledger; the cursor is here.
    Issued(Cursor),
    /// It can never be applied, and was forgotten.
    Dropped,
}

/// A batch in flight, and what was done with it in this run.
pub(super) struct Flight<'p, 'a> {
    pass: &'p Pass<'a>,
    chain: &'p Chain<'a>,
    locked: &'p Locked<'a>,
    state: &'p State,
    pending: Pending,
    /// What was submitted in this run, and the answer.
    submitted: Option<(SignedIssue, Submission)>,
    /// The signers that are still connected, waiting to hear what became of it.
    signers: Option<Signed>,
}

impl<'p, 'a> Flight<'p, 'a> {
    pub(super) fn new(
        pass: &'p Pass<'a>,
        chain: &'p Chain<'a>,
        locked: &'p Locked<'a>,
        state: &'p State,
        pending: Pending,
    ) -> Flight<'p, 'a> {
        Flight {
            pass,
            chain,
            locked,
            state,
            pending,
            submitted: None,
            signers: None,
        }
    }

    /// Takes the steps that `settle` names, until one of them is the last.
    pub(super) fn land(mut self, report: &mut Report) -> Result<Landed, Error> {
        if let Some((index, height)) = self.written_before() {
            return self.write_down(index, height, report).map(Landed::Issued);
        }
        let watch = self.chain.watch(self.pass);
        loop {
            let (next, sight) = self.look(&watch)?;
            match next {
                Next::Applied { candidate, height } => {
                    return self
                        .write_down(candidate, height, report)
                        .map(Landed::Issued);
                }
                Next::Dead => return self.drop_it(),
                Next::Replace { sales } => self.replace(sales, &sight, report)?,
                Next::Submit { candidate } => match self.submitted.take() {
                    None => self.submit(candidate, report)?,
                    Some((signed, submission)) => {
                        return Err(self.not_applied(&signed, &submission));
                    }
                },
                Next::Stop(doubt) | Next::LookAgain(doubt) => return Err(self.stuck(doubt, &sight)),
            }
        }
    }

    /// What became of it. If the chain cannot be asked: before anything was submitted that is plain, after it the
    /// outcome is in doubt.
    fn look(&self, watch: &Watch) -> Result<(Next, Sight), Error> {
        let submitted = match &self.submitted {
            None | Some((_, Submission::Refused { .. } | Submission::NotSent { .. })) => {
                Submitted::NotYet
            }
            Some((
                _,
                Submission::InBlock | Submission::AlreadyCommitted | Submission::Unknown { .. },
            )) => Submitted::JustNow,
        };
        watch
            .next(&self.pending.candidates, submitted)
            .map_err(|error| match &self.submitted {
                None => Error::Chain(error),
                Some((signed, submission)) => in_doubt(signed, submission, Why::Chain(error)),
            })
    }

    /// The candidate that an earlier run wrote into the ledger before it ended, if it came so far.
    fn written_before(&self) -> Option<(usize, u64)> {
        self.pending
            .candidates
            .iter()
            .enumerate()
            .find_map(|(index, one)| Some((index, self.state.ledger.entry(&one.issue)?.height)))
    }

    fn candidate(&self, index: usize) -> Result<&Candidate, Error> {
        let candidate = self.pending.candidates.get(index);
        candidate.ok_or(Error::Bug("a step names a candidate that is not there"))
    }

    /// A foreign transaction has taken the hash: a candidate of fewer sales, with the same sequence.
    fn replace(&mut self, sales: usize, sight: &Sight, report: &mut Report) -> Result<(), Error> {
        let fewer = self.pending.batch.oldest(sales);
        let (Some(fewer), Some(last)) = (fewer, self.pending.candidates.last()) else {
            return Err(Error::Bug("a replacement of no sales"));
        };
        let issue = Issue::new(fewer.quantity(), last.issue.sequence())?;
        let base = Base {
            sequence: sight.sequence,
            height: sight.height,
            issued: sight.issued,
        };
        log::warn!(
            "a foreign transaction has taken the hash {}: building {} of one sale fewer, with the same sequence",
            last.issue.hash(),
            issue.hash()
        );
        self.pending.candidates.push(Candidate {
            issue,
            sales,
            base,
            signatures: Vec::new(),
        });
        self.locked.store_pending(&self.pending)?;
        report.in_flight(&self.pending);
        self.submitted = None;
        self.tell_signers(Outcome::Failed, &issue);
        Ok(())
    }

    /// 5 and 6: has it signed, asks once more whether it would be applied, and submits. It is safe now: the
    /// candidate and its signatures are on disk, and whatever the answer, what became of it is looked up.
    fn submit(&mut self, index: usize, report: &mut Report) -> Result<(), Error> {
        let signed = self.sign(index)?;
        report.signed(&signed);
        let issue = signed.issue();
        let submission = match self.chain.node.prevalidate_signed(&signed)? {
            Prevalidation::Good { .. } => {
                let (quantity, sequence) = (issue.quantity(), issue.sequence());
                log::info!(
                    "submitting {}: {quantity} ndau, sequence {sequence}",
                    issue.hash()
                );
                self.chain.node.submit(&signed)
            }
            Prevalidation::AlreadyCommitted => Submission::AlreadyCommitted,
            Prevalidation::Refused { reason } => Submission::Refused { reason },
            Prevalidation::NeedsSignatures { .. } => Submission::Refused {
                reason: "it sees no signatures".to_owned(),
            },
        };
        match &submission {
            Submission::InBlock => {
                log::info!("{submission}; making sure that it was applied there")
            }
            _ => log::warn!("{submission}; finding out what became of it"),
        }
        self.submitted = Some((signed, submission));
        Ok(())
    }

    /// 5: has a candidate signed, unless it is, and writes the signatures down before they are used.
    fn sign(&mut self, index: usize) -> Result<SignedIssue, Error> {
        let (keys, needed) = (&self.chain.keys, self.chain.needed);
        let candidate = self.candidate(index)?;
        let issue = candidate.issue;
        let (sales, _) = self.pending.split(candidate);
        let stored: Vec<_> = candidate
            .signatures
            .iter()
            .filter(|one| keys.contains(one.key()))
            .cloned()
            .collect();
        if let Ok(signed) = SignedIssue::new(issue, &stored, needed) {
            log::info!("{} is signed already", issue.hash());
            return Ok(signed);
        }
        let trade =
            |sale: Option<&Sale>| sale.map_or_else(String::new, |sale| sale.id.trade.to_string());
        let context = Context {
            symbol: self.state.cursor.symbol.clone(),
            trades: u64::try_from(sales.len()).unwrap_or(u64::MAX),
            first_trade_id: trade(sales.first()),
            last_trade_id: trade(sales.last()),
        };
        let request = Request {
            issue,
            keys: keys.clone(),
            needed,
            context,
        };
        let config = &self.pass.config.signer;
        let door = Door {
            url: &config.listen,
            identity: &self.pass.identity,
            allowed: &config.allowed,
            within: config.timeout,
        };
        let world = self.pass.world;
        let signers = world.signers.sign(&door, world.clock, &request)?;
        let verified = signers.verified().to_vec();
        self.signers = Some(signers);
        let signed = SignedIssue::new(issue, &verified, needed)?;
        if let Some(candidate) = self.pending.candidates.get_mut(index) {
            candidate.signatures = verified;
        }
        self.locked.store_pending(&self.pending)?;
        Ok(signed)
    }

    /// 7: it is on the chain. Each of the three writes can be repeated after a crash without effect.
    pub(super) fn write_down(
        &mut self,
        index: usize,
        height: u64,
        report: &mut Report,
    ) -> Result<Cursor, Error> {
        let candidate = self.candidate(index)?;
        let issue = candidate.issue;
        let (issued, left) = self.pending.split(candidate);
        let at = &self.pending.progress.at;
        let entry = Entry {
            issue,
            height,
            sales: issued.clone(),
            recorded_ms: self.pass.world.clock.now_ms(),
            symbol: self.state.cursor.symbol.clone(),
            network: at.network.clone(),
            dialect: at.dialect,
            account: at.account.clone(),
        };
        report.committed(issue, issued.clone(), height);
        let mut progress = self.pending.progress.clone();
        // Who else issued meanwhile is not accounted for, and is noticed by the next run.
        let before = candidate.base.issued;
        progress.at.issued = before.checked_add(issue.quantity()).unwrap_or(before);
        progress.at.sequence = issue.sequence();
        progress.at.ledger = self.state.ledger.last_with(&entry);
        let cursor = self.state.cursor.after(&progress, &issued, &left);
        let written = self
            .locked
            .append(&self.state.ledger, &entry)
            .and_then(|()| self.locked.store_cursor(&cursor))
            .and_then(|()| self.locked.remove_pending());
        if let Err(source) = written {
            return Err(Error::NotWrittenDown {
                hash: issue.hash(),
                height,
                source,
            });
        }
        log::info!("{} is committed in block {height}", issue.hash());
        self.tell_signers(Outcome::Committed, &issue);
        Ok(cursor)
    }

    /// Nothing of it can ever be applied: its sales are free for another batch.
    pub(super) fn drop_it(&mut self) -> Result<Landed, Error> {
        for candidate in &self.pending.candidates {
            let issue = candidate.issue;
            log::warn!(
                "{} (sequence {}) can never be applied",
                issue.hash(),
                issue.sequence()
            );
        }
        self.locked.remove_pending()?;
        if let Some(last) = self.pending.candidates.last() {
            let issue = last.issue;
            self.tell_signers(Outcome::Failed, &issue);
        }
        Ok(Landed::Dropped)
    }

    fn tell_signers(&mut self, outcome: Outcome, issue: &Issue) {
        if let Some(signers) = self.signers.take() {
            signers.finish(outcome, &issue.hash());
        }
    }

    /// It was submitted, and the chain shows that it is not applied and still could be.
    fn not_applied(&mut self, signed: &SignedIssue, submission: &Submission) -> Error {
        let hash = signed.issue().hash();
        self.tell_signers(Outcome::Failed, &signed.issue());
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
                match self.chain.node.prevalidate_signed(signed) {
                    Ok(Prevalidation::Refused { reason }) => Error::RefusedByChain { hash, reason },
                    Ok(_) | Err(_) => in_doubt(signed, submission, Why::NotYet),
                }
            }
        }
    }

    /// A person must look: everything that there is to look at is in the message.
    fn stuck(&self, doubt: Doubt, sight: &Sight) -> Error {
        let built: Vec<String> = self.pending.candidates.iter().map(describe).collect();
        let seen = format!(
            "account sequence {}, height {}, issued {} ndau; {}",
            sight.sequence,
            sight.height,
            sight.issued,
            built.join("; ")
        );
        let why = Why::Doubt { doubt, seen };
        match (&self.submitted, self.pending.candidates.last()) {
            (Some((signed, submission)), _) => in_doubt(signed, submission, why),
            (None, Some(last)) => Error::InDoubt(Box::new(Doubtful {
                hash: last.issue.hash(),
                sequence: last.issue.sequence(),
                last: "an earlier run left it in flight".to_owned(),
                why,
            })),
            (None, None) => Error::Bug("a batch in flight has no candidate"),
        }
    }
}

fn in_doubt(signed: &SignedIssue, submission: &Submission, why: Why) -> Error {
    let issue = signed.issue();
    Error::InDoubt(Box::new(Doubtful {
        hash: issue.hash(),
        sequence: issue.sequence(),
        last: submission.to_string(),
        why,
    }))
}

fn describe(candidate: &Candidate) -> String {
    let Base {
        sequence,
        height,
        issued,
    } = candidate.base;
    format!(
        "{} of {} ndau was built at account sequence {sequence}, height {height}, issued {issued} ndau",
        candidate.issue.hash(),
        candidate.issue.quantity()
    )
}
