//! What `/health` and `/ready` go by.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::Gauge;

/// A worker whose last heartbeat is older than this is taken for stuck.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);

/// When each worker last moved. Each worker's own runtime bumps its entry, so a loop that is stuck stops doing so.
#[derive(Debug)]
pub struct Heartbeats {
    start: Instant,
    /// Milliseconds from `start` to the last beat, by worker.
    beats: Vec<AtomicU64>,
}

impl Heartbeats {
    /// For so many workers, all of them counted as alive now.
    pub fn new(workers: usize) -> Self {
        Self { start: Instant::now(), beats: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The worker moves.
    pub fn beat(&self, worker: usize) {
        if let Some(beat) = self.beats.get(worker) {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            beat.store(now, Ordering::Relaxed);
        }
    }

    /// The workers that have not moved for longer than `limit`, each with the time since it did.
    pub fn stuck(&self, limit: Duration) -> Vec<(usize, Duration)> {
        let now = self.start.elapsed();
        let since =
            |beat: &AtomicU64| now.saturating_sub(Duration::from_millis(beat.load(Ordering::Relaxed)));
        self.beats.iter().map(since).enumerate().filter(|(_, silence)| *silence > limit).collect()
    }
}

/// Failed probes in a row after which the server counts as away.
pub const FAILED_PROBES: u32 = 3;

/// What the probes of the upstream came to.
#[derive(Debug)]
pub struct Readiness {
    state: Mutex<ProbeState>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct ProbeState {
    ready: bool,
    failures: u32,
    last_error: String,
}

impl Readiness {
    /// Not ready until the first good probe. `gauge` shows the state.
    pub fn new(gauge: Gauge) -> Self {
        gauge.set(0.0);
        Self { state: Mutex::default(), gauge }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ProbeState> {
        // Nothing inside the lock can leave the state half-changed.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes the outcome of a probe; tells whether readiness changed, and to what.
    pub fn note(&self, outcome: Result<(), String>) -> Option<bool> {
        let mut state = self.state();
        let before = state.ready;
        match outcome {
            Ok(()) => *state = ProbeState { ready: true, ..ProbeState::default() },
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.last_error = error;
                if state.failures >= FAILED_PROBES {
                    state.ready = false;
                }
            }
        }
        self.gauge.set(if state.ready { 1.0 } else { 0.0 });
        (state.ready != before).then_some(state.ready)
    }

    /// `Err` says why not.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        match (state.ready, state.failures) {
            (true, _) => Ok(()),
            (false, 0) => Err("the PostgreSQL server has not been probed yet".to_owned()),
            (false, n) => {
                Err(format!("failed probes of the PostgreSQL server in a row: {n}; {}", state.last_error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn ready_from_the_first_good_probe_until_three_fail_in_a_row() {
        let readiness = Readiness::new(Gauge::noop());
        let bad = || Err("no".to_owned());
        assert!(readiness.check().unwrap_err().contains("not been probed"));
        // (probe, change of readiness, ready afterwards)
        let steps = [
            (bad(), None, false),
            (Ok(()), Some(true), true),
            (bad(), None, true),
            (bad(), None, true),
            (Ok(()), None, true),
            (bad(), None, true),
            (bad(), None, true),
            (bad(), Some(false), false),
            (bad(), None, false),
            (Ok(()), Some(true), true),
        ];
        for (i, (probe, change, ready)) in steps.into_iter().enumerate() {
            assert_eq!(readiness.note(probe), change, "step {i}");
            assert_eq!(readiness.check().is_ok(), ready, "step {i}");
        }
    }

    #[test]
    fn a_silent_worker_is_named() {
        let mut heartbeats = Heartbeats::new(2);
        assert_eq!(heartbeats.stuck(HEARTBEAT_LIMIT), []);
        // As if started 20 s ago, with a beat of worker 1 just now.
        heartbeats.start = heartbeats.start.checked_sub(Duration::from_secs(20)).unwrap();
        heartbeats.beat(1);
        let stuck = heartbeats.stuck(HEARTBEAT_LIMIT);
        assert_eq!(stuck.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0]);
        assert!(stuck[0].1 >= Duration::from_secs(20));
    }
}
