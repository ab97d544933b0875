//! The lines that a child process writes, kept and awaitable.

use std::io::BufRead;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::LIMIT;

/// Lines of one process. Clones share them.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// Sources that may still bring lines.
    open: usize,
}

impl Log {
    /// Reads `source` on a thread of its own until it closes.
    pub fn follow(source: impl BufRead + Send + 'static) -> Self {
        let log = Self(Arc::default());
        log.also(source);
        log
    }

    /// Reads a second source into the same log.
    pub fn also(&self, mut source: impl BufRead + Send + 'static) {
        let shared = Arc::clone(&self.0);
        shared.state.lock().unwrap().open += 1;
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                shared.state.lock().unwrap().lines.push(text);
                shared.changed.notify_all();
            }
            shared.state.lock().unwrap().open -= 1;
            shared.changed.notify_all();
        });
    }

    /// The first line that `wanted` accepts, awaited; `None` if the source closes or the time limit ends first.
    pub fn wait(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let end = Instant::now() + LIMIT;
        let mut state = self.0.state.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|l| wanted(l)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = end.saturating_duration_since(Instant::now());
            if state.open == 0 || left == Duration::ZERO {
                return None;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for all sources to close; false if the time limit ends first.
    pub fn wait_closed(&self) -> bool {
        let state = self.0.state.lock().unwrap();
        let (state, _) = self.0.changed.wait_timeout_while(state, LIMIT, |s| s.open > 0).unwrap();
        state.open == 0
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.state.lock().unwrap().lines.clone()
    }

    /// All lines so far as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }
}
