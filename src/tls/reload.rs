//! Something made from files, and made again when they change.
//!
//! Whoever uses it may ask at every handshake: the files are looked at once a second at most. What cannot be made
//! from the changed files does not take the place of what there is.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::Reload;
use crate::telemetry::targets;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

type Make<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;

/// What tells a file from what it was before: device, number, size, and when it and its entry were written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

fn stamp(path: &Path) -> Result<Stamp, io::ErrorKind> {
    let m = std::fs::metadata(path).map_err(|error| error.kind())?;
    Ok(Stamp(m.dev(), m.ino(), m.size(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())))
}

type Stamps = Vec<Result<Stamp, io::ErrorKind>>;

struct Look {
    at: Instant,
    stamps: Stamps,
}

/// A value made from files.
pub struct Reloading<T, E> {
    /// What it is, for the log: `certificate for clients`.
    what: &'static str,
    files: Vec<PathBuf>,
    make: Make<T, E>,
    current: ArcSwap<T>,
    look: Mutex<Look>,
    metrics: Metrics,
}

impl<T, E> fmt::Debug for Reloading<T, E> {
    /// The value may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("what", &self.what)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl<T, E: fmt::Display> Reloading<T, E> {
    /// Makes the value for the first time.
    pub fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        metrics: &Metrics,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before the files are read: a change meanwhile is then seen by the next look.
        let stamps = files.iter().map(|path| stamp(path)).collect();
        let current = ArcSwap::from_pointee(make()?);
        let look = Mutex::new(Look { at: Instant::now(), stamps });
        Ok(Self { what, files, make: Box::new(make), current, look, metrics: metrics.clone() })
    }

    /// The present value.
    pub fn get(&self) -> Arc<T> {
        // Whoever else holds it is looking already.
        if let Ok(mut look) = self.look.try_lock()
            && look.at.elapsed() >= LOOK
        {
            self.again(&mut look, false);
        }
        self.current.load_full()
    }

    /// Makes the value again now, whether or not the files seem to have changed.
    pub fn force(&self) {
        if let Ok(mut look) = self.look.lock() {
            self.again(&mut look, true);
        }
    }

    fn again(&self, look: &mut Look, force: bool) {
        look.at = Instant::now();
        let stamps: Stamps = self.files.iter().map(|path| stamp(path)).collect();
        if stamps == look.stamps && !force {
            return;
        }
        // Also if they cannot be used: they are tried again when they have changed again.
        look.stamps = stamps;
        match (self.make)() {
            Ok(value) => {
                self.current.store(Arc::new(value));
                self.metrics.reload(Reload::Loaded);
                tracing::info!(target: targets::SERVER, what = self.what, "files have changed and were read again");
            }
            Err(error) => {
                self.metrics.reload(Reload::Failed);
                tracing::error!(target: targets::SERVER, what = self.what, %error,
                    "files have changed and cannot be used: what was read before stays in force");
            }
        }
    }
}
