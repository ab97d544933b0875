//! The items of an output list (behind SELECT or RETURNING), and the columns that an expression names.

use std::ops::Range;

use super::code::Code;
use super::token::TokenKind;

/// One output item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// `*`.
    Star,
    /// `t.*`, `s.t.*`.
    TableStar(Name),
    /// A column as it is, with or without a label.
    Column(Name),
    /// Anything else.
    Expression,
}

/// A column or table as named: tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// The schema.
    pub schema: Option<usize>,
    /// The table or alias.
    pub table: Option<usize>,
    /// The column; for `t.*` the star.
    pub column: usize,
}

/// Reads the dotted name at `i`; answers it and the index behind it. A star ends a name.
pub fn dotted(code: Code<'_>, i: usize, end: usize) -> Option<(Name, usize)> {
    if i >= end || !code.is_ident(i) {
        return None;
    }
    let mut name = Name { schema: None, table: None, column: i };
    let mut i = i + 1;
    while i + 1 < end && code.is(i, TokenKind::Dot) {
        let star = code.op(i + 1, b"*");
        if !star && !code.is_ident(i + 1) {
            return None;
        }
        name = Name { schema: name.table, table: Some(name.column), column: i + 1 };
        i += 2;
        if star {
            break;
        }
    }
    Some((name, i))
}

/// What an item is.
pub fn item(code: Code<'_>, range: &Range<usize>) -> Item {
    if code.op(range.start, b"*") && range.len() == 1 {
        return Item::Star;
    }
    let Some((name, next)) = dotted(code, range.start, range.end) else { return Item::Expression };
    if code.op(name.column, b"*") {
        return if next == range.end { Item::TableStar(name) } else { Item::Expression };
    }
    let label = range.end - next;
    let plain = match label {
        0 => true,
        1 => code.is_ident(next),
        2 => code.word(next, "as") && code.is_ident(next + 1),
        _ => false,
    };
    // `date '2020-01-01'`, `CASE x END` and the like are no column with a label; a lone word may still be a
    // constant (`current_date`), which no table has as a column.
    if plain { Item::Column(name) } else { Item::Expression }
}

/// A column that an expression names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The name; its column is a star for a whole row (`to_json(t.*)`).
    pub name: Name,
    /// Inside of this sub-select of the expression: its opening bracket. A bare name there is likely to be
    /// the sub-select's own.
    pub sub_select: Option<usize>,
}

/// The columns that an expression names. Functions, types, labels and keywords are left out where they can be
/// told from columns; what remains and is no column of a table resolves to nothing.
pub fn uses(code: Code<'_>, range: Range<usize>, mut found: impl FnMut(Use)) {
    let mut sub_select: Option<(usize, usize)> = None;
    let mut i = range.start;
    while i < range.end {
        if sub_select.is_some_and(|(_, close)| i >= close) {
            sub_select = None;
        }
        if sub_select.is_none()
            && code.is(i, TokenKind::LParen)
            && code.any_word(i + 1, &["select", "with", "values", "table"])
        {
            sub_select = Some((i, code.close(i)));
        }
        let Some((name, next)) = dotted(code, i, range.end) else {
            i += 1;
            continue;
        };
        if let Some(field) = field_of_row(code, i, next, range.end) {
            found(Use { name: field, sub_select: sub_select.map(|(open, _)| open) });
            i = field.column + 1;
            continue;
        }
        let function = code.is(next, TokenKind::LParen);
        let behind = i.checked_sub(1).filter(|p| *p >= range.start);
        let typed = behind.is_some_and(|p| code.is(p, TokenKind::Cast) || code.word(p, "as"));
        if !function && !typed && (name.table.is_some() || may_begin_operand(code, behind)) {
            found(Use { name, sub_select: sub_select.map(|(open, _)| open) });
        }
        i = next;
    }
}

/// `(t).name`: the name between `i` and `next` stands alone in parentheses and a field follows.
fn field_of_row(code: Code<'_>, i: usize, next: usize, end: usize) -> Option<Name> {
    let bracketed = i.checked_sub(1).is_some_and(|p| code.is(p, TokenKind::LParen))
        && code.is(next, TokenKind::RParen)
        && code.is(next + 1, TokenKind::Dot);
    let column = next + 2;
    (bracketed && next == i + 1 && column < end).then_some(Name { schema: None, table: Some(i), column })
}

/// Words behind which a column may stand. Behind any other word, a closing bracket or a literal, a bare name is a
/// label or part of a type.
const BEFORE_OPERAND: [&str; 27] = [
    "all",
    "and",
    "any",
    "between",
    "by",
    "case",
    "distinct",
    "else",
    "except",
    "for",
    "from",
    "ilike",
    "in",
    "like",
    "not",
    "on",
    "or",
    "select",
    "similar",
    "some",
    "symmetric",
    "then",
    "to",
    "when",
    "where",
    "escape",
    "variadic",
];

fn may_begin_operand(code: Code<'_>, behind: Option<usize>) -> bool {
    let Some(p) = behind else { return true };
    match code.get(p).map(|t| t.kind) {
        Some(
            TokenKind::Op
            | TokenKind::Comma
            | TokenKind::LParen
            | TokenKind::LBracket
            | TokenKind::Colon
            | TokenKind::ColonEquals,
        ) => true,
        Some(TokenKind::Word) => code.any_word(p, &BEFORE_OPERAND) && !code.is_named(p),
        _ => false,
    }
}
