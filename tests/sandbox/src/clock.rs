//! The wall clock, calendar days and timestamps as text, without a time library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds of one calendar day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970; a host clock before that counts as 0.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(since_epoch(SystemTime::now()).as_millis()).unwrap_or(i64::MAX)
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-11-23T01:15:18.165500Z`: the chain's own timestamps, always six decimals.
pub(crate) fn micros(time: SystemTime) -> String {
    let since = since_epoch(time);
    format!(
        "{}.{:06}Z",
        to_the_second(since.as_secs()),
        since.subsec_micros()
    )
}

/// `2026-11-23T01:15:18.1655Z`: Go's RFC 3339 with nanoseconds, trailing zeros cut.
pub(crate) fn nanos(time: SystemTime) -> String {
    let since = since_epoch(time);
    let fraction = format!(".{:09}", since.subsec_nanos());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{}{fraction}Z", to_the_second(since.as_secs()))
}

/// `t2m54s752069us`: the chain's text for a duration.
pub(crate) fn duration(span: Duration) -> String {
    let (days, seconds) = (span.as_secs() / 86_400, span.as_secs() % 86_400);
    let mut text = String::new();
    if days > 0 {
        text = format!("{days}d");
    }
    text.push('t');
    for (amount, unit) in [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(span.subsec_micros()), "us"),
    ] {
        if amount > 0 {
            text.push_str(&format!("{amount}{unit}"));
        }
    }
    if text == "t" {
        text.push_str("0s");
    }
    text
}

fn to_the_second(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let rest = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The Gregorian date of a day since 1970-01-01. Years are counted from March, so that the leap day
/// is the last of its year; 719 468 days lie between 0000-03-01 and 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_read_as_they_should() {
        for (seconds, micro, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000Z"),
            (1_795_396_518, 165_500, "2026-11-23T01:15:18.165500Z"),
            (1_798_761_599, 999_999, "2026-12-31T23:59:59.999999Z"),
        ] {
            let time = UNIX_EPOCH + Duration::new(seconds, micro * 1000);
            assert_eq!(micros(time), text);
        }
        let time = UNIX_EPOCH + Duration::new(1_795_396_518, 165_500_000);
        assert_eq!(nanos(time), "2026-11-23T01:15:18.1655Z");
    }

    #[test]
    fn durations_read_as_the_chain_writes_them() {
        assert_eq!(duration(Duration::from_micros(5_342_910)), "t5s342910us");
        assert_eq!(
            duration(Duration::from_micros(174_752_069)),
            "t2m54s752069us"
        );
        assert_eq!(duration(Duration::ZERO), "t0s");
    }
}
