//! `numeric` keys: the digits that `trim_scale` prints, however the number is written.

/// Longer numbers are not keys that anyone compares.
const MAX_DIGITS: usize = 1_000;

/// A number as the server's input function reads it: `1.50`, `+1e2`, ` .5 `. NaN and infinities are unknown.
pub(super) fn text(value: &[u8]) -> Option<Box<str>> {
    let value = super::trim_space(value);
    let (negative, value) = match value {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match value.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (value.get(..at)?, exponent(value.get(at + 1..)?)?),
        None => (value, 0),
    };
    let mut digits = Vec::with_capacity(mantissa.len());
    let mut point = None;
    for &b in mantissa {
        match b {
            b'0'..=b'9' => digits.push(b),
            b'.' if point.is_none() => point = Some(digits.len()),
            _ => return None,
        }
    }
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let point = i32::try_from(point.unwrap_or(digits.len())).ok()? + exponent;
    print(negative, &digits, point)
}

fn exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    // More is not a key, and must not overflow.
    if digits.is_empty() || digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: i32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { -value } else { value })
}

/// A number in binary format: how many digits of base 10,000, the power of the first one, sign, and how many decimal
/// places are shown; then the digits.
pub(super) fn binary(value: &[u8]) -> Option<Box<str>> {
    let (words, rest) = value.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut words = words.iter().map(|w| u16::from_be_bytes(*w));
    let count = usize::from(words.next()?);
    let weight = i32::from(words.next()?.cast_signed());
    let negative = match words.next()? {
        0 => false,
        0x4000 => true,
        _ => return None,
    };
    let _shown = words.next()?;
    if words.len() != count || count > MAX_DIGITS / 4 {
        return None;
    }
    let mut digits = Vec::with_capacity(count * 4);
    for word in words {
        if word > 9_999 {
            return None;
        }
        digits.extend_from_slice(format!("{word:04}").as_bytes());
    }
    print(negative, &digits, (weight + 1) * 4)
}

/// The number 0.DIGITS times ten to the power of `point`, without a zero that says nothing.
fn print(negative: bool, digits: &[u8], point: i32) -> Option<Box<str>> {
    let Some(first) = digits.iter().position(|b| *b != b'0') else { return Some("0".into()) };
    let last = digits.iter().rposition(|b| *b != b'0')?;
    let digits = std::str::from_utf8(digits.get(first..=last)?).ok()?;
    let point = point - i32::try_from(first).ok()?;
    let places = usize::try_from(point.unsigned_abs()).ok().filter(|n| *n <= MAX_DIGITS)?;
    let mut out = String::with_capacity(digits.len() + places + 3);
    if negative {
        out.push('-');
    }
    if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', places));
        out.push_str(digits);
    } else if let Some((whole, fraction)) = digits.split_at_checked(places) {
        out.push_str(whole);
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(fraction);
        }
    } else {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', places - digits.len()));
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (value, want) in [
            ("1.50", Some("1.5")),
            ("1.5", Some("1.5")),
            ("01.500", Some("1.5")),
            ("15e-1", Some("1.5")),
            ("0.15E+1", Some("1.5")),
            (" +1.5\n", Some("1.5")),
            ("100", Some("100")),
            ("1e2", Some("100")),
            ("1.e2", Some("100")),
            (".001e5", Some("100")),
            ("100.000", Some("100")),
            ("1000000e-4", Some("100")),
            ("-7", Some("-7")),
            ("-.5e+1", Some("-5")),
            ("0", Some("0")),
            ("-0.00", Some("0")),
            ("0e99", Some("0")),
            (".5", Some("0.5")),
            ("0.0001", Some("0.0001")),
            ("1e-8", Some("0.00000001")),
            ("12345678901234567890.5", Some("12345678901234567890.5")),
            (".", None),
            ("", None),
            ("-", None),
            ("1e", None),
            ("1e+", None),
            ("1e1.5", None),
            ("1.2.3", None),
            ("- 1", None),
            ("1 2", None),
            ("0x1F", None),
            ("1_000", None),
            ("NaN", None),
            ("Infinity", None),
            ("1e1001", None),
            ("1e-1002", None),
            ("1e99999999999", None),
        ] {
            assert_eq!(text(value.as_bytes()).as_deref(), want, "{value}");
        }
        assert_eq!(text("1".repeat(MAX_DIGITS).as_bytes()).map(|t| t.len()), Some(MAX_DIGITS));
        assert_eq!(text("1".repeat(MAX_DIGITS + 1).as_bytes()), None);
    }

    #[test]
    fn binaries() {
        for (words, want) in [
            (&[1, 0, 0, 0, 100][..], Some("100")),
            (&[0, 0, 0, 0], Some("0")),
            (&[0, 0, 0, 2], Some("0")),
            (&[2, 0, 0x4000, 2, 1, 5000], Some("-1.5")),
            (&[4, 2, 0, 3, 1, 2345, 6789, 120], Some("123456789.012")),
            (&[1, 0xffff, 0, 4, 1], Some("0.0001")),
            (&[1, 1, 0, 0, 1], Some("10000")),
            (&[1, 0xfffe, 0, 8, 1], Some("0.00000001")),
            (&[1, 3, 0, 0, 7], Some("7000000000000")),
            (&[0, 0, 0xc000, 0], None),
            (&[0, 0, 0xd000, 0], None),
            (&[2, 0, 0, 0, 1], None),
            (&[1, 0, 0, 0, 10_000], None),
            (&[1, 0, 0], None),
            (&[1, 0x7fff, 0, 0, 1], None),
            (&[], None),
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|w: &u16| w.to_be_bytes()).collect();
            assert_eq!(binary(&bytes).as_deref(), want, "{words:?}");
        }
        assert_eq!(binary(&[0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
