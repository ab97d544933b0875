//! Numbers, as far as the server takes them.

use super::*;

/// The end of a number that begins with a digit, or with `.` and a digit.
pub(super) fn number(text: &[u8], start: usize) -> Result<usize, LexError> {
    if byte(text, start) == b'0' {
        let radix: Option<fn(u8) -> bool> = match byte(text, start + 1) {
            b'x' | b'X' => Some(|b| b.is_ascii_hexdigit()),
            b'o' | b'O' => Some(|b| matches!(b, b'0'..=b'7')),
            b'b' | b'B' => Some(|b| matches!(b, b'0' | b'1')),
            _ => None,
        };
        if let Some(is_digit) = radix {
            let end = digits(text, start + 2, true, is_digit);
            if end == start + 2 || byte(text, end).is_ascii_digit() {
                return Err(LexError::NumberJunk(start));
            }
            return no_junk(text, start, end);
        }
    }
    let decimal = |at| digits(text, at, false, |b| b.is_ascii_digit());
    let mut pos = decimal(start);
    if byte(text, pos) == b'.' {
        if byte(text, pos + 1) == b'.' {
            return Ok(pos);
        }
        pos = decimal(pos + 1);
    }
    if matches!(byte(text, pos), b'e' | b'E') {
        let mut exponent = pos + 1;
        if matches!(byte(text, exponent), b'+' | b'-') {
            exponent += 1;
        }
        if !byte(text, exponent).is_ascii_digit() {
            return Err(LexError::NumberJunk(start));
        }
        pos = decimal(exponent);
    }
    no_junk(text, start, pos)
}

/// Behind digits with single underscores between them (`leading`: one may stand before the first, as in `0x_1`).
fn digits(text: &[u8], mut pos: usize, leading: bool, is_digit: fn(u8) -> bool) -> usize {
    let mut underscore = leading;
    loop {
        let b = byte(text, pos);
        if is_digit(b) {
            pos += 1;
        } else if underscore && b == b'_' && is_digit(byte(text, pos + 1)) {
            pos += 2;
        } else {
            return pos;
        }
        underscore = true;
    }
}

#[inline]
pub(super) fn no_junk(text: &[u8], start: usize, end: usize) -> Result<usize, LexError> {
    if class(byte(text, end)) == Class::Word { Err(LexError::NumberJunk(start)) } else { Ok(end) }
}
