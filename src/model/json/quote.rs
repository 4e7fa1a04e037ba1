//! Strings between their JSON form and their text.

use std::borrow::Cow;

pub(super) fn escape_unit(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 15)]);
    }
}

pub(super) fn quote_char(char: char, out: &mut Vec<u8>) {
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{9}' => out.extend_from_slice(b"\\t"),
        '\u{a}' => out.extend_from_slice(b"\\n"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\u{d}' => out.extend_from_slice(b"\\r"),
        '\0'..='\u{1f}' => escape_unit(u16::try_from(u32::from(char)).unwrap_or(0), out),
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends `text` as `JSON.stringify(text)` prints it.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for char in text.chars() {
        quote_char(char, out);
    }
    out.push(b'"');
}

/// Decodes a canonical string token.
pub(super) fn unquote(quoted: &[u8]) -> Cow<'_, str> {
    let inner = std::str::from_utf8(&quoted[1..quoted.len() - 1]).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let unit = chars
                    .by_ref()
                    .take(4)
                    .fold(0, |unit, digit| unit << 4 | digit.to_digit(16).unwrap_or(0));
                out.push(char::from_u32(unit).unwrap_or('\u{fffd}'));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Cow::Owned(out)
}
