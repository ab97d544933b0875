//! Tells in one pass over the bytes whether a text can matter at all, before anything is tokenised.

use aho_corasick::{AhoCorasick, Anchored, Input, StartKind};
use memchr::{memchr, memchr_iter};

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
    /// `None` if the words could not be compiled: then every text matters.
    words: Option<AhoCorasick>,
    /// `None` if a word is too short to skip anything.
    sampler: Option<Sampler>,
    /// A word can only be told by bytes that are not ASCII, in an encoding that is not known here.
    non_ascii: bool,
}

/// A run of ASCII this long tells a name well enough.
const TELLING_RUN: usize = 4;

impl Default for Prefilter {
    fn default() -> Self {
        Self::new([""; 0])
    }
}

impl Prefilter {
    /// A filter for these names, as the server stores them: protected tables, their partitions, views over them,
    /// the identity table.
    ///
    /// As the client's encoding may differ, of a name that is not ASCII its longest ASCII run is looked for, or if
    /// that is short, any byte that is not ASCII.
    pub fn new<I>(words: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut patterns = vec!["set_config".to_owned()];
        let mut non_ascii = false;
        for word in words {
            // As a text spells it: quotes inside a quoted name are doubled.
            let word = word.as_ref().replace('"', "\"\"");
            let run = word.split(|c: char| !c.is_ascii()).max_by_key(|run| run.len()).unwrap_or("");
            if word.is_ascii() || run.len() >= TELLING_RUN {
                patterns.extend((!run.is_empty()).then(|| run.to_owned()));
            } else {
                non_ascii = true;
            }
        }
        let words =
            AhoCorasick::builder().ascii_case_insensitive(true).start_kind(StartKind::Both).build(&patterns);
        Self { words: words.ok(), sampler: Sampler::new(&patterns), non_ascii }
    }

    /// What in `text` calls for a closer look.
    pub fn interest(&self, text: &[u8]) -> Interest {
        if self.names_word(text) || has_unicode_ident(text) || (self.non_ascii && !text.is_ascii()) {
            Interest::Protected
        } else if has_first_word(text) {
            Interest::FirstWord
        } else {
            Interest::None
        }
    }

    fn names_word(&self, text: &[u8]) -> bool {
        let Some(words) = &self.words else {
            return true;
        };
        match &self.sampler {
            Some(sampler) => {
                sampler.any(text, |at| words.is_match(Input::new(text).range(at..).anchored(Anchored::Yes)))
            }
            None => words.is_match(text),
        }
    }
}

/// Finds places where a word may begin without looking at every byte: of the pairs of neighbouring bytes that a word
/// is made of, one at the least stands at a multiple of the number of pairs in the shortest word.
#[derive(Clone)]
struct Sampler {
    /// How many pairs from its begin on each word is told by; 2 to 8.
    pairs: usize,
    /// By pair: bit `i` is set if a word has this pair at byte `i`.
    places: Box<[u8; 1024]>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("pairs", &self.pairs).finish_non_exhaustive()
    }
}

impl Sampler {
    /// `None` if a word is shorter than three bytes.
    fn new(words: &[String]) -> Option<Self> {
        let pairs = words.iter().map(String::len).min().filter(|n| *n >= 3)?.min(9) - 1;
        let mut places = Box::new([0; 1024]);
        for word in words {
            for (i, pair) in word.as_bytes().windows(2).take(pairs).enumerate() {
                places[Self::index(pair)] |= 1 << i;
            }
        }
        Some(Self { pairs, places })
    }

    /// Below 1024; the five bits of a letter are the same in upper and lower case.
    #[inline]
    fn index(pair: &[u8]) -> usize {
        match pair {
            [a, b] => usize::from(a & 31) << 5 | usize::from(b & 31),
            _ => 0,
        }
    }

    /// True if `is_word` says so of a place where a word may begin.
    #[inline]
    fn any(&self, text: &[u8], is_word: impl Fn(usize) -> bool) -> bool {
        text.windows(2).step_by(self.pairs).enumerate().any(|(i, pair)| {
            let places = self.places[Self::index(pair)];
            places != 0 && self.begins(text, i * self.pairs, places).any(&is_word)
        })
    }

    /// Where words may begin that have the pair at `at` in one of the `places`.
    fn begins(&self, text: &[u8], at: usize, places: u8) -> impl Iterator<Item = usize> {
        (0..self.pairs)
            .filter(move |place| places & (1 << place) != 0)
            .filter_map(move |place| at.checked_sub(place))
            .filter(move |begin| {
                let pairs = text.get(*begin..begin + self.pairs + 1).unwrap_or(&[]).windows(2);
                pairs.enumerate().all(|(i, pair)| self.places[Self::index(pair)] & (1 << i) != 0)
            })
    }
}

/// `U&"`, in which escapes can spell any name.
fn has_unicode_ident(text: &[u8]) -> bool {
    memchr_iter(b'&', text).any(|at| {
        text.get(at + 1) == Some(&b'"')
            && at.checked_sub(1).and_then(|u| text.get(u)).is_some_and(|b| matches!(b, b'u' | b'U'))
    })
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

/// The unquoted word behind whitespace, comments and opening parentheses; empty if something else comes. `None` if
/// a comment does not end.
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
    let in_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | 0x80..);
    let length = tail.iter().position(|b| !in_word(b)).unwrap_or(tail.len());
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
        let filter = Prefilter::new(["projects", "user_roles", "Größenklassen", "we\"ird"]);
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
            ("SELECT \"Größenklassen\"", Interest::Protected),
            ("SELECT \"we\"\"ird\"", Interest::Protected),
            ("SELECT \"we\"", Interest::None),
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
    fn names_that_are_not_ascii() {
        let filter = Prefilter::new(["表"]);
        assert_eq!(filter.interest(b"SELECT 1"), Interest::None);
        assert_eq!(filter.interest("SELECT '表'".as_bytes()), Interest::Protected);
        let none: [&str; 0] = [];
        assert_eq!(Prefilter::new(none).interest(b"SELECT 1"), Interest::None);
    }

    #[test]
    fn words_of_any_length_are_found_at_any_place() {
        for words in
            [&["a"][..], &["ab", "xyz"], &["abc", "users", "usual_suspects"], &["portfolios", "rates"]]
        {
            let filter = Prefilter::new(words);
            for word in words {
                for padding in 0..12 {
                    let text =
                        format!("{}{}{}", "-".repeat(padding), word.to_uppercase(), "-".repeat(padding % 3));
                    assert_eq!(filter.interest(text.as_bytes()), Interest::Protected, "{text}");
                    let cut = format!("{}{}", "-".repeat(padding), &word[1..]);
                    assert_eq!(filter.interest(cut.as_bytes()), Interest::None, "{cut}");
                }
            }
        }
    }

    /// The same answer as a plain search, for words and texts of a small alphabet, where many places nearly fit.
    #[test]
    fn nothing_is_missed() {
        let mut state: u64 = 0x2545_f491_4f6c_dd1d;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut found = 0;
        for round in 0..4_000 {
            let mut word =
                |length: usize| -> String { (0..length).map(|_| ["a", "b", "C", "_"][next(4)]).collect() };
            let shortest = 3 + round % 8;
            let words = [word(shortest), word(shortest + 1), word(11)];
            let mut text = word(20 * shortest);
            if round % 2 == 0 {
                text.insert_str(round % text.len(), &words[round % 3].to_uppercase());
            }
            let want = words.iter().any(|w| text.to_lowercase().contains(&w.to_lowercase()));
            found += u32::from(want);
            let got = Prefilter::new(&words).interest(text.as_bytes()) == Interest::Protected;
            assert_eq!(got, want, "{words:?} {text}");
        }
        assert!((2_000..4_000).contains(&found));
    }

    #[test]
    fn bytes_need_no_encoding() {
        let filter = Prefilter::new(["projects"]);
        assert_eq!(filter.interest(b"SELECT '\xff\xe9'"), Interest::None);
        assert_eq!(filter.interest(b"SELECT '\xff\xe9' FROM projects"), Interest::Protected);
    }
}
