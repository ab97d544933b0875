#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
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
