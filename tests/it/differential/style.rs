//! What makes a text odd: words that do not belong there, comments, spacing, case.

use super::rng::Rng;

/// The text with one word lost, doubled, moved, or replaced by one that does not belong there.
pub fn mutated(rng: &mut Rng, text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let i = rng.below(words.len());
    match rng.below(6) {
        0 => {
            words.remove(i);
        }
        1 => words.insert(i, words[i]),
        2 => words.insert(
            i,
            rng.pick(&["nowhere", "1 / 0", ")", "(", "FROM", "SET", ",", "'open", "\"", "t.", "/*"]),
        ),
        3 => words[i] = rng.pick(&["nowhere", "nowhere.id", "1", "'x'", "version", "NULL", "$1", "$7"]),
        4 => words.truncate(i),
        _ => {
            let j = rng.below(words.len());
            words.swap(i, j);
        }
    }
    words.join(" ")
}

/// The text with comments, odd spacing and odd case between and in its words, outside of quotes.
pub fn styled(rng: &mut Rng, text: &str) -> String {
    let mut out = String::new();
    let mut quote: Option<char> = None;
    let mut upper = None;
    let mut last = ' ';
    for c in text.chars() {
        match quote {
            Some(q) => {
                quote = (c != q).then_some(q);
                out.push(c);
            }
            None => match c {
                '\'' | '"' => {
                    quote = Some(c);
                    out.push(c);
                }
                // The only dollar quotes made here are `$q$..$q$`.
                'q' if last == '$' => return text.to_owned(),
                ' ' => {
                    upper = rng.chance(20).then(|| rng.chance(50));
                    out.push_str(if rng.chance(85) {
                        " "
                    } else {
                        rng.pick(&[
                            "  ",
                            "\n",
                            "\t",
                            " /* c */ ",
                            "/**/",
                            " -- it's\n",
                            " /* a /* ' */ \" */ ",
                            "\r\n",
                            " /* größe = 1 */ ",
                            "\n-- WHERE id = 1\n",
                        ])
                    });
                }
                c if c.is_ascii_alphabetic() => out.push(match upper {
                    Some(true) => c.to_ascii_uppercase(),
                    Some(false) => c.to_ascii_lowercase(),
                    None => c,
                }),
                c => out.push(c),
            },
        }
        last = c;
    }
    match rng.below(12) {
        0 => out + ";",
        1 => out + " -- end",
        2 => format!("/* {{'user': '1'}} */ {out}"),
        3 => out + " ; ",
        _ => out,
    }
}
