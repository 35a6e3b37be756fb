//! Time, as a seam: wall time for what others stamp, monotonic time for deadlines, and waiting.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What time it is. Sampled once per run for decisions; deadlines use the monotonic side.
pub trait Clock {
    /// Milliseconds since the Unix epoch by the host's clock. A clock before 1970 reads as 0.
    fn now_ms(&self) -> u64;
    /// A point on a clock that never steps back.
    fn instant(&self) -> Instant;
    /// Waits for `pause`.
    fn sleep(&self, pause: Duration);
}

/// The host's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }
}

/// `ms` since the Unix epoch as RFC 3339 text in UTC, for people.
pub fn utc(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{ms} ms after 1970"), |time| time.to_string())
}

/// The milliseconds since the Unix epoch of RFC 3339 text; `None` for what is none, or before 1970.
pub fn from_utc(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}
