//! The only file that reads a clock. Monotonic time is tokio's, so that tests can pause it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;

use crate::domain::shared::UnixMicros;

/// Now, for measuring and for deadlines.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Now, by the wall clock, for people and other machines.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The same, in microseconds since 1970.
pub fn wall_micros() -> UnixMicros {
    micros_of(wall())
}

/// A reading of a wall clock, in microseconds since 1970.
pub fn micros_of(wall: SystemTime) -> UnixMicros {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The wall clock's reading at `instant`. If the process stands still between the two looks, it is
/// too early, and never too late.
pub fn wall_at(instant: Instant) -> SystemTime {
    let (wall, now) = (wall(), now());
    wall + instant.saturating_duration_since(now) - now.saturating_duration_since(instant)
}

/// How much time of a core the calling thread has taken so far.
pub fn thread_cpu() -> Duration {
    let taken = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(taken).unwrap_or_default()
}

/// Waits until `instant`.
pub async fn sleep_until(instant: Instant) {
    tokio::time::sleep_until(instant.into()).await;
}

/// `future`'s output, or `None` at `instant`.
pub fn until<F: Future>(instant: Instant, future: F) -> impl Future<Output = Option<F::Output>> {
    tokio::time::timeout_at(instant.into(), future).map(Result::ok)
}

/// Calls `tick` every `period`, forever.
pub async fn every(period: Duration, mut tick: impl FnMut()) {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        tick();
    }
}
