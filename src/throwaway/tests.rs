#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use super::*;

#[test]
fn a_cluster_answers_restarts_and_leaves_nothing() {
    let cluster = Cluster::builder().max_connections(20).start().unwrap();
    cluster.create_database("Odd \"name\"").unwrap();
    assert_eq!(cluster.psql("Odd \"name\"", "SELECT current_database()").unwrap(), "Odd \"name\"");
    assert_eq!(cluster.psql("postgres", "SHOW max_connections").unwrap(), "20");
    assert_eq!(cluster.psql("postgres", "SHOW fsync").unwrap(), "off");
    let first = cluster.pid().unwrap();
    cluster.restart().unwrap();
    let pid = cluster.pid().unwrap();
    assert_ne!(first, pid);
    cluster.kill().unwrap();
    assert!(cluster.psql("postgres", "SELECT 1").is_err());
    cluster.restart().unwrap();
    assert_eq!(cluster.psql("postgres", "SELECT 1").unwrap(), "1");
    let (folder, pid) = (cluster.socket_dir().to_owned(), cluster.pid().unwrap());
    drop(cluster);
    assert!(!folder.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_wrong_setting_is_told_with_the_servers_own_words() {
    let error = Cluster::builder().setting("no_such_setting", "1").start().unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[test]
fn connection_strings_are_percent_encoded() {
    assert_eq!(percent("a b/ü:@"), "a%20b%2F%C3%BC%3A%40");
}

#[test]
fn passwords_are_asked_for_over_tcp_and_not_over_the_socket() {
    let cluster = Cluster::builder()
        .auth(Auth::ScramSha256)
        .password("p w")
        .hba_line("host all guest 127.0.0.1/32 trust")
        .start()
        .unwrap();
    cluster.psql("postgres", "CREATE ROLE guest LOGIN").unwrap();
    let over_tcp = |dsn: String| {
        let mut cmd = account::command(&cluster.bin("psql"), None, Path::new("/"));
        cmd.args(["-X", "-w", "-A", "-t", "-c", "SELECT current_user", &dsn]);
        run(cmd, "psql")
    };
    assert_eq!(over_tcp(cluster.dsn("postgres")).unwrap(), "postgres\n");
    assert_eq!(over_tcp(cluster.dsn_as("guest", None, "postgres")).unwrap(), "guest\n");
    assert!(over_tcp(cluster.dsn_as("postgres", Some("wrong"), "postgres")).is_err());
}

/// Set in the process that is going to be killed.
const VICTIM: &str = "STALEGUARD_TEST_VICTIM";

/// Not a test of its own: what the next one runs in a process of its own.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = Cluster::builder().start().unwrap();
    println!("\nfolder {}", cluster.socket_dir().display());
    println!("pid {}", cluster.pid().unwrap());
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "throwaway::tests::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = lines.filter_map(|l| {
        Some(l.split_once(' ')?.1.to_owned()).filter(|_| l.starts_with("folder ") || l.starts_with("pid "))
    });
    let (folder, pid) = (PathBuf::from(told.next().unwrap()), told.next().unwrap());
    assert!(folder.exists());
    // std's kill is SIGKILL: nothing is dropped.
    owner.kill().unwrap();
    owner.wait().unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    while folder.exists() {
        assert!(Instant::now() < limit, "{} is still there", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Gone, or a zombie where nothing reaps orphans.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
}
