//! Messages that the proxy makes itself.
//!
//! pgwire's types write those whose parts are the proxy's own. Parse, Bind, Describe, Execute, Close and Query
//! are written here: their names and texts are, or contain, the client's bytes in the client's encoding, which
//! pgwire's `String` fields cannot carry, and pgwire refuses Describe, Execute and Close above 10,000 bytes.
//!
//! Builders that can be given bytes no frame can carry (a NUL inside a text, over 65,535 items) then write
//! nothing and return `false`.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::extendedquery::{Flush, Sync};
use pgwire::messages::response::{CommandComplete, ErrorResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::SslRequest;
use pgwire::messages::terminate::Terminate;

use super::edit::{frame, put_count, put_cstr, put_value};
use super::tag::front;

/// Appends a pgwire message, or nothing if pgwire refuses it.
fn encode(out: &mut BytesMut, message: &impl Message) -> bool {
    let start = out.len();
    let written = message.encode(out).is_ok();
    if !written {
        out.truncate(start);
    }
    written
}

/// Parse: prepare `text` as `name`, with the types of its first parameters (0 leaves a type to the server).
#[must_use]
pub fn parse(out: &mut BytesMut, name: &[u8], text: &[u8], oids: &[u32]) -> bool {
    frame(out, front::PARSE, |out| {
        put_cstr(out, name)?;
        put_cstr(out, text)?;
        put_count(out, oids.len())?;
        oids.iter().for_each(|oid| out.put_u32(*oid));
        Some(())
    })
}

/// Bind with parameters (`None` is NULL) and results all in text format.
#[must_use]
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], params: &[Option<&[u8]>]) -> bool {
    bind_formats(out, portal, statement, &[], params, &[])
}

/// Bind with format codes (0 text, 1 binary) as the protocol has them: none means text for all, one means that
/// one for all, else one for each parameter or result column.
#[must_use]
pub fn bind_formats(
    out: &mut BytesMut,
    portal: &[u8],
    statement: &[u8],
    param_formats: &[i16],
    params: &[Option<&[u8]>],
    result_formats: &[i16],
) -> bool {
    if param_formats.len() > 1 && param_formats.len() != params.len() {
        return false;
    }
    frame(out, front::BIND, |out| {
        put_cstr(out, portal)?;
        put_cstr(out, statement)?;
        put_count(out, param_formats.len())?;
        param_formats.iter().for_each(|code| out.put_i16(*code));
        put_count(out, params.len())?;
        for value in params {
            put_value(out, *value)?;
        }
        put_count(out, result_formats.len())?;
        result_formats.iter().for_each(|code| out.put_i16(*code));
        Some(())
    })
}

/// Describe or Close: `kind` is `b'S'` for a statement, `b'P'` for a portal.
fn target(out: &mut BytesMut, tag: u8, kind: u8, name: &[u8]) -> bool {
    frame(out, tag, |out| {
        matches!(kind, b'S' | b'P').then_some(())?;
        out.put_u8(kind);
        put_cstr(out, name)
    })
}

/// Describe a statement (`kind` `b'S'`) or portal (`b'P'`).
#[must_use]
pub fn describe(out: &mut BytesMut, kind: u8, name: &[u8]) -> bool {
    target(out, front::DESCRIBE, kind, name)
}

/// Close a statement (`kind` `b'S'`) or portal (`b'P'`).
#[must_use]
pub fn close(out: &mut BytesMut, kind: u8, name: &[u8]) -> bool {
    target(out, front::CLOSE, kind, name)
}

/// Execute a portal; `max_rows` 0 means all rows.
#[must_use]
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) -> bool {
    frame(out, front::EXECUTE, |out| {
        put_cstr(out, portal)?;
        out.put_i32(max_rows);
        Some(())
    })
}

/// A simple Query.
#[must_use]
pub fn query(out: &mut BytesMut, text: &[u8]) -> bool {
    super::edit::query_with_text(out, text)
}

/// Flush.
pub fn flush(out: &mut BytesMut) {
    encode(out, &Flush::new());
}

/// Sync.
pub fn sync(out: &mut BytesMut) {
    encode(out, &Sync::new());
}

/// Terminate.
pub fn terminate(out: &mut BytesMut) {
    encode(out, &Terminate::new());
}

/// The untagged SSLRequest packet, which any server answers with one byte: the cheapest sign of life.
pub fn ssl_request(out: &mut BytesMut) {
    encode(out, &SslRequest::new());
}

/// ErrorResponse with these fields, in this order. For values that are not UTF-8 see
/// [`error_with`](super::edit::error_with) on empty fields.
#[must_use]
pub fn error_response(out: &mut BytesMut, fields: &[(u8, String)]) -> bool {
    if fields.iter().any(|(code, value)| *code == 0 || value.contains('\0')) {
        return false;
    }
    encode(out, &ErrorResponse::new(fields.to_vec()))
}

/// ReadyForQuery with a transaction status of `b'I'`, `b'T'` or `b'E'`.
#[must_use]
pub fn ready(out: &mut BytesMut, status: u8) -> bool {
    TransactionStatus::try_from(status).is_ok_and(|status| encode(out, &ReadyForQuery::new(status)))
}

/// CommandComplete with this tag, such as `UPDATE 0`.
#[must_use]
pub fn command_complete(out: &mut BytesMut, tag: &str) -> bool {
    !tag.contains('\0') && encode(out, &CommandComplete::new(tag.to_owned()))
}

#[cfg(test)]
mod tests;
