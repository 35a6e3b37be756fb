//! Another signing service than this project's, in another language and with other libraries, written from the documents:
//! `tests/python/signer.py`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Place, Plan, Running, key};

const SIGNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/signer.py");
const PACKAGES: &str = "import tomllib, nacl, noise, websockets.sync.client";

/// The interpreter, if it has what the signer needs.
fn python() -> Option<String> {
    let python = std::env::var("NDAU_SIGNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut probe = Command::new(&python);
    probe.args(["-c", PACKAGES]).stderr(Stdio::null());
    if probe.status().is_ok_and(|status| status.success()) {
        return Some(python);
    }
    // Not captured, unlike what is printed with the macros.
    let mut stdout = std::io::stdout();
    let _ = writeln!(
        stdout,
        "python: SKIPPED: {python} is not there or lacks the packages of tests/python/requirements.txt; see \
         tests/python/README.md"
    );
    None
}

/// The other service with the identity and the key `seed`, dialling `url`.
fn signer(place: &Place, python: &str, url: &str, seed: u8) -> Running {
    let config = place.write_sigconfig(&key(100), url, &[key(seed)]);
    Running::start(place.command_of(python, &[SIGNER, &config]))
}

#[test]
fn another_signing_service_signs_a_whole_run() {
    let Some(python) = python() else {
        return;
    };
    let place = Plan::new().start();
    place.exchange.sell("1234.56789012");
    let mut other = None;
    place
        .run_with(|place, url| {
            other = Some(signer(place, &python, url, 1));
            None
        })
        .expect(0, "issued", "1234.56789012");
    place.settled();
    // It was told what became of it.
    let ended = other.unwrap().end();
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(ended.stdout.contains("committed"), "{ended:#?}");
}

#[test]
fn two_kinds_of_signing_services_sign_together() {
    let Some(python) = python() else {
        return;
    };
    let mut plan = Plan::new();
    plan.chain.validation_keys = vec![key(1).public().to_string(), key(2).public().to_string()];
    plan.chain.required_signatures = Some(2);
    plan.signer = format!(
        "allowed = [\"{}\", \"{}\"]",
        key(100).public(),
        key(101).public()
    );
    let place = plan.start();
    place.exchange.sell("5");
    let mut other = None;
    place
        .run_with(|place, url| {
            other = Some(signer(place, &python, url, 1));
            Some(place.signer_as(&key(101), url, &[key(2)]))
        })
        .expect(0, "issued", "5");
    place.settled();
    assert_eq!(other.unwrap().end().code, 0);
}
