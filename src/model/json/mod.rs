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

mod classes;
mod out;
mod parser;
mod quote;
mod tree;

use std::borrow::Cow;
use std::cmp::Ordering;

pub use classes::{Classes, Numbers};
pub use out::{Blocks, Out};
use parser::Parser;
pub use parser::is_array_index;
use quote::unquote;
pub use tree::{Key, Tree};

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
    /// The text is, byte for byte, what printing it with two spaces gives.
    verbatim: bool,
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
        let mut parser = Parser::new(text);
        parser.document(max_depth)?;
        let verbatim = parser.laid_out && parser.extra.is_empty() && parser.orders.is_empty();
        Ok(Self {
            text,
            nodes: parser.nodes,
            extra: parser.extra,
            orders: parser.orders,
            verbatim,
        })
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&'a self) -> Value<'a> {
        Value { json: self, at: 0 }
    }

    /// The source, if it is byte for byte what `JSON.stringify(value, null, 2)` prints.
    #[must_use]
    pub fn verbatim(&self) -> Option<&'a [u8]> {
        self.verbatim.then_some(self.text)
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
    /// Room for this value's print, if it is a whole text.
    fn size_hint(self) -> usize {
        if self.at == 0 {
            self.json.text.len()
        } else {
            0
        }
    }

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

    /// Where a string or a number stands in the source, if it stands there as it is printed.
    #[must_use]
    pub fn source_range(self) -> Option<std::ops::Range<usize>> {
        match self.json.nodes[self.at as usize] {
            Node::String(text) | Node::Number(text) if !text.rewritten => {
                let start = text.start as usize;
                Some(start..start + text.len as usize)
            }
            _ => None,
        }
    }

    /// The text this value is part of.
    #[must_use]
    pub fn json(self) -> &'a Json<'a> {
        self.json
    }

    /// True for the string `name`.
    #[must_use]
    pub fn is(self, name: &str) -> bool {
        match self.json.nodes[self.at as usize] {
            Node::String(text) => {
                let quoted = self.json.slice(text);
                let inner = &quoted[1..quoted.len() - 1];
                // An escape is longer than what it stands for, at most six times.
                match inner.len().cmp(&name.len()) {
                    Ordering::Less => false,
                    Ordering::Equal => inner == name.as_bytes() && !inner.contains(&b'\\'),
                    Ordering::Greater => {
                        inner.len() <= 6 * name.len()
                            && inner.contains(&b'\\')
                            && unquote(quoted) == name
                    }
                }
            }
            _ => false,
        }
    }

    /// `true` or `false`; `None` for other values.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.json.nodes[self.at as usize] {
            Node::Bool(value) => Some(value),
            _ => None,
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
    pub fn write_compact(self, out: &mut impl Out) {
        self.write(out, None);
    }

    /// Appends the value as `JSON.stringify(value, null, 2)` prints it at nesting `level`.
    pub fn write_pretty(self, out: &mut impl Out, level: usize) {
        self.write(out, Some(level));
    }

    fn write(self, out: &mut impl Out, mut level: Option<usize>) {
        if self.at == 0
            && self.json.verbatim
            && let Some(level) = level
        {
            return indented(self.json.text, level, out);
        }
        let json = self.json;
        let mut stack: Vec<Frame<'a>> = Vec::new();
        let mut current = Some(self.at);
        loop {
            if let Some(at) = current.take() {
                match json.nodes[at as usize] {
                    Node::Null => out.put(b"null"),
                    Node::Bool(true) => out.put(b"true"),
                    Node::Bool(false) => out.put(b"false"),
                    Node::Number(text) | Node::String(text) => out.put(json.slice(text)),
                    Node::Array { len: 0, .. } => out.put(b"[]"),
                    Node::Object { len: 0, .. } => out.put(b"{}"),
                    Node::Array { len, .. } => {
                        out.put(b"[");
                        level = level.map(|level| level + 1);
                        stack.push(Frame::Array {
                            left: len,
                            at: at + 1,
                            first: true,
                        });
                    }
                    Node::Object { .. } => {
                        out.put(b"{");
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
            let (next, close): (_, &[u8]) = match frame {
                Frame::Array { left: 0, .. } => (None, b"]"),
                Frame::Array { left, at, first } => {
                    separator(out, *first, level);
                    *first = false;
                    *left -= 1;
                    let item = *at;
                    *at = json.next(item);
                    (Some(item), b"]")
                }
                Frame::Object { entries, first } => match entries.next() {
                    None => (None, b"}"),
                    Some((key, value)) => {
                        separator(out, *first, level);
                        *first = false;
                        if let Node::String(text) = json.nodes[key.at as usize] {
                            out.put(json.slice(text));
                        }
                        out.put(if level.is_some() { b": " } else { b":" });
                        (Some(value.at), b"}")
                    }
                },
            };
            current = next;
            if current.is_none() {
                stack.pop();
                level = level.map(|level| level - 1);
                newline(out, level);
                out.put(close);
            }
        }
    }
}

/// A container that is being printed.
enum Frame<'a> {
    Array { left: u32, at: u32, first: bool },
    Object { entries: Entries<'a>, first: bool },
}

/// A line feed and spaces.
const LINE: [u8; 65] = {
    let mut line = [b' '; 65];
    line[0] = b'\n';
    line
};

fn separator(out: &mut impl Out, first: bool, level: Option<usize>) {
    if !first {
        out.byte(b',');
    }
    newline(out, level);
}

fn newline(out: &mut impl Out, level: Option<usize>) {
    let Some(level) = level else { return };
    // The line feed and, nearly always, all of the spaces at once.
    let mut left = level * 2;
    let take = left.min(LINE.len() - 1);
    out.put(&LINE[..=take]);
    left -= take;
    while left > 0 {
        let take = left.min(LINE.len() - 1);
        out.put(&LINE[1..=take]);
        left -= take;
    }
}

/// Appends a text that is laid out already, every line but the first moved to the right. A JSON
/// string holds no raw line feed, so that every line feed is layout.
fn indented(text: &[u8], level: usize, out: &mut impl Out) {
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', text) {
        out.put(&text[from..at]);
        newline(out, Some(level));
        from = at + 1;
    }
    out.put(&text[from..]);
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

#[cfg(test)]
mod tests;
