//! Instants as milliseconds since 1970 (UTC), and as ISO 8601 text.

use chrono::{DateTime, SecondsFormat, Utc};

/// `2026-11-21T05:32:57.123Z`, as JavaScript's `toISOString` prints it. Instants that chrono can't
/// hold are printed as 1970; a clock gives none.
#[must_use]
pub fn to_iso(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads an ISO 8601 instant; `None` if it is none.
#[must_use]
pub fn from_iso(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|instant| instant.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_go_both_ways() {
        let text = "2026-11-21T05:32:57.123Z";
        assert_eq!(from_iso(text).map(to_iso).as_deref(), Some(text));
        assert_eq!(to_iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(from_iso("2026-11-21"), None);
        assert_eq!(from_iso("yesterday"), None);
    }
}
