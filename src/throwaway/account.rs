//! Which account runs the server, and where its folder can be.
//!
//! PostgreSQL refuses to run as root. A root caller therefore hands `initdb` and `postgres` to another
//! account, which must own the folder and must be able to walk to it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::ThrowawayError;

/// Room for `/.s.PGSQL.65535.lock` under the 107 bytes that a socket's address may have.
const MAX_FOLDER_BYTES: usize = 85;
/// The start of every throwaway folder's name; the watchdog removes nothing that is named otherwise.
pub(super) const FOLDER_PREFIX: &str = "staleguard-pg-";

/// User and group that run the server where the caller is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `postgres` where there is one, else `nobody`.
    fn for_root() -> Result<Self, ThrowawayError> {
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Some(Self { uid: id("-u", name)?, gid: id("-g", name)? }))
            .filter(|a| a.uid != 0)
            .ok_or(ThrowawayError::NoAccount)
    }
}

fn id(flag: &str, name: &str) -> Option<u32> {
    let out = Command::new("id").args([flag, name]).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// Hands a file to the server's account: under a strict umask it could not read root's.
pub(super) fn hand_over(path: &Path, account: Option<Account>) -> std::io::Result<()> {
    match account {
        Some(a) => std::os::unix::fs::chown(path, Some(a.uid), Some(a.gid)),
        None => Ok(()),
    }
}

/// A program that runs as `account`, with none of the caller's `PG*` settings and English messages.
pub(super) fn command(program: &Path, account: Option<Account>, cwd: &Path) -> Command {
    let mut cmd = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|k| k.starts_with("PG") || k.starts_with("LC_")) {
            cmd.env_remove(&key);
        }
    }
    cmd.env("LC_ALL", "C").env_remove("LANG").current_dir(cwd).stdin(Stdio::null());
    if let Some(a) = account {
        // std clears the supplementary groups when a root process changes its user.
        cmd.uid(a.uid).gid(a.gid);
    }
    cmd
}

/// Makes a folder of mode 0700 that the server's account owns and can reach.
///
/// `TMPDIR` is tried first, then `/tmp` and `/var/tmp`: a root-only or very long `TMPDIR` does not do.
pub(super) fn make_folder(parent: Option<&Path>) -> Result<(PathBuf, Option<Account>), ThrowawayError> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let candidates = match parent {
        Some(p) => vec![p.to_path_buf()],
        None => vec![std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")],
    };
    let mut tried = Vec::new();
    for parent in candidates {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{FOLDER_PREFIX}{}-{n}", std::process::id()));
        match try_folder(&folder)? {
            Ok(account) => return Ok((folder, account)),
            Err(why) => tried.push(format!("{}: {why}", parent.display())),
        }
    }
    Err(ThrowawayError::NoFolder { tried: tried.join("; ") })
}

/// The outer error ends the search, the inner one is a reason to try the next place.
fn try_folder(folder: &Path) -> Result<Result<Option<Account>, String>, ThrowawayError> {
    if !folder.is_absolute() {
        return Ok(Err("not an absolute path".into()));
    }
    if folder.as_os_str().len() > MAX_FOLDER_BYTES {
        return Ok(Err("too long for a unix socket's address".into()));
    }
    if folder.exists() {
        // Left by a process of the same id that was killed together with its watchdog.
        if let Err(e) = std::fs::remove_dir_all(folder) {
            return Ok(Err(format!("cannot remove {}: {e}", folder.display())));
        }
    }
    if let Err(e) = std::fs::DirBuilder::new().mode(0o700).create(folder) {
        return Ok(Err(e.to_string()));
    }
    let placed = place(folder);
    if !matches!(placed, Ok(Ok(_))) {
        let _ = std::fs::remove_dir_all(folder);
    }
    placed
}

fn place(folder: &Path) -> Result<Result<Option<Account>, String>, ThrowawayError> {
    // What was just made belongs to the effective user.
    let owner = match std::fs::metadata(folder) {
        Ok(m) => m.uid(),
        Err(e) => return Ok(Err(e.to_string())),
    };
    if owner != 0 {
        return Ok(Ok(None));
    }
    let account = Account::for_root()?;
    if let Err(e) = std::os::unix::fs::chown(folder, Some(account.uid), Some(account.gid)) {
        return Ok(Err(e.to_string()));
    }
    // Tried for real, since modes alone do not tell (access lists, mount options).
    let mut probe = command(Path::new("/bin/sh"), Some(account), Path::new("/"));
    probe
        .args(["-c", r#"cd "$1" && test -w ."#, "sh"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match probe.status() {
        Ok(s) if s.success() => Ok(Ok(Some(account))),
        Ok(_) => Ok(Err("the server's account cannot reach it".into())),
        Err(e) => Ok(Err(e.to_string())),
    }
}
