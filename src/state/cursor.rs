//! `cursor.json`: the last-seen-trade cursor.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::record::{AtRecord, SeenRecord, StartRecord, all};
use crate::sales::{At, Cursor, Start};

const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    symbol: String,
    start: StartRecord,
    at: Option<AtRecord>,
    seen: Vec<SeenRecord>,
}

/// The file's content.
pub(crate) fn print(cursor: &Cursor) -> Vec<u8> {
    let file = File {
        version: VERSION,
        symbol: cursor.symbol.clone(),
        start: cursor.start.into(),
        at: cursor.at.as_ref().map(AtRecord::from),
        seen: cursor.seen.iter().map(SeenRecord::from).collect(),
    };
    super::print_json(&file)
}

/// The cursor in the file's content.
pub(crate) fn parse(bytes: &[u8]) -> Result<Cursor, String> {
    let file: File = super::parse_json(bytes, VERSION)?;
    let start = Start::try_from(file.start)?;
    let at = file.at.map(At::try_from).transpose()?;
    if at.is_some() && matches!(start, Start::Trade(_)) {
        return Err(
            "it stands somewhere, but the trade that it starts after was never found".to_owned(),
        );
    }
    let count = file.seen.len();
    let seen: BTreeSet<_> = all(file.seen)?.into_iter().collect();
    if seen.len() != count {
        return Err("a trade stands in it twice".to_owned());
    }
    Ok(Cursor {
        start,
        symbol: file.symbol,
        at,
        seen,
    })
}
