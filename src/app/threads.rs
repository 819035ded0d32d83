//! The threads that serve callers.

use std::{fs, io, thread};

use tokio::{runtime::Builder, sync::oneshot};

/// The most of them. One serves tens of thousands of calls a second.
const THREADS_MAX: usize = 4;

/// What the cores are for that this process may use.
#[derive(Clone, Copy)]
enum Cores {
    /// A quota gives them to this container alone.
    Own,
    /// Workers, NATS and others have them too.
    Shared,
}

/// As many as fit the cores that this process may use.
pub(super) fn fitting() -> usize {
    let quotas = ["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"];
    let has_quota = |file| fs::read_to_string(file).is_ok_and(|quota| is_quota(&quota));
    let cores = if quotas.into_iter().any(has_quota) { Cores::Own } else { Cores::Shared };
    fitting_for(thread::available_parallelism().map_or(1, usize::from), cores)
}

/// Whether this is a number of microseconds; without a quota the kernel says `max` (cgroup v2) or -1
/// (v1).
fn is_quota(text: &str) -> bool {
    text.split_whitespace().next().is_some_and(|first| first.parse::<u64>().is_ok())
}

/// One for each core of a quota, else one for every two cores: on two that were shared, a second
/// thread served no more calls, and each call took a seventh more CPU time.
fn fitting_for(cores: usize, are: Cores) -> usize {
    let threads = match are {
        Cores::Own => cores,
        Cores::Shared => cores / 2,
    };
    threads.clamp(1, THREADS_MAX)
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
    fn a_quota_gives_each_core_a_thread_and_a_shared_machine_leaves_half_to_others() {
        let shared = [1, 2, 3, 4, 7, 8, 64].map(|cores| fitting_for(cores, Cores::Shared));
        assert_eq!(shared, [1, 1, 1, 2, 3, 4, 4]);
        let own = [1, 2, 3, 4, 7].map(|cores| fitting_for(cores, Cores::Own));
        assert_eq!(own, [1, 2, 3, 4, 4]);
    }

    #[test]
    fn a_quota_is_told_from_none_in_both_versions_of_control_groups() {
        for (text, is) in [
            ("200000 100000\n", true),
            ("max 100000\n", false),
            ("50000\n", true),
            ("-1\n", false),
            ("", false),
        ] {
            assert_eq!(is_quota(text), is, "{text:?}");
        }
    }
}
