//! A cycle sent again in the client's own words.
//!
//! The server may refuse a rewritten Parse (or a Bind or a Describe, where it plans anew) that it would take in the original: the version column was dropped a
//! moment ago, a privilege revoked. Outside a transaction block, with nothing of the cycle carried out yet, the
//! refusal is kept from the client, the server is brought to ReadyForQuery, and the client's frames of the cycle
//! are sent as they came. What the server says then is the reply.

use std::rc::Rc;

use bytes::Bytes;

use super::detail::Detail;
use super::prepared::Prepared;
use super::queue::Kind;
use super::state::{Session, Wait};
use crate::wire::buffer::Out;
use crate::wire::build;
use crate::wire::read::{read_bind, read_close, read_error_fields, read_parse};
use crate::wire::tag::front;

/// How many bytes of a cycle are kept for this.
const MAX_KEPT: usize = 256 * 1024;

/// The present cycle, which began with a rewritten Parse, or with a Bind or Describe of a rewritten statement.
#[derive(Debug, Default)]
pub(crate) struct Again {
    frames: Vec<(u8, Bytes)>,
    bytes: usize,
    /// The statement that the cycle's first message binds or describes.
    bound: Option<Rc<Prepared>>,
    /// The client's Sync is among the frames.
    synced: bool,
    /// The refusal.
    refused: Option<Bytes>,
}

impl Session {
    /// A rewritten Parse, or a Bind or Describe of a rewritten statement, is about to be sent: keep the cycle if it is its
    /// first message and may be sent again.
    pub(super) fn keep_cycle(&mut self, bound: Option<&Rc<Prepared>>) {
        if self.cycle.messages == 0 {
            let at_rest = self.status == b'I' && self.queue.is_empty();
            self.again = at_rest.then(|| Again { bound: bound.cloned(), ..Again::default() });
        }
    }

    /// Keeps a frame of a kept cycle.
    pub(super) fn keep_frame(&mut self, tag: u8, frame: &[u8]) {
        let Some(again) = &mut self.again else { return };
        again.bytes += frame.len();
        if again.synced || again.bytes > MAX_KEPT || matches!(tag, front::QUERY | front::FUNCTION_CALL) {
            // Something follows that could not be put behind it any more.
            self.again = None;
            return;
        }
        again.synced = tag == front::SYNC;
        again.frames.push((tag, Bytes::copy_from_slice(frame)));
    }

    /// The server has refused the cycle's first message. True: the client is not told, the cycle will be sent again.
    pub(super) fn refused_first(&mut self, body: &[u8]) -> bool {
        let ours = read_error_fields(body).is_some_and(|f| super::results::may_be_ours(&f));
        match &mut self.again {
            Some(again) if ours => {
                again.refused = Some(Bytes::copy_from_slice(body));
                true
            }
            _ => false,
        }
    }

    /// If the server refuses the message that it answers now, the client's own text may be sent in its place.
    pub(super) fn may_go_again(&mut self) -> bool {
        let status = self.status;
        let kept = self.again.as_ref().is_some_and(|again| again.refused.is_none());
        match self.queue.head().map(|head| &head.detail) {
            Some(Detail::Query(query)) => status == b'I' && query.may_run_again(),
            Some(Detail::Parse(..) | Detail::Bind(..) | Detail::DescribeStatement(..)) => kept,
            _ => false,
        }
    }

    /// The refused cycle's requests have left the queue: bring the server to ReadyForQuery.
    pub(super) fn await_ready(&mut self, server: &mut Out) {
        let Some(again) = self.again.as_ref().filter(|a| a.refused.is_some()) else {
            // Failed for a reason of its own: none of it may be sent in the place of a later cycle.
            self.again = None;
            return;
        };
        self.hold = None;
        self.wait = Some(Wait::Own);
        if again.synced {
            if let Some(sync) = self.queue.last_mut() {
                sync.detail = Detail::Again;
            }
        } else {
            build::sync(server.as_bytes_mut());
            self.expect(Kind::Sync, Detail::Again);
        }
    }

    /// The server is at ReadyForQuery: send the cycle again. Its later messages go the usual way.
    pub(super) fn send_again(&mut self, server: &mut Out) {
        self.wait = None;
        self.notices.clear();
        let Some(again) = self.again.take() else { return };
        let fields = again.refused.as_deref().and_then(read_error_fields);
        let sqlstate: Box<[u8]> = fields.and_then(|f| f.sqlstate().map(Into::into)).unwrap_or_default();
        if let Some(bound) = &again.bound {
            let generation = self.generation();
            self.parse_as_it_is(bound, generation, server);
        }
        for (n, (tag, frame)) in again.frames.iter().enumerate() {
            let body = frame.get(5..).unwrap_or_default();
            let name_undo = match *tag {
                front::PARSE => read_parse(body).map(|p| {
                    let (text, oids) = (Bytes::copy_from_slice(p.text), p.oids.iter().collect());
                    let generation = self.generation();
                    let as_it_is = self.as_it_is(p.name, text, oids, generation);
                    self.set_statement(p.name, Some(as_it_is))
                }),
                front::BIND => read_bind(body).map(|b| self.names.set_portal(b.portal, None)),
                front::CLOSE => read_close(body).map(|c| match c.kind {
                    b'S' => self.set_statement(c.name, None),
                    _ => self.names.set_portal(c.name, None),
                }),
                _ => None,
            };
            server.extend(frame);
            let undo = name_undo.unwrap_or_default();
            let detail = match n {
                0 => Detail::Rerun(sqlstate.clone(), undo),
                _ => Detail::Undo(undo),
            };
            match *tag {
                front::PARSE => self.expect(Kind::Parse, detail),
                front::BIND => self.expect(Kind::Bind, detail),
                front::CLOSE => self.expect(Kind::Close, detail),
                front::EXECUTE => self.expect(Kind::Execute, detail),
                front::DESCRIBE if body.first() == Some(&b'S') => {
                    self.expect(Kind::DescribeStatement, detail)
                }
                front::DESCRIBE => self.expect(Kind::DescribePortal, detail),
                _ => self.passing(*tag, body.len()),
            }
        }
    }
}
