//! Puts pieces of SQL into a text at byte offsets, and finds the way back for error positions.

use bytes::BufMut;
use smallvec::SmallVec;

use super::encoding::Encoding;

/// Text put in the place of `remove` bytes at byte `at`. Never a re-printed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Byte offset in the whole text.
    pub at: usize,
    /// How many of the client's bytes it takes the place of; 0 for an insertion.
    pub remove: usize,
    /// What goes there.
    pub insert: Box<str>,
}

impl Edit {
    /// An insertion at byte `at`.
    pub fn insert(at: usize, insert: impl Into<Box<str>>) -> Self {
        Self { at, remove: 0, insert: insert.into() }
    }
}

/// Edits that cannot be applied: a bug of the rewriter, never of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// Not sorted, or one edit begins inside what another removes.
    #[error("the edit at byte {0} is out of order or overlaps the one before it")]
    Order(usize),
    /// Outside of the text.
    #[error("the edit at byte {0} reaches behind the end of the text")]
    Range(usize),
}

/// What a rewritten text has where: small, without the texts themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpliceMap(SmallVec<[Piece; 4]>);

/// One edit without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    at: u32,
    removed: u32,
    inserted: u32,
}

/// The edits of two lists, each sorted, in one sorted order; at the same place those of `first` go first.
pub fn merge<'e>(first: &'e [Edit], second: &'e [Edit]) -> SmallVec<[&'e Edit; 8]> {
    let mut all: SmallVec<[&Edit; 8]> = first.iter().chain(second).collect();
    all.sort_by_key(|e| e.at);
    all
}

/// Applies `edits`, which must be sorted by place and disjoint (several insertions at one place go in order).
///
/// # Errors
/// If the edits are not in order or do not fit the text.
pub fn apply(text: &[u8], edits: &[Edit]) -> Result<(Vec<u8>, SpliceMap), SpliceError> {
    let mut out = Vec::with_capacity(text.len() + edits.iter().map(|e| e.insert.len()).sum::<usize>());
    let map = apply_into(text, edits, &mut out)?;
    Ok((out, map))
}

/// Like [`apply`], at the end of `out`. On an error a part of the text may have been written.
///
/// # Errors
/// If the edits are not in order or do not fit the text.
pub fn apply_into<'e>(
    text: &[u8],
    edits: impl IntoIterator<Item = &'e Edit>,
    out: &mut impl BufMut,
) -> Result<SpliceMap, SpliceError> {
    let mut map = SpliceMap::default();
    let mut done = 0;
    for edit in edits {
        let end = edit.at.checked_add(edit.remove).ok_or(SpliceError::Range(edit.at))?;
        if edit.at < done {
            return Err(SpliceError::Order(edit.at));
        }
        if end > text.len() {
            return Err(SpliceError::Range(edit.at));
        }
        out.put_slice(text.get(done..edit.at).unwrap_or(&[]));
        out.put_slice(edit.insert.as_bytes());
        done = end;
        let size = |n: usize| u32::try_from(n).map_err(|_| SpliceError::Range(edit.at));
        map.0.push(Piece {
            at: size(edit.at)?,
            removed: size(edit.remove)?,
            inserted: size(edit.insert.len())?,
        });
    }
    out.put_slice(text.get(done..).unwrap_or(&[]));
    Ok(map)
}

impl SpliceMap {
    /// True if nothing was changed: positions are the client's own.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where byte `at` of the rewritten text is in the original; a byte of an insertion is at the insertion's place.
    pub fn original_offset(&self, at: usize) -> usize {
        let mut rewritten = 0;
        let mut original = 0;
        for piece in &self.0 {
            let place = piece.at as usize;
            // Where this piece's insertion begins in the rewritten text.
            let begin = rewritten + (place - original);
            if at < begin {
                break;
            }
            if at < begin + piece.inserted as usize {
                return place;
            }
            rewritten = begin + piece.inserted as usize;
            original = place + piece.removed as usize;
        }
        original + (at - rewritten)
    }

    /// Whether a position (as in [`Self::original_position`]) points into an insertion.
    pub fn is_inserted(&self, rewritten: &[u8], position: usize, encoding: Encoding) -> bool {
        let Some(offset) = byte_offset(rewritten, position, encoding) else { return false };
        let mut shift = 0;
        self.0.iter().any(|piece| {
            let begin = piece.at as usize + shift;
            shift = (shift + piece.inserted as usize).saturating_sub(piece.removed as usize);
            (begin..begin + piece.inserted as usize).contains(&offset)
        })
    }

    /// Maps the position field of an ErrorResponse or NoticeResponse (`P`: one-based, in characters of
    /// `rewritten`) to the same place in the client's own text, one-based, in its characters.
    ///
    /// `None` if the position is not in the text, or its characters cannot be counted in this encoding.
    pub fn original_position(
        &self,
        rewritten: &[u8],
        original: &[u8],
        position: usize,
        encoding: Encoding,
    ) -> Option<usize> {
        if encoding == Encoding::Unsafe && !original.is_ascii() {
            return None;
        }
        let offset = byte_offset(rewritten, position, encoding)?;
        let before = original.get(..self.original_offset(offset))?;
        let chars = match encoding {
            Encoding::Utf8 => before.iter().filter(|b| is_char_start(**b)).count(),
            Encoding::SingleByte | Encoding::Unsafe => before.len(),
        };
        Some(chars + 1)
    }
}

/// The byte at a one-based position in characters; `None` if it is not in the text or cannot be counted to.
fn byte_offset(text: &[u8], position: usize, encoding: Encoding) -> Option<usize> {
    let chars = position.checked_sub(1)?;
    match encoding {
        Encoding::Utf8 => utf8_offset(text, chars),
        Encoding::Unsafe if !text.is_ascii() => None,
        Encoding::SingleByte | Encoding::Unsafe => (chars <= text.len()).then_some(chars),
    }
}

fn is_char_start(b: u8) -> bool {
    b & 0xc0 != 0x80
}

/// The byte offset behind `chars` characters; the end of the text counts as a place.
fn utf8_offset(text: &[u8], chars: usize) -> Option<usize> {
    let ends = std::iter::once(text.len());
    text.iter().enumerate().filter(|(_, b)| is_char_start(**b)).map(|(i, _)| i).chain(ends).nth(chars)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn edit(at: usize, remove: usize, insert: &str) -> Edit {
        Edit { at, remove, insert: insert.into() }
    }

    #[test]
    fn texts() {
        for (text, edits, want) in [
            ("abc", vec![], "abc"),
            ("", vec![edit(0, 0, "x")], "x"),
            ("abc", vec![edit(0, 0, "<"), edit(3, 0, ">")], "<abc>"),
            ("abc", vec![edit(1, 0, "1"), edit(1, 0, "2"), edit(1, 1, "3")], "a123c"),
            ("abcd", vec![edit(1, 2, ""), edit(3, 0, "-")], "a-d"),
            ("SET a = 1 WHERE b", vec![edit(9, 0, ", v = t.v + 1")], "SET a = 1, v = t.v + 1 WHERE b"),
        ] {
            let (out, map) = apply(text.as_bytes(), &edits).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), want);
            assert_eq!(map.is_empty(), edits.is_empty());
        }
    }

    #[test]
    fn wrong_edits() {
        for (edits, want) in [
            (vec![edit(2, 0, ""), edit(1, 0, "")], SpliceError::Order(1)),
            (vec![edit(0, 2, ""), edit(1, 0, "")], SpliceError::Order(1)),
            (vec![edit(4, 0, "")], SpliceError::Range(4)),
            (vec![edit(2, 2, "")], SpliceError::Range(2)),
            (vec![edit(1, usize::MAX, "")], SpliceError::Range(1)),
        ] {
            assert_eq!(apply(b"abc", &edits), Err(want));
        }
    }

    #[test]
    fn two_lists_in_one_order() {
        let (a, b) = ([edit(1, 0, "a"), edit(5, 0, "b")], [edit(1, 0, "c"), edit(3, 0, "d")]);
        let order: Vec<_> = merge(&a, &b).into_iter().map(|e| &*e.insert).collect();
        assert_eq!(order, ["a", "c", "d", "b"]);
    }

    /// Marks each character of the rewritten text with the one-based place it is mapped to.
    fn positions(original: &str, edits: &[Edit], encoding: Encoding) -> (String, Vec<usize>) {
        let (out, map) = apply(original.as_bytes(), edits).unwrap();
        let count = if encoding == Encoding::Utf8 {
            String::from_utf8_lossy(&out).chars().count()
        } else {
            out.len()
        };
        let all = (1..=count + 1)
            .map(|p| map.original_position(&out, original.as_bytes(), p, encoding).unwrap())
            .collect();
        assert_eq!(map.original_position(&out, original.as_bytes(), 0, encoding), None);
        assert_eq!(map.original_position(&out, original.as_bytes(), count + 2, encoding), None);
        (String::from_utf8(out).unwrap(), all)
    }

    #[test]
    fn the_way_back() {
        for (original, edits, encoding, want, want_positions) in [
            ("abc", vec![], Encoding::Utf8, "abc", vec![1, 2, 3, 4]),
            ("abc", vec![edit(1, 0, "XY")], Encoding::Utf8, "aXYbc", vec![1, 2, 2, 2, 3, 4]),
            ("abc", vec![edit(3, 0, "XY")], Encoding::Utf8, "abcXY", vec![1, 2, 3, 4, 4, 4]),
            ("abcd", vec![edit(1, 2, "X")], Encoding::Utf8, "aXd", vec![1, 2, 4, 5]),
            ("abcd", vec![edit(1, 2, "")], Encoding::Utf8, "ad", vec![1, 4, 5]),
            (
                "éaü",
                vec![edit(2, 0, "ßx"), edit(3, 0, "y")],
                Encoding::Utf8,
                "éßxayü",
                vec![1, 2, 2, 2, 3, 3, 4],
            ),
            ("éa", vec![edit(2, 0, "x")], Encoding::SingleByte, "éxa", vec![1, 2, 3, 3, 4]),
            ("ab", vec![edit(0, 0, "x"), edit(0, 0, "y")], Encoding::Unsafe, "xyab", vec![1, 1, 1, 2, 3]),
        ] {
            assert_eq!(
                positions(original, &edits, encoding),
                (want.to_owned(), want_positions),
                "{original} {edits:?}"
            );
        }
    }

    #[test]
    fn unknown_encodings_are_not_counted() {
        let (out, map) = apply("é".as_bytes(), &[edit(0, 0, "x")]).unwrap();
        assert_eq!(map.original_position(&out, "é".as_bytes(), 1, Encoding::Unsafe), None);
    }
}
