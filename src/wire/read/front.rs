//! What clients send.

use super::{Cursor, I16List, OidList, Values};

/// A Parse message: a statement to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The statement's text, without its NUL, in the client's encoding.
    pub text: &'a [u8],
    /// Parameter types that the client declared, possibly fewer than the text has.
    pub oids: OidList<'a>,
}

/// Reads the body of a Parse.
pub fn read_parse(body: &[u8]) -> Option<Parse<'_>> {
    let mut c = Cursor(body);
    let (name, text) = (c.cstr()?, c.cstr()?);
    let count = c.u16()?;
    let oids = OidList(c.items(count)?);
    c.end()?;
    Some(Parse { name, text, oids })
}

/// Reads the body of a Query: its text without the NUL that ends it.
pub fn read_query(body: &[u8]) -> Option<&[u8]> {
    let mut c = Cursor(body);
    let text = c.cstr()?;
    c.end()?;
    Some(text)
}

/// A Bind message: a statement and its parameters become a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement's name; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Format codes of the parameters: none, one for all, or one for each.
    pub param_formats: I16List<'a>,
    /// The parameters' values.
    pub params: Values<'a>,
    /// Format codes of the result columns: none, one for all, or one for each.
    pub result_formats: I16List<'a>,
}

impl<'a> Bind<'a> {
    /// How many parameters there are.
    pub fn param_count(&self) -> usize {
        self.params.len()
    }

    /// The value of parameter `i`, counted from 0; the inner `None` is NULL.
    pub fn param(&self, i: usize) -> Option<Option<&'a [u8]>> {
        self.params.get(i)
    }

    /// The format of parameter `i`, counted from 0: 0 text, 1 binary.
    pub fn param_format(&self, i: usize) -> i16 {
        self.param_formats.applied(i)
    }

    /// The format asked for result column `i`, counted from 0: 0 text, 1 binary.
    pub fn result_format(&self, i: usize) -> i16 {
        self.result_formats.applied(i)
    }
}

/// Reads the body of a Bind. As the server does, refuses two or more parameter formats that are not one for each
/// parameter.
pub fn read_bind(body: &[u8]) -> Option<Bind<'_>> {
    let mut c = Cursor(body);
    let (portal, statement) = (c.cstr()?, c.cstr()?);
    let count = c.u16()?;
    let param_formats = I16List(c.items(count)?);
    let count = c.u16()?;
    let params = Values::take(&mut c, count)?;
    let count = c.u16()?;
    let result_formats = I16List(c.items(count)?);
    c.end()?;
    if param_formats.len() > 1 && param_formats.len() != params.len() {
        return None;
    }
    Some(Bind { portal, statement, param_formats, params, result_formats })
}

/// The portal and the statement of a Bind of which the beginning is there.
pub fn read_bind_names(start: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut c = Cursor(start);
    Some((c.cstr()?, c.cstr()?))
}

/// What a Describe or a Close is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// `b'S'` for a statement, `b'P'` for a portal.
    pub kind: u8,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

fn read_target(body: &[u8]) -> Option<Target<'_>> {
    let mut c = Cursor(body);
    let kind = c.u8().filter(|k| matches!(k, b'S' | b'P'))?;
    let name = c.cstr()?;
    c.end()?;
    Some(Target { kind, name })
}

/// Reads the body of a Describe.
pub fn read_describe(body: &[u8]) -> Option<Target<'_>> {
    read_target(body)
}

/// Reads the body of a Close.
pub fn read_close(body: &[u8]) -> Option<Target<'_>> {
    read_target(body)
}

/// An Execute message: run a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Stop after so many rows; 0 or less means all.
    pub max_rows: i32,
}

/// Reads the body of an Execute.
pub fn read_execute(body: &[u8]) -> Option<Execute<'_>> {
    let mut c = Cursor(body);
    let (portal, max_rows) = (c.cstr()?, c.i32()?);
    c.end()?;
    Some(Execute { portal, max_rows })
}
