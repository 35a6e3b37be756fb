//! Answers that others recorded give the totals that others computed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::super::class::{Call, Class, judge};
use super::super::found::Found;
use super::super::wire;
use super::*;
use crate::http::Response;
use crate::vectors::group;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Checks what came of a set against what is expected of it.
fn compare(set: &Value, outcome: Result<Vec<Trade>, Error>) {
    let (name, expect) = (text(set, "name"), &set["expect"]);
    match (expect["total_napu"].as_u64(), outcome) {
        (Some(napu), Ok(trades)) => {
            assert_eq!(total(&trades), napu, "{name}");
            assert_eq!(
                Some(len(sales(&trades))),
                expect["sales"].as_u64(),
                "{name}"
            );
            assert_eq!(
                Some(len(trades.len())),
                expect["unique_trades"].as_u64(),
                "{name}"
            );
            let mut expected: Vec<u64> = expect["sale_ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().parse().unwrap())
                .collect();
            let mut sold: Vec<u64> = trades
                .iter()
                .filter(|t| t.side != Side::Buy)
                .map(|t| t.id.trade)
                .collect();
            expected.sort_unstable();
            sold.sort_unstable();
            assert_eq!(sold, expected, "{name}");
        }
        (Some(_), Err(error)) => panic!("{name}: {error}"),
        (None, Ok(trades)) => panic!("{name} gave {}", total(&trades)),
        (None, Err(Error::Amount { .. })) => assert_eq!(expect["reject"], true, "{name}"),
        (None, Err(error)) => assert_eq!(expect["error"], true, "{name}: {error}"),
    }
}

#[test]
fn recorded_v2_answers_give_the_exact_totals() {
    let cases = group("bitmart.json", "trades");
    let sets: Vec<&Value> = cases.iter().filter(|set| set["dialect"] == "v2").collect();
    for set in &sets {
        let mut answers = BTreeMap::new();
        let answer = |value: &Value| {
            (
                u16::try_from(value["status"].as_u64().unwrap()).unwrap(),
                text(value, "body").to_owned(),
            )
        };
        for page in set["pages"].as_array().unwrap() {
            let path = text(page, "request").strip_prefix("GET ").unwrap();
            answers.insert(path.to_owned(), answer(page));
        }
        for (order, value) in set["orders"].as_object().unwrap() {
            answers.insert(format!("/v2/orders/{order}"), answer(value));
        }
        let token = r#"{"access_token":"m261ae","expires_in":900}"#;
        answers.insert("/v2/authentication".to_owned(), (200, token.to_owned()));
        let limit = text(&set["pages"][0], "request")
            .rsplit_once('=')
            .unwrap()
            .1;
        let clock = FakeClock::at(1_567_200_000_000);
        let recorded = Recorded {
            answers,
            asked: RefCell::default(),
        };
        let after = set["after_trade_id"]
            .as_str()
            .map(|id| id.parse::<u64>().unwrap());
        let since = match after {
            None => Since::Beginning,
            Some(after) => {
                // The time of the cursor's own trade.
                let row = recorded
                    .answers
                    .values()
                    .filter_map(|(_, body)| wire::v2_page(body.as_bytes()).ok())
                    .flat_map(|page| page.rows)
                    .find(|row| row.id.trade == after);
                Since::Time(row.unwrap().time_ms)
            }
        };
        let outcome = fetch(
            &recorded,
            &clock,
            limit.parse().unwrap(),
            since,
            Some(Dialect::V2),
        );
        let kept = outcome.map(|history| {
            let mut trades = history.trades;
            trades.retain(|trade| after.is_none_or(|after| trade.id.trade > after));
            trades
        });
        compare(set, kept);
        let mut asked = recorded.asked.into_inner();
        if after.is_some() {
            assert!(
                !asked.iter().any(|path| path.contains("offset=2")),
                "{asked:?}"
            );
        }
        if set["expect"]["error"] != true {
            asked.sort_unstable();
            let before = asked.len();
            asked.dedup();
            assert_eq!(asked.len(), before, "something was asked for twice");
        }
    }
    assert_eq!(sets.len(), 11);
}

/// What the parts of the client make of the recorded pages as they are.
fn merge(set: &Value) -> Result<Vec<Trade>, Error> {
    let mut found = Found::default();
    for page in set["pages"].as_array().unwrap() {
        let response = Response {
            status: page["status"].as_u64().unwrap().try_into().unwrap(),
            headers: Vec::new(),
            body: text(page, "body").as_bytes().to_vec(),
        };
        let verdict = judge(Call::V4Trades, &response);
        if verdict.class != Class::Ok {
            return Err(Error::Incomplete { read: 0, total: 0 });
        }
        for row in wire::v4_trades(&response.body)? {
            if row.symbol == text(set, "symbol") {
                found.add(row.trade(row.side)?)?;
            }
        }
    }
    Ok(found.into_sorted())
}

/// The trades on the pages of a v4 set that can be read.
fn trades_of(set: &Value) -> Vec<Held> {
    let mut trades = Vec::new();
    for page in set["pages"].as_array().unwrap() {
        let Ok(body) = serde_json::from_str::<Value>(text(page, "body")) else {
            continue;
        };
        for row in body["data"].as_array().into_iter().flatten() {
            let trade = Held {
                trade: text(row, "tradeId").parse().unwrap(),
                order: text(row, "orderId").parse().unwrap(),
                time_ms: row["createTime"].as_u64().unwrap(),
                symbol: text(row, "symbol").to_owned(),
                sold: row["side"] == "sell",
                size: row["size"].to_string(),
            };
            if !trades.contains(&trade) {
                trades.push(trade);
            }
        }
    }
    trades
}

#[test]
fn recorded_v4_answers_give_the_exact_totals() {
    let cases = group("bitmart.json", "trades");
    let sets: Vec<&Value> = cases.iter().filter(|set| set["dialect"] == "v4").collect();
    for set in &sets {
        compare(set, merge(set));
        // The same trades through the whole client, whose windows are others than the recorded ones.
        let trades = trades_of(set);
        let first = trades.iter().map(|t| t.time_ms).min().unwrap();
        let last = trades.iter().map(|t| t.time_ms).max().unwrap();
        for sorted in [Sorted::NewestFirst, Sorted::OldestFirst, Sorted::Shuffled] {
            let clock = FakeClock::at(last + 1000);
            let mut fake = Fake::new(&clock, trades.clone());
            fake.sorted = sorted;
            if set["expect"]["error"] == true {
                let bad = set["pages"].as_array().unwrap().iter().find_map(|page| {
                    let body = text(page, "body");
                    let whole = body.starts_with("{\"code\":1000") && body.ends_with('}');
                    (!whole).then(|| body.to_owned())
                });
                for _ in 0..3 {
                    fake.script
                        .borrow_mut()
                        .push_back(Some((200, vec![], bad.clone().unwrap())));
                }
            }
            let outcome = fetch(&fake, &clock, 5, Since::Time(first), Some(Dialect::V4));
            compare(set, outcome.map(|history| history.trades));
        }
    }
    assert_eq!(sets.len(), 12);
}
