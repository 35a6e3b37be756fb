//! Laws of the formats, tried on many random values: what holds for every key, amount, message and history.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops on the spot"
)]

use bitmart_issuer::exchange::{Dialect, History, Side, Trade, TradeId};
use bitmart_issuer::napu::Napu;
use bitmart_issuer::ndau::{Address, Issue, PrivateKey, PublicKey, Signature, SignedIssue};
use bitmart_issuer::sales::{Cursor, Place, Start, pick};
use proptest::collection::vec;
use proptest::prelude::*;

fn any_key() -> impl Strategy<Value = PrivateKey> {
    (any::<[u8; 32]>(), any::<bool>()).prop_filter_map("no key", |(secret, ed25519)| {
        if ed25519 {
            Some(PrivateKey::from_ed25519_seed(&secret))
        } else {
            PrivateKey::from_secp256k1(&secret)
        }
    })
}

fn any_napu() -> impl Strategy<Value = Napu> {
    // Every magnitude alike, not only the largest.
    (any::<u64>(), 1u32..64).prop_map(|(napu, shift)| Napu::new(napu >> shift).unwrap())
}

fn any_issue() -> impl Strategy<Value = Issue> {
    (any_napu(), any::<u64>(), 1u32..64)
        .prop_filter_map("out of bounds", |(quantity, sequence, shift)| {
            Issue::new(quantity, sequence >> shift).ok()
        })
}

/// `bytes` with one bit changed.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_keys_text_is_the_key(key in any_key()) {
        let private = PrivateKey::parse(key.text().expose()).unwrap();
        let [found, expected] = [private.text(), key.text()];
        prop_assert_eq!(found.expose(), expected.expose());
        let public = PublicKey::parse(key.public().as_text()).unwrap();
        prop_assert_eq!(&public, key.public());
        prop_assert_eq!(public.as_text(), private.public().as_text());
        // Capital letters in the body are the same key; a capital prefix is none.
        let body = key.public().as_text()[4..].to_uppercase();
        let lower = PublicKey::parse(&format!("npub{body}"));
        prop_assert_eq!(lower.as_ref(), Ok(&public));
        let upper = PublicKey::parse(&format!("NPUB{body}"));
        prop_assert!(upper.is_err());
    }

    #[test]
    fn one_changed_letter_is_no_key(key in any_key(), at in any::<prop::sample::Index>(), letter in "[a-km-np-z2-9]") {
        let text = key.public().as_text();
        let at = 4 + at.index(text.len() - 4);
        prop_assume!(text[at..=at] != letter);
        let changed = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
        // 3 to 7 bytes of checksum leave one in 2^24 by chance, at the very most.
        prop_assert!(PublicKey::parse(&changed).is_err());
    }

    #[test]
    fn an_amounts_text_is_the_amount(amount in any_napu()) {
        prop_assert_eq!(Napu::parse_ndau(&amount.to_string()), Ok(amount));
        prop_assert_eq!(Napu::parse_amount(&amount.to_string()), Ok(amount));
        let (whole, places) = (amount.get() / 100_000_000, amount.get() % 100_000_000);
        for text in [format!("{whole}.{places:08}"), format!("000{whole}.{places:08}")] {
            prop_assert_eq!(Napu::parse_ndau(&text), Ok(amount));
            prop_assert_eq!(Napu::parse_amount(&format!("{text}000000")), Ok(amount));
        }
        prop_assert_eq!(Napu::parse_amount(&format!("{}e-8", amount.get())), Ok(amount));
        let ninth_place = Napu::parse_amount(&format!("{whole}.{places:08}1"));
        prop_assert!(ninth_place.is_err());
    }

    #[test]
    fn sums_are_those_of_wider_integers(amounts in vec(any_napu(), 0..40)) {
        let wide: u128 = amounts.iter().map(|amount| u128::from(amount.get())).sum();
        let sum = Napu::sum(amounts.iter().copied());
        prop_assert_eq!(sum.map(|sum| u128::from(sum.get())), (wide <= u128::from(i64::MAX.unsigned_abs())).then_some(wide));
    }

    #[test]
    fn what_is_signed_depends_on_quantity_and_sequence_alone(one in any_issue(), other in any_issue(), key in any_key()) {
        let same = (one.quantity(), one.sequence()) == (other.quantity(), other.sequence());
        prop_assert_eq!(one.signable_bytes() == other.signable_bytes(), same);
        prop_assert_eq!(one.hash() == other.hash(), same);
        let signable = one.signable_bytes();
        prop_assert_eq!(u64::from_be_bytes(signable[..8].try_into().unwrap()), one.quantity().get());
        prop_assert_eq!(u64::from_be_bytes(signable[8..].try_into().unwrap()), one.sequence());
        prop_assert_eq!(Issue::parse_unsigned(&one.unsigned_body()).unwrap(), one);

        let keys = [key.public().clone()];
        let verified = one.verify(&keys, key.public(), &key.sign(&signable)).unwrap();
        let signed = SignedIssue::new(one, std::slice::from_ref(&verified), 1).unwrap();
        prop_assert_eq!(signed.issue().hash(), one.hash());
        prop_assert_eq!(SignedIssue::new(other, &[verified], 1).is_ok(), same);
    }

    #[test]
    fn a_signature_verifies_and_no_neighbour_of_it_does(
        key in any_key(), message in vec(any::<u8>(), 1..64), bit in any::<usize>()
    ) {
        let signature = key.sign(&message);
        let public = key.public();
        prop_assert!(public.verifies(&message, &signature));
        prop_assert_eq!(Signature::parse(signature.as_text()).unwrap(), signature.clone());
        prop_assert!(!public.verifies(&flipped(&message, bit), &signature));
        let other = flipped(public.key_bytes(), bit);
        if let Some(other) = public_key(public, &other) {
            prop_assert!(!other.verifies(&message, &signature));
        }
        let other = signature_of(&signature, &flipped(signature.bytes(), bit));
        // In DER a changed byte can still be another spelling of the same two numbers, which the chain takes too.
        let spelling = public.key_bytes().len() == 33 && is_framing(signature.bytes(), bit);
        prop_assert!(spelling || !public.verifies(&message, &other));
    }

    #[test]
    fn sums_do_not_depend_on_order(
        trades in vec((0u64..1_000_000, 0u64..50, any::<bool>()), 0..60), seed in any::<u64>()
    ) {
        let mut trades: Vec<Trade> = trades
            .into_iter()
            .zip(0..)
            .map(|((time_ms, napu, sale), trade)| Trade {
                id: TradeId { trade, order: 1 },
                time_ms: 1_700_000_000_000 + time_ms,
                side: if sale { Side::Sell { quantity: Napu::new(napu).unwrap() } } else { Side::Buy },
            })
            .collect();
        let cursor = Cursor::new(Start::Beginning, "XND_USDT".to_owned());
        let issuer = Address::parse("ndnk4k58nnjz2dvwfwvikpjf2c66s476p6qhifjmfpptrq6y").unwrap();
        let place = Place { account: "key", network: "net", issuer: &issuer, issued: Napu::ZERO, sequence: 0, ledger: "" };
        let picked = |trades: &[Trade]| {
            let history = History { trades: trades.to_vec(), dialect: Dialect::V4, now_ms: 1_700_001_000_000 };
            pick(&cursor, &history, place, 0).unwrap()
        };
        let first = picked(&trades);
        let mut random = seed | 1;
        for at in (1..trades.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            trades.swap(at, usize::try_from(random >> 33).unwrap() % (at + 1));
        }
        let second = picked(&trades);
        prop_assert_eq!(&first.batch, &second.batch);
        let sales = first.batch.as_ref().map_or(&[][..], |batch| batch.sales());
        prop_assert_eq!(cursor.after(&first.progress, sales, &[]), cursor.after(&second.progress, sales, &[]));
    }
}

/// The sealed text of any algorithm and data, as `docs/formats.md` says.
fn sealed(algorithm: u8, data: &[u8]) -> String {
    use sha2::{Digest, Sha224};
    let payload = [
        &[0x92, algorithm, 0xc4, u8::try_from(data.len()).unwrap()],
        data,
    ]
    .concat();
    let n = match 5 - (payload.len() + 1) % 5 {
        n if n < 3 => n + 5,
        n => n,
    };
    let digest = Sha224::digest(&payload);
    let mut alphabet = data_encoding::Specification::new();
    alphabet
        .symbols
        .push_str("abcdefghijkmnpqrstuvwxyz23456789");
    let sealed = [
        &[u8::try_from(n).unwrap()],
        &payload[..],
        &digest[digest.len() - n..],
    ]
    .concat();
    alphabet.encoding().unwrap().encode(&sealed)
}

fn algorithm(key_bytes: usize) -> u8 {
    if key_bytes == 32 { 1 } else { 2 }
}

fn public_key(like: &PublicKey, key: &[u8]) -> Option<PublicKey> {
    let data = [&[u8::try_from(key.len()).unwrap()], key].concat();
    PublicKey::parse(&format!(
        "npub{}",
        sealed(algorithm(like.key_bytes().len()), &data)
    ))
    .ok()
}

fn signature_of(like: &Signature, bytes: &[u8]) -> Signature {
    let algorithm = if like.as_text().starts_with("a4jadtca") {
        1
    } else {
        2
    };
    Signature::parse(&sealed(algorithm, bytes)).unwrap()
}

/// Whether the bit is in the frame of a DER signature (tags, lengths, leading zeros), not in its numbers.
fn is_framing(der: &[u8], bit: usize) -> bool {
    let at = bit % (der.len() * 8) / 8;
    let r = usize::from(der[3]);
    let zero = |start: usize| der[start] == 0 && at == start;
    at < 4 || at == 4 + r || at == 5 + r || zero(4) || zero(6 + r)
}
