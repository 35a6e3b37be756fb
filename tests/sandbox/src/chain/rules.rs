//! The application's state, and what a transaction must pass to change it.

use super::tx::{Body, Tx};
use crate::keys::PublicKey;
use serde::Serialize;
use std::time::SystemTime;

/// How far ahead of its account's sequence a transaction's may be.
const SEQUENCE_AHEAD: u64 = 128;
/// The most signatures a transaction may carry.
const SIGNATURES: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The issuer's account: the address in the system variable `ReleaseFromEndowmentAddress`.
    pub(crate) address: String,
    /// Its validation keys, with their texts as they were given.
    pub(crate) keys: Vec<(String, PublicKey)>,
    /// How many keys its validation script asks for; none without a script.
    pub(crate) script: Option<usize>,
    pub(crate) sequence: u64,
    pub(crate) balance: i64,
    pub(crate) holds: Vec<i64>,
    /// When a transaction last touched it.
    pub(crate) updated: SystemTime,
    /// The account that records prices.
    pub(crate) price_address: String,
    pub(crate) price_key: PublicKey,
    pub(crate) price_sequence: u64,
    pub(crate) market_price: i64,
    pub(crate) released: i64,
    pub(crate) issued: i64,
    pub(crate) fees_paid: i64,
    pub(crate) fee: i64,
}

impl State {
    /// What a transaction costs: a flat fee for the issuer's account, nothing for the price account.
    pub(crate) fn fee_for(&self, tx: &Tx) -> i64 {
        match tx.body {
            Body::RecordPrice { .. } => 0,
            Body::Issue { .. } | Body::Release { .. } => self.fee,
        }
    }

    /// The account that a transaction comes from.
    pub(crate) fn source(&self, tx: &Tx) -> &str {
        match tx.body {
            Body::RecordPrice { .. } => &self.price_address,
            Body::Issue { .. } | Body::Release { .. } => &self.address,
        }
    }

    /// The chain's checks in their order, against the state of this moment. The first that fails
    /// gives the message.
    pub(crate) fn check(&self, tx: &Tx) -> Result<(), String> {
        self.check_amount(tx)?;
        let last = match tx.body {
            Body::RecordPrice { .. } => self.price_sequence,
            Body::Issue { .. } | Body::Release { .. } => self.sequence,
        };
        if tx.sequence <= last {
            return Err("sequence too low".into());
        }
        if tx.sequence - last > SEQUENCE_AHEAD {
            return Err("sequence too high".into());
        }
        if !tx.trusted {
            self.check_signatures(tx)?;
        }
        self.check_balance(tx)
    }

    fn check_amount(&self, tx: &Tx) -> Result<(), String> {
        match tx.body {
            Body::Issue { qty } if qty <= 0 => Err("Issue qty may not be <= 0".into()),
            // The original adds with wrap-around: near the greatest i64 a quantity passes here.
            Body::Issue { qty } if self.issued.wrapping_add(qty) > self.released => {
                Err("cannot issue more ndau than have been RFE'd".into())
            }
            Body::Release { qty, .. } if qty <= 0 => Err("RFE qty may not be <= 0".into()),
            Body::RecordPrice { market_price } if market_price <= 0 => {
                Err("RecordPrice market price may not be <= 0".into())
            }
            _ => Ok(()),
        }
    }

    /// Each signature by a different key; keys are tried in the account's order.
    fn check_signatures(&self, tx: &Tx) -> Result<(), String> {
        let ours: Vec<&PublicKey> = match tx.body {
            Body::RecordPrice { .. } => vec![&self.price_key],
            _ => self.keys.iter().map(|(_, key)| key).collect(),
        };
        let signatures = tx.signatures.as_deref().unwrap_or_default();
        let mut bad = Vec::new();
        let mut used = vec![false; ours.len()];
        if !(1..=SIGNATURES).contains(&signatures.len()) {
            return Err("invalid signature(s): []".into());
        }
        let message = tx.signable();
        for (place, signature) in signatures.iter().enumerate() {
            let key =
                (0..ours.len()).find(|&key| !used[key] && ours[key].verifies(&message, signature));
            match key {
                Some(key) => used[key] = true,
                None => bad.push(place.to_string()),
            }
        }
        if !bad.is_empty() {
            return Err(format!("invalid signature(s): [{}]", bad.join(" ")));
        }
        let signed = used.iter().filter(|&&used| used).count();
        match (&tx.body, self.script) {
            (Body::Issue { .. } | Body::Release { .. }, Some(wanted)) if signed < wanted => {
                Err("validation script exited with non-0 exit code".into())
            }
            _ => Ok(()),
        }
    }

    fn check_balance(&self, tx: &Tx) -> Result<(), String> {
        #[derive(Serialize)]
        struct Poor<'a> {
            address: &'a str,
            #[serde(rename = "available balance")]
            available: i64,
            balance: i64,
            msg: &'a str,
            #[serde(rename = "qty holds")]
            holds: i64,
            #[serde(rename = "tx cost")]
            cost: i64,
            #[serde(rename = "tx hash")]
            hash: String,
        }
        let cost = self.fee_for(tx);
        let holds = self.holds.iter().sum::<i64>();
        let available = self.balance.saturating_sub(holds);
        if cost == 0 || available >= cost {
            return Ok(());
        }
        let poor = Poor {
            address: self.source(tx),
            available,
            balance: self.balance,
            msg: "insufficient available balance to pay for tx",
            holds,
            cost,
            hash: tx.hash(),
        };
        Err(serde_json::to_string(&poor).expect("our own structs serialize"))
    }

    /// Changes the state; the transaction has passed [`State::check`] against this very state.
    pub(crate) fn apply(&mut self, tx: &Tx, time: SystemTime) {
        let fee = self.fee_for(tx);
        match &tx.body {
            Body::RecordPrice { market_price } => {
                self.market_price = *market_price;
                self.price_sequence = tx.sequence;
                return;
            }
            Body::Issue { qty } => self.issued = self.issued.wrapping_add(*qty),
            Body::Release { qty, .. } => self.released = self.released.wrapping_add(*qty),
        }
        self.sequence = tx.sequence;
        self.balance -= fee;
        self.fees_paid += fee;
        self.updated = time;
    }
}
