//! The server process: start, readiness, end.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::ThrowawayError;

/// How often the pid file and the process are looked at; neither can be waited for with std alone.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the server may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How many lines of the log an error shows.
const TAIL_LINES: usize = 30;

/// The shutdown modes of PostgreSQL's postmaster.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    /// SIGINT: end all sessions, write a checkpoint.
    Fast,
    /// SIGQUIT: end at once.
    Immediate,
}

/// The postmaster, our own child.
#[derive(Debug)]
pub(super) struct Server(Child);

impl Server {
    /// Starts the postmaster and waits until its pid file says `ready` (its eighth line, since PostgreSQL 10).
    pub(super) fn start(
        mut cmd: Command,
        data: &Path,
        log: &Path,
        limit: Duration,
    ) -> Result<Self, ThrowawayError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let out = open().map_err(ThrowawayError::io("cannot open the server's log"))?;
        let err = out.try_clone().map_err(ThrowawayError::io("cannot open the server's log"))?;
        // A group of its own: Ctrl-C in a terminal is for the owner alone.
        cmd.stdout(Stdio::from(out)).stderr(Stdio::from(err)).process_group(0);
        let mut server = Self(cmd.spawn().map_err(ThrowawayError::io("cannot run postgres"))?);
        let began = Instant::now();
        loop {
            if server.is_ready(data) {
                return Ok(server);
            }
            if let Some(status) = server.ended()? {
                return Err(ThrowawayError::Ended { status: status.to_string(), log: tail(log) });
            }
            if began.elapsed() > limit {
                let _ = server.end(Signal::Immediate);
                return Err(ThrowawayError::NotReady { seconds: limit.as_secs(), log: tail(log) });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The pid file may be a crashed predecessor's: its first line must be this very process.
    fn is_ready(&self, data: &Path) -> bool {
        let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        lines.next().and_then(|l| l.trim().parse().ok()) == Some(self.pid())
            && lines.nth(6).is_some_and(|l| l.trim() == "ready")
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, ThrowawayError> {
        self.0.try_wait().map_err(ThrowawayError::io("cannot wait for postgres"))
    }

    /// Ends the postmaster and with it all its processes; kills it if it does not listen.
    pub(super) fn end(mut self, signal: Signal) -> Result<(), ThrowawayError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // The shell's own kill: /bin/kill is missing in slim containers.
        let name = match signal {
            Signal::Fast => "INT",
            Signal::Immediate => "QUIT",
        };
        let script = format!("kill -{name} {}", self.pid());
        Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(ThrowawayError::io("cannot run /bin/sh"))?;
        let began = Instant::now();
        while self.ended()?.is_none() {
            if began.elapsed() > END_LIMIT {
                self.0.kill().map_err(ThrowawayError::io("cannot kill postgres"))?;
                self.0.wait().map_err(ThrowawayError::io("cannot wait for postgres"))?;
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// The last lines of the log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}
