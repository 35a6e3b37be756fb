//! The exchange over its own HTTP.

use super::*;
use serde_json::{Value, json};
use std::time::Duration;

mod v2;
mod v4;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent("sandbox-test/1")
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

/// A signed request for trades, each part of which a test may spoil.
struct Ask {
    key: String,
    memo: String,
    secret: String,
    offset_ms: i64,
    body: String,
}

impl Ask {
    fn new(exchange: &Exchange, body: &Value) -> Ask {
        let settings = exchange.settings();
        Ask {
            key: settings.access.clone(),
            memo: settings.memo.clone(),
            secret: settings.secret.clone(),
            offset_ms: 0,
            body: body.to_string(),
        }
    }

    fn send(&self, exchange: &Exchange) -> (u16, Value) {
        let stamp = exchange.now_ms() + self.offset_ms;
        let message = format!("{stamp}#{}#{}", self.memo, self.body);
        let mut answer = agent()
            .post(format!("{}/spot/v4/query/trades", exchange.url()))
            .header("X-BM-KEY", &self.key)
            .header("X-BM-TIMESTAMP", stamp.to_string())
            .header("X-BM-SIGN", hmac_hex(&self.secret, message.as_bytes()))
            .header("Content-Type", "application/json")
            .send(&self.body)
            .expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().expect("a body");
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

fn trades(exchange: &Exchange, body: &Value) -> (u16, Value) {
    Ask::new(exchange, body).send(exchange)
}

fn code(answer: &(u16, Value)) -> (u16, u64) {
    (answer.0, answer.1["code"].as_u64().unwrap_or(0))
}

fn token(exchange: &Exchange, secret: &str) -> (u16, Value) {
    let settings = exchange.settings();
    let message = format!("{}:{}:{}", settings.access, secret, settings.memo);
    let mut answer = agent()
        .post(format!("{}/v2/authentication", exchange.url()))
        .send_form([
            ("grant_type", "client_credentials"),
            ("client_id", &settings.access),
            ("client_secret", &hmac_hex(secret, message.as_bytes())),
        ])
        .expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&body).expect("JSON"))
}

fn v2(exchange: &Exchange, token: &str, offset_ms: i64, path: &str) -> (u16, Value) {
    let mut answer = agent()
        .get(format!("{}{path}", exchange.url()))
        .header("X-BM-AUTHORIZATION", format!("Bearer {token}"))
        .header(
            "X-BM-TIMESTAMP",
            (exchange.now_ms() + offset_ms).to_string(),
        )
        .call()
        .expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&body).expect("JSON"))
}

fn good_token(exchange: &Exchange) -> String {
    let (status, answer) = token(exchange, &exchange.settings().secret);
    assert_eq!((status, &answer["expires_in"]), (200, &json!(900)));
    answer["access_token"].as_str().expect("a text").to_owned()
}

/// Each dialect that is not spoken says so in its own way; trouble does too.
#[test]
fn what_is_not_served_is_not_found() {
    let exchange = Exchange::start(Settings {
        speaks_v4: false,
        ..Settings::default()
    });
    assert_eq!(code(&trades(&exchange, &json!({}))), (404, 30000));
    exchange.set_fault(Some(Fault::Maintenance));
    assert_eq!(code(&trades(&exchange, &json!({}))), (200, 30016));
    exchange.set_fault(Some(Fault::RateLimited));
    assert_eq!(code(&trades(&exchange, &json!({}))), (429, 30013));
    let only_v4 = Exchange::start(Settings {
        speaks_v2: false,
        ..Settings::default()
    });
    assert_eq!(
        v2(&only_v4, "any", 0, "/v2/time"),
        (404, json!({"message": "Not found"}))
    );
}

#[test]
fn faults_reach_the_client_and_pass() {
    let exchange = Exchange::start(Settings::default());
    let time = || {
        let mut answer = agent()
            .get(format!("{}/system/time", exchange.url()))
            .call()?;
        answer.body_mut().read_to_string()
    };
    exchange.set_fault(Some(Fault::Down));
    assert!(time().is_err());
    exchange.set_fault(Some(Fault::OnRequest(2, Box::new(Fault::CutOff))));
    assert!(time().is_ok());
    assert!(time().is_err());
    assert!(time().is_ok());
    exchange.set_fault(Some(Fault::Slow(Duration::from_millis(20))));
    assert!(time().is_ok());
    let impatient: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(100)))
        .build()
        .into();
    exchange.set_fault(Some(Fault::Silent));
    assert!(impatient.get(exchange.url()).call().is_err());
    exchange.set_fault(None);
    assert!(time().is_ok());
    let seen = exchange.requests();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[4].status, None);
    assert_eq!(seen[5].status, Some(200));
}

/// Repeated trades fill an answer at most up to its limit.
#[test]
fn repeated_and_lost_rows_are_faults_of_the_data() {
    let exchange = Exchange::start(Settings::default());
    let sold: Vec<TradeRef> = ["1", "2", "3"].map(|q| exchange.sell(q)).to_vec();
    exchange.set_repeat_trades(true);
    let count = |limit: u32| {
        let answer = trades(&exchange, &json!({"limit": limit}));
        answer.1["data"].as_array().map(Vec::len)
    };
    assert_eq!(
        (count(200), count(5), count(2)),
        (Some(6), Some(5), Some(2))
    );
    let token = good_token(&exchange);
    let path = format!("/v2/orders/{}", sold[0].order);
    assert_eq!(v2(&exchange, &token, 0, &path).0, 200);
    exchange.forget_order(sold[0].order);
    assert_eq!(v2(&exchange, &token, 0, &path).0, 404);
    exchange.set_order_status(sold[1].order, 4);
    let path = "/v2/orders?symbol=XND_USDT&status=4&offset=0&limit=50";
    assert_eq!(v2(&exchange, &token, 0, path).1["total_orders"], 1);
}

/// The clock of the exchange is its own.
#[test]
fn a_clock_that_is_off_is_told_and_judged_by() {
    let exchange = Exchange::start(Settings {
        clock_offset_ms: -3_600_000,
        ..Settings::default()
    });
    let mut answer = agent()
        .get(format!("{}/system/time", exchange.url()))
        .call()
        .expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let told = body["data"]["server_time"].as_i64().expect("a number");
    assert!(told < crate::clock::now_ms() - 3_000_000);
    let ask = Ask {
        offset_ms: 3_600_000,
        ..Ask::new(&exchange, &json!({}))
    };
    assert_eq!(code(&ask.send(&exchange)), (401, 30007));
    assert_eq!(code(&trades(&exchange, &json!({}))), (200, 1000));
}
