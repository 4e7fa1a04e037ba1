//! Hours, days, weeks, months and years that checkpoints fall into.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// From minute 0 on.
    Hour,
    /// From midnight on.
    Day,
    /// From Monday on, as ISO 8601 counts them.
    Week,
    /// From the first on.
    Month,
    /// From the first of January on.
    Year,
}

impl Period {
    /// The stable word for being the newest of it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// Which one an instant falls into: equal numbers for the same one, larger ones for later ones.
    /// There is no daylight saving: an offset is fixed.
    pub(super) fn of(self, ms: i64, utc_offset_minutes: i32) -> i64 {
        let local = local(ms, utc_offset_minutes);
        let days = local.div_euclid(86_400_000);
        match self {
            Self::Hour => local.div_euclid(3_600_000),
            Self::Day => days,
            // 1970 began on a Thursday.
            Self::Week => (days + 3).div_euclid(7),
            Self::Month => {
                let date = date(local);
                i64::from(date.year()) * 12 + i64::from(date.month0())
            }
            Self::Year => i64::from(date(local).year()),
        }
    }

    /// Its name for people, such as `2026-W01`.
    pub(super) fn name(self, ms: i64, utc_offset_minutes: i32) -> String {
        let date = date(local(ms, utc_offset_minutes));
        match self {
            Self::Hour => format!("{}T{:02}", date.date_naive(), date.hour()),
            Self::Day => date.date_naive().to_string(),
            Self::Week => {
                let week = date.iso_week();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Self::Month => format!("{:04}-{:02}", date.year(), date.month()),
            Self::Year => format!("{:04}", date.year()),
        }
    }
}

fn local(ms: i64, utc_offset_minutes: i32) -> i64 {
    ms.saturating_add(i64::from(utc_offset_minutes) * 60_000)
}

/// What chrono can't hold is at one of its ends.
fn date(local: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(local).unwrap_or(if local < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}
