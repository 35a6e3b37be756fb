//! `ndau-signer log`: the signing log for people and for programs, each line checked on the way.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use serde_json::json;

use super::line::{Entry, Reader, Verdict};
use super::{LogError, failed, next, require_file};
use crate::clock::utc;
use crate::quote::excerpt;
use crate::report::counted;

/// In what form the log is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table.
    Table,
    /// The lines as they are written, and one more with the result.
    Json,
}

/// Writes the log at `path` to `output`, and then whether it is whole. It is only read, and may be in use.
///
/// # Errors
/// When it cannot be read, when it is not as it was written (what comes before is shown), and when `output` fails.
pub fn show(path: &Path, form: Form, output: &mut dyn Write) -> Result<(), LogError> {
    if !path.exists() {
        return Err(LogError::Missing {
            path: path.to_owned(),
        });
    }
    require_file(path)?;
    let file = File::open(path).map_err(failed("open", path))?;
    let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, &file));
    let mut signed = 0_u64;
    if form == Form::Table {
        row(
            output,
            [
                "time",
                "connection",
                "ndau",
                "sequence",
                "hash",
                "for",
                "verdict",
            ],
        )?;
    }
    loop {
        let entry = match next(&mut reader, path) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                if let (Form::Json, LogError::Damaged { line, what, .. }) = (form, &error) {
                    let result = json!({ "result": "broken", "line": line, "problem": what });
                    writeln!(output, "{result}").map_err(LogError::Output)?;
                }
                return Err(error);
            }
        };
        signed = signed.saturating_add(u64::from(entry.signed().is_some()));
        match form {
            Form::Table => entry_row(output, &entry)?,
            Form::Json => output.write_all(reader.line()).map_err(LogError::Output)?,
        }
    }
    let tail = reader.tail();
    let refused = tail.lines.saturating_sub(signed);
    let result = match form {
        Form::Json => json!({
            "result": "whole",
            "lines": tail.lines,
            "signed": signed,
            "refused": refused,
            "torn_bytes": reader.torn(),
            "last_hash": tail.hash,
        })
        .to_string(),
        Form::Table => {
            let torn = match reader.torn() {
                0 => "",
                _ => " (and one that is being written, or was cut off by a crash)",
            };
            format!(
                "{}{torn}: {signed} signed, {refused} refused; each is as it was written; the last one's hash is {}",
                some(tail.lines, "line"),
                tail.hash
            )
        }
    };
    writeln!(output, "{result}").map_err(LogError::Output)
}

fn entry_row(output: &mut dyn Write, entry: &Entry) -> Result<(), LogError> {
    let context = &entry.context;
    let (ndau, sequence, hash) = match &entry.issue {
        Some(issue) => (
            issue.quantity().to_string(),
            issue.sequence().to_string(),
            issue.hash().to_string(),
        ),
        None => ("-".to_owned(), "-".to_owned(), excerpt(&entry.tx_type)),
    };
    let purpose = format!(
        "{} of {}, {} to {}",
        some(context.trades, "trade"),
        excerpt(&context.symbol),
        excerpt(&context.first_trade_id),
        excerpt(&context.last_trade_id)
    );
    let verdict = match &entry.verdict {
        Verdict::Signed(keys) => {
            let keys: Vec<String> = keys.iter().map(|key| excerpt(key)).collect();
            format!("signed with {}", keys.join(", "))
        }
        Verdict::Refused(reason) => format!("refused: {}", excerpt(reason)),
    };
    row(
        output,
        [
            &utc(entry.time_ms),
            &excerpt(&entry.connection),
            &ndau,
            &sequence,
            &hash,
            &purpose,
            &verdict,
        ],
    )
}

fn row(output: &mut dyn Write, columns: [&str; 7]) -> Result<(), LogError> {
    let [time, connection, ndau, sequence, hash, purpose, verdict] = columns;
    writeln!(
        output,
        "{time:24}  {connection:12}  {ndau:>17}  {sequence:>9}  {hash:22}  {purpose:44}  {verdict}"
    )
    .map_err(LogError::Output)
}

fn some(count: u64, thing: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), thing)
}
