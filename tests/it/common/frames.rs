//! Frontend messages as bytes, and backend messages as tag and body.
//!
//! Written from the protocol's page "Message Formats", by hand: a test must be able to send what no library
//! would.

use std::fmt;

/// One backend message.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type byte.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", char::from(self.tag), self.body.escape_ascii())
    }
}

impl Frame {
    /// A field of an ErrorResponse or NoticeResponse: `C` the SQLSTATE, `M` the message, `P` the position.
    pub fn field(&self, code: char) -> Option<String> {
        let fields = self.body.split(|b| *b == 0).filter(|f| !f.is_empty());
        let mut of_code = fields.filter(|f| char::from(f[0]) == code);
        of_code.next().map(|f| String::from_utf8_lossy(&f[1..]).into_owned())
    }

    /// The text of a CommandComplete.
    pub fn command(&self) -> String {
        String::from_utf8_lossy(self.body.strip_suffix(&[0]).unwrap_or(&self.body)).into_owned()
    }

    /// The values of a DataRow, `None` for NULL.
    pub fn values(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.tag, b'D', "not a row: {self:?}");
        let mut rest = &self.body[2..];
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut next = || {
            let (len, tail) = rest.split_first_chunk::<4>().expect("a value's length");
            let len = i32::from_be_bytes(*len);
            let (value, tail) = tail.split_at(usize::try_from(len).unwrap_or(0));
            rest = tail;
            (len >= 0).then(|| value.to_vec())
        };
        (0..count).map(|_| next()).collect()
    }

    /// The values of a DataRow as text; NULL is `NULL`.
    pub fn texts(&self) -> Vec<String> {
        let text = |v: Option<Vec<u8>>| v.map_or("NULL".into(), |v| String::from_utf8_lossy(&v).into_owned());
        self.values().into_iter().map(text).collect()
    }

    /// Names and (table OID, attribute number) of a RowDescription's columns.
    pub fn columns(&self) -> Vec<(String, (u32, i16))> {
        assert_eq!(self.tag, b'T', "not a row description: {self:?}");
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some(end) = rest.iter().position(|b| *b == 0) {
            let name = String::from_utf8_lossy(&rest[..end]).into_owned();
            let f = &rest[end + 1..end + 19];
            let origin = (u32::from_be_bytes(f[..4].try_into().unwrap()), i16::from_be_bytes([f[4], f[5]]));
            columns.push((name, origin));
            rest = &rest[end + 19..];
        }
        columns
    }
}

/// A message with a type byte.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(untyped(body));
    out
}

/// A message of the startup phase: no type byte.
pub fn untyped(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 4).to_be_bytes().to_vec();
    out.extend(body);
    out
}

/// StartupMessage of protocol 3.0.
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(zero(name));
        body.extend(zero(value));
    }
    body.push(0);
    untyped(&body)
}

/// SSLRequest.
pub fn ssl_request() -> Vec<u8> {
    untyped(&80_877_103_u32.to_be_bytes())
}

/// GSSENCRequest.
pub fn gssenc_request() -> Vec<u8> {
    untyped(&80_877_104_u32.to_be_bytes())
}

/// CancelRequest with the body of a BackendKeyData.
pub fn cancel_request(key: &[u8]) -> Vec<u8> {
    untyped(&[&80_877_102_u32.to_be_bytes(), key].concat())
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &zero(sql))
}

/// Parse.
pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [zero(name), zero(sql)].concat();
    body.extend((types.len() as u16).to_be_bytes());
    body.extend(types.iter().flat_map(|t| t.to_be_bytes()));
    message(b'P', &body)
}

/// Bind of text parameters, results in text.
pub fn bind(statement: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|v| Some(v.as_bytes())).collect();
    bind_raw("", statement, &[], &values, &[])
}

/// Bind with everything it has.
pub fn bind_raw(
    portal: &str,
    statement: &str,
    formats: &[u16],
    values: &[Option<&[u8]>],
    results: &[u16],
) -> Vec<u8> {
    let list = |codes: &[u16]| {
        let count = (codes.len() as u16).to_be_bytes();
        count.into_iter().chain(codes.iter().flat_map(|c| c.to_be_bytes())).collect::<Vec<u8>>()
    };
    let mut body = [zero(portal), zero(statement), list(formats)].concat();
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend(value.map_or(-1, |v| v.len() as i32).to_be_bytes());
        body.extend(value.unwrap_or(&[]));
    }
    body.extend(list(results));
    message(b'B', &body)
}

/// Describe of a statement (`S`) or portal (`P`).
pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', &[vec![kind as u8], zero(name)].concat())
}

/// Execute; 0 for all rows.
pub fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    message(b'E', &[&zero(portal)[..], &max_rows.to_be_bytes()].concat())
}

/// Close of a statement (`S`) or portal (`P`).
pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', &[vec![kind as u8], zero(name)].concat())
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

/// PasswordMessage, or another answer to an authentication request.
pub fn password(text: &str) -> Vec<u8> {
    message(b'p', &zero(text))
}

/// CopyData.
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

/// CopyFail.
pub fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &zero(reason))
}

/// FunctionCall with binary arguments and a binary result.
pub fn function_call(oid: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 1, 0, 1]);
    body.extend((arguments.len() as u16).to_be_bytes());
    for argument in arguments {
        body.extend((argument.len() as u32).to_be_bytes());
        body.extend(*argument);
    }
    body.extend([0, 1]);
    message(b'F', &body)
}

fn zero(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
