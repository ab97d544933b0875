//! Unix sockets on both sides of the proxy.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::common::cluster::{Cluster, bin_dir};
use crate::common::frames::{query, ssl_request, startup};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{Raw, error, sqlstate};

/// A folder that the server, of another account, may make its socket in.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sg-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A cluster that also listens on a Unix socket in the folder.
fn cluster(folder: &Path) -> Cluster {
    Cluster::start(&[&format!("unix_socket_directories={}", folder.display())])
}

/// Waits until the backend runs a statement.
fn running(judge: &mut Raw, pid: i32, text: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity where pid = {pid} and state = 'active' and query like '%{text}%'"
    );
    while judge.value(&sql) != "1" {}
}

#[test]
fn a_session_over_unix_sockets_on_both_sides() {
    let (front, back) = (folder(), folder());
    let cluster = cluster(back.path());
    let upstream = format!("{}:{}", back.path().display(), cluster.port());
    let listen = format!("127.0.0.1:0,{}:6442", front.path().display());
    let proxy = Proxy::start_before(&upstream, &["--listen", &listen]);
    let socket = front.path().join(".s.PGSQL.6442");
    let address = socket.display().to_string();
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o777);

    let mut session = Raw::connect(&address, "postgres", "proxied");
    assert_eq!(session.value("select inet_client_addr() is null"), "t", "the server's side is a Unix socket");
    // It guards: another session changes the row between this one's read and write.
    session.rows("select * from projects where id = 1");
    let other =
        Raw::connect(&address, "postgres", "proxied").ok("update projects set name = 'b' where id = 1");
    assert_eq!(other, "UPDATE 1");
    let refused = session.query("update projects set name = 'a' where id = 1");
    assert_eq!(sqlstate(&refused), "40001", "{refused:?}");
    let log = proxy.log().wait(|line| line.contains("version conflict on project 1")).unwrap();
    assert!(log.contains(r#""client_address":"unix""#) || log.contains(r#":"unix""#), "{log}");
    assert_eq!(proxy.metric("staleguard_upstream_ready", &[]), 1.0);

    // A reply much larger than any buffer.
    let reply = session.rows("select repeat('x', 3000000)");
    assert_eq!(reply[0][0].len(), 3_000_000);

    // A request to cancel goes the same way.
    let pid = session.pid();
    session.send(&query("select pg_sleep(600)"));
    running(&mut cluster.direct("proxied"), pid, "pg_sleep(600)");
    let mut cancel = Raw::open(&address);
    let mut packet = vec![0, 0, 0, 16, 4, 210, 22, 46];
    packet.extend_from_slice(&session.key);
    cancel.send(&packet);
    assert!(cancel.until_closed().is_empty());
    assert_eq!(sqlstate(&session.until_ready(1)), "57014");

    // No TLS here: an SSLRequest is answered as PostgreSQL answers it on its own Unix socket.
    let mut raw = Raw::open(&address);
    raw.send(&ssl_request());
    assert_eq!(raw.byte(), b'N');
    raw.send(&startup(&[("user", "postgres"), ("database", "proxied")]));
    assert!(error(&raw.until_ready(1)).is_none());

    let mut psql = Command::new(bin_dir().join("psql"));
    psql.args(["-X", "-A", "-t", "-c", "select 6 * 7", "-h"]).arg(front.path());
    let (status, text) = to_end(psql.args(["-p", "6442", "-U", "postgres", "proxied"]));
    assert!(status.success() && text.trim() == "42", "{text}");

    drop(session);
    assert!(proxy.signal("TERM").success());
    assert!(!socket.exists(), "the socket is removed at the stop");
}

#[test]
fn a_server_that_is_away_is_refused_and_named() {
    let folder = folder();
    let upstream = format!("{}:5999", folder.path().display());
    let proxy = Proxy::start_before(&upstream, &[]);
    let mut raw = Raw::open(proxy.address());
    raw.send(&startup(&[("user", "postgres")]));
    let reply = raw.until_closed();
    assert_eq!(sqlstate(&reply), "08006");
    assert!(error(&reply).unwrap().field('M').unwrap().contains(&upstream), "{reply:?}");
    // A socket that nobody listens on any more.
    drop(UnixListener::bind(folder.path().join(".s.PGSQL.5999")).unwrap());
    let mut raw = Raw::open(proxy.address());
    raw.send(&startup(&[("user", "postgres")]));
    assert!(error(&raw.until_closed()).unwrap().field('M').unwrap().contains("refuses connections"));
}

#[test]
fn an_abandoned_socket_is_replaced_and_a_live_one_is_not() {
    let folder = folder();
    let path = folder.path().join(".s.PGSQL.6442");
    let listen = format!("{}:6442", folder.path().display());
    let try_start = || {
        let mut command = staleguard();
        command.args(["serve", "--upstream", "127.0.0.1:1", "--http", "127.0.0.1:0", "--listen", &listen]);
        to_end(&mut command)
    };
    // Somebody listens.
    let listener = UnixListener::bind(&path).unwrap();
    let (status, text) = try_start();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("listen") && text.contains(&listen), "{text}");
    assert!(UnixStream::connect(&path).is_ok(), "it is left alone");
    drop(listener);
    // Nobody does, but it is no socket.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert_eq!(try_start().0.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();
    // What a process that was killed leaves.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    let both = format!("127.0.0.1:0,{listen}");
    let arguments = ["--listen", both.as_str(), "--unix-socket-permissions", "0700"];
    let proxy = Proxy::start_before("127.0.0.1:1", &arguments);
    assert!(UnixStream::connect(&path).is_ok());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    // Another's socket in its place is not removed at the stop.
    std::fs::remove_file(&path).unwrap();
    let successor = Arc::new(UnixListener::bind(&path).unwrap());
    assert!(proxy.signal("TERM").success());
    assert!(path.exists());
    drop(successor);
}
