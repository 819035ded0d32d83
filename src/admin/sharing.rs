//! Work that takes long, done once for all who want it at a time, and on a thread that nobody waits
//! for.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Those who want the next output.
struct Waiting<T> {
    askers: Vec<oneshot::Sender<T>>,
    is_at_work: bool,
}

/// Hands one output to all who asked before the work on it began. So nobody gets what is older than
/// their question, and however many ask, one thread is busy.
pub(super) struct Shared<T>(Arc<Mutex<Waiting<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Waiting { askers: Vec::new(), is_at_work: false })))
    }
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// The output of `work`, which is to be alike for all who ask, as any of them does it for the
    /// others; nothing where it has panicked.
    pub(super) async fn get(&self, work: impl Fn() -> T + Send + 'static) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let begins = {
            let mut waiting = lock(&self.0);
            waiting.askers.push(tell);
            !mem::replace(&mut waiting.is_at_work, true)
        };
        if begins {
            let waiting = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || work_for(&waiting, work));
        }
        told.await.ok()
    }
}

fn work_for<T: Clone>(waiting: &Mutex<Waiting<T>>, work: impl Fn() -> T) {
    loop {
        let askers = {
            let mut waiting = lock(waiting);
            waiting.askers.retain(|asker| !asker.is_closed());
            waiting.is_at_work = !waiting.askers.is_empty();
            mem::take(&mut waiting.askers)
        };
        if askers.is_empty() {
            return;
        }
        if let Ok(output) = catch_unwind(AssertUnwindSafe(&work)) {
            for asker in askers {
                drop(asker.send(output.clone()));
            }
        }
    }
}

fn lock<T>(waiting: &Mutex<Waiting<T>>) -> MutexGuard<'_, Waiting<T>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicU64, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn who_asks_during_the_work_gets_the_next_output_and_shares_it() {
        let (shared, count) = (Shared::default(), Arc::new(AtomicU64::new(0)));
        let (go, goes) = mpsc::channel();
        let goes = Arc::new(Mutex::new(goes));
        let work = || {
            let (count, goes) = (Arc::clone(&count), Arc::clone(&goes));
            move || {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                goes.lock().unwrap().recv().unwrap();
                number
            }
        };
        let mut first = Box::pin(shared.get(work()));
        assert!(futures_util::poll!(&mut first).is_pending());
        while count.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut others = Box::pin(join_all((0..50).map(|_| shared.get(work()))));
        assert!(futures_util::poll!(&mut others).is_pending());
        go.send(()).unwrap();
        assert_eq!(first.await, Some(1));
        go.send(()).unwrap();
        assert_eq!(others.await, vec![Some(2); 50]);
        go.send(()).unwrap();
        assert_eq!(shared.get(work()).await, Some(3));
    }

    #[tokio::test]
    async fn a_panic_costs_those_who_wait_their_output_and_nobody_after_them() {
        let (shared, count) = (Shared::default(), Arc::new(AtomicU64::new(0)));
        let work = || {
            let count = Arc::clone(&count);
            move || {
                let number = count.fetch_add(1, Ordering::SeqCst);
                assert_ne!(number, 0, "on purpose");
                number
            }
        };
        assert_eq!(shared.get(work()).await, None);
        assert_eq!(shared.get(work()).await, Some(1));
    }
}
