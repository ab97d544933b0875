//! SQL text as bytes: tokens, clauses, literals, prefilter, splicing.
//!
//! Knows no network and no versions. Statements stay bytes in the client's encoding; nothing here ever
//! prints a statement back, it only names byte offsets in it.
//!
//! The way of a text: [`prefilter`] tells from the bytes whether it matters; [`lexer`] reads its tokens;
//! [`split`] names its statements; [`ident`] and [`keys`] tell what names and literals mean; [`splice`] puts the
//! edits in and maps error positions back.

pub mod assignments;
pub mod clauses;
pub mod code;
pub mod columns;
pub mod condition;
pub mod encoding;
pub mod from;
pub mod ident;
pub mod keys;
pub mod lexer;
pub mod operand;
pub mod prefilter;
pub mod relation;
pub mod select_list;
pub mod splice;
pub mod split;
pub mod tags;
pub mod token;
