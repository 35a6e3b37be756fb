//! How long a long history takes: picking the sales of 100,000 trades, and moving the cursor over them. Everything
//! else that a run does waits for somebody's network. `cargo bench`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench stops on the spot"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitmart_issuer::exchange::{Dialect, History, Side, Trade, TradeId};
use bitmart_issuer::napu::Napu;
use bitmart_issuer::ndau::{Address, Issue, PrivateKey};
use bitmart_issuer::sales::{Batch, Cursor, Place, Start, pick};

const NOW_MS: u64 = 1_700_000_000_000;
const TRADES: u64 = 100_000;

/// The best of ten.
fn time<T>(name: &str, mut act: impl FnMut() -> T) {
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let started = Instant::now();
        black_box(act());
        best = best.min(started.elapsed());
    }
    println!("{name:<50} {best:>12.3?}");
}

fn main() {
    let trades = (0..TRADES)
        .map(|number| Trade {
            id: TradeId {
                trade: number,
                order: number / 3,
            },
            time_ms: NOW_MS - TRADES * 1000 + number * 1000,
            side: match number % 3 {
                0 => Side::Buy,
                _ => Side::Sell {
                    quantity: Napu::new(number).unwrap(),
                },
            },
        })
        .collect();
    let history = History {
        trades,
        dialect: Dialect::V4,
        now_ms: NOW_MS,
    };
    let issuer = Address::parse("ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y").unwrap();
    let place = Place {
        account: "key",
        network: "net",
        issuer: &issuer,
        issued: Napu::ZERO,
        sequence: 0,
        ledger: "",
    };
    let fresh = Cursor::new(Start::Beginning, "XND_USDT".to_owned());
    let picked = pick(&fresh, &history, place, 0).unwrap();
    let sales = picked.batch.as_ref().map_or(&[][..], Batch::sales);
    let cursor = fresh.after(&picked.progress, sales, &picked.left);

    time("pick the sales of 100,000 new trades", || {
        pick(&fresh, &history, place, 0)
    });
    time("move the cursor over them", || {
        fresh.after(&picked.progress, sales, &picked.left)
    });
    time("pick again, when all are decided", || {
        pick(&cursor, &history, place, 0)
    });

    let amounts: Vec<String> = (0..TRADES)
        .map(|napu| Napu::new(napu * 7919).unwrap().to_string())
        .collect();
    time("read 100,000 amounts", || {
        amounts
            .iter()
            .filter(|text| Napu::parse_amount(text).is_ok())
            .count()
    });

    let issue = Issue::new(Napu::NDAU, 1).unwrap();
    let key = PrivateKey::from_ed25519_seed(&[1; 32]);
    let signature = key.sign(&issue.signable_bytes());
    time("verify one ed25519 signature", || {
        key.public().verifies(&issue.signable_bytes(), &signature)
    });
}
