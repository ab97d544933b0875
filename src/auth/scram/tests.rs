#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::*;

/// The exchange of RFC 7677, section 3: user `user`, password `pencil`.
#[test]
fn the_exchange_of_the_standard() {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut salted = hmac(b"pencil", &[&salt, &[0, 0, 0, 1]]);
    let mut round = salted;
    for _ in 1..4096 {
        round = hmac(b"pencil", &[&round]);
        salted = xor(&salted, &round);
    }
    let client_key = hmac(&salted, &[b"Client Key"]);
    let verifier = Verifier {
        iterations: 4096,
        salt,
        stored_key: Sha256::digest(client_key).into(),
        server_key: hmac(&salted, &[b"Server Key"]),
    };
    let server = Server::new(&verifier, None);
    let challenged = server
        .challenge(false, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
        .unwrap();
    assert_eq!(
        challenged.message,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let (answer, keys) = challenged.judge(last.as_bytes()).unwrap().unwrap();
    assert_eq!(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(keys.client_key, client_key);
}

/// A whole exchange with a client of another make.
fn exchange(
    verifier: &Verifier,
    end_point: Option<&[u8]>,
    password: &str,
    binding: ChannelBinding,
    plus: bool,
) -> Result<bool, Breach> {
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let challenged = Server::new(verifier, end_point).challenge(plus, client.message(), "server")?;
    client.update(challenged.message.as_bytes()).unwrap();
    let Some((answer, keys)) = challenged.judge(client.message())? else { return Ok(false) };
    client.finish(answer.as_bytes()).unwrap();
    // What the proof has shown opens the same verifier elsewhere.
    for end_point in [None, Some(b"hash".to_vec())] {
        let key_client = KeyClient::new(verifier, &keys, end_point.clone(), "mine".to_owned());
        let server = Server::new(verifier, end_point.as_deref());
        let challenged = server.challenge(end_point.is_some(), &key_client.first(), "theirs").unwrap();
        let (last, expected) = key_client.last(challenged.message.as_bytes()).unwrap();
        let (answer, _) = challenged.judge(last.as_bytes()).unwrap().unwrap();
        assert_eq!(proved(&expected, answer.as_bytes()), Ok(()));
        assert_eq!(proved(&expected, b"v=AAAA"), Err(KeyError::Unproved));
        let other = Verifier::of_password("sesame").unwrap();
        let server = Server::new(&other, end_point.as_deref());
        let challenged = server.challenge(end_point.is_some(), &key_client.first(), "theirs").unwrap();
        assert_eq!(key_client.last(challenged.message.as_bytes()), Err(KeyError::OtherVerifier));
    }
    Ok(true)
}

#[test]
fn exchanges_with_a_client_of_another_make() {
    let verifier = Verifier::of_password("sesame").unwrap();
    let hash = |bytes: &[u8]| ChannelBinding::tls_server_end_point(bytes.to_vec());
    let no = ChannelBinding::unsupported;
    assert_eq!(exchange(&verifier, None, "sesame", no(), false), Ok(true));
    assert_eq!(exchange(&verifier, Some(b"x"), "sesame", no(), false), Ok(true));
    assert_eq!(exchange(&verifier, None, "sesam", no(), false), Ok(false));
    assert_eq!(exchange(&verifier, None, "sesame", ChannelBinding::unrequested(), false), Ok(true));
    assert_eq!(exchange(&verifier, Some(b"x"), "sesame", hash(b"x"), true), Ok(true));
    assert_eq!(exchange(&verifier, Some(b"x"), "sesam", hash(b"x"), true), Ok(false));
    // Another certificate in between; a binding where none was offered; a client that was told of none.
    let failed = exchange(&verifier, Some(b"x"), "sesame", hash(b"y"), true).unwrap_err();
    assert_eq!(failed.message, "SCRAM channel binding check failed");
    assert_eq!(exchange(&verifier, None, "sesame", hash(b"x"), true), Err(MALFORMED));
    assert_eq!(exchange(&verifier, Some(b"x"), "sesame", hash(b"x"), false), Err(MALFORMED));
    assert_eq!(exchange(&verifier, Some(b"x"), "sesame", ChannelBinding::unrequested(), false), Err(BINDING));
}

#[test]
fn a_mock_meets_no_proof_and_stays_the_same() {
    let secret = [7; 32];
    let mock = Verifier::mock(&secret, "nobody");
    assert_eq!(mock, Verifier::mock(&secret, "nobody"));
    assert_ne!(mock.salt, Verifier::mock(&secret, "other").salt);
    assert_eq!(exchange(&mock, None, "sesame", ChannelBinding::unsupported(), false), Ok(false));
}

#[test]
fn verifiers_that_are_none() {
    let good = postgres_protocol::password::scram_sha_256(b"x");
    assert!(Verifier::read(&good).is_some());
    for bad in [
        "",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$0:AA==$AA==:AA==",
        "md5abc",
        &good[..good.len() - 4],
        &good.replace("4096", "0"),
    ] {
        assert!(Verifier::read(bad).is_none(), "{bad}");
    }
    assert!(!format!("{:?}", Verifier::read(&good)).contains("key"));
}

#[test]
fn messages_that_make_no_sense() {
    let verifier = Verifier::of_password("x").unwrap();
    let server = Server::new(&verifier, None);
    for bad in [
        &b""[..],
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=",
        b"n,,n=,r=",
        b"n,,r=a",
        b"x,,n=,r=a",
        b"n,,n=,r=a b",
        b"n,,n=,r=\xff",
        b"p=tls-unique,,n=,r=a",
    ] {
        assert_eq!(server.challenge(false, bad, "s").err(), Some(MALFORMED), "{bad:?}");
    }
    assert_eq!(server.challenge(false, b"n,a=x,n=,r=a", "s").err().unwrap().sqlstate, "0A000");
    assert_eq!(server.challenge(false, b"n,,m=x,n=,r=a", "s").err().unwrap().sqlstate, "0A000");
    let challenged = server.challenge(false, b"n,,n=,r=a", "s").unwrap();
    let proof = BASE64.encode([0; 32]);
    for bad in ["", "c=biws", "c=biws,r=as", "c=biws,r=as,p=", "c=biws,r=as,p=AAAA", "r=as,c=biws,p=AAAA"] {
        assert_eq!(challenged.judge(bad.as_bytes()).err(), Some(MALFORMED), "{bad}");
    }
    assert_eq!(
        challenged.judge(format!("c=eSws,r=as,p={proof}").as_bytes()).err().unwrap().sqlstate,
        "28000"
    );
    assert_eq!(
        challenged.judge(format!("c=biws,r=b,p={proof}").as_bytes()).err().unwrap().message,
        "invalid SCRAM response"
    );
    assert!(challenged.judge(format!("c=biws,r=as,p={proof}").as_bytes()).unwrap().is_none());
}
