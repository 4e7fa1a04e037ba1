//! JSON text as JavaScript sees it.
//!
//! A manifest's checksum is defined over what `JSON.stringify(JSON.parse(text))` gives, so this
//! module reads JSON the way `JSON.parse` does and prints it the way `JSON.stringify` does:
//! integer-like keys first and ascending, the last of two equal keys wins at the place of the
//! first, numbers are IEEE doubles, lone surrogates stay escaped, everything else is raw UTF-8.
//! `serde_json` refuses lone surrogates and keeps duplicate keys apart, hence our own reader.
//!
//! *Invariants*: parsing and printing never recurse, so depth costs no stack; printing a parsed
//! text in compact form is a fixed point (parsing that again prints the same bytes).
//!
//! *Limits*: texts under 4 GiB; nesting bounded by the caller. Source of the rules: ECMA-262,
//! `JSON.parse`, `SerializeJSONProperty`, `QuoteJSONString`, `OrdinaryOwnPropertyKeys`.

use std::borrow::Cow;
use std::collections::HashMap;

/// The deepest nesting that Waymark accepts. V8's `JSON.stringify` recurses and gives up at a few
/// thousand levels, so a deeper value could be stored but never be written again by a runner.
pub const MAX_DEPTH: usize = 2_000;

/// Why a text is not JSON, with the byte offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is empty or only white space.
    #[error("the text is empty")]
    Empty,
    /// The text ends inside a value.
    #[error("the text ends too early, at byte {0}")]
    Truncated(usize),
    /// A byte that JSON does not allow there.
    #[error("unexpected byte at {0}")]
    Unexpected(usize),
    /// Something follows the value.
    #[error("unexpected text after the value, at byte {0}")]
    Trailing(usize),
    /// Not UTF-8.
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// Nested deeper than the limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// Longer than 4 GiB.
    #[error("longer than 4 GiB")]
    TooLong,
}

type Result<T> = std::result::Result<T, JsonError>;

const PLAIN: u32 = u32::MAX;

/// A token's canonical text: in the source, or in `extra` where it had to be rewritten.
#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    len: u32,
    rewritten: bool,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Null,
    Bool(bool),
    Number(Text),
    /// With its quotes.
    String(Text),
    /// `next` is the index behind the subtree.
    Array {
        len: u32,
        next: u32,
    },
    /// Members are key, value, key, value …; `order` is `PLAIN` when source order is canonical.
    Object {
        len: u32,
        next: u32,
        order: u32,
    },
}

/// A parsed JSON text.
#[derive(Debug)]
pub struct Json<'a> {
    text: &'a [u8],
    nodes: Vec<Node>,
    extra: Vec<u8>,
    /// For objects whose source order is not canonical: the key nodes in canonical order, each
    /// with the value node that won.
    orders: Vec<Vec<(u32, u32)>>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value inside a parsed text.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    json: &'a Json<'a>,
    at: u32,
}

impl<'a> Json<'a> {
    /// Parses one JSON text, as `JSON.parse` would.
    pub fn parse(text: &'a [u8], max_depth: usize) -> Result<Self> {
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError::TooLong);
        }
        if let Err(error) = std::str::from_utf8(text) {
            // A cut in the middle of a character is a cut, not a strange encoding.
            return Err(match error.error_len() {
                None => JsonError::Truncated(text.len()),
                Some(_) => JsonError::NotUtf8(error.valid_up_to()),
            });
        }
        let mut parser = Parser {
            text,
            at: 0,
            nodes: Vec::with_capacity(text.len() / 16 + 4),
            extra: Vec::new(),
            orders: Vec::new(),
            hashes: Vec::new(),
        };
        parser.document(max_depth)?;
        Ok(Self {
            text,
            nodes: parser.nodes,
            extra: parser.extra,
            orders: parser.orders,
        })
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&'a self) -> Value<'a> {
        Value { json: self, at: 0 }
    }

    fn slice(&self, text: Text) -> &[u8] {
        let from = if text.rewritten {
            &self.extra[..]
        } else {
            self.text
        };
        &from[text.start as usize..(text.start + text.len) as usize]
    }

    fn next(&self, at: u32) -> u32 {
        match self.nodes[at as usize] {
            Node::Array { next, .. } | Node::Object { next, .. } => next,
            _ => at + 1,
        }
    }
}

impl<'a> Value<'a> {
    /// What this value is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.json.nodes[self.at as usize] {
            Node::Null => Kind::Null,
            Node::Bool(_) => Kind::Bool,
            Node::Number(_) => Kind::Number,
            Node::String(_) => Kind::String,
            Node::Array { .. } => Kind::Array,
            Node::Object { .. } => Kind::Object,
        }
    }

    /// True for an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// The members of an object in JavaScript's order; nothing for other values.
    #[must_use]
    pub fn entries(self) -> Entries<'a> {
        let (len, order) = match self.json.nodes[self.at as usize] {
            Node::Object {
                len, order: PLAIN, ..
            } => (len, None),
            Node::Object { order, .. } => {
                let order = &self.json.orders[order as usize];
                (u32::try_from(order.len()).unwrap_or(u32::MAX), Some(order))
            }
            _ => (0, None),
        };
        Entries {
            json: self.json,
            order,
            taken: 0,
            len,
            at: self.at + 1,
        }
    }

    /// The items of an array; nothing for other values.
    pub fn items(self) -> impl Iterator<Item = Value<'a>> {
        let json = self.json;
        let len = match json.nodes[self.at as usize] {
            Node::Array { len, .. } => len,
            _ => 0,
        };
        let mut at = self.at + 1;
        (0..len).map(move |_| {
            let value = Value { json, at };
            at = json.next(at);
            value
        })
    }

    /// The member of that name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.entries()
            .find(|(key, _)| key.is(name))
            .map(|(_, value)| value)
    }

    /// The text of a string; `None` for other values. Lone surrogates become U+FFFD.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self.json.nodes[self.at as usize] {
            Node::String(text) => Some(unquote(self.json.slice(text))),
            _ => None,
        }
    }

    /// True for the string `name`.
    #[must_use]
    pub fn is(self, name: &str) -> bool {
        match self.json.nodes[self.at as usize] {
            Node::String(text) => {
                let quoted = self.json.slice(text);
                let inner = &quoted[1..quoted.len() - 1];
                if inner.contains(&b'\\') {
                    unquote(quoted) == name
                } else {
                    inner == name.as_bytes()
                }
            }
            _ => false,
        }
    }

    /// The value of a number; `None` for other values.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self.json.nodes[self.at as usize] {
            Node::Number(text) => std::str::from_utf8(self.json.slice(text))
                .ok()?
                .parse()
                .ok(),
            _ => None,
        }
    }

    /// Appends the value as `JSON.stringify(value)` prints it.
    pub fn write_compact(self, out: &mut Vec<u8>) {
        self.write(out, None);
    }

    /// Appends the value as `JSON.stringify(value, null, 2)` prints it at nesting `level`.
    pub fn write_pretty(self, out: &mut Vec<u8>, level: usize) {
        self.write(out, Some(level));
    }

    fn write(self, out: &mut Vec<u8>, mut level: Option<usize>) {
        enum Frame<'a> {
            Array { left: u32, at: u32, first: bool },
            Object { entries: Entries<'a>, first: bool },
        }
        let json = self.json;
        let mut stack: Vec<Frame<'a>> = Vec::new();
        let mut current = Some(self.at);
        loop {
            if let Some(at) = current.take() {
                match json.nodes[at as usize] {
                    Node::Null => out.extend_from_slice(b"null"),
                    Node::Bool(true) => out.extend_from_slice(b"true"),
                    Node::Bool(false) => out.extend_from_slice(b"false"),
                    Node::Number(text) | Node::String(text) => {
                        out.extend_from_slice(json.slice(text));
                    }
                    Node::Array { len: 0, .. } => out.extend_from_slice(b"[]"),
                    Node::Object { len: 0, .. } => out.extend_from_slice(b"{}"),
                    Node::Array { len, .. } => {
                        out.push(b'[');
                        level = level.map(|level| level + 1);
                        stack.push(Frame::Array {
                            left: len,
                            at: at + 1,
                            first: true,
                        });
                    }
                    Node::Object { .. } => {
                        out.push(b'{');
                        level = level.map(|level| level + 1);
                        let entries = Value { json, at }.entries();
                        stack.push(Frame::Object {
                            entries,
                            first: true,
                        });
                    }
                }
            }
            let Some(frame) = stack.last_mut() else {
                return;
            };
            let (next, close) = match frame {
                Frame::Array { left: 0, .. } => (None, b']'),
                Frame::Array { left, at, first } => {
                    separator(out, *first, level);
                    *first = false;
                    *left -= 1;
                    let item = *at;
                    *at = json.next(item);
                    (Some(item), b']')
                }
                Frame::Object { entries, first } => match entries.next() {
                    None => (None, b'}'),
                    Some((key, value)) => {
                        separator(out, *first, level);
                        *first = false;
                        if let Node::String(text) = json.nodes[key.at as usize] {
                            out.extend_from_slice(json.slice(text));
                        }
                        out.extend_from_slice(if level.is_some() { b": " } else { b":" });
                        (Some(value.at), b'}')
                    }
                },
            };
            current = next;
            if current.is_none() {
                stack.pop();
                level = level.map(|level| level - 1);
                newline(out, level);
                out.push(close);
            }
        }
    }
}

fn separator(out: &mut Vec<u8>, first: bool, level: Option<usize>) {
    if !first {
        out.push(b',');
    }
    newline(out, level);
}

fn newline(out: &mut Vec<u8>, level: Option<usize>) {
    const SPACES: [u8; 64] = [b' '; 64];
    if let Some(level) = level {
        out.push(b'\n');
        let mut left = level * 2;
        while left > 0 {
            let take = left.min(SPACES.len());
            out.extend_from_slice(&SPACES[..take]);
            left -= take;
        }
    }
}

/// The members of an object, in JavaScript's order.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    json: &'a Json<'a>,
    order: Option<&'a Vec<(u32, u32)>>,
    taken: u32,
    len: u32,
    at: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Value<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken == self.len {
            return None;
        }
        let json = self.json;
        let (key, value) = if let Some(order) = self.order {
            order[self.taken as usize]
        } else {
            let key = self.at;
            self.at = json.next(key + 1);
            (key, key + 1)
        };
        self.taken += 1;
        Some((Value { json, at: key }, Value { json, at: value }))
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    extra: Vec<u8>,
    orders: Vec<Vec<(u32, u32)>>,
    /// Key hashes of the objects that are open, innermost last: finds duplicates cheaply.
    hashes: Vec<u64>,
}

struct Open {
    node: u32,
    len: u32,
    object: bool,
    /// Where this object's key hashes begin.
    hashes: usize,
    /// A key that looks like an array index was seen.
    indexed: bool,
}

impl Parser<'_> {
    fn document(&mut self, max_depth: usize) -> Result<()> {
        let mut stack: Vec<Open> = Vec::new();
        self.space();
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
                        hashes: self.hashes.len(),
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
                    self.space();
                    if self.peek()? == if object { b'}' } else { b']' } {
                        self.at += 1;
                        self.close(&mut stack);
                    } else {
                        if object {
                            self.key(&mut stack)?;
                        }
                        continue 'value;
                    }
                }
                b'"' => {
                    let (text, _) = self.string()?;
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
                    self.space();
                    return if self.at == self.text.len() {
                        Ok(())
                    } else {
                        Err(JsonError::Trailing(self.at))
                    };
                };
                open.len += 1;
                let object = open.object;
                self.space();
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.space();
                        if object {
                            self.key(&mut stack)?;
                        }
                        continue 'value;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return Err(JsonError::Unexpected(self.at)),
                }
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

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
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
        let (text, hash) = self.string()?;
        let inner = {
            let from = if text.rewritten {
                &self.extra[..]
            } else {
                self.text
            };
            &from[text.start as usize + 1..(text.start + text.len) as usize - 1]
        };
        if let Some(open) = stack.last_mut() {
            open.indexed |= array_index(inner).is_some();
        }
        self.hashes.push(hash);
        self.nodes.push(Node::String(text));
        self.space();
        if self.peek()? != b':' {
            return Err(JsonError::Unexpected(self.at));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn close(&mut self, stack: &mut Vec<Open>) {
        let Some(open) = stack.pop() else { return };
        let next = self.index();
        self.nodes[open.node as usize] = if open.object {
            let order = if open.indexed || has_duplicates(&mut self.hashes[open.hashes..]) {
                self.reorder(open.node, open.len)
            } else {
                PLAIN
            };
            self.hashes.truncate(open.hashes);
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
        self.orders.push(members);
        u32::try_from(self.orders.len() - 1).unwrap_or(PLAIN)
    }

    /// Reads a string; gives its canonical text (with quotes) and a hash of it.
    fn string(&mut self) -> Result<(Text, u64)> {
        let start = self.at;
        self.at += 1;
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return Err(JsonError::Truncated(self.at));
            };
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok((
                        self.text_of(start, self.at),
                        hash(&self.text[start..self.at]),
                    ));
                }
                b'\\' => break,
                0..=0x1f => return Err(JsonError::Unexpected(self.at)),
                _ => self.at += 1,
            }
        }
        // An escape: decode and print again as JSON.stringify would.
        let from = self.extra.len();
        self.extra.extend_from_slice(&self.text[start..self.at]);
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return Err(JsonError::Truncated(self.at));
            };
            match byte {
                b'"' => {
                    self.at += 1;
                    self.extra.push(b'"');
                    let text = Text {
                        start: u32::try_from(from).map_err(|_| JsonError::TooLong)?,
                        len: u32::try_from(self.extra.len() - from)
                            .map_err(|_| JsonError::TooLong)?,
                        rewritten: true,
                    };
                    return Ok((text, hash(&self.extra[from..])));
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..=0x1f => return Err(JsonError::Unexpected(self.at)),
                _ => {
                    self.extra.push(byte);
                    self.at += 1;
                }
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
            return Ok(Node::Number(self.text_of(start, self.at)));
        }
        let source = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        let value: f64 = source.parse().map_err(|_| JsonError::Unexpected(start))?;
        // 1e400 parses to Infinity, and JSON.stringify(Infinity) is null.
        if !value.is_finite() {
            return Ok(Node::Null);
        }
        let mut buffer = ryu_js::Buffer::new();
        let printed = buffer.format_finite(value).as_bytes();
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

    fn text_of(&self, start: usize, end: usize) -> Text {
        // The text is shorter than 4 GiB, checked at the start.
        Text {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(end - start).unwrap_or(0),
            rewritten: false,
        }
    }
}

/// FNV-1a over eight bytes at a time: only has to make different keys differ usually; equal hashes
/// lead to the exact comparison in `reorder`.
fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
    }
    for byte in chunks.remainder() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state
}

fn has_duplicates(hashes: &mut [u64]) -> bool {
    if hashes.len() <= 16 {
        return hashes
            .iter()
            .enumerate()
            .any(|(at, hash)| hashes[..at].contains(hash));
    }
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair[0] == pair[1])
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

fn escape_unit(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 15)]);
    }
}

fn quote_char(char: char, out: &mut Vec<u8>) {
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
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for char in text.chars() {
        quote_char(char, out);
    }
    out.push(b'"');
}

/// Decodes a canonical string token.
fn unquote(quoted: &[u8]) -> Cow<'_, str> {
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

/// A JSON value made of new parts and of values from parsed texts.
#[derive(Debug, Clone)]
pub enum Tree<'a> {
    /// A value of a parsed text, as it is.
    Value(Value<'a>),
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number, printed as JavaScript prints it.
    Number(f64),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Tree<'a>>),
    /// An object; the caller sees to it that no key is repeated or looks like an array index.
    Object(Vec<(Key<'a>, Tree<'a>)>),
}

/// The name of a member in a [`Tree`].
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// A new name.
    Name(Cow<'a, str>),
    /// A key of a parsed text, lone surrogates included.
    Value(Value<'a>),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(Cow::Borrowed(name))
    }
}

impl From<String> for Key<'_> {
    fn from(name: String) -> Self {
        Self::Name(Cow::Owned(name))
    }
}

impl<'a> From<&'a str> for Tree<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Tree<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<bool> for Tree<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'a> Tree<'a> {
    /// An object of the given members.
    #[must_use]
    pub fn object<K: Into<Key<'a>>>(members: impl IntoIterator<Item = (K, Tree<'a>)>) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }

    /// A number from a count that is exact in a double.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts and bytes stay far below 2^53"
    )]
    pub fn count(value: u64) -> Self {
        Self::Number(value as f64)
    }

    /// The members of an object value, ready to be edited.
    #[must_use]
    pub fn members(value: Value<'a>) -> Vec<(Key<'a>, Tree<'a>)> {
        value
            .entries()
            .map(|(key, value)| (Key::Value(key), Tree::Value(value)))
            .collect()
    }

    /// Appends the tree as `JSON.stringify(value)` prints it.
    pub fn write_compact(&self, out: &mut Vec<u8>) {
        self.write(out, None);
    }

    /// Appends the tree as `JSON.stringify(value, null, 2)` prints it at nesting `level`.
    pub fn write_pretty(&self, out: &mut Vec<u8>, level: usize) {
        self.write(out, Some(level));
    }

    /// The tree as a file of the runner: two-space indent, no final newline.
    #[must_use]
    pub fn to_pretty(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_pretty(&mut out, 0);
        out
    }

    // Recursion is bounded by the code that builds trees (a handful of levels).
    fn write(&self, out: &mut Vec<u8>, level: Option<usize>) {
        let inner = level.map(|level| level + 1);
        match self {
            Self::Value(value) => value.write(out, level),
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Number(value) => {
                // Adding zero turns -0 into 0, as JSON.stringify does.
                let mut buffer = ryu_js::Buffer::new();
                out.extend_from_slice(buffer.format(*value + 0.0).as_bytes());
            }
            Self::String(text) => quote(text, out),
            Self::Array(items) if items.is_empty() => out.extend_from_slice(b"[]"),
            Self::Object(members) if members.is_empty() => out.extend_from_slice(b"{}"),
            Self::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    separator(out, at == 0, inner);
                    item.write(out, inner);
                }
                newline(out, level);
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, (key, value)) in members.iter().enumerate() {
                    separator(out, at == 0, inner);
                    key.write(out);
                    out.extend_from_slice(if inner.is_some() { b": " } else { b":" });
                    value.write(out, inner);
                }
                newline(out, level);
                out.push(b'}');
            }
        }
    }
}

impl Key<'_> {
    /// True if this is the key `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Value(value) => value.is(name),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Name(name) => quote(name, out),
            Self::Value(value) => value.write(out, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str) -> String {
        let json = Json::parse(text.as_bytes(), MAX_DEPTH).expect("valid");
        let mut out = Vec::new();
        json.root().write_compact(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn pretty(text: &str) -> String {
        let json = Json::parse(text.as_bytes(), MAX_DEPTH).expect("valid");
        let mut out = Vec::new();
        json.root().write_pretty(&mut out, 0);
        String::from_utf8(out).expect("UTF-8")
    }

    fn error(text: &[u8]) -> JsonError {
        Json::parse(text, MAX_DEPTH).expect_err("invalid")
    }

    #[test]
    fn numbers_are_printed_as_javascript_prints_them() {
        for (source, printed) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1.0", "1"),
            ("1.50", "1.5"),
            ("1e21", "1e+21"),
            ("1E20", "100000000000000000000"),
            ("123456789012345678", "123456789012345680"),
            ("9007199254740993", "9007199254740992"),
            ("1e-7", "1e-7"),
            ("0.000001", "0.000001"),
            ("5e-324", "5e-324"),
            ("1e400", "null"),
            ("-1e400", "null"),
            ("-12", "-12"),
            ("999999999999999", "999999999999999"),
        ] {
            assert_eq!(compact(source), printed, "{source}");
        }
    }

    #[test]
    fn keys_are_ordered_as_javascript_orders_them() {
        assert_eq!(
            compact(r#"{"b":1,"10":2,"a":3,"9":4,"01":5,"4294967294":6,"4294967295":7}"#),
            r#"{"9":4,"10":2,"4294967294":6,"b":1,"a":3,"01":5,"4294967295":7}"#
        );
        assert_eq!(compact(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(compact(r#"{"\u0061":1,"a":2}"#), r#"{"a":2}"#);
        assert_eq!(
            compact(r#"{"__proto__":1,"b":2}"#),
            r#"{"__proto__":1,"b":2}"#
        );
        let many: Vec<String> = (0..40).map(|n| format!("\"k{}\":{n}", n % 30)).collect();
        let text = format!("{{{}}}", many.join(","));
        assert_eq!(
            Json::parse(text.as_bytes(), 9)
                .expect("valid")
                .root()
                .entries()
                .count(),
            30
        );
    }

    #[test]
    fn strings_are_escaped_as_javascript_escapes_them() {
        for (source, printed) in [
            (r#""\/\u0041\u001f\u000a""#, "\"/A\\u001f\\n\""),
            (r#""\ud83d\ude00""#, "\"😀\""),
            (r#""\ud83d""#, r#""\ud83d""#),
            (r#""\uDE00\uD83D""#, r#""\ude00\ud83d""#),
            (r#""\ud83d\u0041""#, r#""\ud83dA""#),
            (r#""\ud83d\ud83d\ude00""#, "\"\\ud83d😀\""),
            ("\"\\u2028\u{2029}\\u007f\"", "\"\u{2028}\u{2029}\u{7f}\""),
            (r#""a\"\\b""#, r#""a\"\\b""#),
        ] {
            assert_eq!(compact(source), printed, "{source}");
        }
    }

    #[test]
    fn pretty_form_is_that_of_stringify_with_two_spaces() {
        assert_eq!(
            pretty(r#"{"a":[],"b":{},"c":[1,{"d":null}]}"#),
            "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \"d\": null\n    }\n  ]\n}"
        );
    }

    #[test]
    fn bad_text_is_refused_with_its_place() {
        assert_eq!(error(b""), JsonError::Empty);
        assert_eq!(error(b" \n"), JsonError::Empty);
        assert_eq!(error(b"{\"a\":"), JsonError::Truncated(5));
        assert_eq!(error(b"{\"a"), JsonError::Truncated(3));
        assert_eq!(error(b"tru"), JsonError::Truncated(3));
        assert_eq!(error(b"{} x"), JsonError::Trailing(3));
        assert_eq!(error(b"{\"a\" 1}"), JsonError::Unexpected(5));
        assert_eq!(error(b"[1,]"), JsonError::Unexpected(3));
        assert_eq!(error(b"[01]"), JsonError::Unexpected(2));
        assert_eq!(error(b"[1.]"), JsonError::Unexpected(3));
        assert_eq!(error(b"\"\x01\""), JsonError::Unexpected(1));
        assert_eq!(error(b"\"\\x\""), JsonError::Unexpected(2));
        assert_eq!(error(b"\"\\u12g4\""), JsonError::Unexpected(5));
        assert_eq!(error(b"\"\xff\""), JsonError::NotUtf8(1));
        assert_eq!(error(b"\xef\xbb\xbf{}"), JsonError::Unexpected(0));
        assert_eq!(error(b"\"\xc3"), JsonError::Truncated(2));
        assert_eq!(error(&vec![b'['; 10_000]), JsonError::TooDeep(MAX_DEPTH));
    }

    #[test]
    fn deep_values_cost_no_stack() {
        let text = [vec![b'['; 1_999], vec![b']'; 1_999]].concat();
        let json = Json::parse(&text, MAX_DEPTH).expect("valid");
        let mut out = Vec::new();
        json.root().write_compact(&mut out);
        assert_eq!(out, text);
    }

    #[test]
    fn values_are_found_by_name() {
        let json = Json::parse(br#"{"a":{"b":[1,"x\n",true]},"c":2.5}"#, 9).expect("valid");
        let items: Vec<Value<'_>> = json
            .root()
            .get("a")
            .and_then(|a| a.get("b"))
            .expect("there")
            .items()
            .collect();
        assert_eq!(items[0].as_f64(), Some(1.0));
        assert_eq!(items[1].as_str().as_deref(), Some("x\n"));
        assert!(items[1].is("x\n"));
        assert_eq!(items[2].kind(), Kind::Bool);
        assert_eq!(json.root().get("c").and_then(Value::as_f64), Some(2.5));
        assert!(json.root().get("d").is_none());
    }

    #[test]
    fn trees_print_new_and_old_parts_alike() {
        let json = Json::parse(br#"{ "x" : [ 1 , 2 ] }"#, 9).expect("valid");
        let tree = Tree::object([
            ("a", Tree::Value(json.root())),
            ("b", Tree::Number(-0.0)),
            ("c", Tree::Array(vec![Tree::Null, Tree::from("q\"")])),
        ]);
        let mut out = Vec::new();
        tree.write_compact(&mut out);
        assert_eq!(out, br#"{"a":{"x":[1,2]},"b":0,"c":[null,"q\""]}"#);
        assert_eq!(
            String::from_utf8(tree.to_pretty()).expect("UTF-8"),
            "{\n  \"a\": {\n    \"x\": [\n      1,\n      2\n    ]\n  },\n  \"b\": 0,\n  \"c\": [\n    null,\n    \"q\\\"\"\n  ]\n}"
        );
    }
}
