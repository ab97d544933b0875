#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::clients::ClientTls;
use super::server::ServerTls;
use super::*;
use crate::config::tls::{ClientCertificates, ClientMode, Negotiation, ServerMode, TlsSettings};
use crate::telemetry::Metrics;

fn metrics() -> Metrics {
    Metrics::new("test", &[])
}

fn client_error(settings: &TlsSettings) -> String {
    ClientTls::new(settings, &metrics()).unwrap_err().to_string()
}

fn server_error(settings: &TlsSettings) -> String {
    ServerTls::new(settings, "db.internal", &metrics()).unwrap_err().to_string()
}

#[test]
fn settings_that_need_another_say_which() {
    assert!(ClientTls::new(&TlsSettings::default(), &metrics()).unwrap().is_none());
    assert!(ServerTls::new(&TlsSettings::default(), "db", &metrics()).unwrap().is_none());

    let mut settings = TlsSettings { client: ClientMode::Allow, ..TlsSettings::default() };
    assert_eq!(
        client_error(&settings),
        "tls.certificate is not set, and TLS with clients (tls.client) needs it"
    );
    settings.certificate = Some("/nowhere/cert.pem".into());
    assert!(client_error(&settings).starts_with("tls.key is not set"));
    settings.key = Some("/nowhere/key.pem".into());
    let error = client_error(&settings);
    assert!(error.starts_with("tls.certificate = /nowhere/cert.pem cannot be used: No such file"), "{error}");
    settings.client_certificates = ClientCertificates::Required;
    assert!(client_error(&settings).contains("needs tls.client = require"));
    settings.client = ClientMode::Require;
    assert!(client_error(&settings).starts_with("tls.client_ca is not set"));

    let mut settings = TlsSettings { server: ServerMode::VerifyFull, ..TlsSettings::default() };
    assert!(server_error(&settings).starts_with("tls.server_ca is not set"));
    settings.server = ServerMode::Prefer;
    settings.server_negotiation = Negotiation::Direct;
    assert!(server_error(&settings).contains("needs tls.server = require or more"));
    settings.server_negotiation = Negotiation::Postgres;
    settings.server_certificate = Some("/nowhere/cert.pem".into());
    assert!(server_error(&settings).starts_with("tls.server_key is not set"));
    settings.server_certificate = None;
    settings.server_name = Some("not a name".to_owned());
    assert!(server_error(&settings).contains("not a name"));
}

#[test]
fn a_file_of_another_kind_is_named_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = folder.path().join("cert.pem");
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    for text in ["hush", "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n", ""] {
        std::fs::write(&key, text).unwrap();
        let settings = TlsSettings {
            client: ClientMode::Allow,
            certificate: Some(certificate.clone()),
            key: Some(key.clone()),
            ..TlsSettings::default()
        };
        let error = client_error(&settings);
        assert!(error.starts_with("tls.") && error.contains("key") && !error.contains("hush"), "{error}");
    }
    // A key of another certificate.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let settings = TlsSettings {
        client: ClientMode::Allow,
        certificate: Some(certificate),
        key: Some(key),
        ..TlsSettings::default()
    };
    assert!(client_error(&settings).starts_with("tls.certificate cannot be used with its key"));
}

#[test]
fn what_channels_are_bound_to() {
    for (algorithm, len) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(end_point::of(certificate.der()).map(|hash| hash.len()), len, "{algorithm:?}");
    }
    for broken in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", b"\x30\x80\x00\x00"] {
        assert_eq!(end_point::of(broken), None);
    }
}
