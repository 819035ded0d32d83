//! When calls come that nobody waits for.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// The moments of a Poisson process. With a timer of the kernel: those of tokio have a grain of
/// a millisecond, and would send twenty calls at once.
pub(super) struct Arrivals {
    timer: AsyncFd<OwnedFd>,
    per_second: f64,
    next: Instant,
}

impl Arrivals {
    /// The first one comes soon after this.
    pub(super) fn new(per_second: f64) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        #[expect(deprecated, reason = "what replaces it is unsafe; only we have this descriptor")]
        let timer = AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        Ok(Self { timer, per_second, next: Instant::now() })
    }

    /// Waits for the next one. When it was due, which may be earlier than now.
    pub(super) async fn next(&mut self) -> io::Result<Instant> {
        self.next += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / self.per_second);
        loop {
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(self.next);
            }
            self.wait(left).await?;
        }
    }

    async fn wait(&self, time: Duration) -> io::Result<()> {
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(time.as_secs()).map_err(io::Error::other)?;
        let it_value = Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() };
        let once = Itimerspec { it_interval: nothing, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut [0_u8; 8])?);
        self.timer.async_io(tokio::io::Interest::READABLE, read).await.map(|_| ())
    }
}
