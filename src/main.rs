//! `bitmart-issuer`: reads its arguments, runs, prints, and ends with the exit code of `error::Exit`.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use argh::FromArgs;
use bitmart_issuer::args::{Args, Command};
use bitmart_issuer::clock::SystemClock;
use bitmart_issuer::config::Config;
use bitmart_issuer::error::{self, Error, Exit};
use bitmart_issuer::http::UreqHttp;
use bitmart_issuer::report::{Report, Story};
use bitmart_issuer::run::{World, dry_run, run};
use bitmart_issuer::state::HostDisk;
use bitmart_issuer::{init, logging, status};

fn main() -> ExitCode {
    // A panic is a bug, and the operator's table has a code for that; its message is on stderr already.
    std::panic::catch_unwind(command).unwrap_or(ExitCode::from(Exit::Bug.code()))
}

fn command() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let args = match Args::from_args(&["bitmart-issuer"], words.get(1..).unwrap_or_default()) {
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => return print(exit.output.trim_end()),
        Err(exit) => return usage(exit.output.trim_end()),
    };
    if args.version {
        return print(concat!("bitmart-issuer ", env!("CARGO_PKG_VERSION")));
    }
    logging::start(log::LevelFilter::Info);
    match args.command {
        None => usage("one of `init`, `run` and `status` is needed; see --help"),
        Some(Command::Init(args)) => {
            match init::init(&args.config, args.from, &HostDisk, &SystemClock) {
                Ok(made) => {
                    for line in made.lines {
                        eprintln!("{line}");
                    }
                    eprintln!("the signing service's sigconfig.toml needs this as its server_key:");
                    print(made.npub)
                }
                Err(error) => fail(&error),
            }
        }
        Some(Command::Run(args)) => run_once(&args),
        Some(Command::Status(args)) => {
            let config = Config::load(&args.config).map_err(Error::Config);
            match config.and_then(|config| status::status(&config, &HostDisk)) {
                Ok(status) if args.json => print(status.json()),
                Ok(status) => print(status.to_string().trim_end()),
                Err(error) => fail(&error),
            }
        }
    }
}

fn run_once(args: &bitmart_issuer::args::Run) -> ExitCode {
    let http = UreqHttp::new();
    let json = args.json;
    let listening = |url: &str| {
        if json {
            // The caller needs it before anything else can happen; a closed stdout shows again at the end.
            let _ = writeln!(io::stdout(), "{}", serde_json::json!({ "listening": url }));
        }
    };
    let world = World {
        http: &http,
        disk: &HostDisk,
        clock: &SystemClock,
        listening: &listening,
    };
    let mut report = Report::default();
    let result = Config::load(&args.config)
        .map_err(Error::Config)
        .and_then(|config| {
            if args.dry_run {
                dry_run(&config, world, &mut report)
            } else {
                run(&config, world, &mut report)
            }
        });
    if json {
        let printed = print(report.json(&result));
        return match result {
            Ok(_) => printed,
            Err(error) => fail(&error),
        };
    }
    match result {
        Ok(outcome) => print(Story(&report, outcome).to_string().trim_end()),
        Err(error) => fail(&error),
    }
}

/// The result, on stdout. One that cannot be printed does not undo what was done, but it is not silent either.
fn print(result: impl Display) -> ExitCode {
    match writeln!(io::stdout(), "{result}").and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            eprintln!("bitmart-issuer: cannot print the result: {error}");
            ExitCode::from(Exit::Disk.code())
        }
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(Exit::Usage.code())
}

fn fail(error: &Error) -> ExitCode {
    let exit = error.exit();
    eprintln!(
        "bitmart-issuer: {} [{}: {}]",
        error::chain(error),
        exit.code(),
        exit.name()
    );
    ExitCode::from(exit.code())
}
