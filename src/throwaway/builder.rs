//! What a throwaway cluster shall be like, and its making.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::process::tail;
use super::{Cluster, SUPERUSER, ThrowawayError, Watchdog, account, binaries, run};

/// Ports below Linux's range for outgoing connections (from 32768): no client takes one while the server
/// restarts.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const PORT_TRIES: u32 = 20;

/// How TCP connections authenticate. The unix socket is always trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Nobody is asked.
    #[default]
    Trust,
    /// Clear-text password.
    Password,
    /// MD5 challenge.
    Md5,
    /// SCRAM-SHA-256.
    ScramSha256,
}

impl Auth {
    fn method(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
        }
    }
}

/// Describes a cluster; see [`Cluster::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    major: Option<u32>,
    parent: Option<PathBuf>,
    auth: Auth,
    password: Option<String>,
    hba: Vec<String>,
    fsync: bool,
    settings: Vec<(String, String)>,
    initdb_args: Vec<String>,
    port: Option<u16>,
    start_limit: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            major: None,
            parent: None,
            auth: Auth::Trust,
            password: None,
            hba: Vec::new(),
            fsync: false,
            settings: Vec::new(),
            initdb_args: Vec::new(),
            port: None,
            start_limit: Duration::from_secs(60),
        }
    }
}

impl Builder {
    /// The major version to use, such as 15. Default: the environment's `PG`, else whatever is found first.
    pub fn major(mut self, major: u32) -> Self {
        self.major = Some(major);
        self
    }

    /// The folder in which the cluster's own folder is made. Default: a reachable temporary folder.
    pub fn parent(mut self, parent: impl Into<PathBuf>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// How TCP connections authenticate. With anything but `Trust` the superuser gets a password,
    /// `secret` unless [`Self::password`] sets another.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// The superuser's password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// A line of `pg_hba.conf` that goes before the usual ones, in the order of the calls.
    pub fn hba_line(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }

    /// True: the server syncs its writes to disk, as a real one does. Default: false.
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// A setting of `postgresql.conf`, without quotes.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// How many sessions the server takes.
    pub fn max_connections(self, n: u32) -> Self {
        self.setting("max_connections", n.to_string())
    }

    /// Which statements the server logs: `none`, `ddl`, `mod` or `all`.
    pub fn log_statement(self, which: &str) -> Self {
        self.setting("log_statement", which)
    }

    /// A further argument of `initdb`; a later `-E` or `--locale` wins over the default UTF8 and C.
    pub fn initdb_arg(mut self, arg: impl Into<String>) -> Self {
        self.initdb_args.push(arg.into());
        self
    }

    /// A fixed port. Default: a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// How long the server may take to be ready. Default: 60 s.
    pub fn start_limit(mut self, limit: Duration) -> Self {
        self.start_limit = limit;
        self
    }

    /// Makes the cluster and starts it; returns when it takes connections.
    pub fn start(self) -> Result<Cluster, ThrowawayError> {
        let bin = binaries::find(self.major)?;
        let major = binaries::major_of(&bin).ok_or_else(|| ThrowawayError::Program {
            program: bin.join("postgres").display().to_string(),
            output: "--version printed no version".into(),
        })?;
        let (folder, account) = account::make_folder(self.parent.as_deref())?;
        let watchdog = match Watchdog::start(&folder) {
            Ok(w) => w,
            Err(e) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(ThrowawayError::io("cannot run /bin/sh")(e));
            }
        };
        let password = match self.auth {
            Auth::Trust => self.password.clone(),
            _ => Some(self.password.clone().unwrap_or_else(|| "secret".into())),
        };
        // From here on Drop cleans up, whatever fails.
        let mut cluster = Cluster {
            folder,
            bin,
            major,
            account,
            port: 0,
            password,
            start_limit: self.start_limit,
            server: Mutex::new(None),
            watchdog,
        };
        self.init(&cluster)?;
        self.start_on_free_port(&mut cluster)?;
        Ok(cluster)
    }

    fn init(&self, cluster: &Cluster) -> Result<(), ThrowawayError> {
        let data = cluster.data_dir();
        let mut cmd = account::command(&cluster.bin("initdb"), cluster.account, &cluster.folder);
        cmd.arg("-D").arg(&data).args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C", "--auth-local=trust"]);
        cmd.arg(format!("--auth-host={}", self.auth.method()));
        if !self.fsync {
            cmd.arg("--no-sync");
        }
        let pwfile = cluster.folder.join("pwfile");
        if let Some(password) = &cluster.password {
            write(&pwfile, &format!("{password}\n"))?;
            account::hand_over(&pwfile, cluster.account)
                .map_err(ThrowawayError::io("cannot hand over the password file"))?;
            // Inside a folder of mode 0700 of the server's account, and removed below.
            cmd.arg("--pwfile").arg(&pwfile);
        }
        cmd.args(&self.initdb_args);
        run(cmd, "initdb")?;
        if cluster.password.is_some() {
            std::fs::remove_file(&pwfile).map_err(ThrowawayError::io("cannot remove the password file"))?;
        }
        let hba = data.join("pg_hba.conf");
        let usual = read(&hba)?;
        write(&hba, &format!("{}\n{usual}", self.hba.join("\n")))?;
        let conf = data.join("postgresql.conf");
        let usual = read(&conf)?;
        write(&conf, &format!("{usual}\n{}", self.conf(cluster)))
    }

    /// The settings behind `initdb`'s own; the last mention of a setting counts.
    fn conf(&self, cluster: &Cluster) -> String {
        let folder = cluster.folder.to_string_lossy();
        let sync = if self.fsync { "on" } else { "off" };
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &folder),
            ("fsync", sync),
            ("full_page_writes", sync),
            ("shared_buffers", "32MB"),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
            ("log_line_prefix", "%m [%p] %a %e "),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
        ];
        let own = self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        fixed.into_iter().chain(own).fold(String::new(), |mut out, (name, value)| {
            let _ = writeln!(out, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"));
            out
        })
    }

    fn start_on_free_port(&self, cluster: &mut Cluster) -> Result<(), ThrowawayError> {
        for _ in 0..PORT_TRIES {
            let Some(port) = self.port.or_else(free_port) else { continue };
            match cluster.launch(port) {
                Ok(server) => {
                    cluster.port = port;
                    cluster.server = Mutex::new(Some(server));
                    return Ok(());
                }
                // Somebody took the port between the look and the start. The log starts anew, so that the
                // next try is not judged by this one's words.
                Err(ThrowawayError::Ended { log, .. })
                    if self.port.is_none() && log.contains("Address already in use") =>
                {
                    write(&cluster.log_path(), "")?;
                }
                Err(e) => return Err(e),
            }
        }
        Err(ThrowawayError::NoPort { tries: PORT_TRIES, log: tail(&cluster.log_path()) })
    }
}

fn free_port() -> Option<u16> {
    let span = u64::from(PORTS.end - PORTS.start);
    // RandomState's keys differ at every call: random enough to keep parallel starters apart.
    let pick = RandomState::new().hash_one(std::process::id()) % span;
    let port = PORTS.start + u16::try_from(pick).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
}

fn read(path: &std::path::Path) -> Result<String, ThrowawayError> {
    std::fs::read_to_string(path).map_err(ThrowawayError::io(format!("cannot read {}", path.display())))
}

fn write(path: &std::path::Path, text: &str) -> Result<(), ThrowawayError> {
    std::fs::write(path, text).map_err(ThrowawayError::io(format!("cannot write {}", path.display())))
}
