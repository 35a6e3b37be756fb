//! HTTP/1.1 as the servers speak it: requests with a known length in, answers out.

use crate::fault::Html;
use std::io::{self, BufRead, Read, Write};

/// The longest request line or header line, the most headers, the largest body.
const LINE: u64 = 16 * 1024;
const HEADERS: usize = 100;
const BODY: usize = 8 * 1024 * 1024;

/// A request, read whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header's value by its lower-case name; empty counts as absent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A field of the query by its name, decoded.
    pub(crate) fn query_field(&self, name: &str) -> Option<String> {
        form(&self.query)
            .into_iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    pub(crate) fn wants_close(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// The fields of a query or of a form body, decoded.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (percent_decoded(name), percent_decoded(value))
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = tail.get(..2).and_then(|two| hex::decode(two).ok());
                match digits.as_deref() {
                    Some([value]) => {
                        bytes.push(*value);
                        rest = &tail[2..];
                    }
                    _ => bytes.push(byte),
                }
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// No body and no content type.
    pub(crate) fn empty(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response {
            body: body.into(),
            ..Response::empty(status)
        }
        .with("Content-Type", "application/json")
    }

    pub(crate) fn text(status: u16, body: &str) -> Response {
        Response {
            body: body.into(),
            ..Response::empty(status)
        }
        .with("Content-Type", "text/plain; charset=utf-8")
    }

    pub(crate) fn html(page: Html) -> Response {
        let response = Response {
            body: page.page().into(),
            ..Response::empty(page.status())
        }
        .with("Content-Type", "text/html; charset=UTF-8");
        if page.is_cloudflare() {
            response.with("Server", "cloudflare")
        } else {
            response
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// The status line and the headers, the end of the connection announced if asked for.
    pub(crate) fn head(&self, close: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        head.push_str(if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        });
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Payload Too Large",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Sends an answer whole; a headless one is all head.
pub(crate) fn send(
    mut out: impl Write,
    response: &Response,
    close: bool,
    headless: bool,
) -> io::Result<()> {
    let mut bytes = response.head(close).into_bytes();
    if !headless {
        bytes.extend_from_slice(&response.body);
    }
    out.write_all(&bytes)
}

/// The next request of a connection: none when the client has left, a status when it is not HTTP as
/// we speak it.
pub(crate) fn read_request(reader: &mut impl BufRead) -> io::Result<Result<Option<Request>, u16>> {
    let Some(line) = read_line(reader)? else {
        return Ok(Ok(None));
    };
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Ok(Err(400));
    };
    if !version.starts_with("HTTP/1.") {
        return Ok(Err(400));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        ..Request::default()
    };
    loop {
        match read_line(reader)? {
            None => return Ok(Ok(None)),
            Some(line) if line.is_empty() => break,
            Some(line) => {
                let Some((name, value)) = line.split_once(':') else {
                    return Ok(Err(400));
                };
                let header = (name.to_ascii_lowercase(), value.trim().to_owned());
                request.headers.push(header);
            }
        }
        if request.headers.len() > HEADERS {
            return Ok(Err(400));
        }
    }
    if request.header("transfer-encoding").is_some() {
        return Ok(Err(411));
    }
    let length = match request.header("content-length").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(length)) if length <= BODY => length,
        Some(Ok(_)) => return Ok(Err(413)),
        Some(Err(_)) => return Ok(Err(400)),
    };
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Ok(Some(request)))
}

/// A line without its end; none at the end of the stream.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let line = String::from_utf8_lossy(&line);
    Ok(Some(line.trim_end_matches('\r').to_owned()))
}
