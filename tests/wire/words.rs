//! The words of a script: bare ones, quoted texts, and `name=value,value`.

use std::str::CharIndices;

/// One value of a list: bytes, or `null`.
pub type Value = Option<Vec<u8>>;

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// As it stands: `Query`, `S`, `3`.
    Bare(String),
    /// `"text"`, also over several lines.
    Text(Vec<u8>),
    /// `name=one,two`.
    Named(String, Vec<Value>),
}

/// The lines of a script as words, each with its number. A line that begins with `!`, `-` or `+` is kept as the
/// single bare word that it is; comments and empty lines are left out.
pub fn lines(text: &str) -> Result<Vec<(usize, Vec<Word>)>, String> {
    let mut lines = Vec::new();
    let mut number = 1;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find('\n').unwrap_or(rest.len());
        let first = rest[..end].trim();
        if first.is_empty() || first.starts_with('#') {
            rest = rest.get(end + 1..).unwrap_or("");
            number += 1;
        } else if first.starts_with(['!', '-', '+']) {
            lines.push((number, vec![Word::Bare(first.to_owned())]));
            rest = rest.get(end + 1..).unwrap_or("");
            number += 1;
        } else {
            let mut reader = Reader { text: rest, chars: rest.char_indices(), peeked: None };
            let words = reader.line().map_err(|e| format!("line {number}: {e}"))?;
            let read = reader.offset();
            lines.push((number, words));
            number += rest[..read].matches('\n').count();
            rest = &rest[read..];
        }
    }
    Ok(lines)
}

struct Reader<'a> {
    text: &'a str,
    chars: CharIndices<'a>,
    peeked: Option<Option<(usize, char)>>,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.peeked.get_or_insert_with(|| self.chars.next()).map(|(_, c)| c)
    }

    fn next(&mut self) -> Option<char> {
        match self.peeked.take() {
            Some(peeked) => peeked.map(|(_, c)| c),
            None => self.chars.next().map(|(_, c)| c),
        }
    }

    fn offset(&mut self) -> usize {
        self.peek();
        self.peeked.flatten().map_or(self.text.len(), |(at, _)| at)
    }

    /// Words up to the end of the line, that included.
    fn line(&mut self) -> Result<Vec<Word>, String> {
        let mut words = Vec::new();
        loop {
            match self.peek() {
                None => return Ok(words),
                Some('\n') => {
                    self.next();
                    return Ok(words);
                }
                Some(c) if c.is_whitespace() => {
                    self.next();
                }
                Some('"') => words.push(Word::Text(self.quoted()?)),
                Some(_) => {
                    let name = self.bare(&['=']);
                    if self.peek() == Some('=') {
                        self.next();
                        words.push(Word::Named(name, self.values()?));
                    } else {
                        words.push(Word::Bare(name));
                    }
                }
            }
        }
    }

    fn bare(&mut self, ends: &[char]) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && *c != '"' && !ends.contains(c)) {
            word.push(c);
            self.next();
        }
        word
    }

    fn values(&mut self) -> Result<Vec<Value>, String> {
        let mut values = Vec::new();
        loop {
            if self.peek() == Some('"') {
                values.push(Some(self.quoted()?));
            } else {
                let word = self.bare(&[',']);
                if word.is_empty() && self.peek() != Some(',') && values.is_empty() {
                    return Ok(values);
                }
                values.push(match word.strip_prefix("0x") {
                    _ if word == "null" => None,
                    Some(digits) => Some(hex(digits)?),
                    None => Some(word.into_bytes()),
                });
            }
            if self.peek() != Some(',') {
                return Ok(values);
            }
            self.next();
        }
    }

    /// `"text"` with `\n`, `\t`, `\"`, `\\` and `\xHH`; `"text"*3` is three of it.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        self.next();
        let mut text = Vec::new();
        loop {
            match self.next().ok_or("no closing quote")? {
                '"' => break,
                '\\' => match self.next() {
                    Some('n') => text.push(b'\n'),
                    Some('t') => text.push(b'\t'),
                    Some('0') => text.push(0),
                    Some(c @ ('"' | '\\')) => text.push(c as u8),
                    Some('x') => {
                        let digits: String = self.next().into_iter().chain(self.next()).collect();
                        text.extend(hex(&digits)?);
                    }
                    other => return Err(format!("a backslash before {other:?}")),
                },
                c => text.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if self.peek() != Some('*') {
            return Ok(text);
        }
        self.next();
        let times = self.bare(&[',']);
        Ok(text.repeat(times.parse().map_err(|_| format!("{times} is no number"))?))
    }
}

/// Bytes from hexadecimal digits.
pub fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.collect::<Option<_>>().ok_or_else(|| format!("{digits} are no hexadecimal digits"))
}

#[test]
fn words_of_lines() {
    let text = "# comment\n\nb: Query \"a\nb\"\n! why\nBind \"\" s values=\"x\",null,0x00ff,y, formats=\nRaw \"\\x00a\"*2";
    let word = |w: &str| Word::Bare(w.into());
    let bytes = |b: &[u8]| Some(b.to_vec());
    let values = vec![bytes(b"x"), None, bytes(&[0, 255]), bytes(b"y"), bytes(b"")];
    let want = vec![
        (3, vec![word("b:"), word("Query"), Word::Text(b"a\nb".to_vec())]),
        (5, vec![word("! why")]),
        (
            6,
            vec![
                word("Bind"),
                Word::Text(Vec::new()),
                word("s"),
                Word::Named("values".into(), values),
                Word::Named("formats".into(), Vec::new()),
            ],
        ),
        (7, vec![word("Raw"), Word::Text(b"\0a\0a".to_vec())]),
    ];
    assert_eq!(lines(text).unwrap(), want);
    assert!(lines("Query \"a").is_err() && lines("Raw \"\\q\"").is_err() && lines("Raw x=0x1").is_err());
}
