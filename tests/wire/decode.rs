//! Backend messages as lines to read. Nothing is lost: what a decoder leaves over is shown as bytes.

use std::fmt::Write as _;

use crate::common::frames::Frame;

/// Names of the backend's messages.
pub const NAMES: &[(u8, &str)] = &[
    (b'R', "Authentication"),
    (b'K', "BackendKeyData"),
    (b'2', "BindComplete"),
    (b'3', "CloseComplete"),
    (b'C', "CommandComplete"),
    (b'd', "CopyData"),
    (b'c', "CopyDone"),
    (b'G', "CopyInResponse"),
    (b'H', "CopyOutResponse"),
    (b'W', "CopyBothResponse"),
    (b'D', "DataRow"),
    (b'I', "EmptyQueryResponse"),
    (b'E', "ErrorResponse"),
    (b'V', "FunctionCallResponse"),
    (b'v', "NegotiateProtocolVersion"),
    (b'n', "NoData"),
    (b'N', "NoticeResponse"),
    (b'A', "NotificationResponse"),
    (b't', "ParameterDescription"),
    (b'S', "ParameterStatus"),
    (b'1', "ParseComplete"),
    (b's', "PortalSuspended"),
    (b'Z', "ReadyForQuery"),
    (b'T', "RowDescription"),
];

/// One message as a line.
pub fn line(frame: &Frame) -> String {
    let known = NAMES.iter().find(|(tag, _)| *tag == frame.tag);
    let mut line = known.map_or(format!("tag {:?}", char::from(frame.tag)), |(_, name)| (*name).to_owned());
    let mut body = Body(&frame.body);
    // A body that does not hold what its tag promises ends the decoding early; the rest is shown below.
    let _ = fields(frame.tag, &mut body, &mut line);
    if !body.0.is_empty() {
        let _ = write!(line, " {}", quoted(body.0));
    }
    line
}

fn fields(tag: u8, body: &mut Body<'_>, line: &mut String) -> Option<()> {
    match tag {
        b'R' => push(line, &body.i32()?.to_string()),
        b'C' => push(line, &body.text()?),
        b'N' | b'E' => loop {
            match body.byte()? {
                0 => break,
                code => {
                    let text = body.text()?;
                    push(line, &format!("{}={text}", char::from(code)));
                }
            }
        },
        b'S' => {
            let name = body.text()?;
            push(line, &format!("{name}={}", body.text()?));
        }
        b'A' => {
            push(line, &body.i32()?.to_string());
            push(line, &body.text()?);
            push(line, &body.text()?);
        }
        b'Z' => push(line, &char::from(body.byte()?).to_string()),
        b'T' => {
            for _ in 0..body.i16()? {
                let name = body.text()?;
                let (table, column) = (body.u32()?, body.i16()?);
                let (of, size, modifier, format) = (body.u32()?, body.i16()?, body.i32()?, body.i16()?);
                push(line, &format!("{name} ({table}.{column} type {of}/{size}/{modifier} format {format})"));
            }
        }
        b'D' => {
            for _ in 0..body.i16()? {
                let value = match usize::try_from(body.i32()?) {
                    Ok(len) => quoted(body.take(len)?),
                    Err(_) => "null".to_owned(),
                };
                push(line, &value);
            }
        }
        b'V' => match usize::try_from(body.i32()?) {
            Ok(len) => push(line, &quoted(body.take(len)?)),
            Err(_) => push(line, "null"),
        },
        b't' => {
            for _ in 0..body.i16()? {
                push(line, &body.u32()?.to_string());
            }
        }
        b'G' | b'H' | b'W' => {
            push(line, &format!("format {} columns", body.byte()?));
            for _ in 0..body.i16()? {
                push(line, &body.i16()?.to_string());
            }
        }
        b'v' => {
            push(line, &format!("minor {}", body.u32()? & 0xffff));
            for _ in 0..body.i32()? {
                push(line, &body.text()?);
            }
        }
        _ => {}
    }
    Some(())
}

fn push(line: &mut String, word: &str) {
    line.push(' ');
    line.push_str(word);
}

/// Bytes in quotes: readable UTF-8 as it is, all else escaped.
pub fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => format!("\"{text}\""),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2).and_then(|b| b.try_into().ok()).map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.i32().map(i32::cast_unsigned)
    }

    /// Up to the next zero.
    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let text = quoted(self.take(end)?);
        self.take(1)?;
        Some(text)
    }
}

#[test]
fn messages_as_lines() {
    let of = |tag: u8, body: &[u8]| line(&Frame { tag, body: body.to_vec() });
    assert_eq!(of(b'Z', b"T"), "ReadyForQuery T");
    assert_eq!(of(b'E', b"SERROR\0Mgr\xf6\0\0"), r#"ErrorResponse S="ERROR" M="gr\xf6""#);
    assert_eq!(of(b'D', b"\0\x02\0\0\0\x01x\xff\xff\xff\xff"), "DataRow \"x\" null");
    assert_eq!(of(b'D', b"\0\x01\0\0\0\x09x"), r#"DataRow "x""#);
    assert_eq!(of(b'?', b"ab"), "tag '?' \"ab\"");
    assert_eq!(of(b't', b"\0\x01\0\0\0\x17"), "ParameterDescription 23");
}
