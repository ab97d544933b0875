//! A Bind that is held until it is known what follows its Execute: only a write whose cycle ends behind it can be
//! sent in the predicate form.

use bytes::Bytes;

use super::client::Lane;
use super::detail::Detail;
use super::queue::Kind;
use super::state::{Session, Wait};
use crate::rewrite::plan::Reason;
use crate::wire::buffer::Out;
use crate::wire::read::{read_bind, read_describe, read_execute};
use crate::wire::tag::front;

impl Session {
    /// A frame behind a held Bind. `None`: the hold is over, treat the frame as usual.
    pub(super) fn behind_bind(&mut self, tag: u8, frame: &[u8], out: &mut Out) -> Option<Lane> {
        let hold = self.hold.as_mut()?;
        let body = frame.get(5..)?;
        match tag {
            front::DESCRIBE
                if !hold.executed
                    && read_describe(body)
                        .is_some_and(|t| t.kind == b'P' && *t.name == *hold.portal_name) =>
            {
                hold.frames.push((Kind::DescribePortal, Bytes::copy_from_slice(frame)));
                return Some(Lane::Done);
            }
            front::EXECUTE
                if !hold.executed && read_execute(body).is_some_and(|e| *e.portal == *hold.portal_name) =>
            {
                hold.frames.push((Kind::Execute, Bytes::copy_from_slice(frame)));
                hold.executed = true;
                return Some(Lane::Done);
            }
            front::SYNC if hold.executed && self.cycle.executes == 0 => {
                if hold.portal.prepared.plan.compares_row() && self.is_unsettled() {
                    self.drain(out);
                    return Some(Lane::Later);
                }
                if let Some(later) = self.hold_asks(Ok(())) {
                    return Some(later);
                }
                if self.release(Ok(()), out) {
                    self.expect(Kind::Sync, Detail::Guarded);
                    self.wait = Some(Wait::Verdict);
                } else {
                    self.passing(tag, 0);
                }
                return Some(Lane::Raw);
            }
            _ => {}
        }
        if self.must_settle() {
            self.drain(out);
            return Some(Lane::Later);
        }
        let reason = if tag == front::FLUSH { Reason::Flush } else { Reason::Batch };
        if let Some(later) = self.hold_asks(Err(reason)) {
            return Some(later);
        }
        self.release(Err(reason), out);
        None
    }

    /// The held write's row has been written by something that is still in flight and that its guard could not tell
    /// from another's write.
    fn must_settle(&mut self) -> bool {
        let Some(hold) = &self.hold else { return false };
        let (prepared, bind) = (hold.portal.prepared.clone(), hold.bind.clone());
        let Some(bind) = bind.get(5..).and_then(read_bind) else { return false };
        !self.queue.is_empty() && self.decide_guards(&prepared, &bind).1
    }

    /// Sends a held Bind and what was held behind it.
    pub(super) fn release(&mut self, allowed: Result<(), Reason>, out: &mut Out) -> bool {
        let Some(hold) = self.hold.take() else { return false };
        let Some(bind) = hold.bind.get(5..).and_then(read_bind) else { return false };
        let guarded = self.send_bind(&bind, hold.portal.clone(), allowed, out);
        for (kind, frame) in hold.frames {
            match kind {
                Kind::Execute => {
                    if self.execute_portal(&hold.portal, &hold.portal_name, out) == Lane::Raw {
                        out.extend(&frame);
                    }
                }
                _ => {
                    hold.portal.prepared.described_in.set(self.cycle.number);
                    self.expect(Kind::DescribePortal, Detail::DescribePortal(hold.portal.clone(), false));
                    out.extend(&frame);
                }
            }
        }
        guarded
    }

    /// The client's stream has ended: what is held must still reach the server.
    pub fn client_ended(&mut self, out: &mut Out) {
        if self.hold.is_some() {
            self.release(Err(Reason::Batch), out);
        }
    }
}
