//! `sandbox`: the simulated exchange and chain as a program, for demonstrations.

use argh::FromArgs;
use sandbox::control::{Control, Order, Totals};
use sandbox::exchange::Exchange;
use sandbox::{chain, exchange};
use serde::Serialize;
use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const NAPU_PER_NDAU: u64 = 100_000_000;

/// A simulated BitMart exchange and a simulated ndau chain on loopback ports.
#[derive(FromArgs)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Serve(Serve),
    Sell(Sell),
    Buy(Buy),
    Totals(ShowTotals),
    FreePort(FreePort),
}

/// Run both until stdin closes or the program is killed. Writes exchange.url, chain.url, control.url
/// and sandbox.apikey.json into the folder.
#[derive(FromArgs)]
#[argh(subcommand, name = "serve")]
struct Serve {
    /// the folder to write into; made if it is not there
    #[argh(option)]
    folder: PathBuf,
    /// a validation key of the issuer's account (npub…); repeat for more
    #[argh(option)]
    validation_key: Vec<String>,
    /// how many of the keys must sign; without it one is enough
    #[argh(option)]
    required: Option<usize>,
    /// the dialect that the exchange speaks, v2 or v4 (default: v4)
    #[argh(option, default = "String::from(\"v4\")")]
    dialect: String,
    /// the pair that is traded (default: XND_USDT)
    #[argh(option, default = "String::from(\"XND_USDT\")")]
    symbol: String,
    /// whole ndau released so far (default: 1000000)
    #[argh(option, default = "1_000_000")]
    released: u64,
    /// the chain id (default: sandbox-net)
    #[argh(option, default = "String::from(\"sandbox-net\")")]
    network: String,
    /// milliseconds from the mempool to a block (default: 500)
    #[argh(option, default = "500")]
    block_time: u64,
}

/// Sell: make sales on the running exchange.
#[derive(FromArgs)]
#[argh(subcommand, name = "sell")]
struct Sell {
    /// the folder of the running sandbox
    #[argh(option)]
    folder: PathBuf,
    /// how many seconds old the trades are (default: 60)
    #[argh(option, default = "60")]
    age: u32,
    /// quantities, one trade each
    #[argh(positional)]
    quantities: Vec<String>,
}

/// Buy: make purchases on the running exchange, which must not be issued.
#[derive(FromArgs)]
#[argh(subcommand, name = "buy")]
struct Buy {
    /// the folder of the running sandbox
    #[argh(option)]
    folder: PathBuf,
    /// how many seconds old the trades are (default: 60)
    #[argh(option, default = "60")]
    age: u32,
    /// quantities, one trade each
    #[argh(positional)]
    quantities: Vec<String>,
}

/// Print what was sold and what was issued.
#[derive(FromArgs)]
#[argh(subcommand, name = "totals")]
struct ShowTotals {
    /// the folder of the running sandbox
    #[argh(option)]
    folder: PathBuf,
    /// exit with 1 unless exactly as much was issued as was sold
    #[argh(switch)]
    check: bool,
}

/// Print a loopback port that is free at this moment.
#[derive(FromArgs)]
#[argh(subcommand, name = "free-port")]
struct FreePort {}

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let result = match args.command {
        Command::Serve(serve) => run(serve),
        Command::Sell(sell) => trade(&sell.folder, "sell", sell.quantities, sell.age),
        Command::Buy(buy) => trade(&buy.folder, "buy", buy.quantities, buy.age),
        Command::Totals(show) => totals(&show),
        Command::FreePort(FreePort {}) => free_port(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("sandbox: {error}");
        ExitCode::FAILURE
    })
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn run(args: Serve) -> Outcome {
    let (speaks_v2, speaks_v4) = match args.dialect.as_str() {
        "v2" => (true, false),
        "v4" => (false, true),
        other => return Err(format!("the dialect is v2 or v4, not {other:?}").into()),
    };
    args.validation_key
        .iter()
        .try_for_each(|key| chain::check_key(key))?;
    let exchange = Exchange::start(exchange::Settings {
        access: random_hex::<20>()?,
        secret: random_hex::<32>()?,
        memo: "sandbox".into(),
        symbol: args.symbol,
        speaks_v2,
        speaks_v4,
        ..exchange::Settings::default()
    });
    let chain = chain::Chain::start(chain::Settings {
        network: args.network,
        validation_keys: args.validation_key,
        required_signatures: args.required,
        released_napu: args
            .released
            .checked_mul(NAPU_PER_NDAU)
            .ok_or("too much is released")?,
        block_time: Duration::from_millis(args.block_time),
        ..chain::Settings::default()
    });
    fs::create_dir_all(&args.folder)?;
    write_api_key(&args.folder, &exchange)?;
    let (exchange_url, chain_url) = (exchange.url(), chain.url());
    let control = Control::start(exchange, chain)?;
    let urls = [
        ("exchange", exchange_url),
        ("chain", chain_url),
        ("control", control.url()),
    ];
    for (name, url) in urls {
        fs::write(args.folder.join(format!("{name}.url")), format!("{url}\n"))?;
        println!("{name} {url}");
    }
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(ExitCode::SUCCESS)
}

/// Only the owner may read it.
fn write_api_key(folder: &Path, exchange: &Exchange) -> Result<(), Box<dyn Error>> {
    #[derive(Serialize)]
    struct ApiKey<'a> {
        access: &'a str,
        secret: &'a str,
        memo: &'a str,
        endpoint: String,
    }
    let settings = exchange.settings();
    let key = ApiKey {
        access: &settings.access,
        secret: &settings.secret,
        memo: &settings.memo,
        endpoint: if settings.speaks_v2 {
            format!("{}/v2/", exchange.url())
        } else {
            exchange.url()
        },
    };
    let path = folder.join("sandbox.apikey.json");
    // The mode counts only when the file is made.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&serde_json::to_vec_pretty(&key)?)?;
    file.write_all(b"\n")?;
    Ok(())
}

fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn trade(folder: &Path, side: &str, quantities: Vec<String>, age_s: u32) -> Outcome {
    let order = Order {
        side: side.into(),
        quantities,
        age_s,
    };
    let url = format!("{}/trades", control_url(folder)?);
    let mut answer = agent().post(url).send(serde_json::to_vec(&order)?)?;
    if answer.status() != 200 {
        return Err(answer.body_mut().read_to_string()?.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn totals(args: &ShowTotals) -> Outcome {
    let url = format!("{}/totals", control_url(&args.folder)?);
    let answer = agent().get(url).call()?.body_mut().read_to_vec()?;
    let totals: Totals = serde_json::from_slice(&answer)?;
    println!("{totals}");
    if args.check && !totals.agree() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn free_port() -> Outcome {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    println!("{port}");
    Ok(ExitCode::SUCCESS)
}

fn control_url(folder: &Path) -> Result<String, Box<dyn Error>> {
    let path = folder.join("control.url");
    let url = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(url.trim().to_owned())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}
