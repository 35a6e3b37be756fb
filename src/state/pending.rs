//! `pending.json`: a batch in flight, with every candidate ever built for it.

use serde::{Deserialize, Serialize};

use super::record::{AtRecord, SaleRecord, SeenRecord, StartRecord, all, amount};
use crate::napu::Napu;
use crate::ndau::{Issue, PublicKey, Signature, Verified};
use crate::sales::{At, Batch, Progress, Sale, Start};
use crate::settle::{Base, Candidate};

const VERSION: u64 = 1;

/// A batch in flight. It is on disk before anyone is asked to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The sales.
    pub batch: Batch,
    /// How the cursor moves once they are issued.
    pub progress: Progress,
    /// Sales seen in the same look that wait for another batch, because this one is as large as one can be.
    pub left: Vec<Sale>,
    /// Every `Issue` ever built for the batch, oldest first; all with one sequence.
    pub candidates: Vec<Candidate>,
}

impl Pending {
    /// The sales that a candidate issues, and those that wait for another batch if it is applied.
    pub fn split(&self, candidate: &Candidate) -> (Vec<Sale>, Vec<Sale>) {
        let (issued, rest) = self
            .batch
            .sales()
            .split_at_checked(candidate.sales)
            .unwrap_or((self.batch.sales(), &[]));
        (
            issued.to_vec(),
            rest.iter().chain(&self.left).copied().collect(),
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    quantity_napu: String,
    sales: Vec<SaleRecord>,
    left: Vec<SaleRecord>,
    others: Vec<SeenRecord>,
    start: StartRecord,
    at: AtRecord,
    candidates: Vec<CandidateRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateRecord {
    quantity_napu: String,
    sequence: u64,
    hash: String,
    sales: usize,
    base: BaseRecord,
    signatures: Vec<SignatureRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseRecord {
    sequence: u64,
    height: u64,
    issued_napu: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureRecord {
    key: String,
    signature: String,
}

fn napu(amount: Napu) -> String {
    amount.get().to_string()
}

/// The file's content.
pub(crate) fn print(pending: &Pending) -> Vec<u8> {
    let candidates = pending.candidates.iter().map(|candidate| CandidateRecord {
        quantity_napu: napu(candidate.issue.quantity()),
        sequence: candidate.issue.sequence(),
        hash: candidate.issue.hash().to_string(),
        sales: candidate.sales,
        base: BaseRecord {
            sequence: candidate.base.sequence,
            height: candidate.base.height,
            issued_napu: napu(candidate.base.issued),
        },
        signatures: candidate
            .signatures
            .iter()
            .map(|verified| SignatureRecord {
                key: verified.key().to_string(),
                signature: verified.signature().to_string(),
            })
            .collect(),
    });
    let file = File {
        version: VERSION,
        quantity_napu: napu(pending.batch.quantity()),
        sales: pending.batch.sales().iter().map(SaleRecord::from).collect(),
        left: pending.left.iter().map(SaleRecord::from).collect(),
        others: pending
            .progress
            .others
            .iter()
            .map(SeenRecord::from)
            .collect(),
        start: pending.progress.start.into(),
        at: AtRecord::from(&pending.progress.at),
        candidates: candidates.collect(),
    };
    super::print_json(&file)
}

/// The batch in the file's content. Everything in it that can be computed is, and must agree: sums, hashes,
/// signatures.
pub(crate) fn parse(bytes: &[u8]) -> Result<Pending, String> {
    let file: File = super::parse_json(bytes, VERSION)?;
    let batch = Batch::new(all(file.sales)?).ok_or("its sales are not a batch")?;
    if amount("quantity_napu", &file.quantity_napu)? != batch.quantity() {
        return Err(format!(
            "its quantity is {} napu, its sales are {}",
            file.quantity_napu,
            batch.quantity().get()
        ));
    }
    let candidates = file
        .candidates
        .into_iter()
        .map(|record| candidate(record, &batch))
        .collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(_)) = (candidates.first(), candidates.last()) else {
        return Err("it has no candidate".to_owned());
    };
    if candidates
        .iter()
        .any(|one| one.issue.sequence() != first.issue.sequence())
    {
        return Err("its candidates have different sequences".to_owned());
    }
    let progress = Progress {
        start: Start::try_from(file.start)?,
        at: At::try_from(file.at)?,
        others: all(file.others)?,
    };
    Ok(Pending {
        batch,
        progress,
        left: all(file.left)?,
        candidates,
    })
}

fn candidate(record: CandidateRecord, batch: &Batch) -> Result<Candidate, String> {
    let quantity = amount("candidates.quantity_napu", &record.quantity_napu)?;
    let issue = Issue::new(quantity, record.sequence).map_err(|error| error.to_string())?;
    if issue.hash().as_str() != record.hash {
        return Err(format!(
            "the hash of a candidate is {}, its numbers give {}",
            record.hash,
            issue.hash()
        ));
    }
    if batch
        .oldest(record.sales)
        .is_none_or(|sales| sales.quantity() != quantity)
    {
        return Err(format!(
            "the quantity of candidate {} is not the sum of its sales",
            record.hash
        ));
    }
    let signatures = record
        .signatures
        .into_iter()
        .map(|record| {
            let key = PublicKey::parse(&record.key)
                .map_err(|error| format!("a signature's key: {error}"))?;
            let signature = Signature::parse(&record.signature)
                .map_err(|error| format!("a signature: {error}"))?;
            issue
                .verify(std::slice::from_ref(&key), &key, &signature)
                .map_err(|error| error.to_string())
        })
        .collect::<Result<Vec<Verified>, String>>()?;
    let base = Base {
        sequence: record.base.sequence,
        height: record.base.height,
        issued: amount("candidates.base.issued_napu", &record.base.issued_napu)?,
    };
    Ok(Candidate {
        issue,
        sales: record.sales,
        base,
        signatures,
    })
}
