//! What servers send, errors apart.

use super::{Cursor, Values, ValuesIter};

/// One column of a RowDescription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The column's name, in the client's encoding.
    pub name: Box<[u8]>,
    /// OID of the table that the column comes from, 0 if from none.
    pub table_oid: u32,
    /// Attribute number in that table, 0 if from none.
    pub attnum: i16,
    /// OID of the data type.
    pub type_oid: u32,
    /// Size of the data type in bytes, negative if variable (`pg_type.typlen`).
    pub type_len: i16,
    /// Type modifier (`pg_attribute.atttypmod`).
    pub type_mod: i32,
    /// Format of the values: 0 text, 1 binary; always 0 where a statement is described and formats are unknown.
    pub format: i16,
}

/// Bytes of a RowDescription field behind its name.
pub(in crate::wire) const FIELD_TAIL: usize = 18;

/// Reads the body of a RowDescription.
pub fn read_row_description(body: &[u8]) -> Option<Vec<Field>> {
    let mut c = Cursor(body);
    let count = c.u16()?;
    // A name is at least its NUL, so a count that the bytes cannot hold reserves no memory.
    let possible = c.0.len() / (FIELD_TAIL + 1);
    let mut fields = Vec::with_capacity(usize::from(count).min(possible));
    for _ in 0..count {
        fields.push(Field {
            name: c.cstr()?.into(),
            table_oid: c.u32()?,
            attnum: c.i16()?,
            type_oid: c.u32()?,
            type_len: c.i16()?,
            type_mod: c.i32()?,
            format: c.i16()?,
        });
    }
    c.end()?;
    Some(fields)
}

/// A DataRow: the values of one row, checked and not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRow<'a> {
    values: Values<'a>,
}

impl<'a> DataRow<'a> {
    /// How many fields there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The fields in their order; `None` is NULL.
    pub fn fields(&self) -> ValuesIter<'a> {
        self.values.iter()
    }
}

/// Reads the body of a DataRow.
pub fn read_data_row(body: &[u8]) -> Option<DataRow<'_>> {
    let mut c = Cursor(body);
    let count = c.u16()?;
    let values = Values::take(&mut c, count)?;
    c.end()?;
    Some(DataRow { values })
}

/// Reads the body of a CommandComplete: the command tag without its NUL.
pub fn read_command_complete(body: &[u8]) -> Option<&[u8]> {
    let mut c = Cursor(body);
    let tag = c.cstr()?;
    c.end()?;
    Some(tag)
}

/// The row count of a command tag, its last word: 3 of `UPDATE 3`, 1 of `INSERT 0 1`; `None` of `BEGIN`.
pub fn rows_of_tag(tag: &[u8]) -> Option<u64> {
    let (_, digits) = tag.split_at_checked(memchr::memrchr(b' ', tag)? + 1)?;
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads the body of a ReadyForQuery: the transaction status, `b'I'` idle, `b'T'` in a transaction, `b'E'` in a
/// failed one.
pub fn read_ready(body: &[u8]) -> Option<u8> {
    match body {
        &[status @ (b'I' | b'T' | b'E')] => Some(status),
        _ => None,
    }
}

/// Reads the body of a ParameterStatus: name and value.
pub fn read_parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut c = Cursor(body);
    let pair = (c.cstr()?, c.cstr()?);
    c.end()?;
    Some(pair)
}

/// Reads the body of a ParameterDescription: the type OID of each parameter.
pub fn read_parameter_description(body: &[u8]) -> Option<Vec<u32>> {
    let mut c = Cursor(body);
    let count = c.u16()?;
    let oids = c.items(count)?;
    c.end()?;
    Some(oids.iter().map(|b| u32::from_be_bytes(*b)).collect())
}

/// What a client needs to cancel a query on a connection: BackendKeyData, and what a CancelRequest repeats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyData<'a> {
    /// The server's process id.
    pub pid: u32,
    /// The secret: 4 bytes in protocol 3.0, up to 256 since 3.2.
    pub secret: &'a [u8],
}

impl std::fmt::Debug for KeyData<'_> {
    /// Leaves the secret out: who has it can cancel the session's queries.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyData").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Reads the body of a BackendKeyData.
pub fn read_key_data(body: &[u8]) -> Option<KeyData<'_>> {
    let mut c = Cursor(body);
    let pid = c.u32()?;
    (4..=256).contains(&c.0.len()).then_some(KeyData { pid, secret: c.0 })
}

/// An Authentication message. Its data is a challenge, or the names of SASL mechanisms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Authentication<'a> {
    /// 0 success, 3 password, 5 md5, 10 SASL, 11 SASL continue, 12 SASL final; others exist.
    pub kind: u32,
    /// What follows the kind.
    pub data: &'a [u8],
}

impl std::fmt::Debug for Authentication<'_> {
    /// Leaves the data out: challenges do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Reads the body of an Authentication message of any kind.
pub fn read_authentication(body: &[u8]) -> Option<Authentication<'_>> {
    let mut c = Cursor(body);
    Some(Authentication { kind: c.u32()?, data: c.0 })
}
