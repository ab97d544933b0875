//! What contexts know across a planned restart: written when the process stops, read when it starts.
//!
//! One JSON value a line: a header, then one line for each context. It holds labels, keys and versions, never a
//! column's value; the file is its owner's alone (mode 0600).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::event::SavedKnown;
use super::row::Units;
use super::shared::Contexts;
use super::{ContextKey, Found};
use crate::observe::RowKey;
use crate::observe::store::Entry;

/// The form of the file.
const FORMAT: u32 = 1;

/// Why a snapshot was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {0} is not readable")]
    Line(usize),
    /// It is of another version of the program.
    #[error("it has format {0}, this program reads {FORMAT}")]
    Format(u32),
    /// It is of another server.
    #[error("it was made for the server {0}")]
    Upstream(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    staleguard_contexts: u32,
    upstream: String,
    /// Milliseconds since 1970.
    saved_at: u64,
    /// System identifier and timeline.
    server: (Option<String>, Option<String>),
    /// Version columns: database, table OID, attribute number.
    stamps: Vec<(String, u32, i16)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedContext {
    database: String,
    label: String,
    /// Table OID, key, what is known.
    rows: Vec<(u32, String, SavedKnown)>,
}

impl Contexts {
    /// Writes everything to a file that takes the place of the one there. Returns the number of contexts.
    pub fn save(&self, path: &Path, upstream: &str) -> Result<usize, SnapshotError> {
        let now = Instant::now();
        let beside = path.with_extension("tmp");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut out = BufWriter::new(file);
        // Of a server that another has taken the place of nothing is kept.
        let (server, name) = self.newest_server().unzip();
        let header = Header {
            staleguard_contexts: FORMAT,
            upstream: upstream.to_owned(),
            saved_at: millis(SystemTime::now()),
            server: name.unwrap_or_default(),
            stamps: self
                .stamps()
                .into_iter()
                .filter(|((of, ..), _)| Some(*of) == server)
                .map(|((_, db, oid), attnum)| (db.to_string(), oid, attnum))
                .collect(),
        };
        line(&mut out, &header)?;
        let mut count = 0;
        let mut failed = None;
        self.each(|key, rows| {
            if Some(key.server) != server {
                return;
            }
            let rows = rows
                .map(|(row, entry)| (row.table, row.key.to_string(), SavedKnown::of(&entry.known, now)))
                .collect();
            let saved =
                SavedContext { database: key.database.to_string(), label: key.label.to_string(), rows };
            count += 1;
            failed = failed.take().or_else(|| line(&mut out, &saved).err());
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        out.flush()?;
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(count)
    }

    /// Reads what [`Self::save`] has written, for the same server, as far as it is readable, and removes the file:
    /// after a crash it would tell of reads that were not the last. Returns the number of contexts; what is too old by
    /// now is left out.
    pub fn load(&self, path: &Path, upstream: &str) -> Result<usize, SnapshotError> {
        let file = File::open(path)?;
        fs::remove_file(path)?;
        let mut lines = BufReader::new(file).lines().enumerate();
        let (_, first) = lines.next().ok_or(SnapshotError::Line(1))?;
        let header: Header = serde_json::from_str(&first?).map_err(|_| SnapshotError::Line(1))?;
        if header.staleguard_contexts != FORMAT {
            return Err(SnapshotError::Format(header.staleguard_contexts));
        }
        if header.upstream != upstream {
            return Err(SnapshotError::Upstream(header.upstream));
        }
        let down = Duration::from_millis(millis(SystemTime::now()).saturating_sub(header.saved_at));
        let Some(then) = Instant::now().checked_sub(down) else { return Ok(0) };
        let Some(Found { server, .. }) = self.found(&header.server) else { return Ok(0) };
        for (database, table, attnum) in header.stamps {
            self.stamp(server, &database.into(), table, attnum);
        }
        let mut count = 0;
        for (n, text) in lines {
            let saved: SavedContext = serde_json::from_str(&text?).map_err(|_| SnapshotError::Line(n + 1))?;
            let key = ContextKey { server, database: saved.database.into(), label: saved.label.into() };
            let rows = saved.rows.into_iter().map(|(table, row, known)| {
                let known = known.known(then, Units::Earlier);
                (RowKey::new(table, row), Entry { known, own: 0 })
            });
            self.put(&key, rows, Instant::now());
            count += 1;
        }
        Ok(count)
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
