//! Replies to the client's own requests, by what is kept with each of them; and what becomes of that once they are
//! answered, or have failed.

use std::rc::Rc;

use super::cursors::Cursor;
use super::detail::Detail;
use super::errors::own_counts;
use super::fetch::{set_cursor_layout, set_portal_layout};
use super::prepared::Prepared;
use super::queue::{Entry, Kind};
use super::server::Fate;
use super::state::Session;
use crate::wire::buffer::Out;
use crate::wire::edit;
use crate::wire::read::{read_parameter_description, read_row_description};
use crate::wire::tag::back;

impl Session {
    /// A reply to the client's own request.
    pub(super) fn head_frame(&mut self, tag: u8, body: &[u8], client: &mut Out) -> Fate {
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
            Detail::Known(answer) => {
                if tag == back::CLOSE_COMPLETE {
                    client.extend(&answer);
                    return Fate::Gone;
                }
                self.errored |= tag == back::ERROR;
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
    pub(super) fn answered(&mut self, entry: Entry<Detail>, client: &mut Out, server: &mut Out) {
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
    pub(super) fn failed(&mut self, entries: Vec<Entry<Detail>>, client: &mut Out, server: &mut Out) {
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
