//! JSON values made of new parts and of parts of parsed texts.

use std::borrow::Cow;

use super::quote::quote;
use super::{Value, newline, separator};

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
