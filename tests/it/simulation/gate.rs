//! What makes a process stand still, go on, or be dead: nothing of it runs but through its gate.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

#[derive(Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    is_shut: bool,
    is_dead: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(crate) fn shut(&self) {
        self.state().is_shut = true;
    }

    /// Lets everything go on. Returns whether it had stood still.
    pub(crate) fn open(&self) -> bool {
        let mut state = self.state();
        let was_shut = std::mem::take(&mut state.is_shut);
        std::mem::take(&mut state.waiting).into_iter().for_each(Waker::wake);
        was_shut && !state.is_dead
    }

    pub(crate) fn die(&self) {
        self.state().is_dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.state().is_shut
    }

    /// Waits until the process runs. The dead wait forever.
    pub(crate) async fn pass(&self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// `future`, which gets no further while the process does not run.
    pub(crate) async fn hold<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| match self.poll(context) {
            Poll::Ready(()) => future.as_mut().poll(context),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.is_dead {
            return Poll::Pending;
        }
        if state.is_shut {
            state.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Something that is so or not, and can be waited for. Who waited first goes on first.
pub(crate) struct Flag(Mutex<(bool, Vec<Waker>)>);

impl Flag {
    pub(crate) fn new(is_set: bool) -> Self {
        Self(Mutex::new((is_set, Vec::new())))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.lock().unwrap().0
    }

    /// Returns whether it was set before.
    pub(crate) fn set(&self, is_set: bool) -> bool {
        let mut state = self.0.lock().unwrap();
        if is_set {
            std::mem::take(&mut state.1).into_iter().for_each(Waker::wake);
        }
        std::mem::replace(&mut state.0, is_set)
    }

    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
