use super::*;

fn input(bytes: &[u8]) -> In {
    let mut input = In::new();
    input.spare().extend_from_slice(bytes);
    input
}

#[test]
fn consumes_and_appends() {
    let mut input = input(b"abcdef");
    input.consume(2);
    assert_eq!(input.data(), b"cdef");
    input.spare().extend_from_slice(b"gh");
    assert_eq!((input.data(), input.len()), (&b"cdefgh"[..], 6));
    input.consume(100);
    assert!(input.is_empty());
    assert_eq!(input.data(), b"");
}

#[test]
fn spare_always_has_room() {
    let mut input = In::new();
    assert_eq!(input.capacity(), 0);
    for _ in 0..100 {
        let spare = input.spare();
        assert!(spare.capacity() - spare.len() >= READ_ROOM);
        spare.extend_from_slice(&[7; 3000]);
        input.consume(2900);
    }
    assert_eq!(input.len(), 100 * 100);
    assert!(input.data().iter().all(|b| *b == 7));
    assert!(input.capacity() <= KEEP, "consumed bytes are given back, not carried along");
}

#[test]
fn gives_memory_back_after_a_large_message() {
    let mut input = input(&vec![1; 10 * KEEP]);
    assert!(input.capacity() >= 10 * KEEP);
    input.spare().extend_from_slice(b"rest");
    input.consume(10 * KEEP);
    assert_eq!(input.data(), b"rest");
    assert!(input.capacity() <= KEEP);

    let mut out = Out::new();
    out.extend(&vec![1; 10 * KEEP]);
    out.advance(10 * KEEP);
    assert!(out.is_empty() && out.capacity() <= KEEP);
}

#[test]
fn small_buffers_keep_their_memory() {
    let mut input = input(b"abc");
    let before = (input.capacity(), input.data().as_ptr());
    input.consume(3);
    input.spare().extend_from_slice(b"def");
    assert_eq!((input.capacity(), input.data().as_ptr()), before);
}

#[test]
fn forwards_runs() {
    // (pending before, input, n) -> (pending after, rest of the input)
    type Case = (&'static [u8], &'static [u8], usize, &'static [u8], &'static [u8]);
    let cases: &[Case] = &[
        (b"", b"abcdef", 6, b"abcdef", b""),
        (b"", b"abcdef", 99, b"abcdef", b""),
        (b"", b"abcdef", 4, b"abcd", b"ef"),
        (b"", b"abcdef", 3, b"abc", b"def"),
        (b"", b"abcdef", 1, b"a", b"bcdef"),
        (b"", b"abcdef", 0, b"", b"abcdef"),
        (b"", b"", 0, b"", b""),
        (b"xy", b"abcdef", 6, b"xyabcdef", b""),
        (b"xy", b"abcdef", 4, b"xyabcd", b"ef"),
        (b"xy", b"abcdef", 0, b"xy", b"abcdef"),
    ];
    for (pending, data, n, want_pending, want_rest) in cases {
        // Once with fresh buffers, once with consumed bytes before the live ones.
        for used in [&b""[..], &b"used"[..]] {
            let mut out = Out::new();
            out.extend(used);
            out.extend(pending);
            out.advance(used.len());
            let mut input = input(&[used, data].concat());
            input.consume(used.len());
            out.forward(&mut input, *n);
            assert_eq!(out.pending(), *want_pending, "{pending:?} {data:?} {n}");
            assert_eq!(input.data(), *want_rest, "{pending:?} {data:?} {n}");
            input.spare().extend_from_slice(b"!");
            out.as_bytes_mut().extend_from_slice(b"?");
            assert_eq!(out.pending(), [*want_pending, b"?"].concat());
            assert_eq!(input.data(), [*want_rest, b"!"].concat());
        }
    }
}

#[test]
fn a_whole_run_is_not_copied() {
    let mut out = Out::new();
    let mut input = input(b"abcdef");
    let at = input.data().as_ptr();
    out.forward(&mut input, 6);
    assert_eq!(out.pending().as_ptr(), at);
}
