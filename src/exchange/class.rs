//! What kind of answer an answer is: one pure function of its status, headers and body. The numbers and texts are those
//! of the documents and of other clients' traces; what they do not know is [`Class::Unknown`], never success.

use super::field;
use super::wire::{self, Envelope};
use crate::http::Response;

/// The questions we ask, by what their answers look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `POST /spot/v4/query/trades`.
    V4Trades,
    /// `GET /system/time`.
    V4Time,
    /// `POST /v2/authentication`.
    V2Token,
    /// `GET /v2/trades`.
    V2Trades,
    /// `GET /v2/orders/<entrust_id>`.
    V2Order,
    /// `GET /v2/time`.
    V2Time,
}

/// A kind of answer, by what is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The answer to the question.
    Ok,
    /// The question is wrong: do not repeat it.
    Request,
    /// The key is wrong: stop.
    Auth,
    /// v2: the token may be stale. One new token, once.
    AuthToken,
    /// The key is right and may not do this: stop.
    Permission,
    /// Our timestamp is off: read the exchange's clock, once.
    Clock,
    /// Wait for the window to pass, a few times.
    RateLimit,
    /// Blocked for not having waited: stop.
    Banned,
    /// Come back later.
    Maintenance,
    /// Ask again in a moment.
    Transient,
    /// The exchange's front, not the exchange: come back later.
    Cloudflare,
    /// Cut, or not what was asked for: ask again in a moment. It is never read as 'no trades'.
    Malformed,
    /// Nothing that we know: stop and tell.
    Unknown,
}

/// A class, and the texts a person needs to judge it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub class: Class,
    pub code: Option<i64>,
    pub message: Option<String>,
    pub trace: Option<String>,
}

/// What kind of answer to `call` this `response` is.
pub(crate) fn judge(call: Call, response: &Response) -> Verdict {
    let Some(envelope) = wire::envelope(&response.body) else {
        return Verdict {
            class: without_json(response),
            code: None,
            message: None,
            trace: None,
        };
    };
    let code = envelope.code.and_then(field::integer);
    let message = envelope.message.or(envelope.msg).and_then(field::text);
    let low = message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let status = response.status;
    let class = match call {
        Call::V4Trades | Call::V4Time => match code {
            Some(1000) if success(status) => shape(call, &envelope),
            Some(code) => v4_code(code, &low).unwrap_or_else(|| by_status(status, Class::Unknown)),
            None if success(status) => Class::Malformed,
            None => by_status(status, Class::Unknown),
        },
        Call::V2Token | Call::V2Trades | Call::V2Order | Call::V2Time => {
            v2(call, status, &envelope, code, &low)
        }
    };
    Verdict {
        class,
        code,
        message,
        trace: envelope.trace.and_then(field::text),
    }
}

fn success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Success, if the field by which the answer is known is there and begins as it should.
fn shape(call: Call, envelope: &Envelope<'_>) -> Class {
    let begins = match call {
        Call::V4Trades | Call::V2Trades => "[",
        Call::V4Time => "{",
        Call::V2Token | Call::V2Order | Call::V2Time => "",
    };
    match envelope.mark_of(call) {
        Some(mark) if mark.get().starts_with(begins) => Class::Ok,
        _ => Class::Malformed,
    }
}

fn v4_code(code: i64, message: &str) -> Option<Class> {
    Some(match code {
        30000 | 30006 | 30008 | 30018 | 30030 | 30031 => Class::Request,
        50000 | 50001 | 50016 | 50021 | 50028 | 50040 | 50041 | 52000 | 52004 => Class::Request,
        30001..=30005 | 30011 => Class::Auth,
        // One code, two meanings: 'Header X-BM-TIMESTAMP range …' and 'Param recvWindow must be …'.
        30007 if message.contains("timestamp") => Class::Clock,
        30007 => Class::Request,
        30010 | 30012 | 30019 | 53000..=53999 => Class::Permission,
        30013 => Class::RateLimit,
        30014 | 50022 | 59000..=59999 | 70003 => Class::Transient,
        30016 => Class::Maintenance,
        30017 => Class::Banned,
        _ => return None,
    })
}

fn v2(call: Call, status: u16, envelope: &Envelope<'_>, code: Option<i64>, message: &str) -> Class {
    match (code, message) {
        (Some(-30), _) => Class::RateLimit,
        // Another code is of an API that we do not know.
        (Some(_), _) => by_status(status, Class::Unknown),
        (None, "") if success(status) => shape(call, envelope),
        (None, "unauthorized") if call != Call::V2Token => Class::AuthToken,
        (None, "unauthorized" | "invalid request") => Class::Auth,
        (None, "not found" | "unknown symbol") => Class::Request,
        // Its text is not known; that it would say so is likely.
        (None, _) if matches!(status, 401 | 403) && message.contains("timestamp") => Class::Clock,
        (None, _) if status == 401 && call == Call::V2Token => Class::Auth,
        (None, _) if status == 401 => Class::AuthToken,
        (None, _) if status == 403 => Class::Permission,
        (None, _) if matches!(status, 400 | 404) => Class::Request,
        (None, _) => by_status(status, Class::Unknown),
    }
}

/// What the status alone says, or `otherwise`.
fn by_status(status: u16, otherwise: Class) -> Class {
    match status {
        404 => Class::Request,
        418 => Class::Banned,
        429 => Class::RateLimit,
        500.. => Class::Transient,
        _ => otherwise,
    }
}

/// An answer that is not a JSON object.
fn without_json(response: &Response) -> Class {
    let body = String::from_utf8_lossy(&response.body).to_ascii_lowercase();
    // All answers come through Cloudflare; its own are pages.
    let page = body.trim_start().starts_with('<');
    let marked = ["cloudflare", "cf-", "/cdn-cgi/"]
        .iter()
        .any(|mark| body.contains(mark))
        || response.header("server") == Some("cloudflare");
    if page && marked && matches!(response.status, 403 | 429 | 503) {
        return Class::Cloudflare;
    }
    by_status(response.status, Class::Malformed)
}

/// How long to wait before the next request, in seconds, if the rate limit's headers say that the window is used up.
/// `Remaining` counts what has been used; at `Limit` it is time to stop.
pub(crate) fn used_up(response: &Response) -> Option<u64> {
    let number = |name| response.header(name)?.trim().parse::<u64>().ok();
    let used = number("x-bm-ratelimit-remaining")?;
    let limit = number("x-bm-ratelimit-limit")?;
    (used >= limit).then(|| reset(response).unwrap_or(2))
}

/// The length of the rate limit's window, in seconds.
pub(crate) fn reset(response: &Response) -> Option<u64> {
    response.header("x-bm-ratelimit-reset")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::group;
    use serde_json::Value;

    fn headers(value: &Value) -> Vec<(String, String)> {
        let pairs = value.as_object().into_iter().flatten();
        pairs
            .filter_map(|(name, value)| Some((name.to_lowercase(), value.as_str()?.to_owned())))
            .collect()
    }

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn every_known_answer_has_its_class() {
        let cases = group("bitmart.json", "errors");
        for case in &cases {
            let answer = Response {
                headers: headers(&case["headers"]),
                ..response(
                    case["status"].as_u64().unwrap().try_into().unwrap(),
                    case["body"].as_str().unwrap(),
                )
            };
            let call = match case["dialect"].as_str() {
                Some("v2") => Call::V2Trades,
                _ => Call::V4Trades,
            };
            let class = match case["class"].as_str().unwrap() {
                "ok" => Class::Ok,
                "request" => Class::Request,
                "auth" => Class::Auth,
                "auth_token" => Class::AuthToken,
                "permission" => Class::Permission,
                "clock" => Class::Clock,
                "rate_limit" => Class::RateLimit,
                "banned" => Class::Banned,
                "maintenance" => Class::Maintenance,
                "transient" => Class::Transient,
                "cloudflare" => Class::Cloudflare,
                "malformed" => Class::Malformed,
                "unknown" => Class::Unknown,
                other => panic!("no class {other}"),
            };
            assert_eq!(judge(call, &answer).class, class, "{case}");
        }
        assert_eq!(cases.len(), 48);
    }

    #[test]
    fn remaining_counts_what_was_used() {
        let cases = group("bitmart.json", "v4_rate_headers");
        for case in &cases {
            let answer = Response {
                headers: headers(case),
                ..response(200, "")
            };
            assert_eq!(
                used_up(&answer).is_some(),
                case["stop"].as_bool().unwrap(),
                "{case}"
            );
        }
        assert_eq!(cases.len(), 5);
        assert_eq!(used_up(&response(200, "")), None);
    }

    #[test]
    fn other_answers_have_the_class_that_guesses_nothing() {
        let v4_trades = [
            (404, "404 page not found", Class::Request),
            (404, r#"{"message":"Not found"}"#, Class::Request),
            (302, "", Class::Malformed),
            (200, "[]", Class::Malformed),
            (200, "{}", Class::Malformed),
            (200, r#"{"code":1000,"data":[]} x"#, Class::Malformed),
            (
                200,
                r#"{"code":1000,"data":[],"data":[]}"#,
                Class::Malformed,
            ),
            (200, r#"{"code":"1000","data":[]}"#, Class::Ok),
            (200, r#"{"code":1e3,"data":[]}"#, Class::Malformed),
            (200, r#"{"code":0,"data":[]}"#, Class::Unknown),
            (500, r#"{"code":1000,"data":[]}"#, Class::Transient),
            (400, r#"{"code":1000,"data":[]}"#, Class::Unknown),
            (401, r#"{"message":"Unauthorized"}"#, Class::Unknown),
            (429, "slow down", Class::RateLimit),
            (418, "", Class::Banned),
            (503, "", Class::Transient),
        ];
        let v4_time = [
            (200, r#"{"code":1000,"data":{}}"#, Class::Ok),
            (200, r#"{"code":1000,"data":[]}"#, Class::Malformed),
        ];
        let v2_trades = [
            (200, r#"{"total_trades":0,"trades":[]}"#, Class::Ok),
            (200, r#"{"total_trades":0,"trades":{}}"#, Class::Malformed),
            (200, r#"{"total_trades":0}"#, Class::Malformed),
            (200, r#"{"message":"Unauthorized"}"#, Class::AuthToken),
            (200, r#"{"message":"new","trades":[]}"#, Class::Unknown),
            (200, r#"{"code":1000,"data":[]}"#, Class::Unknown),
            (404, "404 page not found", Class::Request),
            (403, r#"{"message":"Invalid X-BM-TIMESTAMP"}"#, Class::Clock),
        ];
        let v2_token = [
            (401, r#"{"message":"Unauthorized"}"#, Class::Auth),
            (401, r#"{"message":"No"}"#, Class::Auth),
            (200, r#"{"access_token":"a","expires_in":9}"#, Class::Ok),
            (200, r#"{"expires_in":900}"#, Class::Malformed),
        ];
        let v2_order = [
            (200, r#"{"entrust_id":1,"side":"buy"}"#, Class::Ok),
            (200, r#"{"message":"Not found"}"#, Class::Request),
            (200, r#"{}"#, Class::Malformed),
        ];
        for (call, cases) in [
            (Call::V4Trades, &v4_trades[..]),
            (Call::V4Time, &v4_time),
            (Call::V2Trades, &v2_trades),
            (Call::V2Token, &v2_token),
            (Call::V2Order, &v2_order),
        ] {
            for (status, body, class) in cases {
                let found = judge(call, &response(*status, body)).class;
                assert_eq!(found, *class, "{call:?} {status} {body}");
            }
        }
    }
}
