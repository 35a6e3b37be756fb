//! Honest signers: who signs, who refuses, who is missing, and how both sides end.

use std::net::TcpListener;

use super::*;

#[test]
fn a_request_is_signed_and_its_outcome_told() {
    let server = server();
    for outcome in [Outcome::Committed, Outcome::NotNeeded] {
        let listener = listen(&server, &[1]);
        let config = service(&listener, 1, &[10, 11]);
        thread::scope(|scope| {
            let signer = scope.spawn(|| serve(&config, Until::OneSession));
            let request = request(&[10], 1);
            let signed = collect(listener, &request, LONG).unwrap();
            assert_eq!(signed.verified().len(), 1);
            assert_eq!(signed.verified()[0].key(), key(10).public());
            signed.finish(outcome, &request.issue.hash());
            assert_eq!(signer.join().unwrap(), Exit::Done);
        });
    }
}

/// With `--once`, a failed transaction is waited for again.
#[test]
fn a_failed_outcome_is_no_end_for_the_service() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    let endpoint = listener.url().parse().unwrap();
    thread::scope(|scope| {
        let signer = scope.spawn(|| serve(&config, Until::OneSession));
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        signed.finish(Outcome::Failed, &request.issue.hash());
        let again = Listener::open(&endpoint, &server, &public(&[1])).unwrap();
        let signed = collect(again, &request, LONG).unwrap();
        commit(signed, &request);
        assert_eq!(signer.join().unwrap(), Exit::Done);
    });
}

#[test]
fn two_signers_give_the_two_signatures_needed() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let configs = [service(&listener, 1, &[10]), service(&listener, 2, &[11])];
    thread::scope(|scope| {
        let signers = configs
            .each_ref()
            .map(|config| scope.spawn(|| serve(config, Until::OneSession)));
        let request = request(&[10, 11, 12], 2);
        let signed = collect(listener, &request, LONG).unwrap();
        let mut by: Vec<_> = signed
            .verified()
            .iter()
            .map(|one| one.key().to_string())
            .collect();
        by.sort();
        let mut expected: Vec<_> = public(&[10, 11]).iter().map(PublicKey::to_string).collect();
        expected.sort();
        assert_eq!(by, expected);
        commit(signed, &request);
        for signer in signers {
            assert_eq!(signer.join().unwrap(), Exit::Done);
        }
    });
}

#[test]
fn one_service_serves_two_integrations() {
    let server = server();
    let (one, other) = (listen(&server, &[1]), listen(&server, &[1]));
    let mut config = service(&one, 1, &[10]);
    config
        .connections
        .extend(service(&other, 1, &[]).connections);
    let request = request(&[10], 1);
    thread::scope(|scope| {
        let signer = scope.spawn(|| serve(&config, Until::OneSession));
        let waiting = scope.spawn(|| collect(other, &request, LONG).unwrap());
        let signed = collect(one, &request, LONG).unwrap();
        let also = waiting.join().unwrap();
        commit(signed, &request);
        assert_eq!(signer.join().unwrap(), Exit::Done);
        drop(also);
    });
}

#[test]
fn a_refusal_ends_both_sides_at_once_with_its_reason() {
    let server = server();
    let listener = listen(&server, &[1]);
    let mut config = service(&listener, 1, &[10]);
    config.policy.max_issue_per_tx = Napu::new(1);
    thread::scope(|scope| {
        let signer = scope.spawn(|| serve(&config, Until::OneSession));
        let start = Instant::now();
        let error = collect(listener, &request(&[10], 1), LONG).unwrap_err();
        assert!(start.elapsed() < LONG / 2);
        assert_eq!(error.exit(), Exit::Refused);
        let text = error.to_string();
        assert!(
            text.contains("1 ndau is above the limit of 0.00000001 ndau"),
            "{text}"
        );
        assert_eq!(signer.join().unwrap(), Exit::Refused);
    });
}

/// A refusal by one is not the end while another could still sign.
#[test]
fn another_signer_may_sign_what_one_refused() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let mut refusing = service(&listener, 1, &[10]);
    refusing.policy.max_issue_per_tx = Napu::new(1);
    let signing = service(&listener, 2, &[11]);
    thread::scope(|scope| {
        let (said_no, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let mut session = dial(&refusing).unwrap();
            let said = answer(&mut session, &refusing);
            assert!(matches!(said, FromSigner::Refused { .. }), "{said:?}");
            said_no.send(()).unwrap();
            while session.look("test") == Event::Quiet {}
        });
        let signer = scope.spawn(move || {
            told.recv().unwrap();
            serve(&signing, Until::OneSession)
        });
        let request = request(&[10, 11], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        assert_eq!(signed.verified()[0].key(), key(11).public());
        commit(signed, &request);
        assert_eq!(signer.join().unwrap(), Exit::Done);
    });
}

#[test]
fn nobody_in_time_is_unavailable() {
    let server = server();
    let start = Instant::now();
    let error = collect(listen(&server, &[1]), &request(&[10], 1), SHORT).unwrap_err();
    assert!(
        matches!(error, Error::Nobody { strangers: 0, .. }),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Unavailable);
    assert!(start.elapsed() >= SHORT && start.elapsed() < 10 * SHORT);
}

#[test]
fn fewer_keys_than_needed_are_refused_at_once() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = dial(&config).unwrap();
            answer(&mut session, &config);
            while session.look("test") != Event::Done(Outcome::Failed) {}
        });
        let error = collect(listener, &request(&[10, 11], 2), LONG).unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooFew {
                    needed: 2,
                    given: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.exit(), Exit::Refused);
    });
}

#[test]
fn what_could_never_end_well_is_refused_first() {
    let server = server();
    let open = |allowed: &[u8]| {
        let endpoint = "ws://127.0.0.1:0/signer".parse().unwrap();
        Listener::open(&endpoint, &server, &public(allowed))
    };
    assert!(matches!(open(&[]), Err(Error::NobodyAllowed)));
    assert!(matches!(open(&[200]), Err(Error::KeyOfTwoUses { .. })));
    for (keys, needed) in [(&[10][..], 0), (&[10], 2), (&[10, 10], 2), (&[], 1)] {
        let error = collect(open(&[1]).unwrap(), &request(keys, needed), LONG).unwrap_err();
        assert!(matches!(error, Error::Impossible { .. }), "{error}");
    }
    for key in [1, 200] {
        let error = collect(open(&[1]).unwrap(), &request(&[10, key], 1), LONG).unwrap_err();
        assert!(matches!(error, Error::KeyOfTwoUses { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
    let taken = open(&[1]).unwrap();
    let endpoint = taken.url().parse().unwrap();
    let error = Listener::open(&endpoint, &server, &public(&[1]))
        .err()
        .unwrap();
    assert_eq!(error.exit(), Exit::Unavailable);
}

/// A signer that reads nothing any more holds the integration up for two seconds, not more.
#[test]
fn taking_leave_ends_in_time() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        let (finished, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let mut session = dial(&config).unwrap();
            answer(&mut session, &config);
            told.recv().unwrap();
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        let start = Instant::now();
        commit(signed, &request);
        let time = start.elapsed();
        finished.send(()).unwrap();
        assert!(
            time >= Duration::from_secs(1) && time < Duration::from_secs(3),
            "{time:?}"
        );
    });
}

/// Dialing ends with an error, whatever listens there: nobody, one who leaves, one who is silent, and the same
/// through TLS.
#[test]
fn dialing_what_is_no_integration_fails_in_time() {
    let server = server();
    let mut config = service(&listen(&server, &[1]), 1, &[10]);
    assert!(matches!(dial(&config).map(|_| ()), Err(DialError::Idle)));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    for scheme in ["ws", "wss"] {
        let url = format!("{scheme}://localhost:{port}/signer");
        config.connections[0].url = url.parse().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| drop(other.accept().unwrap()));
            let error = dial(&config).map(|_| ()).unwrap_err();
            assert!(matches!(error, DialError::Closed), "{error:?}");
        });
    }
    let start = Instant::now();
    let error = dial(&config).map(|_| ()).unwrap_err();
    assert!(matches!(error, DialError::Slow), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(7));
}
