//! Reads JSON text into nodes, without recursion.

use std::collections::HashMap;

use super::quote::{escape_unit, quote_char};
use super::{JsonError, LINE, Node, PLAIN, Result, Text};

pub(super) struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) extra: Vec<u8>,
    pub(super) orders: Vec<Vec<(u32, u32)>>,
    /// All white space so far is what printing with two spaces gives.
    pub(super) laid_out: bool,
    /// Key marks of the objects that are open, innermost last: finds duplicates cheaply.
    marks: Vec<u64>,
}

struct Open {
    node: u32,
    len: u32,
    object: bool,
    /// Where this object's marks begin.
    marks: usize,
    /// A key that looks like an array index was seen.
    indexed: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            nodes: Vec::with_capacity(text.len() / 16 + 4),
            extra: Vec::new(),
            orders: Vec::new(),
            laid_out: true,
            marks: Vec::new(),
        }
    }
}

impl Parser<'_> {
    pub(super) fn document(&mut self, max_depth: usize) -> Result<()> {
        let mut stack: Vec<Open> = Vec::new();
        self.no_space();
        if self.at == self.text.len() {
            return Err(JsonError::Empty);
        }
        'value: loop {
            // One value starts here.
            match self.peek()? {
                open @ (b'{' | b'[') => {
                    if stack.len() == max_depth {
                        return Err(JsonError::TooDeep(max_depth));
                    }
                    self.at += 1;
                    let object = open == b'{';
                    stack.push(Open {
                        node: self.index(),
                        len: 0,
                        object,
                        marks: self.marks.len(),
                        indexed: false,
                    });
                    self.nodes.push(if object {
                        Node::Object {
                            len: 0,
                            next: 0,
                            order: PLAIN,
                        }
                    } else {
                        Node::Array { len: 0, next: 0 }
                    });
                    let before = self.at;
                    self.space();
                    if self.peek()? == if object { b'}' } else { b']' } {
                        self.laid_out &= self.at == before;
                        self.at += 1;
                        self.close(&mut stack);
                    } else {
                        self.laid_out &= self.is_new_line(before, stack.len());
                        if object {
                            self.key(&mut stack)?;
                        }
                        continue 'value;
                    }
                }
                b'"' => {
                    let text = self.string()?;
                    self.nodes.push(Node::String(text));
                }
                b'-' | b'0'..=b'9' => {
                    let number = self.number()?;
                    self.nodes.push(number);
                }
                b't' => self.literal(b"true", Node::Bool(true))?,
                b'f' => self.literal(b"false", Node::Bool(false))?,
                b'n' => self.literal(b"null", Node::Null)?,
                _ => return Err(JsonError::Unexpected(self.at)),
            }
            // One value ended here: what follows belongs to the innermost open container.
            loop {
                let Some(open) = stack.last_mut() else {
                    self.no_space();
                    return if self.at == self.text.len() {
                        Ok(())
                    } else {
                        Err(JsonError::Trailing(self.at))
                    };
                };
                open.len += 1;
                let object = open.object;
                let before = self.at;
                self.space();
                match self.peek()? {
                    b',' => {
                        self.laid_out &= self.at == before;
                        self.at += 1;
                        let before = self.at;
                        self.space();
                        self.laid_out &= self.is_new_line(before, stack.len());
                        if object {
                            self.key(&mut stack)?;
                        }
                        continue 'value;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return Err(JsonError::Unexpected(self.at)),
                }
                self.laid_out &= self.is_new_line(before, stack.len() - 1);
                self.at += 1;
                self.close(&mut stack);
            }
        }
    }

    fn index(&self) -> u32 {
        // A node takes at least one byte of a text that is shorter than 4 GiB.
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    fn peek(&self) -> Result<u8> {
        self.text
            .get(self.at)
            .copied()
            .ok_or(JsonError::Truncated(self.at))
    }

    /// Skips white space where a laid out text has none.
    fn no_space(&mut self) {
        let before = self.at;
        self.space();
        self.laid_out &= self.at == before;
    }

    /// True if the white space since `before` is a line feed and two spaces per level.
    fn is_new_line(&self, before: usize, level: usize) -> bool {
        let space = &self.text[before..self.at];
        let indent = level * 2;
        if indent < LINE.len() {
            return *space == LINE[..=indent];
        }
        space.len() == 1 + indent && space[0] == b'\n' && space[1..].iter().all(|&b| b == b' ')
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\n' | b'\r' | b'\t')) = self.text.get(self.at) {
            self.at += 1;
            // Indentation, mostly.
            while *byte == b'\n' && self.text[self.at..].starts_with(b"        ") {
                self.at += 8;
            }
        }
    }

    fn literal(&mut self, word: &[u8], node: Node) -> Result<()> {
        for (offset, expected) in word.iter().enumerate() {
            match self.text.get(self.at + offset) {
                Some(byte) if byte == expected => {}
                Some(_) => return Err(JsonError::Unexpected(self.at + offset)),
                None => return Err(JsonError::Truncated(self.text.len())),
            }
        }
        self.at += word.len();
        self.nodes.push(node);
        Ok(())
    }

    /// Reads `"key" :` and leaves the cursor at the value.
    fn key(&mut self, stack: &mut [Open]) -> Result<()> {
        if self.peek()? != b'"' {
            return Err(JsonError::Unexpected(self.at));
        }
        let text = self.string()?;
        let from = if text.rewritten {
            &self.extra[..]
        } else {
            self.text
        };
        let inner = &from[text.start as usize + 1..(text.start + text.len) as usize - 1];
        self.marks.push(mark(inner));
        if let Some(open) = stack.last_mut() {
            open.indexed |= array_index(inner).is_some();
        }
        self.nodes.push(Node::String(text));
        self.no_space();
        if self.peek()? != b':' {
            return Err(JsonError::Unexpected(self.at));
        }
        self.at += 1;
        let before = self.at;
        self.space();
        self.laid_out &= self.text[before..self.at] == *b" ";
        Ok(())
    }

    fn close(&mut self, stack: &mut Vec<Open>) {
        let Some(open) = stack.pop() else { return };
        let next = self.index();
        self.nodes[open.node as usize] = if open.object {
            let order = if open.indexed || has_duplicates(&mut self.marks[open.marks..]) {
                self.reorder(open.node, open.len)
            } else {
                PLAIN
            };
            self.marks.truncate(open.marks);
            Node::Object {
                len: open.len,
                next,
                order,
            }
        } else {
            Node::Array {
                len: open.len,
                next,
            }
        };
    }

    /// Computes JavaScript's key order of an object: array indices ascending, then the others as
    /// first seen; the last value of a repeated key wins.
    fn reorder(&mut self, node: u32, len: u32) -> u32 {
        let mut members: Vec<(u32, u32)> = Vec::with_capacity(len as usize);
        let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(len as usize);
        let mut at = node + 1;
        for _ in 0..len {
            let Node::String(text) = self.nodes[at as usize] else {
                break;
            };
            let from = if text.rewritten {
                &self.extra[..]
            } else {
                self.text
            };
            let key = &from[text.start as usize..(text.start + text.len) as usize];
            let value = at + 1;
            if let Some(&place) = seen.get(key) {
                members[place].1 = value;
            } else {
                seen.insert(key, members.len());
                members.push((at, value));
            }
            at = match self.nodes[value as usize] {
                Node::Array { next, .. } | Node::Object { next, .. } => next,
                _ => value + 1,
            };
        }
        let index_of = |key: u32| match self.nodes[key as usize] {
            Node::String(text) => {
                let from = if text.rewritten {
                    &self.extra[..]
                } else {
                    self.text
                };
                array_index(&from[text.start as usize + 1..(text.start + text.len) as usize - 1])
            }
            _ => None,
        };
        // Stable: named keys keep their order behind the indices.
        members.sort_by_key(|&(key, _)| index_of(key).map_or((1, 0), |index| (0, index)));
        if members.len() == len as usize && members.is_sorted() {
            return PLAIN;
        }
        self.orders.push(members);
        u32::try_from(self.orders.len() - 1).unwrap_or(PLAIN)
    }

    /// Reads a string; gives its canonical text, with quotes.
    fn string(&mut self) -> Result<Text> {
        let whole = self.at;
        self.at += 1;
        if self.plain()? == b'"' {
            self.at += 1;
            return Ok(Self::text_of(whole, self.at));
        }
        // An escape: decode and print again as JSON.stringify would.
        let from = self.extra.len();
        self.extra.extend_from_slice(&self.text[whole..self.at]);
        loop {
            self.at += 1;
            self.escape()?;
            let start = self.at;
            let end = self.plain()?;
            self.extra.extend_from_slice(&self.text[start..self.at]);
            if end == b'"' {
                self.at += 1;
                self.extra.push(b'"');
                if self.extra[from..] == self.text[whole..self.at] {
                    self.extra.truncate(from);
                    return Ok(Self::text_of(whole, self.at));
                }
                return Ok(Text {
                    start: u32::try_from(from).map_err(|_| JsonError::TooLong)?,
                    len: u32::try_from(self.extra.len() - from).map_err(|_| JsonError::TooLong)?,
                    rewritten: true,
                });
            }
        }
    }

    /// Moves to the next quote or backslash inside a string, and gives it.
    fn plain(&mut self) -> Result<u8> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        // Bit tricks of "Hacker's Delight", 6-1: a high bit where a byte is zero, or below n. They
        // may also mark bytes above a marked one, so a word with a mark is looked at byte by byte.
        let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let has_less = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
        while let Some(chunk) = self.text[self.at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let quote = has_zero(word ^ (ONES * u64::from(b'"')));
            let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
            if quote | backslash | has_less(word, 0x20) != 0 {
                break;
            }
            self.at += 8;
        }
        loop {
            match self.peek()? {
                end @ (b'"' | b'\\') => return Ok(end),
                0..=0x1f => return Err(JsonError::Unexpected(self.at)),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        let at = self.at;
        let kind = self.peek()?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.extra.extend_from_slice(&[b'\\', kind]);
            }
            b'/' => self.extra.push(b'/'),
            b'u' => {
                let unit = self.hex4()?;
                if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with(b"\\u") {
                    let rest = self.at;
                    self.at += 2;
                    let low = self.hex4()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let code = 0x1_0000
                            + ((u32::from(unit) - 0xd800) << 10)
                            + (u32::from(low) - 0xdc00);
                        quote_char(char::from_u32(code).unwrap_or('\u{fffd}'), &mut self.extra);
                        return Ok(());
                    }
                    self.at = rest;
                }
                match char::from_u32(u32::from(unit)) {
                    Some(char) => quote_char(char, &mut self.extra),
                    None => escape_unit(unit, &mut self.extra),
                }
            }
            _ => return Err(JsonError::Unexpected(at)),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u16> {
        let mut unit = 0_u16;
        for _ in 0..4 {
            let digit = match self.peek()? {
                byte @ b'0'..=b'9' => byte - b'0',
                byte @ b'a'..=b'f' => byte - b'a' + 10,
                byte @ b'A'..=b'F' => byte - b'A' + 10,
                _ => return Err(JsonError::Unexpected(self.at)),
            };
            unit = unit << 4 | u16::from(digit);
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<Node> {
        let start = self.at;
        let negative = self.text[start] == b'-';
        if negative {
            self.at += 1;
        }
        let mut plain = !negative;
        match self.peek()? {
            b'0' => {
                self.at += 1;
                plain &= true;
            }
            b'1'..=b'9' => self.digits(),
            _ => return Err(JsonError::Unexpected(self.at)),
        }
        // Up to 15 digits are exact and printed as they stand.
        plain &= self.at - start <= 15;
        if self.text.get(self.at) == Some(&b'.') {
            plain = false;
            self.at += 1;
            self.digit()?;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            plain = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digit()?;
            self.digits();
        }
        if plain {
            return Ok(Node::Number(Self::text_of(start, self.at)));
        }
        let source = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        let value: f64 = source.parse().map_err(|_| JsonError::Unexpected(start))?;
        // 1e400 parses to Infinity, and JSON.stringify(Infinity) is null.
        if !value.is_finite() {
            self.laid_out = false;
            return Ok(Node::Null);
        }
        let mut buffer = ryu_js::Buffer::new();
        let printed = buffer.format_finite(value).as_bytes();
        if printed == source.as_bytes() {
            return Ok(Node::Number(Self::text_of(start, self.at)));
        }
        let from = self.extra.len();
        self.extra.extend_from_slice(printed);
        Ok(Node::Number(Text {
            start: u32::try_from(from).map_err(|_| JsonError::TooLong)?,
            len: u32::try_from(printed.len()).map_err(|_| JsonError::TooLong)?,
            rewritten: true,
        }))
    }

    fn digit(&self) -> Result<()> {
        if self.peek()?.is_ascii_digit() {
            Ok(())
        } else {
            Err(JsonError::Unexpected(self.at))
        }
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn text_of(start: usize, end: usize) -> Text {
        // The text is shorter than 4 GiB, checked at the start.
        Text {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(end - start).unwrap_or(0),
            rewritten: false,
        }
    }
}

/// A mark that usually differs for different keys: their ends and their length. Equal marks lead to
/// the exact comparison in `reorder`.
fn mark(key: &[u8]) -> u64 {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (first, last) = (key.first_chunk::<8>(), key.last_chunk::<8>());
    if first.is_none() {
        let mut short = [0; 8];
        short[..key.len()].copy_from_slice(key);
        return u64::from_le_bytes(short) ^ (key.len() as u64) << 56;
    }
    word(first)
        ^ word(last).rotate_left(29)
        ^ (key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn has_duplicates(marks: &mut [u64]) -> bool {
    if marks.len() <= 32 {
        return marks
            .iter()
            .enumerate()
            .any(|(at, mark)| marks[..at].contains(mark));
    }
    marks.sort_unstable();
    marks.windows(2).any(|pair| pair[0] == pair[1])
}

/// True for a key that `JSON.stringify` prints before all others: it spells an array index.
#[must_use]
pub fn is_array_index(key: &[u8]) -> bool {
    array_index(key).is_some()
}

/// The array index that a key spells, if it does: 0 to 2^32 - 2 without leading zeros.
fn array_index(key: &[u8]) -> Option<u32> {
    if key.is_empty() || key.len() > 10 || (key[0] == b'0' && key.len() > 1) {
        return None;
    }
    if !key.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let index: u64 = std::str::from_utf8(key).ok()?.parse().ok()?;
    u32::try_from(index).ok().filter(|&index| index != u32::MAX)
}
