//! Keys are replaced, in the order that `docs/signing.md` gives.

use std::fs;

use crate::support::{Ended, Place, Plan, Running, SIGNER, key};
use bitmart_issuer::ndau::PrivateKey;
use sandbox::Fault;

fn with_a_sale() -> Place {
    let place = Plan::new().start();
    place.exchange.sell("5");
    place
}

/// A run with the signing service `identity` that holds `keys`.
fn run_with(place: &Place, identity: &PrivateKey, keys: &[PrivateKey]) -> Ended {
    place.run_with(|place, url| Some(place.signer_as(identity, url, keys)))
}

#[test]
fn the_integrations_identity() {
    let place = with_a_sale();
    place.run().expect(0, "issued", "5");
    place.exchange.sell("6");
    let path = place.path("bitmart/identity.toml");
    fs::rename(&path, place.path("bitmart/identity.old")).unwrap();
    let init = place.issuer(&["init"]);
    assert_eq!(init.code, 0, "{init:#?}");
    let npub = init.stdout.trim();
    assert!(fs::read_to_string(&path).unwrap().contains(npub));
    // Who still expects the old one is told nothing, and the run is as if nobody had come.
    place.configure("", "", "timeout = \"2s\"");
    place.run().fails(69, &["turned away"]);
    place.configure("", "", "");
    place
        .run_with(|place, url| {
            let name = place.write_sigconfig(&key(100), url, &[key(1)]);
            let old = fs::read_to_string(place.path(&name)).unwrap();
            let expected = old.lines().find(|line| line.starts_with("server_key"));
            let new = old.replace(expected.unwrap(), &format!("server_key = \"{npub}\""));
            place.write(&name, &new, 0o600);
            let command = place.command_of(SIGNER, &["run", "--config", &name]);
            Some(Running::start(command))
        })
        .expect(0, "settled", "6");
    place.settled();
}

#[test]
fn a_signers_identity_without_a_gap() {
    let place = with_a_sale();
    let (old, new) = (key(100), key(101));
    let both = format!("allowed = [\"{}\", \"{}\"]", old.public(), new.public());
    place.configure("", "", &both);
    run_with(&place, &old, &[key(1)]).expect(0, "issued", "5");
    place.exchange.sell("6");
    run_with(&place, &new, &[key(1)]).expect(0, "issued", "6");
    place.exchange.sell("7");
    let only = format!("allowed = [\"{}\"]", new.public());
    place.configure("", "", &format!("{only}\ntimeout = \"2s\""));
    let turned_away = run_with(&place, &old, &[key(1)]).fails(69, &["turned away"]);
    assert!(turned_away.stderr.contains(old.public().as_text()));
    place.configure("", "", &only);
    run_with(&place, &new, &[key(1)]).expect(0, "settled", "7");
    place.settled();
}

#[test]
fn a_validation_key_in_two_steps() {
    let place = with_a_sale();
    let service = key(100);
    let both = [key(1), key(2)];
    let [old, new] = &both;
    let on_chain = |keys: &[PrivateKey]| {
        let keys: Vec<&str> = keys.iter().map(|key| key.public().as_text()).collect();
        place.chain.set_validation_keys(&keys);
        // `ChangeValidation` is a transaction of the account.
        place.chain.use_up_sequence();
        assert!(place.chain.wait_until_idle());
    };
    // The service holds the new key before the chain knows it.
    run_with(&place, &service, &both).expect(0, "issued", "5");
    on_chain(&both);
    place.exchange.sell("6");
    run_with(&place, &service, &both).expect(0, "issued", "6");

    // Once the chain does not know the old one any more, it cannot be asked for.
    let only_old = format!("signing_keys = [\"{}\"]", old.public());
    place.configure("", &only_old, "");
    place.exchange.sell("7");
    let ended = place.run_with(|place, url| {
        place.chain.set_fault(Some(Fault::Down));
        Some(place.signer_as(&service, url, &both))
    });
    assert_eq!(ended.code, 69, "{ended:#?}");
    place.chain.set_fault(None);
    on_chain(&both[1..]);
    let dry = place.issuer(&["run", "--dry-run", "--json"]);
    dry.fails(78, &[old.public().as_text()]);

    // And what it alone had signed is built and signed anew.
    place.configure("", "confirm = \"4s\"", "");
    run_with(&place, &service, std::slice::from_ref(new)).expect(0, "issued", "7");
    place.settled();
    assert_eq!(place.chain.issues().len(), 3);
}
