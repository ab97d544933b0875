//! TLS between clients and the proxy.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use crate::common::certs::{Authority, Pair};
use crate::common::cluster::cluster;
use crate::common::frames::{gssenc_request, query, ssl_request, startup};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{Raw, error, sqlstate};
use crate::common::tls::{psql, tls_cluster};
use crate::common::twin::Stage;

const WHO: [(&str, &str); 2] = [("user", "postgres"), ("database", "proxied")];

/// A proxy that speaks TLS with clients, and who has signed its certificate.
struct Encrypted {
    stage: Stage,
    authority: Authority,
    pair: Pair,
}

fn encrypted(client: &str, extra: &[&str]) -> Encrypted {
    let authority = Authority::new();
    let pair = authority.issue("proxy", &["localhost", "127.0.0.1"]);
    let ca = authority.ca();
    let mut arguments =
        vec!["--tls-client", client, "--tls-certificate", &pair.certificate, "--tls-key", &pair.key];
    arguments.extend(extra.iter().map(|word| if *word == "CA" { ca.as_str() } else { word }));
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, &arguments);
    Encrypted { stage: Stage { proxy, cluster }, authority, pair }
}

impl Encrypted {
    fn address(&self) -> &str {
        self.stage.proxy.address()
    }

    fn config(&self) -> Arc<ClientConfig> {
        self.authority.client(None, &["postgresql"])
    }

    fn handshakes(&self, outcome: &str) -> f64 {
        self.stage
            .proxy
            .metric("staleguard_tls_handshakes_total", &[("side", "client"), ("outcome", outcome)])
    }

    /// psql with these connection settings; whether it came through, and what it said.
    fn psql(&self, settings: &str) -> (bool, String) {
        psql(self.stage.proxy.port(), &format!("user=postgres {settings}"), "")
    }
}

#[test]
fn a_session_under_tls_is_a_session() {
    let encrypted = encrypted("allow", &[]);
    let config = encrypted.config();
    let mut session = Raw::open_tls(encrypted.address(), &config).unwrap().log_in(&WHO);
    session.rows("select * from projects where id = 1");
    // One that comes without is served as well.
    assert_eq!(encrypted.stage.session().ok("update projects set name = 'b' where id = 1"), "UPDATE 1");
    assert_eq!(sqlstate(&session.query("update projects set name = 'a' where id = 1")), "40001");
    // Much more than any buffer holds, in both directions at once.
    let large = "x".repeat(3_000_000);
    let reply = session.rows(&format!("select '{large}' || '{large}'"));
    assert_eq!(reply[0][0].len(), 2 * large.len());
    let mut many = Vec::new();
    for _ in 0..200 {
        many.extend_from_slice(&query("select repeat('y', 20000)"));
    }
    session.send(&many);
    assert_eq!(session.until_ready(200).iter().filter(|f| f.tag == b'D').count(), 200);
    assert_eq!(encrypted.handshakes("done"), 1.0);

    // A request to cancel, under TLS of its own.
    let pid = session.pid();
    session.send(&query("select pg_sleep(600)"));
    let mut judge = encrypted.stage.behind();
    let active = format!("select count(*) from pg_stat_activity where pid = {pid} and state = 'active'");
    while judge.value(&active) != "1" {}
    let mut cancel = Raw::open_tls(encrypted.address(), &config).unwrap();
    cancel.send(&[&[0, 0, 0, 16, 4, 210, 22, 46], session.key.as_slice()].concat());
    assert!(cancel.until_closed().is_empty());
    assert_eq!(sqlstate(&session.until_ready(1)), "57014");

    // The end of the client's stream is the end of its backend.
    session.close_sending();
    let gone = format!("select count(*) from pg_stat_activity where pid = {pid}");
    while judge.value(&gone) != "0" {}
}

#[test]
fn what_each_sslmode_of_libpq_sees() {
    let encrypted = encrypted("allow", &[]);
    let root = format!("sslrootcert={}", encrypted.authority.ca());
    let other = format!("sslrootcert={}", Authority::new().ca());
    for (settings, tls) in [
        ("sslmode=disable".to_owned(), Some(false)),
        ("sslmode=allow".to_owned(), Some(false)),
        ("sslmode=prefer".to_owned(), Some(true)),
        ("sslmode=require".to_owned(), Some(true)),
        (format!("sslmode=verify-ca {root}"), Some(true)),
        (format!("sslmode=verify-full {root}"), Some(true)),
        (format!("sslmode=verify-full {other}"), None),
        ("sslmode=require ssl_max_protocol_version=TLSv1.2".to_owned(), Some(true)),
        ("sslmode=require ssl_min_protocol_version=TLSv1.3".to_owned(), Some(true)),
        ("sslmode=require ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.1".to_owned(), None),
    ] {
        let (came_through, text) = encrypted.psql(&settings);
        assert_eq!(came_through, tls.is_some(), "{settings}: {text}");
        assert_eq!(text.contains("SSL connection"), tls == Some(true), "{settings}: {text}");
    }
    assert!(encrypted.handshakes("failed") >= 2.0);
    // Encryption by GSSAPI is declined, and TLS follows.
    let mut raw = Raw::open(encrypted.address());
    for (request, answer) in [(gssenc_request(), b'N'), (ssl_request(), b'S')] {
        raw.send(&request);
        assert_eq!(raw.byte(), answer);
    }
}

#[test]
fn who_must_speak_tls_and_does_not_is_told_as_by_postgresql() {
    let encrypted = encrypted("require", &[]);
    let mut raw = Raw::open(encrypted.address());
    raw.send(&startup(&WHO));
    let reply = raw.until_closed();
    // What PostgreSQL itself says where pg_hba.conf has nothing but hostssl.
    let pair = encrypted.authority.issue("server", &["localhost"]);
    let hba = "hostssl all postgres all trust\n";
    let strict = tls_cluster(&encrypted.authority, &pair, hba);
    let mut raw = Raw::open(&strict.address());
    raw.send(&startup(&WHO));
    let direct = raw.until_closed();
    for field in ['S', 'V', 'C', 'M'] {
        assert_eq!(
            error(&reply).unwrap().field(field),
            error(&direct).unwrap().field(field),
            "{reply:?} {direct:?}"
        );
    }
    assert_eq!(sqlstate(&reply), "28000");
    let (came_through, text) = encrypted.psql("sslmode=disable");
    assert!(!came_through && text.contains("no encryption"), "{text}");
    for mode in ["allow", "prefer", "require"] {
        let (came_through, text) = encrypted.psql(&format!("sslmode={mode}"));
        assert!(came_through && text.contains("SSL connection"), "{mode}: {text}");
    }
}

#[test]
fn what_was_sent_in_plain_text_behind_a_request_is_not_taken_for_encrypted() {
    let encrypted = encrypted("allow", &[]);
    // As someone in the middle would: a start-up packet of theirs behind the client's SSLRequest.
    let mut raw = Raw::open(encrypted.address());
    raw.send(&[ssl_request(), startup(&[("user", "postgres"), ("database", "direct")])].concat());
    assert_eq!(raw.byte(), b'S');
    let reply = raw.into_tls(&encrypted.config()).unwrap().until_closed();
    assert_eq!(sqlstate(&reply), "08P01", "{reply:?}");
    let message = error(&reply).unwrap().field('M').unwrap();
    assert_eq!(message, "received unencrypted data after SSL request");
    // Also where the answer is no, as PostgreSQL has it.
    let plain = Proxy::start(&encrypted.stage.cluster, &[]);
    let refused = |address: &str, request: Vec<u8>| {
        let mut raw = Raw::open(address);
        raw.send(&[request, startup(&WHO)].concat());
        assert_eq!(raw.byte(), b'N');
        let error = raw.until_closed().into_iter().find(|f| f.tag == b'E').unwrap();
        "SVCMD".chars().map(|field| error.field(field)).collect::<Vec<_>>()
    };
    let direct = refused(&encrypted.stage.cluster.address(), ssl_request());
    assert_eq!(direct, refused(plain.address(), ssl_request()));
    // A server that was built with GSSAPI says yes here: nothing to compare with.
    let gss = refused(plain.address(), gssenc_request());
    assert_eq!(gss[3].as_deref(), Some("received unencrypted data after GSSAPI encryption request"));
    assert_eq!((&gss[..3], &gss[4]), (&direct[..3], &direct[4]));
}

#[test]
fn a_request_that_comes_twice_is_a_version_that_does_not_exist() {
    let encrypted = encrypted("allow", &[]);
    let plain = Proxy::start(&encrypted.stage.cluster, &[]);
    let refused = |address: &str, request: Vec<u8>| {
        let mut raw = Raw::open(address);
        raw.send(&request);
        assert_eq!(raw.byte(), b'N');
        raw.send(&request);
        let error = raw.until_closed().into_iter().find(|f| f.tag == b'E').unwrap();
        "SVCM".chars().map(|field| error.field(field)).collect::<Vec<_>>()
    };
    let direct = refused(&encrypted.stage.cluster.address(), ssl_request());
    assert_eq!(direct, refused(plain.address(), ssl_request()));
    assert_eq!(direct[..3], refused(plain.address(), gssenc_request())[..3]);
    // Under TLS neither request is one.
    for request in [ssl_request(), gssenc_request()] {
        let mut raw = Raw::open_tls(encrypted.address(), &encrypted.config()).unwrap();
        raw.send(&request);
        assert_eq!(sqlstate(&raw.until_closed()), "0A000");
    }
}

#[test]
fn tls_that_begins_at_once_must_name_the_protocol() {
    let encrypted = encrypted("require", &[]);
    let direct = |config: &Arc<ClientConfig>| Raw::open(encrypted.address()).into_tls(config);
    let mut session = direct(&encrypted.config()).unwrap().log_in(&WHO);
    assert_eq!(session.value("select 42"), "42");
    // An SSLRequest under it is declined, as by PostgreSQL 17.
    let mut raw = direct(&encrypted.config()).unwrap();
    raw.send(&ssl_request());
    assert_eq!(raw.byte(), b'N');
    assert_eq!(raw.log_in(&WHO).value("select 43"), "43");
    // Without a protocol it is closed without a word; another protocol ends the handshake.
    let mut raw = direct(&encrypted.authority.client(None, &[])).unwrap();
    let _ = raw.try_send(&startup(&WHO));
    assert!(raw.until_closed().is_empty());
    assert!(direct(&encrypted.authority.client(None, &["h2"])).is_err());
    // A proxy that speaks no TLS does not take it for anything.
    let plain = Proxy::start(&encrypted.stage.cluster, &[]);
    assert!(Raw::open(plain.address()).into_tls(&encrypted.config()).is_err());
    assert_eq!(plain.session().value("select 44"), "44");
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let encrypted = encrypted("allow", &["--tls-handshake-timeout", "50ms"]);
    let mut raw = Raw::open(encrypted.address());
    raw.send(&ssl_request());
    assert_eq!(raw.byte(), b'S');
    assert!(raw.until_closed().is_empty());
    let line = encrypted.stage.proxy.log().wait(|line| line.contains("took too long")).unwrap();
    assert!(line.contains("127.0.0.1:"), "{line}");
    assert_eq!(encrypted.handshakes("timeout"), 1.0);
    // Garbage in its place.
    let mut raw = Raw::open(encrypted.address());
    raw.send(&ssl_request());
    assert_eq!(raw.byte(), b'S');
    raw.send(b"GET / HTTP/1.1\r\n\r\n");
    let mut writer = raw.writer();
    while writer.write_all(b"more").is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(encrypted.handshakes("failed"), 1.0);
}

#[test]
fn certificates_of_clients() {
    let encrypted = encrypted("require", &["--tls-client-ca", "CA"]);
    let own = encrypted.authority.issue("app", &[]);
    let stranger = Authority::new();
    let foreign = stranger.issue("app", &[]);
    let open = |address: &str, shown: Option<&Pair>| {
        let config = encrypted.authority.client(shown, &["postgresql"]);
        Raw::open_tls(address, &config).and_then(|mut raw| {
            raw.try_send(&startup(&WHO))?;
            let mut frames = vec![raw.try_frame()?];
            while frames.last().is_some_and(|f| f.tag != b'Z' && f.tag != b'E') {
                frames.push(raw.try_frame()?);
            }
            Ok(frames)
        })
    };
    // Optional: none, or one of the authority's.
    assert!(error(&open(encrypted.address(), None).unwrap()).is_none());
    assert!(error(&open(encrypted.address(), Some(&own)).unwrap()).is_none());
    assert!(open(encrypted.address(), Some(&foreign)).is_err(), "signed by nobody who is known");
    // Required.
    let ca = encrypted.authority.ca();
    let strict = Proxy::start(
        &encrypted.stage.cluster,
        &[
            "--tls-client",
            "require",
            "--tls-certificate",
            &encrypted.pair.certificate,
            "--tls-key",
            &encrypted.pair.key,
            "--tls-client-ca",
            &ca,
            "--tls-client-certificates",
            "required",
        ],
    );
    let refused = open(strict.address(), None).unwrap();
    assert_eq!(sqlstate(&refused), "28000");
    assert_eq!(
        error(&refused).unwrap().field('M').unwrap(),
        "connection requires a valid client certificate"
    );
    assert!(error(&open(strict.address(), Some(&own)).unwrap()).is_none());
    assert!(open(strict.address(), Some(&foreign)).is_err());
    let (came_through, text) = psql(
        strict.port(),
        &format!("user=postgres sslmode=require sslcert={} sslkey={}", own.certificate, own.key),
        "",
    );
    assert!(came_through, "{text}");
}

#[test]
fn settings_that_cannot_work_end_the_start() {
    let authority = Authority::new();
    let pair = authority.issue("proxy", &["localhost"]);
    for command in ["serve", "check-config"] {
        let mut run = staleguard();
        run.args([command, "--upstream", "127.0.0.1:1", "--tls-client", "allow"]);
        let (status, text) = to_end(run.args(["--tls-certificate", &pair.certificate]));
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(text.contains("tls.key is not set"), "{text}");
    }
}
