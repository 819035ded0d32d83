//! How many connections there is room for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ports;

/// The file descriptors that callers leave to the rest: to administration, whose connections are
/// bounded too; and 64 more. Those are for at most five runtimes with five each, three listeners and
/// their copies for each thread, the connections to NATS and to a collector with one each that is
/// being made, secret files, the standard streams, and a connection on each thread that is closed
/// because it is one too many.
const KEPT: usize = ports::CONNECTIONS_MAX + 64;

/// A bound to the number of connections, other than what is configured.
pub(super) struct Bound {
    /// So many have room.
    pub(super) room: usize,
    /// What bounds them, and what can be done.
    pub(super) because: String,
}

/// What of `wanted` has room within all bounds; and why, where that is less.
pub(super) fn fit(wanted: usize, bounds: &[Bound]) -> (usize, Option<&str>) {
    let Some(narrowest) = bounds.iter().min_by_key(|bound| bound.room) else {
        return (wanted, None);
    };
    if wanted <= narrowest.room {
        return (wanted, None);
    }
    (narrowest.room.max(1), Some(&narrowest.because))
}

/// Raises the limit of open files as far as the system lets it: what is left is the bound.
pub(super) fn descriptors(has_playground: bool) -> Option<Bound> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    let kept = if has_playground { KEPT + ports::CONNECTIONS_MAX } else { KEPT };
    limit.current.map(|limit| within(usize::try_from(limit).unwrap_or(usize::MAX), kept))
}

fn within(limit: usize, kept: usize) -> Bound {
    // Where there are next to none, nobody has enough.
    let room = limit.saturating_sub(kept).max(limit / 4);
    let because = format!(
        "there are {limit} file descriptors, of which {kept} are kept for administration, NATS and \
         files; raise the hard limit of open files (LimitNOFILE, ulimit -Hn), or lower \
         max_connections"
    );
    Bound { room, because }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_many_as_the_narrowest_bound_has_room_for() {
        let bound = |room, because: &str| Bound { room, because: because.to_owned() };
        for (wanted, bounds, room, because) in [
            (4_096, vec![], 4_096, None),
            (4_096, vec![bound(4_096, "a")], 4_096, None),
            (4_096, vec![bound(900, "a"), bound(300, "b")], 300, Some("b")),
            (2, vec![bound(0, "a")], 1, Some("a")),
        ] {
            assert_eq!(fit(wanted, &bounds), (room, because));
        }
    }

    #[test]
    fn descriptors_are_kept_for_what_is_not_for_callers() {
        for (limit, room) in [(20_000, 19_872), (1_024, 896), (256, 128), (128, 32), (20, 5)] {
            assert_eq!(within(limit, KEPT).room, room, "{limit}");
        }
        assert!(within(1_024, KEPT).because.contains("1024 file descriptors, of which 128 are"));
        let before = getrlimit(Resource::Nofile);
        let found = descriptors(true);
        let after = getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
        let limit = usize::try_from(after.current.unwrap_or(0)).unwrap();
        assert_eq!(found.map(|bound| bound.room), Some(limit - KEPT - ports::CONNECTIONS_MAX));
    }
}
