//! The real binary, started as `staleguard serve` in front of a cluster.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::LIMIT;
use super::cluster::{Cluster, run};
use super::log::Log;
use super::raw::Raw;

/// A running proxy; killed when dropped, and by the kernel should the test's thread end without that.
pub struct Proxy {
    child: Child,
    log: Log,
    listen: String,
    http: String,
}

impl Proxy {
    /// Starts `serve` before a cluster, with further arguments.
    pub fn start(cluster: &Cluster, extra: &[&str]) -> Self {
        Self::start_before(&cluster.address(), extra)
    }

    /// Starts `serve` before any address, with further arguments.
    pub fn start_before(upstream: &str, extra: &[&str]) -> Self {
        let mut command = staleguard();
        command.args(["serve", "--http", "127.0.0.1:0", "--upstream", upstream]);
        if !extra.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("staleguard did not start: {e}"));
        let log = Log::follow(BufReader::new(child.stderr.take().unwrap()));
        log.also(BufReader::new(child.stdout.take().unwrap()));
        let address = |http: bool| {
            let wanted = |line: &str| {
                line.contains("listening")
                    && line.to_lowercase().contains("http") == http
                    && address(line).is_some()
            };
            let line = log.wait(wanted);
            line.and_then(|l| address(&l)).unwrap_or_else(|| panic!("no listening line:\n{}", log.text()))
        };
        let (listen, http) = (address(false), address(true));
        Self { child, log, listen, http }
    }

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.listen
    }

    /// The port where clients connect.
    pub fn port(&self) -> u16 {
        self.listen.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port")
    }

    /// What the proxy wrote to its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A session of the superuser in the database `proxied`.
    pub fn session(&self) -> Raw {
        self.session_of("postgres", "proxied")
    }

    /// A session of any role that needs no password.
    pub fn session_of(&self, user: &str, database: &str) -> Raw {
        Raw::connect(&self.listen, user, database)
    }

    /// Status line and body of a GET on the HTTP port.
    pub fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// Sum of a metric's series that carry all these labels; 0 where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, body) = self.get("/metrics");
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let series = body.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.iter().all(|l| rest.contains(l.as_str()))).then_some(value)
        });
        series.filter_map(|v| v.parse::<f64>().ok()).sum()
    }

    /// The most memory the process ever held, in MB.
    pub fn peak_memory_mb(&self) -> u64 {
        self.memory("VmHWM:") / 1024
    }

    /// The memory that the process holds now, in kB.
    pub fn memory_kb(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with(which)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number of kB")
    }

    /// Sends a signal that does not end it (`HUP`).
    pub fn tell(&self, name: &str) {
        run(Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]));
    }

    /// Sends a signal (`TERM`) and waits for the end.
    pub fn signal(mut self, name: &str) -> ExitStatus {
        run(Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]));
        self.child.wait().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of staleguard\n{}\n---", self.log.text());
        }
    }
}

/// The binary (or the one that `STALEGUARD_TEST_BINARY` names), free of the caller's settings, ended by the
/// kernel together with the calling thread.
pub fn staleguard() -> Command {
    let binary = std::env::var_os("STALEGUARD_TEST_BINARY");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary.unwrap_or(env!("CARGO_BIN_EXE_staleguard").into()));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STALEGUARD_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that must end within the time limit; its exit status and all it wrote.
pub fn to_end(command: &mut Command) -> (ExitStatus, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::follow(BufReader::new(child.stderr.take().unwrap()));
    log.also(BufReader::new(child.stdout.take().unwrap()));
    let ended = log.wait_closed();
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ended, "{command:?} did not end:\n{}", log.text());
    (status, log.text())
}

/// `127.0.0.1:port` in a log line.
fn address(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let rest = &line[start + "127.0.0.1:".len()..];
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty() && port != "0").then(|| format!("127.0.0.1:{port}"))
}
