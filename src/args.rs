//! The command line as typed. Nothing is resolved or opened here.

use std::path::PathBuf;

use argh::FromArgs;

use crate::sales::Start;

/// Issues exactly as much ndau as was sold on BitMart: reads the account's new trades, adds up the sales, has one
/// Issue signed by the signing service, and submits it to the ndau chain. Made to be run by cron every few minutes.
#[derive(FromArgs, Debug)]
#[argh(
    note = "Start with `{command_name} init --from now`, fill in bitmart/issuer.toml, look at what \
            `{command_name} run --dry-run` would do, then let cron do `{command_name} run`.",
    note = "RUST_LOG=debug shows every request; stdout carries the result alone.",
    error_code(64, "usage: fix the command line"),
    error_code(
        65,
        "bad data: an answer or a state file was not understood; a person looks"
    ),
    error_code(
        69,
        "unavailable: nothing irreversible happened; the next run tries again"
    ),
    error_code(70, "bug: an invariant of this program is broken"),
    error_code(
        74,
        "disk: state could not be made durable; fix it before the next run"
    ),
    error_code(75, "in doubt: submitted, outcome unknown; the next run settles it"),
    error_code(77, "refused: the signer, a policy or a credential said no"),
    error_code(
        78,
        "config: a setting or a key file is missing, wrong, or open to others"
    )
)]
pub struct Args {
    /// print the version and exit
    #[argh(switch)]
    pub version: bool,
    /// what to do
    #[argh(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum Command {
    /// Set up.
    Init(Init),
    /// One pass.
    Run(Run),
    /// What is known offline.
    Status(Status),
    /// What needs a person.
    Resolve(Resolve),
    /// The whole ledger.
    History(History),
    /// The exchange's answers on file.
    Export(Export),
    /// Whether sales, ledger and chain agree.
    Audit(Audit),
}

/// Write what is missing, and overwrite nothing: a commented bitmart/issuer.toml, the identity that this side shows
/// to the signing service, and the cursor. Prints the identity's public key, for the signer's sigconfig.toml.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "init",
    note = "--from says which sales are to be issued, and is needed only where there is no cursor:\n  now        \
            those from this moment on\n  beginning  all that the exchange still shows, about three months\n  \
            <trade id> those after that trade, which must still be shown"
)]
pub struct Init {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// now, beginning, or the id of the last trade that was issued already
    #[argh(option, from_str_fn(parse_from))]
    pub from: Option<From>,
}

/// Where issuing starts, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the moment of `init`.
    Now,
    /// As said.
    Start(Start),
}

/// One pass: settle what an earlier run left, or else issue what was sold since. Exits 0 when everything that was to
/// be done is on the chain, or there was nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "run")]
pub struct Run {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// read exchange and chain, print the Issue that a run would have signed, and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// print the result as one JSON object on one line
    #[argh(switch)]
    pub json: bool,
}

/// Show, without asking anyone: the cursor, a batch in flight, the last issues and their total.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct Status {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// print it as one JSON object on one line
    #[argh(switch)]
    pub json: bool,
}

/// Show what a run could not decide, the evidence, and what can be decided; and record and carry out a decision.
/// Without --decide nothing is changed.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "resolve",
    note = "Meant for the two ends of a run that come back however often it is tried: 75, when the chain does not say \
            what became of an Issue, and 65, when the chain has issued more than the state folder knows of, when a new API \
            key cannot be shown to be of the same account, or when the exchange no longer shows what was sold.",
    note = "Each choice is shown with the command line that takes it. What was decided, by whom, why and on what \
            evidence goes into the ledger; no choice is offered that the chain's own arithmetic rules out.",
    note = "Exits 0 when there is nothing to decide or it was decided, and else as the run would."
)]
pub struct Resolve {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// one of the choices, as shown
    #[argh(option)]
    pub decide: Option<String>,
    /// your name, for the ledger
    #[argh(option, default = "String::new()")]
    pub by: String,
    /// your reason, for the ledger
    #[argh(option, default = "String::new()")]
    pub why: String,
}

/// Show the whole ledger, oldest line first, without asking anyone.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "history")]
pub struct History {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// print each line as one JSON object, with its trades
    #[argh(switch)]
    pub json: bool,
    /// print one row a trade, as CSV; decisions have none
    #[argh(switch)]
    pub csv: bool,
}

/// Save everything that the exchange still shows of the account into a new file: its answers as they came, without any
/// credential. `audit --from` reads it when the exchange is gone.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "export")]
pub struct Export {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// the file, which must not be there yet
    #[argh(positional)]
    pub file: PathBuf,
}

/// Show whether what was sold, what the ledger says was issued and what the chain holds agree, napu for napu, or where they
/// do not. Changes nothing, and needs no signing service.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "audit",
    note = "Exits 0 when they agree: what is not issued yet, and what is older than the exchange shows, is told apart and \
            is no difference. Exits 65 when they do not.",
    note = "--from reads the sales from a file: what `{command_name}` finds in an export of `bitmart-issuer export`, or in \
            the list of trades that the exchange's web site gives as CSV. Then no API key is needed."
)]
pub struct Audit {
    /// the configuration (default: bitmart/issuer.toml)
    #[argh(option, default = "default_config()")]
    pub config: PathBuf,
    /// print it as one JSON object on one line
    #[argh(switch)]
    pub json: bool,
    /// an export or a list of trades, in place of the exchange
    #[argh(option)]
    pub from: Option<PathBuf>,
}

fn default_config() -> PathBuf {
    PathBuf::from("bitmart/issuer.toml")
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "now" => Ok(From::Now),
        "beginning" => Ok(From::Start(Start::Beginning)),
        id if id.bytes().all(|byte| byte.is_ascii_digit()) => id
            .parse()
            .map(|id| From::Start(Start::Trade(id)))
            .map_err(|_| format!("{id:?} is no trade id")),
        other => Err(format!(
            "{other:?} is neither `now`, `beginning` nor a trade id"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, argh::EarlyExit> {
        Args::from_args(&["bitmart-issuer"], args)
    }

    #[test]
    fn starts_are_read() {
        let from = |text: &str| match parse(&["init", "--from", text]).ok()?.command? {
            Command::Init(init) => init.from,
            _ => None,
        };
        assert_eq!(from("now"), Some(From::Now));
        assert_eq!(from("beginning"), Some(From::Start(Start::Beginning)));
        assert_eq!(
            from("125277182593091639"),
            Some(From::Start(Start::Trade(125_277_182_593_091_639)))
        );
        for wrong in ["", "yesterday", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(from(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_default_configuration_is_in_bitmart() {
        match parse(&["run"]).unwrap().command {
            Some(Command::Run(run)) => assert_eq!(run.config, default_config()),
            other => panic!("{other:?}"),
        }
    }
}
