//! A psql session driven through pipes: the simple protocol, and the client people try things with.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::DemoError;
use super::client::{Ledger, Target};

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Marks the line that follows each statement's output.
const MARK: &str = "@@staleguard-demo@@";

/// Finds psql: on the PATH, else `beside` the server's other programs.
pub fn find(beside: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("psql"))
        .chain(std::iter::once(beside.to_owned()))
        .find(|file| file.is_file())
}

/// What psql printed for one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// All lines, results and errors as psql words them.
    pub output: String,
    /// psql's `SQLSTATE` variable; `00000` for success.
    pub sqlstate: String,
}

impl Reply {
    /// The last line: the command tag where the statement succeeded.
    pub fn tag(&self) -> &str {
        self.output.lines().last().unwrap_or_default()
    }

    /// The line that begins with `label`, without it (`DETAIL: `).
    pub fn field(&self, label: &str) -> &str {
        self.output.lines().find_map(|l| l.strip_prefix(label)).unwrap_or_default().trim()
    }

    /// `UPDATE 1`, or `conflict 40001`, or the SQLSTATE.
    pub fn word(&self) -> String {
        match self.sqlstate.as_str() {
            "00000" => self.tag().to_owned(),
            "40001" => "conflict 40001".into(),
            other => format!("error {other}"),
        }
    }
}

/// A running psql.
#[derive(Debug)]
pub struct Psql {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    ledger: Option<Arc<Ledger>>,
}

impl Psql {
    /// Starts psql on a target, without the user's start-up file.
    pub fn start(program: &Path, target: &Target) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Program { program: program.display().to_string(), source };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["-X", "-A", "-v", "VERBOSITY=verbose", "-d", &target.conninfo()])
            .env("PGCONNECT_TIMEOUT", "10")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer);
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the pipe's writing end: while it lives, the reader would never see the end.
        drop(command);
        let input = child.stdin.take();
        Ok(Self { child, input, lines: follow(reader), ledger: target.ledger.clone() })
    }

    /// Runs one statement (without semicolon) or backslash command and waits for its output.
    pub fn run(&mut self, sql: &str) -> Result<Reply, DemoError> {
        let gone = |source| DemoError::Program { program: "psql".into(), source };
        let end = if sql.starts_with('\\') { "" } else { ";" };
        match &mut self.input {
            Some(input) => {
                writeln!(input, "{sql}{end}\n\\echo {MARK} :SQLSTATE").map_err(gone)?;
                input.flush().map_err(gone)?;
            }
            None => return Err(gone(std::io::ErrorKind::BrokenPipe.into())),
        }
        let mut output = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => match line.strip_prefix(MARK) {
                    Some(sqlstate) => {
                        let reply = Reply { output: output.join("\n"), sqlstate: sqlstate.trim().to_owned() };
                        self.note(&reply);
                        return Ok(reply);
                    }
                    None => output.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    return Err(DemoError::PsqlSilent { sql: sql.to_owned(), seconds: PATIENCE.as_secs() });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(DemoError::PsqlEnded { output: output.join(" ") });
                }
            }
        }
    }

    fn note(&self, reply: &Reply) {
        if let Some(ledger) = &self.ledger
            && reply.sqlstate != "00000"
        {
            ledger.error(reply.output.clone(), reply.output.contains("_version_conflict"));
        }
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        // End of input is psql's cue to leave; killing it is for the case that it waits for an answer.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines on a thread, so that waiting for them can have an end.
fn follow(reader: PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_reply_names_its_tag_and_fields() {
        let landed = Reply { output: "id|name\n1|a\nUPDATE 1".into(), sqlstate: "00000".into() };
        assert_eq!(landed.word(), "UPDATE 1");
        let refused =
            Reply { output: "ERROR:  40001: m\nDETAIL:  {\"a\":1}".into(), sqlstate: "40001".into() };
        assert_eq!((refused.word().as_str(), refused.field("DETAIL: ")), ("conflict 40001", "{\"a\":1}"));
    }
}
