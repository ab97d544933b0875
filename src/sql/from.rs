//! The items of a FROM list.

use std::ops::Range;

use smallvec::SmallVec;

use super::code::{Code, Keyword};
use super::relation::{self, Relation};
use super::token::TokenKind;

/// What a FROM list names on its own level; what stands in brackets (sub-selects, bracketed joins) is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct From {
    /// Tables by name, in order.
    pub relations: SmallVec<[FromRelation; 4]>,
    /// The columns named in `JOIN .. USING (..)`: tokens. They are merged, `*` shows one of each.
    pub using: SmallVec<[usize; 4]>,
    /// A NATURAL join: some columns, one cannot tell which, are merged.
    pub natural: bool,
}

/// A table of a FROM list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromRelation {
    /// The table.
    pub relation: Relation,
    /// Its alias renames columns: `projects AS p (a, b)`.
    pub renames_columns: bool,
}

/// Reads the FROM list that is these tokens (without FROM).
pub fn from(code: Code<'_>, range: Range<usize>) -> From {
    let mut out = From::default();
    let depth = code.depth(range.start);
    let mut i = range.start;
    let mut item = true;
    while i < range.end {
        if code.depth(i) != depth {
            i += 1;
            continue;
        }
        if item {
            item = false;
            i += usize::from(code.word(i, "lateral"));
            if let Some((relation, next)) = relation::item(code, i, range.end) {
                let bracket = next < range.end && code.is(next, TokenKind::LParen);
                // A bracket behind a name without alias makes it a function; `ROWS FROM (..)` is one too.
                let function = bracket && relation.alias.is_none() || code.word(next, "from");
                if !function {
                    out.relations.push(FromRelation { relation, renames_columns: bracket });
                }
                i = next;
                continue;
            }
        }
        if code.is(i, TokenKind::Comma) {
            item = true;
        } else if code.is(i, TokenKind::Word) && !code.is_named(i) {
            match Keyword::of(code.text(i)) {
                Some(Keyword::Join) => item = true,
                Some(Keyword::Natural) => out.natural = true,
                Some(Keyword::Using) if code.is(i + 1, TokenKind::LParen) => {
                    out.using.extend((i + 2..code.close(i + 1)).filter(|n| code.is_ident(*n)));
                }
                _ => {}
            }
        }
        i += 1;
    }
    out
}
