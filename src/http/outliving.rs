//! Work that goes on when whoever waits for it has gone.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// A future that is polled by whoever waits for it. Dropped before its end, it goes on in a task of
/// its own: most need none, and a task costs two more wake-ups.
pub(super) struct Outliving<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Outliving<F> {
    pub(super) fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Outliving<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Outliving<F> {
    fn drop(&mut self) {
        // Without a runtime the whole program is at its end.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_ends_with_its_output() {
        assert_eq!(Outliving::new(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_goes_on_once_it_has_begun_and_before() {
        for has_begun in [true, false] {
            let (go, waits) = oneshot::channel::<()>();
            let (done, is_done) = oneshot::channel();
            let mut work = Outliving::new(async move {
                drop(waits.await);
                assert!(done.send(()).is_ok());
            });
            if has_begun {
                assert!(futures_util::poll!(&mut work).is_pending());
            }
            drop(work);
            drop(go);
            is_done.await.expect("it goes on");
        }
    }
}
