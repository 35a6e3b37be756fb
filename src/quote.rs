//! What others wrote, in lines of our own: it cannot break them, hide in them, or make them endless.

/// How much of others' text tells enough.
const MOST: usize = 200;

/// The first 200 characters of `text` as one line: white space, control characters and what is not seen are single spaces.
pub fn excerpt(text: &str) -> String {
    let clean: String = text.chars().map(seen).collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&line, MOST)
}

/// `text`, which may quote others, with a space for each character that is not seen, and cut after `most`.
pub(crate) fn line(text: &str, most: usize) -> String {
    let clean: String = text
        .chars()
        .take(most.saturating_add(1))
        .map(seen)
        .collect();
    cut(&clean, most)
}

/// The first `most` characters, and whether there are more.
fn cut(line: &str, most: usize) -> String {
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

fn seen(c: char) -> char {
    if c.is_control() || is_invisible(c) {
        ' '
    } else {
        c
    }
}

/// Characters that turn or hide what stands beside them on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(
            excerpt("a\r\nb\u{1b}[31m  c\u{202e}d\u{e0041}"),
            "a b [31m c d"
        );
        assert_eq!(excerpt(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(excerpt(&"é".repeat(500)), format!("{}…", "é".repeat(200)));
    }

    #[test]
    fn a_line_keeps_its_own_spaces_and_says_what_it_lacks() {
        assert_eq!(line("a  b\n\u{202e}é", 6), "a  b  …");
        assert_eq!(line("a  b\n\u{202e}é", 7), "a  b  é");
        assert_eq!(line("ééé", 3), "ééé");
        assert_eq!(line("éééé", 3), "ééé…");
    }
}
