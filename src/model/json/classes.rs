//! Numbers for values: equal values have equal numbers.
//!
//! Comparing two nested values at every level of a text would look at the innermost ones again and
//! again. So every value is numbered once, from the inside out; after that two values are equal if
//! their numbers are, in one step and at any depth.
//!
//! Equal is what JavaScript would print alike, whatever the order of an object's keys: `1.0` and
//! `1`, `-0` and `0`, `"\u0041"` and `"A"`.
//!
//! *Limits*: one number per value, and one list of numbers per container that differs from all
//! others, are held in memory.

use std::collections::HashMap;

use super::{Node, Value};

/// The numbers given so far; shared by the texts that are to be compared.
#[derive(Debug, Default)]
pub struct Classes<'a> {
    /// By canonical text.
    scalars: HashMap<&'a [u8], u32>,
    /// By what they are (array or object) and the numbers of what is in them.
    containers: HashMap<Box<[u32]>, u32>,
}

/// The numbers of a value and of everything in it.
#[derive(Debug)]
pub struct Numbers {
    first: u32,
    numbers: Vec<u32>,
}

const ARRAY: u32 = 0;
const OBJECT: u32 = 1;

impl<'a> Classes<'a> {
    /// Numbers a value and everything in it.
    #[must_use]
    pub fn number(&mut self, value: Value<'a>) -> Numbers {
        let json = value.json;
        let end = json.next(value.at);
        let mut numbers = Numbers {
            first: value.at,
            numbers: vec![0; (end - value.at) as usize],
        };
        let mut members: Vec<(u32, u32)> = Vec::new();
        let mut key: Vec<u32> = Vec::new();
        // What is in a value stands behind it, so that from the end everything comes after its parts.
        for at in (value.at..end).rev() {
            let value = Value { json, at };
            let number = match json.nodes[at as usize] {
                Node::Null => self.scalar(b"null"),
                Node::Bool(true) => self.scalar(b"true"),
                Node::Bool(false) => self.scalar(b"false"),
                Node::Number(text) | Node::String(text) => self.scalar(json.slice(text)),
                Node::Array { .. } => {
                    key.clear();
                    key.push(ARRAY);
                    key.extend(value.items().map(|item| numbers.of(item)));
                    self.container(&key)
                }
                Node::Object { .. } => {
                    members.clear();
                    let entries = value.entries();
                    members
                        .extend(entries.map(|(key, value)| (numbers.of(key), numbers.of(value))));
                    members.sort_unstable();
                    key.clear();
                    key.push(OBJECT);
                    key.extend(members.iter().flat_map(|&(key, value)| [key, value]));
                    self.container(&key)
                }
            };
            numbers.numbers[(at - numbers.first) as usize] = number;
        }
        numbers
    }

    fn scalar(&mut self, text: &'a [u8]) -> u32 {
        let new = self.unused();
        *self.scalars.entry(text).or_insert(new)
    }

    fn container(&mut self, key: &[u32]) -> u32 {
        if let Some(&number) = self.containers.get(key) {
            return number;
        }
        let new = self.unused();
        self.containers.insert(key.into(), new);
        new
    }

    fn unused(&self) -> u32 {
        // Values that differ take two bytes each, of two texts of at most 4 GiB.
        u32::try_from(self.scalars.len() + self.containers.len()).unwrap_or(u32::MAX)
    }
}

impl Numbers {
    /// The number of a value, or of a key, inside the value that was numbered.
    ///
    /// # Panics
    ///
    /// Panics for a value from anywhere else.
    #[must_use]
    pub fn of(&self, value: Value<'_>) -> u32 {
        self.numbers[(value.at - self.first) as usize]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use crate::model::json::{Classes, Json};

    #[test]
    fn equal_values_have_equal_numbers() {
        let text = br#"[1, 1.0, 1e0, "1", 0, -0, null, "null", {"a":1,"b":[2]}, {"b":[2],"a":1},
            {"a":1,"b":[2,2]}, {"a":[1],"b":2}, [], {}, [[]], "A", "\u0041", "\ud800", "\ud801",
            {"a":0,"a":1,"b":[2]}, ["a",1], {"a":1}]"#;
        let json = Json::parse(text, 9).unwrap();
        let mut classes = Classes::default();
        let numbers = classes.number(json.root());
        let of: Vec<u32> = json.root().items().map(|item| numbers.of(item)).collect();
        let alike = [(0, 1), (0, 2), (4, 5), (8, 9), (8, 19), (15, 16)];
        for a in 0..of.len() {
            for b in a + 1..of.len() {
                let expected = alike.contains(&(a, b)) || [(1, 2), (9, 19)].contains(&(a, b));
                assert_eq!(of[a] == of[b], expected, "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_part_of_one_text_and_a_whole_other_text() {
        let (one, two) = (br#"{"x":{"k":[1,{"a":2}]}}"#, br#"{"k":[1,{"a":2.0}]}"#);
        let (one, two) = (Json::parse(one, 9).unwrap(), Json::parse(two, 9).unwrap());
        let part = one.root().get("x").unwrap();
        let mut classes = Classes::default();
        let (a, b) = (classes.number(part), classes.number(two.root()));
        assert_eq!(a.of(part), b.of(two.root()));
    }
}
