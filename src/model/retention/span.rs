//! A length of time as a policy gives it.

use crate::error::{Error, Result};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// The largest number that JavaScript counts exactly.
const MS_MAX: u64 = (1 << 53) - 1;

/// A length of time, or no end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// Milliseconds.
    Ms(u64),
    /// No end.
    Forever,
}

impl Span {
    /// Whole days of 24 hours.
    #[must_use]
    pub const fn days(number: u64) -> Self {
        Self::Ms(number * DAY)
    }

    /// True for what is younger. What comes from the future is.
    #[must_use]
    pub fn holds(self, age_ms: i64) -> bool {
        match self {
            Self::Forever => true,
            Self::Ms(ms) => age_ms < 0 || age_ms.unsigned_abs() < ms,
        }
    }

    /// Reads one: whole numbers with a unit each, the larger units first, such as `36h`, `30d`, `2w`,
    /// `1d12h`, `90min` or `45s`; or `forever`. Months and years have no fixed length, and `m` may be
    /// taken for them, so there are none. `ERR_OPTION_INVALID` names the option and what is allowed.
    pub fn parse(name: &'static str, text: &str) -> Result<Self> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let refused = |why: &str| Error::OptionValue {
            name,
            reason: format!(
                "{:?} is no length of time: {why}; give whole numbers with w, d, h, min or s, such as \
                 36h, 30d or 1d12h, or forever",
                crate::model::ids::shorten(text)
            ),
        };
        let (mut rest, mut total, mut unit_before) = (text, 0_u64, u64::MAX);
        if rest.is_empty() {
            return Err(refused("it is empty"));
        }
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, behind) = rest.split_at(digits);
            if number.is_empty() {
                return Err(refused("a number is missing"));
            }
            let letters =
                behind.len() - behind.trim_start_matches(|c: char| c.is_alphabetic()).len();
            let (unit, behind) = behind.split_at(letters);
            let unit = match unit {
                "w" => WEEK,
                "d" => DAY,
                "h" => HOUR,
                "min" => MINUTE,
                "s" => SECOND,
                "" => return Err(refused("a unit is missing")),
                "m" => {
                    return Err(refused(
                        "m could be minutes (min) or months, which have no fixed length",
                    ));
                }
                "y" | "mo" => return Err(refused("months and years have no fixed length")),
                _ => return Err(refused("a unit is not known")),
            };
            if unit >= unit_before {
                return Err(refused("each unit once, the larger first"));
            }
            unit_before = unit;
            let sum = number
                .parse::<u64>()
                .ok()
                .and_then(|number| total.checked_add(number.checked_mul(unit)?))
                .filter(|sum| *sum <= MS_MAX);
            total = sum.ok_or_else(|| refused("it is too long"))?;
            rest = behind;
        }
        Ok(Self::Ms(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let parse = |text| Span::parse("keepWithin", text).expect("a span");
        for (text, ms) in [
            ("36h", 36 * HOUR),
            ("30d", 30 * DAY),
            ("2w", 14 * DAY),
            ("1d12h", 36 * HOUR),
            ("1w2d3h4min5s", 9 * DAY + 3 * HOUR + 4 * MINUTE + 5 * SECOND),
            ("90min", 90 * MINUTE),
            ("0s", 0),
            ("007d", 7 * DAY),
        ] {
            assert_eq!(parse(text), Span::Ms(ms), "{text}");
        }
        assert_eq!(parse("forever"), Span::Forever);
    }

    #[test]
    fn nonsense_is_refused_with_what_is_allowed() {
        for (text, why) in [
            ("", "it is empty"),
            ("d", "a number is missing"),
            ("-3d", "a number is missing"),
            (" 3d", "a number is missing"),
            ("30", "a unit is missing"),
            ("1.5d", "a unit is missing"),
            ("3 d", "a unit is missing"),
            ("2m", "m could be minutes"),
            ("1y", "no fixed length"),
            ("5days", "a unit is not known"),
            ("5D", "a unit is not known"),
            ("12h1d", "the larger first"),
            ("1d1d", "each unit once"),
            ("1d ", "a number is missing"),
            ("99999999999999999999d", "too long"),
            ("9999999999999w", "too long"),
            ("٣d", "a number is missing"),
        ] {
            let error = Span::parse("keepWithin", text).expect_err("refused");
            let message = error.to_string();
            assert_eq!(error.code(), "ERR_OPTION_INVALID");
            assert!(
                message.contains(why) && message.contains("keepWithin"),
                "{text}: {message}"
            );
            assert!(message.contains("1d12h"), "{message}");
        }
    }

    #[test]
    fn a_span_ends_at_its_end() {
        let day = Span::days(1);
        assert!(day.holds(i64::MIN) && day.holds(0) && day.holds(86_399_999));
        assert!(!day.holds(86_400_000) && !day.holds(i64::MAX));
        assert!(Span::Forever.holds(i64::MAX));
        assert!(!Span::Ms(0).holds(0));
    }
}
