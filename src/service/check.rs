//! Whether everything that a configuration names is in order, found out without asking for, or giving, a signature that
//! means anything.

use std::fmt;
use std::path::Path;

use serde_json::json;
use tungstenite::protocol::frame::coding::CloseCode;

use super::config::{Connection, Settings, folder, identity};
use super::dial::{Addresses, DialError, greet};
use super::key::{Ask, Written};
use super::signing_log::{IfMissing, look};
use super::stop::Stop;
use crate::error::{Exit, chain};
use crate::signer::{Identity, close};

/// What each key signs to show that it can. It is no transaction of the chain, of whatever type: the bytes of each hold
/// its sequence, a number of 8 bytes, and here is no byte below 32, so that the sequence could only be above 2 * 10^18.
/// The chain takes one that is at most 128 above the last, and no account comes to so many transactions. An `Issue`,
/// moreover, has 16 bytes, and this has more.
const MESSAGE: &[u8] = b"ndau-signer check: this shows that a key signs, and is no transaction";

/// What was found, one thing after the other.
#[derive(Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

/// One thing.
#[derive(Debug)]
struct Finding {
    of: String,
    says: String,
    /// How the program would end if it were for this; `Done` when it is in order.
    exit: Exit,
}

/// Looks at everything. What no file holds is asked for with `ask`; what takes long is ended once it is to
/// stop.
pub fn check(path: &Path, ask: Ask<'_>, stop: &Stop) -> Report {
    let settings = match Settings::load(path) {
        Ok(settings) => settings,
        Err(error) => {
            return Report {
                findings: vec![Finding::wrong("file", chain(&error), error.exit())],
            };
        }
    };
    let folder = folder(path);
    let mut findings = vec![Finding::good(
        "file",
        format!("{}, which only its owner can read", path.display()),
    )];
    let client = identity(path, settings.client, ask);
    findings.push(match &client {
        Ok(client) => Finding::good("client", format!("this service is {}", client.public())),
        Err(error) => Finding::wrong("client", chain(error), error.exit()),
    });
    findings.push(Finding::good("policy", settings.policy.to_string()));
    findings.push(look_at_log(
        &folder.join(&settings.log),
        IfMissing::under(&settings.policy),
    ));
    for key in settings.keys {
        findings.push(look_at_key(key, folder, ask, stop));
    }
    for connection in &settings.connections {
        findings.push(look_at_connection(client.as_ref().ok(), connection, stop));
    }
    Report { findings }
}

/// Whether a service that starts now could use the signing log. One that runs is not disturbed.
fn look_at_log(path: &Path, missing: IfMissing) -> Finding {
    let shown = path.display();
    match look(path, missing) {
        Ok(true) => Finding::good("log", format!("{shown} is whole")),
        Ok(false) => Finding::good(
            "log",
            format!("{shown} is not there yet; the first run makes it"),
        ),
        Err(error) => Finding::wrong("log", chain(&error), error.exit()),
    }
}

fn look_at_key(key: Written, folder: &Path, ask: Ask<'_>, stop: &Stop) -> Finding {
    let (of, kind) = (key.table().to_owned(), key.kind());
    let key = match key.open(folder, ask) {
        Ok(key) => key,
        Err(error) => return Finding::wrong(of, chain(&error), Exit::Config),
    };
    match key.sign(MESSAGE, &|| stop.is_set()) {
        Ok(_) => {
            let public = key.public();
            Finding::good(
                of,
                format!("{public} ({}, {kind}) signs", public.algorithm()),
            )
        }
        Err(error) => Finding::wrong(of, chain(&error), error.exit()),
    }
}

/// Whether who listens is who is meant. That nobody does is the normal state.
fn look_at_connection(client: Option<&Identity>, connection: &Connection, stop: &Stop) -> Finding {
    let of = format!("connections.{}", connection.name);
    let url = &connection.url;
    let Some(client) = client else {
        let says = format!("{url} was not dialed, for want of an identity");
        return Finding::wrong(of, says, Exit::Config);
    };
    match greet(client, connection, &mut Addresses::default(), stop) {
        Ok((mut socket, _)) => {
            close(&mut socket, CloseCode::Normal);
            Finding::good(
                of,
                format!("{url} proved the identity in server_key and lets this service in"),
            )
        }
        Err(error) => {
            let says = format!("{url}: {}", chain(&error));
            match dial_exit(&error) {
                Exit::Done => Finding::good(of, says),
                exit => Finding::wrong(of, says, exit),
            }
        }
    }
}

/// How the program would end for want of this connection.
fn dial_exit(error: &DialError) -> Exit {
    match error {
        DialError::Idle => Exit::Done,
        DialError::Unreachable(_) | DialError::Slow => Exit::Unavailable,
        DialError::Closed => Exit::Refused,
        DialError::WebSocket(_) | DialError::Noise(_) => Exit::Config,
    }
}

impl Finding {
    fn good(of: impl Into<String>, says: String) -> Finding {
        Finding::wrong(of, says, Exit::Done)
    }

    fn wrong(of: impl Into<String>, says: String, exit: Exit) -> Finding {
        Finding {
            of: of.into(),
            says,
            exit,
        }
    }

    fn is_good(&self) -> bool {
        self.exit == Exit::Done
    }
}

impl Report {
    /// How the program ends: what is to be mended by hand comes before what may mend itself.
    pub fn exit(&self) -> Exit {
        let first = [Exit::Config, Exit::BadData, Exit::Refused];
        let rank = |exit: &Exit| {
            first
                .iter()
                .position(|one| one == exit)
                .unwrap_or(first.len())
        };
        let wrong = self.findings.iter().filter(|finding| !finding.is_good());
        let exits = wrong.map(|finding| finding.exit);
        exits.min_by_key(rank).unwrap_or(Exit::Done)
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| json!({ "of": finding.of, "ok": finding.is_good(), "says": finding.says }))
            .collect();
        json!({
            "ok": self.exit() == Exit::Done,
            "exit_code": self.exit().code(),
            "findings": findings,
        })
        .to_string()
    }
}

/// A line for each thing, and the verdict.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = if finding.is_good() { "ok   " } else { "WRONG" };
            writeln!(f, "{mark} {}: {}", finding.of, finding.says)?;
        }
        let wrong = self.findings.iter().filter(|finding| !finding.is_good());
        match wrong.count() {
            0 => f.write_str("all is in order"),
            wrong => write!(
                f,
                "{wrong} of {} not in order [{}: {}]",
                self.findings.len(),
                self.exit().code(),
                self.exit().name()
            ),
        }
    }
}
