//! Text whose every character can be seen.

use std::borrow::Cow;

/// A text in which what cannot be seen, or turns round what follows it, is shown by its number:
/// control characters, line ends among them, and marks of the writing direction. Nothing else
/// changes; `<` and `&` are left to what writes the text into a page.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_number_and_the_rest_stays() {
        for (text, shown) in [
            ("user.joe.Entw&APw-rfe", "user.joe.Entw&APw-rfe"),
            ("a\0b\nc\x1b[2J", "a\\u{0}b\\u{a}c\\u{1b}[2J"),
            ("x\u{202e}gpj.exe", "x\\u{202e}gpj.exe"),
            ("Grüße \"<b>\"", "Grüße \"<b>\""),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
