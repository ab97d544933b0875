//! The real binary: start, announce, answer, stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No single wait in these tests takes longer than this.
const LIMIT: Duration = Duration::from_secs(30);

fn staleguard(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_staleguard"));
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running proxy. Killed when dropped.
struct Proxy {
    child: Child,
    log: BufReader<ChildStderr>,
    postgres: Vec<SocketAddr>,
    http: SocketAddr,
}

impl Proxy {
    /// Starts it on free ports and waits until it has announced all of them.
    fn start(upstream: SocketAddr, args: &[&str]) -> Self {
        let upstream = upstream.to_string();
        let mut all =
            vec!["serve", "--upstream", &upstream, "--http", "127.0.0.1:0", "--probe-interval", "10ms"];
        all.extend(args);
        if !args.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        Self::announced(staleguard(&all))
    }

    fn announced(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut proxy = Self { child, log, postgres: Vec::new(), http: ([127, 0, 0, 1], 0).into() };
        while proxy.http.port() == 0 {
            let event =
                next_event(&mut proxy.log).expect("the log ended before the http address was announced");
            if event["message"] == "listening" {
                let address = event["address"].as_str().unwrap().parse().unwrap();
                match event["service"].as_str() {
                    Some("postgres") => proxy.postgres.push(address),
                    Some("http") => proxy.http = address,
                    other => panic!("service {other:?}"),
                }
            }
        }
        proxy
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = connect(self.http);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Asks until the answer is as wanted; what it wants is told by `wanted`.
    fn await_answer(&self, path: &str, wanted: &str, fits: impl Fn(u16, &str) -> bool) {
        let begin = Instant::now();
        loop {
            let (status, body) = self.get(path);
            if fits(status, &body) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "{path} is not {wanted} but {status}: {body}");
        }
    }

    fn await_metric(&self, line: &str) {
        self.await_answer("/metrics", line, |_, body| body.lines().any(|l| l == line));
    }

    /// Sends the signal; returns the exit code and the rest of the log.
    fn stop(mut self, signal: &str) -> (Option<i32>, Vec<Value>) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let mut events = Vec::new();
        while let Some(event) = next_event(&mut self.log) {
            events.push(event);
        }
        (self.child.wait().unwrap().code(), events)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Fails where the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn next_event(log: &mut impl BufRead) -> Option<Value> {
    let mut line = String::new();
    if log.read_line(&mut line).unwrap() == 0 {
        return None;
    }
    Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a JSON line: {line}")))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// An address where nobody listens.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Answers SSLRequests like PostgreSQL without TLS and closes; a client that sends nothing is held.
fn stand_in() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut first = [0u8; 8];
                if stream.read_exact(&mut first).is_ok() && first == [0, 0, 0, 8, 4, 210, 22, 47] {
                    let _ = stream.write_all(b"N");
                }
            });
        }
    });
    address
}

fn output(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        staleguard(args).envs(variables.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn with_a_dead_server_it_is_healthy_but_not_ready() {
    let proxy = Proxy::start(dead(), &["--environment", "test"]);
    assert_eq!(proxy.get("/health"), (200, "healthy\n".to_owned()));
    assert_eq!(proxy.get("/ready").0, 503);
    proxy.await_answer("/ready", "503 with the reason", |status, body| {
        status == 503 && body.contains("refuses connections")
    });
    let metrics = proxy.get("/metrics").1;
    for line in [
        "# TYPE version_conflicts_total counter",
        "version_conflicts_total{entity_type=\"project\",environment=\"test\"} 0",
        "staleguard_writes_total{entity_type=\"user\",outcome=\"checked\"} 0",
        "# TYPE staleguard_connections gauge",
        "staleguard_upstream_ready 0",
        concat!("staleguard_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line} in\n{metrics}");
    }
    assert_eq!(proxy.get("/").0, 200);
    assert_eq!(proxy.get("/nothing").0, 404);
    let (code, events) = proxy.stop("TERM");
    assert_eq!(code, Some(0), "{events:?}");
    assert!(events.iter().any(|event| event["message"] == "stopping" && event["signal"] == "SIGTERM"));
}

#[test]
fn it_is_ready_while_the_server_answers() {
    let proxy = Proxy::start(stand_in(), &["--workers", "3"]);
    proxy.await_answer("/ready", "200", |status, _| status == 200);
    proxy.await_metric("staleguard_upstream_ready 1");
    let (code, events) = proxy.stop("INT");
    assert_eq!(code, Some(0), "{events:?}");
    assert!(events.iter().any(|event| event["message"] == "stopping" && event["signal"] == "SIGINT"));
}

#[test]
fn three_failed_probes_take_the_readiness_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), &[]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0u8; 8]).unwrap();
    stream.write_all(b"S").unwrap();
    proxy.await_metric("staleguard_upstream_ready 1");
    drop((stream, listener));
    proxy.await_answer("/ready", "503", |status, body| status == 503 && body.starts_with("not ready: "));
    proxy.await_metric("staleguard_upstream_ready 0");
}

#[test]
fn clients_are_counted_and_ended_by_the_stop() {
    let proxy = Proxy::start(stand_in(), &["--listen", "127.0.0.1:0,[::1]:0", "--workers", "2"]);
    assert_eq!(proxy.postgres.len(), 2);
    let addresses = proxy.postgres.iter().chain(&proxy.postgres);
    let mut clients: Vec<TcpStream> = addresses.map(|address| connect(*address)).collect();
    proxy.await_metric("staleguard_connections 4");
    proxy.await_metric("staleguard_connections_total 4");
    drop(clients.pop());
    proxy.await_metric("staleguard_connections 3");
    let (code, events) = proxy.stop("TERM");
    assert_eq!(code, Some(0), "{events:?}");
    assert!(!events.iter().any(|event| event["message"] == "sessions cut off"), "{events:?}");
    for mut client in clients {
        // The session may say good-bye first; what counts is that the connection ends.
        let mut rest = Vec::new();
        if let Err(error) = client.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}

#[test]
fn running_out_of_file_descriptors_is_counted_and_survived() {
    let mut command = Command::new("sh");
    let script = "ulimit -n 40; exec \"$0\" serve --upstream \"$1\" --listen 127.0.0.1:0 --http 127.0.0.1:0 --workers 1";
    command.args(["-c", script, env!("CARGO_BIN_EXE_staleguard"), &stand_in().to_string()]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut proxy = Proxy::announced(command);
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(proxy.postgres[0])).collect();
    loop {
        let event = next_event(&mut proxy.log).expect("the proxy ended");
        if event["message"] == "a client could not be accepted" {
            assert_eq!(event["level"], "ERROR");
            break;
        }
    }
    drop(clients);
    proxy.await_metric("staleguard_connections 0");
    assert!(!proxy.get("/metrics").1.contains("staleguard_accept_errors_total 0\n"));
    let _late = connect(proxy.postgres[0]);
    proxy.await_metric("staleguard_connections 1");
    assert_eq!(proxy.stop("TERM").0, Some(0));
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (setting, other) in [("http", "listen"), ("listen", "http")] {
        let flags = [format!("--{setting}"), format!("--{other}")];
        let args = ["serve", "--upstream", "127.0.0.1:1", &flags[0], &address, &flags[1], "127.0.0.1:0"];
        let (code, _, stderr) = output(&args, &[]);
        assert_eq!(code, Some(1), "{stderr}");
        let expected = format!("staleguard: cannot listen on {address} (setting {setting}): ");
        assert!(stderr.lines().last().unwrap().starts_with(&expected), "{stderr}");
    }
}

#[test]
fn wrong_settings_end_with_code_2_and_one_sentence() {
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        (&["serve"], &[], "staleguard: upstream is not set: give HOST:PORT"),
        (
            &["serve"],
            &[("STALEGUARD_UPSTREAM", "x")],
            "staleguard: upstream = \"x\" (from the environment variable STALEGUARD_UPSTREAM) is not allowed",
        ),
        (
            &["check-config", "--upstream", "db:1", "--workers", "0"],
            &[],
            "staleguard: workers = \"0\" (from the flag --workers) is not allowed: expected an integer from 1 to 1024",
        ),
        (&["serve", "--config", "/nonexistent"], &[], "staleguard: the configuration file /nonexistent"),
        (&["serve", "--no-such-flag"], &[], "error: unexpected argument '--no-such-flag'"),
    ];
    for (args, variables, expected) in table {
        let (code, stdout, stderr) = output(args, variables);
        assert_eq!(code, Some(2), "{args:?} {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.starts_with(expected), "{args:?} {stderr}");
    }
}

#[test]
fn check_config_tells_what_is_in_force() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/staleguard.toml");
    let args = ["check-config", "--config", example, "--tables", "app.orders"];
    let (code, stdout, stderr) = output(&args, &[("STALEGUARD_UPSTREAM", "db:5432")]);
    assert_eq!(code, Some(0), "{stderr}");
    for line in [
        "upstream = \"db:5432\"    # from the environment variable STALEGUARD_UPSTREAM",
        "connect_timeout = 5s    # default",
        "table app.orders: mode enforce, entity order, version column version int4",
        "the configuration is right",
    ] {
        assert!(stdout.lines().any(|l| l == line), "no {line} in\n{stdout}");
    }
}

#[test]
fn the_version_is_the_package_s() {
    let (code, stdout, _) = output(&["--version"], &[]);
    assert_eq!((code, stdout), (Some(0), format!("staleguard {}\n", env!("CARGO_PKG_VERSION"))));
}
