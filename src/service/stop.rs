//! The wish that the service ends, as SIGTERM and SIGINT bring it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the service is to end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// How long anything that waits here does so without looking whether it is to end.
    pub(crate) const LOOK: Duration = Duration::from_millis(100);

    /// Set by the first SIGTERM or SIGINT from now on; the second ends the process at once, as if it were not expected.
    ///
    /// # Errors
    /// When the system takes no handlers for them.
    pub fn on_signals() -> io::Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGTERM, SIGINT] {
            // In this order: what looks whether it is the second comes before what sets it.
            flag::register_conditional_default(signal, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Whether the service is to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it by hand.
    #[cfg(test)]
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
