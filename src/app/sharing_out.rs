//! The memory of this process, shared out among what callers and workers can make it hold.

use super::room::{self, Bound};
use crate::{
    budget::{self, Budget},
    config::{Config, ConnectorSettings},
    domain::{
        budget::{Caches, Part},
        fallback::CachedRules,
    },
    http::listener,
};

const MIB: usize = 1024 * 1024;

/// The memory that callers and workers can make this process hold.
pub(super) fn budget(config: &Config) -> Budget {
    let own = budget::of_this_process().unwrap_or(usize::MAX);
    let limit = config.memory_limit.map_or(own, |limit| limit.min(own));
    let caches = config.connectors.iter().any(|settings| cached(settings).is_some());
    Budget::new(limit, if caches { Caches::Some } else { Caches::None })
}

fn cached(settings: &ConnectorSettings) -> Option<&CachedRules> {
    settings.connector.fallback.cached.as_ref()
}

/// What the cache of one connector may hold.
pub(super) fn cache_bytes(config: &Config, budget: &Budget) -> usize {
    let caches = config.connectors.iter().filter(|settings| cached(settings).is_some()).count();
    budget.share(Part::Cached).limit() / caches.max(1)
}

/// How many connections there is memory for.
fn connections(config: &Config, budget: &Budget) -> Bound {
    let share = budget.share(Part::Connections).limit();
    let room = share / listener::connection_bytes(config.tls.is_some());
    let because = format!(
        "there is memory for {room}, in {} MiB of {}; raise the memory limit of the container, or \
         lower max_connections",
        share / MIB,
        budget.limit() / MIB,
    );
    Bound { room, because }
}

/// As many of the connections that are asked for as there is room for; says so where that is fewer.
pub(super) fn fitting(config: &Config, budget: &Budget) -> usize {
    let descriptors = room::descriptors(config.playground_listen.is_some());
    let bounds: Vec<_> = descriptors.into_iter().chain([connections(config, budget)]).collect();
    let (fitting, because) = room::fit(config.max_connections, &bounds);
    if let Some(because) = because {
        tracing::warn!("max_connections is lowered to {fitting}: {because}");
    }
    fitting
}
