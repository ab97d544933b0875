//! Tells in one pass over the bytes whether a text can matter at all, before anything is tokenised.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use memchr::{memchr, memmem};

/// Whether a text needs a closer look. Never says less than the truth; it may say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Nothing in it: forward the bytes as they are.
    None,
    /// A statement in it begins with a word that changes the session's state or the catalog.
    FirstWord,
    /// It may name a protected table (or calls `set_config`, or holds a `U&"` that could hide a name).
    Protected,
}

/// The words of one database's catalog, compiled.
#[derive(Debug, Clone)]
pub struct Prefilter {
    /// `None` if the words could not be compiled, or one of them cannot be looked for: then every text matters.
    words: Option<AhoCorasick>,
    finder: memmem::Finder<'static>,
}

impl Default for Prefilter {
    fn default() -> Self {
        Self::new([""; 0])
    }
}

impl Prefilter {
    /// A filter for these names, as the server stores them: protected tables, their partitions, views over them,
    /// the identity table.
    ///
    /// Of a name that is not ASCII only its longest ASCII run is looked for, as the client's encoding may differ.
    pub fn new<I>(words: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut patterns = vec!["set_config".to_owned()];
        let mut findable = true;
        for word in words {
            // In a text a quote inside a name is doubled, so it ends the run as well.
            let run = word.as_ref().split(|c: char| !c.is_ascii() || c == '"').max_by_key(|run| run.len());
            match run {
                Some(run) if !run.is_empty() => patterns.push(run.to_owned()),
                _ => findable = false,
            }
        }
        let compiled = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&patterns)
            .or_else(|_| AhoCorasick::builder().ascii_case_insensitive(true).build(&patterns));
        Self { words: compiled.ok().filter(|_| findable), finder: memmem::Finder::new(b"&\"").into_owned() }
    }

    /// What in `text` calls for a closer look.
    pub fn interest(&self, text: &[u8]) -> Interest {
        let named = self.words.as_ref().is_none_or(|words| words.is_match(text));
        if named || self.has_unicode_ident(text) {
            Interest::Protected
        } else if has_first_word(text) {
            Interest::FirstWord
        } else {
            Interest::None
        }
    }

    fn has_unicode_ident(&self, text: &[u8]) -> bool {
        self.finder
            .find_iter(text)
            .any(|at| at.checked_sub(1).and_then(|u| text.get(u)).is_some_and(|b| matches!(b, b'u' | b'U')))
    }
}

/// True if a statement begins with one of the words that count. Semicolons inside of literals count as well.
fn has_first_word(text: &[u8]) -> bool {
    let mut tail = text;
    loop {
        match first_word(tail) {
            Some(word) if is_first_word(word) => return true,
            Some(_) => {}
            None => return true,
        }
        match memchr(b';', tail) {
            Some(n) => tail = tail.get(n + 1..).unwrap_or(&[]),
            None => return false,
        }
    }
}

/// The letters behind whitespace, comments and opening parentheses; empty if something else comes. `None` if a
/// comment does not end.
pub fn first_word(text: &[u8]) -> Option<&[u8]> {
    let mut tail = text;
    loop {
        tail = match tail {
            [b' ' | b'\t'..=b'\r' | b'(', next @ ..] => next,
            [b'-', b'-', comment @ ..] => match memchr::memchr2(b'\n', b'\r', comment) {
                Some(n) => comment.get(n..).unwrap_or(&[]),
                None => &[],
            },
            [b'/', b'*', comment @ ..] => behind_comment(comment)?,
            _ => break,
        };
    }
    let length = tail.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(tail.len());
    tail.get(..length)
}

/// Behind a block comment, whose opening has been read; they nest.
fn behind_comment(comment: &[u8]) -> Option<&[u8]> {
    let mut tail = comment;
    let mut open = 1usize;
    while open > 0 {
        tail = tail.get(memchr::memchr2(b'*', b'/', tail)?..)?;
        tail = match tail {
            [b'*', b'/', next @ ..] => {
                open -= 1;
                next
            }
            [b'/', b'*', next @ ..] => {
                open += 1;
                next
            }
            [_, next @ ..] => next,
            [] => return None,
        };
    }
    Some(tail)
}

/// Words that, as a statement's first, end or begin a transaction, change settings or names, or run or fetch what
/// was prepared before. DO and CALL are in it because what they run may change names.
fn is_first_word(word: &[u8]) -> bool {
    let mut lower = [0u8; 10];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return false;
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    matches!(
        &*lower,
        b"abort"
            | b"alter"
            | b"begin"
            | b"call"
            | b"close"
            | b"commit"
            | b"create"
            | b"deallocate"
            | b"declare"
            | b"discard"
            | b"do"
            | b"drop"
            | b"end"
            | b"execute"
            | b"explain"
            | b"fetch"
            | b"grant"
            | b"import"
            | b"move"
            | b"prepare"
            | b"reassign"
            | b"release"
            | b"reset"
            | b"revoke"
            | b"rollback"
            | b"savepoint"
            | b"security"
            | b"set"
            | b"start"
            | b"truncate"
    )
}

#[cfg(test)]
mod tests {
    use super::{Interest, Prefilter};

    #[test]
    fn table() {
        let filter = Prefilter::new(["projects", "user_roles", "Größen", "we\"ird"]);
        for (text, want) in [
            ("", Interest::None),
            ("SELECT 1", Interest::None),
            ("INSERT INTO other VALUES (1)", Interest::None),
            ("WITH a AS (SELECT 1) TABLE a;", Interest::None),
            ("SELECT commit, begin FROM other", Interest::None),
            ("SELECT 1;SELECT 2;", Interest::None),
            ("SETTLE", Interest::None),
            ("BEGINNING OF", Interest::None),
            ("LISTEN x", Interest::None),
            ("SELECT a &\"b\"", Interest::None),
            ("update projects set name = 'x'", Interest::Protected),
            ("UPDATE \"PROJECTS\" SET a = 1", Interest::Protected),
            ("SELECT * FROM my_projects_view", Interest::Protected),
            ("BEGIN; UPDATE User_Roles SET a = 1", Interest::Protected),
            ("SELECT \"Größen\"", Interest::Protected),
            ("SELECT \"we\"\"ird\"", Interest::Protected),
            ("SELECT * FROM U&\"d\\0061\"", Interest::Protected),
            ("SELECT * FROM u&\"x\"", Interest::Protected),
            ("SELECT pg_catalog.SET_CONFIG('a', 'b', true)", Interest::Protected),
            ("BEGIN", Interest::FirstWord),
            ("begin;", Interest::FirstWord),
            (" \r\n\t\x0b(( Begin", Interest::FirstWord),
            ("/* a /* b */ */ -- c\r COMMIT", Interest::FirstWord),
            ("SELECT 1; -- x\n SET a = 1", Interest::FirstWord),
            ("SELECT 1;END", Interest::FirstWord),
            ("DEALLOCATE ALL", Interest::FirstWord),
            ("EXPLAIN EXECUTE a", Interest::FirstWord),
            ("RESET/**/ALL", Interest::FirstWord),
            ("SET\"a\"=1", Interest::FirstWord),
            // More than the truth: not a statement's first word.
            ("SELECT '; set '", Interest::FirstWord),
            ("/* never ends", Interest::FirstWord),
        ] {
            assert_eq!(filter.interest(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn each_first_word() {
        let filter = Prefilter::new(["projects"]);
        for word in [
            "EXECUTE",
            "PREPARE",
            "DECLARE",
            "FETCH",
            "MOVE",
            "SET",
            "RESET",
            "BEGIN",
            "START",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ABORT",
            "SAVEPOINT",
            "RELEASE",
            "DISCARD",
            "DEALLOCATE",
            "TRUNCATE",
            "CREATE",
            "ALTER",
            "DROP",
            "REASSIGN",
            "CLOSE",
            "GRANT",
            "REVOKE",
            "DO",
            "CALL",
            "IMPORT",
            "SECURITY",
            "EXPLAIN",
        ] {
            assert_eq!(filter.interest(word.as_bytes()), Interest::FirstWord, "{word}");
            assert_eq!(filter.interest(format!("{word}_x").as_bytes()), Interest::None, "{word}");
            assert_eq!(filter.interest(format!("SELECT {word} x").as_bytes()), Interest::None, "{word}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_looked_for_makes_every_text_matter() {
        let filter = Prefilter::new(["表"]);
        assert_eq!(filter.interest(b"SELECT 1"), Interest::Protected);
        let none: [&str; 0] = [];
        assert_eq!(Prefilter::new(none).interest(b"SELECT 1"), Interest::None);
    }

    #[test]
    fn bytes_need_no_encoding() {
        let filter = Prefilter::new(["projects"]);
        assert_eq!(filter.interest(b"SELECT '\xff\xe9'"), Interest::None);
        assert_eq!(filter.interest(b"SELECT '\xff\xe9' FROM projects"), Interest::Protected);
    }
}
