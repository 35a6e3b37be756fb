//! Time that passes only when somebody waits.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A moment that never moves.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the world began: 2025-10-09.
pub const BEGINNING_MS: u64 = 1_760_000_000_000;

/// The host's two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Clock {
    /// Milliseconds since the epoch; can be set.
    pub wall_ms: u64,
    /// Milliseconds since the world began; never steps back.
    pub elapsed_ms: u64,
}

impl Clock {
    pub fn new() -> Clock {
        Clock {
            wall_ms: BEGINNING_MS,
            elapsed_ms: 0,
        }
    }

    /// What the time really is, and so the exchange's, in milliseconds since the epoch.
    pub fn true_ms(self) -> u64 {
        BEGINNING_MS + self.elapsed_ms
    }

    pub fn pass(&mut self, ms: u64) {
        self.wall_ms += ms;
        self.elapsed_ms += ms;
    }

    pub fn instant(self) -> Instant {
        *START + Duration::from_millis(self.elapsed_ms)
    }
}
