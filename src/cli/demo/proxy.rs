//! The proxy under demonstration: this very program, run as `serve` in a process of its own.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::DemoError;

/// How long the proxy may take to listen, and later to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines the proxy has logged.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    kept: Mutex<Vec<String>>,
    /// Warnings are printed as they come, and no line is kept any more.
    live: AtomicBool,
}

impl Log {
    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last few lines, for an error's text.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// From now on prints each warning and keeps nothing.
    pub fn go_live(&self) {
        self.0.live.store(true, Ordering::Relaxed);
    }

    fn push(&self, line: String) {
        if !self.0.live.load(Ordering::Relaxed) {
            self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        } else if line.contains("\"WARNING\"") || line.contains("\"ERROR\"") {
            println!("  {line}");
        }
    }
}

/// A running `staleguard serve`.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    leash: Leash,
    /// What it logged.
    pub log: Log,
    /// Where PostgreSQL clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics` is.
    pub http: SocketAddr,
}

/// A line of the log that tells a bound address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Listen(SocketAddr),
    Http(SocketAddr),
}

impl Proxy {
    /// Starts the proxy before the server at `upstream`, on free ports, with further flags, and waits until it listens.
    pub fn start(upstream: &str, flags: &[&str]) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Program { program: "staleguard serve".into(), source };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--upstream", upstream])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer);
        without_settings(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the pipe's writing end: while it lives, the reader would never see the end.
        drop(command);
        let leash = Leash::on(child.id()).inspect_err(|_| end(&mut child)).map_err(failed)?;
        let log = Log::default();
        let (sender, bound) = channel();
        follow(reader, log.clone(), sender);
        match addresses(&bound) {
            Some((listen, http)) => Ok(Self { child, leash, log, listen, http }),
            None => {
                end(&mut child);
                Err(DemoError::ProxyDidNotListen { seconds: PATIENCE.as_secs(), log: log.tail() })
            }
        }
    }

    /// Asks it to stop as an init system does, and waits for it.
    pub fn stop(mut self) -> Result<ExitStatus, DemoError> {
        let failed = |source| DemoError::Program { program: "staleguard serve".into(), source };
        self.leash.pull();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(DemoError::ProxyDidNotStop { seconds: PATIENCE.as_secs() })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.leash.release();
        end(&mut self.child);
    }
}

/// Kills a child that may have ended already, and reaps it.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A shell that sends a process SIGTERM (std can only send SIGKILL) when a pipe is closed: by [`Leash::pull`], or by
/// this program's own end, however sudden that was.
#[derive(Debug)]
struct Leash(Child);

impl Leash {
    /// `$1` is the process. An end of file without `done` before it is the signal to send.
    const SCRIPT: &str =
        "trap '' INT TERM HUP; word=; read -r word; [ \"$word\" = done ] || kill -TERM \"$1\"";

    fn on(process: u32) -> std::io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", Self::SCRIPT, "staleguard-leash", &process.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
    }

    /// Sends the signal. Once.
    fn pull(&mut self) {
        self.0.stdin = None;
        let _ = self.0.wait();
    }

    /// Lets the process be.
    fn release(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

fn follow(reader: PipeReader, log: Log, bound: Sender<Bound>) {
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if let Some(address) = bound_address(&line) {
                // The receiver goes once both addresses are known.
                let _ = bound.send(address);
            }
            log.push(line);
        }
    });
}

fn addresses(bound: &Receiver<Bound>) -> Option<(SocketAddr, SocketAddr)> {
    let end = Instant::now() + PATIENCE;
    let (mut listen, mut http) = (None, None);
    loop {
        if let (Some(listen), Some(http)) = (listen, http) {
            return Some((listen, http));
        }
        match bound.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Bound::Listen(address)) => listen = Some(address),
            Ok(Bound::Http(address)) => http = Some(address),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Takes the caller's own settings out of a command's environment: they would make it another demo.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STALEGUARD_") {
            command.env_remove(name);
        }
    }
}

/// The address in a line that says where the proxy listens.
fn bound_address(line: &str) -> Option<Bound> {
    const HOST: &str = "127.0.0.1:";
    if !line.contains("listening") {
        return None;
    }
    let from = line.find(HOST)? + HOST.len();
    let rest = line.get(from..)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let port: u16 = rest.get(..digits)?.parse().ok()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    match line.to_ascii_lowercase().contains("http") {
        _ if port == 0 => None,
        true => Some(Bound::Http(address)),
        false => Some(Bound::Listen(address)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_lines_that_say_listening_tell_an_address() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for (line, expected) in [
            ("listening on 127.0.0.1:41", Some(Bound::Listen(at(41)))),
            (r#"{"message":"listening for HTTP","address":"127.0.0.1:42"}"#, Some(Bound::Http(at(42)))),
            (r#"{"message":"upstream ready","address":"127.0.0.1:43"}"#, None),
            ("listening on 127.0.0.1:0", None),
            ("listening", None),
        ] {
            assert_eq!(bound_address(line), expected, "{line}");
        }
    }
}
