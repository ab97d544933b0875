//! Finds PostgreSQL's server and client programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ThrowawayError;

/// Where Debian and its kin keep one folder per major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
/// Where the PostgreSQL project's own RPMs keep theirs, as `pgsql-16/bin`.
const RPM_ROOT: &str = "/usr";

/// The folder that holds `initdb` and `postgres`.
///
/// In this order: `major` or the environment's `PG` (a major version) among the known folders; `$PG_BIN`;
/// `pg_config --bindir`; the highest major of the known folders; `PATH`. A `PG_BIN` that holds no server
/// is an error and not passed over: whoever set it wants that one.
pub fn find(major: Option<u32>) -> Result<PathBuf, ThrowawayError> {
    let asked = match major {
        Some(m) => Some(m),
        None => match std::env::var("PG") {
            Ok(text) if !text.trim().is_empty() => {
                Some(text.trim().parse().map_err(|_| ThrowawayError::BadMajor { value: text.clone() })?)
            }
            _ => None,
        },
    };
    let known = known_folders();
    if let Some(m) = asked {
        return known.iter().find(|(k, _)| *k == m).map(|(_, p)| p.clone()).ok_or_else(|| {
            ThrowawayError::MajorMissing { major: m, found: known.iter().map(|k| k.0).collect() }
        });
    }
    if let Some(dir) = std::env::var_os("PG_BIN").filter(|d| !d.is_empty()) {
        let dir = PathBuf::from(dir);
        return if holds_server(&dir) { Ok(dir) } else { Err(ThrowawayError::BadPgBin { dir }) };
    }
    if let Some(dir) = pg_config_bindir().filter(|d| holds_server(d)) {
        return Ok(dir);
    }
    if let Some((_, dir)) = known.last() {
        return Ok(dir.clone());
    }
    std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).find(|d| holds_server(d)))
        .ok_or(ThrowawayError::NoBinaries)
}

/// The major version of the server in `dir`, from `postgres --version` (`postgres (PostgreSQL) 15.8`).
pub fn major_of(dir: &Path) -> Option<u32> {
    let out = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let after = text.split(')').nth(1)?.trim_start();
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn holds_server(dir: &Path) -> bool {
    dir.join("postgres").is_file() && dir.join("initdb").is_file()
}

fn pg_config_bindir() -> Option<PathBuf> {
    let out = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    (out.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// Installed majors with their folders, lowest first.
fn known_folders() -> BTreeSet<(u32, PathBuf)> {
    let mut found = BTreeSet::new();
    for (root, prefix) in [(DEBIAN_ROOT, ""), (RPM_ROOT, "pgsql-")] {
        let Ok(entries) = std::fs::read_dir(root) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let major =
                name.to_str().and_then(|n| n.strip_prefix(prefix)).and_then(|n| n.parse::<u32>().ok());
            let bin = entry.path().join("bin");
            if let Some(major) = major.filter(|_| holds_server(&bin)) {
                found.insert((major, bin));
            }
        }
    }
    found
}
