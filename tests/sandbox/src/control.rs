//! The loopback endpoint by which `sandbox sell` and its like reach a running `sandbox serve`.
//!
//! `POST /trades` takes [`Order`], `GET /totals` gives [`Totals`]; both are JSON.

use crate::chain::Chain;
use crate::exchange::{Exchange, NewTrade, napu};
use crate::server::{Reply, Request, Response, Server, Site};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Trades to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// `sell` or `buy`.
    pub side: String,
    /// Decimal texts, sent verbatim; each a whole number of napu.
    pub quantities: Vec<String>,
    /// How old the trades are, in seconds.
    pub age_s: u32,
}

/// What was sold on the one side and issued on the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Trades in the symbol.
    pub trades: usize,
    /// Those of them that are sales.
    pub sales: usize,
    /// The exact sum of the sales.
    pub sold_napu: u64,
    /// What was issued since the chain was started.
    pub issued_napu: u64,
    /// How many Issues that took.
    pub issues: usize,
    /// The account's last used sequence.
    pub sequence: u64,
    /// The height of the last block.
    pub height: u64,
}

impl Totals {
    /// The totals of this moment.
    pub fn of(exchange: &Exchange, chain: &Chain) -> Totals {
        let (trades, sales) = exchange.counts();
        let issues = chain.issues();
        Totals {
            trades,
            sales,
            sold_napu: exchange.sold_napu(),
            issued_napu: issues.iter().map(|issue| issue.qty).sum(),
            issues: issues.len(),
            sequence: chain.sequence(),
            height: chain.height(),
        }
    }

    /// Whether exactly as much was issued as was sold.
    pub fn agree(&self) -> bool {
        self.sold_napu == self.issued_napu
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ndau = |napu: u64| format!("{}.{:08}", napu / 100_000_000, napu % 100_000_000);
        writeln!(f, "trades   {}", self.trades)?;
        writeln!(f, "sales    {}", self.sales)?;
        writeln!(f, "sold     {} ndau", ndau(self.sold_napu))?;
        writeln!(f, "issued   {} ndau", ndau(self.issued_napu))?;
        writeln!(f, "issues   {}", self.issues)?;
        writeln!(f, "sequence {}", self.sequence)?;
        write!(f, "height   {}", self.height)
    }
}

/// A running endpoint, with the two systems that it steers.
pub struct Control {
    server: Server,
}

impl Control {
    /// Serves on a free port.
    ///
    /// # Errors
    /// If no loopback port can be had.
    pub fn start(exchange: Exchange, chain: Chain) -> io::Result<Control> {
        let site = Arc::new(Desk { exchange, chain });
        Ok(Control {
            server: Server::start(0, site)?,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }
}

struct Desk {
    exchange: Exchange,
    chain: Chain,
}

impl Desk {
    fn trade(&self, body: &[u8]) -> Result<(), String> {
        let order: Order = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        for quantity in &order.quantities {
            napu(quantity).ok_or(format!("{quantity:?} is not a whole number of napu"))?;
        }
        let make: fn(&str, i64) -> NewTrade = match order.side.as_str() {
            "sell" => NewTrade::sell,
            "buy" => NewTrade::buy,
            other => return Err(format!("{other:?} is neither sell nor buy")),
        };
        let time_ms = self.exchange.now_ms() - i64::from(order.age_s) * 1000;
        for quantity in &order.quantities {
            self.exchange.add(make(quantity, time_ms));
        }
        Ok(())
    }
}

impl Site for Desk {
    fn answer(&self, request: &Request) -> Reply {
        Reply::Send(match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/trades") => match self.trade(&request.body) {
                Ok(()) => Response::json(200, "{}"),
                Err(reason) => Response::text(400, &reason),
            },
            ("GET", "/totals") => {
                let totals = Totals::of(&self.exchange, &self.chain);
                let body = serde_json::to_vec(&totals).expect("our own structs serialize");
                Response::json(200, body)
            }
            _ => Response::empty(404),
        })
    }
}
