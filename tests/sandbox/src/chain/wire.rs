//! The node's answers, in the original's shapes: field order, nulls and Go's escaping included.

use super::block::{Entry, View};
use super::rules::State;
use super::tx::Tx;
use crate::address::read_address;
use crate::clock::{duration, micros, nanos};
use crate::server::{Request, Response};
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// JSON as Go's encoder writes it: what could end a script element is escaped.
pub(super) fn go_json(status: u16, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("our own structs serialize");
    // Outside strings none of these occur, so replacing them everywhere escapes exactly the strings.
    let text = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Response::json(status, text)
}

#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) msg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<&'a str>,
}

pub(super) fn message(status: u16, msg: &str) -> Response {
    go_json(status, &Message { msg, log: None })
}

/// `/system/get/…`: an unknown name is an empty string, not an error.
pub(super) fn system(view: &View, names: &str) -> Response {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Value<'a> {
        Address([&'a str; 1]),
        Unknown(&'a str),
    }
    let values: BTreeMap<&str, Value> = names
        .split(',')
        .map(|name| match name {
            "ReleaseFromEndowmentAddress" => (name, Value::Address([&view.state.address])),
            _ => (name, Value::Unknown("")),
        })
        .collect();
    go_json(200, &values)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    balance: i64,
    validation_keys: Option<Vec<&'a str>>,
    validation_script: Option<String>,
    rewards_target: Option<()>,
    incoming_rewards_from: Option<()>,
    delegation_node: Option<()>,
    lock: Option<()>,
    #[serde(rename = "lastEAIUpdate")]
    last_eai_update: String,
    #[serde(rename = "lastWAAUpdate")]
    last_waa_update: String,
    weighted_average_age: String,
    sequence: u64,
    #[serde(rename = "stake_rules")]
    stake_rules: Option<()>,
    costakers: BTreeMap<(), ()>,
    holds: Option<Vec<Hold>>,
    recourse_settings: Recourse,
    currency_seat_date: Option<()>,
    parent: Option<()>,
    progenitor: Option<()>,
}

#[derive(Serialize)]
struct Hold {
    qty: i64,
    expiry: Option<()>,
    tx_hash: &'static str,
    stake: Option<()>,
}

#[derive(Serialize)]
struct Recourse {
    period: &'static str,
    changes_at: Option<()>,
    next: Option<()>,
}

/// `/account/account/…`: a valid address without an account is an empty object. Only the issuer's
/// account can be asked for here.
pub(super) fn account(view: &View, text: &str) -> Response {
    let Some(address) = read_address(text) else {
        return message(400, &format!("could not validate addresses: [{text}]"));
    };
    let accounts: BTreeMap<&str, Account> = (address == view.state.address)
        .then(|| (address.as_str(), issuer(&view.state)))
        .into_iter()
        .collect();
    go_json(200, &accounts)
}

fn issuer(state: &State) -> Account<'_> {
    let texts: Vec<&str> = state.keys.iter().map(|(text, _)| text.as_str()).collect();
    let holds = state.holds.iter().map(|&qty| Hold {
        qty,
        expiry: None,
        tx_hash: "",
        stake: None,
    });
    let age = SystemTime::now().duration_since(state.updated);
    Account {
        balance: state.balance,
        validation_keys: (!texts.is_empty()).then_some(texts),
        validation_script: state.script.map(script),
        rewards_target: None,
        incoming_rewards_from: None,
        delegation_node: None,
        lock: None,
        last_eai_update: micros(state.updated),
        last_waa_update: micros(state.updated),
        weighted_average_age: duration(age.unwrap_or_default()),
        sequence: state.sequence,
        stake_rules: None,
        costakers: BTreeMap::new(),
        holds: (!state.holds.is_empty()).then(|| holds.collect()),
        recourse_settings: Recourse {
            period: "t0s",
            changes_at: None,
            next: None,
        },
        currency_seat_date: None,
        parent: None,
        progenitor: None,
    }
}

/// The chaincode that counts the signed bits and fails below this number.
fn script(wanted: usize) -> String {
    let wanted = u8::try_from(wanted).unwrap_or(u8::MAX);
    BASE64.encode(&[0xa0, 0x00, 0xbc, 0x21, wanted, 0xc0, 0x88])
}

/// `/price/current`. The burn rate falls from one half to nothing as the market price rises to 95 % of
/// the target price; both in the recorded numbers.
pub(super) fn price(view: &mut View) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Price {
        market_price: i64,
        target_price: i64,
        floor_price: i64,
        total_released: i64,
        total_issued: i64,
        total_ndau: i64,
        total_burned: i64,
        sib: i64,
    }
    let (released, issued) = view.totals();
    let target: i64 = if released > 0 { 100_000_000_000 } else { 0 };
    let market = view.state.market_price;
    let full = i128::from(target) * 95;
    let sib = if full == 0 {
        0
    } else {
        (500_000_000_000 * (full - i128::from(market) * 100) / full).max(0)
    };
    go_json(
        200,
        &Price {
            market_price: market,
            target_price: target,
            floor_price: 0,
            total_released: released,
            total_issued: issued,
            total_ndau: released.saturating_sub(view.state.fees_paid),
            total_burned: 0,
            sib: i64::try_from(sib).unwrap_or(0),
        },
    )
}

/// `/transaction/detail/…`. What it shows as the transaction is what stands at its offset in its
/// block; with a failed one before it there, that is a neighbour.
pub(super) fn detail(view: &View, hash: &str) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Detail<'a> {
        block_height: u64,
        tx_offset: usize,
        fee: i64,
        #[serde(rename = "SIB")]
        sib: i64,
        tx_hash: &'a str,
        tx_type: &'a str,
        tx_data: &'a Tx,
        timestamp: String,
    }
    let shown = view.find(hash).and_then(|entry| {
        let block = view.blocks.iter().find(|b| b.height == entry.height)?;
        Some((entry, block.txs.get(entry.offset)?))
    });
    let Some((entry, tx)) = shown else {
        return Response::json(200, "null");
    };
    go_json(
        200,
        &Detail {
            block_height: entry.height,
            tx_offset: entry.offset,
            fee: entry.fee,
            sib: 0,
            tx_hash: &entry.hash,
            tx_type: tx.kind(),
            tx_data: tx,
            timestamp: micros(entry.time),
        },
    )
}

/// `/block/transactions/…`: all of a block's, the failed ones too.
pub(super) fn block(view: &View, height: &str) -> Response {
    let Ok(height) = height.parse::<u64>() else {
        return message(400, "height must be a number");
    };
    let block = view.blocks.iter().find(|block| block.height == height);
    let hashes: Vec<String> = block
        .map(|block| block.txs.iter().map(|tx| tx.hash()).collect())
        .unwrap_or_default();
    go_json(200, &hashes)
}

/// `/account/history/…`: hashes of the account's applied transactions, oldest first.
pub(super) fn history(view: &View, address: &str, request: &Request) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item<'a> {
        balance: i64,
        timestamp: String,
        tx_hash: &'a str,
        height: u64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct History<'a> {
        items: Vec<Item<'a>>,
        next: String,
    }
    let Some(address) = read_address(address) else {
        return message(400, &format!("could not validate addresses: [{address}]"));
    };
    let number = |name| request.query_field(name).and_then(|text| text.parse().ok());
    let after: u64 = number("after").unwrap_or(0);
    let limit: u64 = number("limit").unwrap_or(100).clamp(1, 100);
    let ours = |entry: &&Entry| entry.account == address && entry.height > after;
    let mut found: Vec<&Entry> = view.index.iter().filter(ours).collect();
    let limit_size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit_size;
    found.truncate(limit_size);
    let next = match found.last() {
        Some(last) if more => format!("/account/history/?after={}&limit={limit}", last.height),
        _ => String::new(),
    };
    let items = found.into_iter().map(|entry| Item {
        balance: entry.balance,
        timestamp: micros(entry.time),
        tx_hash: &entry.hash,
        height: entry.height,
    });
    go_json(
        200,
        &History {
            items: items.collect(),
            next,
        },
    )
}

/// `/node/status`: tendermint's, with the height as a number.
pub(super) fn status(view: &View, network: &str) -> Response {
    let fingerprint = |what: &str| hex::encode(Sha256::digest(format!("{network} {what}")));
    let key: Vec<u8> = Sha256::digest(format!("{network} validator")).to_vec();
    let time = nanos(view.time);
    let id = fingerprint("node");
    let block = fingerprint(&format!("block {}", view.height)).to_uppercase();
    let app = fingerprint(&format!("app {}", view.height)).to_uppercase();
    let validator = hex::encode(&Sha256::digest(&key)[..20]).to_uppercase();
    let quoted = |text: &str| serde_json::to_string(text).expect("a string is JSON");
    let text = format!(
        concat!(
            r#"{{"node_info":{{"protocol_version":{{"p2p":7,"block":10,"app":0}},"id":"{}","#,
            r#""listen_addr":"tcp://127.0.0.1:46660","network":{},"version":"0.32.6","#,
            r#""channels":"40202122233038","moniker":"sandbox","other":{{"tx_index":"on","#,
            r#""rpc_address":"tcp://127.0.0.1:46670"}}}},"sync_info":{{"latest_block_hash":"{}","#,
            r#""latest_app_hash":"{}","latest_block_height":{},"latest_block_time":"{}","#,
            r#""catching_up":false}},"validator_info":{{"address":"{}","pub_key":{:?},"#,
            r#""voting_power":10}}}}"#
        ),
        &id[..40],
        quoted(network),
        block,
        &app[..40],
        view.height,
        time,
        validator,
        key,
    );
    let raw = RawValue::from_string(text.replace(", ", ",")).expect("the template is JSON");
    go_json(200, &raw)
}

/// `/version`: the only way to tell networks apart.
pub(super) fn version(network: &str) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version<'a> {
        ndau_version: &'a str,
        ndau_sha: &'a str,
        network: &'a str,
    }
    go_json(
        200,
        &Version {
            ndau_version: "unidentified",
            ndau_sha: "unknown",
            network,
        },
    )
}
