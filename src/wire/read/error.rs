//! ErrorResponse and NoticeResponse, which share one layout.
//!
//! Field codes: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.

use super::Cursor;

/// The fields of an error or notice, in the order they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// Field code and value without its NUL.
    pub fields: Vec<(u8, &'a [u8])>,
}

impl std::fmt::Debug for ErrorFields<'_> {
    /// The SQLSTATE and which fields there are; messages and details can quote rows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let codes: String = self.fields.iter().map(|(code, _)| char::from(*code)).collect();
        let sqlstate = self.sqlstate().map(String::from_utf8_lossy);
        f.debug_struct("ErrorFields").field("sqlstate", &sqlstate).field("codes", &codes).finish()
    }
}

impl<'a> ErrorFields<'a> {
    /// Reads the body of an ErrorResponse or NoticeResponse.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut c = Cursor(body);
        let mut fields = Vec::new();
        loop {
            match c.u8()? {
                0 => break,
                code => fields.push((code, c.cstr()?)),
            }
        }
        c.end()?;
        Some(ErrorFields { fields })
    }

    /// The value of the first field with this code.
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.fields.iter().find(|(c, _)| *c == code).map(|(_, value)| *value)
    }

    /// ERROR, FATAL, WARNING ..: untranslated (`V`) where the server sends that, else as translated (`S`).
    pub fn severity(&self) -> Option<&'a [u8]> {
        self.get(b'V').or_else(|| self.get(b'S'))
    }

    /// The five characters of the SQLSTATE (`C`).
    pub fn sqlstate(&self) -> Option<&'a [u8]> {
        self.get(b'C')
    }

    /// Where in the statement's text the error is (`P`), in characters, counted from 1.
    pub fn position(&self) -> Option<usize> {
        std::str::from_utf8(self.get(b'P')?).ok()?.parse().ok()
    }
}

/// Reads the body of an ErrorResponse or NoticeResponse; the same as [`ErrorFields::parse`].
pub fn read_error_fields(body: &[u8]) -> Option<ErrorFields<'_>> {
    ErrorFields::parse(body)
}
