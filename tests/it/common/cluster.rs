//! A throwaway PostgreSQL for one test.
//!
//! `initdb` and the schema cost a second, so they run once: the finished data directory is kept under the
//! target directory and copied (a tenth of a second) for every test. The copy holds two databases, `direct`
//! and `proxied`, the second made from the first, so that even their OIDs are equal: what a client sees in the
//! one must be what it sees in the other.
//!
//! A keeper process ends the server and removes the folder when its standard input closes. That happens when
//! the last [`Arc<Cluster>`] goes, and just as well when the test process is killed.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use staleguard::throwaway::binaries;

use super::log::Log;
use super::raw::Raw;

const SCHEMA: &str = include_str!("schema.sql");
const HBA: &str = "\
local all all trust
host all pw_plain 127.0.0.1/32 password
host all pw_md5 127.0.0.1/32 md5
host all pw_scram 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
";
const READY: &str = "database system is ready to accept connections";
/// And if it is a standby.
const READY_STANDBY: &str = "ready to accept read-only connections";

/// File in the data directory that holds the highest OID of its relations.
const HIGHEST_OID_FILE: &str = "highest_oid";
static HIGHEST_OID: AtomicU32 = AtomicU32::new(u32::MAX);

/// The highest OID of a relation that both databases have from the beginning. What a test creates gets a higher
/// one, and not the same in both: OIDs are counted for all databases together.
pub fn highest_oid() -> u32 {
    HIGHEST_OID.load(Ordering::Relaxed)
}

/// A running PostgreSQL.
pub struct Cluster {
    port: u16,
    keeper: Mutex<(Child, Option<ChildStdin>)>,
    postmaster: Mutex<Child>,
}

/// A cluster for one test.
pub fn cluster() -> Arc<Cluster> {
    Arc::new(Cluster::start(&[]))
}

impl Cluster {
    /// Starts a cluster with further `-c name=value` settings.
    pub fn start(settings: &[&str]) -> Self {
        Self::launch(Self::copied(), settings)
    }

    /// A cluster that was a standby and has been promoted: the same system on another timeline.
    pub fn promoted() -> Self {
        let cluster = Self::standby();
        cluster.promote();
        cluster
    }

    /// A standby, of nobody: it only reads.
    pub fn standby() -> Self {
        let home = Self::copied();
        fs::write(home.data().join("standby.signal"), "").unwrap();
        Self::launch(home, &[])
    }

    /// Makes a standby a server of its own, while its connections go on.
    pub fn promote(&self) {
        assert_eq!(self.direct("postgres").value("select pg_promote()"), "t");
    }

    fn copied() -> Home {
        let template = template();
        let home = Home::new();
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(home.data()));
        let highest = fs::read_to_string(home.data().join(HIGHEST_OID_FILE)).unwrap();
        HIGHEST_OID.store(highest.parse().unwrap(), Ordering::Relaxed);
        home
    }

    /// Starts the server on the data directory in `home`; tries again where the port was taken meanwhile.
    fn launch(home: Home, settings: &[&str]) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let mut postmaster = home
                .command("postgres")
                .arg("-D")
                .arg(home.data())
                .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
                .args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "full_page_writes=off"])
                .args(["-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "jit=off"])
                .args(["-c", "autovacuum=off", "-c", "max_prepared_transactions=2"])
                .args(settings.iter().flat_map(|s| ["-c", s]))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap();
            let log = Log::follow(BufReader::new(postmaster.stderr.take().unwrap()));
            if log.wait(|line| line.contains(READY) || line.contains(READY_STANDBY)).is_none() {
                assert!(log.text().contains("could not bind"), "PostgreSQL did not start:\n{}", log.text());
                postmaster.wait().unwrap();
                continue;
            }
            let (keeper, stdin) = home.keep(postmaster.id());
            return Self {
                port,
                keeper: Mutex::new((keeper, Some(stdin))),
                postmaster: Mutex::new(postmaster),
            };
        }
        panic!("no free port for PostgreSQL in five tries");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A direct session of the superuser.
    pub fn direct(&self, database: &str) -> Raw {
        Raw::connect(&self.address(), "postgres", database)
    }

    /// Ends the server at once (as a crash would) and waits for it to be gone.
    pub fn stop(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        run(Command::new("kill").arg("-QUIT").arg(postmaster.id().to_string()));
        postmaster.wait().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The postmaster is our child: it stays a zombie, which the keeper takes for alive, until waited for.
        let mut keeper = self.keeper.lock().unwrap_or_else(|e| e.into_inner());
        drop(keeper.1.take());
        let mut postmaster = self.postmaster.lock().unwrap_or_else(|e| e.into_inner());
        let _ = postmaster.wait();
        let _ = keeper.0.wait();
    }
}

/// The folder of one cluster, and the account that owns it.
struct Home {
    dir: PathBuf,
    bin: PathBuf,
    /// User and group to run the server as: PostgreSQL refuses to run as root.
    account: Option<(u32, u32)>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("staleguard-test-").tempdir().unwrap().keep();
        let account = (fs::metadata(&dir).unwrap().uid() == 0).then(nobody);
        if let Some((uid, gid)) = account {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        Self { dir, bin: bin_dir(), account }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A program of PostgreSQL, run as the owner of the folder.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = match self.account {
            Some((uid, gid)) => {
                let mut c = Command::new("setpriv");
                c.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()])
                    .arg(program);
                c
            }
            None => Command::new(program),
        };
        command.current_dir(&self.dir).env("LC_ALL", "C");
        command
    }

    /// The process that cleans up when the returned pipe closes.
    fn keep(&self, postmaster: u32) -> (Child, ChildStdin) {
        // At most five seconds: where nobody reaps orphans the dead postmaster stays visible.
        let script = "cat >/dev/null; kill -QUIT \"$1\" 2>/dev/null; i=0; \
            while kill -0 \"$1\" 2>/dev/null && [ $i -lt 250 ]; do sleep 0.02; i=$((i+1)); done; \
            rm -rf -- \"$2\"";
        let mut keeper = Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new(script), OsStr::new("keeper")])
            .arg(postmaster.to_string())
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let stdin = keeper.stdin.take().unwrap();
        (keeper, stdin)
    }
}

/// The finished data directory that clusters are copied from; made where it is missing.
fn template() -> PathBuf {
    let mut version = String::new();
    let mut child =
        Command::new(bin_dir().join("postgres")).arg("--version").stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut version).unwrap();
    child.wait().unwrap();
    let home = Home::new();
    let name = format!(
        "pg-{:016x}",
        fnv(&[&version, SCHEMA, HBA, HIGHEST_OID_FILE, &format!("{:?}", home.account)])
    );
    let shelf = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let finished = shelf.join(name);
    if finished.exists() {
        fs::remove_dir(&home.dir).unwrap();
        return finished;
    }
    run(home.command("initdb").arg("-D").arg(home.data()).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
        "--wal-segsize=1",
    ]));
    fs::write(home.data().join("pg_hba.conf"), HBA).unwrap();
    let dir = home.data();
    let cluster = Cluster::launch(home, &[]);
    cluster.direct("postgres").ok("create database direct");
    cluster.direct("direct").ok(SCHEMA);
    let highest = cluster.direct("direct").value("select max(oid) from pg_class");
    fs::write(dir.join(HIGHEST_OID_FILE), &highest).unwrap();
    cluster.direct("postgres").ok("create database proxied template direct");
    let mut postmaster = cluster.postmaster.lock().unwrap();
    run(Command::new("kill").arg("-INT").arg(postmaster.id().to_string()));
    postmaster.wait().unwrap();
    drop(postmaster);
    let draft = tempfile::Builder::new().prefix("draft-").tempdir_in(shelf).unwrap();
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&dir).arg(draft.path().join("data")));
    // Two tests may both have made it: the first rename wins, the other finds a full directory.
    let renamed = fs::rename(draft.path().join("data"), &finished);
    assert!(renamed.is_ok() || finished.exists(), "{renamed:?}");
    finished
}

/// Where `postgres` and `initdb` are, as the demo finds them: `PG=16` and `PG_BIN` ask for others than the newest.
pub fn bin_dir() -> PathBuf {
    binaries::find(None).unwrap_or_else(|e| panic!("{e}"))
}

/// A client program: the server's own, or where that came without any the one of the PATH.
pub fn client_program(name: &str) -> PathBuf {
    let own = bin_dir().join(name);
    if own.exists() { own } else { name.into() }
}

/// The server's major version.
pub fn major() -> u32 {
    binaries::major_of(&bin_dir()).expect("postgres --version")
}

/// User and group of the account `nobody`.
fn nobody() -> (u32, u32) {
    let passwd = BufReader::new(fs::File::open("/etc/passwd").unwrap());
    let line =
        passwd.lines().map_while(Result::ok).find(|l| l.starts_with("nobody:")).expect("no account nobody");
    let field = |i| line.split(':').nth(i).and_then(|f| f.parse().ok()).expect("a number in /etc/passwd");
    (field(2), field(3))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a command to its end; its output is shown if it fails.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
}

fn fnv(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|p| p.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}
