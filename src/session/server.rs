//! Frames from the server: which request each answers, and what the client gets to see of it.

use std::rc::Rc;

use bytes::Bytes;

use super::cursors::Cursor;
use super::errors::{is_fatal, own_counts};
use super::fetch::{set_cursor_layout, set_portal_layout};
use super::learn::Learner;
use super::own::Exchange;
use super::prepared::Prepared;
use super::queue::{Entry, Kind, Reply};
use super::state::{Buffers, Detail, Session, Wait};
use crate::wire::buffer::Out;
use crate::wire::edit;
use crate::wire::frame::{Scan, scan};
use crate::wire::read::{
    read_data_row, read_parameter_description, read_parameter_status, read_ready, read_row_description,
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
        matches!(tag, back::DATA_ROW | back::COPY_DATA)
            && self.started
            && match self.queue.head() {
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
                self.release_held(client);
                self.fatal = true;
                return Fate::Forward;
            }
            _ => {}
        }
        if !self.started {
            return self.start_up(tag, frame, body);
        }
        if tag == back::READY {
            return self.ready(frame, body, client, server);
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

    /// Authentication and the rest of start-up pass as they are.
    fn start_up(&mut self, tag: u8, frame: &[u8], body: &[u8]) -> Fate {
        match tag {
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
    fn own_done(&mut self, client: &mut Out, server: &mut Out) {
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

    /// A reply to the client's own request.
    fn head_frame(&mut self, tag: u8, body: &[u8], client: &mut Out) -> Fate {
        let Some(head) = self.queue.head() else { return Fate::Forward };
        match std::mem::take(&mut head.detail) {
            Detail::Plain => {
                self.errored |= tag == back::ERROR;
                Fate::Forward
            }
            Detail::Rerun(sqlstate, undo) => {
                let described = head.kind == Kind::DescribeStatement
                    && matches!(tag, back::ROW_DESCRIPTION | back::NO_DATA);
                if described
                    || matches!(tag, back::COMMAND_COMPLETE | back::PARSE_COMPLETE | back::BIND_COMPLETE)
                {
                    // The original passes: the rewrite was wrong, or what it was made from is out of date.
                    self.rewrite_rejected(&sqlstate);
                    self.view_outdated = true;
                }
                self.errored |= tag == back::ERROR;
                self.put_back(Detail::Rerun(sqlstate, undo));
                Fate::Forward
            }
            Detail::Query(mut query) => {
                let fate = self.query_frame(&mut query, tag, body, client);
                self.put_back(Detail::Query(query));
                fate
            }
            Detail::Execute(mut execute) => {
                let fate = self.execute_frame(&mut execute, tag, body, client);
                self.put_back(Detail::Execute(execute));
                fate
            }
            Detail::DescribeCursor(cursor) => {
                if tag == back::ROW_DESCRIPTION {
                    set_cursor_layout(&cursor, body);
                }
                self.errored |= tag == back::ERROR;
                self.put_back(Detail::DescribeCursor(cursor));
                Fate::Forward
            }
            Detail::ExecuteCursor(mut execute) => {
                self.cursor_frame(&mut execute, tag, body);
                self.put_back(Detail::ExecuteCursor(execute));
                Fate::Forward
            }
            detail => {
                let fate = self.described_frame(&detail, tag, body, client);
                self.put_back(detail);
                fate
            }
        }
    }

    fn put_back(&mut self, detail: Detail) {
        if let Some(head) = self.queue.head() {
            head.detail = detail;
        }
    }

    fn described_frame(&mut self, detail: &Detail, tag: u8, body: &[u8], client: &mut Out) -> Fate {
        let prepared: &Rc<Prepared> = match detail {
            Detail::Parse(prepared, _) | Detail::DescribeStatement(prepared, _) => prepared,
            Detail::Bind(portal, _) | Detail::DescribePortal(portal, _) => &portal.prepared,
            _ => {
                self.errored |= tag == back::ERROR;
                if let (Detail::Guarded, Some(verdict), true) = (detail, &self.verdict, self.errored) {
                    // The commit has failed: what the write was answered with comes before that.
                    client.extend(verdict.complete());
                    self.verdict = None;
                }
                return Fate::Forward;
            }
        };
        if let (Detail::DescribeStatement(_, held), back::ROW_DESCRIPTION | back::NO_DATA) = (detail, tag) {
            self.again = None;
            client.extend(&held.take());
        }
        match tag {
            back::PARSE_COMPLETE | back::BIND_COMPLETE => {
                self.again = None;
                if let Detail::Bind(portal, _) = detail {
                    // What its rows are compared with is what its own context has written.
                    if let Some(statement) = portal.acting().statement() {
                        self.enter(statement);
                    }
                    portal.opened.set(Some(self.observations.sequence().sent(portal.sent)));
                    if let Some(cursor) = portal.fetches().and_then(|name| self.cursors.get(name)) {
                        *portal.fetched.borrow_mut() = Some(Cursor::Declared(cursor.clone()));
                    }
                }
                Fate::Forward
            }
            back::ERROR
                if matches!(detail, Detail::Parse(..) | Detail::Bind(..) | Detail::DescribeStatement(..))
                    && self.refused_first(body) =>
            {
                Fate::Gone
            }
            back::ERROR => {
                self.errored = true;
                if let Detail::DescribeStatement(_, held) = detail {
                    client.extend(&held.take());
                }
                let surplus = match detail {
                    Detail::Bind(portal, _) => portal.surplus,
                    _ => (0, 0),
                };
                if own_counts(body, surplus, client) {
                    return Fate::Gone;
                }
                self.error_out(back::ERROR, body, &prepared.text, prepared.rendered.as_ref(), client)
            }
            back::PARAMETER_DESCRIPTION => {
                *prepared.param_types.borrow_mut() = read_parameter_description(body).map(Into::into);
                if let (Detail::DescribeStatement(_, held), true) = (detail, self.again.is_some()) {
                    let mut out = Out::default();
                    let added = prepared.added_params();
                    if added == 0 || !edit::parameter_description_strip(out.as_bytes_mut(), body, added) {
                        super::frame_out(&mut out, tag, body);
                    }
                    *held.borrow_mut() = out.as_bytes_mut().to_vec();
                    return Fate::Gone;
                }
                if prepared.added_params() > 0
                    && edit::parameter_description_strip(client.as_bytes_mut(), body, prepared.added_params())
                {
                    return Fate::Gone;
                }
                Fate::Forward
            }
            back::ROW_DESCRIPTION => {
                if prepared.hidden_result {
                    super::frame_out(client, back::NO_DATA, &[]);
                    return Fate::Gone;
                }
                let hidden = match detail {
                    Detail::DescribePortal(portal, _) => {
                        set_portal_layout(portal, body);
                        portal.hidden()
                    }
                    _ => {
                        set_layout(prepared, body);
                        prepared.hidden.max(prepared.fetched_hidden)
                    }
                };
                strip_description(body, hidden, client)
            }
            _ => Fate::Forward,
        }
    }

    /// The request has been answered in full.
    fn answered(&mut self, entry: Entry<Detail>, client: &mut Out, server: &mut Out) {
        match entry.detail {
            Detail::OwnEnd => self.own_done(client, server),
            Detail::Undo(undo) | Detail::OwnParse(_, undo) | Detail::Parse(_, undo) => {
                self.names.settle(undo)
            }
            Detail::CloseCursor(name) => {
                if let Ok(name) = std::str::from_utf8(&name) {
                    self.cursors.close(name);
                }
            }
            _ => {}
        }
    }

    /// Nothing up to the next Sync was carried out.
    fn failed(&mut self, entries: Vec<Entry<Detail>>, client: &mut Out, server: &mut Out) {
        let mut own_over = false;
        // What its name stood for has been closed.
        let lost = entries.first().and_then(|first| match &first.detail {
            Detail::OwnParse(prepared, _) => Some(prepared.name.clone()),
            _ => None,
        });
        for entry in entries.into_iter().rev() {
            own_over |= matches!(entry.detail, Detail::OwnEnd);
            if matches!(&entry.detail, Detail::Query(query) if query.guarded) {
                self.wait = None;
            }
            self.undo(entry.detail);
        }
        if let Some(before) = lost.and_then(|name| self.names.statement(&name)) {
            before.lost.set(true);
        }
        if self.queue.skipping() {
            // A Bind that was not sent yet is among what the server would discard.
            self.hold = None;
        }
        if own_over {
            self.own_done(client, server);
        }
        self.await_ready(server);
    }
}

pub(super) fn set_layout(prepared: &Prepared, body: &[u8]) {
    if let Some(fields) = read_row_description(body) {
        *prepared.layout.borrow_mut() = Some(fields.into());
    }
}

pub(super) fn strip_description(body: &[u8], hidden: usize, client: &mut Out) -> Fate {
    if hidden > 0 && edit::row_description_strip(client.as_bytes_mut(), body, hidden) {
        Fate::Gone
    } else {
        Fate::Forward
    }
}
