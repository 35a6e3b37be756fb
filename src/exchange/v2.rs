//! The v2 dialect: a bearer token, a list of trades in pages, and the side of each from its order. Whether `offset`
//! counts pages or rows is not known, nor is the list's order; it may shift while it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zeroize::Zeroize;

use super::auth::{next_midnight_ms, percent_encode, v2_client_secret, v2_token_expiry_ms};
use super::class::{Call, Class};
use super::error::Error;
use super::failure::Failure;
use super::found::Found;
use super::session::Session;
use super::wire::{self, Page, Row, Way};
use super::{Since, TradeId};
use crate::http::Response;
use crate::quote::excerpt;
use crate::secret::Secret;

/// The most that the server allows since December 2019.
pub(super) const LIMIT: usize = 50;
/// Where tokens are given out.
pub(super) const AUTHENTICATION: &str = "/v2/authentication";
/// A token that lasts less than this is not used any more.
const MARGIN_MS: u64 = 5000;
/// How far a trade may lie ahead of our clock: the exchange accepts time stamps that are off by as much.
const TOLERANCE_MS: u64 = 60_000;
/// A trade that is younger may be listed before its order can be asked for. How long that takes is not documented.
const FRESH_MS: u64 = 60_000;
/// How often the list is read from its start because it grew meanwhile.
const PASSES: u32 = 5;

/// A trade as it came; its text for the side is the undocumented `entrustType`.
type Listed = Row<Option<String>>;

/// All trades since `since`, and the sides of those.
pub(super) fn fetch(
    session: &mut Session<'_>,
    symbol: &str,
    limit: usize,
    since: Since,
) -> Result<Found, Failure> {
    // This dialect's times have whole seconds, so a trade later in the wanted second may seem earlier.
    let since_ms = match since {
        Since::Beginning => 0,
        Since::Time(time_ms) => time_ms - time_ms % 1000,
    };
    let mut reader = Reader {
        session,
        symbol,
        limit,
        since_ms,
        token: None,
        token_renewed: false,
        listed: BTreeMap::new(),
    };
    reader.read_list()?;
    reader.read_sides()
}

struct Token {
    text: Secret<String>,
    expires_ms: u64,
}

struct Reader<'s, 'a> {
    session: &'s mut Session<'a>,
    symbol: &'s str,
    limit: usize,
    since_ms: u64,
    token: Option<Token>,
    /// Whether a token was replaced because of a 401.
    token_renewed: bool,
    /// Every trade that came, in each different form in which it came.
    listed: BTreeMap<TradeId, Vec<Listed>>,
}

/// One reading of the list from its start. What came before, in another pass, does not count here.
#[derive(Default)]
struct Pass {
    /// How many trades the list had at first.
    first_total: u64,
    /// The most it has had since.
    total: u64,
    seen: BTreeSet<TradeId>,
    /// The time of the trade that was new last.
    last_ms: Option<u64>,
    /// Whether a trade was older than the one before it.
    fell: bool,
    /// Whether a trade was newer than the one before it.
    rose: bool,
    /// Whether a trade before the wanted time came.
    passed_start: bool,
}

impl Pass {
    /// Takes an answer in; says whether it brought anything new.
    fn take(&mut self, rows: &[Listed], since_ms: u64) -> bool {
        let mut new = false;
        for row in rows {
            if !self.seen.insert(row.id) {
                continue;
            }
            new = true;
            if let Some(last_ms) = self.last_ms {
                self.fell |= row.time_ms < last_ms;
                self.rose |= row.time_ms > last_ms;
            }
            self.last_ms = Some(row.time_ms);
            self.passed_start |= row.time_ms < since_ms;
        }
        new
    }

    /// Whether all that was read proves that the list is newest first and that all wanted trades are behind us.
    fn is_behind_start(&self) -> bool {
        self.passed_start && self.fell && !self.rose
    }
}

/// Why reading stops.
enum Stop {
    /// Everything wanted has come.
    Complete,
    /// The list has nothing new at this place.
    NothingNew,
}

impl Reader<'_, '_> {
    /// Reads the list until everything wanted has come.
    fn read_list(&mut self) -> Result<(), Failure> {
        let mut passes = 0;
        loop {
            let mut pass = Pass::default();
            match self.read_pass(&mut pass)? {
                Stop::Complete => return Ok(()),
                Stop::NothingNew => passes += 1,
            }
            // A list that grew has shifted: what is still missing is at its start. One that did not is not all there.
            if pass.total <= pass.first_total || passes == PASSES {
                return Err(Error::Incomplete {
                    read: count(self.listed.len()),
                    total: pass.total,
                }
                .into());
            }
        }
    }

    /// Reads the list once.
    fn read_pass(&mut self, pass: &mut Pass) -> Result<Stop, Failure> {
        let first = self.ask_page(0)?;
        pass.first_total = first.total;
        if let Some(stop) = self.take(pass, &first) {
            return Ok(stop);
        }
        let second = self.ask_page(1)?;
        // An answer that begins with the second row of the first one (or with its first, if a trade came in between)
        // is one row further: `offset` counts rows.
        let begins = second.rows.first().map(|row| row.id);
        let mut start = first.rows.iter().take(2).map(|row| Some(row.id));
        let by_rows = begins.is_some() && start.any(|id| id == begins);
        match self.take(pass, &second) {
            // One row further there may be nothing new, and yet more behind it.
            Some(Stop::NothingNew) if by_rows => {}
            Some(stop) => return Ok(stop),
            None => {}
        }
        if by_rows && let Some(stop) = self.read_rows(pass, first.rows.len())? {
            return Ok(stop);
        }
        let mut offset = 2;
        loop {
            let page = self.ask_page(offset)?;
            if let Some(stop) = self.take(pass, &page) {
                return Ok(stop);
            }
            offset += 1;
        }
    }

    /// Goes on by rows after the first `len`. `None` if these turn out to be pages: the first answer must begin with a
    /// row that the answer at offset 1 had too. Reading on from page 2 is then right, and would be in any case, only
    /// slower: neither way can skip a row.
    fn read_rows(&mut self, pass: &mut Pass, len: usize) -> Result<Option<Stop>, Failure> {
        let mut offset = len;
        loop {
            let page = self.ask_page(offset)?;
            let begins = page.rows.first().map(|row| row.id);
            if offset == len && !begins.is_some_and(|id| pass.seen.contains(&id)) {
                return Ok(None);
            }
            if let Some(stop) = self.take(pass, &page) {
                return Ok(Some(stop));
            }
            offset += page.rows.len();
        }
    }

    /// Takes a page in; `None` if more is needed.
    fn take(&mut self, pass: &mut Pass, page: &Page) -> Option<Stop> {
        let new = pass.take(&page.rows, self.since_ms);
        for row in &page.rows {
            let forms = self.listed.entry(row.id).or_default();
            if !forms.contains(row) {
                forms.push(row.clone());
            }
        }
        pass.total = pass.total.max(page.total);
        self.session.report(self.listed.len());
        if count(self.listed.len()) >= pass.total || pass.is_behind_start() {
            Some(Stop::Complete)
        } else {
            (!new).then_some(Stop::NothingNew)
        }
    }

    /// The sides of the wanted trades, each order asked for once.
    fn read_sides(mut self) -> Result<Found, Failure> {
        let wanted: Vec<Vec<Listed>> = std::mem::take(&mut self.listed)
            .into_values()
            .filter(|forms| forms.iter().any(|row| row.time_ms >= self.since_ms))
            .collect();
        let mut sides = BTreeMap::new();
        let mut found = Found::default();
        for row in wanted.iter().flatten() {
            let side = match sides.get(&row.id.order) {
                Some(side) => *side,
                None => {
                    let side = self.ask_side(row)?;
                    sides.insert(row.id.order, side);
                    side
                }
            };
            let expected = match side {
                Way::Buy => "0",
                Way::Sell => "1",
            };
            if let Some(mark) = &row.side
                && mark != expected
            {
                return Err(Error::SideDisagrees {
                    trade: row.id,
                    mark: excerpt(mark),
                    side: side.name(),
                }
                .into());
            }
            found.add(row.trade(side)?)?;
            self.session.report(found.len());
        }
        Ok(found)
    }

    /// The side of the order of `row`.
    fn ask_side(&mut self, row: &Listed) -> Result<Way, Failure> {
        let trade = row.id;
        let answer = self.get(Call::V2Order, &format!("/v2/orders/{}", trade.order));
        let response = match answer {
            Err(Failure::Rejected(no))
                if no.class == Class::Request
                    && (no.said.status == 404 || is_not_found(no.said.message.as_deref())) =>
            {
                let said = no.said;
                let age_ms = self.session.moment_ms().saturating_sub(row.time_ms);
                return Err(if age_ms < FRESH_MS {
                    Error::OrderNotYetKnown { trade, said }
                } else {
                    Error::OrderNotFound { trade, said }
                }
                .into());
            }
            answer => answer?,
        };
        let order = wire::v2_order(&response.body)?;
        if order.id != trade.order || order.symbol != self.symbol {
            return Err(Error::WrongOrder {
                trade,
                order: order.id,
                symbol: excerpt(&order.symbol),
            }
            .into());
        }
        Ok(order.side)
    }

    /// The part of the list at `offset`.
    fn ask_page(&mut self, offset: usize) -> Result<Page, Failure> {
        let symbol = percent_encode(self.symbol);
        let path = format!(
            "/v2/trades?symbol={symbol}&offset={offset}&limit={}",
            self.limit
        );
        let response = self.get(Call::V2Trades, &path)?;
        let page = wire::v2_page(&response.body)?;
        let moment_ms = self.session.moment_ms();
        for row in &page.rows {
            if row.symbol != self.symbol {
                return Err(Error::FilterIgnored {
                    trade: row.id,
                    symbol: excerpt(&row.symbol),
                    time_ms: row.time_ms,
                }
                .into());
            }
            if row.time_ms > moment_ms.saturating_add(TOLERANCE_MS) {
                return Err(Error::Future {
                    trade: row.id,
                    time_ms: row.time_ms,
                    now_ms: moment_ms,
                }
                .into());
            }
        }
        // A list of fewer trades than it holds is none that we understand.
        if count(page.rows.len()) > page.total {
            return Err(Error::Incomplete {
                read: count(page.rows.len()),
                total: page.total,
            }
            .into());
        }
        Ok(page)
    }

    /// A GET with our token; one refusal of the token is answered with a new one.
    fn get(&mut self, call: Call, path: &str) -> Result<Response, Failure> {
        loop {
            self.ensure_token()?;
            let token = self.token.as_ref().expect("there is a token now");
            let answer = self.session.ask(call, &|session, timestamp_ms| {
                let headers = vec![
                    (
                        "X-BM-AUTHORIZATION",
                        format!("Bearer {}", token.text.expose()),
                    ),
                    ("X-BM-TIMESTAMP", timestamp_ms.to_string()),
                ];
                session.request(path, headers, None)
            });
            match answer {
                Err(Failure::Rejected(no))
                    if no.class == Class::AuthToken && !self.token_renewed =>
                {
                    log::info!("the token was refused; getting another one");
                    self.token_renewed = true;
                    self.token = None;
                }
                answer => return answer,
            }
        }
    }

    /// Gets a token unless we have one that lasts.
    fn ensure_token(&mut self) -> Result<(), Failure> {
        let lasts = |until_ms: u64, now_ms: u64| until_ms >= now_ms.saturating_add(MARGIN_MS);
        let now_ms = self.session.moment_ms();
        if self
            .token
            .as_ref()
            .is_some_and(|token| lasts(token.expires_ms, now_ms))
        {
            return Ok(());
        }
        // All tokens end at midnight UTC. One that was got just before would be used up at once.
        let midnight_ms = next_midnight_ms(now_ms);
        if !lasts(midnight_ms, now_ms) {
            let rest = Duration::from_millis(midnight_ms.saturating_sub(now_ms));
            self.session.pause(rest + Duration::from_secs(1));
        }
        let client_secret = Secret::new(v2_client_secret(self.session.key()));
        self.session.hide(client_secret.expose());
        let asked_ms = self.session.moment_ms();
        let mut response = self.session.ask(Call::V2Token, &|session, _| {
            let body = format!(
                "grant_type=client_credentials&client_id={}&client_secret={}",
                percent_encode(session.key().access()),
                client_secret.expose()
            );
            let headers = vec![(
                "Content-Type",
                "application/x-www-form-urlencoded".to_owned(),
            )];
            session.request(AUTHENTICATION, headers, Some(body.into_bytes()))
        })?;
        let token = wire::v2_token(&response.body);
        response.body.zeroize();
        let (text, expires_in_s) = token?;
        self.session.hide(&text);
        self.token = Some(Token {
            text: Secret::new(text),
            expires_ms: v2_token_expiry_ms(asked_ms, expires_in_s),
        });
        Ok(())
    }
}

fn is_not_found(message: Option<&str>) -> bool {
    message.is_some_and(|message| message.eq_ignore_ascii_case("not found"))
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
