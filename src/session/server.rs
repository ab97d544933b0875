//! Frames from the server: which request each answers, and what the client gets to see of it.

use bytes::Bytes;

use super::detail::Detail;
use super::errors::is_fatal;
use super::fetch::{set_cursor_layout, set_portal_layout};
use super::learn::Learner;
use super::own::Exchange;
use super::queue::{Kind, Reply};
use super::results::may_be_ours;
use super::state::{Buffers, Session, Wait};
use crate::wire::auth::{self, Authentication, SCRAM_PLUS, read_authentication};
use crate::wire::buffer::Out;
use crate::wire::frame::{Scan, scan};
use crate::wire::read::{
    read_data_row, read_error_fields, read_parameter_description, read_parameter_status, read_ready,
};
use crate::wire::tag::back;

/// What becomes of a server's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Forward it as it is.
    Forward,
    /// The client must not see it, or has been sent something in its place.
    Gone,
}

impl Session {
    /// Works through what the server has sent.
    pub fn server_input(&mut self, io: &mut Buffers) {
        let mut run = 0;
        while let Some(data) = io.server_in.data().get(run..) {
            if data.is_empty() || self.closing {
                break;
            }
            if self.server_rest > 0 {
                let n = self.server_rest.min(data.len());
                self.server_rest -= n;
                run += n;
                continue;
            }
            let (tag, len) = match scan(data) {
                Scan::Incomplete => break,
                Scan::Malformed if self.old_protocol && !self.started => {
                    self.server_rest = usize::MAX;
                    continue;
                }
                Scan::Malformed => {
                    io.client_out.forward(&mut io.server_in, run);
                    return self.desynced(&mut io.client_out, 0, "a frame of impossible length");
                }
                Scan::Frame { tag, len } => (tag, len),
            };
            if self.passes_unread(tag) {
                let n = len.min(data.len());
                self.server_rest = len - n;
                run += n;
                continue;
            }
            if data.len() < len {
                break;
            }
            io.client_out.forward(&mut io.server_in, run);
            run = 0;
            let Buffers { client_out, server_in, server_out, .. } = io;
            let Some(frame) = server_in.data().get(..len) else { break };
            match self.server_frame(tag, frame, client_out, server_out) {
                Fate::Forward => run = len,
                Fate::Gone => server_in.consume(len),
            }
        }
        if run > 0 {
            io.client_out.forward(&mut io.server_in, run);
        }
    }

    /// Rows and copy data of a request that nobody has a question about.
    fn passes_unread(&mut self, tag: u8) -> bool {
        matches!(tag, back::DATA_ROW | back::COPY_DATA | back::FUNCTION_RESULT)
            && self.started
            && match self.queue.head() {
                Some(head) if tag == back::FUNCTION_RESULT => head.kind == Kind::Function,
                Some(head) => match &head.detail {
                    Detail::Plain | Detail::Undo(_) => matches!(head.kind, Kind::Query | Kind::Execute),
                    Detail::Query(q) => {
                        tag == back::COPY_DATA || q.learner.as_ref().is_some_and(Learner::passes)
                    }
                    Detail::ExecuteCursor(e) => e.learner.as_ref().is_some_and(Learner::passes),
                    Detail::Execute(e) => {
                        tag == back::COPY_DATA || e.learner.as_ref().is_some_and(Learner::passes)
                    }
                    _ => false,
                },
                None => false,
            }
    }

    fn server_frame(&mut self, tag: u8, frame: &[u8], client: &mut Out, server: &mut Out) -> Fate {
        let body = frame.get(5..).unwrap_or_default();
        match tag {
            back::PARAMETER_STATUS => {
                if self.own.is_none() {
                    // The server has said so behind the error.
                    self.release_held(client);
                }
                if let Some((name, value)) = read_parameter_status(body) {
                    self.parameter_status(name, value);
                }
                return Fate::Forward;
            }
            back::NOTIFICATION => return Fate::Forward,
            back::NOTICE => return self.notice(frame, body, client),
            back::ERROR if is_fatal(body) => {
                self.release_notices(client);
                self.release_held(client);
                self.fatal = true;
                return Fate::Forward;
            }
            _ => {}
        }
        if !self.started {
            return self.start_up(tag, frame, body, client);
        }
        if tag == back::READY {
            return self.ready(frame, body, client, server);
        }
        if !self.notices.is_empty() {
            let ours = tag == back::ERROR && read_error_fields(body).is_some_and(|f| may_be_ours(&f));
            if !(ours && self.may_go_again()) {
                self.release_notices(client);
            }
        }
        let own = self.queue.head().is_some_and(|h| h.detail.is_own());
        let fate = match () {
            () if tag == back::ERROR && self.told_refusal(body, client) => Fate::Gone,
            () if own => self.own_frame(tag, body, client),
            () => self.head_frame(tag, body, client),
        };
        match self.queue.reply(tag) {
            Reply::Async | Reply::Part => {}
            Reply::End(entry) => self.answered(entry, client, server),
            Reply::Failed(entries) => self.failed(entries, client, server),
            Reply::Unexpected => {
                self.desynced(client, tag, "a message that answers nothing outstanding");
                return Fate::Gone;
            }
        }
        self.drained();
        fate
    }

    /// Authentication and the rest of start-up pass as they are; but that no mechanism passes that binds to a
    /// certificate: the one that the server binds to is not the one that the client sees, if it sees any.
    fn start_up(&mut self, tag: u8, frame: &[u8], body: &[u8], client: &mut Out) -> Fate {
        match tag {
            back::AUTHENTICATION => {
                // A password, MD5 or SASL: one answer each. The last word of GSSAPI wants none.
                if matches!(body.get(..4), Some([0, 0, 0, 3 | 5 | 10 | 11])) {
                    self.auth_asked += 1;
                }
                if let Some(Authentication::Sasl(mut offered)) = read_authentication(body)
                    && offered.contains(&SCRAM_PLUS.as_bytes())
                {
                    offered.retain(|name| *name != SCRAM_PLUS.as_bytes());
                    super::put(auth::sasl(client.as_bytes_mut(), &offered));
                    return Fate::Gone;
                }
            }
            back::READY => {
                self.status = read_ready(body).unwrap_or(b'I');
                self.started = true;
            }
            back::KEY_DATA => self.key_data = frame.get(5..).map(Bytes::copy_from_slice),
            _ => {}
        }
        Fate::Forward
    }

    fn ready(&mut self, frame: &[u8], body: &[u8], client: &mut Out, server: &mut Out) -> Fate {
        self.status = read_ready(body).unwrap_or(self.status);
        let entry = match self.queue.reply(back::READY) {
            Reply::End(entry) => entry,
            Reply::Async => {
                // Of a Sync that a copy left over.
                self.client_ready(self.status, false);
                return Fate::Forward;
            }
            _ => {
                self.desynced(client, back::READY, "a ReadyForQuery that answers nothing outstanding");
                return Fate::Gone;
            }
        };
        let guarded = match &entry.detail {
            Detail::Guarded => true,
            Detail::Query(query) => query.guarded,
            _ => false,
        };
        match entry.detail {
            Detail::Own | Detail::OwnEnd | Detail::OwnParse(..) => {
                self.own_done(client, server);
                self.drained();
                return Fate::Gone;
            }
            Detail::Again => {
                self.send_again(server);
                return Fate::Gone;
            }
            Detail::Query(query) if query.refused.is_some() => {
                let fate = self.refused_text(*query, frame, client, server);
                self.drained();
                return fate;
            }
            _ => {}
        }
        if self.reads_state(client, server) {
            return Fate::Gone;
        }
        if guarded {
            if self.verdict.is_some() && !self.errored {
                self.begin_probe(server);
                return Fate::Gone;
            }
            self.verdict = None;
            self.wait = None;
        }
        let status = self.status;
        self.client_ready(status, false);
        self.drained();
        if status == b'I'
            && self.wait.is_none()
            && self.look_after
            && self.queue.is_empty()
            && self.hold.is_none()
            && self.at_frame_boundary()
        {
            self.look(server, true);
        }
        Fate::Forward
    }

    /// Replies are in that somebody waited for.
    fn drained(&mut self) {
        if self.wait == Some(Wait::Drain) && self.queue.is_empty() {
            self.wait = None;
            // Also inside a cycle: what its writes have left is known now.
            self.in_flight.clear();
        }
    }

    /// A reply to the proxy's own message: kept, never forwarded.
    fn own_frame(&mut self, tag: u8, body: &[u8], client: &mut Out) -> Fate {
        if let (back::ROW_DESCRIPTION, Some(head)) = (tag, self.queue.head()) {
            match &head.detail {
                Detail::DescribePortal(portal, true) => {
                    set_portal_layout(portal, body);
                    return Fate::Gone;
                }
                Detail::OwnDescribeCursor(cursor) => {
                    set_cursor_layout(cursor, body);
                    return Fate::Gone;
                }
                _ => {}
            }
        }
        if tag == back::ERROR {
            // An error of a Describe or Parse put in before the client's own message is that message's error.
            if self.own.is_none() {
                self.errored = true;
                let parsed = match self.queue.head().map(|head| &head.detail) {
                    Some(Detail::OwnParse(prepared, _)) => prepared.clone(),
                    Some(Detail::OwnTry(prepared, before)) => {
                        // A block that has failed comes before all else.
                        if read_error_fields(body).is_none_or(|f| f.sqlstate() != Some(b"25P02")) {
                            client.extend(before);
                        }
                        prepared.clone()
                    }
                    _ => return Fate::Forward,
                };
                return self.error_out(tag, body, &parsed.text, parsed.rendered.as_ref(), client);
            }
        }
        if let Some(own) = &mut self.own {
            match tag {
                back::DATA_ROW => {
                    if let Some(row) = read_data_row(body) {
                        own.rows.push(row.fields().map(|v| v.map(Bytes::copy_from_slice)).collect());
                    }
                }
                back::ERROR => own.error = Some(Bytes::copy_from_slice(body)),
                back::PARAMETER_DESCRIPTION => own.types = read_parameter_description(body),
                _ => {}
            }
        }
        Fate::Gone
    }

    /// The exchange's last reply is in.
    pub(super) fn own_done(&mut self, client: &mut Out, server: &mut Out) {
        let Some(own) = self.own.take() else { return };
        if self.wait == Some(Wait::Own) {
            self.wait = None;
        }
        match own.what {
            Exchange::Look if self.looks_again(&own, server) => {}
            what @ (Exchange::Look | Exchange::Server) => {
                let synced = own.synced;
                let error = if what == Exchange::Look { self.looked(own) } else { self.server_told(own) };
                if let Some(error) = error {
                    if synced {
                        self.local_error = Some(super::verdict::without_position(&error));
                    } else {
                        // The server skips to the client's Sync: so does the client, once it has seen why.
                        self.errored = true;
                        self.view_awaited = false;
                        super::verdict::forward_error(client, &error);
                    }
                }
            }
            // If it failed the client's EXECUTE will say so.
            Exchange::Restate => {}
            Exchange::ParameterTypes => self.types_known(own, client, server),
            Exchange::Probe => self.probed(own, client, server),
            Exchange::Refuse => self.refused(own, client),
            Exchange::State => self.state_read(own, client),
            Exchange::Syntax => self.text_judged(own, client),
        }
    }
}
