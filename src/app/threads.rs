//! The threads that serve callers.

use std::{io, thread};

use tokio::{runtime::Builder, sync::oneshot};

/// The most of them. One serves tens of thousands of calls a second.
const THREADS_MAX: usize = 4;

/// One for every two cores that this process may use, where a quota of the container counts. The
/// others are for who else is in the pod, and on the machine for workers and NATS: on two cores a
/// second thread served no more calls, and each call took a seventh more CPU time.
pub(super) fn fitting() -> usize {
    fitting_for(thread::available_parallelism().map_or(1, usize::from))
}

fn fitting_for(cores: usize) -> usize {
    (cores / 2).clamp(1, THREADS_MAX)
}

/// Serves on a thread with a runtime of its own: for short work that is cheaper than threads that
/// take work from each other.
pub(super) fn serve(
    serving: impl Future<Output = io::Result<()>> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (sender, receiver) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("serving".to_owned()).spawn(move || {
        drop(sender.send(runtime.block_on(serving)));
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_of_a_core_means_one_thread_and_a_large_machine_no_crowd() {
        let threads = [1, 2, 3, 4, 7, 8, 64].map(fitting_for);
        assert_eq!(threads, [1, 1, 1, 2, 3, 4, 4]);
    }
}
