//! The signing service: `argv`, the logger, the run, the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{FromArgValue, FromArgs};
use bitmart_issuer::clock::SystemClock;
use bitmart_issuer::error::Exit;
use bitmart_issuer::ndau::Algorithm;
use bitmart_issuer::service::{Config, Until, keygen, run};
use bitmart_issuer::terminal;
use log::LevelFilter;

/// Holds the keys that can issue ndau, and signs what the integration asks for. It dials out to the integration,
/// which listens only while it has something to sign, and opens no port of its own.
///
/// It signs `Issue` transactions and nothing else, within the policy of its configuration.
#[derive(FromArgs)]
#[argh(
    note = "Set up, once:\n\
    1. `{command_name} keygen` makes a key pair. Make one for the identity of this service and one for the\n   \
    identity of the integration (both ed25519), and one for each key that signs.\n\
    2. Write sigconfig.toml, with mode 600:\n\n  \
    [client]                   # this service's identity: a pair that signs nothing\n  \
    type = \"virtual\"\n  \
    pub_key = \"npub...\"\n  \
    priv_key = \"npvt...\"\n\n  \
    [connections.local]\n  \
    url = \"ws://localhost:20036/signer\"\n  \
    server_key = \"npub...\"     # the integration's identity\n\n  \
    [keys.issue]               # a key that signs\n  \
    type = \"virtual\"\n  \
    pub_key = \"npub...\"\n  \
    priv_key = \"npvt...\"\n\n  \
    [policy]                   # optional\n  \
    max_issue_per_tx = \"50000\" # ndau\n\n\
    3. Give the pub_key under [client] to the integration as its allowed signer.\n\
    4. `{command_name} run --config sigconfig.toml`",
    note = "RUST_LOG sets how much is logged: error, warn, info (the default), debug.",
    error_code(
        0,
        "done: with --once, the transaction is on the chain or was not needed"
    ),
    error_code(64, "usage: fix the command line"),
    error_code(
        69,
        "unavailable: no random bytes from the system, or the answer could not be written"
    ),
    error_code(70, "bug: one of its own invariants is broken"),
    error_code(77, "refused: with --once, a request was refused"),
    error_code(
        78,
        "config: the configuration is missing, wrong, or readable by others"
    )
)]
struct Arguments {
    /// print the version and exit
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(Run),
    Keygen(Keygen),
}

/// Serve the connections of a configuration, until stopped.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
struct Run {
    /// the configuration, sigconfig.toml; only its owner may be able to read it
    #[argh(option, short = 'c')]
    config: PathBuf,
    /// end after one session: 0 when its transaction is on the chain or was not needed, 77 after a refusal
    #[argh(switch)]
    once: bool,
}

/// Print a fresh key pair, as the two lines of a key file or a table of sigconfig.toml.
#[derive(FromArgs)]
#[argh(subcommand, name = "keygen")]
struct Keygen {
    /// ed25519 (the default; an identity must be of it) or secp256k1
    #[argh(option, default = "Kind(Algorithm::Ed25519)")]
    algorithm: Kind,
}

struct Kind(Algorithm);

impl FromArgValue for Kind {
    fn from_arg_value(value: &str) -> Result<Self, String> {
        match value {
            "ed25519" => Ok(Kind(Algorithm::Ed25519)),
            "secp256k1" => Ok(Kind(Algorithm::Secp256k1)),
            _ => Err("it must be ed25519 or secp256k1".to_owned()),
        }
    }
}

const PROGRAM: &str = "ndau-signer";

fn main() -> ExitCode {
    terminal::main(command)
}

fn command() -> Exit {
    let arguments: Arguments = match terminal::arguments(PROGRAM) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    match arguments.command {
        _ if arguments.version => {
            terminal::print(PROGRAM, concat!("ndau-signer ", env!("CARGO_PKG_VERSION")))
        }
        None => terminal::usage(PROGRAM, "one of `run` and `keygen` is needed"),
        Some(Command::Keygen(keygen_arguments)) => match keygen(keygen_arguments.algorithm.0) {
            Ok(pair) => terminal::print(PROGRAM, pair.expose().trim_end()),
            Err(error) => terminal::fail(PROGRAM, &error, error.exit()),
        },
        Some(Command::Run(arguments)) => {
            bitmart_issuer::logging::start(LevelFilter::Info);
            let until = if arguments.once {
                Until::OneSession
            } else {
                Until::Forever
            };
            match Config::load(&arguments.config) {
                Ok(config) => run(&config, &SystemClock, until),
                Err(error) => terminal::fail(PROGRAM, &error, error.exit()),
            }
        }
    }
}
