//! `date` and `timestamp` keys: as the server prints them under DateStyle ISO.
//!
//! A text counts if it means the same under every DateStyle: four digits of a year first, then month and day, each of
//! two digits. What the server prints under another DateStyle never looks like that.

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Days from 0000-03-01 to 2000-01-01.
const EPOCH: i64 = 730_425;

/// `2026-01-31`.
pub(super) fn date_text(value: &[u8]) -> Option<Box<str>> {
    let (date, rest) = split_date(super::trim_space(value))?;
    rest.is_empty().then(|| date.into())
}

/// `2026-01-31 10:00:00.5`, also with a `T`, without seconds or without a time. An offset behind it says nothing to a
/// timestamp without time zone.
pub(super) fn timestamp_text(value: &[u8]) -> Option<Box<str>> {
    let (date, rest) = split_date(super::trim_space(value))?;
    if rest.is_empty() {
        return Some(format!("{date} 00:00:00").into());
    }
    let (b' ' | b'T', rest) = rest.split_first().map(|(b, rest)| (*b, rest))? else { return None };
    let (hours, rest) = two_digits(rest, 23)?;
    let (minutes, rest) = two_digits(rest.strip_prefix(b":")?, 59)?;
    let (seconds, mut rest) = match rest.strip_prefix(b":") {
        Some(rest) => two_digits(rest, 59)?,
        None => ("00", rest),
    };
    let mut out = format!("{date} {hours}:{minutes}:{seconds}");
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        // More than six are rounded.
        let digits =
            std::str::from_utf8(fraction.get(..length).filter(|d| (1..=6).contains(&d.len()))?).ok()?;
        rest = fraction.get(length..)?;
        push_fraction(&mut out, digits);
    }
    is_offset(rest).then(|| out.into())
}

/// Days since 2000-01-01.
pub(super) fn date_binary(value: &[u8]) -> Option<Box<str>> {
    date(i32::from_be_bytes(value.try_into().ok()?).into()).map(Into::into)
}

/// Microseconds since 2000-01-01.
pub(super) fn timestamp_binary(value: &[u8]) -> Option<Box<str>> {
    let value = i64::from_be_bytes(value.try_into().ok()?);
    let (days, time) = (value.div_euclid(DAY), value.rem_euclid(DAY));
    let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
    let mut out = date(days)?;
    out.push_str(&format!(" {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    push_fraction(&mut out, &format!("{micros:06}"));
    Some(out.into())
}

/// Years of four digits alone: others are printed in more than one way.
fn date(days: i64) -> Option<String> {
    let (year, month, day) = civil(days)?;
    (1..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// The Gregorian date so many days after 2000-01-01. Years begin in March, so that a leap day is the last one.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(EPOCH)?;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    Some((era * 400 + year + next, month, day))
}

/// The date that the text begins with, and what follows.
fn split_date(text: &[u8]) -> Option<(&str, &[u8])> {
    let (date, rest) = text.split_at_checked(10)?;
    let [y0, y1, y2, y3, b'-', month @ .., b'-', d0, d1] = date else { return None };
    let year: i64 = std::str::from_utf8(&[*y0, *y1, *y2, *y3]).ok().filter(|y| is_digits(y))?.parse().ok()?;
    let month: i64 = std::str::from_utf8(month).ok().filter(|m| is_digits(m))?.parse().ok()?;
    let day: i64 = std::str::from_utf8(&[*d0, *d1]).ok().filter(|d| is_digits(d))?.parse().ok()?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (year > 0 && (1..=days).contains(&day)).then_some((std::str::from_utf8(date).ok()?, rest))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Two digits up to `highest`, and what follows.
fn two_digits(text: &[u8], highest: u8) -> Option<(&str, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let digits = std::str::from_utf8(digits).ok().filter(|d| is_digits(d))?;
    (digits.parse::<u8>().ok()? <= highest).then_some((digits, rest))
}

fn push_fraction(out: &mut String, digits: &str) {
    let digits = digits.trim_end_matches('0');
    if !digits.is_empty() {
        out.push('.');
        out.push_str(digits);
    }
}

/// Nothing, `Z`, `+01`, `-03:30`.
fn is_offset(text: &[u8]) -> bool {
    match text {
        [] | [b'Z'] => true,
        [b'+' | b'-', offset @ ..] => {
            let Some((_, minutes)) = two_digits(offset, 15) else { return false };
            let minutes = minutes.strip_prefix(b":").unwrap_or(minutes);
            minutes.is_empty() || two_digits(minutes, 59).is_some_and(|(_, rest)| rest.is_empty())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (value, want) in [
            ("2026-01-31", Some("2026-01-31")),
            (" 2024-02-29 ", Some("2024-02-29")),
            ("0001-01-01", Some("0001-01-01")),
            ("2000-02-29", Some("2000-02-29")),
            ("1900-02-29", None),
            ("2026-04-31", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-01-00", None),
            ("0000-01-01", None),
            ("2026-1-2", None),
            ("01/31/2026", None),
            ("31.01.2026", None),
            ("01-31-2026", None),
            ("20260131", None),
            ("12026-01-31", None),
            ("0044-03-15 BC", None),
            ("2026-01-31 00:00:00", None),
            ("infinity", None),
            ("today", None),
            ("+026-01-01", None),
            ("", None),
        ] {
            assert_eq!(date_text(value.as_bytes()).as_deref(), want, "{value}");
        }
        for (days, want) in [
            (0, Some("2000-01-01")),
            (-1, Some("1999-12-31")),
            (59, Some("2000-02-29")),
            (60, Some("2000-03-01")),
            (0x2279, Some("2024-02-29")),
            (-730_119, Some("0001-01-01")),
            (-730_120, None),
            (2_921_939, Some("9999-12-31")),
            (2_921_940, None),
            (i32::MAX, None),
            (i32::MIN, None),
        ] {
            assert_eq!(date_binary(&days.to_be_bytes()).as_deref(), want, "{days}");
        }
        assert_eq!(date_binary(&[0; 8]), None);
    }

    #[test]
    fn timestamps() {
        for (value, want) in [
            ("2026-01-31 10:20:30", Some("2026-01-31 10:20:30")),
            ("2026-01-31T10:20:30", Some("2026-01-31 10:20:30")),
            ("2026-01-31 10:20", Some("2026-01-31 10:20:00")),
            ("2026-01-31", Some("2026-01-31 00:00:00")),
            ("2026-01-31 10:20:30.500", Some("2026-01-31 10:20:30.5")),
            ("2026-01-31 10:20:30.000000", Some("2026-01-31 10:20:30")),
            ("2026-01-31 10:20:30.123456", Some("2026-01-31 10:20:30.123456")),
            ("2026-01-31 10:20:30.1234567", None),
            ("2026-01-31 10:20:30.", None),
            ("2026-01-31 10:20:30Z", Some("2026-01-31 10:20:30")),
            ("2026-01-31 10:20:30.5+02", Some("2026-01-31 10:20:30.5")),
            ("2026-01-31 10:20:30-03:30", Some("2026-01-31 10:20:30")),
            ("2026-01-31 10:20:30+2", None),
            ("2026-01-31 10:20:30 UTC", None),
            ("2026-01-31 24:00:00", None),
            ("2026-01-31 10:60:00", None),
            ("2026-01-31 10:20:60", None),
            ("2026-01-31 1:20:30", None),
            ("2026-01-31 10", None),
            ("2026-01-31  10:20:30", None),
            ("2026-01-31 10:20:30 PM", None),
            ("31/01/2026 10:20:30", None),
            ("Sat Jan 31 10:20:30 2026", None),
            ("-infinity", None),
            ("now", None),
        ] {
            assert_eq!(timestamp_text(value.as_bytes()).as_deref(), want, "{value}");
        }
        for (micros, want) in [
            (0, Some("2000-01-01 00:00:00")),
            (0x16_e360, Some("2000-01-01 00:00:01.5")),
            (-1, Some("1999-12-31 23:59:59.999999")),
            (DAY * 60 + 3_661_000_000, Some("2000-03-01 01:01:01")),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            assert_eq!(timestamp_binary(&i64::to_be_bytes(micros)).as_deref(), want, "{micros}");
        }
        assert_eq!(timestamp_binary(&[0; 4]), None);
    }
}
