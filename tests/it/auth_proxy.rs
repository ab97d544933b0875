//! Authentication mode `proxy`: the proxy itself authenticates the client and logs in to the server.

use crate::common::certs::Authority;
use crate::common::cluster::{Cluster, cluster};
use crate::common::frames::{message, startup};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{Raw, error, rows, sqlstate};
use crate::common::tls::{psql, scram, tls_cluster, users};

const PASSWORD: &str = "open sesame";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A proxy that authenticates by a file of users.
fn proxy(cluster: &Cluster, file: &str, extra: &[&str]) -> Proxy {
    Proxy::start(cluster, &[&["--auth-mode", "proxy", "--auth-users", file][..], extra].concat())
}

/// The verifier that the server has of a role.
fn verifier(cluster: &Cluster, role: &str) -> String {
    cluster.direct("postgres").value(&format!("select rolpassword from pg_authid where rolname = '{role}'"))
}

/// Who the server takes the session for, or the SQLSTATE and message that the client was told.
fn log_in(address: &str, user: &str, password: &str) -> Result<String, (String, String)> {
    let mut raw = Raw::open(address);
    let said = scram(&mut raw, user, password);
    match error(&said) {
        Some(error) => Err((error.field('C').unwrap(), error.field('M').unwrap())),
        None => Ok(rows(&raw.query("select session_user"))[0][0].clone()),
    }
}

#[test]
fn passwords_and_verifiers_log_in_to_a_server_that_asks_for_scram() {
    let (cluster, folder) = (cluster(), folder());
    let known = verifier(&cluster, "pw_scram");
    for secret in [PASSWORD, known.as_str()] {
        let file = users(folder.path(), &[("pw_scram", secret), ("other", "word")]);
        let proxy = proxy(&cluster, &file, &[]);
        assert_eq!(log_in(proxy.address(), "pw_scram", PASSWORD).unwrap(), "pw_scram");
        let (came_through, text) = psql(proxy.port(), "user=pw_scram", PASSWORD);
        assert!(came_through && text.contains("I am pw_scram"), "{text}");
        // It is a session like any other.
        let mut raw = Raw::open(proxy.address());
        let greeting = scram(&mut raw, "pw_scram", PASSWORD);
        let mut direct = Raw::open(&cluster.address());
        let oracle = scram(&mut direct, "pw_scram", PASSWORD);
        let shape = |said: &[crate::common::frames::Frame]| {
            let plain = said.iter().filter(|f| f.tag != b'R' && f.tag != b'K');
            plain.map(|f| (f.tag, f.body.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shape(&greeting), shape(&oracle));
        raw.rows("select * from projects where id = 1");
        let mut other = Raw::open(proxy.address());
        scram(&mut other, "pw_scram", PASSWORD);
        assert_eq!(other.ok("update projects set name = 'b' where id = 1"), "UPDATE 1");
        assert_eq!(sqlstate(&raw.query("update projects set name = 'a' where id = 1")), "40001");
        let done = proxy.metric("staleguard_authentications_total", &[("outcome", "done")]);
        assert_eq!(done, 4.0);
        let log = proxy.log().text();
        assert!(!log.contains("sesame") && !log.contains("SCRAM-SHA-256$"), "{log}");
    }
}

#[test]
fn who_is_refused_is_told_the_same_whatever_the_reason() {
    let (cluster, folder) = (cluster(), folder());
    let hash = format!("md5{}", "0a".repeat(16));
    let file = users(folder.path(), &[("pw_scram", PASSWORD), ("hashed", &hash), ("empty", "")]);
    let proxy = proxy(&cluster, &file, &[]);
    let said = |address: &str, user: &str, password: &str| {
        let mut raw = Raw::open(address);
        let said = scram(&mut raw, user, password);
        let error = error(&said).unwrap();
        let fields: Vec<_> = "SVCM".chars().map(|f| error.field(f).unwrap().replace(user, "USER")).collect();
        let steps: Vec<_> = said
            .iter()
            .map(|f| (f.tag, f.body[3], f.tag == b'R'))
            .map(|(t, c, r)| (t, r.then_some(c)))
            .collect();
        (steps, fields)
    };
    // The server's own words for a wrong password.
    let oracle = said(&cluster.address(), "pw_scram", "wrong");
    assert_eq!(oracle.1[2], "28P01");
    for (user, password) in
        [("pw_scram", "wrong"), ("nobody_knows", PASSWORD), ("hashed", "x"), ("empty", "x")]
    {
        assert_eq!(said(proxy.address(), user, password), oracle, "{user}");
    }
    // The same name meets the same salt, as a known one does.
    let salt = || {
        let mut raw = Raw::open(proxy.address());
        let said = scram(&mut raw, "nobody_knows", "x");
        let challenge = String::from_utf8(said[1].body[4..].to_vec()).unwrap();
        challenge.split_once(",s=").unwrap().1.to_owned()
    };
    assert_eq!(salt(), salt());
    assert!(salt().ends_with(",i=4096"));
    assert_eq!(proxy.metric("staleguard_authentications_total", &[("outcome", "refused")]), 7.0);
    // Nobody was let in to the server meanwhile.
    assert_eq!(proxy.metric("staleguard_authentications_total", &[("outcome", "done")]), 0.0);

    // No name; messages of another kind, too long, of no mechanism.
    let mut raw = Raw::open(proxy.address());
    raw.send(&startup(&[("database", "proxied")]));
    assert_eq!(sqlstate(&raw.until_closed()), "28000");
    for bad in [
        message(b'Q', b"select 1\0"),
        message(b'p', &[b'x'; 5000]),
        message(b'p', b"SCRAM-SHA-1\0\0\0\0\0"),
        message(b'p', b"SCRAM-SHA-256-PLUS\0\0\0\0\x03n,,"),
        message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
        vec![b'p', 0, 0, 0, 1],
    ] {
        let mut raw = Raw::open(proxy.address());
        raw.send(&startup(&[("user", "pw_scram"), ("database", "proxied")]));
        assert_eq!(raw.frame().tag, b'R');
        raw.send(&bad);
        assert_eq!(sqlstate(&raw.until_closed()), "08P01", "{bad:?}");
    }
}

#[test]
fn a_query_tells_of_users_that_the_file_does_not_name() {
    let (cluster, folder) = (cluster(), folder());
    cluster.direct("postgres").ok("create role asker login superuser password 'asks'");
    let query = "select rolname, rolpassword from pg_catalog.pg_authid where rolname = $1";
    let file = users(folder.path(), &[("asker", "asks")]);
    let arguments = ["--auth-query", query, "--auth-query-user", "asker"];
    for extra in [&[][..], &["--auth-query-database", "postgres"]] {
        let proxy = proxy(&cluster, &file, &[&arguments[..], extra].concat());
        assert_eq!(log_in(proxy.address(), "pw_scram", PASSWORD).unwrap(), "pw_scram");
        for user in ["pw_scram", "nobody_knows", "app", "postgres"] {
            assert_eq!(log_in(proxy.address(), user, "wrong").unwrap_err().0, "28P01", "{user}");
        }
    }
    // A query that fails, and a login that does.
    let failing = proxy(&cluster, &file, &["--auth-query", "select nothing", "--auth-query-user", "asker"]);
    assert_eq!(log_in(failing.address(), "pw_scram", PASSWORD).unwrap_err().0, "08006");
    assert!(failing.log().wait(|line| line.contains("could not be looked up")).is_some());
}

#[test]
fn what_the_server_refuses_is_told_in_its_own_words() {
    let (cluster, folder) = (cluster(), folder());
    let other = verifier(&cluster, "pw_scram");
    cluster.direct("postgres").ok("alter role pw_scram password 'changed'");
    for (user, secret, password, sqlstate, words) in [
        ("pw_scram", PASSWORD, PASSWORD, "28P01", "password authentication failed"),
        // Of the password that the server does not have any more.
        ("pw_scram", other.as_str(), PASSWORD, "08006", "another verifier"),
        ("nobody_knows", "word", "word", "28000", "does not exist"),
        // Hashes and passwords do not go over the network in the clear.
        ("pw_md5", PASSWORD, PASSWORD, "08006", "without TLS"),
        ("pw_plain", PASSWORD, PASSWORD, "08006", "without TLS"),
    ] {
        let file = users(folder.path(), &[(user, secret)]);
        let proxy = proxy(&cluster, &file, &[]);
        let (found, message) = log_in(proxy.address(), user, password).unwrap_err();
        assert_eq!(found, sqlstate, "{user}: {message}");
        assert!(message.contains(words), "{user}: {message}");
        // Trusted by the server, and then without a role: that is the session's own end.
        let outcome = if user == "nobody_knows" { "done" } else { "no_login" };
        assert_eq!(proxy.metric("staleguard_authentications_total", &[("outcome", outcome)]), 1.0, "{user}");
        assert!(!proxy.log().text().contains("sesame"));
    }
}

#[test]
fn every_kind_of_login_under_tls() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost", "127.0.0.1"]);
    let hba = "hostssl all pw_plain all password\nhostssl all pw_md5 all md5\nhostssl all pw_scram all scram-sha-256\n\
               hostssl all app all cert\nhost all postgres all trust\n";
    let cluster = tls_cluster(&authority, &pair, hba);
    let (folder, ca) = (folder(), authority.ca());
    let own = authority.issue("app", &[]);
    let known = verifier(&cluster, "pw_scram");
    let roles = [("pw_plain", PASSWORD), ("pw_md5", PASSWORD), ("pw_scram", PASSWORD), ("app", PASSWORD)];
    let file = users(folder.path(), &roles);
    let arguments = [
        "--tls-client",
        "allow",
        "--tls-certificate",
        &pair.certificate,
        "--tls-key",
        &pair.key,
        "--tls-server",
        "verify-full",
        "--tls-server-ca",
        &ca,
        "--tls-server-certificate",
        &own.certificate,
        "--tls-server-key",
        &own.key,
    ];
    let proxy = proxy(&cluster, &file, &arguments);
    for (role, _) in roles {
        for settings in ["sslmode=disable", "sslmode=require", "sslmode=require channel_binding=require"] {
            let (came_through, text) = psql(proxy.port(), &format!("user={role} {settings}"), PASSWORD);
            assert!(came_through && text.contains(&format!("I am {role}")), "{role} {settings}: {text}");
        }
        let (came_through, text) = psql(proxy.port(), &format!("user={role} sslmode=require"), "wrong");
        assert!(!came_through && text.contains("password authentication failed"), "{role}: {text}");
    }
    // By a verifier alone, bound to the server's certificate.
    users(folder.path(), &[("pw_scram", &known)]);
    proxy.tell("HUP");
    proxy.log().wait(|line| line.contains("were read again") && line.contains("users")).unwrap();
    let (came_through, text) = psql(proxy.port(), "user=pw_scram sslmode=require", PASSWORD);
    assert!(came_through, "{text}");
    let (came_through, text) = psql(proxy.port(), "user=app sslmode=require", PASSWORD);
    assert!(!came_through && text.contains("password authentication failed"), "{text}");
}

#[test]
fn settings_that_cannot_work_end_the_start() {
    let folder = folder();
    let file = users(folder.path(), &[("asker", "asks")]);
    for (arguments, words) in [
        (vec![], "set auth.users, auth.query or both"),
        (vec!["--auth-users", "/nowhere/users.txt"], "/nowhere/users.txt cannot be read"),
        (vec!["--auth-users", &file, "--auth-query", "select"], "auth.query needs auth.query_user"),
        (vec!["--auth-users", &file, "--auth-query", "select", "--auth-query-user", "x"], "auth.query_user"),
    ] {
        let mut command = staleguard();
        command.args(["check-config", "--upstream", "127.0.0.1:1", "--auth-mode", "proxy"]).args(&arguments);
        let (status, text) = to_end(&mut command);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}
