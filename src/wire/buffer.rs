//! The two buffers of a direction: [`In`] is read into, [`Out`] is written from, and runs of frames move from the
//! one to the other without a copy where nothing else is in the way.
//!
//! Both keep a cursor in front of the live bytes instead of advancing the `BytesMut`, so that the capacity seen is
//! the memory held, and both give memory back once a large message has passed. Consumed bytes are moved out of
//! the way only when they are at least as many as the live ones: each byte is moved at most once on average.

use bytes::BytesMut;

/// Room offered to each read, in bytes. PostgreSQL sends in pieces of 8 KiB.
pub const READ_ROOM: usize = 8 * 1024;

/// Capacity, in bytes, up to which a buffer keeps its memory when a large message has passed.
pub const KEEP: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Buffer {
    bytes: BytesMut,
    /// Bytes before this one are consumed; never beyond `bytes.len()`.
    start: usize,
}

impl Buffer {
    fn live(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if self.len() <= READ_ROOM && self.bytes.capacity() > KEEP {
            // What made it large has passed. A stream may never leave the buffer quite empty, so a rest is taken
            // along.
            self.bytes = BytesMut::from(self.live());
            self.start = 0;
        } else if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
        }
    }

    /// Moves the live bytes to the front if at least as many consumed ones stand before them.
    fn compact(&mut self) {
        if self.start > 0 && self.start >= self.len() {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(self.len());
            self.start = 0;
        }
    }

    /// Makes room for at least `room` bytes more.
    fn reserve(&mut self, room: usize) {
        if self.bytes.capacity() - self.bytes.len() < room {
            self.compact();
            self.bytes.reserve(room);
        }
    }
}

/// A read buffer.
#[derive(Debug, Default)]
pub struct In {
    buffer: Buffer,
}

impl In {
    /// An empty buffer, which takes memory only when it is read into.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been read and not consumed.
    pub fn data(&self) -> &[u8] {
        self.buffer.live()
    }

    /// Length of [`In::data`] in bytes.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is nothing to consume.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the first `n` bytes off; all, if there are fewer.
    pub fn consume(&mut self, n: usize) {
        self.buffer.consume(n);
    }

    /// The memory to read into, with room for at least [`READ_ROOM`] bytes. Only append to it: what it already
    /// holds includes consumed bytes.
    pub fn spare(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_ROOM);
        &mut self.buffer.bytes
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.buffer.bytes.capacity()
    }
}

/// A write buffer.
#[derive(Debug, Default)]
pub struct Out {
    buffer: Buffer,
}

impl Out {
    /// An empty buffer, which takes memory only when something is put in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.reserve(bytes.len());
        self.buffer.bytes.extend_from_slice(bytes);
    }

    /// The memory that editors and builders append frames to. Only append to it: what it already holds includes
    /// written bytes.
    pub fn as_bytes_mut(&mut self) -> &mut BytesMut {
        self.buffer.compact();
        &mut self.buffer.bytes
    }

    /// What waits to be written.
    pub fn pending(&self) -> &[u8] {
        self.buffer.live()
    }

    /// Length of [`Out::pending`] in bytes.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that the first `n` pending bytes were written; all, if there are fewer.
    pub fn advance(&mut self, n: usize) {
        self.buffer.consume(n);
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.buffer.bytes.capacity()
    }

    /// Moves the first `n` bytes of `input` (all, if there are fewer) behind what is pending.
    ///
    /// If nothing is pending and the run is the larger part of `input`, the buffers change places and only the
    /// rest is copied, nothing at all where the run is the whole; else the run is copied once.
    pub fn forward(&mut self, input: &mut In, n: usize) {
        let n = n.min(input.len());
        let rest = input.len() - n;
        if self.is_empty() && rest < n {
            std::mem::swap(&mut self.buffer, &mut input.buffer);
            if rest > 0 {
                input.buffer.bytes.extend_from_slice(self.pending().get(n..).unwrap_or_default());
                self.buffer.bytes.truncate(self.buffer.bytes.len() - rest);
            }
        } else {
            self.extend(input.data().get(..n).unwrap_or_default());
            input.consume(n);
        }
    }
}

#[cfg(test)]
mod tests;
