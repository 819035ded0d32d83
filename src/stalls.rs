//! Whether a serving thread runs: it beats, and a beat that comes late tells of a stall.
//!
//! Bytes that come while a thread stands still wait in the kernel, and are read afterwards as if they
//! had just come. So a request that is read right after a stall is taken to have come when the stall
//! began: it may have, and then its caller has waited that long.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{clock, metrics::Metrics};

/// Between two beats.
const BEAT: Duration = Duration::from_millis(50);

/// How much later than that a beat comes after a stall. On a busy machine threads wait for a core for
/// some tens of milliseconds all the time.
const STALL_MIN: Duration = Duration::from_millis(250);

/// The stalls of all serving threads: a process that stands still does so on each, and once.
#[derive(Default)]
pub struct Stalls {
    /// Up to when they are counted.
    counted: Mutex<Option<Instant>>,
}

impl Stalls {
    /// A thread has stood still from `from` to `now`. Returns how much of that no other thread has
    /// told of, if any.
    fn add(&self, from: Instant, now: Instant) -> Option<Duration> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let new = now.saturating_duration_since(counted.map_or(from, |until| until.max(from)));
        *counted = Some(counted.map_or(now, |until| until.max(now)));
        // Threads wake one after the other: what is left of the same stall is none of its own.
        Some(new).filter(|new| *new > STALL_MIN)
    }
}

/// What one serving thread knows of itself.
pub struct Pulse {
    stalls: Arc<Stalls>,
    started: Instant,
    /// When the thread certainly ran, in microseconds after `started`.
    ran: AtomicU64,
}

impl Pulse {
    /// Of a thread that runs now.
    pub fn new(stalls: Arc<Stalls>) -> Arc<Self> {
        Arc::new(Self { stalls, started: clock::now(), ran: AtomicU64::new(0) })
    }

    /// The earliest time at which a byte can have come that is read `now`.
    pub fn arrival(&self, now: Instant) -> Instant {
        let ran = self.started + Duration::from_micros(self.ran.load(Ordering::Relaxed));
        if now.saturating_duration_since(ran) > BEAT + STALL_MIN { ran } else { now }
    }

    /// Beats on the thread that this is of, forever.
    pub async fn beat(self: Arc<Self>, metrics: Metrics) {
        let mut beats = Beats::new(self.started);
        loop {
            let now = clock::now();
            let (ran, stalled) = beats.at(now);
            let micros = ran.saturating_duration_since(self.started).as_micros();
            self.ran.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
            let new = stalled
                .and_then(|stalled| self.stalls.add(now.checked_sub(stalled).unwrap_or(now), now));
            new.into_iter().for_each(|new| metrics.stalled(new));
            clock::sleep_until(now + BEAT).await;
        }
    }
}

struct Beats {
    last: Instant,
    /// When a stall began of which bytes may still be unread.
    began: Option<Instant>,
}

impl Beats {
    fn new(now: Instant) -> Self {
        Self { last: now, began: None }
    }

    /// When the thread certainly ran, and for how long it then stood still if it did. What came
    /// meanwhile is behind this beat in part: so only the next one that is on time is the end of it.
    fn at(&mut self, now: Instant) -> (Instant, Option<Duration>) {
        let late = now.saturating_duration_since(self.last).saturating_sub(BEAT);
        let stalled = Some(late).filter(|late| *late > STALL_MIN);
        self.began = match stalled {
            Some(_) => self.began.or(Some(self.last)),
            None => None,
        };
        self.last = now;
        (self.began.unwrap_or(now), stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, start: Instant) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn threads_that_stand_still_together_count_once() {
        let (stalls, start) = (Stalls::default(), clock::now());
        let add = |from, now| stalls.add(at(from, start), at(now, start)).map(|d| d.as_millis());
        assert_eq!(add(1_000, 7_000), Some(6_000));
        assert_eq!(add(1_020, 7_005), None);
        assert_eq!(add(990, 6_990), None);
        assert_eq!(add(6_900, 8_000), Some(995), "one of them goes on standing still");
        assert_eq!(add(9_000, 9_400), Some(400));
    }

    #[test]
    fn a_late_beat_is_a_stall_until_the_next_one_on_time() {
        let start = clock::now();
        let mut beats = Beats::new(start);
        for (now, ran, stalled) in [
            (50, 50, None),
            (110, 110, None),
            // A busy machine.
            (400, 400, None),
            // Six seconds, and then once more before the backlog is worked off.
            (6_450, 400, Some(6_000)),
            (6_900, 400, Some(400)),
            (6_960, 6_960, None),
            (7_010, 7_010, None),
        ] {
            let wanted = (at(ran, start), stalled.map(Duration::from_millis));
            assert_eq!(beats.at(at(now, start)), wanted, "{now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_after_a_stall_came_when_it_began_and_anything_else_just_now() {
        let (metrics, pulse) = (Metrics::new().unwrap(), Pulse::new(Arc::default()));
        let start = clock::now();
        tokio::spawn(Arc::clone(&pulse).beat(metrics.clone()));
        tokio::time::sleep(Duration::from_millis(101)).await;
        assert_eq!(pulse.arrival(clock::now()), clock::now());
        // Nothing runs meanwhile; and what is read first is read before the thread can beat.
        let frozen = at(6_000, clock::now());
        assert_eq!(pulse.arrival(frozen), at(100, start));
        assert_eq!(metrics.stalls.get(), 0);

        tokio::time::advance(Duration::from_secs(6)).await;
        tokio::task::yield_now().await;
        assert_eq!(metrics.stalls.get(), 1);
        assert!((5.9..6.0).contains(&metrics.stalled_seconds.get()));
        assert_eq!(pulse.arrival(clock::now()), at(100, start), "what is read behind the beat");
        tokio::time::sleep(BEAT * 2).await;
        assert_eq!(pulse.arrival(clock::now()), clock::now());
        assert_eq!(metrics.stalls.get(), 1);
    }
}
