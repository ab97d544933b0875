//! A script: what is sent, and which replies must have come before more is sent. `README.md` has the format.

use crate::common::frames;
use crate::words::{Value, Word, hex, lines};

/// One script.
#[derive(Debug)]
pub struct Script {
    /// `topic/name`.
    pub name: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Columns whose values are not compared, by name.
    pub masked: Vec<String>,
}

/// One line.
#[derive(Debug)]
pub struct Step {
    /// Its number.
    pub line: usize,
    /// The connection that it is about.
    pub connection: String,
    /// What is done.
    pub what: What,
    /// The difference that is on record for what comes at this step.
    pub recorded: Vec<String>,
}

/// What is done.
#[derive(Debug)]
pub enum What {
    /// A connection, and nothing sent. `past`: past the proxy on both sides.
    Open { past: bool },
    /// A connection with a start-up packet of its parameters.
    Connect { past: bool, version: u32, parameters: Vec<(String, String)> },
    /// A start-up packet on an open connection.
    Startup { version: u32, parameters: Vec<(String, String)> },
    /// Bytes. `ready`: how many ReadyForQuery they call for.
    Send { bytes: Vec<u8>, ready: usize },
    /// Frames up to as many with this tag.
    Wait(Until, usize),
    /// Nothing more is sent.
    Shut,
    /// A CancelRequest for the connection's backend, over a connection of its own.
    Cancel,
    /// Asks the server behind until the statement says `t`.
    Sure(String),
}

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// As many ReadyForQuery as the messages since the last wait call for.
    Answered,
    /// Frames with this tag.
    Tag(u8),
    /// Bytes outside of frames.
    Byte,
    /// The end of the connection.
    Closed,
}

/// Protocol 3.0.
const V3: u32 = 196_608;

impl Script {
    /// Reads a script.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        if !text.starts_with("# ") {
            return Err("the first line is no comment that says what is shown".into());
        }
        let mut script = Self { name: name.into(), steps: Vec::new(), masked: Vec::new() };
        for (line, words) in lines(text)? {
            script.line(line, words).map_err(|e| format!("line {line}: {e}"))?;
        }
        let unread = script.steps.iter().rfind(|s| matches!(s.what, What::Wait(..)));
        match unread {
            None => Err("no wait: nothing is compared".into()),
            Some(_) => Ok(script),
        }
    }

    fn line(&mut self, line: usize, mut words: Vec<Word>) -> Result<(), String> {
        if let [Word::Bare(word)] = &words[..]
            && let Some(rest) = word.strip_prefix(['!', '-', '+'])
        {
            let step =
                self.steps.last_mut().filter(|s| matches!(s.what, What::Wait(..) | What::Connect { .. }));
            let step = step.ok_or("a difference belongs behind a wait")?;
            if step.recorded.is_empty() != word.starts_with('!') || rest.trim().is_empty() {
                return Err("a difference begins with one reason, behind `!`".into());
            }
            step.recorded.push(word.clone());
            return Ok(());
        }
        let mut connection = "a".to_owned();
        if let Some(Word::Bare(word)) = words.first()
            && let Some(name) = word.strip_suffix(':')
        {
            connection = name.to_owned();
            words.remove(0);
        }
        if words.is_empty() {
            return Err("a connection and nothing to do".into());
        }
        let Word::Bare(verb) = words.remove(0) else { return Err("a line begins with a verb".into()) };
        let mut words = Words(words);
        if verb == "mask" {
            self.masked.push(words.string()?);
            return words.string().and_then(|_reason| words.end());
        }
        let what = what(&verb, &mut words)?;
        words.end().map_err(|e| format!("{verb}: {e}"))?;
        self.steps.push(Step { line, connection, what, recorded: Vec::new() });
        Ok(())
    }
}

fn what(verb: &str, words: &mut Words) -> Result<What, String> {
    let none = |bytes| What::Send { bytes, ready: 0 };
    let one = |bytes| What::Send { bytes, ready: 1 };
    Ok(match verb {
        "open" => What::Open { past: words.flag("past") },
        "connect" => {
            let past = words.flag("past");
            What::Connect { past, version: words.version()?.unwrap_or(V3), parameters: words.pairs()? }
        }
        "Startup" => What::Startup { version: words.version()?.unwrap_or(V3), parameters: words.pairs()? },
        "wait" => {
            let count = words.number()?;
            let until = match words.bare().as_deref() {
                None => Until::Answered,
                Some("byte") => Until::Byte,
                Some("closed") => Until::Closed,
                Some(name) => Until::Tag(tag_named(name)?),
            };
            What::Wait(until, count.unwrap_or(1))
        }
        "shut" => What::Shut,
        "cancel" => What::Cancel,
        "until" => What::Sure(words.string()?),
        "SSLRequest" => none(frames::ssl_request()),
        "GSSENCRequest" => none(frames::gssenc_request()),
        "Query" => one(frames::message(b'Q', &zero(words.text()?))),
        "Parse" => none(parse(words)?),
        "Bind" => none(bind(words)?),
        "Describe" | "Close" => {
            let kind = words.bare().ok_or("S or P first")?;
            let body = [kind.into_bytes(), zero(words.text()?)].concat();
            none(frames::message(verb.as_bytes()[0], &body))
        }
        "Execute" => {
            let portal = zero(words.text()?);
            let rows = words.number()?.unwrap_or(0) as u32;
            none(frames::message(b'E', &[&portal[..], &rows.to_be_bytes()].concat()))
        }
        "Flush" => none(frames::flush()),
        "Sync" => one(frames::sync()),
        "Extended" => {
            let sql = zero(words.text()?);
            let body = [vec![0], sql, list(words.named("types")?, 4)?].concat();
            let parse = frames::message(b'P', &body);
            let bind = bind_of(&[0], &[0], words)?;
            one([parse, bind, frames::describe('P', ""), frames::execute("", 0), frames::sync()].concat())
        }
        "FunctionCall" => {
            let oid = words.number()?.ok_or("an OID first")? as u32;
            let body = [
                oid.to_be_bytes().to_vec(),
                list(words.named("formats")?, 2)?,
                values(words.named("values")?),
                list(words.named("result")?, 2)?.split_off(2),
            ];
            one(frames::message(b'F', &body.concat()))
        }
        "CopyData" => none(frames::copy_data(&words.text()?)),
        "CopyDone" => none(frames::copy_done()),
        "CopyFail" => none(frames::message(b'f', &zero(words.text()?))),
        "Password" => none(frames::message(b'p', &zero(words.text()?))),
        "Terminate" => none(frames::terminate()),
        // Any tag, any body, the right length. What it calls for is the script's to say.
        "Message" => {
            let tag = words.text()?;
            none(frames::message(*tag.first().ok_or("a tag first")?, &words.text()?))
        }
        "Raw" => none(words.text()?),
        other => return Err(format!("no such verb: {other}")),
    })
}

fn parse(words: &mut Words) -> Result<Vec<u8>, String> {
    let (name, sql) = (zero(words.text()?), zero(words.text()?));
    Ok(frames::message(b'P', &[name, sql, list(words.named("types")?, 4)?].concat()))
}

fn bind(words: &mut Words) -> Result<Vec<u8>, String> {
    let (portal, statement) = (zero(words.text()?), zero(words.text()?));
    bind_of(&portal, &statement, words)
}

fn bind_of(portal: &[u8], statement: &[u8], words: &mut Words) -> Result<Vec<u8>, String> {
    let formats = list(words.named("formats")?, 2)?;
    let values = values(words.named("values")?);
    let results = list(words.named("results")?, 2)?;
    Ok(frames::message(b'B', &[portal, statement, &formats, &values, &results].concat()))
}

fn values(values: Vec<Value>) -> Vec<u8> {
    let mut out = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        out.extend(value.as_ref().map_or(-1, |v| v.len() as i32).to_be_bytes());
        out.extend(value.unwrap_or_default());
    }
    out
}

/// A counted list of numbers of so many bytes.
fn list(values: Vec<Value>, size: usize) -> Result<Vec<u8>, String> {
    let mut out = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        let text = String::from_utf8(value.ok_or("null in a list of numbers")?).map_err(|e| e.to_string())?;
        let number: i64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        out.extend(&number.to_be_bytes()[8 - size..]);
    }
    Ok(out)
}

fn zero(mut text: Vec<u8>) -> Vec<u8> {
    text.push(0);
    text
}

/// What is left of a line.
struct Words(Vec<Word>);

impl Words {
    fn bare(&mut self) -> Option<String> {
        match self.0.first() {
            Some(Word::Bare(word)) => {
                let word = word.clone();
                self.0.remove(0);
                Some(word)
            }
            _ => None,
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        let there = matches!(self.0.first(), Some(Word::Bare(w)) if w == name);
        if there {
            self.0.remove(0);
        }
        there
    }

    fn number(&mut self) -> Result<Option<usize>, String> {
        match self.0.first() {
            Some(Word::Bare(w)) if w.bytes().all(|b| b.is_ascii_digit()) => {
                let number = w.parse().map_err(|_| format!("{w} is too large"))?;
                self.0.remove(0);
                Ok(Some(number))
            }
            _ => Ok(None),
        }
    }

    /// `3.2`.
    fn version(&mut self) -> Result<Option<u32>, String> {
        let Some((major, minor)) = self.0.first().and_then(|w| match w {
            Word::Bare(w) => w.split_once('.'),
            _ => None,
        }) else {
            return Ok(None);
        };
        let part = |p: &str| p.parse::<u16>().map(u32::from).map_err(|_| format!("{p} is no version"));
        let version = part(major)? << 16 | part(minor)?;
        self.0.remove(0);
        Ok(Some(version))
    }

    /// A quoted text, a bare word, or `0x..`.
    fn text(&mut self) -> Result<Vec<u8>, String> {
        match (!self.0.is_empty()).then(|| self.0.remove(0)) {
            Some(Word::Text(text)) => Ok(text),
            Some(Word::Bare(word)) => match word.strip_prefix("0x") {
                Some(digits) => hex(digits),
                None => Ok(word.into_bytes()),
            },
            other => Err(format!("a text is wanted, not {other:?}")),
        }
    }

    fn string(&mut self) -> Result<String, String> {
        String::from_utf8(self.text()?).map_err(|e| e.to_string())
    }

    fn named(&mut self, wanted: &str) -> Result<Vec<Value>, String> {
        let at = self.0.iter().position(|w| matches!(w, Word::Named(name, _) if name == wanted));
        match at.map(|at| self.0.remove(at)) {
            Some(Word::Named(_, values)) => Ok(values),
            _ => Ok(Vec::new()),
        }
    }

    /// `name=value` for all that is left.
    fn pairs(&mut self) -> Result<Vec<(String, String)>, String> {
        let pair = |word| match word {
            Word::Named(name, values) => {
                let text = |v: &Value| String::from_utf8_lossy(v.as_deref().unwrap_or(b"null")).into_owned();
                Ok((name, values.iter().map(text).collect::<Vec<_>>().join(",")))
            }
            other => Err(format!("name=value is wanted, not {other:?}")),
        };
        self.0.drain(..).map(pair).collect()
    }

    fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("what is {:?}?", self.0)) }
    }
}

/// The tag of a backend message, by its name or letter.
fn tag_named(name: &str) -> Result<u8, String> {
    let known = crate::decode::NAMES.iter().find(|(_, n)| *n == name);
    let tag = known.map(|(tag, _)| *tag).or(name.bytes().next().filter(|_| name.len() == 1));
    tag.ok_or_else(|| format!("no such message: {name}"))
}
