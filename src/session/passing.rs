//! Frames from the client that go by unread: what of them must be noted all the same.

use super::client::undo_detail;
use super::detail::Detail;
use super::queue::Kind;
use super::state::Session;
use crate::wire::frame::HEADER;
use crate::wire::read::read_bind_names;
use crate::wire::tag::front;

/// So much of a frame must be there before it may go in parts.
const STREAMED: usize = 64 * 1024;

impl Session {
    /// A long Bind goes as it comes where its names, which stand first, say that it is nobody's business: queues its
    /// reply then.
    pub(super) fn streams(&mut self, tag: u8, data: &[u8]) -> bool {
        if tag != front::BIND
            || data.len() < STREAMED
            || self.hold.is_some()
            || self.local_error.is_some()
            || self.local_skip
            || self.again.is_some()
        {
            return false;
        }
        let Some((portal, statement)) = data.get(HEADER..).and_then(read_bind_names) else { return false };
        if self.may_be_ours(statement) {
            return false;
        }
        let undo = self.names.set_portal(portal, None);
        self.expect(Kind::Bind, undo_detail(undo));
        true
    }

    /// A statement of this name is, or may turn out to be, one that has a plan.
    pub(super) fn may_be_ours(&self, statement: &[u8]) -> bool {
        self.naming
            || self.names.statement(statement).is_some()
            || self.names.is_uncertain(statement, self.cycle.number)
    }

    /// A frame that nobody needs to read, with a body so long: note what the server will answer.
    pub(super) fn passing(&mut self, tag: u8, body: usize) {
        match tag {
            front::FLUSH if body > 0 => self.expect(Kind::BadFlush, Detail::Plain),
            front::SYNC => self.expect(Kind::Sync, Detail::Plain),
            front::FUNCTION_CALL => self.expect(Kind::Function, Detail::Plain),
            front::COPY_DONE | front::COPY_FAIL if self.queue.may_copy_in() => {
                self.expect(Kind::CopyEnd, Detail::Plain);
            }
            front::TERMINATE => self.terminated = true,
            _ => {}
        }
    }
}
