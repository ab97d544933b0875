//! Replies to a FETCH, and to what the protocol asks of a cursor: which columns it has, its rows, its failure.

use std::rc::Rc;

use super::cursors::{Cursor, Declared};
use super::detail::{CursorDetail, QueryDetail};
use super::learn::Learner;
use super::prepared::Portal;
use super::replies::{set_layout, strip_description};
use super::server::Fate;
use super::state::Session;
use crate::wire::buffer::Out;
use crate::wire::read::{Field, read_row_description};
use crate::wire::tag::back;

impl Session {
    /// A guard of a portal's statement has raised.
    pub(super) fn portal_raised(&mut self, portal: &Portal, body: &[u8], client: &mut Out) -> Option<Fate> {
        let guards = [portal.guards.borrow_mut().take()];
        self.raised(body, &portal.acting().plan, &guards, client)
    }

    /// The rows of a FETCH in a Query follow.
    pub(super) fn fetch_begins(
        &mut self,
        query: &mut QueryDetail,
        cursor: Option<Cursor>,
        body: &[u8],
        client: &mut Out,
    ) -> Fate {
        let Some(cursor) = cursor else {
            query.learner = Some(Learner::default());
            return Fate::Forward;
        };
        let fields: Rc<[Field]> = read_row_description(body).unwrap_or_default().into();
        cursor.set_layout(&fields);
        let view = self.view.as_ref().map(|seen| &*seen.view);
        let format = |i: usize| fields.get(i).map_or(0, |f| f.format);
        query.learner = Some(cursor.learner(view, &fields, format));
        let hidden = cursor.hidden();
        query.cursor = Some(cursor);
        strip_description(body, hidden, client)
    }

    /// Reads the rows of a FETCH over the extended protocol, if it is certain which cursor they are of.
    pub(super) fn fetch_learner(&self, portal: &Portal) -> Learner {
        let Some(cursor) = portal.fetched.borrow().clone() else { return Learner::default() };
        let hidden = cursor.hidden();
        let same = match (&cursor, portal.fetches().and_then(|name| self.cursors.get(name))) {
            (Cursor::Declared(bound), Some(now)) => Rc::ptr_eq(bound, now),
            (Cursor::Declared(_), None) => false,
            (Cursor::Portal(_), now) => now.is_none(),
        };
        let view = self.view.as_ref().map(|seen| &*seen.view);
        match cursor.layout().filter(|_| same) {
            Some(fields) => cursor.learner(view, &fields, |i| portal.format(i)),
            None => Learner::stripping(hidden),
        }
    }

    /// A reply to an Execute of a cursor that a DECLARE has made.
    pub(super) fn cursor_frame(&mut self, execute: &mut CursorDetail, tag: u8, body: &[u8]) {
        let cursor = Cursor::Declared(execute.cursor.clone());
        match tag {
            back::DATA_ROW => {
                let learner = execute.learner.get_or_insert_with(|| {
                    let view = self.view.as_ref().map(|seen| &*seen.view);
                    let fields = cursor.layout().unwrap_or_default();
                    // No Bind has given formats.
                    cursor.learner(view, &fields, |_| 0)
                });
                self.learn_from_cursor(&cursor, learner, body);
            }
            // It stands behind its last row.
            back::COMMAND_COMPLETE => cursor.shows().next_row(),
            back::ERROR => self.errored = true,
            _ => {}
        }
    }
}

/// Takes note of what a Describe of a portal says: of a FETCH it tells the cursor's columns.
pub(super) fn set_portal_layout(portal: &Portal, body: &[u8]) {
    if portal.fetches().is_none() {
        return set_layout(&portal.prepared, body);
    }
    if let (Some(cursor), Some(fields)) = (&*portal.fetched.borrow(), read_row_description(body)) {
        cursor.set_layout(&fields.into());
    }
}

pub(super) fn set_cursor_layout(cursor: &Declared, body: &[u8]) {
    if let Some(fields) = read_row_description(body) {
        cursor.set_layout(fields.into());
    }
}
