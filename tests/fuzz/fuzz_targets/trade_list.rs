#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitmart_issuer::hostile::run("trade_list", bytes));
