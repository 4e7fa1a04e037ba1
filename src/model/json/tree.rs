//! JSON values made of new parts and of parts of parsed texts.

use std::borrow::Cow;

use super::quote::quote;
use super::{Out, Value, newline, separator};

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
    pub fn write_compact(&self, out: &mut impl Out) {
        self.write(out, None);
    }

    /// Appends the tree as `JSON.stringify(value, null, 2)` prints it at nesting `level`.
    pub fn write_pretty(&self, out: &mut impl Out, level: usize) {
        self.write(out, Some(level));
    }

    /// Appends an object as `JSON.stringify(value, null, 2)` prints it, but for its closing `\n}`.
    pub fn write_pretty_open(&self, out: &mut impl Out) {
        let Self::Object(members) = self else { return };
        out.byte(b'{');
        write_members(members, out, Some(1));
    }

    /// The tree as a file of the runner: two-space indent, no final newline.
    #[must_use]
    pub fn to_pretty(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint());
        self.write_pretty(&mut out, 0);
        out
    }

    /// About how long the print will be, so that it need not be moved while it grows.
    fn size_hint(&self) -> usize {
        match self {
            Self::Value(value) => value.size_hint() * 3 / 2 + 64,
            Self::String(text) => text.len() + 64,
            Self::Array(items) => items.iter().map(Self::size_hint).sum(),
            Self::Object(members) => members.iter().map(|(_, value)| value.size_hint()).sum(),
            Self::Null | Self::Bool(_) | Self::Number(_) => 32,
        }
    }

    // Recursion is bounded by the code that builds trees (a handful of levels).
    fn write(&self, out: &mut impl Out, level: Option<usize>) {
        let inner = level.map(|level| level + 1);
        match self {
            Self::Value(value) => value.write(out, level),
            Self::Null => out.put(b"null"),
            Self::Bool(value) => out.put(if *value { b"true" } else { b"false" }),
            Self::Number(value) => {
                // Adding zero turns -0 into 0, as JSON.stringify does.
                let mut buffer = ryu_js::Buffer::new();
                out.put(buffer.format(*value + 0.0).as_bytes());
            }
            Self::String(text) => quoted(text, out),
            Self::Array(items) if items.is_empty() => out.put(b"[]"),
            Self::Object(members) if members.is_empty() => out.put(b"{}"),
            Self::Array(items) => {
                out.byte(b'[');
                for (at, item) in items.iter().enumerate() {
                    separator(out, at == 0, inner);
                    item.write(out, inner);
                }
                newline(out, level);
                out.byte(b']');
            }
            Self::Object(members) => {
                out.byte(b'{');
                write_members(members, out, inner);
                newline(out, level);
                out.byte(b'}');
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

    fn write(&self, out: &mut impl Out) {
        match self {
            Self::Name(name) => quoted(name, out),
            Self::Value(value) => value.write(out, None),
        }
    }
}

fn write_members(members: &[(Key<'_>, Tree<'_>)], out: &mut impl Out, level: Option<usize>) {
    for (at, (key, value)) in members.iter().enumerate() {
        separator(out, at == 0, level);
        key.write(out);
        out.put(if level.is_some() { b": " } else { b":" });
        value.write(out, level);
    }
}

fn quoted(text: &str, out: &mut impl Out) {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    quote(text, &mut bytes);
    out.put(&bytes);
}
