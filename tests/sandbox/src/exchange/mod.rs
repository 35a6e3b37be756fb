//! The exchange: the trades of one account, served in the dialects v2 (2018 to 2020) and v4.
//!
//! What the real one leaves undocumented (order, bounds, what is cut, what `offset` counts) is a
//! setting, so that a client can be tried under each reading.

mod book;
mod style;
#[cfg(test)]
mod tests;
mod v2;
mod v4;

use crate::fault::Fault;
use crate::server::{Reply, Request, Response, Seen, Server, Site, lock};
use book::Book;
pub(crate) use book::napu;
pub use book::{NewTrade, Side, TradeRef};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::{Arc, Mutex, MutexGuard};

/// How the exchange is set up. The fields that begin with a dialect's name matter to it alone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The access key.
    pub access: String,
    /// The secret that signs.
    pub secret: String,
    /// The label the key was made with; part of what is signed.
    pub memo: String,
    /// The pair that `sell` and `buy` trade.
    pub symbol: String,
    /// Whether `/v2/…` is there.
    pub speaks_v2: bool,
    /// Whether `/spot/v4/…` is there.
    pub speaks_v4: bool,
    /// The order of a v4 answer.
    pub v4_order: Order,
    /// Whether a trade at exactly `startTime` is in the answer.
    pub v4_start_inclusive: bool,
    /// Whether a trade at exactly `endTime` is in the answer.
    pub v4_end_inclusive: bool,
    /// Which trades an answer keeps when more than `limit` match.
    pub v4_cut_keeps: CutKeeps,
    /// Requests within two seconds, 12 at the real one; none switches the limit off.
    pub v4_rate_limit: Option<usize>,
    /// Days that v4 reaches back; a `startTime` before that is refused with code 50041.
    pub history_days: Option<u32>,
    /// What the v2 `offset` counts.
    pub v2_offset: Offset,
    /// The greatest v2 `limit`.
    pub v2_max_limit: u64,
    /// The order of the v2 list.
    pub v2_newest_first: bool,
    /// The JSON types of v2 fields.
    pub v2_types: Types,
    /// Whether v2 trades carry `entrustType` (1 sell, 0 buy), as they did from November 2019.
    pub v2_entrust_type: bool,
    /// The exchange's clock minus the host's.
    pub clock_offset_ms: i64,
    /// How old a trade made by `sell` or `buy` is.
    pub age_ms: i64,
    /// The port; 0 means any free one.
    pub port: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            access: "0107a136f9acec0eb3e26377a2cda1ed1f3f11dd".into(),
            secret: "5f2d9c8be1a74036b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5".into(),
            memo: "sandbox memo".into(),
            symbol: "XND_USDT".into(),
            speaks_v2: true,
            speaks_v4: true,
            v4_order: Order::NewestFirst,
            v4_start_inclusive: true,
            v4_end_inclusive: true,
            v4_cut_keeps: CutKeeps::Newest,
            v4_rate_limit: Some(12),
            history_days: None,
            v2_offset: Offset::Page,
            v2_max_limit: 50,
            v2_newest_first: true,
            v2_types: Types::Documented,
            v2_entrust_type: false,
            clock_offset_ms: 0,
            age_ms: 0,
            port: 0,
        }
    }
}

/// The order of the trades in a v4 answer, which is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By time, falling.
    NewestFirst,
    /// By time, rising.
    OldestFirst,
    /// Another order in every answer.
    Shuffled,
}

/// What is left of more than `limit` trades, which is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKeeps {
    /// The newest ones.
    Newest,
    /// The oldest ones.
    Oldest,
}

/// What the v2 `offset` counts: the document says pages, a client of the time counted rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// Pages of `limit` trades.
    Page,
    /// Single trades.
    Row,
}

/// The JSON types of v2 fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// As in the documented sample: amounts as strings, ids and times as numbers.
    Documented,
    /// As in the documented table: everything a string, `active` too.
    Strings,
    /// Amounts, fees and prices as numbers; ids, times and counters as strings.
    Numbers,
    /// Another choice from field to field and trade to trade.
    Mixed,
}

/// A running exchange; it stops when dropped.
pub struct Exchange {
    server: Server,
    shop: Arc<Shop>,
}

impl Exchange {
    /// Starts serving.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start(settings: Settings) -> Exchange {
        let port = settings.port;
        let book = Book::new(&settings);
        let shop = Arc::new(Shop {
            settings,
            book: Mutex::new(book),
        });
        let site: Arc<dyn Site> = Arc::clone(&shop) as Arc<dyn Site>;
        let server = Server::start(port, site).expect("the exchange's port should be free");
        Exchange { server, shop }
    }

    /// `http://127.0.0.1:PORT`, without a path: v4 lies under `/spot/v4`, v2 under `/v2`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.shop.settings
    }

    /// The exchange's clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.shop.book().now_ms()
    }

    /// A sale of the account's, in an order of its own, `age_ms` old.
    pub fn sell(&self, quantity: &str) -> TradeRef {
        let mut book = self.shop.book();
        let time_ms = book.now_ms() - book.age_ms;
        book.add(NewTrade::sell(quantity, time_ms))
    }

    /// A purchase of the account's, in an order of its own, `age_ms` old.
    pub fn buy(&self, quantity: &str) -> TradeRef {
        let mut book = self.shop.book();
        let time_ms = book.now_ms() - book.age_ms;
        book.add(NewTrade::buy(quantity, time_ms))
    }

    /// A trade as described.
    pub fn add(&self, trade: NewTrade) -> TradeRef {
        self.shop.book().add(trade)
    }

    /// The exact sum of the sales in the settings' symbol, hidden ones included.
    ///
    /// # Panics
    /// If a quantity is not a whole number of napu, or the sum leaves 64 bits.
    pub fn sold_napu(&self) -> u64 {
        self.shop.book().sold_napu()
    }

    /// How many trades there are in the settings' symbol, and how many of them are sales.
    pub fn counts(&self) -> (usize, usize) {
        self.shop.book().counts()
    }

    /// Takes a trade out of all answers: as if it had not shown up yet.
    pub fn hide(&self, trade: TradeRef) {
        self.shop.book().set_hidden(trade, true);
    }

    /// Lets a hidden trade show up.
    pub fn show(&self, trade: TradeRef) {
        self.shop.book().set_hidden(trade, false);
    }

    /// Whether answers repeat some of their trades.
    pub fn set_repeat_trades(&self, repeat: bool) {
        self.shop.book().repeat_trades = repeat;
    }

    /// Sets how old the trades of `sell` and `buy` are.
    pub fn set_age_ms(&self, age_ms: i64) {
        self.shop.book().age_ms = age_ms;
    }

    /// Sets the exchange's clock minus the host's.
    pub fn set_clock_offset_ms(&self, offset: i64) {
        self.shop.book().clock_offset_ms = offset;
    }

    /// v2: gives an order another status: 1 pending, 2 partly filled, 3 filled (as all are by
    /// default), 4 cancelled.
    pub fn set_order_status(&self, order: u64, status: u8) {
        self.shop.book().order_status.insert(order, status);
    }

    /// v2: from now on this order is not found.
    pub fn forget_order(&self, order: u64) {
        self.shop.book().lost_orders.insert(order);
    }

    /// v2: every token given out so far is refused.
    pub fn revoke_tokens(&self) {
        self.shop.book().tokens.clear();
    }

    /// Every request that was read, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.server.seen()
    }

    /// Sets the fault of the moment, or takes it away.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.server.set_fault(fault);
    }
}

/// What the connection threads share.
struct Shop {
    settings: Settings,
    book: Mutex<Book>,
}

impl Shop {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

impl Site for Shop {
    fn answer(&self, request: &Request) -> Reply {
        // Both dialects are served by one process here; each has a way of its own to say 'not found'.
        let is_v2 = request.path.starts_with("/v2/");
        Reply::Send(
            match (is_v2, self.settings.speaks_v2, self.settings.speaks_v4) {
                (true, true, _) => v2::answer(self, request),
                (false, _, true) => v4::answer(self, request),
                (true, false, _) => v2::error(404, "Not found"),
                (false, _, false) => v4::error(404, 30000, "Not found"),
            },
        )
    }

    fn trouble(&self, fault: &Fault, request: &Request) -> Reply {
        let is_v2 = request.path.starts_with("/v2/");
        Reply::Send(match (fault, is_v2) {
            (Fault::Maintenance, true) => v2::error(500, "Internal Server Error"),
            (Fault::Maintenance, false) => v4::error(
                200,
                30016,
                "Service maintenance, the function is temporarily unavailable",
            ),
            (Fault::RateLimited, true) => v2::visit_too_often(),
            (Fault::RateLimited, false) => v4::too_many(13, 12),
            _ => return self.answer(request),
        })
    }
}

/// Lowercase hex of HMAC-SHA256; the key is the secret's text, not the bytes its hex may stand for.
fn hmac_hex(secret: &str, message: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// A JSON answer that cannot fail to serialize: our own structs.
fn json(status: u16, body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("our own structs serialize");
    Response::json(status, body)
}
