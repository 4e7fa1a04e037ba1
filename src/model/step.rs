//! Steps: numbers as they were given (0, 1, 1.5 …), or names.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::ids::{component_problem, shorten};
use crate::model::json::{Kind, Tree, Value};

/// The largest step number, 2^53 - 1: beyond it, doubles skip integers.
pub const STEP_MAX: f64 = 9_007_199_254_740_991.0;
/// The longest step name, in bytes.
pub const STEP_NAME_MAX: usize = 200;

/// A unit of work in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// A numbered step; finite, not negative, at most [`STEP_MAX`], never -0.
    Number(f64),
    /// A named step; never a text that spells a number.
    Name(String),
}

impl Step {
    /// Checks a step number.
    pub fn number(value: f64) -> Result<Self> {
        let reason = if value.is_nan() {
            "not_a_number"
        } else if value.is_infinite() {
            "infinite"
        } else if value < 0.0 {
            "negative"
        } else if value > STEP_MAX {
            "unsafe_integer"
        } else {
            return Ok(Self::Number(value + 0.0));
        };
        Err(Error::Step {
            step: format!("{value}"),
            reason,
        })
    }

    /// Checks a step name.
    pub fn name(name: &str) -> Result<Self> {
        let reason = component_problem(name, STEP_NAME_MAX).or_else(|| {
            if name.chars().any(char::is_control) {
                Some("control")
            } else if name.trim().parse::<f64>().is_ok() {
                // "3" and 3 must not be two steps.
                Some("number_as_text")
            } else {
                None
            }
        });
        match reason {
            None => Ok(Self::Name(name.to_owned())),
            Some(reason) => Err(Error::Step {
                step: shorten(name),
                reason,
            }),
        }
    }

    /// Reads a step from a manifest; `None` if it is neither a number nor a string. A manifest of
    /// the old manager is taken as it is.
    #[must_use]
    pub fn from_json(value: Value<'_>) -> Option<Self> {
        match value.kind() {
            Kind::Number => value.as_f64().map(Self::Number),
            Kind::String => value.as_str().map(|name| Self::Name(name.into_owned())),
            _ => None,
        }
    }

    /// The step as JSON.
    #[must_use]
    pub fn to_json(&self) -> Tree<'_> {
        match self {
            Self::Number(value) => Tree::Number(*value),
            Self::Name(name) => Tree::from(name.as_str()),
        }
    }

    /// The step as it stands in a checkpoint id: only characters that an id may have.
    #[must_use]
    pub fn slug(&self) -> String {
        match self {
            Self::Number(_) => self.to_string().replace('+', ""),
            Self::Name(name) => {
                let allowed = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
                name.chars()
                    .map(|char| if allowed(char) { char } else { '-' })
                    .collect()
            }
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(value) => f.write_str(ryu_js::Buffer::new().format(*value)),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_as_given() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (1e-7, "1e-7"),
        ] {
            assert_eq!(Step::number(value).expect("valid").to_string(), text);
        }
        assert_eq!(
            Step::number(STEP_MAX).expect("valid").to_string(),
            "9007199254740991"
        );
    }

    #[test]
    fn numbers_that_are_no_steps_are_refused() {
        for (value, reason) in [
            (f64::NAN, "not_a_number"),
            (f64::INFINITY, "infinite"),
            (f64::NEG_INFINITY, "infinite"),
            (-1.0, "negative"),
            (STEP_MAX + 1.0, "unsafe_integer"),
            (1e300, "unsafe_integer"),
        ] {
            let error = Step::number(value).expect_err("refused");
            assert_eq!(error.reason(), Some(reason));
            assert_eq!(error.code(), "ERR_STEP_INVALID");
        }
    }

    #[test]
    fn names_are_names() {
        assert_eq!(
            Step::name("code review").expect("valid").slug(),
            "code-review"
        );
        assert_eq!(Step::name("Prüfung").expect("valid").slug(), "Pr-fung");
        for (name, reason) in [
            ("", "empty"),
            ("..", "traversal"),
            ("a/b", "separator"),
            ("a\0", "nul"),
            ("3", "number_as_text"),
            (" 1.5 ", "trailing"),
            ("1.5", "number_as_text"),
            ("NaN", "number_as_text"),
            ("CON", "device"),
            ("C:x", "drive"),
            ("a\nb", "control"),
        ] {
            assert_eq!(
                Step::name(name).expect_err("refused").reason(),
                Some(reason),
                "{name:?}"
            );
        }
    }
}
