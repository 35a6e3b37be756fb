//! Allowed signers that answer wrongly, late, twice or never.

use super::*;
use crate::signer::message::RequestId;

#[test]
fn a_reason_cannot_write_lines_of_its_own() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = dial(&config).unwrap();
            let id = next_request(&mut session).id;
            let reason = format!("no\nERROR all is lost\u{1b}[2J{}", "x".repeat(5000));
            session.send(&FromSigner::Refused { id, reason }).unwrap();
            while next(&mut session).is_some() {}
        });
        let error = collect(listener, &request(&[10], 1), LONG).unwrap_err();
        let text = error.to_string();
        assert!(
            !text.contains(char::is_control) && text.len() < 500,
            "{text}"
        );
    });
}

/// What a rogue signer answers, what the integration makes of it, and that its session ends with an `error`.
#[test]
fn wrong_foreign_and_garbled_answers_are_refused() {
    type Answer = fn(&SignTx) -> FromSigner;
    let cases: [(Answer, &str, Exit); 8] = [
        (
            |request| {
                let other = Issue::new(Napu::NDAU, 6).unwrap();
                signatures(request, vec![signature(10, &other)])
            },
            "does not verify over this Issue",
            Exit::Refused,
        ),
        (
            |request| {
                let issue = issue_of(request);
                signatures(request, vec![signature(10, &issue), signature(99, &issue)])
            },
            "a signature by a key that was not asked to sign",
            Exit::Refused,
        ),
        (
            |request| {
                let (_, by_another) = signature(99, &issue_of(request));
                signatures(request, vec![(key(10).public().clone(), by_another)])
            },
            "does not verify over this Issue",
            Exit::Refused,
        ),
        (
            |request| signatures(request, Vec::new()),
            "too few signatures, 0 of 1",
            Exit::Refused,
        ),
        (
            |_| FromSigner::Refused {
                id: RequestId::new([1; 16]),
                reason: "no".to_owned(),
            },
            "an answer to a request that was not made",
            Exit::BadData,
        ),
        (
            |_| FromSigner::Hello {
                version: "1".to_owned(),
                keys: 1,
            },
            "a second hello",
            Exit::BadData,
        ),
        (
            |_| FromSigner::Error {
                message: "what?".to_owned(),
            },
            "it says: what?",
            Exit::BadData,
        ),
        (
            |request| FromSigner::Refused {
                id: request.id.clone(),
                reason: "a person said no".to_owned(),
            },
            "refused to sign: a person said no",
            Exit::Refused,
        ),
    ];
    let server = server();
    for (answer, expected, exit) in cases {
        let listener = listen(&server, &[1]);
        let config = service(&listener, 1, &[10]);
        thread::scope(|scope| {
            let signer = scope.spawn(|| {
                let mut session = dial(&config).unwrap();
                let request = next_request(&mut session);
                session.send(&answer(&request)).unwrap();
                let last = next(&mut session);
                assert!(next(&mut session).is_none());
                last
            });
            let error = collect(listener, &request(&[10], 1), LONG).unwrap_err();
            let text = crate::error::chain(&error);
            assert!(text.contains(expected), "{text}");
            assert_eq!(error.exit(), exit, "{text}");
            match signer.join().unwrap() {
                Some(ToSigner::Error { .. }) => assert!(!matches!(error, Error::TooFew { .. })),
                Some(ToSigner::Done { outcome, .. }) => assert_eq!(outcome, Outcome::Failed),
                other => panic!("{other:?}"),
            }
        });
    }
}

/// A wrong signature by one signer does not keep the right one of another out.
#[test]
fn a_wrong_signature_does_not_end_the_wait() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let rogue = service(&listener, 1, &[10]);
    let honest = service(&listener, 2, &[10]);
    thread::scope(|scope| {
        let rogue = scope.spawn(move || {
            let mut session = dial(&rogue).unwrap();
            let request = next_request(&mut session);
            let wrong = (key(10).public().clone(), key(10).sign(b"other"));
            session.send(&signatures(&request, vec![wrong])).unwrap();
            assert!(matches!(next(&mut session), Some(ToSigner::Error { .. })));
        });
        let honest = scope.spawn(move || {
            rogue.join().unwrap();
            serve(&honest, Until::OneSession)
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        commit(signed, &request);
        assert_eq!(honest.join().unwrap(), Exit::Done);
    });
}

#[test]
fn a_silent_signer_delays_no_other() {
    let server = server();
    let listener = listen(&server, &[1, 2]);
    let silent = service(&listener, 1, &[10]);
    let honest = service(&listener, 2, &[10]);
    thread::scope(|scope| {
        let (asked, was_asked) = std::sync::mpsc::channel();
        let silent = scope.spawn(move || {
            let mut session = dial(&silent).unwrap();
            next_request(&mut session);
            asked.send(()).unwrap();
            next(&mut session)
        });
        scope.spawn(move || {
            was_asked.recv().unwrap();
            serve(&honest, Until::OneSession)
        });
        let request = request(&[10], 1);
        let start = Instant::now();
        let signed = collect(listener, &request, LONG).unwrap();
        assert!(start.elapsed() < LONG / 3);
        commit(signed, &request);
        // It hears how it ended.
        assert!(matches!(
            silent.join().unwrap(),
            Some(ToSigner::Done { .. })
        ));
    });
}

#[test]
fn a_signer_that_never_answers_is_named() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = dial(&config).unwrap();
            next_request(&mut session);
            assert!(matches!(next(&mut session), Some(ToSigner::Done { .. })));
        });
        let error = collect(listener, &request(&[10], 1), Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, Error::Silent { .. }), "{error}");
        assert!(error.to_string().contains(key(1).public().as_text()));
        assert_eq!(error.exit(), Exit::Unavailable);
    });
}

#[test]
fn a_signer_that_connects_again_takes_its_own_place() {
    let server = server();
    let listener = listen(&server, &[1]);
    let config = service(&listener, 1, &[10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut old = dial(&config).unwrap();
            let first = next_request(&mut old);
            let mut new = dial(&config).unwrap();
            assert_eq!(next_request(&mut new), first);
            assert_eq!(next(&mut old), None);
            let right = signature(10, &issue_of(&first));
            new.send(&signatures(&first, vec![right])).unwrap();
            assert!(matches!(next(&mut new), Some(ToSigner::Done { .. })));
        });
        let request = request(&[10], 1);
        let signed = collect(listener, &request, LONG).unwrap();
        commit(signed, &request);
    });
}
