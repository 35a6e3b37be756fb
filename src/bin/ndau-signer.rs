//! The signing service: `argv`, the logger, the run, the exit code.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{FromArgValue, FromArgs};
use bitmart_issuer::clock::{Clock, SystemClock};
use bitmart_issuer::error::Exit;
use bitmart_issuer::ndau::Algorithm;
use bitmart_issuer::service::{
    Config, Form, IfMissing, LogError, SigningLog, Stop, Until, World, check, keygen, log_path,
    run, show,
};
use bitmart_issuer::state::HostDisk;
use bitmart_issuer::terminal;
use log::LevelFilter;

/// Holds the keys that can issue ndau, and signs what the integration asks for. It dials out to the integration,
/// which listens only while it has something to sign, and opens no port of its own.
///
/// It signs `Issue` transactions and nothing else, within the policy of its configuration.
#[derive(FromArgs)]
#[argh(
    note = "Set up, once:\n\
    1. `{command_name} keygen` makes a key pair. Make one for the identity of this service (ed25519), and one for each\n   \
    key that signs. The integration's identity is made on its own host, by `bitmart-issuer init`.\n\
    2. Write sigconfig.toml, with mode 600:\n\n  \
    [client]                   # this service's identity: a pair that signs nothing\n  \
    type = \"virtual\"\n  \
    pub_key = \"npub...\"\n  \
    priv_key = \"npvt...\"\n\n  \
    [connections.local]\n  \
    url = \"ws://localhost:20036/signer\"\n  \
    server_key = \"npub...\"     # the integration's identity, as `bitmart-issuer init` prints it\n  \
    # keys = [\"issue\"]         # the keys that sign for it, if not all of them\n\n  \
    [keys.issue]               # a key that signs\n  \
    type = \"virtual\"\n  \
    pub_key = \"npub...\"\n  \
    priv_key = \"npvt...\"       # or priv_key_file = \"issue.key\"; or neither, and it is asked for\n  \
    # or a program signs, which reads the message on stdin and writes the signature to stdout:\n  \
    # type = \"command\", command = [\"./sign\", \"--slot\", \"2\"], timeout = \"30s\"\n  \
    # or a YubiHSM 2, in a build with the feature: type = \"yubihsm\", connector, auth_key, password_file, key\n\n  \
    [policy]                   # optional, and so is each line of it\n  \
    max_issue_per_tx = \"50000\" # ndau\n  \
    max_issue_per_day = \"200000\" # ndau, within any 24 hours\n  \
    confirm = true             # a person at the terminal is asked each time\n\n  \
    [log]                      # optional: what was signed and refused, beside this file unless said otherwise\n  \
    path = \"ndau-signer.log.jsonl\"\n\n\
    3. Give the pub_key under [client] to the integration as its allowed signer.\n\
    4. With max_issue_per_day: `{command_name} log --begin --config sigconfig.toml` begins the log that it is counted from.\n\
    5. `{command_name} check --config sigconfig.toml` says whether all of this is in order.\n\
    6. `{command_name} run --config sigconfig.toml`",
    note = "SIGTERM and SIGINT end `run` with 0 within about two seconds; a second signal ends it at once.",
    note = "RUST_LOG sets how much is logged: error, warn, info (the default), debug.",
    error_code(
        0,
        "done: told to stop by SIGTERM or SIGINT; with --once, the transaction is on the chain or was not needed"
    ),
    error_code(64, "usage: fix the command line"),
    error_code(
        65,
        "bad data: a line of the signing log is not as it was written; the message names it"
    ),
    error_code(
        69,
        "unavailable: another process holds the signing log, or no random bytes from the system; with check, something that cannot be had now"
    ),
    error_code(70, "bug: one of its own invariants is broken"),
    error_code(
        74,
        "disk: the signing log cannot be read or written; or only the result could not be printed"
    ),
    error_code(
        77,
        "refused: with --once, a request was refused; with check, the integration or a device says no"
    ),
    error_code(78, "config: the configuration is missing, wrong, or open to others")
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
    Check(Check),
    Log(Log),
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

/// Say whether a configuration, all that it names and whoever listens now are in order: 0 when they are. Each key signs a
/// text that is no transaction; nothing is asked for or given a signature that means anything.
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct Check {
    /// the configuration, sigconfig.toml
    #[argh(option, short = 'c')]
    config: PathBuf,
    /// one JSON object instead of lines for people
    #[argh(switch)]
    json: bool,
}

/// Show the signing log and verify it: each line carries the hash of the one before. 65 when a line is not as it was written.
#[derive(FromArgs)]
#[argh(subcommand, name = "log")]
struct Log {
    /// the configuration that says where the log is; no other secret is read
    #[argh(option, short = 'c')]
    config: Option<PathBuf>,
    /// the log itself, instead of a configuration
    #[argh(option)]
    log: Option<PathBuf>,
    /// the lines as they are, and one more with the result
    #[argh(switch)]
    json: bool,
    /// begin the log, where there is none: with max_issue_per_day, `run` does not begin one by itself, since nothing would
    /// count yet
    #[argh(switch)]
    begin: bool,
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
    terminal::close_memory();
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
        None => terminal::usage(
            PROGRAM,
            "one of `run`, `check`, `log` and `keygen` is needed",
        ),
        Some(Command::Keygen(keygen_arguments)) => match keygen(keygen_arguments.algorithm.0) {
            Ok(pair) => terminal::print(PROGRAM, pair.expose().trim_end()),
            Err(error) => terminal::fail(PROGRAM, &error, error.exit()),
        },
        Some(Command::Check(arguments)) => {
            let stop = match Stop::on_signals() {
                Ok(stop) => stop,
                Err(error) => return terminal::fail(PROGRAM, &error, Exit::Unavailable),
            };
            let ask = |question: &str| terminal::ask(question, &|| stop.is_set());
            let report = check(&arguments.config, &ask, &stop);
            let printed = if arguments.json {
                terminal::print(PROGRAM, report.json())
            } else {
                terminal::print(PROGRAM, &report)
            };
            match printed {
                Exit::Done => report.exit(),
                lost => lost,
            }
        }
        Some(Command::Log(arguments)) => show_log(&arguments),
        Some(Command::Run(arguments)) => {
            bitmart_issuer::logging::start(LevelFilter::Info);
            let until = if arguments.once {
                Until::OneSession
            } else {
                Until::Forever
            };
            let stop = match Stop::on_signals() {
                Ok(stop) => stop,
                Err(error) => return terminal::fail(PROGRAM, &error, Exit::Unavailable),
            };
            let ask = |question: &str| terminal::ask(question, &|| stop.is_set());
            match Config::load(&arguments.config, &ask) {
                Ok(config) => serve(&config, &stop, until),
                // It was told to before it had all that it was to ask for.
                Err(_) if stop.is_set() => Exit::Done,
                Err(error) => terminal::fail(PROGRAM, &error, error.exit()),
            }
        }
    }
}

fn serve(config: &Config, stop: &Stop, until: Until) -> Exit {
    let log = match SigningLog::open(
        &HostDisk,
        &config.log,
        SystemClock.now_ms(),
        IfMissing::under(&config.policy),
    ) {
        Ok(log) => log,
        Err(error) => return terminal::fail(PROGRAM, &error, error.exit()),
    };
    let input = std::io::stdin();
    let world = World {
        clock: &SystemClock,
        stop,
        input: input.as_fd(),
    };
    run(config, log, world, until)
}

fn show_log(arguments: &Log) -> Exit {
    let path = match (&arguments.config, &arguments.log) {
        (Some(config), None) => match log_path(config) {
            Ok(path) => path,
            Err(error) => return terminal::fail(PROGRAM, &error, error.exit()),
        },
        (None, Some(log)) => log.clone(),
        (None, None) | (Some(_), Some(_)) => {
            return terminal::usage(PROGRAM, "`log` needs either --config or --log");
        }
    };
    if arguments.begin {
        return match SigningLog::begin(&HostDisk, &path) {
            Ok(()) => terminal::print(PROGRAM, format_args!("begun: {}", path.display())),
            Err(error) => terminal::fail(PROGRAM, &error, error.exit()),
        };
    }
    let form = if arguments.json {
        Form::Json
    } else {
        Form::Table
    };
    let mut output = std::io::BufWriter::new(std::io::stdout());
    let shown = show(&path, form, &mut output);
    // What was shown of a broken log comes before what is said of it.
    match shown.and(output.flush().map_err(LogError::Output)) {
        Ok(()) => Exit::Done,
        Err(error) => terminal::fail(PROGRAM, &error, error.exit()),
    }
}
