//! Where a frame ends: one type byte, a length word that counts itself but not the type byte, the body.

use super::tag::front;

/// Bytes before a frame's body: the type byte and the length word.
pub const HEADER: usize = 5;

/// The greatest length word that a PostgreSQL server can send: its messages are built in memory chunks of at
/// most 1 GB - 1, to which the word adds its own four bytes. Clients may send less: see [`front_limit`].
pub const MAX_LENGTH_WORD: u32 = 0x3fff_ffff + 4;

/// What the first bytes of a buffer say about the frame that starts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Fewer than [`HEADER`] bytes: nothing can be said yet.
    Incomplete,
    /// A frame starts here. Its body may still be on the way: it is complete once the buffer holds `len` bytes.
    Frame {
        /// The type byte.
        tag: u8,
        /// Length of the whole frame in bytes, type byte and length word included; at least [`HEADER`].
        len: usize,
    },
    /// The length word cannot be one (below 4 or above [`MAX_LENGTH_WORD`]): the stream is out of step, and
    /// nothing behind this point can be trusted.
    Malformed,
}

/// Looks at the header of the frame at the start of `buf`.
pub fn scan(buf: &[u8]) -> Scan {
    let &[tag, a, b, c, d, ..] = buf else { return Scan::Incomplete };
    let word = u32::from_be_bytes([a, b, c, d]);
    if !(4..=MAX_LENGTH_WORD).contains(&word) {
        return Scan::Malformed;
    }
    // At most 2^30 + 4, which fits usize on every platform that can run the proxy.
    Scan::Frame { tag, len: word as usize + 1 }
}

/// The greatest length word that a server takes of a message of this type (`SocketBackend` in
/// src/backend/tcop/postgres.c): a frame of more it does not read, but closes the connection.
pub fn front_limit(tag: u8) -> u32 {
    match tag {
        front::DESCRIBE
        | front::EXECUTE
        | front::CLOSE
        | front::FLUSH
        | front::SYNC
        | front::COPY_DONE
        | front::COPY_FAIL
        | front::TERMINATE => 10_000,
        _ => 0x3fff_fffe,
    }
}

/// Looks at the header of a client's frame: as [`scan`], with what a server takes for the limit.
pub fn scan_front(buf: &[u8]) -> Scan {
    match scan(buf) {
        Scan::Frame { tag, len } if len - 1 > front_limit(tag) as usize => Scan::Malformed,
        other => other,
    }
}

/// The body of a whole frame: what follows the header. `None` if `frame` is shorter than a header.
pub fn body(frame: &[u8]) -> Option<&[u8]> {
    frame.get(HEADER..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_headers() {
        let frame = |tag, len| Scan::Frame { tag, len };
        let cases: &[(&[u8], Scan)] = &[
            (b"", Scan::Incomplete),
            (b"S", Scan::Incomplete),
            (b"S\0\0\0", Scan::Incomplete),
            (b"S\0\0\0\x04", frame(b'S', 5)),
            (b"Z\0\0\0\x05I", frame(b'Z', 6)),
            (b"Z\0\0\0\x05", frame(b'Z', 6)),
            (b"Z\0\0\0\x05Imore", frame(b'Z', 6)),
            (b"\0\0\0\x01\0", frame(0, 257)),
            (b"S\0\0\0\x03", Scan::Malformed),
            (b"S\0\0\0\0", Scan::Malformed),
            (b"D\x3f\xff\xff\xff", frame(b'D', 0x4000_0000)),
            (b"D\x40\0\0\x03", frame(b'D', 0x4000_0004)),
            (b"D\x40\0\0\x04", Scan::Malformed),
            (b"D\xff\xff\xff\xff", Scan::Malformed),
            (b"GET / HTTP/1.1\r\n", Scan::Malformed),
        ];
        for (bytes, want) in cases {
            assert_eq!(scan(bytes), *want, "{bytes:?}");
        }
    }

    #[test]
    fn a_client_may_send_what_a_server_takes() {
        for (bytes, whole) in [
            (b"Q\x3f\xff\xff\xfe", true),
            (b"Q\x3f\xff\xff\xff", false),
            (b"d\x3f\xff\xff\xfe", true),
            (b"D\0\0\x27\x10", true),
            (b"D\0\0\x27\x11", false),
            (b"S\0\x01\0\0", false),
        ] {
            assert_eq!(scan_front(bytes) != Scan::Malformed, whole, "{bytes:?}");
        }
    }

    #[test]
    fn body_follows_the_header() {
        assert_eq!(body(b"Z\0\0\0\x05I"), Some(&b"I"[..]));
        assert_eq!(body(b"S\0\0\0\x04"), Some(&b""[..]));
        assert_eq!(body(b"S\0\0"), None);
    }
}
