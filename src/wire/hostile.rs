//! Hostile bytes: every reader and editor on every truncation and on thousands of mutations of sound messages.
//! Nothing may panic, and whatever an editor writes must be one sound frame that its reader accepts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::BytesMut;

use super::edit::{self, AddedParam};
use super::frame::{Scan, body, scan};
use super::startup::{StartupScan, read_cancel, read_startup, scan_startup};
use super::tag::{back, front};
use super::{build, read};

/// Marsaglia's xorshift: the same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), self.next() as u8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = EDGES[self.below(EDGES.len())],
                _ => {}
            }
        }
    }
}

/// Bodies of one or more sound messages of every kind that is read.
fn sound_bodies() -> Vec<Vec<u8>> {
    let mut out = BytesMut::new();
    let built = [
        build::parse(&mut out, b"s1", b"UPDATE t SET a = $1 WHERE id = $2", &[25, 23]),
        build::bind_formats(&mut out, b"p1", b"s1", &[0, 1], &[Some(b"text"), None], &[1, 0, 1]),
        build::bind_formats(&mut out, b"", b"s1", &[1], &[Some(b"\0\0\0\x07"), Some(b"")], &[1]),
        build::bind(&mut out, b"", b"", &[]),
        build::describe(&mut out, b'S', b"s1"),
        build::execute(&mut out, b"p1", 50),
        build::query(&mut out, b"SELECT 1"),
        build::error_response(
            &mut out,
            &[(b'V', "ERROR".into()), (b'C', "42601".into()), (b'P', "15".into())],
        ),
        build::ready(&mut out, b'I'),
        build::command_complete(&mut out, "UPDATE 3"),
    ];
    assert!(built.iter().all(|done| *done));
    let mut bodies = Vec::new();
    let mut rest = &out[..];
    while let Scan::Frame { len, .. } = scan(rest) {
        bodies.push(body(&rest[..len]).unwrap().to_vec());
        rest = &rest[len..];
    }
    assert_eq!(bodies.len(), built.len());
    let tail = [1u8; 18];
    bodies.push([b"\0\x02id\0", &tail[..], b"version\0", &tail].concat());
    bodies.push(b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x01c".to_vec());
    bodies.push(b"\0\x02\0\0\0\x17\0\0\0\x19".to_vec());
    bodies.push(b"TimeZone\0UTC\0".to_vec());
    bodies.push(b"\0\0\0\x2akey4".to_vec());
    bodies.push(b"\0\0\0\x0aSCRAM-SHA-256\0\0".to_vec());
    bodies
}

fn sound_packets() -> Vec<Vec<u8>> {
    vec![
        b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(),
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x2akey4".to_vec(),
        b"\0\0\0\x23\0\x03\0\0user\0ann\0database\0planner\0\0".to_vec(),
    ]
}

/// Whether the body is one that its reader accepts.
fn accepted(tag: u8, from_front: bool, body: &[u8]) -> bool {
    match (from_front, tag) {
        (true, front::PARSE) => read::read_parse(body).is_some(),
        (true, front::BIND) => read::read_bind(body).is_some(),
        (true, front::QUERY) => read::read_query(body).is_some(),
        (false, back::ROW_DESCRIPTION) => read::read_row_description(body).is_some(),
        (false, back::DATA_ROW) => read::read_data_row(body).is_some(),
        (false, back::PARAMETER_DESCRIPTION) => read::read_parameter_description(body).is_some(),
        (false, back::ERROR) => read::read_error_fields(body).is_some(),
        _ => panic!("no editor writes {tag}"),
    }
}

/// Runs an editor; checks that it writes one frame which its reader accepts, or nothing. Returns what it said.
fn check(from_front: bool, edit: impl FnOnce(&mut BytesMut) -> bool) -> bool {
    let mut out = BytesMut::from(&b"before"[..]);
    let done = edit(&mut out);
    let wrote = out.strip_prefix(b"before").expect("what was there stays");
    if !done {
        assert_eq!(wrote, b"");
        return false;
    }
    assert_eq!(scan(wrote), Scan::Frame { tag: wrote[0], len: wrote.len() });
    assert!(accepted(wrote[0], from_front, body(wrote).unwrap()), "{wrote:?}");
    true
}

/// Every reader with every accessor, and every editor, on one body.
fn read_and_edit(bytes: &[u8]) {
    const TEXT: AddedParam<'_> = AddedParam { text: Some(b"5"), binary: None };
    const BOTH: AddedParam<'_> = AddedParam { text: Some(b"5"), binary: Some(b"\0\0\0\x05") };
    if let Some(parse) = read::read_parse(bytes) {
        assert_eq!(parse.oids.iter().count(), parse.oids.len());
        assert!(check(true, |out| edit::parse_with_text(out, &parse, b"SELECT 1")));
    }
    let _ = read::read_bind_names(bytes);
    if let Some(bind) = read::read_bind(bytes) {
        assert_eq!(bind.params.iter().count(), bind.param_count());
        for i in [0, 1, bind.param_count(), usize::MAX] {
            assert_eq!(bind.param(i).is_some(), i < bind.param_count());
            let _ = (bind.param_format(i), bind.result_format(i));
        }
        assert!(check(true, |out| edit::bind_to(out, &bind, b"p", b"s")));
        for added in [&[][..], &[TEXT], &[BOTH, AddedParam::NULL]] {
            assert!(check(true, |out| edit::bind_with(out, &bind, added, Some((3, 2)))));
        }
    }
    if let Some(text) = read::read_query(bytes) {
        assert!(check(true, |out| edit::query_with_text(out, text)));
    }
    check(true, |out| edit::query_with_text(out, bytes));
    let _ = (read::read_describe(bytes), read::read_close(bytes), read::read_execute(bytes));
    let _ = (read::read_ready(bytes), read::read_parameter_status(bytes), read::read_authentication(bytes));
    let _ = (read::read_key_data(bytes), read::read_command_complete(bytes).map(read::rows_of_tag));
    let _ = read::rows_of_tag(bytes);
    if let Some(row) = read::read_data_row(bytes) {
        assert_eq!(row.fields().count(), row.count());
    }
    for hidden in [0, 1, 2, 65_536] {
        let columns = read::read_row_description(bytes).is_some_and(|fields| fields.len() >= hidden);
        let row = read::read_data_row(bytes).is_some_and(|row| row.count() >= hidden);
        let types = read::read_parameter_description(bytes).is_some_and(|types| types.len() >= hidden);
        assert_eq!(check(false, |out| edit::row_description_strip(out, bytes, hidden)), columns);
        assert_eq!(check(false, |out| edit::data_row_strip(out, bytes, hidden)), row);
        assert_eq!(check(false, |out| edit::parameter_description_strip(out, bytes, hidden)), types);
    }
    if let Some(fields) = read::read_error_fields(bytes) {
        let _ = (fields.severity(), fields.sqlstate(), fields.position());
        let changes = [(b'P', Some(b"3".to_vec())), (b'C', None), (b'D', Some(b"d".to_vec()))];
        assert!(check(false, |out| edit::error_with(out, back::ERROR, &fields, &changes)));
        assert!(!check(false, |out| edit::error_with(out, back::ERROR, &fields, &[(b'M', Some(vec![0]))])));
    }
}

fn open(bytes: &[u8]) {
    let _ = (scan(bytes), read_cancel(bytes));
    if let StartupScan::Packet(len) = scan_startup(bytes) {
        assert!((8..=bytes.len()).contains(&len));
        let _ = read_startup(&bytes[..len]);
    }
    if let Ok(start) = read_startup(bytes) {
        let _ =
            (start.user(), start.database(), start.options(), start.replication(), start.application_name());
    }
}

#[test]
fn every_truncation_is_refused_or_read() {
    for bytes in sound_bodies() {
        for len in 0..=bytes.len() {
            read_and_edit(&bytes[..len]);
        }
    }
    for bytes in sound_packets() {
        for len in 0..bytes.len() {
            assert_eq!(scan_startup(&bytes[..len]), StartupScan::Incomplete);
            assert!(read_startup(&bytes[..len]).is_err());
            open(&bytes[..len]);
        }
        assert_eq!(scan_startup(&bytes), StartupScan::Packet(bytes.len()));
        assert!(read_startup(&bytes).is_ok());
    }
}

#[test]
fn mutations_are_refused_or_read() {
    let mut random = Random(0x5eed_0f57_a1e6_0a2d);
    let (bodies, packets) = (sound_bodies(), sound_packets());
    for _ in 0..5_000 {
        let mut bytes = bodies[random.below(bodies.len())].clone();
        random.mutate(&mut bytes);
        read_and_edit(&bytes);
        open(&bytes);
        let mut bytes = packets[random.below(packets.len())].clone();
        random.mutate(&mut bytes);
        open(&bytes);
        read_and_edit(&bytes);
    }
}
