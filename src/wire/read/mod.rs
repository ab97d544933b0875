//! Views of message bodies, without copies. A body is what follows the frame's 5-byte header.
//!
//! Readers are as strict as the server: a body with bytes missing or left over, or with a NUL inside a text, is
//! `None`. The server refuses such a message by itself, so the caller forwards the frame as it came and the
//! error that the client sees is the server's own.

mod back;
mod error;
mod front;

pub use back::{
    Authentication, DataRow, Field, KeyData, read_authentication, read_command_complete, read_data_row,
    read_key_data, read_parameter_description, read_parameter_status, read_ready, read_row_description,
    rows_of_tag,
};
pub use error::{ErrorFields, read_error_fields};
pub use front::{
    Bind, Execute, Parse, Target, read_bind, read_bind_names, read_close, read_describe, read_execute,
    read_parse, read_query,
};

pub(super) use back::FIELD_TAIL;

use super::cursor::Cursor;

/// A list of type OIDs, as Parse carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OidList<'a>(pub(super) &'a [[u8; 4]]);

impl<'a> OidList<'a> {
    /// How many OIDs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The OID at `i`, counted from 0; 0 as a value means that the client left the type to the server.
    pub fn get(&self, i: usize) -> Option<u32> {
        self.0.get(i).map(|b| u32::from_be_bytes(*b))
    }

    /// All OIDs in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().map(|b| u32::from_be_bytes(*b))
    }
}

/// A list of format codes (0 text, 1 binary), as Bind carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct I16List<'a>(pub(super) &'a [[u8; 2]]);

impl<'a> I16List<'a> {
    /// How many codes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The code at `i`, counted from 0.
    pub fn get(&self, i: usize) -> Option<i16> {
        self.0.get(i).map(|b| i16::from_be_bytes(*b))
    }

    /// All codes in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i16> + use<'a> {
        self.0.iter().map(|b| i16::from_be_bytes(*b))
    }

    /// The code that applies to item `i`: no codes mean text for all, one code means that one for all.
    pub fn applied(&self, i: usize) -> i16 {
        match self.0 {
            [] => 0,
            [all] => i16::from_be_bytes(*all),
            _ => self.get(i).unwrap_or(0),
        }
    }
}

/// Values one behind the other, as Bind and DataRow carry them; already checked, so walking them cannot fail.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Values<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl std::fmt::Debug for Values<'_> {
    /// Only the count: parameters and rows do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<'a> Values<'a> {
    /// Takes `count` values from the cursor; `None` if they are not all there.
    fn take(cursor: &mut Cursor<'a>, count: u16) -> Option<Self> {
        let start = cursor.0;
        for _ in 0..count {
            cursor.value()?;
        }
        let bytes = start.get(..start.len() - cursor.0.len())?;
        Some(Values { count, bytes })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value at `i`, counted from 0. The outer `None` means there is no such value, the inner one NULL.
    /// Walks from the start: to look at many, use [`Values::iter`].
    pub fn get(&self, i: usize) -> Option<Option<&'a [u8]>> {
        self.iter().nth(i)
    }

    /// All values in their order; `None` is NULL.
    pub fn iter(&self) -> ValuesIter<'a> {
        ValuesIter { left: self.count, cursor: Cursor(self.bytes) }
    }

    /// The values as they stand on the wire, lengths included.
    pub(super) fn raw(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for Values<'a> {
    type Item = Option<&'a [u8]>;
    type IntoIter = ValuesIter<'a>;

    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

/// Walks [`Values`].
#[derive(Clone)]
pub struct ValuesIter<'a> {
    left: u16,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.value()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for ValuesIter<'_> {}

#[cfg(test)]
mod tests;
