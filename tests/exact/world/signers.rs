//! Who holds the issuer's one key, and what this key's signatures are.

use std::cell::RefCell;
use std::collections::HashMap;

use bitmart_issuer::napu::Napu;
use bitmart_issuer::ndau::{Issue, PrivateKey, PublicKey, Verified};

thread_local! {
    static KEY: PrivateKey = PrivateKey::from_ed25519_seed(&[1; 32]);
    /// Signing is most of what a run costs, and the same two numbers have the same signature.
    static SIGNED: RefCell<HashMap<Issue, Verified>> = RefCell::default();
}

/// The account's validation key.
pub fn public() -> PublicKey {
    KEY.with(|key| key.public().clone())
}

/// The key's signature over `issue`.
pub fn sign(issue: Issue) -> Verified {
    SIGNED.with_borrow_mut(|signed| {
        let verified = signed.entry(issue).or_insert_with(|| {
            KEY.with(|key| {
                let signature = key.sign(&issue.signable_bytes());
                let public = key.public();
                issue
                    .verify(std::slice::from_ref(public), public, &signature)
                    .unwrap()
            })
        });
        verified.clone()
    })
}

/// The text of the key's signature over these numbers.
pub fn signature(quantity: u64, sequence: u64) -> String {
    let issue = Issue::new(Napu::new(quantity).unwrap(), sequence).unwrap();
    sign(issue).signature().as_text().to_owned()
}
