//! `bitmart-issuer`: reads its arguments, runs, prints, and ends with the exit code of `error::Exit`.

use std::io::{self, Write};
use std::process::ExitCode;

use bitmart_issuer::args::{Args, Audit, Command, Export, History, Init, Resolve, Run, Status};
use bitmart_issuer::clock::SystemClock;
use bitmart_issuer::config::Config;
use bitmart_issuer::error::{Error, Exit};
use bitmart_issuer::http::UreqHttp;
use bitmart_issuer::report::{Report, Story};
use bitmart_issuer::run::{Resolved, Typed, World, dry_run, resolve, run};
use bitmart_issuer::signer::Callers;
use bitmart_issuer::state::HostDisk;
use bitmart_issuer::terminal::{self, tell};
use bitmart_issuer::{audit, export, history, init, logging, status};

const PROGRAM: &str = "bitmart-issuer";

fn main() -> ExitCode {
    terminal::main(command)
}

fn command() -> Exit {
    let args: Args = match terminal::arguments(PROGRAM) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    if args.version {
        return terminal::print(
            PROGRAM,
            concat!("bitmart-issuer ", env!("CARGO_PKG_VERSION")),
        );
    }
    logging::start(log::LevelFilter::Info);
    match args.command {
        None => terminal::usage(
            PROGRAM,
            "one of `init`, `run`, `status`, `resolve`, `history`, `export` and `audit` is needed",
        ),
        Some(Command::Init(args)) => set_up(&args),
        Some(Command::Run(args)) => run_once(&args),
        Some(Command::Status(args)) => show(&args),
        Some(Command::Resolve(args)) => decide(&args),
        Some(Command::History(args)) => recount(&args),
        Some(Command::Export(args)) => save(&args),
        Some(Command::Audit(args)) => compare(&args),
    }
}

fn set_up(args: &Init) -> Exit {
    match init::init(&args.config, args.from, &HostDisk, &SystemClock, &|line| {
        tell(line)
    }) {
        Ok(npub) => {
            tell("the signing service's sigconfig.toml needs this as its server_key:");
            terminal::print(PROGRAM, npub)
        }
        Err(error) => fail(&error),
    }
}

fn run_once(args: &Run) -> Exit {
    let listening = |url: &str| {
        if args.json {
            // The caller needs it before anything else can happen; a closed stdout shows again at the end.
            let _ = writeln!(io::stdout(), "{}", serde_json::json!({ "listening": url }));
        }
    };
    let world = World {
        http: &UreqHttp::new(),
        disk: &HostDisk,
        clock: &SystemClock,
        signers: &Callers {
            listening: &listening,
        },
    };
    let mut report = Report::default();
    let act = if args.dry_run { dry_run } else { run };
    let config = Config::load(&args.config).map_err(Error::Config);
    let result = config.and_then(|config| act(&config, world, &mut report));
    let printed = match &result {
        _ if args.json => terminal::print(PROGRAM, report.json(&result)),
        Ok(outcome) => terminal::print(PROGRAM, Story(&report, *outcome).to_string().trim_end()),
        Err(_) => Exit::Done,
    };
    match result {
        Ok(_) => printed,
        Err(error) => fail(&error),
    }
}

fn show(args: &Status) -> Exit {
    let config = Config::load(&args.config).map_err(Error::Config);
    match config.and_then(|config| status::status(&config, &HostDisk)) {
        Ok(status) if args.json => terminal::print(PROGRAM, status.json()),
        Ok(status) => terminal::print(PROGRAM, status.to_string().trim_end()),
        Err(error) => fail(&error),
    }
}

fn decide(args: &Resolve) -> Exit {
    let world = World {
        http: &UreqHttp::new(),
        disk: &HostDisk,
        clock: &SystemClock,
        // Nobody is asked to sign.
        signers: &Callers { listening: &|_| () },
    };
    let typed = args.decide.as_deref().map(|choice| Typed {
        choice,
        by: &args.by,
        why: &args.why,
    });
    let config = Config::load(&args.config).map_err(Error::Config);
    match config.and_then(|config| resolve(&config, world, typed)) {
        Ok(Resolved::Nothing(why)) => {
            terminal::print(PROGRAM, format!("nothing needs a person: {why}"))
        }
        Ok(Resolved::Open(case)) => match terminal::print(PROGRAM, case.to_string().trim_end()) {
            Exit::Done => case.exit,
            failed => failed,
        },
        Ok(Resolved::Decided(verdict, next)) => terminal::print(
            PROGRAM,
            format!("decided, and recorded in the ledger: {verdict}; {next}"),
        ),
        Err(error) => fail(&error),
    }
}

fn recount(args: &History) -> Exit {
    if args.json && args.csv {
        return terminal::usage(PROGRAM, "it is either --json or --csv");
    }
    let config = Config::load(&args.config).map_err(Error::Config);
    let history = match config.and_then(|config| history::history(&config, &HostDisk)) {
        Ok(history) => history,
        Err(error) => return fail(&error),
    };
    let lines = match (args.json, args.csv) {
        (true, _) => history.json(),
        (_, true) => history.csv(),
        _ => history.to_string(),
    };
    match lines.strip_suffix('\n') {
        Some(lines) => terminal::print(PROGRAM, lines),
        // An empty line would be none of the ledger's.
        None => Exit::Done,
    }
}

fn save(args: &Export) -> Exit {
    let config = Config::load(&args.config).map_err(Error::Config);
    let exported = config.and_then(|config| {
        export::export(
            &config,
            &UreqHttp::new(),
            &HostDisk,
            &SystemClock,
            &args.file,
        )
    });
    match exported {
        Ok(exported) => terminal::print(PROGRAM, exported.to_string().trim_end()),
        Err(error) => fail(&error),
    }
}

fn compare(args: &Audit) -> Exit {
    let (http, from) = (UreqHttp::new(), args.from.as_deref());
    let config = Config::load(&args.config).map_err(Error::Config);
    let audit =
        config.and_then(|config| audit::audit(&config, &http, &HostDisk, &SystemClock, from));
    let audit = match audit {
        Ok(audit) => audit,
        Err(error) => return fail(&error),
    };
    let printed = if args.json {
        terminal::print(PROGRAM, audit.json())
    } else {
        terminal::print(PROGRAM, audit.to_string().trim_end())
    };
    match audit.differences().len() {
        0 => printed,
        count => fail(&Error::Differences { count }),
    }
}

fn fail(error: &Error) -> Exit {
    terminal::fail(PROGRAM, error, error.exit())
}
