//! What the two programs write to stderr: records of this project's own modules, at the levels that `RUST_LOG` gives.
//!
//! Records of dependencies are dropped whatever `RUST_LOG` says: at their finer levels they print whole messages.

use log::{LevelFilter, Log, Metadata, Record};

/// The crates whose records are written.
const OURS: [&str; 2] = ["bitmart_issuer", "ndau_signer"];

/// Starts logging to stderr, once, at `default_level` unless `RUST_LOG` says otherwise.
pub fn start(default_level: LevelFilter) {
    let inner = env_logger::Builder::new()
        .filter_level(default_level)
        .parse_env("RUST_LOG")
        .format_target(false)
        .build();
    let level = inner.filter();
    // A second start changes nothing; the first logger stays.
    if log::set_boxed_logger(Box::new(OursOnly(inner))).is_ok() {
        log::set_max_level(level);
    }
}

struct OursOnly<L>(L);

fn is_ours(target: &str) -> bool {
    OURS.iter().any(|name| {
        target
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

impl<L: Log> Log for OursOnly<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata.target()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_ours(record.target()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn only_our_own_records_pass() {
        struct Kept(Mutex<Vec<String>>);
        impl Log for Kept {
            fn enabled(&self, _: &Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &Record<'_>) {
                self.0.lock().unwrap().push(record.target().to_owned());
            }
            fn flush(&self) {}
        }
        let logger = OursOnly(Kept(Mutex::new(Vec::new())));
        for target in [
            "bitmart_issuer",
            "bitmart_issuer::signer::listener",
            "ndau_signer",
            "bitmart_issuer_other",
            "tungstenite::protocol",
            "ureq",
            "",
        ] {
            let record = Record::builder().target(target).build();
            logger.log(&record);
            assert_eq!(logger.enabled(record.metadata()), is_ours(target));
        }
        assert_eq!(
            *logger.0.0.lock().unwrap(),
            [
                "bitmart_issuer",
                "bitmart_issuer::signer::listener",
                "ndau_signer"
            ]
        );
    }
}
