//! Notes and questions on their way to the server, and what was lost of them.
//!
//! A note that is lost leaves the server with a history that lacks something: a write that relied on it could be
//! refused for no reason. So its place is marked. Nothing more is noted of a marked place and nobody relies on it,
//! until the server has been told, behind every note of it that was made before, to forget it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::observe::context::store::{Answer, Ask, Note, Place};
use crate::telemetry::store::StoreMetrics;

/// Messages that wait at most.
const CAPACITY: usize = 16_384;

/// So many more notes than of all other places together make one stand out.
const STANDS_OUT: usize = CAPACITY / 16;

/// Places that are marked one by one; beyond, their tables are.
const MAX_PLACES: usize = 10_000;

/// What waits.
#[derive(Debug)]
pub(super) enum Message {
    Note(Note),
    /// Where the answers go: if that is dropped, there are none.
    Ask(Vec<Ask>, oneshot::Sender<Vec<Answer>>),
}

/// Of what notes were lost.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub places: HashSet<Place>,
    pub tables: HashSet<Arc<str>>,
}

impl Lost {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.tables.is_empty()
    }

    pub fn lose(&mut self, note: &Note) {
        match note {
            Note::Happened { place, .. } | Note::Forget(place) => self.lose_place(place),
            Note::ForgetTable(table) => {
                self.tables.insert(table.clone());
            }
        }
    }

    fn lose_place(&mut self, place: &Place) {
        if self.holds(place) {
            return;
        }
        if self.places.len() < MAX_PLACES {
            self.places.insert(place.clone());
        } else {
            self.tables.insert(place.table.clone());
        }
    }

    fn holds(&self, place: &Place) -> bool {
        self.tables.contains(&place.table) || self.places.contains(place)
    }

    fn holds_any_of(&self, note: &Note) -> bool {
        match note {
            Note::Happened { place, .. } | Note::Forget(place) => self.holds(place),
            Note::ForgetTable(table) => self.tables.contains(table),
        }
    }

    /// Adds what another has lost.
    pub fn add(&mut self, other: Self) {
        self.tables.extend(other.tables);
        other.places.iter().for_each(|place| self.lose_place(place));
    }

    fn without(&mut self, other: &Self) {
        self.places.retain(|place| !other.places.contains(place));
        self.tables.retain(|table| !other.tables.contains(table));
    }
}

#[derive(Debug)]
struct State {
    /// The server is there.
    up: bool,
    lost: Lost,
    /// The place that most notes were made of lately, if one stands out, and by how many.
    busiest: Option<Place>,
    lead: usize,
}

impl State {
    /// Once the queue is half full the place that fills it must do without, so that a result of many rows does not
    /// cost others what they have read.
    fn has_room_for(&mut self, note: &Note, room: usize) -> bool {
        let Note::Happened { place, .. } = note else { return true };
        if self.busiest.as_ref() == Some(place) {
            self.lead = self.lead.saturating_add(1).min(CAPACITY);
            return room > CAPACITY / 2 || self.lead < STANDS_OUT;
        }
        if self.lead == 0 {
            (self.busiest, self.lead) = (Some(place.clone()), 1);
        } else {
            self.lead -= 1;
        }
        true
    }
}

/// The way in, for any thread.
#[derive(Debug)]
pub(super) struct Queue {
    /// Locked for the time that it takes to put a message into the queue, so that a place is marked behind all notes
    /// of it that are in the queue, and before all that are not.
    state: Mutex<State>,
    sender: mpsc::Sender<Message>,
    begun: Instant,
    /// Since when the server owes an answer, in milliseconds since `begun`; 0: it owes none.
    waiting_since: AtomicU64,
    metrics: StoreMetrics,
}

impl Queue {
    pub fn new(metrics: StoreMetrics) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let state = Mutex::new(State { up: false, lost: Lost::default(), busiest: None, lead: 0 });
        (Self { state, sender, begun: Instant::now(), waiting_since: AtomicU64::new(0), metrics }, receiver)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, note: Note) {
        let mut state = self.state();
        let takes =
            state.up && !state.lost.holds_any_of(&note) && state.has_room_for(&note, self.sender.capacity());
        let note = if takes {
            match self.sender.try_send(Message::Note(note)) {
                Ok(()) => return,
                Err(error) => match error.into_inner() {
                    Message::Note(note) => note,
                    Message::Ask(..) => return,
                },
            }
        } else {
            note
        };
        state.lost.lose(&note);
        drop(state);
        self.metrics.dropped(1);
    }

    /// False if it cannot be asked now.
    pub fn ask(&self, message: Message) -> bool {
        let state = self.state();
        state.up && self.sender.try_send(message).is_ok()
    }

    /// The server is there, has not been silent for longer than `limit`, and has been told all of these places.
    pub fn is_relied_on(&self, asks: &[Ask], limit: Duration) -> bool {
        let silent = match self.waiting_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.begun.elapsed().saturating_sub(Duration::from_millis(since)),
        };
        let state = self.state();
        state.up && silent <= limit && !asks.iter().any(|ask| state.lost.holds(&ask.place))
    }

    /// The server owes an answer from now on.
    pub fn begin_waiting(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.waiting_since.store(since, Ordering::Relaxed);
    }

    /// It has answered, or is given up.
    pub fn end_waiting(&self) {
        self.waiting_since.store(0, Ordering::Relaxed);
    }

    /// The server is there.
    pub fn goes_up(&self) {
        self.state().up = true;
        self.metrics.up.set(1.0);
    }

    /// It is gone, and what was on its way with it; what still waits goes as well.
    pub fn goes_down(&self, sent: Lost, receiver: &mut mpsc::Receiver<Message>) {
        let mut state = self.state();
        state.up = false;
        state.lost.add(sent);
        while let Ok(message) = receiver.try_recv() {
            if let Message::Note(note) = message {
                state.lost.lose(&note);
                self.metrics.dropped(1);
            }
        }
        drop(state);
        self.metrics.up.set(0.0);
    }

    /// What is marked now, and how many messages are still in the queue: notes of marked places are among these.
    /// `None`: nothing is.
    pub fn marked(&self, receiver: &mpsc::Receiver<Message>) -> Option<(Lost, usize)> {
        let state = self.state();
        (!state.lost.is_empty()).then(|| (state.lost.clone(), receiver.len()))
    }

    /// The server is about to be told to forget these: what is noted of them from now on comes behind that.
    pub fn unmark(&self, told: &Lost) {
        self.state().lost.without(told);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn queue() -> (Queue, mpsc::Receiver<Message>) {
        let (queue, receiver) = Queue::new(Metrics::new("test", &[]).store());
        queue.goes_up();
        (queue, receiver)
    }

    fn place(label: &str) -> Place {
        Place { table: "t".into(), label: label.into() }
    }

    fn note(label: &str) -> Note {
        Note::Happened { place: place(label), row: "1".into(), event: b"e".to_vec() }
    }

    fn ask(label: &str) -> Ask {
        Ask { place: place(label), rows: Vec::new(), any: None }
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_full_queue_marks_what_it_drops_and_nothing_else() {
        let (queue, mut receiver) = queue();
        for n in 0..CAPACITY {
            queue.note(note(if n % 2 == 0 { "a" } else { "c" }));
        }
        assert!(queue.is_relied_on(&[ask("a"), ask("b")], LIMIT));
        queue.note(note("b"));
        assert!(queue.is_relied_on(&[ask("a")], LIMIT));
        assert!(!queue.is_relied_on(&[ask("a"), ask("b")], LIMIT));
        // With room again nothing is noted of it before the server has forgotten it.
        receiver.try_recv().unwrap();
        queue.note(note("b"));
        let (marked, behind) = queue.marked(&receiver).unwrap();
        assert_eq!((marked.places.len(), behind), (1, CAPACITY - 1));
        queue.unmark(&marked);
        assert!(queue.is_relied_on(&[ask("b")], LIMIT));
        queue.note(note("b"));
        assert_eq!(receiver.len(), CAPACITY);
    }

    #[test]
    fn whoever_fills_the_queue_is_the_first_to_lose() {
        let (queue, receiver) = queue();
        for n in 0..CAPACITY {
            queue.note(note("many"));
            if n % 8 == 0 {
                queue.note(note("few"));
            }
        }
        assert!(receiver.len() < CAPACITY);
        assert!(queue.is_relied_on(&[ask("few")], LIMIT));
        assert!(!queue.is_relied_on(&[ask("many")], LIMIT));
    }

    #[test]
    fn what_is_on_its_way_is_lost_with_the_server() {
        let (queue, mut receiver) = queue();
        queue.note(note("a"));
        let mut sent = Lost::default();
        sent.lose(&note("b"));
        queue.goes_down(sent, &mut receiver);
        queue.note(note("c"));
        assert!(!queue.ask(Message::Ask(Vec::new(), oneshot::channel().0)));
        queue.goes_up();
        for label in ["a", "b", "c"] {
            assert!(!queue.is_relied_on(&[ask(label)], LIMIT), "{label}");
        }
        assert!(queue.is_relied_on(&[ask("d")], LIMIT));
    }

    #[test]
    fn however_much_is_lost_memory_stays() {
        let (queue, mut receiver) = queue();
        queue.goes_down(Lost::default(), &mut receiver);
        for n in 0..MAX_PLACES + 10 {
            queue.note(note(&n.to_string()));
        }
        let (marked, _) = queue.marked(&receiver).unwrap();
        assert_eq!((marked.places.len(), marked.tables.len()), (MAX_PLACES, 1));
        queue.goes_up();
        assert!(!queue.is_relied_on(&[ask("never seen")], LIMIT));
    }

    #[test]
    fn a_silent_server_is_not_relied_on() {
        let (queue, _receiver) = queue();
        queue.begin_waiting();
        assert!(queue.is_relied_on(&[ask("a")], LIMIT));
        // However short the limit, the time that has passed is longer at some point.
        while queue.is_relied_on(&[ask("a")], Duration::ZERO) {
            std::hint::spin_loop();
        }
        queue.end_waiting();
        assert!(queue.is_relied_on(&[ask("a")], Duration::ZERO));
    }
}
