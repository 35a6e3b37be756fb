//! What can go wrong between a server and its client.

use std::time::Duration;

/// A fault of a whole server: it stays until it is replaced or taken away. The last four wrap another
/// one and narrow when it strikes; where they do not strike the server answers as always.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Every connection is closed at once, unread.
    Down,
    /// The request is read and never answered; the work it asks for is not done.
    Silent,
    /// The work is done at once, the answer comes after this time.
    Slow(Duration),
    /// The answer comes byte by byte, with this pause before each byte.
    Trickle(Duration),
    /// A page for people instead of an answer; the work is not done.
    Html(Html),
    /// The work is done; the answer announces its whole length, half of it comes, then the end.
    CutOff,
    /// This status and this body (as JSON) instead of an answer; the work is not done.
    Status(u16, String),
    /// 302 to this address.
    Redirect(String),
    /// Exchange only. v4: code 30016 in a 200; v2: a 500.
    Maintenance,
    /// Exchange only. v4: 429, code 30013, with its headers; v2: code -30 in a 200.
    RateLimited,
    /// Chain only: the node answers, something behind it does not.
    Node(NodeTrouble),
    /// Only the nth matching request from now, counted from 1.
    OnRequest(u32, Box<Fault>),
    /// Only the first n matching requests from now.
    Times(u32, Box<Fault>),
    /// Only requests whose path begins with this text.
    OnPath(String, Box<Fault>),
    /// The first of these that strikes.
    FirstOf(Vec<Fault>),
}

/// The HTML answers that stand in front of APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Html {
    /// 502 of a proxy.
    BadGateway,
    /// 504 of a proxy.
    GatewayTimeout,
    /// 403 with Cloudflare's 1010 page.
    Cloudflare,
    /// 503 with Cloudflare's challenge.
    CloudflareChallenge,
}

/// What a chain node's API says when something behind it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeTrouble {
    /// Tendermint does not listen: 500s, health included; `/price/current` is an empty 200.
    TendermintDown,
    /// The application behind tendermint is dead: 500s, and yet health says Ok.
    ApplicationDown,
    /// The redis index is down: submit, prevalidate and detail are 500s, all else works.
    IndexDown,
}

impl Fault {
    /// The fault that strikes this request, wrappers resolved; counts the request where one counts.
    pub(crate) fn strike(&mut self, path: &str) -> Option<Fault> {
        match self {
            Fault::OnRequest(left, fault) => {
                *left = left.checked_sub(1)?;
                if *left == 0 { fault.strike(path) } else { None }
            }
            Fault::Times(left, fault) => {
                *left = left.checked_sub(1)?;
                fault.strike(path)
            }
            Fault::OnPath(prefix, fault) => {
                if path.starts_with(prefix.as_str()) {
                    fault.strike(path)
                } else {
                    None
                }
            }
            Fault::FirstOf(faults) => faults.iter_mut().find_map(|fault| fault.strike(path)),
            plain => Some(plain.clone()),
        }
    }
}

impl Html {
    pub(crate) fn status(self) -> u16 {
        match self {
            Html::BadGateway => 502,
            Html::GatewayTimeout => 504,
            Html::Cloudflare => 403,
            Html::CloudflareChallenge => 503,
        }
    }

    pub(crate) fn page(self) -> &'static str {
        match self {
            Html::BadGateway => "<html><body><h1>502 Bad Gateway</h1></body></html>",
            Html::GatewayTimeout => "<html><body><h1>504 Gateway Time-out</h1></body></html>",
            Html::Cloudflare => {
                "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>\
                 <body>cf-error-details 1010</body></html>"
            }
            Html::CloudflareChallenge => {
                "<html><title>Just a moment...</title>\
                 <script src=\"/cdn-cgi/challenge-platform/x.js\"></script></html>"
            }
        }
    }

    pub(crate) fn is_cloudflare(self) -> bool {
        matches!(self, Html::Cloudflare | Html::CloudflareChallenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_fault_strikes_only_when_its_turn_comes() {
        let mut third = Fault::OnPath(
            "/tx/submit".into(),
            Box::new(Fault::OnRequest(2, Box::new(Fault::Silent))),
        );
        let struck: Vec<bool> = [
            "/tx/submit/Issue",
            "/version",
            "/tx/submit/Issue",
            "/tx/submit/Issue",
        ]
        .into_iter()
        .map(|path| third.strike(path).is_some())
        .collect();
        assert_eq!(struck, [false, false, true, false]);

        let mut twice = Fault::Times(2, Box::new(Fault::CutOff));
        let struck = (0..3).filter(|_| twice.strike("/").is_some()).count();
        assert_eq!(struck, 2);
    }
}
