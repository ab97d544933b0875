//! Received messages written again with one thing changed. Everything else stays byte for byte: names, texts and
//! values may be in any encoding, so nothing passes through a `String`.
//!
//! Every editor appends one whole frame to `out` and returns `true`, or leaves `out` as it was and returns
//! `false` because no sound frame can be made of its arguments: more than 65,535 items, more bytes than a frame
//! holds, a NUL inside a text, or a body that does not follow the protocol.

use bytes::{BufMut, BytesMut};

use super::cursor::Cursor;
use super::frame::{HEADER, MAX_LENGTH_WORD};
use super::read::{Bind, ErrorFields, FIELD_TAIL, Parse};
use super::tag::{back, front};

/// Appends a frame whose body `write` appends; takes everything back if `write` returns `None` or the frame
/// grows too long.
pub(super) fn frame(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut) -> Option<()>) -> bool {
    let start = out.len();
    out.put_u8(tag);
    out.put_u32(0);
    let written = write(out).and_then(|()| {
        let word = u32::try_from(out.len() - start - 1).ok().filter(|w| *w <= MAX_LENGTH_WORD)?;
        out.get_mut(start + 1..start + HEADER)?.copy_from_slice(&word.to_be_bytes());
        Some(())
    });
    if written.is_none() {
        out.truncate(start);
    }
    written.is_some()
}

/// Appends a text and its NUL; `None` if the text has a NUL of its own.
pub(super) fn put_cstr(out: &mut BytesMut, text: &[u8]) -> Option<()> {
    if memchr::memchr(0, text).is_some() {
        return None;
    }
    out.put_slice(text);
    out.put_u8(0);
    Some(())
}

/// Appends a count word, unsigned as the server reads it.
pub(super) fn put_count(out: &mut BytesMut, count: usize) -> Option<()> {
    out.put_u16(u16::try_from(count).ok()?);
    Some(())
}

/// Appends a value with its length word; `None` is NULL.
pub(super) fn put_value(out: &mut BytesMut, value: Option<&[u8]>) -> Option<()> {
    match value {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).ok()?);
            out.put_slice(bytes);
        }
    }
    Some(())
}

/// A Parse with another text, its name and declared types as they were.
#[must_use]
pub fn parse_with_text(out: &mut BytesMut, parse: &Parse<'_>, new_text: &[u8]) -> bool {
    frame(out, front::PARSE, |out| {
        put_cstr(out, parse.name)?;
        put_cstr(out, new_text)?;
        put_count(out, parse.oids.len())?;
        out.put_slice(parse.oids.0.as_flattened());
        Some(())
    })
}

/// A Query with this text.
#[must_use]
pub fn query_with_text(out: &mut BytesMut, text: &[u8]) -> bool {
    frame(out, front::QUERY, |out| put_cstr(out, text))
}

/// A parameter that the proxy adds to a Bind, in the encodings that it can be had in. With neither it is NULL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedParam<'a> {
    /// The value as text.
    pub text: Option<&'a [u8]>,
    /// The value in the type's binary format.
    pub binary: Option<&'a [u8]>,
}

impl<'a> AddedParam<'a> {
    /// NULL.
    pub const NULL: AddedParam<'static> = AddedParam { text: None, binary: None };

    /// Whether the value can travel under this format code; NULL can under any.
    fn fits(&self, format: i16) -> bool {
        match format {
            0 => self.text.is_some() || self.binary.is_none(),
            1 => self.binary.is_some() || self.text.is_none(),
            // The server knows no further formats, and refuses even a NULL in them.
            _ => false,
        }
    }

    fn value(&self, format: i16) -> Option<&'a [u8]> {
        if format == 1 { self.binary } else { self.text }
    }
}

/// A Bind with parameters added behind the client's own, and result columns hidden behind the visible ones.
///
/// Formats of the added parameters follow the client's: no codes mean text and one code means that one, as long
/// as every added value can be had in it; else, and where the client sent a code for each parameter, each added
/// parameter gets a code of its own.
///
/// `added_result_columns` is `(visible, hidden)`: how many columns the client knows of and how many were added to
/// the statement. No result code or one code covers all columns and is left alone; codes for each column get
/// `hidden` text codes more. `visible` is not checked against the codes: if they differ, the server says so.
#[must_use]
pub fn bind_with(
    out: &mut BytesMut,
    bind: &Bind<'_>,
    added_params: &[AddedParam<'_>],
    added_result_columns: Option<(usize, usize)>,
) -> bool {
    frame(out, front::BIND, |out| {
        put_cstr(out, bind.portal)?;
        put_cstr(out, bind.statement)?;
        let total = bind.params.len() + added_params.len();

        // The one format that covers the client's and the added parameters alike, if there is one.
        let common = match bind.param_formats.len() {
            0 => Some(0),
            1 => bind.param_formats.get(0),
            _ => None,
        }
        .filter(|format| added_params.iter().all(|p| p.fits(*format)));
        let own_format = |p: &AddedParam<'_>| i16::from(p.text.is_none() && p.binary.is_some());
        if common.is_some() || added_params.is_empty() {
            put_count(out, bind.param_formats.len())?;
            out.put_slice(bind.param_formats.0.as_flattened());
        } else if bind.param_formats.len() > 1 {
            // Too few or too many stay so: the server's to refuse.
            put_count(out, bind.param_formats.len().checked_add(added_params.len())?)?;
            out.put_slice(bind.param_formats.0.as_flattened());
            added_params.iter().for_each(|p| out.put_i16(own_format(p)));
        } else {
            put_count(out, total)?;
            (0..bind.params.len()).for_each(|i| out.put_i16(bind.param_format(i)));
            added_params.iter().for_each(|p| out.put_i16(own_format(p)));
        }

        put_count(out, total)?;
        out.put_slice(bind.params.raw());
        for p in added_params {
            put_value(out, p.value(common.unwrap_or_else(|| own_format(p))))?;
        }

        let codes = bind.result_formats.len();
        let hidden = match added_result_columns {
            Some((_, hidden)) if codes > 1 => hidden,
            _ => 0,
        };
        put_count(out, codes.checked_add(hidden)?)?;
        out.put_slice(bind.result_formats.0.as_flattened());
        out.put_bytes(0, hidden * 2);
        Some(())
    })
}

/// A Bind of the same parameters and formats, to another portal and statement.
#[must_use]
pub fn bind_to(out: &mut BytesMut, bind: &Bind<'_>, portal: &[u8], statement: &[u8]) -> bool {
    bind_with(out, &Bind { portal, statement, ..*bind }, &[], None)
}

/// A RowDescription without its last `hidden` columns.
#[must_use]
pub fn row_description_strip(out: &mut BytesMut, body: &[u8], hidden: usize) -> bool {
    strip(out, back::ROW_DESCRIPTION, body, hidden, |c| {
        c.cstr()?;
        c.bytes(FIELD_TAIL).map(|_| ())
    })
}

/// A DataRow without its last `hidden` fields.
#[must_use]
pub fn data_row_strip(out: &mut BytesMut, body: &[u8], hidden: usize) -> bool {
    strip(out, back::DATA_ROW, body, hidden, |c| c.value().map(|_| ()))
}

/// A ParameterDescription without its last `hidden` parameters.
#[must_use]
pub fn parameter_description_strip(out: &mut BytesMut, body: &[u8], hidden: usize) -> bool {
    strip(out, back::PARAMETER_DESCRIPTION, body, hidden, |c| c.u32().map(|_| ()))
}

/// Writes a counted list without its last `hidden` items: one walk over the items, one copy.
fn strip(
    out: &mut BytesMut,
    tag: u8,
    body: &[u8],
    hidden: usize,
    skip: impl Fn(&mut Cursor<'_>) -> Option<()>,
) -> bool {
    let Some((count, items)) = visible(body, hidden, skip) else { return false };
    frame(out, tag, |out| {
        out.reserve(2 + items.len());
        out.put_u16(count);
        out.put_slice(items);
        Some(())
    })
}

/// The number and the bytes of a counted list's items but for the last `hidden`; `skip` steps over one item.
/// Walks to the end, so that a list with a broken tail is refused as a whole.
fn visible(body: &[u8], hidden: usize, skip: impl Fn(&mut Cursor<'_>) -> Option<()>) -> Option<(u16, &[u8])> {
    let mut c = Cursor(body);
    let count = c.u16()?;
    let visible = count.checked_sub(u16::try_from(hidden).ok()?)?;
    let items = c.0;
    (0..visible).try_for_each(|_| skip(&mut c))?;
    let kept = items.get(..items.len() - c.0.len())?;
    (visible..count).try_for_each(|_| skip(&mut c))?;
    c.end()?;
    Some((visible, kept))
}

/// An error or notice (`tag`) with fields changed: a value replaces the field or is added behind the others, no
/// value drops the field. Fields that `changes` does not name keep their bytes and their order.
///
/// Where `changes` names a code twice the first counts; where the message has a code twice both are changed.
#[must_use]
pub fn error_with(
    out: &mut BytesMut,
    tag: u8,
    fields: &ErrorFields<'_>,
    changes: &[(u8, Option<Vec<u8>>)],
) -> bool {
    let put = |out: &mut BytesMut, code: u8, value: &[u8]| {
        // A zero code would end the message.
        if code == 0 {
            return None;
        }
        out.put_u8(code);
        put_cstr(out, value)
    };
    frame(out, tag, |out| {
        for (code, value) in &fields.fields {
            match changes.iter().find(|(changed, _)| changed == code) {
                None => put(out, *code, value)?,
                Some((_, Some(new))) => put(out, *code, new)?,
                Some((_, None)) => {}
            }
        }
        for (i, (code, value)) in changes.iter().enumerate() {
            let named_before = changes.iter().take(i).any(|(c, _)| c == code);
            if let (Some(new), None, false) = (value, fields.get(*code), named_before) {
                put(out, *code, new)?;
            }
        }
        out.put_u8(0);
        Some(())
    })
}

#[cfg(test)]
mod tests;
