//! How the memory that a process may take is shared out, so that what strangers hold takes no room
//! from calls, and what waits takes none from what is remembered.

/// What holds memory, each within a share of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Open connections: buffers, unfinished handshakes and heads. Anybody can open one.
    Connections,
    /// Bodies that have not come as a whole, after right credentials.
    Bodies,
    /// Calls in flight with their bodies, and answers on their way.
    Calls,
    /// What is remembered of calls for retries.
    Remembered,
    /// What it takes to make use of late replies.
    Late,
    /// Decisions cached for fallbacks.
    Cached,
    /// What waits behind answers to be written to NATS.
    Behind,
}

impl Part {
    /// Every part, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Connections,
        Self::Bodies,
        Self::Calls,
        Self::Remembered,
        Self::Late,
        Self::Cached,
        Self::Behind,
    ];

    /// The value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Part::Connections => "connections",
            Part::Bodies => "bodies",
            Part::Calls => "calls",
            Part::Remembered => "remembered",
            Part::Late => "late",
            Part::Cached => "cached",
            Part::Behind => "behind",
        }
    }

    /// In 32nds of what is shared out.
    fn weight(self, caches: Caches) -> usize {
        match (self, caches) {
            (Part::Connections, _) => 13,
            (Part::Bodies, _) => 3,
            (Part::Calls, _) => 6,
            (Part::Remembered, Caches::Some) => 4,
            (Part::Remembered, Caches::None) => 7,
            (Part::Late, _) => 1,
            (Part::Cached, Caches::Some) => 3,
            (Part::Cached, Caches::None) => 0,
            (Part::Behind, _) => 2,
        }
    }
}

/// Whether any connector caches decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// At least one does.
    Some,
    /// None does: its share goes to what is remembered.
    None,
}

/// The least memory that makes sense as a limit.
pub const LIMIT_MIN: usize = 24 * MIB;

const MIB: usize = 1024 * 1024;

/// What the program takes before the first call, with its connection to NATS, its queues of log lines
/// and spans, and a number of connectors.
const OWN_BYTES: usize = 14 * MIB;

/// The share of the limit that no account sees: what the allocator has and does not use.
const SLACK: usize = 8;

/// How many bytes of `limit` there are to share out. Never nothing: below [`LIMIT_MIN`] the limit
/// cannot be kept anyway.
pub fn shared_out(limit: usize) -> usize {
    let needed = OWN_BYTES + limit / SLACK;
    limit.max(LIMIT_MIN).saturating_sub(needed).max(MIB)
}

/// The share of `part` where the process may take `limit` bytes.
pub fn share(part: Part, limit: usize, caches: Caches) -> usize {
    shared_out(limit) / 32 * part.weight(caches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_and_what_the_program_needs_are_never_more_than_the_limit() {
        for limit in [24, 32, 64, 128, 384, 4_096].map(|mib| mib * MIB) {
            for caches in [Caches::Some, Caches::None] {
                let shares: usize =
                    Part::ALL.into_iter().map(|part| share(part, limit, caches)).sum();
                assert!(shares + OWN_BYTES + limit / SLACK <= limit, "{limit} {caches:?}");
                // And hardly less.
                assert!(shares + OWN_BYTES + limit / SLACK + MIB > limit, "{limit} {caches:?}");
            }
        }
    }

    #[test]
    fn every_part_has_a_share_and_nothing_is_cached_where_no_connector_caches() {
        for part in Part::ALL {
            assert!(share(part, LIMIT_MIN, Caches::Some) > 200 * 1024, "{part:?}");
            let without = share(part, LIMIT_MIN, Caches::None);
            assert_eq!(without == 0, part == Part::Cached, "{part:?}");
        }
        let remembered = |caches| share(Part::Remembered, 64 * MIB, caches);
        assert!(remembered(Caches::None) > remembered(Caches::Some));
    }

    #[test]
    fn a_limit_below_the_least_still_leaves_something_to_every_part() {
        for limit in [0, 1, MIB, 16 * MIB] {
            for part in Part::ALL {
                assert!(share(part, limit, Caches::Some) > 0, "{part:?} of {limit}");
            }
        }
    }
}
