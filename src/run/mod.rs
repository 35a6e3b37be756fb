//! One run as a story: the numbered steps are those of `docs/exactly-once.md`.
//!
//! `chain` asks the chain what it must know before an `Issue` is built; `flight` takes a batch in flight to its end;
//! `watch` looks until the chain shows what became of it. `decide` is for what none of them can tell.

mod chain;
mod decide;
mod flight;
mod watch;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::exchange::{Client, Key};
use crate::http::Http;
use crate::napu::Napu;
use crate::report::{Outcome, Report, counted, start};
use crate::resolve::{Issued, issued_perhaps, issued_the_last};
use crate::sales::{Batch, CLOCK_TOLERANCE_MS, Picked, Start, pick};
use crate::signer::{Identity, Signers};
use crate::state::{Decision, Disk, Folder, Locked, Pending, State, Verdict};

use chain::Chain;
pub use decide::{Resolved, Typed, resolve};
use flight::{Flight, Landed};
use watch::Submitted;

/// How often a batch is built anew in one run because other transactions used up its sequence.
const ROUNDS: u32 = 3;

/// Everything outside: the seams where tests get in.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The network.
    pub http: &'a dyn Http,
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Who holds the keys.
    pub signers: &'a dyn Signers,
}

/// One pass: settles what an earlier run left, or else issues what was sold since. What it finds and does goes into
/// `report`, also when it fails.
pub fn run(config: &Config, world: World, report: &mut Report) -> Result<Outcome, Error> {
    let pass = Pass::new(config, world)?;
    pass.check_allowed()?;
    // 1: one writer, and everything it knows.
    let locked = Locked::take(Folder::new(world.disk, &config.state_dir))?;
    for _ in 0..ROUNDS {
        let state = locked.folder().load()?;
        report.before = Some(state.cursor.clone());
        let chain = Chain::open(&pass, &state)?;
        let outcome = match &state.pending {
            // 2: what is in flight comes first.
            Some(pending) => {
                report.in_flight(pending);
                pass.fly(&chain, &locked, &state, pending.clone(), report)?
                    .then_some(Outcome::Settled)
            }
            None => pass.issue_new(&chain, &locked, &state, report)?,
        };
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        log::warn!("another transaction used up the sequence: building the Issue anew");
        *report = Report::default();
    }
    Err(Error::Overtaken { times: ROUNDS })
}

/// What [`run`] would do. Takes no lock, opens no listener, changes nothing.
pub fn dry_run(config: &Config, world: World, report: &mut Report) -> Result<Outcome, Error> {
    let pass = Pass::new(config, world)?;
    pass.check_allowed()?;
    let state = Folder::new(world.disk, &config.state_dir).load()?;
    report.before = Some(state.cursor.clone());
    let chain = Chain::open(&pass, &state)?;
    if let Some(pending) = &state.pending {
        report.in_flight(pending);
        report.exchange_not_asked = true;
        let (next, _) = chain
            .watch(&pass)
            .next(&pending.candidates, Submitted::NotYet)?;
        report
            .notes
            .push(format!("a batch is in flight from an earlier run; {next}"));
        return Ok(Outcome::DryRun);
    }
    let picked = pass.pick(&chain, &state, report)?;
    pass.not_issued_before(&chain, &state, &picked)?;
    if let Some(batch) = &picked.batch {
        let candidate = chain.build(batch)?.ok_or(Error::Overtaken { times: 1 })?;
        report.issue(candidate.issue, batch.sales().to_vec());
    }
    Ok(Outcome::DryRun)
}

/// What one pass works with.
struct Pass<'a> {
    config: &'a Config,
    world: World<'a>,
    key: Key,
    /// The fingerprint of the key.
    account: String,
    identity: Identity,
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

    /// Refuses identities of signing services that could never sign for this side.
    fn check_allowed(&self) -> Result<(), Error> {
        let allowed = &self.config.signer.allowed;
        let wrong = |what| Err(Error::Config(self.config.wrong("signer.allowed", what)));
        let found = if allowed.is_empty() {
            "nobody"
        } else if allowed.contains(self.identity.public()) {
            "this side's own identity"
        } else {
            let unusable = allowed
                .iter()
                .map(Identity::require_usable)
                .find_map(Result::err);
            return unusable.map_or(Ok(()), |error| wrong(error.to_string()));
        };
        wrong(format!(
            "it names {found}; it needs the identity of the signing service (client.pub_key of its sigconfig.toml)"
        ))
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
            chain.place(&self.account, state.ledger.last()),
            settle_ms,
        )?;
        if cursor.at.is_none() {
            let start = start(cursor.start);
            report.notes.push(format!(
                "the first run of this state folder: whatever was sold {start} is taken as not issued yet"
            ));
        }
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
        match state.ledger.issued_already(sales, history.dialect) {
            Some((trade, hash)) => Err(Error::IssuedBefore { trade, hash }),
            None => Ok(picked),
        }
    }

    /// A folder that has never run has no total to compare; so where the account has issued since it starts, it may have
    /// issued its sales: a second folder, or a lost one that was begun anew.
    fn not_issued_before(
        &self,
        chain: &Chain,
        state: &State,
        picked: &Picked,
    ) -> Result<(), Error> {
        if state.cursor.at.is_some() || !self.config.ndau.sole_issuer {
            return Ok(());
        }
        let start = picked.progress.start;
        let since_ms = match start {
            // The exchange's own time of a trade.
            Start::Found { time_ms, .. } => time_ms,
            // A host's clock.
            start => start.time_ms().saturating_sub(CLOCK_TOLERANCE_MS),
        };
        let (mut issues, whole) = chain.issues_since(self, since_ms)?;
        // Whoever issued the trade that issuing starts after did so after it was made.
        if matches!(start, Start::Found { .. })
            && issues
                .first()
                .is_some_and(|(first, _)| issued_the_last(first, &picked.before))
        {
            issues.remove(0);
        }
        let sum = Napu::sum(issues.iter().map(|(issue, _)| issue.quantity()));
        let sum = sum.unwrap_or(Napu::SUPPLY);
        // What a person said was not for our sales.
        let mut decisions = state.ledger.decisions().iter();
        let cleared =
            |one: &Decision| matches!(one.verdict, Verdict::Others { issued } if issued == sum);
        if decisions.any(cleared) {
            return Ok(());
        }
        if issues.is_empty() {
            return if whole {
                Ok(())
            } else {
                Err(chain.index_behind())
            };
        }
        let sales = picked.batch.as_ref().map_or(&[][..], Batch::sales);
        Err(Error::IssuedSince(Box::new(Issued {
            since_ms,
            sum,
            like_sales: issued_perhaps(&issues, sales),
            issues,
        })))
    }

    /// Issues what was sold since, if anything. `None`: others used up the sequence, so that it is to be tried again.
    fn issue_new(
        &self,
        chain: &Chain,
        locked: &Locked,
        state: &State,
        report: &mut Report,
    ) -> Result<Option<Outcome>, Error> {
        let picked = self.pick(chain, state, report)?;
        self.not_issued_before(chain, state, &picked)?;
        let Picked {
            batch,
            progress,
            left,
            ..
        } = picked;
        let Some(batch) = batch else {
            let cursor = state.cursor.after(&progress, &[], &left);
            locked.store_cursor(&cursor)?;
            report.after = Some(cursor);
            return Ok(Some(Outcome::NothingNew));
        };
        // 4: everything that could stand against it is asked first, and it is on disk before anyone signs.
        let Some(candidate) = chain.build(&batch)? else {
            return Ok(None);
        };
        report.issue(candidate.issue, batch.sales().to_vec());
        let pending = Pending {
            batch,
            progress,
            left,
            candidates: vec![candidate],
        };
        locked.store_pending(&pending)?;
        Ok(self
            .fly(chain, locked, state, pending, report)?
            .then_some(Outcome::Issued))
    }

    /// 5 to 7: takes a batch in flight to its end. `true`: it is issued; `false`: it never can be, and was dropped.
    fn fly(
        &self,
        chain: &Chain,
        locked: &Locked,
        state: &State,
        pending: Pending,
        report: &mut Report,
    ) -> Result<bool, Error> {
        match Flight::new(self, chain, locked, state, pending).land(report)? {
            Landed::Issued(cursor) => {
                report.after = Some(cursor);
                Ok(true)
            }
            Landed::Dropped => Ok(false),
        }
    }
}
