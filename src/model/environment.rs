//! What a checkpoint's environment was: the caller's fingerprint of it, kept as it was given.

use crate::error::{Error, Result};
use crate::model::json::{Json, Kind};

/// The largest fingerprint, in bytes of JSON.
pub const ENVIRONMENT_MAX: usize = 64 << 10;
/// How deep it may be nested, in levels.
pub const ENVIRONMENT_DEPTH_MAX: usize = 32;

/// A fingerprint: the JSON text of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment(String);

impl Environment {
    /// Takes a fingerprint; gives [`Error::OptionValue`] for what is no object, over 64 KiB, or nested too deep.
    pub fn parse(text: String) -> Result<Self> {
        let bad = |reason: String| Error::OptionValue {
            name: "environment",
            reason,
        };
        if text.len() > ENVIRONMENT_MAX {
            return Err(bad(format!(
                "it has {} bytes of JSON; {ENVIRONMENT_MAX} are allowed",
                text.len()
            )));
        }
        let kind = Json::parse(text.as_bytes(), ENVIRONMENT_DEPTH_MAX)
            .map(|json| json.root().kind())
            .map_err(|error| bad(error.to_string()))?;
        if kind != Kind::Object {
            return Err(bad("it is not an object".to_owned()));
        }
        Ok(Self(text))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_one() {
        let code = |text: &str| Environment::parse(text.to_owned()).map_err(|error| error.code());
        for good in ["{}", r#"{"git":{"head":"ä"},"ports":[1]}"#] {
            assert_eq!(code(good).expect(good).as_str(), good);
        }
        let deep =
            |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(code(&deep(ENVIRONMENT_DEPTH_MAX - 1)).is_ok());
        let long = format!("{{\"a\":\"{}\"}}", "a".repeat(ENVIRONMENT_MAX));
        for bad in [
            "",
            "[]",
            "null",
            "{",
            &deep(ENVIRONMENT_DEPTH_MAX + 1),
            &long,
        ] {
            assert_eq!(code(bad), Err("ERR_OPTION_INVALID"));
        }
    }
}
