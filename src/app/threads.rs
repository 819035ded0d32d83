//! The threads that serve callers.

use std::{fs, io, sync::Arc, thread};

use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    http::{handshakes::Handshakes, listener::Tls},
    secrets::Secrets,
};

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

/// Where a quota is read, and the period that it is for where that is another file.
const QUOTAS: [(&str, Option<&str>); 2] = [
    ("/sys/fs/cgroup/cpu.max", None),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", Some("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
];

/// As many as fit the cores that this process may use.
pub(super) fn fitting() -> usize {
    let cores = if quota().is_some() { Cores::Own } else { Cores::Shared };
    fitting_for(available(), cores)
}

/// The share of one core that TLS handshakes may take: a quarter of all that this process may use.
pub(super) fn share_of_handshakes() -> f64 {
    share_for(available(), quota())
}

fn share_for(cores: usize, quota: Option<f64>) -> f64 {
    let cores = u32::try_from(cores).map_or(1.0, f64::from);
    (cores.min(quota.unwrap_or(cores)) / 4.0).min(1.0)
}

fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How many cores a quota gives, if there is one.
fn quota() -> Option<f64> {
    QUOTAS.into_iter().find_map(|(quota, period)| {
        let mut text = fs::read_to_string(quota).ok()?;
        if let Some(period) = period {
            text.push_str(&fs::read_to_string(period).ok()?);
        }
        cores_of(&text)
    })
}

/// A quota and the period that it is for, both in microseconds. Without a quota the kernel says
/// `max` (cgroup v2) or -1 (v1).
fn cores_of(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u32>().ok());
    let (quota, period) = (numbers.next()??, numbers.next()??);
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
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

/// How hands are shaken with callers, where they have to speak TLS.
pub(super) fn tls(secrets: &Secrets) -> io::Result<Option<Arc<Tls>>> {
    let Some(shown) = secrets.server_tls.clone() else { return Ok(None) };
    let handshakes = Handshakes::start(share_of_handshakes())?;
    Ok(Some(Arc::new(Tls { shown, authorities: secrets.client_authorities.clone(), handshakes })))
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
        for (text, cores) in [
            ("200000 100000\n", Some(2.0)),
            ("max 100000\n", None),
            ("50000\n100000\n", Some(0.5)),
            ("-1\n100000\n", None),
            ("50000\n", None),
            ("", None),
        ] {
            assert_eq!(cores_of(text), cores, "{text:?}");
        }
    }

    #[test]
    fn handshakes_have_a_quarter_of_the_cores_and_one_at_most() {
        for (cores, quota, share) in [
            (1, None, 0.25),
            (2, None, 0.5),
            (4, None, 1.0),
            (64, None, 1.0),
            (1, Some(0.5), 0.125),
            (2, Some(2.0), 0.5),
            (64, Some(8.0), 1.0),
        ] {
            assert_eq!(share_for(cores, quota), share, "{cores}, {quota:?}");
        }
    }
}
