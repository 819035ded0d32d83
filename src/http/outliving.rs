//! Work that goes on when whoever waits for it has gone.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// A future that is polled by whoever waits for it. Dropped before its end, it goes on in a task of
/// its own: most need none, and a task costs two more wake-ups. Where it is of use to nobody else, it
/// ends instead, as soon as it has to wait.
pub(super) struct Outliving<F, U>
where
    F: Future<Output: Send> + Send + 'static,
    U: Fn() -> bool + Send + Unpin + 'static,
{
    work: Option<Pin<Box<F>>>,
    is_of_use: Option<U>,
}

impl<F, U> Outliving<F, U>
where
    F: Future<Output: Send> + Send + 'static,
    U: Fn() -> bool + Send + Unpin + 'static,
{
    pub(super) fn new(work: F, is_of_use: U) -> Self {
        Self { work: Some(Box::pin(work)), is_of_use: Some(is_of_use) }
    }
}

impl<F, U> Future for Outliving<F, U>
where
    F: Future<Output: Send> + Send + 'static,
    U: Fn() -> bool + Send + Unpin + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<F, U> Drop for Outliving<F, U>
where
    F: Future<Output: Send> + Send + 'static,
    U: Fn() -> bool + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let (Some(mut work), Some(is_of_use)) = (self.work.take(), self.is_of_use.take()) else {
            return;
        };
        if !is_of_use() {
            return;
        }
        // Without a runtime the whole program is at its end.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(poll_fn(move |context| match work.as_mut().poll(context) {
            // Only now it may be known to be of no use.
            Poll::Pending if is_of_use() => Poll::Pending,
            Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
        }));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_ends_with_its_output() {
        assert_eq!(Outliving::new(async { 7 }, || true).await, 7);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_goes_on_once_it_has_begun_and_before() {
        for has_begun in [true, false] {
            let (go, waits) = oneshot::channel::<()>();
            let (done, is_done) = oneshot::channel();
            let mut work = Outliving::new(
                async move {
                    drop(waits.await);
                    assert!(done.send(()).is_ok());
                },
                || true,
            );
            if has_begun {
                assert!(futures_util::poll!(&mut work).is_pending());
            }
            drop(work);
            drop(go);
            is_done.await.expect("it goes on");
        }
    }
}
