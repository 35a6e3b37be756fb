//! What a person has to decide: shows the evidence, and records and carries out a decision.

use super::chain::Chain;
use super::flight::Flight;
use super::watch::Submitted;
use super::{Pass, World};
use crate::clock::utc;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::exchange;
use crate::napu::Napu;
use crate::ndau::Issue;
use crate::quote::excerpt;
use crate::report::{Report, counted};
use crate::resolve::{self, Case, Held, Issued, Match, word};
use crate::sales::{self, At, Batch, Cursor, LOOK_BACK_MS, Picked, Sale};
use crate::settle::{Base, Candidate, Next, Sight};
use crate::state::{Decision, Folder, Locked, Pending, State, Verdict};

/// How many blocks since a candidate was built are searched for it. Blocks are only made when there is something in them.
const MOST_BLOCKS: u64 = 2000;

/// How many blocks pass between two lines about progress.
const REPORT_EVERY: u64 = 100;

/// So far back the exchange is sure to show everything.
const SHOWN_MS: u64 = 84 * 24 * 60 * 60 * 1000;

/// A decision as typed.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a> {
    /// The word for one of the choices.
    pub choice: &'a str,
    /// Who decides.
    pub by: &'a str,
    /// Why.
    pub why: &'a str,
}

/// What there was to resolve.
#[derive(Debug)]
pub enum Resolved {
    /// Nothing, and why.
    Nothing(String),
    /// This, and nothing was decided.
    Open(Case),
    /// This was decided, recorded and carried out; and what comes next.
    Decided(Verdict, &'static str),
}

/// What a choice is carried out with.
enum Ground<'a> {
    InFlight(Chain<'a>, Pending),
    Unaccounted(Chain<'a>, Vec<(Issue, u64)>, Option<Picked>),
    Cursor,
    FirstRun,
    /// The account's sequence.
    Unshown(u64),
}

/// Finds what needs a person, if anything does; and if a decision was typed that is one of the choices, records it in the
/// ledger and carries it out. Without a decision it takes no lock and changes nothing.
pub fn resolve(config: &Config, world: World, typed: Option<Typed>) -> Result<Resolved, Error> {
    let report = &mut Report::default();
    let typed = typed.map(proper).transpose()?;
    let pass = Pass::new(config, world)?;
    let folder = Folder::new(world.disk, &config.state_dir);
    let locked = typed.map(|_| Locked::take(folder)).transpose()?;
    let state = folder.load()?;
    let (case, ground) = match pass.case(&state, report)? {
        Ok(found) => found,
        Err(nothing) => return Ok(Resolved::Nothing(nothing)),
    };
    let (Some(typed), Some(locked)) = (typed, locked) else {
        return Ok(Resolved::Open(case));
    };
    let Some(verdict) = case.choices.iter().find(|one| word(one) == typed.choice) else {
        return Err(Error::NotAChoice {
            typed: excerpt(typed.choice),
            choices: case.choices.iter().map(word).collect(),
        });
    };
    let decision = Decision {
        recorded_ms: world.clock.now_ms(),
        by: typed.by.to_owned(),
        why: typed.why.to_owned(),
        verdict: verdict.clone(),
        seen: case.seen.clone(),
    };
    // On record first: a crash in between leaves a decision that can be taken again.
    locked.record(&state.ledger, &decision)?;
    let state = folder.load()?;
    let next = pass.carry_out(&locked, &state, verdict, ground, report)?;
    Ok(Resolved::Decided(verdict.clone(), next))
}

/// Refuses a decision that does not say who took it, and why.
fn proper(typed: Typed<'_>) -> Result<Typed<'_>, Error> {
    for (option, text) in [("--by", typed.by), ("--why", typed.why)] {
        if text.trim().is_empty() || excerpt(text) != text {
            return Err(Error::Unsigned { option });
        }
    }
    Ok(typed)
}

/// A case, or why there is none.
type Found<'a> = Result<(Case, Ground<'a>), String>;

impl<'a> Pass<'a> {
    fn case(&self, state: &State, report: &mut Report) -> Result<Found<'a>, Error> {
        let chain = match Chain::look(self, state) {
            Err(ref error @ Error::IndexBehind { sequence, .. }) => {
                return Ok(Ok((unshown(error), Ground::Unshown(sequence))));
            }
            chain => chain?,
        };
        if let Some(pending) = &state.pending {
            report.in_flight(pending);
            return self.stuck(chain, pending);
        }
        let picked = self.pick(&chain, state, report);
        match (chain.unaccounted(state), picked) {
            (Some((found, accounted)), picked) => self
                .unaccounted(chain, state, found, accounted, picked)
                .map(Ok),
            (None, Ok(picked)) => match self.not_issued_before(&chain, state, &picked) {
                Ok(()) => Ok(Err(
                    "nothing is in flight, and chain and folder explain each other".to_owned(),
                )),
                Err(Error::IssuedSince(found)) => Ok(Ok((issued_since(&found), Ground::FirstRun))),
                Err(error @ Error::IndexBehind { .. }) => {
                    Ok(Ok((unshown(&error), Ground::FirstRun)))
                }
                Err(error) => Err(error),
            },
            (None, Err(error)) => {
                match self.other_key(state, &error).or_else(|| gap(state, &error)) {
                    Some(case) => Ok(Ok((case, Ground::Cursor))),
                    None => Err(error),
                }
            }
        }
    }

    /// A batch in flight of which the chain does not say what became of it.
    fn stuck(&self, chain: Chain<'a>, pending: &Pending) -> Result<Found<'a>, Error> {
        let candidates = &pending.candidates;
        let (next, sight) = chain.watch(self).next(candidates, Submitted::NotYet)?;
        let Next::Stop(doubt) = next else {
            return Ok(Err(format!("a batch is in flight, and {next}")));
        };
        let held = chain.held(candidates, &sight);
        let case = Case {
            matter: format!("a batch is in flight, and {doubt}"),
            seen: resolve::describe(candidates, &sight, &held),
            choices: resolve::in_flight(candidates, &sight, &held),
            advice: resolve::advice(doubt),
            exit: Exit::InDoubt,
        };
        Ok(Ok((case, Ground::InFlight(chain, pending.clone()))))
    }

    /// The chain has issued more than the folder knows of.
    fn unaccounted(
        &self,
        chain: Chain<'a>,
        state: &State,
        found: Napu,
        accounted: Napu,
        picked: Result<Picked, Error>,
    ) -> Result<(Case, Ground<'a>), Error> {
        let more = found.checked_sub(accounted).unwrap_or(Napu::ZERO);
        let mut seen = vec![format!(
            "the chain has issued {found} ndau, this folder accounts for {accounted}: {more} more"
        )];
        let unknown = chain.unknown(state)?;
        let sales = match &picked {
            Ok(picked) => {
                let sales = waiting(picked);
                let sum = Napu::sum(sales.iter().map(|sale| sale.quantity));
                seen.push(format!(
                    "not issued by this folder: {}, {} ndau",
                    counted(sales.len(), "sale"),
                    sum.map_or("more than all".to_owned(), |sum| sum.to_string())
                ));
                sales
            }
            Err(error) => {
                seen.push(format!(
                    "sales could not be read: {}",
                    crate::error::chain(error)
                ));
                Vec::new()
            }
        };
        if unknown.is_empty() {
            seen.push(
                "the index shows no Issue of the account that this folder does not know".to_owned(),
            );
        }
        for (issue, height) in &unknown {
            let fits = match resolve::covered(&sales, issue.quantity()) {
                Some(count) => format!("exactly the oldest {}", counted(count, "sale")),
                None => "no sum of our oldest sales".to_owned(),
            };
            seen.push(format!(
                "unknown here: {} of {} ndau, sequence {}, block {height}; it is {fits}",
                issue.hash(),
                issue.quantity(),
                issue.sequence()
            ));
        }
        let case = Case {
            matter: "the chain has issued more than this state folder accounts for: it was restored from a backup, or \
                     copied, or somebody else issues too"
                .to_owned(),
            seen,
            choices: resolve::unaccounted(&unknown, &sales, more),
            advice: "if a newer copy of this folder exists anywhere, bring that back instead of deciding; nobody else may \
                     run with a copy of it",
            exit: Exit::BadData,
        };
        Ok((case, Ground::Unaccounted(chain, unknown, picked.ok())))
    }

    /// The API key is another one, and the exchange shows nothing that proves it to be of the same account.
    fn other_key(&self, state: &State, error: &Error) -> Option<Case> {
        let at = state.cursor.at.as_ref()?;
        let unproven = matches!(
            error,
            Error::Sales(sales::Error::OtherAccount { .. })
                | Error::Exchange(exchange::Error::HistoryGone { .. })
        );
        (unproven && at.account != self.account).then(|| Case {
            matter: "the API key is not the one that the cursor was made with, and nothing proves that it is of the same \
                     account"
                .to_owned(),
            seen: vec![
                format!("the cursor's key is {}, the present one {}", at.account, self.account),
                crate::error::chain(error),
            ],
            choices: vec![Verdict::SameAccount {
                key: self.account.clone(),
            }],
            advice: "compare the account's id on the exchange's page for API keys",
            exit: Exit::BadData,
        })
    }

    /// Does what was decided; what comes next.
    fn carry_out(
        &self,
        locked: &Locked<'a>,
        state: &State,
        verdict: &Verdict,
        ground: Ground<'a>,
        report: &mut Report,
    ) -> Result<&'static str, Error> {
        const RUN: &str = "now run `bitmart-issuer run`";
        match (verdict, ground) {
            (Verdict::Applied { issue, height }, Ground::InFlight(chain, pending)) => {
                let place = pending
                    .candidates
                    .iter()
                    .position(|one| one.issue == *issue);
                let place =
                    place.ok_or(Error::Bug("a choice names a candidate that is not there"))?;
                let mut flight = Flight::new(self, &chain, locked, state, pending);
                report.after = Some(flight.write_down(place, *height, report)?);
                Ok("it is written down")
            }
            (Verdict::Never { .. }, Ground::InFlight(chain, pending)) => {
                Flight::new(self, &chain, locked, state, pending).drop_it()?;
                Ok(RUN)
            }
            (Verdict::Adopted { issue, height }, Ground::Unaccounted(_, _, Some(picked))) => {
                locked.store_pending(&adopted(state, picked, *issue, *height)?)?;
                Ok("now run `bitmart-issuer run`, which finds it on the chain and writes it down")
            }
            (Verdict::Others { issued }, Ground::Unaccounted(chain, unknown, _)) => {
                let (accounted, issued) = (state.accounted().unwrap_or(Napu::ZERO), *issued);
                let sum = accounted.checked_add(issued);
                let sum = sum.ok_or(Error::LedgerOverflows)?;
                locked.store_cursor(&moved(state, |at| {
                    at.issued = sum;
                    // Only what was decided on is accounted for.
                    at.sequence = match unknown.first() {
                        Some((first, _)) if first.quantity() == issued => first.sequence(),
                        _ => chain.sequence,
                    };
                })?)?;
                Ok(RUN)
            }
            (Verdict::Others { .. }, Ground::Unshown(sequence)) => {
                locked.store_cursor(&moved(state, |at| at.sequence = sequence)?)?;
                Ok(RUN)
            }
            // The next run finds the decision in the ledger.
            (Verdict::Others { .. }, Ground::FirstRun) => Ok(RUN),
            (Verdict::SameAccount { key }, Ground::Cursor) => {
                locked.store_cursor(&moved(state, |at| at.account.clone_from(key))?)?;
                Ok(RUN)
            }
            (Verdict::Skipped { until_ms, .. }, Ground::Cursor) => {
                let time_ms = until_ms.saturating_add(LOOK_BACK_MS);
                locked.store_cursor(&moved(state, |at| at.time_ms = time_ms)?)?;
                Ok(RUN)
            }
            _ => Err(Error::Bug("a choice without its ground")),
        }
    }
}

/// The cursor with what it remembers changed, beside the decision that is the ledger's last line.
fn moved(state: &State, change: impl FnOnce(&mut At)) -> Result<Cursor, Error> {
    let mut cursor = state.cursor.clone();
    let at = cursor.at.as_mut();
    let at = at.ok_or(Error::Bug("a decision about a cursor that stands nowhere"))?;
    change(at);
    state.ledger.last().clone_into(&mut at.ledger);
    Ok(cursor)
}

/// The cursor is older than what the exchange still shows.
fn gap(state: &State, error: &Error) -> Option<Case> {
    let Error::Exchange(exchange::Error::HistoryGone { since_ms, now_ms }) = error else {
        return None;
    };
    let until_ms = now_ms.saturating_sub(SHOWN_MS);
    // Without a run there is no cursor to move: then `init` says where to start.
    (state.cursor.at.is_some() && *since_ms < until_ms).then(|| Case {
        matter: "no run has read the exchange for about three months, and it no longer shows what was sold since".to_owned(),
        seen: vec![format!(
            "the cursor wants what was sold after {}; now it is {} by the host's clock",
            utc(*since_ms),
            utc(*now_ms)
        )],
        choices: vec![Verdict::Skipped {
            after_ms: *since_ms,
            until_ms,
        }],
        advice: "make sure that the host's clock is right; then look in the account's statements for sales in that time, \
                 which nothing but a person can deal with",
        exit: Exit::BadData,
    })
}

/// A folder that has never run cannot tell what was issued before it.
fn issued_since(found: &Issued) -> Case {
    let mut seen: Vec<String> = found
        .issues
        .iter()
        .map(|(issue, height)| {
            format!(
                "{} of {} ndau, sequence {}, block {height}",
                issue.hash(),
                issue.quantity(),
                issue.sequence()
            )
        })
        .collect();
    if let Some(Match {
        issue, first, last, ..
    }) = &found.like_sales
    {
        seen.push(format!(
            "{} is exactly the sales from {} of {} to {} of {}",
            issue.hash(),
            first.id,
            utc(first.time_ms),
            last.id,
            utc(last.time_ms)
        ));
    }
    Case {
        matter: format!(
            "this folder has never run, and the account has issued {} ndau since {}, about when issuing starts here",
            found.sum,
            utc(found.since_ms)
        ),
        seen,
        choices: vec![Verdict::Others { issued: found.sum }],
        advice: "if any of it was for this account's sales, start after the last sale that was issued: remove \
                 state/cursor.json, and run `bitmart-issuer init --from <its trade id>`; if a newer state folder exists \
                 anywhere, bring that back instead",
        exit: Exit::BadData,
    }
}

/// An index that does not show whether others have issued.
fn unshown(error: &Error) -> Case {
    Case {
        matter: "the account was used by others, and no index shows whether they have issued"
            .to_owned(),
        seen: vec![error.to_string()],
        choices: vec![Verdict::Others { issued: Napu::ZERO }],
        advice: "put another node in ndau.api, whose index is whole; only if there is none, decide",
        exit: Exit::Unavailable,
    }
}

/// Every sale that the folder takes for not issued, oldest first.
fn waiting(picked: &Picked) -> Vec<Sale> {
    let batch = picked.batch.as_ref().map_or(&[][..], Batch::sales);
    batch.iter().chain(&picked.left).copied().collect()
}

/// The oldest sales as a batch in flight whose `Issue` is on the chain already: the next run settles it like any other.
fn adopted(state: &State, picked: Picked, issue: Issue, height: u64) -> Result<Pending, Error> {
    let all = waiting(&picked);
    let missing = Error::Bug("an Issue is adopted for sales that are not there");
    let (Some(count), Some(at)) = (resolve::covered(&all, issue.quantity()), &state.cursor.at)
    else {
        return Err(missing);
    };
    let (covered, left) = all.split_at_checked(count).unwrap_or((&all, &[]));
    let batch = Batch::new(covered.to_vec()).ok_or(missing)?;
    Ok(Pending {
        batch,
        progress: picked.progress,
        left: left.to_vec(),
        candidates: vec![Candidate {
            issue,
            sales: count,
            base: Base {
                sequence: issue.sequence().saturating_sub(1),
                height: height.saturating_sub(1),
                issued: at.issued,
            },
            signatures: Vec::new(),
        }],
    })
}

impl Chain<'_> {
    /// The account's `Issue`s with sequences above the one that the folder knows, oldest first, with their blocks.
    fn unknown(&self, state: &State) -> Result<Vec<(Issue, u64)>, Error> {
        let known = state.at().map_or(0, |at| at.sequence);
        let from = state.ledger.entries().last().map_or(0, |last| last.height);
        let (mut unknown, _) = self.issues(from, |_| true)?;
        unknown.retain(|(issue, _)| issue.sequence() > known);
        Ok(unknown)
    }

    /// Which blocks since each candidate was built hold it.
    fn held(&self, candidates: &[Candidate], sight: &Sight) -> Vec<Held> {
        candidates
            .iter()
            .map(|one| self.search(one, sight.height))
            .collect()
    }

    fn search(&self, candidate: &Candidate, height: u64) -> Held {
        let first = candidate.base.height.saturating_add(1);
        let last = height.min(first.saturating_add(MOST_BLOCKS));
        for at in first..=last {
            if at.saturating_sub(first) % REPORT_EVERY == REPORT_EVERY - 1 {
                log::info!(
                    "searching the blocks for {}: block {at} of {last}",
                    candidate.issue.hash()
                );
            }
            match self.node.holds(at, &candidate.issue) {
                Ok(true) => return Held::In(at),
                Ok(false) => {}
                Err(error) => {
                    log::warn!("block {at} cannot be read: {}", crate::error::chain(&error));
                    return Held::Unknown;
                }
            }
        }
        if last < height {
            Held::Unknown
        } else {
            Held::Nowhere
        }
    }
}
