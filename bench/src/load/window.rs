//! The time in which calls count.

use std::{
    process,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{cpu, options::Options};

const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// Whether calls count now. Read with every call; begins with 0, warming up.
#[derive(Debug, Default)]
pub(super) struct Window(AtomicU8);

/// A call that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Its time is taken from here, however late it is really made.
    pub(super) at: Instant,
    /// Whether it was due while calls counted.
    pub(super) counts: bool,
}

/// What was used while they counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// How long that was.
    pub(super) time: Duration,
    /// CPU time of those who are watched, if anyone is, in nanoseconds.
    pub(super) watched: Option<u64>,
    /// CPU time of this process, in nanoseconds.
    pub(super) own: u64,
}

impl Window {
    /// A call that is due at this moment, which is now or was just now.
    pub(super) fn due(&self, at: Instant) -> Due {
        Due { at, counts: self.0.load(Ordering::Relaxed) == COUNTING }
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    /// Warms up, opens, and closes.
    pub(super) async fn pass(&self, options: &Options) -> Used {
        let own = [process::id()];
        sleep(options.warmup).await;
        let (watched, own_before) = (cpu::used(&options.watch), cpu::used(&own));
        let begun = Instant::now();
        self.0.store(COUNTING, Ordering::Relaxed);
        sleep(options.counted).await;
        self.0.store(OVER, Ordering::Relaxed);
        Used {
            time: begun.elapsed(),
            watched: (!options.watch.is_empty())
                .then(|| cpu::used(&options.watch).saturating_sub(watched)),
            own: cpu::used(&own).saturating_sub(own_before),
        }
    }
}
