//! The server's errors and notices on their way to the client: positions led back, counts made the client's own.

use smallvec::SmallVec;

use super::detail::Detail;
use super::server::Fate;
use super::state::Session;
use crate::rewrite::render::Rendered;
use crate::sql::encoding::Encoding;
use crate::sql::lexer::{LexOptions, lex};
use crate::telemetry::metrics::ErrorSource;
use crate::telemetry::targets;
use crate::wire::buffer::Out;
use crate::wire::edit;
use crate::wire::read::read_error_fields;
use crate::wire::tag::back;

/// How many bytes of notices are kept back.
const MAX_NOTICES: usize = 16 * 1024;

impl Session {
    /// A notice. On a text that may have to be sent again it is kept back until that is known, for it would be told twice.
    pub(super) fn notice(&mut self, frame: &[u8], body: &[u8], client: &mut Out) -> Fate {
        let Some(head) = self.queue.head() else { return Fate::Forward };
        if head.detail.is_own() {
            return Fate::Gone;
        }
        // One that has a context comes of a function: the statement is running.
        let of_text = || read_error_fields(body).is_some_and(|f| f.get(b'W').is_none());
        if self.may_go_again() && self.notices.len() + frame.len() <= MAX_NOTICES && of_text() {
            let mut kept = Out::default();
            if self.notice_out(frame, body, &mut kept) == Fate::Forward {
                kept.extend(frame);
            }
            self.notices.extend_from_slice(kept.pending());
            return Fate::Gone;
        }
        self.release_notices(client);
        self.notice_out(frame, body, client)
    }

    /// What is kept back goes to the client: the text will not be sent again, or the notice is of another one.
    pub(super) fn release_notices(&mut self, client: &mut Out) {
        if !self.notices.is_empty() {
            client.extend(&self.notices);
            self.notices = Vec::new();
        }
    }

    fn notice_out(&mut self, frame: &[u8], body: &[u8], client: &mut Out) -> Fate {
        let Some(head) = self.queue.head() else { return Fate::Forward };
        let (text, rendered) = match &head.detail {
            Detail::Query(q) => match &q.rendered {
                Some(r) => (&q.text, r),
                None => return Fate::Forward,
            },
            Detail::Parse(p, _) => match &p.rendered {
                Some(r) => (&p.text, r),
                None => return Fate::Forward,
            },
            Detail::Execute(e) => match &e.portal.prepared.rendered {
                Some(r) => (&e.portal.prepared.text, r),
                None => return Fate::Forward,
            },
            _ => return Fate::Forward,
        };
        let tag = frame.first().copied().unwrap_or(back::NOTICE);
        map_position(tag, body, text, rendered, self.lex.encoding, client)
    }

    /// Forwards an error with its position mapped into the client's own text.
    pub(super) fn error_out(
        &mut self,
        tag: u8,
        body: &[u8],
        text: &[u8],
        rendered: Option<&Rendered>,
        client: &mut Out,
    ) -> Fate {
        let Some(rendered) = rendered else { return Fate::Forward };
        if let Some(fields) = read_error_fields(body) {
            let sqlstate = fields.sqlstate().unwrap_or_default();
            // A syntax error there is the client's own, left open before the insertion, as far as anybody can tell.
            if sqlstate.starts_with(b"42") && sqlstate != b"42601" {
                let inserted = fields
                    .position()
                    .is_some_and(|p| rendered.map.is_inserted(&rendered.text, p, self.lex.encoding));
                if inserted {
                    self.rewrite_rejected(sqlstate);
                }
            }
        }
        map_position(tag, body, text, rendered, self.lex.encoding, client)
    }

    pub(super) fn rewrite_rejected(&mut self, sqlstate: &[u8]) {
        let sqlstate = String::from_utf8_lossy(sqlstate);
        self.shared.metrics.rewrite_rejected(&sqlstate);
        tracing::warn!(target: targets::REWRITE, session = self.facts.id, database = %self.facts.database, %sqlstate,
            "the server refused a rewritten statement");
    }

    /// The queue and the server disagree: nothing that follows could be trusted.
    pub(super) fn desynced(&mut self, client: &mut Out, tag: u8, what: &'static str) {
        self.shared.metrics.sessions_desynced.increment(1);
        self.shared.metrics.protocol_error(ErrorSource::Server);
        tracing::error!(target: targets::SESSION, session = self.facts.id, tag = %char::from(tag),
            outstanding = ?self.queue.head().map(|h| h.kind), what, "closing: server and proxy disagree");
        self.close_with(client, "08P01", "staleguard lost step with the server and closed the connection");
    }

    /// Ends the session with a FATAL error of the proxy's own.
    pub(super) fn close_with(&mut self, client: &mut Out, sqlstate: &str, message: &str) {
        self.release_held(client);
        super::fatal(client, sqlstate, message);
        self.fatal = true;
        self.closing = true;
        self.wait = None;
    }
}

fn map_position(
    tag: u8,
    body: &[u8],
    text: &[u8],
    rendered: &Rendered,
    encoding: Encoding,
    client: &mut Out,
) -> Fate {
    let Some(fields) = read_error_fields(body) else { return Fate::Forward };
    let Some(position) = fields.position() else { return Fate::Forward };
    let mapped = rendered.map.original_position(&rendered.text, text, position, encoding);
    let mut changes: SmallVec<[(u8, Option<Vec<u8>>); 2]> = SmallVec::new();
    changes.push((b'P', mapped.map(|p| p.to_string().into_bytes())));
    // The parser tripped over a piece of ours that closes what the client left open (`WHERE id =`): the client's
    // own text has something else there, or its end.
    let near = fields.get(b'M').is_some_and(|m| m.starts_with(b"syntax error at or near "));
    if near
        && rendered.map.is_inserted(&rendered.text, position, encoding)
        && (text.is_ascii() || encoding == Encoding::Utf8)
        && let Some(mapped) = mapped
        && let Ok(readable) = std::str::from_utf8(text)
    {
        // Positions count characters.
        let offset = readable.char_indices().nth(mapped.saturating_sub(1)).map_or(text.len(), |(i, _)| i);
        let (at, message) = syntax_error_at(text, offset);
        let position = readable.get(..at).map_or(at, |before| before.chars().count()) + 1;
        changes.clear();
        changes.push((b'P', Some(position.to_string().into_bytes())));
        changes.push((b'M', Some(message.into_bytes())));
    }
    if edit::error_with(client.as_bytes_mut(), tag, &fields, &changes) { Fate::Gone } else { Fate::Forward }
}

/// Place and wording of a syntax error at the first token at or behind `offset`.
fn syntax_error_at(text: &[u8], offset: usize) -> (usize, String) {
    let tokens = lex(text, &LexOptions::default()).map(|t| t.tokens).unwrap_or_default();
    match tokens.iter().find(|t| t.start as usize >= offset) {
        Some(token) => {
            let near = String::from_utf8_lossy(token.text(text)).into_owned();
            (token.start as usize, format!("syntax error at or near \"{near}\""))
        }
        None => (text.len(), "syntax error at end of input".to_owned()),
    }
}

/// Forwards the server's complaint about a Bind ("bind message has 3 result formats but query has 4 columns")
/// with the client's own counts: the first and the last number of the message. False if it is no such complaint.
pub(super) fn own_counts(body: &[u8], surplus: (usize, usize), client: &mut Out) -> bool {
    let Some(fields) = read_error_fields(body).filter(|f| surplus.1 > 0 && f.sqlstate() == Some(b"08P01"))
    else {
        return false;
    };
    let Some(message) = fields.get(b'M').and_then(|m| std::str::from_utf8(m).ok()) else { return false };
    let mut words: Vec<String> = message.split(' ').map(str::to_owned).collect();
    let number = |word: &String| word.parse::<usize>().is_ok();
    let (first, last) = (words.iter().position(number), words.iter().rposition(number));
    let places = [(first, surplus.0), (last.filter(|_| first != last), surplus.1)];
    for (place, surplus) in places {
        if let Some(word) = place.and_then(|i| words.get_mut(i)) {
            *word = word.parse::<usize>().unwrap_or_default().saturating_sub(surplus).to_string();
        }
    }
    let message = words.join(" ").into_bytes();
    edit::error_with(client.as_bytes_mut(), back::ERROR, &fields, &[(b'M', Some(message))])
}

/// Severity FATAL or PANIC: the server ends the session of its own accord.
pub(super) fn is_fatal(body: &[u8]) -> bool {
    read_error_fields(body)
        .and_then(|f| f.get(b'V').or_else(|| f.get(b'S')).map(|s| s == b"FATAL" || s == b"PANIC"))
        .unwrap_or(false)
}
