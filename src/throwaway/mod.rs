//! A throwaway PostgreSQL cluster in a temporary folder, for `staleguard demo` and for tests.
//!
//! ```no_run
//! let cluster = staleguard::throwaway::Cluster::builder().start()?;
//! cluster.create_database("planner")?;
//! println!("{}", cluster.dsn("planner"));
//! # Ok::<(), staleguard::throwaway::ThrowawayError>(())
//! ```
//!
//! It listens on a free port of 127.0.0.1 and on a unix socket in its folder. Dropping it stops the server
//! and removes the folder, also while a panic unwinds; where the owner has no time to drop anything
//! (SIGKILL, SIGINT without a handler) a small shell at the other end of a pipe does the same.
//! All calls block; a cluster can be shared between threads.

mod account;
pub mod binaries;
mod builder;
mod process;
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use builder::{Auth, Builder};

use account::Account;
use process::{Server, Signal};
use watchdog::Watchdog;

/// The superuser's name.
const SUPERUSER: &str = "postgres";

/// Why a throwaway cluster could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    /// No server is installed.
    #[error(
        "no PostgreSQL server found: looked in $PG_BIN, pg_config --bindir, /usr/lib/postgresql/*/bin, \
         /usr/pgsql-*/bin and PATH; install postgresql or set PG_BIN"
    )]
    NoBinaries,
    /// `PG_BIN` names a folder without a server.
    #[error("PG_BIN is {}, which does not hold both postgres and initdb", dir.display())]
    BadPgBin {
        /// Its value.
        dir: PathBuf,
    },
    /// `PG` is no number.
    #[error("PG is {value:?}, but must be a PostgreSQL major version such as 15")]
    BadMajor {
        /// Its value.
        value: String,
    },
    /// The major version asked for is not installed.
    #[error("PostgreSQL {major} is not installed; found: {found:?}")]
    MajorMissing {
        /// Asked for.
        major: u32,
        /// Installed.
        found: Vec<u32>,
    },
    /// Root, and nobody to hand the server to.
    #[error("running as root, and there is no account named postgres or nobody to run the server")]
    NoAccount,
    /// Nowhere to put the folder.
    #[error("no usable place for the cluster's folder: {tried}")]
    NoFolder {
        /// Each place with the reason against it.
        tried: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// A program of PostgreSQL's failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name.
        program: String,
        /// What it printed.
        output: String,
    },
    /// The server ended while starting.
    #[error("the server ended while starting ({status}); its log ends with:\n{log}")]
    Ended {
        /// Exit status.
        status: String,
        /// The log's tail.
        log: String,
    },
    /// The server was not ready in time.
    #[error("the server was not ready within {seconds} s; its log ends with:\n{log}")]
    NotReady {
        /// The limit.
        seconds: u64,
        /// The log's tail.
        log: String,
    },
    /// Every port that was tried was taken.
    #[error("no free port found on 127.0.0.1 in {tries} tries; the server's log ends with:\n{log}")]
    NoPort {
        /// How many were tried.
        tries: u32,
        /// The log's tail.
        log: String,
    },
}

impl ThrowawayError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A running (or stopped) throwaway cluster. See the [module](self).
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    major: u32,
    account: Option<Account>,
    port: u16,
    password: Option<String>,
    start_limit: Duration,
    server: Mutex<Option<Server>>,
    watchdog: Watchdog,
}

impl Cluster {
    /// A cluster with `trust` authentication and settings for tests, to be changed before `start`.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port it listens on; also part of the unix socket's name. A restart keeps it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's name.
    pub fn superuser(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password, where one was set.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The superuser's connection string over TCP, password included.
    pub fn dsn(&self, database: &str) -> String {
        self.dsn_as(SUPERUSER, self.password.as_deref(), database)
    }

    /// Another role's connection string over TCP.
    pub fn dsn_as(&self, user: &str, password: Option<&str>, database: &str) -> String {
        let password = password.map(|p| format!(":{}", percent(p))).unwrap_or_default();
        format!("postgres://{}{password}@{}:{}/{}", percent(user), self.host(), self.port, percent(database))
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of the unix socket. Connections over it are always trusted.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The server's log, kept over restarts.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The path of one of PostgreSQL's programs, such as `psql`.
    pub fn bin(&self, program: &str) -> PathBuf {
        self.bin.join(program)
    }

    /// The postmaster's process id, none while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Server::pid)
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) -> Result<(), ThrowawayError> {
        self.psql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).map(drop)
    }

    /// Runs SQL as the superuser over the unix socket and returns what psql prints: a row a line, values
    /// parted by `|`, no headings. Several statements parted by `;` are one transaction unless they say
    /// otherwise; the first error ends the script.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, ThrowawayError> {
        let mut cmd = account::command(&self.bin("psql"), None, Path::new("/"));
        cmd.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", database]);
        cmd.arg("-h").arg(&self.folder).arg("-p").arg(self.port.to_string()).args(["-c", sql]);
        let out = run(cmd, "psql")?;
        Ok(out.trim_end_matches('\n').to_owned())
    }

    /// Stops the server as `pg_ctl stop -m fast` does: sessions are ended, the data is flushed.
    pub fn stop(&self) -> Result<(), ThrowawayError> {
        self.end(Signal::Fast)
    }

    /// Ends the server at once, as a crash would look to its clients. The data recovers at the next start
    /// if `fsync` was left to the default or the machine itself stayed up.
    pub fn kill(&self) -> Result<(), ThrowawayError> {
        self.end(Signal::Immediate)
    }

    /// Stops the server if it runs, and starts it again on the same port and data.
    pub fn restart(&self) -> Result<(), ThrowawayError> {
        let mut server = self.lock();
        if let Some(running) = server.take() {
            running.end(Signal::Fast)?;
        }
        *server = Some(self.launch(self.port)?);
        Ok(())
    }

    fn end(&self, signal: Signal) -> Result<(), ThrowawayError> {
        match self.lock().take() {
            Some(server) => server.end(signal),
            None => Ok(()),
        }
    }

    fn launch(&self, port: u16) -> Result<Server, ThrowawayError> {
        let mut cmd = account::command(&self.bin("postgres"), self.account, &self.folder);
        cmd.arg("-D").arg(self.data_dir()).arg("-p").arg(port.to_string());
        Server::start(cmd, &self.data_dir(), &self.log_path(), self.start_limit)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.end(Signal::Immediate);
        // While the folder is there the watchdog stays: it tries once more when this process ends.
        if std::fs::remove_dir_all(&self.folder).is_ok() || !self.folder.exists() {
            self.watchdog.dismiss();
        }
    }
}

/// Runs a program to its end; its output, or an error with all that it printed.
fn run(mut cmd: Command, program: &str) -> Result<String, ThrowawayError> {
    let out = cmd.output().map_err(ThrowawayError::io(format!("cannot run {program}")))?;
    let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(stdout);
    }
    let output = format!("{}{stdout}", String::from_utf8_lossy(&out.stderr)).trim().to_owned();
    Err(ThrowawayError::Program { program: program.into(), output })
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests;
