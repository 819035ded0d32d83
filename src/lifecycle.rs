//! From the signal to stop to the end: still answering, then closed, then gone.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock;

/// Kept back at the end of a shutdown to write the last answers.
const WRITE_MARGIN_MAX: Duration = Duration::from_millis(500);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// At work.
    Running,
    /// The signal came. Calls are still accepted: the load balancer may not know yet.
    Draining,
    /// No new connection. What is in flight is answered.
    Closed,
}

/// Says how far the end has come.
pub struct Stop(watch::Sender<Phase>);

/// Is told how far the end has come.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<Phase>);

/// Both ends.
pub fn new() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    /// The next phase has come.
    pub fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Stopping {
    /// How far the end has come.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits for a phase. Where nobody can tell any more, it has come.
    pub fn until(&self, phase: Phase) -> impl Future<Output = ()> + Send + 'static {
        let mut phases = self.0.clone();
        async move {
            drop(phases.wait_for(|now| *now >= phase).await);
        }
    }
}

/// When what ends, counted from the signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// No new connection from then on.
    pub closes: Instant,
    /// No call waits longer.
    pub cut: Instant,
    /// No connection is waited for any longer: what is left is for records and spans.
    pub written: Instant,
    /// The program is gone.
    pub ends: Instant,
}

impl Timetable {
    /// For a signal that comes now.
    pub fn from_now(drain_delay: Duration, shutdown_grace: Duration) -> Self {
        let now = clock::now();
        let margin = (shutdown_grace / 10).min(WRITE_MARGIN_MAX);
        let ends = now + shutdown_grace;
        let cut = ends - margin;
        Self { closes: (now + drain_delay).min(cut), cut, written: cut + margin / 2, ends }
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
