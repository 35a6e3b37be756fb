//! The one HTTP agent, behind [`Http`]: one request, one response, within a time and a size. It follows no redirect,
//! uses no proxy, treats no status as an error, and logs method, address without its query, status and time, nothing
//! else. What an answer means is not known here.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration as UreqDuration;
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::quote::excerpt;

/// What every server sees as our name. Default names of HTTP libraries are turned away by the exchange's front.
pub const USER_AGENT: &str = concat!("bitmart-issuer/", env!("CARGO_PKG_VERSION"));

/// One request. It has no `Debug`: headers and body may carry credentials.
pub struct Request {
    /// The whole address, with its query.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(&'static str, String)>,
    /// `None` sends a GET, `Some` a POST with exactly these bytes.
    pub body: Option<Vec<u8>>,
    /// The time for all of it, from resolving the name to the last byte of the answer.
    pub within: Duration,
    /// The largest body that is read.
    pub max_bytes: u64,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header names, in lower case, and the values that are text.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The start of the body as one line of text, for an error message.
    pub fn excerpt(&self) -> String {
        excerpt(&String::from_utf8_lossy(&self.body))
    }
}

/// Where requests go: the seam under everything that speaks HTTP.
pub trait Http {
    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// When no whole answer came. Whether the request arrived is then unknown.
    fn send(&self, request: &Request) -> Result<Response, Error>;
}

/// No whole answer. Addresses are given without their query.
#[derive(Debug)]
pub enum Error {
    /// It took longer than the request's limit: look at the server and the network between.
    Timeout {
        /// Who was asked.
        url: String,
        /// The limit.
        within: Duration,
    },
    /// The answer is longer than any honest one.
    TooLarge {
        /// Who was asked.
        url: String,
        /// The limit.
        max_bytes: u64,
    },
    /// The name was not found, the connection refused or cut, or the answer was not HTTP.
    Failed {
        /// Who was asked.
        url: String,
        /// What went wrong below.
        source: ureq::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Timeout { url, within } => {
                write!(f, "no whole answer from {url} within {within:?}",)
            }
            Error::TooLarge { url, max_bytes } => {
                write!(f, "the answer of {url} is larger than {max_bytes} bytes")
            }
            Error::Failed { url, .. } => write!(f, "no answer from {url}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Failed { source, .. } => Some(source),
            Error::Timeout { .. } | Error::TooLarge { .. } => None,
        }
    }
}

/// The real thing, over ureq and rustls.
#[derive(Debug)]
pub struct UreqHttp {
    agent: Agent,
}

impl UreqHttp {
    /// An agent with nothing left to its defaults that could follow, retry, or wait without end.
    pub fn new() -> UreqHttp {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(USER_AGENT)
            .timeout_connect(Some(Duration::from_secs(10)))
            .tls_config(TlsConfig::default())
            .build();
        UreqHttp {
            agent: Agent::with_parts(config, DefaultConnector::default(), BlockingResolver),
        }
    }
}

impl Default for UreqHttp {
    fn default() -> Self {
        UreqHttp::new()
    }
}

impl Http for UreqHttp {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let url = without_query(&request.url).to_owned();
        let started = Instant::now();
        let method = if request.body.is_some() {
            "POST"
        } else {
            "GET"
        };
        let answer = self.exchange(request);
        let elapsed = started.elapsed().as_millis();
        match &answer {
            Ok(response) => {
                log::debug!(
                    "{method} {url}: {} and {} bytes in {elapsed} ms",
                    response.status,
                    response.body.len()
                );
            }
            Err(error) => log::debug!("{method} {url}: failed in {elapsed} ms: {error}"),
        }
        answer.map_err(|source| match source {
            ureq::Error::Timeout(_) => Error::Timeout {
                url,
                within: request.within,
            },
            ureq::Error::BodyExceedsLimit(max_bytes) => Error::TooLarge { url, max_bytes },
            source => Error::Failed { url, source },
        })
    }
}

impl UreqHttp {
    fn exchange(&self, request: &Request) -> Result<Response, ureq::Error> {
        let mut response = match &request.body {
            Some(body) => {
                let mut call = self.agent.post(&request.url);
                for (name, value) in &request.headers {
                    call = call.header(*name, value);
                }
                call.config()
                    .timeout_global(Some(request.within))
                    .build()
                    .send(body.as_slice())?
            }
            None => {
                let mut call = self.agent.get(&request.url);
                for (name, value) in &request.headers {
                    call = call.header(*name, value);
                }
                call.config()
                    .timeout_global(Some(request.within))
                    .build()
                    .call()?
            }
        };
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect();
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(request.max_bytes)
            .read_to_vec()?;
        Ok(Response {
            status,
            headers,
            body,
        })
    }
}

/// `url` up to its query.
pub fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// Looks names up in this thread: ureq's own resolver starts one for every look-up that has a time limit.
#[derive(Debug)]
struct BlockingResolver;

impl Resolver for BlockingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let unlimited = NextTimeout {
            after: UreqDuration::NotHappening,
            ..timeout
        };
        DefaultResolver::default().resolve(uri, config, unlimited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_not_part_of_what_is_printed() {
        assert_eq!(
            without_query("https://host/path?secret=1"),
            "https://host/path"
        );
    }
}
